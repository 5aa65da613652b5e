"""A cluster of processes on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from logging import CRITICAL
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from covsvc.engine.clusters.options import read_options, with_workers
from covsvc.engine.clusters.page import with_page
from covsvc.engine.clusters.quiet import QUIET, without_interrupts
from covsvc.errors import ClusterError
from covsvc.signals import uninterrupted

_QUIET = QUIET | {
    "distributed.deploy.lost-worker-timeout": "10 minutes",  # to start again and warm up, where others are at work, too
    "distributed.scheduler.allowed-failures": 1,  # what was on a worker that died twice is tried again at the end
}

_MOST_WORKERS = 1000
"""Processes: more is a slip of the pen."""


class Local(BaseModel):
    """Options of a cluster of processes on this machine.

    Attributes
    ----------
    workers : int, optional
        Processes; as many as there are cores unless given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: PositiveInt | None = Field(default=None, strict=True, le=_MOST_WORKERS)


@contextmanager
def connect(
    n_workers: int | None,
    options: Mapping[str, Any],
    tell: Callable[[str], None] | None = None,  # noqa: ARG001 - its workers come at once
) -> Iterator[Any]:
    """Start a scheduler and one single-threaded worker a core on the loopback interface; yield their client.

    Parameters
    ----------
    n_workers : int, optional
        Processes, instead of what the options say.
    options : mapping
        Those of `Local`.
    tell : callable, optional
        As of every cluster; there is nothing to tell here.

    Raises
    ------
    StudyError
        If an option is refused.
    ClusterError
        If nothing can be started here.
    """
    import dask
    from distributed import Client, LocalCluster

    chosen = read_options(Local, "local", with_workers(options, n_workers))
    with ExitStack() as opened:
        opened.enter_context(dask.config.set(_QUIET | with_page()))
        with uninterrupted(), without_interrupts():
            try:
                cluster = opened.enter_context(
                    LocalCluster(
                        n_workers=chosen.workers,
                        threads_per_worker=1,
                        processes=True,
                        host="127.0.0.1",
                        dashboard_address="127.0.0.1:0",
                        silence_logs=CRITICAL,  # what happens to workers the driver says in a sentence
                    )
                )
                client = opened.enter_context(Client(cluster))
            except (OSError, RuntimeError) as error:
                raise ClusterError(f"local: no cluster can be started here: {error}") from error
        yield client
