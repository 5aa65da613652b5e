"""The tables of the interval methods: what there is, and building more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from covsvc.engine import table_building
from covsvc.engine.clusters import connect
from covsvc.engine.clusters.choosing import chosen
from covsvc.errors import StudyError
from covsvc.interval_tables import (
    HIGHEST_LEVEL,
    IntervalTable,
    cache_folder,
    file_name,
    interval_table,
    levels,
    path_of,
)
from covsvc.store.lock import locked
from covsvc.study import confidence_level, rounded


def tables() -> list[dict[str, Any]]:
    """Return what is known of each table of the interval methods that is used: cl, reach, error, origin and file.

    Of a file that cannot be read, cl, file and reason.
    """
    return [_told_table(level) for level in levels()]


def build_tables(
    cl: Sequence[float],
    *,
    toys: int = 3_000_000,
    seed: int = 2002,
    largest_mu: float = 120.0,
    folder: str | Path | None = None,
    cluster: Any = None,
    n_workers: int | None = None,
    progress: Callable[[str, float], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """Build the tables of the interval methods at some confidence levels, and store them.

    Parameters
    ----------
    cl : sequence of float
        In [0.5, 1).
    toys : int
        Toys at each mu.
    seed : int
    largest_mu : float
        Where the tables end, expected events.
    folder : str or Path, optional
        The user's cache unless given.
    cluster, n_workers
        As those of `run`.
    progress : callable, optional
        Is told the stage and how much of it is done, from 0 to 1.
    tell : callable, optional
        Is told in a sentence that workers are waited for, or refused.

    Returns
    -------
    list of dict
        One a table: as `tables` gives it; hidden_by, the file of another table that is used in its place, or None.

    Raises
    ------
    StudyError
        If a cl, the number of toys or the largest mu is out of range, or the cluster is refused.
    TaskError
        If there are too few toys to tell thresholds apart.
    """
    wanted = sorted({rounded(confidence_level(level)) for level in cl})
    if not wanted:
        raise StudyError("cl: name a confidence level, for example 0.90")
    if wanted[-1] > HIGHEST_LEVEL:
        raise StudyError(f"cl = {wanted[-1]:.12g}: tables are built up to {HIGHEST_LEVEL:g}: few toys exceed it")
    if not _LEAST_TOYS <= toys <= _MOST_TOYS:
        raise StudyError(f"toys = {toys:,}: {_LEAST_TOYS:,} to {_MOST_TOYS:,} at each mu make a table")
    smallest = -2.0 * float(np.log1p(-wanted[-1]))
    if not smallest <= largest_mu <= _FARTHEST:
        raise StudyError(f"largest_mu = {largest_mu:g}: expected events in [{smallest:.3g}, {_FARTHEST:g}]")
    where = chosen(cluster)
    target = cache_folder() if folder is None else Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"{target}: {error.strerror}; choose another folder") from None
    with locked(target / "building.lock", "another build is at work"), connect(where, n_workers, tell=tell) as client:
        built = table_building.build_tables(wanted, int(toys), seed, float(largest_mu), target, client, progress)
    found = []
    for table in built:
        path = target / file_name(table.cl)
        used = path_of(table.cl)
        hidden_by = str(used) if used is not None and used.resolve() != path.resolve() else None
        found.append(_about(table, path) | {"hidden_by": hidden_by})
    return found


_LEAST_TOYS, _MOST_TOYS = 10_000, 100_000_000

_FARTHEST = 140.0


def _told_table(level: float) -> dict[str, Any]:
    path = path_of(level)
    if path is None:
        raise StudyError(f"cl = {level:g}: its table was removed a moment ago")
    try:
        return _about(interval_table(level), path)
    except StudyError as error:
        return {"cl": level, "file": str(path), "reason": str(error)}


def _about(table: IntervalTable, path: Path) -> dict[str, Any]:
    error = max(float(part.error.max()) for part in (table.c_max, table.p_max))
    made_by = {key: table.made_by[key] for key in ("toys", "seed", "version")}
    return {"cl": table.cl, "largest_mu": table.largest_mu, "error": error, **made_by, "file": str(path)}
