"""Largest intervals between events, and the search for the expectations that they exclude.

Letters: u the cumulative signal spectrum at the events of a toy, with 0 and 1 as end points; mu the expected events,
all of signal, or s of signal and b of a known background with the cumulative spectrum v; f_k the largest part of mu in
an interval with k or fewer events inside; g_k(mu) the largest f_k that does not exclude mu.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covsvc.kernels.compilation import compiled

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
GuideArray = NDArray[np.int16]

MOST_INSIDE = 160
"""Intervals with as many events inside or more are not looked at."""

_MOST_NODES = np.iinfo(np.int16).max
_BINS = 512  # of f in a guide; a power of 2, so that f * _BINS is exact


class Crossing(NamedTuple):
    """Where observations cross the boundary between excluded and allowed expectations, shape (toy,) each."""

    signal: FloatArray
    """Expected signal events at the crossing: +inf if it lies beyond the last node, -1 if no signal is allowed."""
    inside: IntArray
    """Events inside of the interval that excludes what is just above the crossing; -1 beyond the last node."""


@dataclass(frozen=True, eq=False)
class Boundary:
    """The largest intervals which do not exclude the expectation mu, for intervals with k or fewer events.

    mu is excluded iff f_k > g_k(mu), strictly, for some k; mu g is linear between nodes, and where g is 1 nothing is
    excluded. Below the first node nothing is excluded, above the last nothing is known.

    Parameters
    ----------
    mu : ndarray of float, shape (node,)
        Expected events, ascending, > 0.
    g : ndarray of float, shape (node, column)
        Part of mu in an interval, in [0, 1].
    first : int
        The k of the first column; the next have one more each. A k without column never excludes.

    Raises
    ------
    ValueError
        If the nodes do not ascend, or g has another shape or other values than these.

    Notes
    -----
    g_k may rise with mu: a larger mu may be allowed again where a smaller one is excluded.
    """

    mu: FloatArray
    g: FloatArray
    first: int = 0

    def __post_init__(self) -> None:
        for name in ("mu", "g"):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), np.float64))
        nodes, columns = len(self.mu), self.g.shape[-1]
        if not 2 <= nodes <= _MOST_NODES or not (
            self.mu[0] > 0 and np.isfinite(self.mu[-1]) and (np.diff(self.mu) > 0).all()
        ):
            raise ValueError(f"mu: 2 to {_MOST_NODES:,} nodes that ascend, > 0 and finite")
        if self.g.shape != (nodes, columns) or not ((self.g >= 0) & (self.g <= 1)).all():
            raise ValueError(f"g: parts of the range in [0, 1], shape ({nodes}, column)")
        if not 0 <= self.first <= self.first + columns <= MOST_INSIDE:
            raise ValueError(f"first = {self.first} with {columns} columns: k is in 0 to {MOST_INSIDE - 1}")

    @cached_property
    def _whole(self) -> FloatArray:
        """The least g from each column on, which holds for the whole range, f_k = 1; a last column of ones."""
        least = np.minimum.accumulate(self.g[:, ::-1], axis=1)[:, ::-1]
        return np.concatenate([least, np.ones((len(self.mu), 1))], axis=1)

    @cached_property
    def _highest(self) -> tuple[FloatArray, IntArray]:
        """The largest g from each node upwards, and by columns below n the last node that the whole range allows."""
        envelope = np.maximum.accumulate(self.g[::-1], axis=0)[::-1]
        last = [np.flatnonzero(column >= 1.0)[-1:] for column in self._whole.T]
        return np.ascontiguousarray(envelope), np.array([nodes[0] if nodes.size else -1 for nodes in last])

    @cached_property
    def _lowest(self) -> tuple[FloatArray, IntArray]:
        """The least g up to each node, and by columns below n the last node before the whole range excludes any."""
        ends = [np.flatnonzero(column < 1.0)[:1] for column in self._whole.T]
        nodes = np.array([end[0] if end.size else len(self.mu) for end in ends]) - 1
        return np.minimum.accumulate(self.g, axis=0), nodes

    @cached_property
    def _highest_guide(self) -> GuideArray:
        """Where to begin the search of the largest g from each node upwards."""
        return _guide(self._highest[0])

    @cached_property
    def _lowest_guide(self) -> GuideArray:
        """Where to begin the search of the least g up to each node."""
        return _guide(self._lowest[0])

    def crossing(self, n: IntArray, largest: FloatArray, last: bool) -> Crossing:
        """Return the largest allowed mu of each toy (`last`), or else the smallest above which some are excluded.

        Parameters
        ----------
        n : ndarray of int, shape (toy,)
            Events of each toy.
        largest : ndarray of float, shape (event,)
            `largest_intervals` of the toys.
        last : bool
            Whether the last crossing of the boundary is asked for, or the first.
        """
        envelope, ceiling = self._highest if last else self._lowest
        guide = self._highest_guide if last else self._lowest_guide
        return Crossing(*_crossings(n, largest, self.mu, self.g, self._whole, envelope, guide, ceiling, self.first))

    def crossing_over(self, n: IntArray, u: FloatArray, b: float, v: FloatArray, last: bool) -> Crossing:
        """Return the crossings over a known background: mu = s + b, and s >= 0 is looked for.

        The part of mu in an interval depends on s here: it is du + (dv - du) b / mu where du of the signal and dv of
        the background lie in it. So the largest interval is another one at each s, `largest_intervals` do not serve,
        and every interval has a crossing of its own, the root of a linear equation between two nodes.

        Parameters
        ----------
        n : ndarray of int, shape (toy,)
            Events of each toy.
        u, v : ndarray of float, shape (event,)
            Cumulative spectra of signal and known background at the events.
        b : float
            Expected events of the known background.
        last : bool
            Whether the largest allowed s is asked for, or the smallest above which some are excluded.
        """
        envelope, ceiling = self._highest if last else self._lowest
        search = _last_crossings_over if last else _first_crossings_over
        given = (n, np.ascontiguousarray(u), np.ascontiguousarray(v), b)
        return Crossing(*search(*given, self.mu, self.g, self._whole, envelope, ceiling, self.first))


def _guide(envelope: FloatArray) -> GuideArray:
    """Return, by column and bin of f, the last node at which an envelope is as large as the least f of the bin."""
    least = np.arange(_BINS + 1) / _BINS
    return np.array([np.searchsorted(-column, -least, side="right") - 1 for column in envelope.T], np.int16)


def deciding_intervals(
    crossing: Crossing, n: IntArray, u: FloatArray, b: float = 0.0, v: FloatArray | None = None
) -> tuple[IntArray, IntArray]:
    """Return which events bound the interval that excludes what is just above the crossing.

    Parameters
    ----------
    crossing : Crossing
        Of each toy.
    n : ndarray of int, shape (toy,)
        Events of each toy.
    u, v : ndarray of float, shape (event,)
        Cumulative spectra of signal and known background at the events.
    b : float
        Expected events of the known background.

    Returns
    -------
    left, right : ndarray of int, shape (toy,)
        Indices within the toy; -1 is the lower end of the range, n the upper one. Both are -1 where nothing decides.
    """
    if v is not None:
        share = np.repeat(b / (np.maximum(crossing.signal, 0.0) + b), n)
        u = u + share * (v - u)
    left, right = _deciding_intervals(n, np.ascontiguousarray(u), crossing.inside)
    return left, right


def largest_gaps(n: IntArray, u: FloatArray) -> FloatArray:
    """Return f_0: the largest part of the signal without an event in it.

    Parameters
    ----------
    n : ndarray of int, shape (toy,)
        Events of each toy.
    u : ndarray of float, shape (event,)
        Their positions in [0, 1], ascending within a toy, toy after toy.

    Returns
    -------
    ndarray of float, shape (toy,)
        1 for a toy without events.
    """
    return np.asarray(_largest_gaps(n, np.ascontiguousarray(u)))


def largest_intervals(n: IntArray, u: FloatArray) -> FloatArray:
    """Return f_k of all k below the number of events: the largest (k+1)-spacing, end points included.

    Parameters
    ----------
    n : ndarray of int, shape (toy,)
        Events of each toy.
    u : ndarray of float, shape (event,)
        Their positions in [0, 1], ascending within a toy, toy after toy.

    Returns
    -------
    ndarray of float, shape (event,)
        f_0, f_1, ... of the first toy, then of the next; f_k = 1 for k >= n is left out, and k >= `MOST_INSIDE` are
        NaN.

    References
    ----------
    .. [1] S. Yellin, Phys. Rev. D 66 (2002) 032005, Section III.
    """
    return np.asarray(_largest_intervals(n, np.ascontiguousarray(u)))


@compiled
def _largest_gaps(n: IntArray, u: FloatArray) -> FloatArray:
    gaps = np.empty(n.size)
    start = 0
    for toy in range(n.size):
        largest = 0.0
        before = 0.0
        for i in range(start, start + n[toy]):
            largest = max(largest, u[i] - before)
            before = u[i]
        gaps[toy] = max(largest, 1.0 - before)
        start += n[toy]
    return gaps


@compiled
def largest_of_toy(p: FloatArray, events: int, f: FloatArray) -> None:
    """Fill f with f_0, f_1, ... of one toy: p holds its events, 1, and then three times -1."""
    for k in range(f.size):
        f[k] = p[k]
    # elements that are independent of each other over k become vector instructions; four beginnings at a time,
    # for it is the load of an f[k] just stored which takes long. Past the end, d is no larger than 0
    for i in range(0, events, 4):
        p0, p1, p2, p3 = p[i], p[i + 1], p[i + 2], p[i + 3]
        after = p[i + 1 :]
        for k in range(min(events - i, f.size)):
            d0 = after[k] - p0
            d1 = after[k + 1] - p1
            d2 = after[k + 2] - p2
            d3 = after[k + 3] - p3
            d0 = d0 if d0 > d1 else d1
            d2 = d2 if d2 > d3 else d3
            d0 = d0 if d0 > d2 else d2
            f[k] = d0 if d0 > f[k] else f[k]


@compiled
def _largest_intervals(n: IntArray, u: FloatArray) -> FloatArray:
    largest = np.empty(u.size)
    p = np.empty((n.max() if n.size else 0) + 4)
    f = np.empty(MOST_INSIDE)
    start = 0
    for toy in range(n.size):
        events = n[toy]
        inside = min(events, MOST_INSIDE)
        for i in range(events):
            p[i] = u[start + i]
        p[events] = 1.0
        p[events + 1], p[events + 2], p[events + 3] = -1.0, -1.0, -1.0
        largest_of_toy(p, events, f[:inside])
        for k in range(inside):
            largest[start + k] = f[k]
        for k in range(inside, events):
            largest[start + k] = np.nan
        start += events
    return largest


@compiled
def _excludes(f: FloatArray, start: int, columns: int, g: FloatArray, node: int) -> bool:
    """Tell whether f_k > g_k at a node for some k."""
    # to count all of them, by indices that cannot be negative, makes vector instructions
    count = 0
    at = np.uint64(start)
    row = np.uint64(node)
    for k in range(np.uint64(columns)):
        count += f[at + k] > g[row, k]
    return count > 0


@compiled
def _last_allowed(
    f: FloatArray, start: int, columns: int, envelope: FloatArray, guide: GuideArray, ceiling: int
) -> int:
    """Return the last node up to `ceiling` that an envelope which falls from node to node allows; -1 if none.

    No f allows more than the bin that its guide finds it in; from the least of these on down nodes are tried.
    """
    high = ceiling
    at = np.uint64(start)
    for k in range(np.uint64(columns)):
        high = min(high, int(guide[k, np.uint64(f[at + k] * _BINS)]))
    if high < 0 or not _excludes(f, start, columns, envelope, high):
        return high
    step = 1
    low = high - step
    while low >= 0 and _excludes(f, start, columns, envelope, low):
        high = low
        step *= 2
        low = high - step
    low = max(low, -1)
    while high - low > 1:
        middle = (low + high) // 2
        if _excludes(f, start, columns, envelope, middle):
            high = middle
        else:
            low = middle
    return low


@compiled
def _last_in_cell(
    f: FloatArray, start: int, columns: int, mu: FloatArray, g: FloatArray, node: int, falls: bool
) -> tuple[float, int]:
    """Return the last allowed point of a cell as a part of its width, and the column that ends it, -1: the whole range.

    The point is -1 if nothing is allowed. The right end is excluded: if `falls`, by the whole range. That allows the
    left end.
    """
    lower = 0.0
    upper = 0.0 if falls else 2.0
    column = -1
    for k in range(columns):
        left = mu[node] * (g[node, k] - f[start + k])
        right = mu[node + 1] * (g[node + 1, k] - f[start + k])
        if right < 0.0:
            if left < 0.0:
                return -1.0, k
            point = left / (left - right)
            if point < upper:
                upper = point
                column = k
        elif left < 0.0:
            lower = max(lower, left / (left - right))
    return (upper if upper >= lower else -1.0), column


@compiled
def _crossings(
    n: IntArray,
    largest: FloatArray,
    mu: FloatArray,
    g: FloatArray,
    whole: FloatArray,
    envelope: FloatArray,
    guide: GuideArray,
    ceiling: IntArray,
    first: int,
) -> tuple[FloatArray, IntArray]:
    """Return the crossings, and the events inside of the deciding intervals.

    An envelope of g brings the search to the cell of the first crossing, or to one that is no lower than that of the
    last. From there on down each cell is decided exactly: what an interval allows of it is a stretch, since mu g is
    linear.
    """
    signal = np.empty(n.size)
    inside = np.empty(n.size, np.int64)
    begin = 0
    for toy in range(n.size):
        columns = min(max(n[toy] - first, 0), g.shape[1])
        start = begin + first
        begin += n[toy]
        node = _last_allowed(largest, start, columns, envelope, guide, ceiling[columns])
        if node == mu.size - 1:
            signal[toy], inside[toy] = np.inf, -1
            continue
        point = -1.0
        column = -1
        while node >= 0 and point < 0.0:
            if whole[node, columns] >= 1.0:
                point, column = _last_in_cell(largest, start, columns, mu, g, node, whole[node + 1, columns] < 1.0)
            node -= 1
        if point >= 0.0:
            node += 1
            signal[toy] = min(mu[node] + point * (mu[node + 1] - mu[node]), mu[node + 1])
        else:
            signal[toy] = mu[0]
            column = -1
            for k in range(columns):
                if largest[start + k] > g[0, k]:
                    column = k
                    break
        inside[toy] = first + column if column >= 0 else n[toy]
    return signal, inside


_ROUNDING = 16.0 * np.finfo(np.float64).eps
"""Part of mu by which an interval over a known background must exceed the boundary: rounding never excludes."""


@compiled
def _fill(p: FloatArray, u: FloatArray, v: FloatArray, share: float) -> None:
    """Fill p with the cumulative spectrum of signal and a `share` of background at 0, the events and 1."""
    p[0] = 0.0
    for i in range(u.size):
        p[i + 1] = u[i] + share * (v[i] - u[i])
    p[u.size + 1] = 1.0


@compiled
def _excluding_throughout(p: FloatArray, q: FloatArray, g: FloatArray, columns: int, first: int) -> int:
    """Return a column of which one interval exceeds g with the coordinates p and with q; -1 if there is none."""
    for i in range(p.size - first - 1):
        count = 0
        reach = min(columns, p.size - first - 1 - i)
        for k in range(reach):
            dp = p[i + first + k + 1] - p[i]
            dq = q[i + first + k + 1] - q[i]
            count += (dp if dp < dq else dq) > g[k] + _ROUNDING
        if count > 0:
            for k in range(reach):
                if min(p[i + first + k + 1] - p[i], q[i + first + k + 1] - q[i]) > g[k] + _ROUNDING:
                    return k
    return -1


@compiled
def _allowed_throughout(p: FloatArray, q: FloatArray, g: FloatArray, columns: int, first: int) -> bool:
    """Tell whether no interval exceeds g with the coordinates p nor with q."""
    count = 0
    for i in range(p.size - first - 1):
        for k in range(min(columns, p.size - first - 1 - i)):
            dp = p[i + first + k + 1] - p[i]
            dq = q[i + first + k + 1] - q[i]
            count += (dp if dp > dq else dq) > g[k]
        if count > 0:
            return False
    return True


@compiled
def _last_in_cell_over(
    p: FloatArray,
    w: FloatArray,
    mu: FloatArray,
    left: FloatArray,
    right: FloatArray,
    columns: int,
    first: int,
    x: float,
    lowest: float,
) -> tuple[float, int]:
    """Return the last allowed distance <= x from the left end of a cell, and the column that excludes what is above.

    Every interval that excludes x moves it down, to where none does. It is -1 if nothing is allowed down to `lowest`.
    p are the coordinates at the left end, w those of signal alone; mu the two ends.
    """
    column = -1
    width = mu[1] - mu[0]
    rounding = _ROUNDING * mu[1]
    while True:
        lower = x
        for i in range(p.size - first - 1):
            for k in range(min(columns, p.size - first - 1 - i)):
                j = i + first + k + 1
                # mu g - (mu du + b (dv - du)) is linear in the distance
                q0 = mu[0] * (left[k] - (p[j] - p[i]))
                q1 = (mu[1] * right[k] - mu[0] * left[k]) / width - (w[j] - w[i])
                if q0 + x * q1 < -rounding:
                    step = max(-q0 / q1, 0.0) if q0 >= -rounding else -1.0
                    if step < lower:
                        lower = step
                        column = k
        if lower < lowest:
            return -1.0, column
        if lower == x:
            return x, column
        x = lower


@compiled
def _first_in_cell_over(
    p: FloatArray,
    w: FloatArray,
    mu: FloatArray,
    left: FloatArray,
    right: FloatArray,
    columns: int,
    first: int,
    x: float,
) -> tuple[float, int]:
    """Return the distance >= x from the left end of a cell above which an interval excludes, and the column of that.

    It is -1 if one excludes x already, +inf if none excludes anything above. p are the coordinates at the left end, w
    those of signal alone; mu the two ends.
    """
    column = -1
    lowest = np.inf
    width = mu[1] - mu[0]
    rounding = _ROUNDING * mu[1]
    for i in range(p.size - first - 1):
        for k in range(min(columns, p.size - first - 1 - i)):
            j = i + first + k + 1
            q0 = mu[0] * (left[k] - (p[j] - p[i]))
            q1 = (mu[1] * right[k] - mu[0] * left[k]) / width - (w[j] - w[i])
            if q0 + x * q1 < -rounding:
                return -1.0, k
            if q0 + width * q1 < -rounding:
                step = max(-q0 / q1, x)
                if step < lowest:
                    lowest = step
                    column = k
    return lowest, column


@compiled
def _last_crossings_over(
    n: IntArray,
    u: FloatArray,
    v: FloatArray,
    b: float,
    mu: FloatArray,
    g: FloatArray,
    whole: FloatArray,
    envelope: FloatArray,
    ceiling: IntArray,
    first: int,
) -> tuple[FloatArray, IntArray]:
    """Return the last crossings over a known background, and the events inside of the deciding intervals.

    Runs of cells which one interval excludes entirely are left behind from above: between two nodes the part of mu
    in an interval is between those at the nodes. A cell that is left is decided exactly.
    """
    signal = np.full(n.size, -1.0)
    inside = np.empty(n.size, np.int64)
    most = (n.max() if n.size else 0) + 2
    coordinates = np.empty((3, most))
    last = mu.size - 1
    start = 0
    for toy in range(n.size):
        events = n[toy]
        columns = min(max(events - first, 0), g.shape[1])
        p, q, w = coordinates[0, : events + 2], coordinates[1, : events + 2], coordinates[2, : events + 2]
        ours, theirs = u[start : start + events], v[start : start + events]
        start += events
        _fill(w, ours, theirs, 0.0)
        # from this node on upwards all is excluded, but where the last node is allowed
        node = min(ceiling[columns] + 1, last)
        column = -1
        if ceiling[columns] == last:
            _fill(p, ours, theirs, b / mu[last])
            column = _excluding_throughout(p, p, g[last], columns, first)
        if b > mu[last] or (ceiling[columns] == last and column < 0):
            signal[toy], inside[toy] = np.inf, -1
            continue
        step = 1
        while node > 0 and mu[node] > b:
            below = max(node - step, 0)
            _fill(p, ours, theirs, b / mu[below])
            _fill(q, ours, theirs, b / mu[node])
            found = _excluding_throughout(p, q, envelope[below], columns, first)
            if found >= 0:
                node, column = below, found
                step *= 2
                continue
            if node - below > 1:
                step = (node - below) // 2
                continue
            node = below
            # the whole range excludes a cell, or all but its left end, unless both its ends are allowed
            if whole[node, columns] < 1.0:
                column = -1
                continue
            x = mu[node + 1] - mu[node]
            if whole[node + 1, columns] < 1.0:
                x, column = 0.0, -1
            lowest = max(b - mu[node], 0.0)
            if x < lowest:
                continue
            x, found = _last_in_cell_over(p, w, mu[node : node + 2], g[node], g[node + 1], columns, first, x, lowest)
            column = found if found >= 0 else column
            if x >= 0.0:
                signal[toy] = max(mu[node] + x - b, 0.0)
                break
        if signal[toy] < 0.0 and mu[node] > b:
            signal[toy] = mu[0] - b
        inside[toy] = first + column if column >= 0 else events
    return signal, inside


@compiled
def _first_crossings_over(
    n: IntArray,
    u: FloatArray,
    v: FloatArray,
    b: float,
    mu: FloatArray,
    g: FloatArray,
    whole: FloatArray,
    envelope: FloatArray,
    ceiling: IntArray,
    first: int,
) -> tuple[FloatArray, IntArray]:
    """Return the first crossings over a known background, and the events inside of the deciding intervals.

    As for the last ones, but from s = 0 upwards, and leaving runs of cells behind that no interval excludes in part.
    """
    signal = np.empty(n.size)
    inside = np.empty(n.size, np.int64)
    most = (n.max() if n.size else 0) + 2
    coordinates = np.empty((3, most))
    last = mu.size - 1
    start = 0
    for toy in range(n.size):
        events = n[toy]
        columns = min(max(events - first, 0), g.shape[1])
        p, q, w = coordinates[0, : events + 2], coordinates[1, : events + 2], coordinates[2, : events + 2]
        ours, theirs = u[start : start + events], v[start : start + events]
        start += events
        _fill(w, ours, theirs, 0.0)
        signal[toy], inside[toy] = np.inf, -1
        if b > mu[last]:
            continue
        node = min(max(int(np.searchsorted(mu, b, side="right")) - 1, 0), last - 1)
        x = max(b - mu[node], 0.0)
        step = 1
        while node < last:
            above = min(node + step, last)
            _fill(p, ours, theirs, b / mu[node])
            _fill(q, ours, theirs, b / mu[above])
            if above <= ceiling[columns] and _allowed_throughout(p, q, envelope[above], columns, first):
                node = above
                x = 0.0
                step *= 2
                continue
            if above - node > 1:
                step = (above - node) // 2
                continue
            ends = mu[node : node + 2]
            crossing, column = _first_in_cell_over(p, w, ends, g[node], g[node + 1], columns, first, x)
            falls = whole[node + 1, columns] < 1.0
            if (falls and x > 0.0) or (whole[node, columns] < 1.0 and x < ends[1] - ends[0]):
                crossing, column = -1.0, -1
            elif falls and crossing > 0.0:
                crossing, column = 0.0, -1
            if crossing < np.inf:
                if crossing >= 0.0 or b < mu[0]:
                    signal[toy] = max(mu[node] + max(crossing, 0.0) - b, 0.0)
                else:
                    signal[toy] = -1.0
                inside[toy] = first + column if column >= 0 else events
                break
            node += 1
            x = 0.0
    return signal, inside


@compiled
def _deciding_intervals(n: IntArray, u: FloatArray, inside: IntArray) -> tuple[IntArray, IntArray]:
    left = np.full(n.size, -1)
    right = np.full(n.size, -1)
    start = 0
    for toy in range(n.size):
        events = n[toy]
        k = inside[toy]
        if k >= events:
            right[toy] = events
        elif k >= 0:
            largest = -1.0
            for i in range(-1, events - k):
                begin = u[start + i] if i >= 0 else 0.0
                end = u[start + i + k + 1] if i + k + 1 < events else 1.0
                if end - begin > largest:
                    largest = end - begin
                    left[toy], right[toy] = i, i + k + 1
        start += events
    return left, right
