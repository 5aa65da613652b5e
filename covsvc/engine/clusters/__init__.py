"""Ways to get a Dask client; found by entry point."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from covsvc import registry
from covsvc.engine.clusters.choosing import Choice, choose
from covsvc.engine.clusters.encryption import hold_safe
from covsvc.engine.clusters.handshake import client_at
from covsvc.engine.clusters.quiet import silenced
from covsvc.engine.clusters.welcoming import welcomed
from covsvc.engine.warm_up import run_kernels
from covsvc.errors import ClusterError, StudyError
from covsvc.study import Study


@contextmanager
def connect(
    cluster: Any,
    n_workers: int | None = None,
    study: Study | None = None,
    tell: Callable[[str], None] | None = None,
) -> Iterator[Any]:
    """Yield a Dask client, or None where there is no cluster.

    Parameters
    ----------
    cluster : None, distributed.Client, Choice or str
        None works in this process; a client is used and left open; a string is what `choose` takes.
    n_workers : int, optional
        Workers to start, where the cluster is started here.
    study : Study, optional
        What is to be done: its kernels are compiled, or read from their cache, before the work begins.
    tell : callable, optional
        Is told in a sentence that workers are waited for, or refused.

    Raises
    ------
    ClusterError
        If a scheduler does not answer, or it and we refuse each other, or its workers have something else than we.
    UnknownName
        If no cluster has this name.
    StudyError
        If the options of the cluster are refused, or Dask would talk in plain text beyond this machine.
    """
    given = choose(cluster) if isinstance(cluster, str) else cluster
    if given is None:
        if study is not None:
            run_kernels(study)
        yield None
    elif not isinstance(given, Choice):
        if not hasattr(given, "submit"):
            raise ClusterError(f"{given!r}: no Dask client, no address and no name of a cluster")
        if getattr(given, "scheduler", None) is None:
            raise ClusterError("the client is closed; make another one")
        hold_safe(given.scheduler.address)
        with welcomed(given, study, tell):
            yield given
    else:
        with _silence(), _client_of(given, n_workers, tell) as client, welcomed(client, study, tell):
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

    with silenced("distributed", "distributed.client", "tornado", "tornado.application", "asyncio"):
        yield


@contextmanager
def _client_of(choice: Choice, n_workers: int | None, tell: Callable[[str], None] | None) -> Iterator[Any]:
    """Start a cluster, or connect to a scheduler."""
    if choice.address and n_workers is not None:
        raise StudyError(f"{choice.told}: has the workers that others start; leave out that they are {n_workers}")
    with ExitStack() as opened:
        if choice.address:
            try:
                client = opened.enter_context(client_at(choice.address))
            except ClusterError as error:
                if "://" in choice.told:
                    raise
                raise ClusterError(f"{choice.told}: {error}") from None
            yield client
            return
        try:
            client = opened.enter_context(registry.find("clusters", choice.name)(n_workers, choice.options, tell))
        except StudyError as error:
            if choice.told == choice.name:
                raise
            raise StudyError("\n".join(f"{choice.told}: {line}" for line in str(error).splitlines())) from None
        yield client
