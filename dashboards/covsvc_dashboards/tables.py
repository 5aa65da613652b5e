"""What is seen, as CSV."""

from __future__ import annotations

import math
from typing import Any

from covsvc import api
from covsvc.errors import StudyError
from covsvc.selection import Wanted
from covsvc_dashboards.held import Held
from covsvc_dashboards.view import View


async def csv_of(held: Held, view: View) -> bytes:
    """Return the table that stands behind a page: what `covsvc query --format csv` prints of it, or of the history.

    Parameters
    ----------
    held : Held
    view : View
        With a study. What is not chosen of methods, confidence levels and true signals is all there.

    Raises
    ------
    CovsvcError
        If something of it is not there.
    """
    if not view.study:
        raise StudyError(f"name a study: study=NAME; there are {', '.join(await held.names()) or 'none yet'}")
    if view.page == "history":
        return await held.in_child(trend_csv, held.store, view.study)
    asked: dict[str, Any] = {"cl": view.cl, "s_true": _range(view)}
    asked["at"], _ = await held.maps(view.study, view.at)
    if view.page != "methods":
        asked["limit_method"] = view.limit_method or None
    if view.page == "compare":
        asked["against_method"] = view.other or None
        asked["against"], _ = await held.maps(view.study, view.other_at or view.at)
    do = held.in_child if view.page == "methods" else held.in_thread
    return await do(query_csv, held.store, view.study, asked)


def query_csv(store: str, study: str, asked: dict[str, Any]) -> bytes:
    """Return the answer of a query."""
    return _csv(api.query(study, store, **asked).to_dataframe())


def trend_csv(store: str, study: str) -> bytes:
    """Return what limit methods were worth in each accepted baseline, a row a baseline, method and cl."""
    found = api.trend(study, store)
    table = found.to_dataframe().reset_index().drop(columns="baseline")
    return _csv(table.dropna(subset=list(found.data_vars), how="all"))


def _csv(frame: Any) -> bytes:
    return bytes(frame.to_csv(index=False), "utf-8")


def _range(view: View) -> Wanted | None:
    """Return the range of true signals that was brushed."""
    if view.s_low is None and view.s_high is None:
        return None
    return Wanted(
        low=-math.inf if view.s_low is None else view.s_low, high=math.inf if view.s_high is None else view.s_high
    )
