"""Limits on the search for tau -> mu gamma beside the published ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from covsvc.contracts import Counts
from covsvc.report import Section, Table
from covsvc.report.narsky import published_cells
from covsvc.study import ExperimentSpec

EXPERIMENTS = ("counting", "cleo")
LEVEL = 0.9


def show_published(maps: xr.Dataset, study: dict[str, Any]) -> Section | None:
    """Show the limits on the real data beside those of a paper, where these are the data of the paper.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Section 5 and Table 1.
    """
    if not is_tau_mu_gamma(study):
        return None
    return section_of(json.loads(maps.attrs["observed"]), json.loads(maps.attrs["methods"]))


def is_tau_mu_gamma(study: Mapping[str, Any]) -> bool:
    """Tell whether a study is about the search for tau -> mu gamma of CLEO: n = 3 over b = 5.5, and 90 %."""
    observed, spec = study.get("observed"), ExperimentSpec.model_validate(study["experiment"])
    if observed is None or LEVEL not in study["cl"] or spec.name not in EXPERIMENTS:
        return False
    views = spec.build().observe(observed)
    return any(type(view) is Counts and view.n[0] == 3 and view.b_of_each[0] == 5.5 for view in views)


def section_of(observed: Sequence[Mapping[str, Any]], methods: Mapping[str, Mapping[str, Any]]) -> Section:
    """Return the section about published limits, given ours as `published_cells` takes them."""
    rows = [(row["label"], row["published"], row["ours"], row["remark"]) for row in published_cells(observed, methods)]
    return Section(
        "Published limits",
        [
            "The search for τ → μγ by CLEO: 3 events over an expected background of 5.5, upper limits at cl = 0.9 "
            "beside those of Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Table 1."
        ],
        tables=[
            Table(
                "Upper limits at cl = 0.9, events; – not in this study", ["Method", "Published", "Here", "Remark"], rows
            )
        ],
    )
