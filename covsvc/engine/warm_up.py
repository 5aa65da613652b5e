"""Warm-up: kernels compiled once, or read from their cache, before the work begins."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covsvc import registry
from covsvc.contracts import Binned, Calibration, ModelledEvents
from covsvc.engine.calibrating import FEW_TOYS, calibrate_all, calibrations_at, needs_of, with_options
from covsvc.engine.work import make_tables, run_task, sum_exactly
from covsvc.study import Column, MethodSpec, Row, Study, Task, ToySource

_FEW = {"n_toys": FEW_TOYS, "largest_s": 2.0, "largest_b": 8.0}
"""Options with which methods draw few toys of their own."""


def run_kernels(study: Study) -> str:
    """Carry out a tiny part of a study, with few toys: what it calls is compiled then.

    Methods and experiments of others are left out: what they do is known only when it is their turn.

    Returns
    -------
    str
        A hash of the bits of what came out; empty where all is left out.
    """
    if not registry.is_ours("experiments", study.experiment.name):
        return ""
    experiment = study.experiment.build()
    methods = [spec for spec in study.methods if registry.is_ours("methods", spec.name)]
    columns = tuple(Column(_quick(spec, experiment.gives[spec.view_of(experiment)]), study.cl[0]) for spec in methods)
    source = ToySource(study.experiment, 0, 10)
    s_true = (1.0, 2.0)
    task = Task(source, columns, 1.0, s_true, 0, 1)
    row = Row(source, columns, 1.0, s_true, s_true, (task,))
    tables = make_tables(row)
    exact = sum_exactly(row, tables)
    made = {need.key: made for need, made, _ in calibrate_all(needs_of([row]))}
    held = calibrations_at(row, made)
    tally = run_task(task, tables, list(held), list(held.values()))
    arrays: list[NDArray[Any]] = [exact.values, exact.worst, tally.counts, tally.status, tally.digest, tally.bins]
    arrays += [tables.table.told.digest] if tables.table else []
    for each in made.values():
        arrays += [each.arrays[name] for name in sorted(each.arrays)] if isinstance(each, Calibration) else []
    return _hash_of(arrays)


def _hash_of(arrays: Iterable[NDArray[Any]]) -> str:
    told = hashlib.sha256()
    for array in arrays:
        # some NaN is as good as any other
        clean = np.where(np.isnan(array), np.nan, array) if array.dtype.kind == "f" else array
        told.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(clean).tobytes())
    return told.hexdigest()[:16]


def _quick(spec: MethodSpec, view: type) -> MethodSpec:
    """Return a method with few toys, if it draws its own for what it reads."""
    method = spec.build()
    if view not in (ModelledEvents, Binned):
        return spec
    return with_options(spec, **{key: value for key, value in _FEW.items() if hasattr(method, key)})
