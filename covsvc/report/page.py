"""The page: one file that needs nothing else, and the figures beside it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from covsvc.interval_tables import IntervalTable
from covsvc.regions import SeenDensities
from covsvc.report import tables
from covsvc.report.column import Column, columns
from covsvc.report.coverage_map import draw_coverage
from covsvc.report.density_plot import density_cells, describe_densities, draw_densities
from covsvc.report.expected import describe_expected, draw_expected
from covsvc.report.failures import failure_rows
from covsvc.report.medians import MEDIANS, describe_medians, draw_medians
from covsvc.report.mistakes import MISTAKES, describe_mistakes, draw_mistakes
from covsvc.report.narsky import describe_toy_model, draw_toy_model, published_cells, toy_model_cells
from covsvc.report.null_significance import draw_null, null_cells, null_sentences
from covsvc.report.picture import FIGURES, embed, write
from covsvc.report.plugged_figures import plugged_figures
from covsvc.report.side_by_side import compared_cells, compared_rows
from covsvc.report.sigma_map import draw_sigma, sigma_range
from covsvc.report.slices import draw_slices, slice_rows
from covsvc.report.statistics import draw_statistics, statistics_cells, statistics_sentences
from covsvc.report.stems import unique_stems
from covsvc.report.strokes import strokes
from covsvc.report.templates import render
from covsvc.report.thresholds import (
    STATISTICS,
    describe_thresholds,
    draw_thresholds,
    made_by,
    threshold_cells,
    value_cells,
)
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


def write_page(
    maps: xr.Dataset,
    verdict: Mapping[str, Any],
    folder: Path,
    observed: Sequence[Mapping[str, Any]] = (),
    progress: Callable[[str], None] | None = None,
    curves: xr.Dataset | None = None,
    expected: xr.Dataset | None = None,
    null: xr.Dataset | None = None,
    statistics: xr.Dataset | None = None,
    notes: Sequence[Mapping[str, Any]] = (),
    events: Sequence[IntervalTable] | None = None,
    toy_model: xr.Dataset | None = None,
    tau_mu_gamma: bool = False,
    densities: SeenDensities | None = None,
    worst: Sequence[WorstCell] = (),
) -> Path:
    """Write the report on `maps` and return the path of its page.

    The page holds its figures; each is also in ``figures/`` as PNG and SVG: ``coverage-<label>-<cl>``,
    ``sigma-<label>-<cl>``, ``slices-<label>``, ``expected-<label>``, ``significance``, ``statistics``,
    ``medians-<cl>``, ``mistakes-<cl>``, ``c_max-<cl>``, ``p_max-<cl>``, ``toy-model``,
    ``densities``, ``toys-spent`` and ``plugged-<name>``.

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
    null : Dataset, optional
        How often a significance is claimed without a signal, as `draw_null` takes it.
    statistics : Dataset, optional
        Exact and asymptotic distributions, as `draw_statistics` takes them.
    notes : sequence of mapping
        ``limit_method``, ``cl`` and ``note``: what the limits of a method equal.
    events : sequence of IntervalTable, optional
        What the interval methods read, one a confidence level where there is a table. None where the data are no
        positions of events; where they are, the methods are shown side by side.
    toy_model : Dataset, optional
        Limits of all methods on the same few events, as `draw_toy_model` takes them.
    tau_mu_gamma : bool
        Whether the real data are those of the search for tau -> mu gamma, whose limits a paper tabulates.
    densities : SeenDensities, optional
        Real events and the densities there.
    worst : sequence of WorstCell
        The worst cell of each column.
    """
    folder = Path(folder)
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    every = list(columns(maps))
    stems = unique_stems(dict.fromkeys(column.label for column in every))
    methods = _attribute(maps, "methods")
    span = sigma_range(every)
    sections = []
    for label, group in itertools.groupby(every, key=lambda column: column.label):
        sections.append(_section(list(group), stems[label], folder, span, curves) | methods.get(label, {}))
        if progress is not None:
            progress(f"drew {label} ({len(sections)}/{len(stems)})")
    study = _attribute(maps, "study")
    reasons = [each for kind in ("toy_failures", "failures") for each in json.loads(maps.attrs.get(kind, "[]"))]
    background = _background(study)
    page = render(
        "page.html.j2",
        study=study,
        study_text=json.dumps(study, indent=2, ensure_ascii=False),
        verdict=verdict,
        findings=tables.judged(verdict.get("findings", ())),
        observed=tables.on_observation(observed),
        summary=tables.summary(every, methods),
        worst=worst_rows(worst),
        most_worst=MOST_SHOWN,
        notes=tables.equal_limits(notes),
        sections=sections,
        spent=_spent(maps, folder),
        interval="interval of the budget" if "adaptive" in maps.attrs else "95 % Clopper-Pearson interval",
        expected=_expected(expected, stems, folder),
        seen=expected is not None and bool(expected.get("observed", xr.DataArray(float("nan"))).notnull().any()),
        null=_null(null, folder),
        statistics=_statistics(statistics, folder),
        plugged=plugged_figures(maps, study, lambda draw, name, said: embed(draw, name, folder, said)),
        toy_model=_toy_model(toy_model, methods, folder),
        densities=_densities(densities, folder),
        published=published_cells(observed, methods) if tau_mu_gamma else [],
        beside=[] if events is None else _beside(every, methods, background, folder),
        background=background,
        thresholds=[shown for table in events or () if (shown := _thresholds(table, methods, folder))["figures"]],
        reach=tables.reach(every, methods, events or ()),
        stems=stems,
        without_limit=tables.without_limit(every, reasons),
        failures=failure_rows(maps),
        methods={label: dict(methods.get(label, {})) for label in stems},
        provenance=_attribute(maps, "provenance"),
        two_sided=any(method.get("sided") == "two" for method in methods.values()),
    )
    index = folder / "index.html"
    write(index, page.encode())
    return index


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


def _spent(maps: xr.Dataset, folder: Path) -> dict[str, Any] | None:
    """Draw what a budget of toys was spent on and return what the page says about it."""
    spent = spent_of(maps)
    if spent is None:
        return None
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


def _null(null: xr.Dataset | None, folder: Path) -> dict[str, Any] | None:
    if null is None:
        return None
    sentences, (heads, cells) = null_sentences(null), null_cells(null)
    described = f"{' '.join(sentences)} The table below holds the numbers."
    picture = embed(partial(draw_null, null), "significance", folder, described)
    wide = null.sizes["threshold"] > 1
    return {"picture": picture, "sentences": sentences, "heads": heads, "cells": cells, "wide": wide}


def _statistics(statistics: xr.Dataset | None, folder: Path) -> dict[str, Any] | None:
    if statistics is None:
        return None
    sentences = statistics_sentences(statistics)
    described = f"{' '.join(sentences)} The table below holds the numbers."
    picture = embed(partial(draw_statistics, statistics), "statistics", folder, described)
    rows, wide = statistics_cells(statistics), statistics.sizes["statistic"] > 1
    return {"picture": picture, "sentences": sentences, "rows": rows, "wide": wide}


def _densities(seen: SeenDensities | None, folder: Path) -> dict[str, Any] | None:
    if seen is None:
        return None
    sentence, cells = describe_densities(seen), density_cells(seen)
    picture = embed(
        partial(draw_densities, seen), "densities", folder, f"{sentence} The table below holds the numbers."
    )
    return {
        "picture": picture,
        "sentence": sentence,
        "drawn": bool(seen.drawn),
        "caption": f"Events by the ratio of their densities, {len(cells):,} of {len(seen.density_ratio):,}",
        "heads": ["event", *seen.names, "region", "signal density / background density"],
        "cells": cells,
    }


def _toy_model(
    limits: xr.Dataset | None, methods: Mapping[str, Mapping[str, Any]], folder: Path
) -> dict[str, Any] | None:
    if limits is None:
        return None
    sentences = describe_toy_model(limits)
    described = f"{' '.join(sentences)} The tables below hold the numbers."
    return {
        "picture": embed(partial(draw_toy_model, limits, methods), "toy-model", folder, described),
        "cl": f"{limits.attrs['cl']:.12g}",
        "labels": limits["limit_method"].to_numpy().tolist(),
        "sentences": sentences,
        "tables": toy_model_cells(limits),
        "wide": limits.sizes["b"] > 1,
    }


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
            }
        )
    return shown


def _background(study: Mapping[str, Any]) -> str:
    """Say what the unknown background is where it grows with the signal."""
    experiment = study.get("experiment")
    options = experiment.get("options", {}) if isinstance(experiment, Mapping) else {}
    ratio = options.get("background_per_signal", 0)
    return f"Unknown background: b + {ratio:g} × s_true." if ratio else ""


def _thresholds(table: IntervalTable, methods: Mapping[str, Mapping[str, Any]], folder: Path) -> dict[str, Any]:
    """Draw what the statistics of the study's methods have to exceed, and return what the page says about it."""
    names = {method.get("name") for method in methods.values()}
    end, shown = f"{table.cl:.12g}", [statistic for statistic in STATISTICS if statistic.method in names]
    figures = [
        {
            "name": statistic.name,
            "picture": embed(
                partial(draw_thresholds, table, statistic),
                f"{statistic.field}-{end}",
                folder,
                f"{describe_thresholds(table, statistic)} The tables below hold the numbers.",
            ),
            "sentence": describe_thresholds(table, statistic),
            "values": value_cells(statistic.of(table)),
        }
        for statistic in shown
    ]
    return {
        "cl": end,
        "made_by": made_by(table),
        "figures": figures,
        "heads": [head for each in shown for head in (f"t_k, {each.name}", f"e_k, {each.name}")],
        "cells": threshold_cells(table, shown),
    }


def _attribute(maps: xr.Dataset, name: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(maps.attrs.get(name, "{}"))
    return said
