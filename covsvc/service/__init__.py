"""The service: answers over HTTP on the studies of a store.

A request comes in through `serving` (the process: sockets, log, how it stops) and `gate` (who may come in, and with how
much; counted by `metrics`); `app` puts them together, and says what each error is answered with. `routes` are the
addresses, `asking` what may be asked there, `telling` what the OpenAPI document says of the answers.

What requests share is in `state`: `snapshots` knows which commit answers and holds its maps, `lanes` bound what works
and waits at a time, `workers` are child processes, which do the `jobs` that take long, `reports` draws reports,
`zarr_view` shows a cube as Zarr. `answers` encodes, and knows what need not be sent or made again; `home` has the pages
for people, `tokens` the file of those who may read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from covsvc.service.app import make_app

__all__ = ["make_app"]


def __getattr__(name: str) -> Any:
    """Import the application when it is asked for: children of the service do without."""
    if name != "make_app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from covsvc.service.app import make_app

    return make_app
