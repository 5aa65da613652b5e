"""Reaching a scheduler: what runs there and on its workers."""

from __future__ import annotations

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


def reach(address: str, seconds: float) -> Reached:
    """Ask a scheduler and its workers what they run.

    Raises
    ------
    ClusterError
        If the scheduler does not answer within so many seconds, or is lost, or it and we refuse each other.
    StudyError
        If certificates are needed, and there are none that can be used.
    """
    from distributed import Client

    from covsvc.engine.clusters.encryption import security_of
    from covsvc.engine.clusters.handshake import shake_hands  # here: clusters, too, ask what software runs

    shake_hands(address, seconds)
    try:
        with Client(address, timeout=seconds, set_as_default=False, security=security_of(address)) as client:
            packages: Mapping[str, Any] = client.get_versions()["scheduler"]["packages"]
            # as an answer: a worker without covsvc cannot even read the question
            told = client.run(software, on_error="return")
            threads = sum(client.nthreads().values())
    except OSError as error:
        raise ClusterError(f"{address}: the scheduler is lost ({error})") from None
    shared = {name: str(packages[name]) for name in ("python", *_SHARED) if packages.get(name)}
    shared["python"] = ".".join(shared.get("python", "").split(".")[:3])
    workers = {
        worker: each if isinstance(each, Mapping) else f"{type(each).__name__}: {each}" for worker, each in told.items()
    }
    return Reached(shared, workers, threads)
