"""Upper limit from the largest interval with n events, n chosen beforehand and background unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from covsvc.contracts import Events, IntArray, Limits, one_sided
from covsvc.interval_tables import interval_table, missing_table
from covsvc.kernels.intervals import MOST_INSIDE, Boundary, Crossing, deciding_intervals


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
        """Return the events that bound the interval which decides each limit; of an empty one, that at s = 0.

        Returns
        -------
        left, right : ndarray of int, shape (toy,)
            Number of the event within its toy; -1 for the lower end of the range, n for the upper. Both are -1 where
            the limit is unbounded.
        """
        crossing = self._crossing(observed, cl)
        return deciding_intervals(crossing, observed.n, observed.u, float(observed.b), observed.v)

    def explain(self, observed: Events, cl: float) -> list[str]:
        """Return why each observation has no limit, in words, empty where it has one."""
        crossing = self._crossing(observed, cl)
        beyond = f"the limit lies beyond mu = {self._boundary(cl).mu[-1]:g}, where the table ends"
        empty = (
            "an interval with no more than {} of the events holds so much of the b = {:g} expected background events "
            "that no signal >= 0 is left at this cl"
        )
        return [
            beyond if signal == np.inf else empty.format(inside, observed.b) if signal < 0 else ""
            for signal, inside in zip(crossing.signal.tolist(), crossing.inside.tolist(), strict=True)
        ]

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
        boundary = self._boundary(cl)
        if observed.v is not None:
            return boundary.crossing_over(observed.n, observed.u, float(observed.b), observed.v, True)
        return boundary.crossing(observed.n, observed.largest_intervals, True)
