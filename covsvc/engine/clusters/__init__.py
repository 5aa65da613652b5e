"""Ways to get a Dask client; found by entry point."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from covsvc import registry
from covsvc.errors import ClusterError


@contextmanager
def connect(cluster: Any, n_workers: int | None = None) -> Iterator[Any]:
    """Yield a Dask client, or None where there is no cluster.

    Parameters
    ----------
    cluster : None, distributed.Client or str
        None works in this process; a client is used and left open; a string is the address of a scheduler
        (``"tcp://host:8786"``) or the name of an installed cluster (``"local"``).
    n_workers : int, optional
        Workers to start, where the cluster is started here.

    Raises
    ------
    ClusterError
        If a scheduler does not answer.
    UnknownName
        If no cluster has this name.
    """
    if cluster is None or not isinstance(cluster, str):
        _warm_up(cluster)
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
            _warm_up(client)
            yield client
    else:
        with registry.find("clusters", cluster)(n_workers) as client:
            _warm_up(client)
            yield client


def _warm_up(client: Any) -> None:
    """Have the kernels compiled, or read from their cache, before the work begins."""
    from covsvc.engine.warm_up import WarmUp, run_kernels

    if client is not None:
        client.register_plugin(WarmUp())
    else:
        run_kernels()
