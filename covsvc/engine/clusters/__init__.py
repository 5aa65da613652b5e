"""Ways to get a Dask client; found by entry point."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from covsvc import registry
from covsvc.engine.gathering import ask
from covsvc.engine.warm_up import run_kernels
from covsvc.errors import ClusterError
from covsvc.study import Study

_PATIENCE = 30
"""Seconds in which a scheduler has to find a worker."""

_ATTEMPTS = 3
"""How often workers may be lost while they warm up."""

_GOODBYE = 5
"""Seconds in which a client closes."""


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
    else:
        with _silence():
            if "://" in cluster:
                with _client_of(cluster) as client:
                    _warm_up(client, study)
                    yield client
            else:
                with registry.find("clusters", cluster)(n_workers) as client:
                    _warm_up(client, study)
                    yield client


def workers_of(client: Any) -> int:
    """Return how many workers a client has; without a client this process is the one.

    Raises
    ------
    ClusterError
        If its scheduler is lost.
    """
    if client is None:
        return 1
    try:
        return len(client.nthreads())
    except OSError as error:
        raise ClusterError(
            f"{client.scheduler.address}: the scheduler is lost ({error}); see to it, run again"
        ) from None


@contextmanager
def _silence() -> Iterator[None]:
    """Keep to ourselves what Dask logs: what of it matters to a user we say, and how to go on."""
    import distributed  # noqa: F401 - which sets the levels of its loggers when it is imported

    names = "distributed", "distributed.client", "tornado", "tornado.application", "asyncio"
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextmanager
def _client_of(address: str) -> Iterator[Any]:
    """Connect to a scheduler."""
    from distributed import Client

    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"{address}: no scheduler answers there ({error}); start one with `dask scheduler`"
        ) from None
    try:
        yield client
    finally:
        with suppress(TimeoutError):  # a scheduler that does not answer is left as it is
            client.close(timeout=_GOODBYE)


def _warm_up(client: Any, study: Study | None) -> None:
    """Wait for a worker, and have it warm up."""
    from distributed.comm import CommClosedError

    from covsvc.engine.clusters.joining import WarmUp

    again = "run it again"
    address = client.scheduler.address
    try:
        ask(client, lambda: client.wait_for_workers(1, timeout=_PATIENCE), again)
    except TimeoutError:
        raise ClusterError(f"{address}: no worker joined within {_PATIENCE} s; start one with `dask worker`") from None
    if study is None:
        return
    plugin = WarmUp(study)
    for attempt in range(_ATTEMPTS):
        try:
            ask(client, lambda: client.register_plugin(plugin), again)
            return
        except CommClosedError as error:
            if attempt == _ATTEMPTS - 1:
                raise ClusterError(f"{address}: workers are lost while they warm up ({error}); {again}") from None
        except OSError as error:
            raise ClusterError(f"{address}: a worker cannot warm up: {error}") from None
