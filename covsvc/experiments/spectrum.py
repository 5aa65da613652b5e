"""Events along a signal spectrum, with a background that is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from covsvc.contracts import MOST_EVENTS, Events, FloatArray
from covsvc.errors import ObservationError
from covsvc.kernels.poisson import TAIL, support
from covsvc.kernels.spacings import cumulative, draw_events, shares

MOST_DRAWN = 25_000_000
"""Expected events of all toys of a batch, at most: 0.2 GB."""


@dataclass(frozen=True)
class Spectrum:
    """Draw events of signal, of unknown and of known background, and tell the analyst where they are.

    An event is told by u, the cumulative distribution of the signal there, in which signal is uniform. The expected
    unknown background is b + background_per_signal s_true; nothing of it is told. Where there is a known background,
    its expectation and its cumulative distribution at each event are told, too.

    Notes
    -----
    An analyst who reads `Counts` reads the number of events and the expected known background, and no other. The
    density of each background is constant between edges in u. With background_per_signal = 1 and all background at
    u < 1/2 it is there twice the signal, as in test (b) of [1]_.

    References
    ----------
    .. [1] S. Yellin, Phys. Rev. D 66 (2002) 032005, Section IV.
    """

    background_per_signal: float = 0.0
    """Expected unknown background that comes with each expected signal event."""
    background_edges: Sequence[float] = (0.0, 0.5)
    """Ends of the pieces in u in which the unknown background is uniform, ascending."""
    background_weights: Sequence[float] = (1.0,)
    """How the unknown background is divided among its pieces."""
    known_b: float = 0.0
    """Expected known background."""
    known_edges: Sequence[float] = (0.0, 1.0)
    """Ends of the pieces in u in which the known background is uniform, ascending."""
    known_weights: Sequence[float] = (1.0,)
    """How the known background is divided among its pieces."""

    gives: ClassVar[tuple[type, ...]] = (Events,)
    hides_background: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("background_per_signal", "known_b"):
            if not 0 <= getattr(self, name) <= MOST_EVENTS:
                raise ValueError(f"{name} = {getattr(self, name)}: must be a number in [0, {MOST_EVENTS:,}]")
        for kind in ("background", "known"):
            # a study file gives lists
            for name in (f"{kind}_edges", f"{kind}_weights"):
                object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
            _check_shape(kind, getattr(self, f"{kind}_edges"), getattr(self, f"{kind}_weights"))
        for name in ("known_edges", "known_weights"):
            if not self.known_b and getattr(self, name) != getattr(Spectrum, name):
                raise ValueError(f"{name} = {getattr(self, name)}: needs a known_b above 0")

    def toys(self, s_true: float, b: float, size: int, rng: np.random.Generator) -> tuple[Any, ...]:
        """Draw `size` toys, with an expected unknown background of b + background_per_signal s_true.

        Raises
        ------
        ObservationError
            If a toy could have more events than an observation may, or all toys together more than MOST_DRAWN.
        """
        edges, expected = self._process(s_true, b + self.background_per_signal * s_true)
        total = float(expected.sum())
        highest = support(total, TAIL)[1]
        if highest > MOST_EVENTS:
            raise ObservationError(
                f"{total:g} expected events: up to {highest:,} may come, more than {MOST_EVENTS:,}; take a smaller "
                "s_true, b or known_b"
            )
        if size * total > MOST_DRAWN:
            raise ObservationError(
                f"{size:,} toys of {total:g} expected events make more than {MOST_DRAWN:,} in all; "
                f"take toys_per_block = {int(MOST_DRAWN / total)}"
            )
        n, u = draw_events(edges, expected, size, rng)
        return (Events.drawn(n, u, self.known_b, self._known_cdf(u)),)

    def observe(self, data: dict[str, Any]) -> tuple[Any, ...]:
        """Return the view of real data.

        `data` holds u, the cumulative distribution of the signal at each event, in any order. If some of the background
        is known, b is its expectation and v its cumulative distribution at the same events; without them they are
        those of the options.
        """
        if set(data) not in ({"u"}, {"u", "b", "v"}):
            raise ObservationError(
                "an observation of spectrum is given by u, or by u, b and v if some of the background is known, not by "
                f"{', '.join(data) or 'nothing'}"
            )
        u = _row("u", data["u"])
        if "v" not in data:
            known = Events.of([u])
            return (Events(known.n, known.u, self.known_b, self._known_cdf(known.u)),)
        v = _row("v", data["v"])
        if len(v) != len(u):
            raise ObservationError(f"v holds {len(v)} positions, but u {len(u)}: give both of each event")
        order = np.lexsort((v, u))
        return (Events([len(u)], u[order], data["b"], v[order]),)

    def background(self, data: dict[str, Any], *, no_signal: bool = False) -> float:  # noqa: ARG002 - nothing tells
        """Return 0: nothing tells how much of the unknown background there is, and it may be none."""
        return 0.0

    def _process(self, s_true: float, unknown_b: float) -> tuple[FloatArray, FloatArray]:
        """Return edges, and the expected events of all kinds between them."""
        backgrounds = [
            (expected, np.array(edges), shares(weights))
            for expected, edges, weights in (
                (unknown_b, self.background_edges, self.background_weights),
                (self.known_b, self.known_edges, self.known_weights),
            )
            if expected
        ]
        edges = np.unique(np.concatenate([np.array([0.0, 1.0]), *(each for _, each, _ in backgrounds)]))
        expected = s_true * np.diff(edges)
        for events, at, up_to in backgrounds:
            expected += events * np.diff(cumulative(edges, at, up_to))
        return edges, expected

    def _known_cdf(self, u: FloatArray) -> FloatArray | None:
        if not self.known_b:
            return None
        return np.asarray(cumulative(u, np.array(self.known_edges), shares(self.known_weights)))


def _check_shape(kind: str, edges: Sequence[float], weights: Sequence[float]) -> None:
    inside = [0.0, *edges, 1.0]
    if len(edges) < 2 or not all(low <= high for low, high in pairwise(inside)):
        raise ValueError(f"{kind}_edges = {edges}: must be two or more numbers in [0, 1], ascending")
    if not all(low < high for low, high in pairwise(edges)):
        raise ValueError(f"{kind}_edges = {edges}: a piece has a width above 0")
    if len(weights) != len(edges) - 1:
        raise ValueError(
            f"{kind}_weights = {weights}: {len(weights)} weights for the {len(edges) - 1} pieces of {kind}_edges"
        )
    if not (all(0 <= weight < np.inf for weight in weights) and 0 < sum(weights) < np.inf):
        raise ValueError(f"{kind}_weights = {weights}: must be finite numbers >= 0, not all of them 0")


def _row(name: str, given: Any) -> FloatArray:
    row = given if isinstance(given, np.ndarray | list | tuple) else [given]
    if not all(isinstance(value, Real) and not isinstance(value, bool) for value in row):
        raise ObservationError(f"{name} = {given!r}: the positions of events are a row of numbers in [0, 1]")
    return np.asarray(row, np.float64)
