"""Calibrations: what limit methods learn about an analysis from toys of their own, once for all toys of a study."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from covsvc.contracts import Calibration, LimitMethod
from covsvc.engine.gathering import gather, reason_of
from covsvc.engine.guard import method_of
from covsvc.fingerprint import code_of, hash_of
from covsvc.study import Column, ExperimentSpec, MethodSpec, Row, Study

if TYPE_CHECKING:
    from distributed import Client, Future

FEW_TOYS = 200
"""Toys of a calibration that is made to compile what it calls."""

_TRIAL, _DEFAULT_TOYS = 8, 10_000
"""How many times as many toys a calibration draws as one that is made for its cost; toys where a method names none."""

Calibrations = Mapping[str, Calibration | str]
"""By key; the reason where there is none."""

ColumnKey = tuple[str, float]
"""Label of a limit method, and cl."""


@dataclass(frozen=True)
class Need:
    """A calibration that a column needs for the toys at one b.

    Attributes
    ----------
    key : str
        What it is known by: method, options, code, analysis and cl, nothing else.
    """

    key: str
    column: Column
    experiment: ExperimentSpec
    b: float

    @property
    def about(self) -> dict[str, Any]:
        """What the calibration is of, in words and numbers."""
        return {
            "limit_method": self.column.spec.name,
            "options": self.column.spec.options,
            "cl": self.column.cl,
            "experiment": self.experiment.model_dump(mode="json"),
            "b": self.b,
        }


def need_of(column: Column, spec: ExperimentSpec, b: float) -> Need | None:
    """Return the calibration that a column needs there; None if it needs none."""
    if not _calibrates(column, spec):
        return None
    experiment = spec.build()
    return Need(key_of(column, experiment.model(b)), column, spec, b)  # type: ignore[attr-defined]


def _calibrates(column: Column, spec: ExperimentSpec) -> bool:
    experiment = spec.build()
    return experiment.gives[column.spec.view_of(experiment)] in getattr(column.spec.build(), "calibrates", ())


def any_calibrates(study: Study) -> bool:
    """Tell whether any column of a study needs calibrations: what is missing need not be unrolled for them."""
    return any(_calibrates(column, study.experiment) for column in study.columns)


def needs_of(rows: Iterable[Row]) -> list[Need]:
    """Return the calibrations that the tasks of some rows need, one for each column and b."""
    found = []
    for row in rows:
        columns = {column.key: column for task in row.tasks for column in task.columns}
        needs = (need_of(column, row.source.experiment, row.b) for column in columns.values())
        found += [need for need in needs if need is not None]
    return found


def key_of(column: Column, known: Any) -> str:
    """Return what a calibration is known by: method, options, code, analysis and cl."""
    method = column.spec.build()
    told = [
        column.spec.name,
        column.spec.options,
        code_of(type(method).__module__, type(known).__module__),
        known.key,
        f"{column.cl:.12g}",
        *filter(None, [column.code]),
    ]
    return hash_of(told)[:32]


def calibrate(need: Need) -> tuple[Calibration, float]:
    """Make a calibration; return it and the CPU seconds it took."""
    begun = time.thread_time()
    known = need.experiment.build().model(need.b)  # type: ignore[attr-defined]
    found: Calibration = method_of(need.column).calibrate(known, need.column.cl)  # type: ignore[attr-defined]
    return found, time.thread_time() - begun


def calibrate_all(
    needs: Iterable[Need], client: Client | None = None
) -> Iterator[tuple[Need, Calibration | str, float]]:
    """Make calibrations, each a task of its own; yield each with the CPU seconds it took, or why it failed.

    Raises
    ------
    ClusterError
        If the cluster is lost.
    """
    if client is None:
        for need in needs:
            try:
                yield need, *calibrate(need)
            except Exception as error:  # a method may raise anything: its blocks are recorded as failed
                yield need, calibration_failure(error), 0.0
        return

    def submit(need: Need) -> Future:
        return client.submit(calibrate, need, pure=False)

    submissions = ((submit(need), need) for need in needs)
    for need, future, result in gather(submissions, client, "what is calibrated is stored, run again to go on", submit):
        if future.status == "finished":
            yield need, *result
        else:
            yield need, calibration_failure(future.exception()), 0.0


def calibrations_at(row: Row, calibrations: Calibrations) -> dict[ColumnKey, Calibration | str]:
    """Return those of the calibrations that the columns of `row` need, by column."""
    needs = ((column, need_of(column, row.source.experiment, row.b)) for column in row.columns if calibrations)
    return {column.key: calibrations[need.key] for column, need in needs if need and need.key in calibrations}


def trial(column: Column, known: Any) -> tuple[LimitMethod, float]:
    """Return the limit method of a column with a calibration of fewer toys, and the time that its own would take."""
    n_toys = column.spec.build().n_toys or _DEFAULT_TOYS  # type: ignore[attr-defined]
    few = max(FEW_TOYS, n_toys // _TRIAL)
    fewer = dataclasses.replace(column, spec=with_options(column.spec, n_toys=few))
    begun = time.perf_counter()
    held = method_of(fewer).calibrate(known, column.cl)  # type: ignore[attr-defined]
    return method_of(fewer, held), (time.perf_counter() - begun) * n_toys / few


def with_options(spec: MethodSpec, **options: Any) -> MethodSpec:
    """Return a limit method with some options changed, its view and its label the same."""
    return MethodSpec(name=spec.name, options=spec.options | options, view=spec.view, label=spec.label)


def calibration_failure(error: BaseException | None) -> str:
    """Say why there is no calibration."""
    return f"its calibration failed: {reason_of(error)}"
