"""Maximum gap method of Yellin: an upper limit in the presence of an unknown background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from covsvc.contracts import Events, FloatArray, IntArray, Limits, Status, one_sided
from covsvc.kernels.gaps import max_gap_limit, max_gap_limit_over_background, widest_gaps
from covsvc.kernels.intervals import largest_gaps


@dataclass(frozen=True)
class MaxGap:
    """Return the signal above which the largest gap between events would almost always be smaller: C_0(x, mu) = cl.

    x is the largest number of events, signal and known background, that are expected in a gap between adjacent events
    or ends of the range, mu that of the whole range.

    Notes
    -----
    Covers exactly where there is no background and mu >= -ln(1 - cl), for x is continuous up to mu itself; nothing is
    excluded below. Unknown background makes gaps smaller and only weakens the limit: covers at least. With a known
    background the interval can be empty; where small signals are excluded but larger ones are not, as the gap is all
    of background, the limit is the largest that is not, and all below it count as covered.

    References
    ----------
    .. [1] S. Yellin, Phys. Rev. D 66 (2002) 032005, Section II, Eq. 2.
    """

    reads: ClassVar = (Events,)
    sided: ClassVar = "upper"
    promises: ClassVar = "at_least"

    def limits(self, observed: Events, cl: float) -> Limits:
        """Return the limits of each toy, expected signal events of the whole range."""
        if observed.v is None:
            return one_sided(max_gap_limit(largest_gaps(observed.n, observed.u), cl))
        return one_sided(max_gap_limit_over_background(observed.n, observed.u, observed.v, float(observed.b), cl))

    def intervals(self, observed: Events, cl: float) -> tuple[IntArray, IntArray]:
        """Return the events that bound the gap which decides each limit; of an empty one, the largest at s = 0.

        Returns
        -------
        left, right : ndarray of int, shape (toy,)
            Number of the event within its toy; -1 for the lower end of the range, n for the upper.
        """
        left, _ = self._widest(observed, self.limits(observed, cl).upper)
        return left, left + 1

    def explain(self, observed: Events, cl: float) -> list[str]:
        """Return why each observation has no limit, in words, empty where it has one."""
        limits = self.limits(observed, cl)
        _, sizes = self._widest(observed, np.zeros(len(observed)))
        return [
            f"{size:.4g} of the b = {observed.b:g} expected background events fall into a gap between events, too many "
            "for any signal >= 0 at this cl"
            if status == Status.EMPTY
            else ""
            for size, status in zip(sizes.tolist(), limits.status.tolist(), strict=True)
        ]

    def _widest(self, observed: Events, s: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return the lower event of the gap with the most expected events at each s, and these."""
        u = np.ascontiguousarray(observed.u)
        known = observed.v is not None
        v, b, s = (np.ascontiguousarray(observed.v), float(observed.b), s) if known else (u, 0.0, np.ones(len(s)))
        left, sizes = widest_gaps(observed.n, u, v, s, b)
        return left, sizes
