"""One column of a candidate beside the same column of its baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covsvc.commands import replay_command
from covsvc.tally import EXACT, INDICATORS, ROUNDING
from covsvc.verdict.findings import CHANGED, EQUAL, IDENTICAL, NEW, NOT_CHANGED, UNCHANGED, Discovery
from covsvc.verdict.pairs import Pairs
from covsvc.verdict.sides import Grid, Shared

EXACT_RATES = {rate: EXACT.index(f"exact_p_{rate}") for rate in INDICATORS[1:]}
"""Where the exact rates of states stand among `EXACT`."""


@dataclass(frozen=True)
class Column:
    """A column of a candidate, and of its baseline if it has one; arrays have the shape (b, s_true).

    Attributes
    ----------
    least : float
        The coverage that the method is held to, if it promises any.
    same_code, same_toys : bool
        Whether code, options and tables of the method, and the toys, are those of the baseline.
    near_end : ndarray of bool
        Where s_true is as good as an end of a limit, so that coverage jumps by rounding.
    adaptive : bool
        Whether the number of toys depends on what they told, so that no test of counts is valid.
    """

    study: str
    label: str
    cl: float
    b: tuple[float, ...]
    s_true: tuple[float, ...]
    method: Mapping[str, Any]
    least: float
    same_code: bool
    same_toys: bool
    now: Grid
    before: Grid
    pairs: Pairs
    near_end: NDArray[np.bool_]
    toys_per_block: int
    adaptive: bool
    at: str
    store: str

    @property
    def promises(self) -> bool:
        """Whether the method promises to cover."""
        return bool(self.method["promises"] == "at_least")

    @cached_property
    def common(self) -> NDArray[np.bool_]:
        """Cells of which both sides know something."""
        return self.now.has_data & self.before.has_data

    @cached_property
    def both_exact(self) -> NDArray[np.bool_]:
        """Cells of which both sides know coverage exactly."""
        return self.now.is_exact & self.before.is_exact

    @cached_property
    def shared(self) -> Shared | None:
        """The blocks that both sides have of the same toys."""
        return Shared.of(self.now, self.before) if self.same_toys else None

    @cached_property
    def worst_comparable(self) -> NDArray[np.bool_]:
        """Backgrounds at which both sides have looked for the smallest coverage in the same range."""
        same_range = (self.now.worst[2:] == self.before.worst[2:]).all(axis=0)
        return np.asarray(same_range & ~np.isnan(self.now.worst[0]) & ~np.isnan(self.before.worst[0]))

    @cached_property
    def has_other_bits(self) -> bool:
        """Whether anything that both sides know differs in its bits, or cannot be compared."""
        is_equal = (self.now.exact == self.before.exact) | (np.isnan(self.now.exact) & np.isnan(self.before.exact))
        worst_equal = self.now.worst[0] == self.before.worst[0]
        by_toys = self.common & ~self.both_exact
        return bool(
            (~is_equal & self.both_exact).any()
            or (~worst_equal & self.worst_comparable).any()
            or (self.now.lost & ~self.before.lost).any()
            or (by_toys.any() if self.shared is None else self.shared.differing.any())
            or self.is_counted_otherwise
        )

    @cached_property
    def is_counted_otherwise(self) -> bool:
        """Whether the same blocks of limits with the same bits have other counts."""
        if self.shared is None:
            return False
        before = self.before.counts
        other = np.any([counts != before[name] for name, counts in self.now.counts.items()], axis=0)
        return bool((other & self.shared.all_blocks & (self.shared.differing == 0)).any())

    @cached_property
    def state(self) -> str:
        """How the column relates to that of the baseline."""
        if not self.common.any():
            return NEW
        if not self.has_other_bits:
            return UNCHANGED if self.same_code else IDENTICAL
        return EQUAL if self._has_equal_values() else CHANGED

    @property
    def is_changed(self) -> bool:
        """Whether its limits are others than those of the baseline."""
        return self.state == CHANGED

    @property
    def is_not_changed(self) -> bool:
        """Whether its limits are those of the baseline."""
        return self.state in NOT_CHANGED

    def _has_equal_values(self) -> bool:
        close = np.isclose(self.now.exact, self.before.exact, rtol=ROUNDING, atol=ROUNDING, equal_nan=True)
        worst_close = np.isclose(self.now.worst[0], self.before.worst[0], rtol=0.0, atol=ROUNDING)
        exact_equal = (close | ~self.both_exact | self.near_end).all() and (worst_close | ~self.worst_comparable).all()
        by_toys = self.common & ~self.both_exact
        return bool(exact_equal and not (self.now.lost & ~self.before.lost).any() and self._toys_agree(by_toys))

    def _toys_agree(self, cells: NDArray[np.bool_]) -> bool:
        """Tell whether the limits on the toys that both sides have in some cells have the same bins and cover alike."""
        if not cells.any():
            return True
        if self.shared is None:
            return False
        flips = sum(self.pairs.gained[name] + self.pairs.lost[name] for name in INDICATORS)
        everything = self.pairs.n == self.shared.blocks * self.toys_per_block
        return bool((everything & (self.pairs.rose + self.pairs.fell + flips == 0))[cells].all())

    @cached_property
    def promised(self) -> NDArray[np.bool_]:
        """Cells in which toys test the promise: those that have more toys than in the baseline, if nothing changed."""
        by_toys = ~self.now.is_exact & (self.now.n > 0)
        if not self.promises or self.adaptive:
            return np.zeros_like(by_toys)
        return by_toys & (self.now.n > self.before.n) if self.is_not_changed else by_toys

    @cached_property
    def compared(self) -> NDArray[np.bool_]:
        """Cells in which toys are compared with those of the baseline."""
        if not self.is_changed or self.adaptive:
            return np.zeros(self.near_end.shape, bool)
        return ~self.both_exact & (self.now.n > 0) & (self.before.n > 0) & ~self.near_end

    def found(
        self,
        severity: str,
        kind: str,
        sentence: str,
        cell: tuple[int, int] | None = None,
        between: float | None = None,
        **numbers: float,
    ) -> Discovery:
        """Return a discovery in this column, in a cell if its indices are given, or near it `between` two s_true."""
        if cell is None:
            return Discovery(severity, kind, sentence, self.label, self.cl, numbers=numbers)
        b, s_true = self.b[cell[0]], self.s_true[cell[1]] if between is None else between
        return Discovery(severity, kind, sentence, self.label, self.cl, b, s_true, numbers, self.replay(cell))

    def nearest(self, b: int, s_true: float) -> tuple[int, int]:
        """Return the indices of the cell nearest to a signal."""
        return b, int(np.abs(np.array(self.s_true) - s_true).argmin())

    def replay(self, cell: tuple[int, int]) -> str:
        """Return the command that shows toys of a cell."""
        b, s_true = self.b[cell[0]], self.s_true[cell[1]]
        return replay_command(self.study, s_true, b, limit_method=self.label, cl=self.cl, store=self.store, at=self.at)

    def where(self, cell: tuple[int, int], between: float | None = None) -> str:
        """Name a cell, or a signal near it that is `between` two s_true."""
        s_true = self.s_true[cell[1]] if between is None else between
        return f"s_true = {s_true:.6g}, b = {self.b[cell[0]]:g}"
