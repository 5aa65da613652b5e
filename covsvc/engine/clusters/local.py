"""A cluster of processes on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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

    # tasks last about a second and tables are small: no need to look ten times a second, which costs some percent
    quiet = {
        "distributed.worker.profile.enabled": False,
        "distributed.admin.tick.interval": "1s",
        "distributed.admin.system-monitor.interval": "5s",
        "distributed.scheduler.work-stealing-interval": "1s",
        "distributed.worker.memory.monitor-interval": "2s",
    }
    with (
        dask.config.set(quiet),
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=40,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
