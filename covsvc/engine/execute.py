"""Execution of a plan: rows in, a stream of tallies out, here or on a Dask cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from covsvc.contracts import Calibration
from covsvc.engine.calibrating import Calibrations, calibrations_at
from covsvc.engine.condensing import run_condensed
from covsvc.engine.gathering import gather, reason_of
from covsvc.engine.work import make_tables, sum_exactly
from covsvc.errors import TaskError
from covsvc.study import Row, Task
from covsvc.tally import Counter, ExactTally, Tally

if TYPE_CHECKING:
    from distributed import Client, Future

STORED = "what is done is stored; see to the scheduler, and the same command goes on from there"


def execute(
    rows: Iterable[Row], client: Client | None = None, calibrations: Calibrations | None = None
) -> Iterator[Tally | ExactTally]:
    """Carry out all that `rows` name, in any order.

    A task that cannot be carried out, because the experiment raises or its worker dies each time, gives a tally of
    failed blocks with the reason.

    Parameters
    ----------
    rows : iterable of Row
        Read as far as workers need it.
    client : distributed.Client, optional
        Without one everything is done in this process.
    calibrations : dict, optional
        From `calibrate_all`, by key; what is not among them methods make for themselves.

    Raises
    ------
    TaskError
        If exact values cannot be summed.
    ClusterError
        If the cluster is lost.
    """
    known = calibrations or {}
    return _here(rows, known) if client is None else _on_cluster(rows, client, known)


def _here(rows: Iterable[Row], calibrations: Calibrations) -> Iterator[Tally | ExactTally]:
    for row in rows:
        held = calibrations_at(row, calibrations)
        try:
            tables = make_tables(row)
            exact = sum_exactly(row, tables) if row.reach else None
        except Exception as error:
            raise TaskError(f"exact values at b = {row.b:g}: {error!r}") from error
        if exact:
            yield exact
        for task in row.tasks:
            try:
                yield run_condensed(task, tables, list(held), list(held.values()))
            except Exception as error:  # an experiment may raise anything: its blocks are recorded as failed
                yield _lost(task, reason_of(error))


def _on_cluster(rows: Iterable[Row], client: Client, calibrations: Calibrations) -> Iterator[Tally | ExactTally]:
    # submitted, not scattered: what a lost worker held the scheduler makes again
    sent = {key: client.submit(_itself, each, pure=False) for key, each in calibrations.items()}

    def again(what: Row | Task) -> Future:
        row = what if isinstance(what, Row) else Row(what.source, what.columns, what.b, what.s_true, tasks=(what,))
        return next(_submit(row, client, sent))[0]

    submissions = (each for row in rows for each in _submit(row, client, sent))
    for what, future, result in gather(submissions, client, STORED, again):
        if future.status == "finished":
            yield result
        elif isinstance(what, Task):
            yield _lost(what, reason_of(future.exception()))
        else:
            raise TaskError(f"exact values at b = {what.b:g}: {reason_of(future.exception())}")


def _submit(row: Row, client: Client, sent: Mapping[str, Future]) -> Iterator[tuple[Future, Row | Task]]:
    """Submit the exact values of a row, if they are wanted, and its tasks."""
    tables = client.submit(make_tables, row, pure=False)
    held = calibrations_at(row, sent)
    if row.reach:
        yield client.submit(sum_exactly, row, tables, pure=False), row
    for task in row.tasks:
        yield client.submit(run_condensed, task, tables, list(held), list(held.values()), pure=False), task


def _itself(calibration: Calibration | str) -> Calibration | str:
    return calibration


def _lost(task: Task, reason: str) -> Tally:
    counter = Counter(task.columns, task.b, task.s_true, task.start, task.stop)
    for column, cell in np.ndindex(len(task.columns), len(task.s_true)):
        counter.fail(column, cell, reason)
    return counter.tally(0.0)
