"""Limits of all methods on the toy model of a paper."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import xarray as xr

from covsvc.api.toy_model import limits_on_toy_model
from covsvc.report import Picture, Section, Table
from covsvc.report.narsky import describe_toy_model, draw_toy_model, toy_model_cells
from covsvc.study import ExperimentSpec, study_of


def show_toy_model(maps: xr.Dataset, study: dict[str, Any]) -> Section | None:
    """Show the limits of all methods on the same few events, where the experiment is that of the paper.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Section 4 and Fig. 1.
    """
    if ExperimentSpec.model_validate(study["experiment"]).name != "gaussian_flat":
        return None
    limits = limits_on_toy_model(study_of(study), maps)
    return None if limits is None else section_of(limits, json.loads(maps.attrs["methods"]))


def section_of(limits: xr.Dataset, methods: Mapping[str, Mapping[str, Any]]) -> Section:
    """Return the section about limits on the toy model, both as `draw_toy_model` takes them."""
    level, said = f"cl = {limits.attrs['cl']:.12g}", describe_toy_model(limits)
    heads = ["n", *limits["limit_method"].values.tolist()]
    return Section(
        "Toy model",
        [
            f"Limits of all methods at {level} on the same events: n of them at the peak, in the signal region, and in "
            "the other regions as many as background is expected, evenly spread (Narsky, Nucl. Instrum. Meth. A 450 "
            "(2000) 444, Fig. 1).",
            *said,
        ],
        [
            Picture(
                draw_toy_model(limits, methods),
                f"Limits against the events in the signal region, {level}.",
                said=" ".join(said),
            )
        ],
        [
            Table(f"Limits at {level}, b = {table['b']}, events", heads, [(n, *row) for n, row in table["cells"]])
            for table in toy_model_cells(limits)
        ],
    )
