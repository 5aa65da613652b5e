"""Upper limit from the largest interval with n events, n chosen beforehand and background unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from covsvc.contracts import Events, IntArray, Limits, one_sided
from covsvc.interval_tables import crossing_of, deciding, interval_table, missing_table, why_none
from covsvc.kernels.intervals import MOST_INSIDE, Boundary, Crossing


@dataclass(frozen=True)
class FixedIntervalN:
    """Return the signal above which the largest interval with n or fewer events would be smaller: C_n(x, mu) = cl.

    x is the part of the expectation mu in the largest interval observed, C_n the probability that all are smaller.

    Notes
    -----
    Covers at least, exactly where mu is so large that n events exclude it; n must not be chosen by a look at the data.
    n = 0 is the maximum gap. Unknown background only weakens the limit. With a known background mu = s + b, and the
    interval can be empty. Where no mu of the table excludes, the limit is unbounded.

    References
    ----------
    .. [1] S. Yellin, Phys. Rev. D 66 (2002) 032005, Section III.
    """

    n: int = 0
    """Events inside of the interval."""

    reads: ClassVar = (Events,)
    sided: ClassVar = "upper"
    promises: ClassVar = "at_least"

    def __post_init__(self) -> None:
        if not 0 <= self.n < MOST_INSIDE:
            raise ValueError(f"n = {self.n}: an interval holds 0 to {MOST_INSIDE - 1} events")

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

    def calibration_error(self, cl: float) -> float:  # noqa: ARG002 - the same at each
        """Return 0: C_n is known exactly."""
        return 0.0

    def calibration(self, cl: float) -> str:
        """Return what tells the table at `cl` from others."""
        return interval_table(cl).digest

    def missing(self, cl: float) -> str | None:
        """Return what has to be built before limits at `cl` can be set; None if nothing."""
        missing = missing_table(cl)
        if missing is None and self.n > interval_table(cl).most_inside:
            return f"n = {self.n}: the table at cl = {cl:g} holds up to n = {interval_table(cl).most_inside}"
        return missing

    def _boundary(self, cl: float) -> Boundary:
        return interval_table(cl).fixed(self.n)

    def _crossing(self, observed: Events, cl: float) -> Crossing:
        return crossing_of(self._boundary(cl), observed)
