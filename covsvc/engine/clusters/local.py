"""A cluster of processes on this machine."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from logging import CRITICAL
from multiprocessing import resource_tracker
from typing import Any

from covsvc.engine.clusters.page import with_page
from covsvc.errors import ClusterError
from covsvc.signals import uninterrupted

# tasks last about a second and tables are small: no need to look ten times a second, which costs some percent;
# only memory is looked at often, to end a worker before it takes what the others need
_QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.scheduler.work-stealing-interval": "1s",
    "distributed.deploy.lost-worker-timeout": "10 minutes",  # to start again and warm up, where others are at work, too
    "distributed.scheduler.allowed-failures": 1,  # what was on a worker that died twice is tried again at the end
}


@contextmanager
def connect(n_workers: int | None = None) -> Iterator[Any]:
    """Start a scheduler and one single-threaded worker a core on the loopback interface; yield their client.

    Parameters
    ----------
    n_workers : int, optional
        Processes; as many as there are cores unless given.
    """
    import dask
    from distributed import Client, LocalCluster

    with ExitStack() as opened:
        opened.enter_context(dask.config.set(_QUIET | with_page()))
        with uninterrupted(), _without_interrupts():
            try:
                cluster = opened.enter_context(
                    LocalCluster(
                        n_workers=n_workers,
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


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Hold SIGINT back. What is started meanwhile never gets it: Ctrl-C is for the driver, which ends its workers."""
    resource_tracker.ensure_running()  # multiprocessing, when it starts it later, lets SIGINT through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
