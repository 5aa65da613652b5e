"""Optimum interval method of Yellin: an upper limit in the presence of an unknown background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from covsvc.contracts import Events, IntArray, Limits, one_sided
from covsvc.interval_tables import crossing_of, deciding, interval_table, missing_table, why_none
from covsvc.kernels.intervals import Boundary, Crossing


@dataclass(frozen=True)
class OptimumInterval:
    """Return the signal above which the best of all intervals between events excludes: C_Max > CBarMax.

    C_k(x, mu) is the probability that no interval with k or fewer events holds as much of the expectation mu as x;
    C_Max is the largest of the C_k of the largest intervals observed, CBarMax(cl, mu) its quantile without background.

    Notes
    -----
    Covers at least: with positive probability the whole range is the best interval, and C_Max is discrete there.
    Unknown background only weakens the limit. Whether mu is excluded does not only change once as mu rises: the last
    crossing covers everywhere, the first, which Yellin's programs look for, slightly less at some mu. With a known
    background mu = s + b, and the interval can be empty. Where no mu of the table excludes, the limit is unbounded.

    References
    ----------
    .. [1] S. Yellin, Phys. Rev. D 66 (2002) 032005, Section III and Appendix B.
    """

    crossing: Literal["last", "first"] = "last"
    """``"last"``: all larger signals are excluded; ``"first"``: all smaller ones are allowed."""

    reads: ClassVar = (Events,)
    sided: ClassVar = "upper"
    promises: ClassVar = "at_least"

    def __post_init__(self) -> None:
        if self.crossing not in ("last", "first"):
            raise ValueError(f"crossing = {self.crossing!r}: last or first")

    def limits(self, observed: Events, cl: float) -> Limits:
        """Return the limits of each toy, expected signal events of the whole range.

        Raises
        ------
        StudyError
            If there is no table at `cl`.
        """
        return one_sided(self._crossing(observed, cl).signal)

    def intervals(self, observed: Events, cl: float) -> tuple[IntArray, IntArray]:
        """Return the events that bound the interval which decides each limit, as `deciding` tells them."""
        return deciding(self._crossing(observed, cl), observed)

    def explain(self, observed: Events, cl: float) -> list[str]:
        """Return why each observation has no limit, in words, empty where it has one."""
        return why_none(self._crossing(observed, cl), observed, self._boundary(cl))

    def calibration_error(self, cl: float) -> float:
        """Return the largest standard error of the coverage that the toys of the table leave."""
        return float(interval_table(cl).c_max.error.max())

    def calibration(self, cl: float) -> str:
        """Return what tells the table at `cl` from others."""
        return interval_table(cl).digest

    def missing(self, cl: float) -> str | None:
        """Return what has to be built before limits at `cl` can be set; None if nothing."""
        return missing_table(cl)

    def _boundary(self, cl: float) -> Boundary:
        return interval_table(cl).c_max.boundary

    def _crossing(self, observed: Events, cl: float) -> Crossing:
        return crossing_of(self._boundary(cl), observed, last=self.crossing == "last")
