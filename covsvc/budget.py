"""The budget of toys: when the coverage in a cell is resolved, and which toys come next."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covsvc.contracts import FloatArray
from covsvc.kernels.binomial import (
    chance_of_at_least,
    chance_of_at_most,
    is_in_sequence,
    lower_end,
    sequence_ends,
    upper_end,
)
from covsvc.study import Budget, Study
from covsvc.tally import FAILED, MISSING

NO_TOYS, OK, UNDER, UNDECIDED = 0, 1, 2, 3
"""What is known of the coverage in a cell: nothing, that it is above cl - margin, below cl, or neither."""


@dataclass(frozen=True)
class Drawn:
    """What was drawn in some cells.

    Attributes
    ----------
    status : ndarray of int8, shape (..., block)
        `block_status` of all blocks that are stored.
    n_covered, n_failed : ndarray of int64, shape (...)
        Toys of the blocks that are done whose interval covers, and whose limit failed.
    is_exact : ndarray of bool, shape (...)
        Whether coverage is known exactly.
    """

    status: NDArray[np.int8]
    n_covered: NDArray[np.int64]
    n_failed: NDArray[np.int64]
    is_exact: NDArray[np.bool_]
    toys_per_block: int

    @property
    def blocks(self) -> NDArray[np.int64]:
        """Blocks that were drawn, failed ones too."""
        return np.asarray((self.status != MISSING).sum(axis=-1))

    @property
    def n_toys(self) -> NDArray[np.int64]:
        """Toys of these blocks."""
        return self.blocks * self.toys_per_block

    @property
    def lost(self) -> NDArray[np.int64]:
        """Toys of the blocks that failed."""
        return np.asarray((self.status == FAILED).sum(axis=-1) * self.toys_per_block)

    @property
    def at_most_covered(self) -> NDArray[np.int64]:
        """Toys that cover, if all whose limit failed would."""
        return self.n_covered + self.n_failed + self.lost

    def is_at(self, looks: ArrayLike) -> NDArray[np.bool_]:
        """Tell where the first blocks, as many as one of the `looks` takes, were drawn and no others."""
        return np.asarray(np.isin(self.n_toys, looks) & (_reach(self.status != MISSING) == self.blocks))


@dataclass(frozen=True)
class Rule:
    """When coverage is resolved.

    A cell is looked at when all columns have its first `looks[0]`, `looks[1]` ... toys. Coverage is below cl if the
    upper end of its interval is, and otherwise above cl - margin if the lower end is; else the next toys are drawn, for
    all columns. Limits that failed, and toys of failed blocks, are taken to cover for the upper end and to miss for the
    lower one.

    Each end is that of Clopper and Pearson at error / (looks x tests). By the union bound the probability that coverage
    is called below cl anywhere where it is not is at most `error`, wherever one stops, and so is the probability that
    it is called above cl - margin where it is not. Cells with another number of toys than that of a look, from an
    earlier study, say, have the ends of a confidence sequence at error / tests, which hold at any number of toys.

    Attributes
    ----------
    looks : tuple of int
        Toys of a cell at which it is looked at.
    margin : float
        The deficit of coverage that does not matter.
    error : float
        Probability of a wrong decision, at most, of each of the two kinds.
    tests : int
        Cells times columns; those whose coverage is known exactly count, too.
    """

    looks: tuple[int, ...]
    margin: float
    error: float
    tests: int

    @classmethod
    def of(cls, study: Mapping[str, Any]) -> Rule | None:
        """Return the rule of a study that is given as it is stored; None where the number of toys is fixed."""
        if not isinstance(study.get("n_toys"), Mapping):
            return None
        budget = Budget.model_validate(study["n_toys"])
        tests = math.prod(len(study[axis]) for axis in ("methods", "cl", "b", "s_true"))
        return cls(looks_of(budget), budget.resolved.margin, budget.resolved.error, tests)

    @property
    def tail(self) -> float:
        """The probability beyond an end of an interval at a look."""
        return self.error / (len(self.looks) * self.tests)

    def intervals(self, drawn: Drawn) -> tuple[FloatArray, FloatArray]:
        """Return the ends of the intervals of coverage, NaN without toys."""
        scheduled, n = drawn.is_at(self.looks), drawn.n_toys
        low, high = lower_end(drawn.n_covered, n, self.tail), upper_end(drawn.at_most_covered, n, self.tail)
        if not scheduled.all():
            error, other = self.error / self.tests, ~scheduled
            low[other] = sequence_ends(drawn.n_covered[other], n[other], error)[0]
            high[other] = sequence_ends(drawn.at_most_covered[other], n[other], error)[1]
        return low, high

    def states(self, drawn: Drawn, cl: ArrayLike) -> NDArray[np.int8]:
        """Return what the toys tell: NO_TOYS, OK, UNDER or UNDECIDED; `cl` broadcasts against the cells.

        The ends of the intervals are compared by their tails, which takes no search for them.
        """
        n, x, most = drawn.n_toys, drawn.n_covered, drawn.at_most_covered
        cl = np.broadcast_to(np.asarray(cl, np.float64), n.shape)
        least = cl - self.margin
        under = chance_of_at_most(most, n, cl) < self.tail
        above = chance_of_at_least(x, n, least) < self.tail
        other = (n > 0) & ~drawn.is_at(self.looks)
        if other.any():
            n, x, most, cl, least = n[other], x[other], most[other], cl[other], least[other]
            error = self.error / self.tests
            under[other] = (most < cl * n) & ~is_in_sequence(most, n, cl, error)
            above[other] = (x > least * n) & ~is_in_sequence(x, n, least, error)
        known = np.where(under, UNDER, np.where(above, OK, UNDECIDED))
        return np.where(drawn.blocks > 0, known, NO_TOYS).astype(np.int8)

    def is_waiting(self, drawn: Drawn, cl: ArrayLike) -> NDArray[np.bool_]:
        """Tell where more toys are of use.

        They are not where coverage is resolved, where it is known exactly, and where every block failed: the next ones
        would, too.
        """
        states = self.states(drawn, cl)
        all_lost = (drawn.blocks > 0) & (drawn.lost == drawn.n_toys)
        waiting: NDArray[np.bool_] = (states != OK) & (states != UNDER) & ~drawn.is_exact & ~all_lost
        return waiting

    def next_blocks(
        self, drawn: Drawn, cl: ArrayLike, missing: NDArray[np.bool_], *, may_go_on: bool
    ) -> NDArray[np.bool_]:
        """Return which of the `missing` blocks are to be drawn now.

        A cell is first brought to the smallest look that none of its columns is beyond. If nothing is missing there,
        and a column waits for more, it is brought to the next one. This depends on nothing but what is stored, and a
        decision is taken only when every block of its look is there: so the cube is the same on any cluster, in
        whatever order blocks are done, and however often the run is interrupted.

        Parameters
        ----------
        drawn : Drawn
            Over (column, s_true).
        cl : array_like of float, shape (column, 1)
        missing : ndarray of bool, shape (column, s_true, block)
            Of the blocks up to the largest look.
        may_go_on : bool
            Whether all is known that decides: exact values are there.
        """
        n_blocks = missing.shape[-1]
        looks = np.asarray(self.looks) // drawn.toys_per_block
        look = np.searchsorted(looks, _reach((drawn.status[..., :n_blocks] != MISSING).any(axis=0)))
        wanted: NDArray[np.bool_] = missing & (np.arange(n_blocks) < looks[look][:, None])
        if may_go_on:
            ready = ~wanted.any(axis=(0, 2)) & self.is_waiting(drawn, cl).any(axis=0)
            look = np.minimum(look + ready, len(looks) - 1)
            wanted = missing & (np.arange(n_blocks) < looks[look][:, None])
        return wanted

    def later(self, blocks: int, toys_per_block: int) -> int:
        """Return how many toys a cell may need, at most, when it has been brought to so many blocks."""
        look = int(np.searchsorted(self.looks, blocks * toys_per_block))
        return self.looks[-1] - self.looks[look]


def rule_of(study: Study) -> Rule | None:
    """Return the rule of a study; None where the number of toys is fixed."""
    return Rule.of(study.model_dump(mode="json"))


def looks_of(budget: Budget) -> tuple[int, ...]:
    """Return at how many toys cells are looked at: the smallest number, doubled again and again, and the largest."""
    looks = [budget.min]
    while 2 * looks[-1] < budget.max:
        looks.append(2 * looks[-1])
    return (*looks, budget.max) if budget.max > budget.min else (budget.max,)


def _reach(held: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the number of the last block that is held, counted from 1; 0 if there is none. Shape (..., block)."""
    last = held.shape[-1] - np.argmax(held[..., ::-1], axis=-1)
    return np.where(held.any(axis=-1), last, 0)
