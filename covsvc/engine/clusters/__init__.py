"""Ways to get a Dask client; found by entry point."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from covsvc import registry
from covsvc.engine.warm_up import WarmUp, run_kernels
from covsvc.errors import ClusterError
from covsvc.study import Study

_PATIENCE = 30
"""Seconds in which a scheduler has to find a worker."""


@contextmanager
def connect(cluster: Any, n_workers: int | None = None, study: Study | None = None) -> Iterator[Any]:
    """Yield a Dask client, or None where there is no cluster.

    Parameters
    ----------
    cluster : None, distributed.Client or str
        None works in this process; a client is used and left open; a string is the address of a scheduler
        (``"tcp://host:8786"``) or the name of an installed cluster (``"local"``).
    n_workers : int, optional
        Workers to start, where the cluster is started here.
    study : Study, optional
        What is to be done: its kernels are compiled, or read from their cache, before the work begins.

    Raises
    ------
    ClusterError
        If a scheduler does not answer.
    UnknownName
        If no cluster has this name.
    """
    if cluster is None:
        if study is not None:
            run_kernels(study)
        yield None
    elif not isinstance(cluster, str):
        if not hasattr(cluster, "submit"):
            raise ClusterError(f"{cluster!r}: no Dask client, no address and no name of a cluster")
        _warm_up(cluster, study)
        yield cluster
    elif "://" in cluster:
        from distributed import Client

        try:
            client = Client(cluster, timeout="10s")
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"{cluster}: no scheduler answers there ({error}); start one with `dask scheduler`"
            ) from None
        with client:
            _warm_up(client, study)
            yield client
    else:
        with registry.find("clusters", cluster)(n_workers) as client:
            _warm_up(client, study)
            yield client


def _warm_up(client: Any, study: Study | None) -> None:
    """Wait for a worker, and have it warm up."""
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError:
        address = client.scheduler.address
        raise ClusterError(f"{address}: no worker joined within {_PATIENCE} s; start one with `dask worker`") from None
    if study is None:
        return
    try:
        client.register_plugin(WarmUp(study))
    except OSError as error:  # of Dask's connection, too
        raise ClusterError(f"a worker was lost while it warmed up ({error}); run it again") from None
