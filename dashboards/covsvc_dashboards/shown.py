"""What the panels of a page are told to show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import xarray as xr
from bokeh.models.ui.ui_element import UIElement

from covsvc.report.column import Column, columns
from covsvc.selection import select, with_axes
from covsvc_dashboards.view import View

Change = Callable[..., None]
"""Changes the view: ``change(b=3.0, s_true=2.5)``. All panels are shown anew then, and the address follows."""


@dataclass(frozen=True)
class Side:
    """One method at one confidence level, as it was at a commit.

    Attributes
    ----------
    maps : Dataset
        All maps of the commit, over (limit_method, cl, b, s_true); of the brushed range of s_true only.
    snapshot : str
        Id of the commit.
    label : str
    cl : float
    """

    maps: xr.Dataset
    snapshot: str
    label: str
    cl: float

    @cached_property
    def column(self) -> Column:
        """The maps of the method, as arrays over (b, s_true)."""
        return next(columns(with_axes(select(self.maps, limit_method=[self.label], cl=[self.cl]))))


@dataclass(frozen=True)
class Shown:
    """What is shown: everything in it is there, and fits together.

    Attributes
    ----------
    store : str
        Folder or URL.
    view : View
        With a study, a method and a cl that are there; b and s_true are None, or a cell of the grid.
    side : Side
        What is looked at.
    other : Side, optional
        What it is compared with, on the page ``compare``; may be of another commit, with another grid.
    """

    store: str
    view: View
    side: Side
    other: Side | None = None


class Panel(Protocol):
    """A part of a page, made once for each reader.

    Attributes
    ----------
    root : UIElement
        Its layout; stretches over the width that it is given.
    """

    @property
    def root(self) -> UIElement:
        """Its layout."""
        ...

    def show(self, shown: Shown) -> None:
        """Show something else: figures and sources are changed, not made anew."""
        ...


def picture_stem(view: View) -> str:
    """Return how the names of pictures begin that are downloaded; what is seen on them follows."""
    words = view.study, view.limit_method, f"cl{view.cl:g}"
    return "".join(f"{each.replace('/', '_').replace(' ', '_')}-" for each in words)


def when_free(root: UIElement, do: Callable[[], None]) -> None:
    """Do something when the document of a panel can be changed, if it is still there."""
    if (document := root.document) is not None:
        document.add_next_tick_callback(do)
