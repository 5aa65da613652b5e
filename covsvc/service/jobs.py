"""What child processes do for the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from covsvc import api, registry
from covsvc.api.figures import figure
from covsvc.api.querying import query, read_maps
from covsvc.errors import CovsvcError, ObservationError
from covsvc.service.answers import encode


def prepare(store: str, name: str, snapshot: str) -> None:
    """Make the maps of a commit, which are kept in the user's cache."""
    read_maps(store, name, snapshot)


def rows(store: str, name: str, at: str, snapshot: str, against: str | None, asked: Mapping[str, Any]) -> bytes:
    """Return the answer to a query; `at` is what people called the snapshot."""
    found = query(name, store, at=snapshot, against=against, **asked).as_dict()
    return encode(found | {"at": at})


def picture(store: str, name: str, snapshot: str, kind: str, suffix: str, asked: Mapping[str, Any]) -> bytes:
    """Return the file of a figure."""
    return figure(read_maps(store, name, snapshot), kind, format=suffix, **asked)


def limits(store: str, asked: Mapping[str, Any]) -> bytes:
    """Return the limits on an observation, as `covsvc.api.limits_on` tells them; nothing is written."""
    experiment, options, observed = asked["experiment"], asked["options"], asked["observed"]
    for name in getattr(registry.find("experiments", experiment), "files", ()):
        if isinstance(options.get(name), str):
            raise ObservationError(f"options.{name}: files of the service are not read; send the content")
    built = registry.experiment(experiment, options)
    try:
        views = built.observe(dict(observed))
        number = len(views[0])
    except CovsvcError:
        raise
    except Exception as error:  # an experiment may raise anything on what is no observation
        raise ObservationError(f"observed: {experiment} cannot read this: {type(error).__name__}: {error}") from None
    if number != 1:
        raise ObservationError(f"observed: {number} observations; send one at a time")
    methods = asked["limit_method"] or api.readers_of(experiment)
    found = api.limits_on(
        experiment, observed, methods, asked["cl"], s_max=asked["s_max"], options=options, store=store, calibrate=False
    )
    return encode({"experiment": experiment, "options": options, "observed": observed, "limits": found})
