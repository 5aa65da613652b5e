"""Real events over the densities of signal and background."""

from __future__ import annotations

from typing import Any

import xarray as xr

from covsvc.regions import SeenDensities
from covsvc.report import Picture, Section, Table
from covsvc.report.density_plot import density_cells, describe_densities, draw_densities
from covsvc.study import ExperimentSpec


def show_densities(maps: xr.Dataset, study: dict[str, Any]) -> Section | None:  # noqa: ARG001
    """Show the real events of a study over the densities of its experiment, where it has any to show."""
    show = getattr(ExperimentSpec.model_validate(study["experiment"]).build(), "densities", None)
    observed = study.get("observed")
    return section_of(show(observed)) if show is not None and observed is not None else None


def section_of(seen: SeenDensities) -> Section:
    """Return the section about events over densities."""
    cells, read = density_cells(seen), "Likelihood methods read this ratio of each event."
    if seen.drawn:
        read += (
            " Each contour is the smallest area that holds its part of the signal; the circles are signal events that "
            "were drawn."
        )
    caption = f"Events by the ratio of their densities, {len(cells):,} of {len(seen.density_ratio):,}"
    heads = ["event", *seen.names, "region", "signal density / background density"]
    return Section(
        "Events over the densities",
        [f"{describe_densities(seen)} {read}"],
        [Picture(draw_densities(seen), "Real events over the densities.", said=describe_densities(seen))],
        [Table(caption, heads, [(event, *row) for event, row in cells])],
    )
