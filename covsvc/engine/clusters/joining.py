"""What a worker does when it joins."""

from __future__ import annotations

from typing import Any

from distributed import WorkerPlugin

from covsvc.engine.warm_up import run_kernels
from covsvc.study import Study


class WarmUp(WorkerPlugin):  # type: ignore[misc]
    """Warms a worker up for a study when it joins."""

    name = "covsvc-warm-up"

    def __init__(self, study: Study) -> None:
        self._study = study

    def setup(self, worker: Any) -> None:  # noqa: ARG002 - dask passes it by name
        """Run the kernels once."""
        run_kernels(self._study)
