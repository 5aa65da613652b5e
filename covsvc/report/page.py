"""The page: one file that needs nothing else, and the figures, tables and pages beside it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from covsvc.files import write
from covsvc.interval_tables import IntervalTable
from covsvc.report import tables
from covsvc.report.apart import do_parts
from covsvc.report.citing import citations
from covsvc.report.column import Column, columns
from covsvc.report.common_cells import compare_common
from covsvc.report.coverage_map import draw_coverage
from covsvc.report.csv_tables import FOLDER as TABLES_FOLDER
from covsvc.report.csv_tables import TABLES, write_tables
from covsvc.report.expected import describe_expected, draw_expected
from covsvc.report.failures import failure_rows
from covsvc.report.glance import glance
from covsvc.report.medians import MEDIANS, describe_medians, draw_medians
from covsvc.report.mistakes import MISTAKES, describe_mistakes, draw_mistakes
from covsvc.report.picture import FIGURES, embed
from covsvc.report.plugged_figures import plugged_figures
from covsvc.report.seen import sight_sentences
from covsvc.report.side_by_side import background_of, compared_cells, compared_rows
from covsvc.report.sigma_map import draw_sigma, sigma_range
from covsvc.report.slices import draw_slices, slice_rows
from covsvc.report.statistics import draw_statistics, statistics_cells, statistics_sentences
from covsvc.report.stems import unique_stems
from covsvc.report.strokes import strokes
from covsvc.report.summary_markdown import summary_of
from covsvc.report.templates import render
from covsvc.report.toys_drawn import drawn_sentences
from covsvc.report.toys_spent import (
    column_cells,
    describe_marks,
    draw_spent,
    look_cells,
    spent_cells,
    spent_of,
    spent_sentences,
)
from covsvc.report.worst_cells import MOST_SHOWN, worst_rows
from covsvc.worst_cells import WorstCell

MOST_BYTES = 1_000_000
"""Of one page; where it would be larger, the methods have pages of their own."""

SUMMARY = "summary.md"


def write_page(
    maps: xr.Dataset,
    verdict: Mapping[str, Any],
    folder: Path,
    observed: Sequence[Mapping[str, Any]] = (),
    progress: Callable[[str], None] | None = None,
    curves: xr.Dataset | None = None,
    expected: xr.Dataset | None = None,
    statistics: xr.Dataset | None = None,
    notes: Sequence[Mapping[str, Any]] = (),
    events: Sequence[IntervalTable] | None = None,
    worst: Sequence[WorstCell] = (),
    most_bytes: int = MOST_BYTES,
) -> Path:
    """Write the report on `maps` and return the path of its page.

    The page holds its figures; each is also in ``figures/`` as PNG, SVG and PDF: ``coverage-<label>-<cl>``,
    ``sigma-<label>-<cl>``, ``slices-<label>``, ``expected-<label>``, ``statistics``, ``medians-<cl>``,
    ``mistakes-<cl>``, ``toys-spent``, and those of the registry. Beside it are ``summary.md`` and ``tables/*.csv``.
    Where the page would be too large, maps and slices are on ``method-<label>.html``, each of which needs no other
    file either.

    Parameters
    ----------
    maps : Dataset
        What the cube means, over (limit_method, cl, b, s_true); its attributes ``study``, ``methods`` and
        ``provenance`` are JSON.
    verdict : mapping
        ``outcome``, ``sentence``, ``smallest_deficit``, ``smallest_deficit_sentence`` and ``findings``.
    folder : Path
        Made where it is missing.
    observed : sequence of mapping
        The limits on real data, with coverage.
    progress : callable, optional
        Told in a line what has been drawn.
    curves : Dataset, optional
        The exact saw-tooth: ``s`` and ``coverage`` over (limit_method, cl, b, point), padded with NaN.
    expected : Dataset, optional
        Observed and expected limits, as `draw_expected` takes them.
    statistics : Dataset, optional
        Exact and asymptotic distributions, as `draw_statistics` takes them.
    notes : sequence of mapping
        ``limit_method``, ``cl`` and ``note``: what the limits of a method equal.
    events : sequence of IntervalTable, optional
        What the interval methods read, one a confidence level where there is a table. None where the data are no
        positions of events.
    worst : sequence of WorstCell
        The worst cell of each column.
    most_bytes : int
        Of one page; where it would be larger, the methods have pages of their own.
    """
    folder = Path(folder)
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    every = list(columns(maps))
    stems = unique_stems(dict.fromkeys(column.label for column in every))
    methods = _attribute(maps, "methods")
    span = sigma_range(every)
    parts = [
        (list(group), stems[label], folder, span, _curves_of(label, curves))
        for label, group in itertools.groupby(every, key=lambda column: column.label)
    ]
    sections = []
    for section in do_parts(_section, parts):
        sections.append(section | methods.get(section["label"], {}))
        if progress is not None:
            progress(f"drew {section['label']} ({len(sections)}/{len(stems)})")
    study, provenance = _attribute(maps, "study"), _attribute(maps, "provenance")
    write_tables(maps, verdict, worst, folder, every)
    write(folder / SUMMARY, summary_of(maps, verdict, worst, every).encode())
    reasons = [each for kind in ("toy_failures", "failures") for each in json.loads(maps.attrs.get(kind, "[]"))]
    adaptive = "adaptive" in maps.attrs
    told: dict[str, Any] = {
        "study": study,
        "study_text": json.dumps(study, indent=2, ensure_ascii=False),
        "verdict": verdict,
        "sight": sight_sentences(every, methods, str(verdict.get("smallest_deficit_sentence") or "")),
        "findings": tables.judged(verdict.get("findings", ())),
        "observed": tables.on_observation(observed),
        "summary": tables.summary(every, methods),
        "worst": worst_rows(worst),
        "most_worst": MOST_SHOWN,
        "notes": tables.equal_limits(notes),
        "sections": sections,
        "glances": _glances(every, span),
        "adaptive": adaptive,
        "spent": _spent(maps, folder),
        "interval": "interval of the budget" if adaptive else "95 % Clopper-Pearson interval",
        "expected": _expected(expected, stems, folder),
        "seen": expected is not None and bool(expected.get("observed", xr.DataArray(float("nan"))).notnull().any()),
        "statistics": _statistics(statistics, folder),
        "plugged": _plugged(maps, observed, folder, progress),
        "beside": _beside(every, methods, background_of(study), folder),
        "background": background_of(study),
        "reach": tables.reach(every, methods, events or ()),
        "without_limit": tables.without_limit(every, reasons),
        "failures": failure_rows(maps),
        "methods": {label: dict(methods.get(label, {})) for label in stems},
        "provenance": provenance,
        "cite": citations(study, methods, provenance),
        "tables": [(f"{TABLES_FOLDER}/{name}", what) for name, what in TABLES.items()],
        "two_sided": any(method.get("sided") == "two" for method in methods.values()),
    }
    index, links = folder / "index.html", {label: f"#method-{stem}" for label, stem in stems.items()}
    page = render("page.html.j2", **told, links=links, apart=False).encode()
    if len(page) > most_bytes:
        links = {label: f"method-{stem}.html" for label, stem in stems.items()}
        page = render("page.html.j2", **told, links=links, apart=True).encode()
        for section in sections:
            alone = render("method.html.j2", **told, links=links, section=section)
            write(folder / links[section["label"]], alone.encode())
    write(index, page)
    return index


def _curves_of(label: str, curves: xr.Dataset | None) -> xr.Dataset | None:
    """Return the curves of one method, where there are any."""
    if curves is None or label not in curves["limit_method"].to_numpy():
        return None
    return curves.sel(limit_method=[label])


def _section(
    group: Sequence[Column], stem: str, folder: Path, span: tuple[float, float], curves: xr.Dataset | None
) -> dict[str, Any]:
    """Draw one method and return what the page says about it."""
    levels = []
    for column in group:
        end = f"{stem}-{column.cl:.12g}"
        levels.append(
            {
                "cl": f"{column.cl:.12g}",
                "b": [f"{b:g}" for b in column.b],
                "coverage": embed(
                    partial(draw_coverage, column), f"coverage-{end}", folder, tables.describe_coverage(column)
                ),
                "coverage_cells": tables.coverage_cells(column),
                "sigma": embed(
                    partial(draw_sigma, column, *span), f"sigma-{end}", folder, tables.describe_sigma(column)
                ),
                "sigma_cells": tables.sigma_cells(column),
            }
        )
    return {"label": group[0].label, "stem": stem, "levels": levels, "slices": _slices(group, stem, folder, curves)}


def _slices(group: Sequence[Column], stem: str, folder: Path, curves: xr.Dataset | None) -> dict[str, Any]:
    rows = slice_rows(group[0])
    b = [f"{group[0].b[row]:g}" for row in rows]
    described = (
        f"Coverage of {group[0].label} against s_true at b = {', '.join(b)}, at cl = "
        f"{' and '.join(f'{column.cl:.12g}' for column in group)}. The tables below hold the numbers."
    )
    inside, both = map(sum, zip(*(column.agreement() for column in group), strict=True))
    return {
        "picture": embed(partial(draw_slices, group, curves), f"slices-{stem}", folder, described),
        "b": b,
        "levels": [{"cl": f"{column.cl:.12g}", "cells": tables.toy_cells(column, rows)} for column in group],
        "inside": inside,
        "both": both,
    }


def _expected(expected: xr.Dataset | None, stems: Mapping[str, str], folder: Path) -> list[dict[str, Any]]:
    """Draw the expected limits of each method and return what the page says about them."""
    if expected is None:
        return []
    labels = [str(label) for label in expected["limit_method"].to_numpy().tolist()]
    shown = []
    for label, stem in unique_stems(dict.fromkeys([*stems, *labels])).items():
        if label not in labels:
            continue
        limits = expected.sel(limit_method=label)
        picture = embed(
            partial(draw_expected, expected, label), f"expected-{stem}", folder, describe_expected(expected, label)
        )
        levels = [
            {"cl": f"{cl:.12g}", "cells": tables.expected_cells(limits.sel(cl=cl))}
            for cl in limits["cl"].to_numpy().tolist()
        ]
        shown.append({"label": label, "stem": stem, "picture": picture, "levels": levels, "wide": len(levels) > 1})
    return shown


def _glances(every: Sequence[Column], span: tuple[float, float]) -> list[dict[str, Any]]:
    """Return the small maps of each confidence level."""
    levels = dict.fromkeys(column.cl for column in every)
    return [
        {"cl": f"{cl:.12g}", "pictures": glance([column for column in every if column.cl == cl], *span)}
        for cl in levels
    ]


def _spent(maps: xr.Dataset, folder: Path) -> dict[str, Any]:
    """Return what the page says about the toys; draw what a budget of them was spent on."""
    spent = spent_of(maps)
    if spent is None:
        return {"sentences": drawn_sentences(maps)}
    sentences = spent_sentences(spent)
    described = f"Map of the toys spent. {sentences[0]} {describe_marks(spent)} The table below holds the numbers."
    return {
        "picture": embed(partial(draw_spent, spent), "toys-spent", folder, described),
        "sentences": sentences,
        "margin": f"{spent.rule.margin:.12g}",
        "b": [f"{b:g}" for b in spent.b.tolist()],
        "cells": spent_cells(spent),
        "looks": look_cells(spent),
        "columns": [(label, f"{cl:.12g}", counts) for label, cl, counts in column_cells(spent)],
    }


def _statistics(statistics: xr.Dataset | None, folder: Path) -> dict[str, Any] | None:
    if statistics is None:
        return None
    sentences = statistics_sentences(statistics)
    described = f"{' '.join(sentences)} The table below holds the numbers."
    picture = embed(partial(draw_statistics, statistics), "statistics", folder, described)
    rows, wide = statistics_cells(statistics), statistics.sizes["statistic"] > 1
    return {"picture": picture, "sentences": sentences, "rows": rows, "wide": wide}


def _beside(
    every: Sequence[Column], methods: Mapping[str, Mapping[str, Any]], background: str, folder: Path
) -> list[dict[str, Any]]:
    """Draw all methods in the same axes, for each confidence level, and return what the page says about them."""
    styles = strokes({column.label: methods.get(column.label, {}) for column in every})
    shown = []
    for cl in dict.fromkeys(column.cl for column in every):
        group = [column for column in every if column.cl == cl]
        end, rows = f"{cl:.12g}", compared_rows(group)
        described = describe_medians(group), describe_mistakes(group)
        below = "The tables below hold the numbers."
        drawn = (
            embed(partial(draw, group, styles, background), f"{name}-{end}", folder, f"{said} {below}")
            for draw, name, said in zip((draw_medians, draw_mistakes), ("medians", "mistakes"), described, strict=True)
        )
        pictures = dict(zip(("medians", "mistakes"), drawn, strict=True))
        cells = [
            {
                "b": f"{group[0].b[row]:g}",
                "medians": compared_cells(group, row, MEDIANS),
                "mistakes": compared_cells(group, row, MISTAKES),
            }
            for row in rows
        ]
        shown.append(
            pictures
            | {
                "cl": end,
                "labels": [column.label for column in group],
                "sentences": described,
                "cells": cells,
                "wide": len(rows) > 1,
                "common": compare_common(group, methods),
            }
        )
    return shown


def _plugged(
    maps: xr.Dataset,
    observed: Sequence[Mapping[str, Any]],
    folder: Path,
    progress: Callable[[str], None] | None,
) -> dict[str, Any]:
    """Draw the figures of the registry and return what the page says about them."""
    told = maps.assign_attrs(observed=json.dumps([dict(each) for each in observed]))
    plugged = plugged_figures(told, _attribute(maps, "study"), folder)
    if progress is not None:
        for sentence in plugged["missing"]:
            progress(f"left out: {sentence}")
    return plugged


def _attribute(maps: xr.Dataset, name: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(maps.attrs.get(name, "{}"))
    return said
