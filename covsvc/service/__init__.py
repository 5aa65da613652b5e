"""The service: answers over HTTP on the studies of a store."""

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
