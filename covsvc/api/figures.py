"""Figures of maps, one at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from covsvc.api.observed import failed_columns, failed_rows
from covsvc.engine.guard import giving_up
from covsvc.engine.observation import draw_curves
from covsvc.engine.work import sum_exactly, tables_of
from covsvc.errors import CovsvcError, StudyError, UnknownName
from covsvc.selection import AXES, Wanted, select, wanted_of, with_axes
from covsvc.study import Row, study_of
from covsvc.tally import EXACT, ROUNDING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from covsvc.report.column import Column

KINDS = ("coverage", "sigma", "slice", "medians", "mistakes")
FORMATS = ("svg", "png", "pdf")

Values = float | Sequence[float] | slice | str | Wanted
"""What can be asked for along an axis."""

_OF_ALL_METHODS = ("medians", "mistakes")


def figure(
    maps: xr.Dataset,
    kind: str,
    *,
    limit_method: str | None = None,
    cl: float | None = None,
    b: Values | None = None,
    format: str = "svg",  # noqa: A002 - as matplotlib calls it
) -> bytes:
    """Return the file of a figure, the same bytes every time; see `draw`.

    Parameters
    ----------
    format : str
        ``"svg"``, ``"png"`` or ``"pdf"``.

    Raises
    ------
    StudyError
        If there is no such kind, format, method or value.
    """
    from covsvc.report.picture import drawing, picture

    if format not in FORMATS:
        raise UnknownName.of("format of a figure", format, FORMATS)
    paint = _painter(maps, kind, limit_method, cl, b)
    with drawing():
        return picture(paint(), f".{format}")


def draw(
    maps: xr.Dataset,
    kind: str,
    *,
    limit_method: str | None = None,
    cl: float | None = None,
    b: Values | None = None,
) -> Figure:
    """Draw a figure of the report.

    Parameters
    ----------
    maps : xarray.Dataset
        As `summarize` gives it.
    kind : str
        ``"coverage"`` and ``"sigma"`` are maps of one method; ``"slice"`` is its coverage against s_true, with the
        exact curve where its outcomes are enumerable and the method, as it is installed here, gives the stored values
        at the nodes, else with these; ``"medians"`` and ``"mistakes"`` show all methods against s_true.
    limit_method : str, optional
        Label of a method; may be left out where there is only one. Without meaning for all methods.
    cl : float, optional
        May be left out where there is only one.
    b : float, sequence of float, slice, str or Wanted, optional
        Backgrounds of figures against s_true, a panel each, of at most four; unless given, evenly chosen ones. Maps
        show those alone.

    Raises
    ------
    StudyError
        If there is no such kind, method or value.
    """
    from covsvc.report.picture import drawing, picture

    paint = _painter(maps, kind, limit_method, cl, b)
    with drawing():
        drawn = paint()
    # notebooks show it, though it is no figure of pyplot
    drawn.__dict__["_repr_png_"] = partial(picture, drawn, ".png")
    return drawn


def _painter(
    maps: xr.Dataset, kind: str, limit_method: str | None, cl: float | None, b: Values | None
) -> Callable[[], Figure]:
    """Return what draws a figure: all that takes time, or may be refused, but the drawing itself, is done."""
    from covsvc.report.column import columns
    from covsvc.report.coverage_map import draw_coverage
    from covsvc.report.medians import draw_medians
    from covsvc.report.mistakes import draw_mistakes
    from covsvc.report.side_by_side import background_of
    from covsvc.report.sigma_map import draw_sigma, sigma_range
    from covsvc.report.slices import draw_slices
    from covsvc.report.strokes import strokes

    if kind not in KINDS:
        raise UnknownName.of("kind of figure", kind, KINDS)
    whole = with_axes(maps)
    label = None if kind in _OF_ALL_METHODS else [_one_of(whole, "limit_method", limit_method)]
    part = select(whole, limit_method=label, cl=wanted_of(_one_of(whole, "cl", cl), "cl"), b=wanted_of(b, "b"))
    if part.sizes["cl"] != 1:
        raise StudyError(f"cl = {cl}: a figure is of one confidence level; {_known(whole, 'cl')}")
    if b is not None and not part.sizes["b"]:
        raise StudyError(f"b = {wanted_of(b, 'b')}: no background of the grid is there; {_known(whole, 'b')}")
    if empty := [name for name in AXES if not part.sizes[name]]:
        raise StudyError(f"there is nothing to draw: no {' and no '.join(empty)} is left here")
    shown = list(columns(part))
    if kind == "coverage":
        return lambda: draw_coverage(shown[0])
    if kind == "sigma":
        ends = sigma_range(list(columns(whole)))  # as the report: colours can be compared
        return lambda: draw_sigma(shown[0], *ends)
    if kind == "slice":
        curves = exact_curves(shown[0], part)
        return lambda: draw_slices(shown, curves)
    methods: Mapping[str, Mapping[str, Any]] = json.loads(maps.attrs.get("methods", "{}"))
    draw_all = draw_medians if kind == "medians" else draw_mistakes
    styles = strokes({column.label: methods.get(column.label, {}) for column in shown})
    return lambda: draw_all(shown, styles, background_of(json.loads(maps.attrs.get("study", "{}"))))


def _one_of(maps: xr.Dataset, name: str, given: Any) -> Any:
    """Return what was given of an axis, or all that there is.

    Raises
    ------
    StudyError
        If nothing was given, and there is a choice.
    """
    if given is not None:
        return given
    if maps.sizes[name] != 1:
        raise StudyError(f"{name}: say which one to draw; {_known(maps, name)}")
    return maps[name].values.tolist()[0]


def _known(maps: xr.Dataset, name: str) -> str:
    known = [each if isinstance(each, str) else f"{each:.12g}" for each in maps[name].values.tolist()]
    return f"there are {', '.join(known) or 'none'}"


def exact_curves(column: Column, maps: xr.Dataset) -> xr.Dataset | None:
    """Return the saw-tooth of what is drawn; None where it is not known, or what is here gives other values."""
    if not column.exact.any():
        return None
    told = json.loads(maps.attrs["study"])
    kept = [each for each in told["methods"] if each["label"] == column.label]
    axes = {name: maps[name].values.tolist() for name in ("cl", "b", "s_true")}
    try:
        study = study_of(told | {"methods": kept} | axes)
    except CovsvcError:  # the plug-ins that it was made with are not here
        return None
    with giving_up(failed_columns(study, maps)):
        tables = tables_of(study, failed_rows(study, maps))
        for row, b in enumerate(study.b):
            found = sum_exactly(Row(study.source, study.columns, b, study.s_true), tables[b], search=False)
            here, stored = found.values[0, :, EXACT.index("exact_coverage")], column.values("exact_coverage")[row]
            if not np.allclose(here, stored, rtol=0, atol=ROUNDING, equal_nan=True):
                return None
        return draw_curves(study, tables)
