"""The accessor of cubes and maps."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

import xarray as xr

from covsvc.api.figures import Values, draw
from covsvc.api.stored import axes_told, part_of, toys_in, written_at
from covsvc.errors import StudyError
from covsvc.maps import CELLS, summarize
from covsvc.notebook import html_table
from covsvc.selection import COLUMNS, cell_verdict, select, with_axes
from covsvc.verdict import judge
from covsvc.worst_cells import WorstCell, worst_cells

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OF_CUBES, _OF_MAPS = ("block_status", "limit_counts", "n_covered"), ("coverage_low", "under_significant", "n_covered")

_SHOWN = 5
"""Worst cells that a notebook shows."""

_DPI = 96
"""Of the map there: it stays in the notebook."""


@xr.register_dataset_accessor("covsvc")  # type: ignore[no-untyped-call]
class CoverageAccessor:
    """What a cube or its maps say, as ``ds.covsvc``.

    It is there once `covsvc.api` is imported, on cubes of `open_cube`, on maps of `summarize` and `read_maps`, on parts
    of them, and on cubes that `xarray.open_zarr` reads from a service. A cube is summarized when a number is first
    asked for, and read for that. Whether toys say that coverage is below cl is corrected for the cells that are there:
    of a part of a cube, for these; take parts of maps to have it as the whole study has it.
    """

    def __init__(self, held: xr.Dataset) -> None:
        self._held = held

    @cached_property
    def maps(self) -> xr.Dataset:
        """The maps, as `summarize` gives them of what the last run of the study asked for.

        Raises
        ------
        StudyError
            If this is neither a cube nor maps.
        """
        if all(name in self._held for name in _OF_MAPS):
            return self._held
        lacking = [name for name in (*_OF_CUBES, *CELLS) if name not in self._held.variables]
        lacking += [name for name in ("study", "source") if name not in self._held.attrs]
        if lacking:
            raise StudyError(
                f"neither a cube nor maps: {', '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} missing; "
                "open_cube, summarize and read_maps give them"
            )
        single = [name for name in CELLS if name not in self._held.dims]
        cube = with_axes(self._held)
        return summarize(part_of(cube, axes_told(cube))).squeeze(single)

    def select(
        self,
        *,
        limit_method: str | Sequence[str] | None = None,
        cl: Values | None = None,
        b: Values | None = None,
        s_true: Values | None = None,
    ) -> xr.Dataset:
        """Return a part; see `covsvc.select`."""
        return select(self._held, limit_method=limit_method, cl=cl, b=b, s_true=s_true)

    @property
    def coverage(self) -> xr.DataArray:
        """Coverage: exact where that is known, else the fraction of toys."""
        return self._first("coverage", "exact_coverage", "coverage: exact where known, else of toys")

    def interval(self) -> xr.Dataset:
        """Return the ends of the interval of coverage that the toys give, coverage_low and coverage_high."""
        return self.maps[["coverage_low", "coverage_high"]]

    @property
    def sigma_med_over_true(self) -> xr.DataArray:
        """The median upper limit over s_true: exact where that is known, else of toys; NaN at s_true = 0."""
        told = "median upper limit over the true signal: exact where known, else of toys"
        return self._first("sigma_med_over_true", "exact_sigma_med_over_true", told)

    @property
    def verdict(self) -> xr.DataArray:
        """What is known of coverage in each cell: under, ok, over or unknown; see `covsvc.cell_verdict`."""
        return cell_verdict(self.maps)

    def worst(self, n: int | None = None) -> Any:
        """Return the worst cell of each column, the largest deficit first, as a pandas.DataFrame; see `worst_cells`.

        Parameters
        ----------
        n : int, optional
            So many at most.
        """
        import pandas as pd  # type: ignore[import-untyped]

        names = list(WorstCell.__dataclass_fields__)
        frame = pd.DataFrame([asdict(cell) for cell in self._worst[:n]], columns=names)
        frame.attrs = {
            "study": self._study["name"],
            "snapshot": self.maps.attrs.get("snapshot", ""),
            "units": {name: COLUMNS[name][1] for name in names if name in COLUMNS and COLUMNS[name][1]},
        }
        return frame

    def plot_map(
        self,
        kind: str = "coverage",
        *,
        limit_method: str | None = None,
        cl: float | None = None,
        b: Values | None = None,
    ) -> Figure:
        """Draw the map of one method at one cl; unless given, those of the worst cell.

        Parameters
        ----------
        kind : str
            ``"coverage"`` or ``"sigma"``, which is sigma_Med/sigma_True.
        limit_method : str, optional
        cl : float, optional
        b : float, sequence of float, slice, str or Wanted, optional
            The rows of the map; all unless given.

        Raises
        ------
        StudyError
            If there is no such kind, method or value.
        """
        return draw(self.maps, kind, **self._column(limit_method, cl), b=b)

    def plot_slice(
        self, *, limit_method: str | None = None, cl: float | None = None, b: Values | None = None
    ) -> Figure:
        """Draw the coverage of one method at one cl against s_true; unless given, those of the worst cell.

        Parameters
        ----------
        limit_method : str, optional
        cl : float, optional
        b : float, sequence of float, slice, str or Wanted, optional
            A panel each, of at most four; unless given, evenly chosen ones.

        Raises
        ------
        StudyError
            If there is no such method or value.
        """
        return draw(self.maps, "slice", **self._column(limit_method, cl), b=b)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the study, its verdict, the worst cells and the map of the worst column."""
        if empty := [name for name in CELLS if self._held.sizes.get(name) == 0]:
            return f"<p>Nothing of a coverage study: no {escape(' and no '.join(empty))} is left here.</p>"
        maps, verdict, worst = self._whole, judge(self._whole), self._worst
        lines = [f"<h4>Coverage study {escape(self._study['name'])}</h4>", "<ul>"]
        lines += [f"<li>{escape(each)}</li>" for each in _sentences(maps, self._study)]
        if "snapshot" in maps.attrs:
            lines.append(f"<li>snapshot {escape(maps.attrs['snapshot'])} {escape(written_at(maps))}</li>")
        lines += ["</ul>", f"<p><strong>{escape(verdict.outcome)}</strong>: {escape(verdict.sentence)}</p>"]
        if worst:
            heads = "limit method", "cl", "s_true", "b", "coverage", "exact coverage", "toys"
            rows = [
                (each.limit_method, each.cl, each.s_true, each.b, each.coverage, each.exact_coverage, each.n_toys)
                for each in worst[:_SHOWN]
            ]
            lines.append(html_table(heads, rows, "Worst cell of each column", len(worst)))
        return "\n".join([*lines, self._picture()])

    def _picture(self) -> str:
        """Return the map of the worst column as an image."""
        from covsvc.report.column import columns
        from covsvc.report.tables import describe_coverage

        chosen = self._column(None, None)
        part = select(self._whole, limit_method=[chosen["limit_method"]], cl=[chosen["cl"]])
        said = escape(describe_coverage(next(columns(part))).removesuffix(" The table below holds the numbers."))
        content = io.BytesIO()
        draw(part, "coverage").savefig(content, format="png", dpi=_DPI, metadata={"Software": None})
        drawn = b64encode(content.getvalue()).decode()
        return f'<img alt="{said}" style="width: 32em; max-width: 100%" src="data:image/png;base64,{drawn}">'

    @property
    def _whole(self) -> xr.Dataset:
        """The maps with all of their dimensions."""
        return with_axes(self.maps)

    @property
    def _study(self) -> dict[str, Any]:
        study: dict[str, Any] = json.loads(self.maps.attrs["study"])
        return study

    def _first(self, name: str, exact: str, told: str) -> xr.DataArray:
        found = self.maps[exact].where(self.maps[exact].notnull(), self.maps[name]).rename(name)
        return found.assign_attrs(long_name=told)

    @cached_property
    def _worst(self) -> list[WorstCell]:
        return worst_cells(self._whole)

    def _column(self, limit_method: str | None, cl: float | None) -> dict[str, Any]:
        """Return what was given, and for the rest what the worst cell has of it."""
        given = {"limit_method": limit_method, "cl": cl}
        asked: dict[str, Any] = {name: [value] for name, value in given.items() if value is not None}
        part = select(self._whole, **asked)
        known = {name: part[name].values.tolist() for name in given}
        for cell in self._worst:
            if cell.limit_method in known["limit_method"] and cell.cl in known["cl"]:
                return {"limit_method": cell.limit_method, "cl": cell.cl}
        return {name: values[0] for name, values in known.items()}


def _sentences(maps: xr.Dataset, study: dict[str, Any]) -> list[str]:
    experiment = study["experiment"]
    name = experiment if isinstance(experiment, str) else experiment["name"]
    labels, levels = maps["limit_method"].values.tolist(), maps["cl"].values.tolist()
    ranges = []
    for axis in ("b", "s_true"):
        values = maps[axis].values.tolist()
        ends = f"{min(values):g} to {max(values):g}" if len(values) > 1 else f"{values[0]:g}" if values else "none"
        ranges.append(f"{axis} {ends} ({len(values)})")
    return [
        f"experiment {name}",
        f"{len(labels)} limit methods: {', '.join(labels)}",
        f"cl {', '.join(f'{cl:g}' for cl in levels)}",
        f"grid: {', '.join(ranges)} events",
        f"{toys_in(maps):,} toys, the same for all methods",
    ]
