"""Gathering of what a Dask cluster computes: submissions in, ended futures out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from covsvc.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client, Future

_WINDOW = 3
"""Tasks a worker has in hand or waiting, so that it never idles and the driver's memory stays flat."""

What = TypeVar("What")


def gather(
    submissions: Iterator[tuple[Future, What]], client: Client, what_stays: str
) -> Iterator[tuple[What, Future, Any]]:
    """Yield what was submitted with its future, finished or failed, and the result, in the order of their ends.

    Parameters
    ----------
    submissions : iterator of (Future, object)
        Read as far as workers need it; each is submitted when it is read.
    client : distributed.Client
    what_stays : str
        What becomes of the work that is done if the cluster is lost, and the cure.

    Raises
    ------
    ClusterError
        If the cluster is lost.
    """
    from distributed import as_completed

    done = as_completed(with_results=True, raise_errors=False)
    waiting: dict[Any, What] = {}
    window = max(2, _WINDOW * sum(client.nthreads().values()))
    try:
        while True:
            while len(waiting) < window and (submitted := next(submissions, None)) is not None:
                future, what = submitted
                waiting[future.key] = what
                done.add(future)
            if not waiting:
                return
            for future, result in done.next_batch(block=True):
                if future.status == "lost" and client.status == "running":
                    # its worker died before the result was fetched: the scheduler has it computed again
                    done.add(future)
                elif future.status in ("cancelled", "lost"):
                    raise ClusterError(f"the cluster was lost; {what_stays}")
                else:
                    yield waiting.pop(future.key), future, result
    finally:
        if client.status == "running":  # interrupted, this may be left only when the client is gone
            client.cancel(list(done.futures), force=True)
