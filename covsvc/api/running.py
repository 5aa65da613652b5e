"""Running of studies: what is missing, what it costs, and doing it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from covsvc.api.building import STORE
from covsvc.budget import Drawn, rule_of
from covsvc.contracts import Calibration
from covsvc.engine.calibrating import Calibrations, Need, any_calibrates, calibrate_all, needs_of
from covsvc.engine.clusters import connect, workers_of
from covsvc.engine.clusters.choosing import chosen
from covsvc.engine.clusters.page import show_run
from covsvc.engine.cost import cost_at
from covsvc.engine.execute import execute
from covsvc.engine.expected import is_fitted
from covsvc.engine.warm_up import run_kernels
from covsvc.engine.work import box_of, run_alone
from covsvc.errors import StoreError, StudyError
from covsvc.store.calibrations import find_calibration, keep_calibration
from covsvc.store.place import place_of
from covsvc.store.repository import MOST_HELD, Ledger, compare, open_cube, open_ledger
from covsvc.study import BLOCKS_PER_TILE, Missing, Row, Study, rows, study_of, tile_size
from covsvc.study_file import read_studies
from covsvc.tally import MISSING, ExactTally, left_over
from covsvc.verdict import smallest_deficit

TASK_TOYS, TASK_TOYS_ONE_BY_ONE, TASK_TOYS_FITTED = 1.5e7, 5e5, 2e4
"""Toys of a task, about: 0.5 to 2 s of work where limits are looked up, are set toy by toy, and likelihoods fitted."""

_WORTH_TELLING = 10
"""Tasks of a second that a study comes to before it matters that workers have nothing to do."""

Connecting = Callable[[], AbstractContextManager[Any]]
"""Gives a Dask client, or None where there is no cluster."""

_DRIVER_MB = 360
"""Memory of a driver that holds nothing yet."""

_KEPT_TOY = 1.0
"""Bytes on disk of a toy that is kept in a column, about."""


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
    """How far a run is: cells and toys done of those that were missing, and since when; calibrations before them.

    Of a budget, `cells` of all cells of the study need no more toys, and `all_toys` are drawn `at_most`.
    """

    cells: float
    all_cells: int
    toys: int
    all_toys: int
    seconds: float
    calibrations: int = 0
    all_calibrations: int = 0
    at_most: bool = False


def run(
    study: Study,
    store: str | Path = STORE,
    cluster: Any = None,
    *,
    n_workers: int | None = None,
    replace: bool = False,
    retry_failed: bool = False,
    part: tuple[int, int] | None = None,
    progress: Callable[[Progress], None] | None = None,
    tell: Callable[[str], None] | None = None,
    task_seconds: float = 1.0,
    task_toys: float | None = None,
    commit_seconds: float = 10.0,
) -> xr.Dataset:
    """Compute what is missing of a study, store it, and return its cube.

    Parameters
    ----------
    study : Study
        From `load_study`.
    store : str or Path
        Folder or URL of the store.
    cluster : None, distributed.Client or str
        ``"none"`` is this process; ``"local"``, ``"slurm"`` and others start a cluster, with the options of a file if
        it is one, ``"slurm.yaml"``; ``"tls://host:8786"`` is a scheduler, ``"tcp://127.0.0.1:8786"`` one of this
        machine, ``"scheduler.json"`` the file that it writes. None is what the study names, else this process.
    n_workers : int, optional
        Workers of a cluster that is started here; as many as its options say, or cores, unless given.
    replace : bool
        Discard stored columns whose toys, code or options are others, instead of refusing them.
    retry_failed : bool
        Draw failed blocks again.
    part : tuple of int, optional
        (k, n): draw only the k-th of n shares of the blocks of each cell, k = 1..n; exact values are made in each.
        The parts of several stores come together in `merge`.
    progress : callable, optional
        Is told a `Progress` now and then.
    tell : callable, optional
        Is told in a sentence where the maps can be seen while they are made, if Dask's dashboard shows them; that
        workers are waited for, or refused; that there are more workers than tasks.
    task_seconds : float
        How long a task takes, about; results do not depend on it. Each costs the driver and the scheduler the same CPU:
        raise it where workers are many, best when the study is begun, which cuts the store alike. A task holds no more
        than the signals at one b and 128 blocks of each, and no less than those of one signal.
    task_toys : float, optional
        Toys of a task, about, instead.
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
    StudyError
        If there is no such part, a task has no time, or the cluster is refused: it is none, its options are wrong, or
        Dask would talk in plain text beyond this machine.
    """
    share = _share(study, part)
    where = chosen(cluster, study)
    task_toys = task_toys or task_toys_of(study, task_seconds)
    tile = tile_size(study, task_toys)

    @contextmanager
    def connecting() -> Iterator[Any]:
        with connect(where, n_workers, study, tell) as client:
            page = show_run(client, place_of(store).where, study.name)
            if page and tell is not None:
                tell(f"{study.name}: the map while it is made: {page}")
            yield client

    with open_ledger(store, study, replace=replace, s_tile=tile, commit_seconds=commit_seconds) as ledger:
        trust(ledger, study, replace=replace)
        rounds = _rounds(study, ledger, retry_failed, task_toys, share)
        _fill(study, ledger, rounds, store, connecting, progress, task_toys, tell)
    return open_cube(store, study.name)


def fill(
    study: Study,
    ledger: Ledger,
    store: str | Path,
    connecting: Connecting,
    progress: Callable[[Progress], None] | None = None,
) -> None:
    """Compute what is missing of a study in a ledger that is trusted already; a cluster is there if it is needed."""
    task_toys = task_toys_of(study)
    rounds = _rounds(study, ledger, True, task_toys, _share(study, None))
    _fill(study, ledger, rounds, store, connecting, progress, task_toys)


def _fill(
    study: Study,
    ledger: Ledger,
    rounds: Iterator[tuple[Missing, _Work]],
    store: str | Path,
    connecting: Connecting,
    progress: Callable[[Progress], None] | None,
    task_toys: float,
    tell: Callable[[str], None] | None = None,
) -> None:
    first = next(rounds, None)
    if first is None:
        return
    with connecting() as client:
        ledger.provenance.workers = workers_of(client)
        calibrations: dict[str, Calibration | str] = {}
        teller = _Teller(study, progress)
        try:
            if tell is not None and (told := _too_few(study, first[1], ledger.provenance.workers)):
                tell(told)
            for missing, work in chain([first], rounds):
                needs = needs_of(rows(study, missing, task_toys)) if any_calibrates(study) else []
                calibrations |= calibrate(needs, calibrations, store, client, progress)
                ledger.note_calibrations(_errors(needs, calibrations))
                _carry_out(rows(study, missing, task_toys), client, ledger, teller.of(work), calibrations)
            teller.end()
        except KeyboardInterrupt:
            ledger.commit()  # before the cluster takes its time to close
            raise


def _too_few(study: Study, work: _Work, workers: int) -> str:
    """Say that some workers get nothing to do, "" if none does or the work is soon done anyhow."""
    tasks = work.tasks
    if tasks >= workers or work.toys < _WORTH_TELLING * task_toys_of(study):
        return ""
    least = min(study.n_blocks, BLOCKS_PER_TILE)
    return (
        f"{study.name}: {tasks:,} tasks for {workers:,} workers: {workers - tasks:,} of them have nothing to do; take "
        f"fewer, or a smaller --task-seconds, down to tasks of one signal and {least} blocks"
    )


@dataclass(frozen=True)
class Remainder:
    """What is missing of a study in a store: tasks, toys and rows of exact values.

    Of a budget, what is needed before any more can be decided, and how many toys it may come to.
    """

    tasks: int
    toys: int
    most_toys: int
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
    part: tuple[int, int] | None = None,
    task_toys: float | None = None,
) -> Remainder:
    """Say what `run` with the same options would compute, without locking the store.

    Raises
    ------
    StoreError
        If `run` would refuse the study.
    StudyError
        If there is no such part.
    """
    share = _share(study, part)
    everything, new, stored = _peek(study, store, replace, retry_failed)

    def missing(b: float) -> Any:
        wanted, reach = everything(b)
        return wanted & share, reach

    work = _work(study, missing, task_toys or task_toys_of(study))
    return Remainder(work.tasks, work.toys, work.most_toys, work.exact_rows, new, stored)


def plan(
    study: Study, store: str | Path = STORE, *, n_workers: int = 1, task_toys: float | None = None
) -> dict[str, Any]:
    """Say what `run` would do, what it would cost, and what the toys could show.

    Returns
    -------
    dict
        cells, columns, toys_per_cell, tasks, toys, exact_rows and calibrations that are missing; enumerable;
        new_columns, whose toys are drawn again; seconds (expected, on `n_workers`), memory_mb of the driver and of a
        worker, kept_mb (on disk, of all toys that are kept one by one), smallest_deficit by cl. Of a study with a
        budget, these toys and seconds are the least that are needed, most_toys and most_seconds the most; toys_per_cell
        is its largest number of toys, at which smallest_deficit is.
    """
    left = remainder(study, store, task_toys=task_toys)
    run_kernels(study)
    cost = cost_at(study, study.b[-1])
    keys = _missing_calibrations(study, store, task_toys or task_toys_of(study)) if left.tasks else []
    each_takes = float(np.mean([*cost.calibrations.values()])) if cost.calibrations else 0.0
    calibrating = [cost.calibrations.get(key, each_takes) for key in keys]
    calibrated_in = max(sum(calibrating) / n_workers, max(calibrating, default=0.0))
    seconds, most_seconds = (
        (toys * cost.toy_seconds + left.exact_rows * cost.exact_seconds) / n_workers + calibrated_in
        for toys in (left.toys, left.most_toys)
    )
    kept = len(study.columns) * (study.keep == "toys" and not cost.outcomes)
    cell_mb = (len(study.columns) * (1024 * 8 * 3 + study.n_blocks * 9) + kept * study.most_toys * 2) / 1e6
    task_mb = kept * max(task_toys or task_toys_of(study), study.toys_per_block) * 2 / 1e6
    return {
        "study": study.name,
        "cells": study.cells,
        "columns": len(study.columns),
        "toys_per_cell": study.most_toys,
        "budget": study.budget.model_dump() if study.budget else None,
        "tasks": left.tasks,
        "toys": left.toys,
        "most_toys": left.most_toys,
        "exact_rows": left.exact_rows,
        "enumerable": study.is_enumerable,
        "calibrations": len(keys),
        "already_stored": left.stored,
        "new_columns": left.new_columns,
        "seconds": seconds,
        "most_seconds": most_seconds,
        "n_workers": n_workers,
        "memory_mb": {
            "driver": round(_DRIVER_MB + min(study.cells * cell_mb, MOST_HELD / 1e6)),
            "worker": round(
                250 + study.toys_per_block * 16 / 1e6 + cost.outcomes * len(study.columns) * 50 / 1e6 + task_mb
            ),
        },
        "kept_mb": study.cells * study.most_toys * kept * _KEPT_TOY / 1e6,
        "smallest_deficit": {f"{cl:.12g}": _smallest_deficit(study, cl) for cl in study.cl},
    }


def _smallest_deficit(study: Study, cl: float) -> float:
    rule = rule_of(study)
    if rule is None:
        return smallest_deficit(study.most_toys, cl, study.cells * len(study.columns))
    return smallest_deficit(study.most_toys, cl, len(rule.looks) * rule.tests, rule.error)


def task_toys_of(study: Study, seconds: float = 1.0) -> float:
    """Return how many toys make a task of about so many seconds: fewer where limits are set toy by toy.

    Raises
    ------
    StudyError
        If this is no time.
    """
    if not 0 < seconds < math.inf:
        raise StudyError(f"task_seconds = {seconds!r}: a task takes a number of seconds above 0, for example 10")
    row = Row(study.source, study.columns, study.b[-1], study.s_true)
    if box_of(study.experiment.build(), row):
        return seconds * TASK_TOYS
    return seconds * (TASK_TOYS_FITTED if is_fitted(study) else TASK_TOYS_ONE_BY_ONE)


@dataclass(frozen=True)
class _Work:
    """What is to be computed now: tasks, their toys, and the cells of these; toys that it may come to; exact rows."""

    tasks: int
    toys: int
    cells: int
    most_toys: int
    exact_rows: int


def _work(study: Study, missing: Missing, task_toys: float) -> _Work:
    rule, experiment = rule_of(study), study.experiment.build()
    tasks = toys = cells = later = exact = 0
    for row in rows(study, missing, task_toys):
        blocks = {s_true: task.stop for task in row.tasks for s_true in task.s_true}
        tasks += len(row.tasks)
        toys += sum(task.toys for task in row.tasks)
        cells += len(blocks)
        exact += row.reach is not None
        if rule is not None and box_of(experiment, row) is None:
            undecided = dict.fromkeys(row.s_true, 0) if row.reach else {}
            later += sum(rule.later(stop, study.toys_per_block) for stop in (undecided | blocks).values())
    return _Work(tasks, toys, cells, toys + later, exact)


def _share(study: Study, part: tuple[int, int] | None) -> NDArray[np.bool_]:
    """Return which blocks of a cell a part draws: the k-th of n equal shares, one after the other.

    Returns
    -------
    ndarray of bool, shape (block,)

    Raises
    ------
    StudyError
        If there is no such part.
    """
    blocks = np.arange(study.n_blocks)
    if part is None:
        return np.ones(study.n_blocks, bool)
    which, parts = part
    if study.budget is not None:
        raise StudyError(f"{study.name}: n_toys is a budget, which is decided by all toys of a cell, not by a part")
    if not 1 <= which <= parts:
        raise StudyError(f"part {which}/{parts}: the parts are 1/{parts} to {parts}/{parts}")
    if parts > study.n_blocks:
        raise StudyError(
            f"part {which}/{parts}: {study.name} has {study.n_blocks} blocks of {study.toys_per_block} toys a cell, "
            f"so at most {study.n_blocks} parts; lower toys_per_block, or raise n_toys"
        )
    return np.asarray(blocks * parts // study.n_blocks == which - 1)


def _rounds(
    study: Study, ledger: Ledger, retry_failed: bool, task_toys: float, share: NDArray[np.bool_]
) -> Iterator[tuple[Missing, _Work]]:
    """Yield what to compute now, and how much it is, until nothing is missing: once, where no budget decides."""
    rule, levels = rule_of(study), _levels(study)
    for number in count():

        def missing(b: float, again: bool = retry_failed and number == 0) -> Any:
            wanted, reach = ledger.missing(b, retry_failed=again)
            wanted = wanted & share
            if rule is not None:
                wanted = rule.next_blocks(ledger.drawn(b), levels, wanted, may_go_on=reach is None)
            return wanted, reach

        work = _work(study, missing, task_toys)
        if work.tasks or work.exact_rows:
            yield missing, work
            ledger.commit()
        if rule is None or not (work.tasks or work.exact_rows):
            return


def _levels(study: Study) -> NDArray[np.float64]:
    """Return cl of each column, shape (column, 1)."""
    return np.array([column.cl for column in study.columns])[:, None]


class _Teller:
    """Tells how far a run is, over its rounds."""

    def __init__(self, study: Study, progress: Callable[[Progress], None] | None) -> None:
        self._study, self._progress = study, progress
        self._begun = time.monotonic()
        self._drawn = self._before = 0
        self._work = _Work(0, 0, 0, 0, 0)

    def of(self, work: _Work) -> _Teller:
        """Begin a round."""
        self._work, self._before = work, self._drawn
        self.tell(0)
        return self

    def tell(self, blocks: int) -> None:
        """Tell that so many more blocks were drawn."""
        self._drawn += blocks * self._study.toys_per_block
        if self._progress is None:
            return
        work, seconds = self._work, time.monotonic() - self._begun
        if self._study.budget:
            cells, most = self._study.cells - work.cells, self._before + work.most_toys
            self._progress(Progress(cells, self._study.cells, self._drawn, most, seconds, at_most=True))
        else:
            done = work.cells * self._drawn / work.toys if work.toys else work.cells
            self._progress(Progress(done, work.cells, self._drawn, work.toys, seconds))

    def end(self) -> None:
        """Tell that a budget needs no more."""
        if self._study.budget:
            self.of(_Work(0, 0, 0, 0, 0))


def _carry_out(todo: Iterator[Row], client: Any, ledger: Ledger, teller: _Teller, calibrations: Calibrations) -> None:
    for learnt in execute(todo, client, calibrations):
        if isinstance(learnt, ExactTally):
            ledger.add_exact(learnt)
        else:
            ledger.add(learnt)
            teller.tell(len(learnt.s_true) * (learnt.stop - learnt.start))


def _missing_calibrations(study: Study, store: str | Path, task_toys: float) -> list[str]:
    """Return the keys of the calibrations that toys need and that are not stored."""
    missing, _, _ = _peek(study, store, replace=False, retry_failed=False)
    keys = dict.fromkeys(need.key for need in needs_of(rows(study, missing, task_toys)))
    return [key for key in keys if find_calibration(store, key) is None]


def calibrate(
    needs: Sequence[Need],
    known: Calibrations,
    store: str | Path,
    client: Any,
    progress: Callable[[Progress], None] | None = None,
) -> dict[str, Calibration | str]:
    """Return the calibrations that are needed and not known, by key; those that are not stored are made, and stored."""
    wanted = {need.key: need for need in needs if need.key not in known}
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


def trust(ledger: Ledger, study: Study, *, replace: bool) -> None:
    """Compare a stored block of each column with the code and the libraries of now, if those have changed since."""
    changed: dict[str, None] = {}
    for task, digests in ledger.sentinels():
        found = run_alone(task).digest[:, 0, 0]
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


def _peek(study: Study, store: str | Path, replace: bool, retry_failed: bool) -> tuple[Missing, list[str], bool]:
    """Return what is missing of a study, read without a lock; its columns that are new; whether anything is stored."""
    place = place_of(store)
    if not place.exists(study.name):
        return missing_in(None, study), [], False
    try:
        cube = open_cube(store, study.name)
    except StoreError:
        return missing_in(None, study), [], False
    stored = {key: json.loads(cube.attrs[key]) for key in ("source", "methods")}
    same_toys, other = compare(stored, study, place.study(study.name), replace=replace)
    if not same_toys:
        return missing_in(None, study), [], False
    known = {(label, cl) for label in cube["limit_method"].values.tolist() for cl in cube["cl"].values.tolist()}
    new = [f"{column.key[0]} at {column.key[1]:.12g}" for column in study.columns if column.key not in known]
    return missing_in(cube, study, other, retry_failed=retry_failed), new, True


def missing_in(
    cube: xr.Dataset | None, study: Study, replaced: Sequence[str] = (), *, retry_failed: bool = False
) -> Missing:
    """Return what is missing of a study in a stored cube, at each b: what the ledger would say.

    Parameters
    ----------
    cube : xarray.Dataset, or None
        None: nothing is stored yet.
    study : Study
    replaced : sequence of str
        Labels of the columns that are to be discarded.
    retry_failed : bool
        Failed blocks are missing, too.
    """
    rule, whole = rule_of(study), (study.s_true[0], study.s_true[-1])
    everything = np.ones((len(study.columns), len(study.s_true), study.n_blocks), bool)
    if rule is not None:
        everything[..., rule.looks[0] // study.toys_per_block :] = False
    axes = {name: values for name, values in study.axes.items() if name != "b"}
    forgotten = np.array([column.key[0] in replaced for column in study.columns])

    def missing(b: float) -> Any:
        if cube is None or b not in cube["b"].values:
            return everything, whole
        names = ["block_status", "exact_status", "n_covered", "n_failed"]
        here = cube[[*names, "worst_s_min", "worst_s_max"]].sel(b=b).load()
        here = here.reindex(axes, fill_value=dict.fromkeys(names, 0))
        status, exact, covered, failed = (_by_column(here[name]) for name in names)
        status = np.pad(status, [(0, 0), (0, 0), (0, max(0, study.n_blocks - status.shape[-1]))])
        status[forgotten] = MISSING
        wanted, not_summed = left_over(status[..., : study.n_blocks], exact, retry_failed=retry_failed)
        reached = (here["worst_s_min"] <= whole[0]) & (here["worst_s_max"] >= whole[1])
        complete = bool(reached.all()) and not not_summed.any() and not forgotten.any()
        if rule is not None:
            drawn = Drawn(status, covered, failed, exact == 1, study.toys_per_block)
            wanted = rule.next_blocks(drawn, _levels(study), wanted, may_go_on=complete)
        return wanted, None if complete else whole

    return missing


def _by_column(values: xr.DataArray) -> NDArray[Any]:
    """Return what is known at one b, shape (column, s_true, ...)."""
    array = values.transpose("limit_method", "cl", "s_true", ...).to_numpy()
    return array.reshape(-1, *array.shape[2:])
