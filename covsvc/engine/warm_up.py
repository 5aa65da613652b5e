"""Warm-up: kernels compiled once, or read from their cache, before the work begins."""

from __future__ import annotations

from typing import Any

import numpy as np
from distributed import WorkerPlugin

from covsvc import registry
from covsvc.engine.work import make_tables, run_task, sum_exactly
from covsvc.study import rows, study_of


def run_kernels() -> None:
    """Carry out tiny studies of all installed methods that read what an experiment gives."""
    for experiment in ("counting", "on_off", "spectrum"):
        gives = registry.find("experiments", experiment).gives
        study = study_of(
            {
                "name": "warm-up",
                "experiment": experiment,
                "methods": [name for name in registry.installed("methods") if _is_ours(name, gives)],
                "cl": 0.9,
                "s_true": [1, 2],
                "b": 1,
                "toys_per_block": 10,
                "n_toys": 10,
                "seed": 0,
            }
        )
        for row in rows(study, lambda _: (np.ones((len(study.columns), 2, 1), bool), (1.0, 2.0)), 1):  # noqa: B023
            tables = make_tables(row)
            sum_exactly(row, tables)
            run_task(row.tasks[0], tables)


def _is_ours(name: str, gives: tuple[type, ...]) -> bool:
    ours = registry.installed("methods")[name].value.startswith("covsvc.")
    return ours and registry.view_for(registry.find("methods", name).reads, gives) is not None


class WarmUp(WorkerPlugin):  # type: ignore[misc]
    """Warms a worker up when it joins."""

    name = "covsvc-warm-up"

    def setup(self, worker: Any) -> None:  # noqa: ARG002 - dask passes it by name
        """Run the kernels once."""
        run_kernels()
