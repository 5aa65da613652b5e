"""Warm-up: kernels compiled once, or read from their cache, before the work begins."""

from __future__ import annotations

from typing import Any

import numpy as np
from distributed import WorkerPlugin

from covsvc import registry
from covsvc.contracts import Binned, ModelledEvents
from covsvc.engine.calibrating import FEW_TOYS
from covsvc.engine.work import make_tables, run_task, sum_exactly
from covsvc.study import rows, study_of

_FEW = {"n_toys": FEW_TOYS, "largest_s": 2.0, "largest_b": 8.0}
"""Options with which methods draw few toys of their own."""

_EXPERIMENTS: dict[str, dict[str, Any]] = {
    "counting": {},
    "on_off": {},
    "spectrum": {},
    "gaussian_flat": {},
    "binned": {"signal": [1.0, 2.0], "backgrounds": {"background": [3.0, 2.0]}, "uncorrelated": [1.0, 1.0]},
}
"""Experiments that call all kernels of the methods that read what they give, and their options."""


def run_kernels() -> None:
    """Carry out tiny studies of all installed methods that read what an experiment gives."""
    for experiment, options in _EXPERIMENTS.items():
        gives = registry.find("experiments", experiment).gives
        names = [name for name in registry.installed("methods") if _is_ours(name, gives)]
        study = study_of(
            {
                "name": "warm-up",
                "experiment": {"name": experiment, "options": options},
                "methods": [_quick(name, gives) for name in names],
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


def _quick(name: str, gives: tuple[type, ...]) -> dict[str, Any]:
    """Return a limit method with few toys, if it draws its own for what an experiment gives."""
    method = registry.find("methods", name)
    view = registry.view_for(method.reads, gives)
    draws = view is not None and gives[view] in (ModelledEvents, Binned)
    return {"name": name, "options": {key: value for key, value in _FEW.items() if draws and hasattr(method, key)}}


def _is_ours(name: str, gives: tuple[type, ...]) -> bool:
    ours = registry.installed("methods")[name].value.startswith("covsvc.")
    return ours and registry.view_for(registry.find("methods", name).reads, gives) is not None


class WarmUp(WorkerPlugin):  # type: ignore[misc]
    """Warms a worker up when it joins."""

    name = "covsvc-warm-up"

    def setup(self, worker: Any) -> None:  # noqa: ARG002 - dask passes it by name
        """Run the kernels once."""
        run_kernels()
