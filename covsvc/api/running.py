"""Running of studies: what is missing, what it costs, and doing it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from covsvc.api.building import STORE
from covsvc.contracts import Calibration
from covsvc.engine.calibrating import Calibrations, Need, calibrate_all, needs_of
from covsvc.engine.clusters import connect
from covsvc.engine.cost import cost_at
from covsvc.engine.execute import execute
from covsvc.engine.expected import is_fitted
from covsvc.engine.warm_up import run_kernels
from covsvc.engine.work import box_of, make_tables, run_task
from covsvc.errors import StoreError, StudyError
from covsvc.store.calibrations import find_calibration, keep_calibration
from covsvc.store.repository import Ledger, compare, open_cube, open_ledger
from covsvc.study import Row, Study, rows, study_of, tile_size
from covsvc.study_file import read_studies
from covsvc.tally import FAILED, MISSING, ExactTally
from covsvc.verdict import smallest_deficit

TASK_TOYS, TASK_TOYS_ONE_BY_ONE, TASK_TOYS_FITTED = 1.5e7, 5e5, 2e4
"""Toys of a task, about: 0.5 to 2 s of work where limits are looked up, are set toy by toy, and likelihoods fitted."""


def load_study(source: str | Path | Mapping[str, Any]) -> Study:
    """Return the one study of a YAML file, or of a mapping with the same keys.

    Raises
    ------
    StudyError
        If anything in it is refused, with all reasons at once, or the file holds several studies.
    """
    if isinstance(source, Mapping):
        return study_of(source)
    studies = read_studies(source)
    if len(studies) > 1:
        names = ", ".join(study.name for study in studies)
        raise StudyError(f"{source}: holds several studies, {names}; take them from load_studies")
    return studies[0]


def load_studies(path: str | Path) -> tuple[Study, ...]:
    """Return all studies of a YAML file.

    Raises
    ------
    StudyError
        If anything in it is refused, with all reasons at once.
    """
    return read_studies(path)


@dataclass(frozen=True)
class Progress:
    """How far a run is: cells and toys done of those that were missing, and since when; calibrations before them."""

    cells: float
    all_cells: int
    toys: int
    all_toys: int
    seconds: float
    calibrations: int = 0
    all_calibrations: int = 0


def run(
    study: Study,
    store: str | Path = STORE,
    cluster: Any = None,
    *,
    n_workers: int | None = None,
    replace: bool = False,
    retry_failed: bool = False,
    progress: Callable[[Progress], None] | None = None,
    task_toys: float | None = None,
    commit_seconds: float = 10.0,
) -> xr.Dataset:
    """Compute what is missing of a study, store it, and return its cube.

    Parameters
    ----------
    study : Study
        From `load_study`.
    store : str or Path
        Folder of the store.
    cluster : None, distributed.Client or str
        None works in this process; ``"local"`` starts a cluster; ``"tcp://host:port"`` is a scheduler.
    n_workers : int, optional
        Workers of a cluster that is started here; as many as cores unless given.
    replace : bool
        Discard stored columns whose toys, code or options are others, instead of refusing them.
    retry_failed : bool
        Draw failed blocks again.
    progress : callable, optional
        Is told a `Progress` now and then.
    task_toys : float, optional
        Toys of a task, about; results do not depend on it. Unless given, so many that it takes about a second.
    commit_seconds : float
        Time between commits.

    Returns
    -------
    xarray.Dataset
        The cube; see `open_cube`.

    Raises
    ------
    StoreError
        If the store cannot be locked, read or extended.
    ClusterError
        If the cluster cannot be reached, or is lost.
    """
    task_toys = task_toys or _task_toys(study)
    tile = tile_size(study, task_toys)
    with open_ledger(store, study, replace=replace, s_tile=tile, commit_seconds=commit_seconds) as ledger:
        _trust(ledger, study, replace)

        def missing(b: float) -> Any:
            return ledger.missing(b, retry_failed=retry_failed)

        tasks, toys, exact, cells = _work(study, missing, task_toys)
        if tasks or exact:
            with connect(cluster, n_workers, study) as client:
                try:
                    needs = needs_of(rows(study, missing, task_toys))
                    calibrations = _calibrate(needs, store, client, progress)
                    ledger.note_calibrations(_errors(needs, calibrations))
                    todo = rows(study, missing, task_toys)
                    _carry_out(todo, client, ledger, progress, study, toys, cells, calibrations)
                except KeyboardInterrupt:
                    ledger.commit()  # before the cluster takes its time to close
                    raise
    return open_cube(store, study.name)


@dataclass(frozen=True)
class Remainder:
    """What is missing of a study in a store: tasks, toys and rows of exact values."""

    tasks: int
    toys: int
    exact_rows: int
    new_columns: list[str]
    stored: bool

    @property
    def nothing(self) -> bool:
        """Whether the study is complete."""
        return not (self.tasks or self.exact_rows)


def remainder(
    study: Study,
    store: str | Path = STORE,
    *,
    replace: bool = False,
    retry_failed: bool = False,
    task_toys: float | None = None,
) -> Remainder:
    """Say what `run` with the same options would compute, without locking the store.

    Raises
    ------
    StoreError
        If `run` would refuse the study.
    """
    missing, new, stored = _peek(study, store, replace, retry_failed)
    tasks, toys, exact, _ = _work(study, missing, task_toys or _task_toys(study))
    return Remainder(tasks, toys, exact, new, stored)


def plan(
    study: Study, store: str | Path = STORE, *, n_workers: int = 1, task_toys: float | None = None
) -> dict[str, Any]:
    """Say what `run` would do, what it would cost, and what the toys could show.

    Returns
    -------
    dict
        cells, columns, toys_per_cell, tasks, toys, exact_rows and calibrations that are missing; enumerable;
        new_columns, whose toys are drawn again; seconds (expected, on `n_workers`), memory_mb of the driver and of a
        worker, smallest_deficit by cl.
    """
    left = remainder(study, store, task_toys=task_toys)
    run_kernels(study)
    cost = cost_at(study, study.b[-1])
    keys = _missing_calibrations(study, store, task_toys or _task_toys(study)) if left.tasks else []
    each_takes = float(np.mean([*cost.calibrations.values()])) if cost.calibrations else 0.0
    calibrating = [cost.calibrations.get(key, each_takes) for key in keys]
    cell_mb = len(study.columns) * (1024 * 8 * 3 + study.n_blocks * 9) / 1e6
    return {
        "study": study.name,
        "cells": study.cells,
        "columns": len(study.columns),
        "toys_per_cell": study.n_toys,
        "tasks": left.tasks,
        "toys": left.toys,
        "exact_rows": left.exact_rows,
        "enumerable": study.is_enumerable,
        "calibrations": len(keys),
        "already_stored": left.stored,
        "new_columns": left.new_columns,
        "seconds": (left.toys * cost.toy_seconds + left.exact_rows * cost.exact_seconds) / n_workers
        + max(sum(calibrating) / n_workers, max(calibrating, default=0.0)),
        "n_workers": n_workers,
        "memory_mb": {
            "driver": round(250 + study.cells * cell_mb),
            "worker": round(250 + study.toys_per_block * 16 / 1e6 + cost.outcomes * len(study.columns) * 50 / 1e6),
        },
        "smallest_deficit": {
            f"{cl:.12g}": smallest_deficit(study.n_toys, cl, study.cells * len(study.columns)) for cl in study.cl
        },
    }


def _task_toys(study: Study) -> float:
    """Return how many toys make a task of about a second: fewer where limits are set toy by toy."""
    row = Row(study.source, study.columns, study.b[-1], study.s_true)
    if box_of(study.experiment.build(), row):
        return TASK_TOYS
    return TASK_TOYS_FITTED if is_fitted(study) else TASK_TOYS_ONE_BY_ONE


def _work(study: Study, missing: Callable[[float], Any], task_toys: float) -> tuple[int, int, int, int]:
    """Return the tasks, the toys and the rows of exact values that are missing, and the cells of these toys."""
    tasks = toys = exact = cells = 0
    for row in rows(study, missing, task_toys):
        tasks += len(row.tasks)
        toys += sum(task.toys for task in row.tasks)
        exact += row.reach is not None
        cells += len({s_true for task in row.tasks for s_true in task.s_true})
    return tasks, toys, exact, cells


def _carry_out(
    todo: Iterator[Row],
    client: Any,
    ledger: Ledger,
    progress: Callable[[Progress], None] | None,
    study: Study,
    toys: int,
    cells: int,
    calibrations: Calibrations,
) -> None:
    begun = time.monotonic()
    drawn = 0

    def tell() -> None:
        if progress is not None:
            done = cells * drawn / toys if toys else cells
            progress(Progress(done, cells, drawn, toys, time.monotonic() - begun))

    tell()
    for learnt in execute(todo, client, calibrations):
        if isinstance(learnt, ExactTally):
            ledger.add_exact(learnt)
        else:
            ledger.add(learnt)
            drawn += len(learnt.s_true) * (learnt.stop - learnt.start) * study.toys_per_block
            tell()


def _missing_calibrations(study: Study, store: str | Path, task_toys: float) -> list[str]:
    """Return the keys of the calibrations that toys need and that are not stored."""
    missing, _, _ = _peek(study, store, replace=False, retry_failed=False)
    keys = dict.fromkeys(need.key for need in needs_of(rows(study, missing, task_toys)))
    return [key for key in keys if find_calibration(store, key) is None]


def _calibrate(
    needs: Sequence[Need], store: str | Path, client: Any, progress: Callable[[Progress], None] | None = None
) -> dict[str, Calibration | str]:
    """Return the calibrations that are needed, by key; those that are not stored yet are made, and stored."""
    wanted = {need.key: need for need in needs}
    found: dict[str, Calibration | str] = {
        key: held for key in wanted if (held := find_calibration(store, key)) is not None
    }
    missing = [need for key, need in wanted.items() if key not in found]
    begun = time.monotonic()

    def tell(done: int) -> None:
        if progress is not None and missing:
            progress(Progress(0.0, 0, 0, 0, time.monotonic() - begun, done, len(missing)))

    tell(0)
    for done, (need, made, seconds) in enumerate(calibrate_all(missing, client), 1):
        found[need.key] = made
        if isinstance(made, Calibration):
            keep_calibration(store, need.key, made, need.about, seconds)
        tell(done)
    return found


def _errors(needs: Sequence[Need], calibrations: Calibrations) -> dict[tuple[str, float], float]:
    """Return the largest standard error of coverage that the calibrations of each column leave."""
    errors: dict[tuple[str, float], float] = {}
    for need in needs:
        made = calibrations[need.key]
        if isinstance(made, Calibration):
            errors[need.column.key] = max(made.error, errors.get(need.column.key, 0.0))
    return errors


def _trust(ledger: Ledger, study: Study, replace: bool) -> None:
    """Compare a stored block of each column with the code and the libraries of now, if those have changed since."""
    changed: dict[str, None] = {}
    for task, digests in ledger.sentinels():
        found = run_task(task, make_tables(Row(study.source, task.columns, task.b, task.s_true))).digest[:, 0, 0]
        changed |= {
            column.key[0]: None for column, same in zip(task.columns, found == digests, strict=True) if not same
        }
    if changed and not replace:
        raise StoreError(
            f"{study.name}: this engine or these libraries give other limits than the stored ones, for "
            f"{', '.join(changed)}; restore the environment that `covsvc status --json` names, "
            "or recompute with --replace"
        )
    ledger.discard(changed)
    ledger.trust_engine()


def _peek(
    study: Study, store: str | Path, replace: bool, retry_failed: bool
) -> tuple[Callable[[float], Any], list[str], bool]:
    """Return what is missing of a study, read without a lock; its columns that are new; whether anything is stored."""
    shape = (len(study.columns), len(study.s_true), study.n_blocks)
    whole = study.s_true[0], study.s_true[-1]
    try:
        cube = open_cube(store, study.name)
    except StoreError:
        return lambda _: (np.ones(shape, bool), whole), [], False
    stored = {key: json.loads(cube.attrs[key]) for key in ("source", "methods")}
    same_toys, other = compare(stored, study, str(Path(store) / study.name), replace=replace)
    if not same_toys:
        return lambda _: (np.ones(shape, bool), whole), [], False
    known = {(label, cl) for label in cube["limit_method"].values.tolist() for cl in cube["cl"].values.tolist()}
    new = [f"{column.key[0]} at {column.key[1]:.12g}" for column in study.columns if column.key not in known]
    axes = {name: values for name, values in study.axes.items() if name != "b"}
    forgotten = np.array([column.key[0] in other for column in study.columns])

    def missing(b: float) -> Any:
        if b not in cube["b"].values:
            return np.ones(shape, bool), whole
        here = cube[["block_status", "exact_status", "worst_s_min", "worst_s_max"]].sel(b=b).load()
        here = here.reindex(axes, fill_value={"block_status": 0, "exact_status": 0})
        status = here["block_status"].transpose("limit_method", "cl", "s_true", "block").values[..., : study.n_blocks]
        status = np.pad(status, [(0, 0)] * 3 + [(0, study.n_blocks - status.shape[-1])]).reshape(shape)
        wanted = (status == MISSING) | forgotten[:, None, None] | (retry_failed & (status == FAILED))
        reached = (here["worst_s_min"] <= whole[0]) & (here["worst_s_max"] >= whole[1])
        complete = bool(reached.all() and (here["exact_status"] != 0).all()) and not forgotten.any()
        return wanted, None if complete else whole

    return missing, new, True
