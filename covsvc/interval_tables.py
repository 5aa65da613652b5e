"""Tables of the interval methods: which intervals exclude which signals."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from scipy import special

from covsvc.contracts import Events, IntArray
from covsvc.errors import StudyError
from covsvc.kernels.intervals import MOST_INSIDE, Boundary, Crossing, deciding_intervals

FloatArray = NDArray[np.float64]

SHIPPED = Path(__file__).parent / "tables"
"""Folder of the tables that come with covsvc."""

HIGHEST_LEVEL = 0.999
"""Largest cl of a table: few toys exceed it."""

_FORMAT = 2


@dataclass(frozen=True, eq=False)
class Calibrated:
    """Where a statistic of the intervals excludes, at one cl.

    Attributes
    ----------
    mu : ndarray of float, shape (node,)
        Expected events without background, ascending.
    value : ndarray of float, shape (node,)
        What the statistic has to exceed: CBarMax or pBarMax.
    error : ndarray of float, shape (node,)
        Standard error of the coverage there, from the toys that made the table.
    g : ndarray of float, shape (node, k)
        What part of the range an interval with k events inside has to exceed; 1: it never excludes.
    thresholds, atom_ends : ndarray of float, shape (k,)
        From which mu on k events in the whole range exclude as much as any interval with fewer, and from which mu on
        they exclude enough; +inf beyond the table.

    References
    ----------
    .. [1] S. Yellin, Phys. Rev. D 66 (2002) 032005, Eq. B2 and C2.
    """

    mu: FloatArray
    value: FloatArray
    error: FloatArray
    g: FloatArray
    thresholds: FloatArray
    atom_ends: FloatArray

    @cached_property
    def boundary(self) -> Boundary:
        """What is excluded, for a search."""
        return Boundary(self.mu, self.g)


@dataclass(frozen=True, eq=False)
class IntervalTable:
    """All that the interval methods have to know of toys without background, at one cl.

    Attributes
    ----------
    cl : float
    c_max, p_max : Calibrated
        Of the largest C_k and of the largest Poisson probability.
    fixed_mu : ndarray of float, shape (node,)
    fixed_g : ndarray of float, shape (node, k)
        Where C_k(mu g, mu) = cl; 1 below the smallest mu that k events in the whole range exclude.
    made_by : dict
        Seed, toys, version.
    """

    cl: float
    c_max: Calibrated
    p_max: Calibrated
    fixed_mu: FloatArray
    fixed_g: FloatArray
    made_by: dict[str, Any] = field(default_factory=dict)

    @property
    def largest_mu(self) -> float:
        """Where the table ends, expected events."""
        return float(self.c_max.mu[-1])

    @property
    def most_inside(self) -> int:
        """The largest number of events of a fixed interval."""
        return int(self.fixed_g.shape[1]) - 1

    def fixed(self, k: int) -> Boundary:
        """Return what intervals with k events inside exclude, where k was chosen beforehand."""
        return _fixed(self, k)

    @cached_property
    def digest(self) -> str:
        """What tells the table from others."""
        told = hashlib.sha256(json.dumps(self.made_by, sort_keys=True).encode())
        for part in (self.c_max.mu, self.c_max.g, self.p_max.mu, self.p_max.value, self.fixed_mu, self.fixed_g):
            told.update(np.ascontiguousarray(part).tobytes())
        return told.hexdigest()[:16]


def interval_table(cl: float) -> IntervalTable:
    """Return the table at a confidence level.

    Looked for in the folder COVSVC_TABLES, if that is set, among the tables that come with covsvc, and in the user's
    cache, where `covsvc tables build` puts them.

    Raises
    ------
    StudyError
        If there is none; the message says how it is built.
    """
    path = path_of(cl)
    if path is None:
        raise StudyError(missing_table(cl))
    return _read(path, path.stat().st_mtime_ns)


def missing_table(cl: float) -> str | None:
    """Return what to do about a table that does not exist; None if it does."""
    if path_of(cl) is not None:
        return None
    known = ", ".join(f"{level:.12g}" for level in levels())
    if cl > HIGHEST_LEVEL:
        return (
            f"cl = {cl:.12g}: there are tables of the interval methods at {known}, and none can be built above "
            f"{HIGHEST_LEVEL:g}; max_gap needs none"
        )
    return (
        f"cl = {cl:.12g}: there is no table of the interval methods, only at {known}; it takes some minutes to build: "
        f"covsvc tables build --cl {cl:.12g}"
    )


def levels() -> list[float]:
    """Return the confidence levels of which there is a table."""
    found = set()
    for path in (path for folder in _folders() if folder.is_dir() for path in folder.glob("intervals-*.npz")):
        with suppress(ValueError):  # a copy, say
            found.add(float(path.stem.removeprefix("intervals-")))
    return sorted(found)


def path_of(cl: float) -> Path | None:
    """Return the file of the table at a confidence level, None if there is none."""
    return next((path for folder in _folders() if (path := folder / file_name(cl)).is_file()), None)


def file_name(cl: float) -> str:
    """Return the name of the file that holds the table at a confidence level."""
    return f"intervals-{cl:.12g}.npz"


def cache_folder() -> Path:
    """Return where tables go that the user builds."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "covsvc" / "tables"


def write_table(table: IntervalTable, folder: Path) -> Path:
    """Write a table to a folder, at once or not at all; return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(table.cl)
    parts: dict[str, Any] = {
        "format": _FORMAT,
        "cl": table.cl,
        "made_by": json.dumps(table.made_by),
        "fixed_mu": table.fixed_mu,
        "fixed_g": table.fixed_g.astype(np.float32),
    }
    for name in ("c_max", "p_max"):
        part: Calibrated = getattr(table, name)
        parts |= {f"{name}_{key}": getattr(part, key) for key in ("mu", "value", "thresholds", "atom_ends")}
        parts[f"{name}_error"] = part.error.astype(np.float32)
    parts["c_max_g"] = table.c_max.g.astype(np.float32)
    parts["checksum"] = _checksum(parts)
    with written_at_once(path) as file:
        np.savez_compressed(file, **parts)
    return path


@contextmanager
def written_at_once(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write to, which becomes `path` when it is complete."""
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    with unfinished.open("wb") as file:
        yield file
    unfinished.replace(path)


def crossing_of(boundary: Boundary, observed: Events, *, last: bool = True) -> Crossing:
    """Return where observations cross a boundary: the largest allowed signal, or the smallest excluded one."""
    if observed.v is not None:
        return boundary.crossing_over(observed.n, observed.u, float(observed.b), observed.v, last)
    return boundary.crossing(observed.n, observed.largest_intervals, last)


def deciding(crossing: Crossing, observed: Events) -> tuple[IntArray, IntArray]:
    """Return the events that bound the interval which decides each limit; of an empty one, that at s = 0.

    Returns
    -------
    left, right : ndarray of int, shape (toy,)
        Number of the event within its toy; -1 for the lower end of the range, n for the upper. Both are -1 where the
        limit is unbounded.
    """
    return deciding_intervals(crossing, observed.n, observed.u, float(observed.b), observed.v)


def why_none(crossing: Crossing, observed: Events, boundary: Boundary) -> list[str]:
    """Return why each observation has no limit, in words, empty where it has one."""
    beyond = f"the limit lies beyond mu = {boundary.mu[-1]:g}, where the table ends"
    empty = (
        "an interval with no more than {} of the events holds so much of the b = {:g} expected background events "
        "that no signal >= 0 is left at this cl"
    )
    return [
        beyond if signal == np.inf else empty.format(inside, observed.b) if signal < 0 else ""
        for signal, inside in zip(crossing.signal.tolist(), crossing.inside.tolist(), strict=True)
    ]


def p_max_part(mu: FloatArray, p_bar: FloatArray, atom_ends: FloatArray) -> FloatArray:
    """Return what part of the range an interval has to exceed where the Poisson probability decides.

    Parameters
    ----------
    mu, p_bar : ndarray of float, shape (node,)
    atom_ends : ndarray of float, shape (k,)

    References
    ----------
    .. [1] S. Yellin, Phys. Rev. D 66 (2002) 032005, Appendix C.
    """
    k = np.arange(len(atom_ends))
    x = special.gammaincinv(k + 1.0, p_bar[:, None])
    return np.where(mu[:, None] <= atom_ends, 1.0, np.minimum(x / mu[:, None], 1.0))


def _folders() -> list[Path]:
    named = os.environ.get("COVSVC_TABLES")
    if named and not Path(named).is_dir():
        raise StudyError(f"COVSVC_TABLES = {named}: is no folder; name that of tables, or unset it")
    return [*([Path(named)] if named else []), SHIPPED, cache_folder()]


def _checksum(parts: Mapping[str, Any]) -> str:
    told = hashlib.sha256()
    for name in sorted(set(parts) - {"checksum"}):
        told.update(name.encode() + np.asarray(parts[name]).tobytes())
    return told.hexdigest()


@lru_cache(maxsize=16)
def _read(path: Path, written_at: int) -> IntervalTable:  # noqa: ARG001 - a file that is written anew is read anew
    try:
        # opened here: NumPy leaves what is no archive open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as parts:
            if int(parts["format"]) != _FORMAT:
                raise StudyError(
                    f"{path}: is of format {int(parts['format'])}, this covsvc reads {_FORMAT}; build anew"
                )
            if str(parts["checksum"]) != _checksum(parts):
                raise ValueError("its checksum is wrong")
            if file_name(float(parts["cl"])) != path.name:
                raise StudyError(f"{path}: holds the table at cl = {float(parts['cl']):g}, not what its name says")
            c_max, p_max = (
                {
                    key: parts[f"{name}_{key}"].astype(np.float64)
                    for key in ("mu", "value", "error", "thresholds", "atom_ends")
                }
                for name in ("c_max", "p_max")
            )
            return IntervalTable(
                float(parts["cl"]),
                Calibrated(g=parts["c_max_g"].astype(np.float64), **c_max),
                Calibrated(g=p_max_part(p_max["mu"], p_max["value"], p_max["atom_ends"]), **p_max),
                parts["fixed_mu"],
                parts["fixed_g"].astype(np.float64),
                json.loads(str(parts["made_by"])),
            )
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise StudyError(
            f"{path}: is no table of the interval methods ({error}); remove it, or build it anew"
        ) from error


@lru_cache(maxsize=64)
def _fixed(table: IntervalTable, k: int) -> Boundary:
    if not 0 <= k <= min(table.most_inside, MOST_INSIDE - 1):
        raise StudyError(
            f"n = {k}: the table at cl = {table.cl:g} ends at mu = {table.largest_mu:g} and holds intervals with "
            f"no more than {table.most_inside} events"
        )
    start = float(special.gammaincinv(k + 1.0, table.cl))
    above = table.fixed_mu > start
    mu = np.concatenate([[start], table.fixed_mu[above]])
    return Boundary(mu, np.concatenate([[1.0], table.fixed_g[above, k]])[:, None], k)
