"""Hypotheses about coverage and rates, and which of them fresh toys are drawn for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from covsvc.contracts import FloatArray
from covsvc.kernels.binomial import chance_of_at_least

FALSE_SHARE = 0.2
"""Share of the hypotheses that are selected, at most on average, of which nothing is true."""

MOST_CONFIRMED = 100
"""Hypotheses that fresh toys are drawn for, at most."""

FACTOR = 10
"""Fresh toys for each toy that made a cell suspicious."""

_COUNTED = {
    "promise": ("covered", "failed"),
    "coverage fell": ("covered",),
    "empty": ("empty",),
    "unbounded": ("unbounded",),
    "failed": ("failed",),
}
"""What hypotheses of a kind count; a failed limit might have covered, so that it breaks no promise."""


@dataclass(frozen=True)
class Hypothesis:
    """That a column keeps its promise, or has coverage and rates as the baseline has, in a cell or in many.

    Attributes
    ----------
    kind : str
        ``"promise"``, ``"coverage fell"``, ``"empty"``, ``"unbounded"`` or ``"failed"``: what would be found.
    b, s_true : float, or None
        The cell; None where cells are pooled.
    cells : tuple of (float, float)
        b and s_true of all cells that it is about.
    direction : str
        Whether what is counted ``"fell"`` or ``"rose"``.
    p : float
        Chance, on the toys that are stored, of what was seen or more if nothing has changed.
    reference : float
        What the share of toys is held against: the promised coverage, or the share in the baseline.
    n, x, n_old, x_old : int
        Toys and those that count, summed over the cells; of the baseline None where a promise is held.
    """

    study: str
    kind: str
    limit_method: str
    cl: float
    b: float | None
    s_true: float | None
    cells: tuple[tuple[float, float], ...]
    direction: str
    p: float
    reference: float
    n: int
    x: int
    n_old: int | None = None
    x_old: int | None = None

    @property
    def column(self) -> tuple[str, str, str, float]:
        """Its column, and what would be found there."""
        return self.study, self.kind, self.limit_method, self.cl

    @property
    def is_about_baseline(self) -> bool:
        """Whether it takes a baseline to test it."""
        return self.kind != "promise"

    @property
    def may_fail(self) -> bool:
        """Whether its confirmation fails a validation."""
        return self.kind in ("promise", "coverage fell") or (self.kind == "failed" and self.direction == "rose")

    @property
    def fresh_toys(self) -> int:
        """Toys that each of its cells takes at least: of a pool, which takes many, as many as it had there."""
        return self.n * FACTOR if self.b is not None else -(-self.n // len(self.cells))


@dataclass(frozen=True)
class Evidence:
    """What fresh toys tell of a hypothesis.

    Attributes
    ----------
    n, x : int
        Toys, and those that count.
    gained, lost : int, or None
        Toys that count by the code of now only, and by that of the baseline only; None where its code set no limits.
    """

    n: int
    x: int
    gained: int | None = None
    lost: int | None = None

    @classmethod
    def of(cls, hypothesis: Hypothesis, counts: Iterable[Mapping[str, int]]) -> Evidence:
        """Sum up what was counted in the cells of a hypothesis.

        Parameters
        ----------
        hypothesis : Hypothesis
        counts : iterable of mapping
            Of each cell: toys ``n``, and those that were ``covered``, ``empty``, ``unbounded``, ``failed``; where the
            code of the baseline set limits on the same toys, too, ``gained_covered``, ``lost_covered`` and so on.
        """
        each = list(counts)
        counted = _COUNTED[hypothesis.kind]
        n, x = sum(told["n"] for told in each), sum(told[name] for told in each for name in counted)
        name = counted[0]
        if not hypothesis.is_about_baseline or not all(f"gained_{name}" in told for told in each):
            return cls(n, x)
        if any(told["n_both"] < told["n"] for told in each):
            return cls(0, 0)  # the code of the baseline failed on some: what is left is no fair sample
        return cls(n, x, sum(told[f"gained_{name}"] for told in each), sum(told[f"lost_{name}"] for told in each))


def screen(hypotheses: Iterable[Hypothesis], tests: int, most: int = MOST_CONFIRMED) -> tuple[Hypothesis, ...]:
    """Select the hypotheses that fresh toys are to decide.

    Those that the procedure of Benjamini and Hochberg rejects. If these are too many, first those that can fail a
    validation, and of these the smallest p value of each column before the second smallest of any.

    Parameters
    ----------
    hypotheses : iterable of Hypothesis
        All with p <= `FALSE_SHARE`; no others can be selected.
    tests : int
        How many there are with those of larger p.
    most : int

    References
    ----------
    .. [1] Y. Benjamini and Y. Hochberg, J. R. Stat. Soc. B 57 (1995) 289.
    """
    ordered = sorted(hypotheses, key=_order)
    p = np.array([each.p for each in ordered])
    below = np.flatnonzero(p <= FALSE_SHARE * np.arange(1, len(p) + 1) / max(tests, 1))
    selected = ordered[: below[-1] + 1] if len(below) else []
    if len(selected) > most:
        seen = Counter[tuple[str, str, str, float]]()
        turn = dict[Hypothesis, int]()
        for each in selected:
            turn[each] = seen[each.column]
            seen[each.column] += 1
        selected = sorted(selected, key=lambda each: (not each.may_fail, turn[each], _order(each)))[:most]
    return tuple(sorted(selected, key=_order))


def _order(each: Hypothesis) -> tuple[float, str, str, str, float, bool, tuple[tuple[float, float], ...]]:
    return each.p, each.study, each.kind, each.limit_method, each.cl, each.b is not None, each.cells


def chance_of_lost(gained: NDArray[np.int64], lost: NDArray[np.int64]) -> FloatArray:
    """Return the chance of so many lost toys, or more, of all that changed, if a toy is as often gained as lost.

    References
    ----------
    .. [1] Q. McNemar, Psychometrika 12 (1947) 153.
    """
    return chance_of_at_least(lost, gained + lost, 0.5)


def chance_of_fewer(
    x: NDArray[np.int64], n: NDArray[np.int64], x_old: NDArray[np.int64], n_old: NDArray[np.int64]
) -> FloatArray:
    """Return the chance of x or fewer of n, given all that count of n and n_old, if both have the same probability.

    It is 1 where it is no smaller than about 0.3.

    References
    ----------
    .. [1] R. A. Fisher, J. R. Stat. Soc. 98 (1935) 39.
    """
    total = np.maximum(n + n_old, 1)
    share = (x + x_old) / total
    spread = np.sqrt(np.maximum(share * (1.0 - share) * n * n_old / total, 1e-300))
    few = x + 0.5 < n * share - 0.5 * spread
    p = np.ones(x.shape)
    if few.any():
        p[few] = stats.hypergeom.cdf(x[few], total[few], (x + x_old)[few], n[few])
    return p
