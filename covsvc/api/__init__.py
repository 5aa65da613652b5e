"""The verbs of covsvc."""

from __future__ import annotations

from covsvc.api.accepting import accept, baselines
from covsvc.api.accessor import CoverageAccessor
from covsvc.api.building import STORE
from covsvc.api.cells import coverage_curve, limit_distributions, quantile
from covsvc.api.checking import Finding, doctor
from covsvc.api.discordance import discordant
from covsvc.api.events import (
    event_methods,
    limits_on_events,
    limits_on_view,
    methods_reading,
    write_events,
    write_likelihood,
)
from covsvc.api.exact import exact_coverage, expected_limits, worst_coverage
from covsvc.api.figures import draw, figure
from covsvc.api.interval_tables import build_tables, tables
from covsvc.api.moving import export_cube, import_cube, merge
from covsvc.api.observed import limits, limits_on, observe, rows_of_scan, scan_limits, significances_on, write_scan
from covsvc.api.past import delete_tag, gc, history, set_tag, tags
from covsvc.api.plugins import describe, readers_of
from covsvc.api.progressing import progress_of
from covsvc.api.querying import Answer, query, read_maps, worst, write_answer
from covsvc.api.replaying import replay
from covsvc.api.running import Progress, Remainder, load_studies, load_study, plan, remainder, run
from covsvc.api.stored import maps_of, status, write_report
from covsvc.api.trending import trend, trend_as_dict, write_trend
from covsvc.api.validating import Validated, validate, write_validation
from covsvc.data_file import read_scan
from covsvc.engine.likelihood_scan import fit_of_bins
from covsvc.engine.observation import draw_curves
from covsvc.event_file import read_background, read_events, read_signal
from covsvc.maps import summarize
from covsvc.selection import cell_verdict, rows_of, select
from covsvc.store.repository import driver_of, open_cube, stored_studies
from covsvc.verdict import judge
from covsvc.worst_cells import worst_cells

__all__ = [
    "STORE",
    "Answer",
    "CoverageAccessor",
    "Finding",
    "Progress",
    "Remainder",
    "Validated",
    "accept",
    "baselines",
    "build_tables",
    "cell_verdict",
    "coverage_curve",
    "delete_tag",
    "describe",
    "discordant",
    "doctor",
    "draw",
    "draw_curves",
    "driver_of",
    "event_methods",
    "exact_coverage",
    "expected_limits",
    "export_cube",
    "figure",
    "fit_of_bins",
    "gc",
    "history",
    "import_cube",
    "judge",
    "limit_distributions",
    "limits",
    "limits_on",
    "limits_on_events",
    "limits_on_view",
    "load_studies",
    "load_study",
    "maps_of",
    "merge",
    "methods_reading",
    "observe",
    "open_cube",
    "plan",
    "progress_of",
    "quantile",
    "query",
    "read_background",
    "read_events",
    "read_maps",
    "read_scan",
    "read_signal",
    "readers_of",
    "remainder",
    "replay",
    "rows_of",
    "rows_of_scan",
    "run",
    "scan_limits",
    "select",
    "set_tag",
    "significances_on",
    "status",
    "stored_studies",
    "summarize",
    "tables",
    "tags",
    "trend",
    "trend_as_dict",
    "validate",
    "worst",
    "worst_cells",
    "worst_coverage",
    "write_answer",
    "write_events",
    "write_likelihood",
    "write_report",
    "write_scan",
    "write_trend",
    "write_validation",
]
