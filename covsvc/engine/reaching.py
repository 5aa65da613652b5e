"""Reaching a scheduler: what runs there and on its workers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from covsvc.errors import ClusterError
from covsvc.fingerprint import code_of, environment, versions
from covsvc.version import __version__

_SHARED = ("dask", "distributed", "msgpack", "cloudpickle")
"""What driver, scheduler and workers talk with."""


@dataclass(frozen=True)
class Reached:
    """A scheduler that answered.

    Attributes
    ----------
    scheduler : dict
        Versions by name.
    workers : dict
        Of each worker by its address: versions, code and processor by name; or a sentence, if it cannot say.
    threads : int
        Of all workers.
    """

    scheduler: Mapping[str, str]
    workers: Mapping[str, Mapping[str, str] | str]
    threads: int


def software() -> dict[str, str]:
    """Return what has to be alike here and on every worker, by name."""
    return {
        "covsvc": __version__,
        "code of covsvc": code_of("covsvc.engine.work", "covsvc.tally"),
        **environment(),
        **versions(_SHARED),
    }


def probe(address: str, seconds: float) -> None:
    """Shake hands with a scheduler.

    A client of Dask waits for ever for one that takes a connection and says nothing, because it is stopped, say.

    Raises
    ------
    ClusterError
        If it does not answer within so many seconds.
    """
    from distributed.core import connect
    from distributed.security import Security

    async def shake_hands() -> None:
        arguments = Security().get_connection_args("client")
        comm = await asyncio.wait_for(connect(address, timeout=seconds, **arguments), seconds)
        await comm.close()

    try:
        asyncio.run(shake_hands())
    except (OSError, ValueError, RuntimeError) as error:  # of time and of Dask's connection, too
        told = str(error).strip().splitlines() or [f"silence for {seconds:g} s"]
        raise ClusterError(
            f"{address}: no scheduler answers there ({told[0]}); start one with `dask scheduler`"
        ) from None


def reach(address: str, seconds: float) -> Reached:
    """Ask a scheduler and its workers what they run.

    Raises
    ------
    ClusterError
        If the scheduler does not answer within so many seconds.
    """
    from distributed import Client

    probe(address, seconds)
    client = Client(address, timeout=seconds, set_as_default=False)
    with client:
        packages: Mapping[str, Any] = client.get_versions()["scheduler"]["packages"]
        shared = {name: str(packages[name]) for name in ("python", *_SHARED) if packages.get(name)}
        shared["python"] = ".".join(shared.get("python", "").split(".")[:3])
        # as an answer: a worker without covsvc cannot even read the question
        told = client.run(software, on_error="return")
        workers = {
            worker: each if isinstance(each, Mapping) else f"{type(each).__name__}: {each}"
            for worker, each in told.items()
        }
        return Reached(shared, workers, sum(client.nthreads().values()))
