"""Comparison of a candidate with its baseline: what is certain, and what has to be confirmed on fresh toys."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from covsvc.tally import MISSING
from covsvc.verdict.column import Column
from covsvc.verdict.exact import find_exactly, smallest_of
from covsvc.verdict.findings import EQUAL, FAILURE, GONE, NEW, NOTE, UNDECIDED_FINDING, WARNING, Change, Discovery
from covsvc.verdict.hypotheses import Hypothesis
from covsvc.verdict.medians import Medians
from covsvc.verdict.pairs import Pairs
from covsvc.verdict.promises import ALPHA, MARGIN, has_data, judge, least_of, lost_blocks, worst_of
from covsvc.verdict.sides import AXES, Grid, Side
from covsvc.verdict.suspicions import number_of_tests, suspicions
from covsvc.verdict.toys import find_by_toys, find_medians, median_changes


@dataclass(frozen=True)
class Comparison:
    """What one study shows before fresh toys are drawn.

    Attributes
    ----------
    columns : tuple of Change
    findings : tuple of Discovery
        What takes no confirmation.
    hypotheses : tuple of Hypothesis
        Those that may be selected for a confirmation.
    tests : int
        How many there are with all others.
    drift : tuple of (str, str, str)
        What makes numbers and has changed: a library, its version in the baseline and now.
    n_toys : int
        Toys of the poorest cell that is tested; 0 if none is.
    levels : tuple of float
        Confidence levels at which promises are tested by toys.
    is_compared : bool
        Whether toys are compared with those of a baseline.
    discordance : float, or None
        The share of the paired toys of a column whose coverage changed, where it is largest.
    """

    study: str
    columns: tuple[Change, ...]
    findings: tuple[Discovery, ...]
    hypotheses: tuple[Hypothesis, ...]
    tests: int
    drift: tuple[tuple[str, str, str], ...]
    n_toys: int
    levels: tuple[float, ...]
    is_compared: bool
    discordance: float | None


def compare(
    study: str,
    candidate: Side,
    baseline: Side | None,
    *,
    same_toys: bool,
    margin: float = MARGIN,
    error: float = ALPHA,
    near_end: xr.DataArray | None = None,
    at: str = "",
    store: str = "",
) -> Comparison:
    """Compare a candidate with its baseline, and with what its methods promise.

    Exact columns by their exact values, without any test: a method that promises to cover must; of others coverage may
    not fall by more than `margin`. Columns known from toys give hypotheses: that a promise is kept in a cell, and over
    all cells; or that coverage has not fallen, and that the rates of empty, unbounded and failed limits have not
    changed. On the same toys these are compared one by one where they are kept; where only their numbers are known,
    the fewest that can have changed count; other toys by Fisher's test. No hypothesis fails anything before it is
    confirmed.

    Parameters
    ----------
    study : str
    candidate : Side
    baseline : Side, optional
        Without one, promises alone are tested.
    same_toys : bool
        Whether both sides draw the same toys.
    margin : float
        The smallest deficit of coverage that matters.
    error : float
        Probability that any of the findings that are not confirmed, medians say, is by chance.
    near_end : xarray.DataArray of bool, optional
        Where s_true is an end of a limit to within rounding.
    at, store : str
        What commands that replay toys are to name.
    """
    columns = _columns(study, candidate, baseline, same_toys, near_end, at, store)
    tests = sum(number_of_tests(column) for column in columns)
    each_error = error / max(tests, 1)
    medians = _medians(candidate, baseline, columns, each_error)
    changes, findings = list[Change](), list[Discovery]()
    for column, (now, before) in zip(columns, medians, strict=True):
        found = median_changes(column, now, before)
        changes.append(_change(column, candidate, found[0]))
        findings += find_exactly(column, margin)
        findings += find_by_toys(column, margin, each_error)
        findings += find_medians(column, found, now, before, each_error)
        findings += _weaker_promise(column, baseline, margin)
        findings += _drifted(column)
    drift = _drift(candidate, baseline)
    findings += _unfinished(columns, candidate)
    findings += _by_budget(columns, candidate)
    findings += _of_study(candidate, baseline, same_toys)
    tested = [column.now.n[cells] for column in columns for cells in (column.promised, column.compared) if cells.any()]
    return Comparison(
        study,
        (*changes, *_gone(candidate, baseline)),
        tuple(findings),
        tuple(each for column in columns for each in suspicions(column)),
        tests,
        drift,
        min((int(n.min()) for n in tested), default=0),
        tuple(sorted({column.cl for column in columns if column.promised.any()})),
        any(column.compared.any() for column in columns),
        max((share for column in columns if (share := _discordance(column)) is not None), default=None),
    )


def _columns(
    study: str,
    candidate: Side,
    baseline: Side | None,
    same_toys: bool,
    near_end: xr.DataArray | None,
    at: str,
    store: str,
) -> list[Column]:
    """Return the columns of a candidate that have data or should have, pairs made where limits have other bits."""
    axes, methods = candidate.axes, candidate.methods
    now = Grid.of(candidate, axes)
    before = now.nothing() if baseline is None else Grid.of(baseline, axes)
    known = {} if baseline is None else baseline.methods
    near = np.zeros(now.n.shape, bool)
    if near_end is not None:
        near = near_end.reindex(axes, fill_value=False).transpose(*AXES).to_numpy()
    least = least_of(candidate.maps, methods)
    columns, places = list[Column](), list[tuple[int, int]]()
    for row, label in enumerate(axes["limit_method"]):
        for level, cl in enumerate(axes["cl"]):
            columns.append(
                Column(
                    study=study,
                    label=label,
                    cl=cl,
                    b=tuple(axes["b"]),
                    s_true=tuple(axes["s_true"]),
                    method=methods[label],
                    least=float(least[row, level]),
                    same_code=_same_code(methods[label], known.get(label), cl),
                    same_toys=same_toys and baseline is not None,
                    now=now.at(row, level),
                    before=before.at(row, level),
                    pairs=Pairs.nothing(near[row, level].shape),
                    near_end=near[row, level],
                    toys_per_block=int(json.loads(candidate.maps.attrs["source"])["toys_per_block"]),
                    adaptive="adaptive" in candidate.maps.attrs,
                    at=at,
                    store=store,
                )
            )
            places.append((row, level))
    if baseline is None or not same_toys:
        return columns
    wanted = np.zeros(now.n.shape, bool)
    for column, place in zip(columns, places, strict=True):
        if column.has_other_bits:
            wanted[place] = ~column.both_exact & (column.now.n > 0) & (column.before.n > 0)
    pairs = Pairs.of(candidate, baseline, wanted)
    return [
        dataclasses.replace(column, pairs=pairs.at(*place)) if wanted[place].any() else column
        for column, place in zip(columns, places, strict=True)
    ]


def _same_code(method: dict[str, Any], known: dict[str, Any] | None, cl: float) -> bool:
    if known is None or method["fingerprint"] != known["fingerprint"]:
        return False
    tables = [each.get("tables", {}).get(f"{cl:.12g}") for each in (method, known)]
    return None in tables or tables[0]["digest"] == tables[1]["digest"]


def _medians(
    candidate: Side, baseline: Side | None, columns: list[Column], error: float
) -> list[tuple[Medians | None, Medians | None]]:
    """Return the medians of toys, of both sides, of the columns in which these are compared."""
    nothing: list[tuple[Medians | None, Medians | None]] = [(None, None)] * len(columns)
    if baseline is None or not any(column.compared.any() for column in columns):
        return nothing
    shape = (len(candidate.axes["limit_method"]), len(candidate.axes["cl"]), *columns[0].compared.shape)
    wanted: NDArray[np.bool_] = np.stack([column.compared for column in columns]).reshape(shape)
    now, before = (Medians.of(side, candidate.axes, wanted, error) for side in (candidate, baseline))
    places = np.ndindex(shape[:2])
    return [
        (now.at(*place), before.at(*place)) if column.compared.any() else none
        for column, place, none in zip(columns, places, nothing, strict=True)
    ]


def _change(column: Column, candidate: Side, median_change: NDArray[np.float64]) -> Change:
    maps = candidate.maps.sel(limit_method=column.label, cl=column.cl)
    worst, worst_s, worst_b = _worst(column, column.now) or (None, None, None)
    before = _worst(column, column.before)
    places = np.isfinite(median_change)
    change = change_s = change_b = None
    if places.any():
        b, s_true = np.argwhere(places & (np.abs(median_change) == np.abs(median_change[places]).max()))[0].tolist()
        change, change_s, change_b = float(median_change[b, s_true]), column.s_true[s_true], column.b[b]
    paired = bool(column.pairs.n.any())
    return Change(
        column.label,
        column.cl,
        column.state,
        column.method["promises"],
        column.method["sided"],
        bool(column.now.is_exact.all()),
        worst,
        worst_s,
        worst_b,
        before[0] if before else None,
        _median_ratio(maps),
        change,
        change_s,
        change_b,
        int(column.pairs.rose.sum()) if paired else None,
        int(column.pairs.fell.sum()) if paired else None,
    )


def _worst(column: Column, side: Grid) -> tuple[float, float, float] | None:
    """Return the smallest coverage that one side knows, s_true and b; from toys only where it is not exact."""
    coverage = np.where(side.is_exact, side.exact[0], side.coverage)
    found = [
        (float(coverage[b, s_true]), column.s_true[s_true], column.b[b])
        for b, s_true in np.argwhere(coverage == smallest_of(coverage))[:1].tolist()
    ]
    found += [
        (float(side.worst[0][b]), float(side.worst[1][b]), column.b[b])
        for (b,) in np.argwhere(side.worst[0] == smallest_of(side.worst[0]))[:1].tolist()
    ]
    # of the same, the one that was searched for
    return min(reversed(found), key=lambda each: each[0], default=None)


def _median_ratio(maps: xr.Dataset) -> float | None:
    ratio = maps["exact_sigma_med_over_true"].fillna(maps["sigma_med_over_true"]).to_numpy()
    known = ratio[~np.isnan(ratio)]
    median = float(np.median(known)) if known.size else np.nan
    return median if np.isfinite(median) else None


def _gone(candidate: Side, baseline: Side | None) -> Iterator[Change]:
    if baseline is None:
        return
    for label, cl in _lacking(candidate, baseline):
        method, maps = baseline.methods[label], baseline.maps.sel(limit_method=label, cl=cl)
        exact = bool(maps["exact_coverage"].notnull().all())
        before, ratio = worst_of(maps)[0], _median_ratio(maps)
        yield Change(
            label,
            cl,
            GONE,
            method["promises"],
            method["sided"],
            exact,
            baseline_worst_coverage=before,
            median_ratio=ratio,
        )


def _lacking(candidate: Side, baseline: Side) -> list[tuple[str, float]]:
    """Return the columns that the baseline has and the candidate has not."""
    here, there = candidate.axes, baseline.axes
    return [
        (label, cl)
        for label in there["limit_method"]
        for cl in there["cl"]
        if not (label in here["limit_method"] and cl in here["cl"])
        and has_data(baseline.maps.sel(limit_method=label, cl=cl))
    ]


def _weaker_promise(column: Column, baseline: Side | None, margin: float) -> Iterator[Discovery]:
    if column.promises and column.cl - column.least > margin:
        sentence = f"the method is held to {column.least:.5g} only, for the errors of its tables or calibrations"
        yield column.found(WARNING, "promise", sentence, least=column.least)
    before = {} if baseline is None else baseline.methods.get(column.label, {})
    if before.get("promises") == "at_least" and not column.promises:
        sentence = f"the method promised coverage of at least {column.cl:g}, and now promises "
        sentence += "it asymptotically" if column.method["promises"] == "asymptotic" else "nothing"
        yield column.found(WARNING, "promise", f"{sentence}: it is no longer held to it")


def _drifted(column: Column) -> Iterator[Discovery]:
    if column.same_code and column.same_toys and column.has_other_bits:
        values = "values agree" if column.state == EQUAL else "values differ"
        sentence = f"code and toys are those of the baseline, but limits have other bits ({values})"
        yield column.found(WARNING, "drift", f"{sentence}: libraries, the processor or covsvc's engine changed them")
    if column.is_counted_otherwise:
        sentence = "limits have the bits of the baseline, but are counted otherwise: what covsvc counts has changed"
        yield column.found(FAILURE, "drift", sentence)


def _drift(candidate: Side, baseline: Side | None) -> tuple[tuple[str, str, str], ...]:
    if baseline is None:
        return ()
    now, before = (json.loads(side.cube.attrs.get("environment", "{}")) for side in (candidate, baseline))
    names = [name for name in before if before[name] != now.get(name)]
    return tuple((name, before[name], now.get(name, "none")) for name in names)


def _unfinished(columns: list[Column], candidate: Side) -> Iterator[Discovery]:
    """Yield what is lost or missing of the columns."""
    lost, wanted = lost_blocks(candidate.maps), json.loads(candidate.maps.attrs["study"])["n_toys"]
    wanted = wanted if isinstance(wanted, int) else 1  # a budget stops where it likes
    for column in columns:
        reason = lost.get((column.label, column.cl))
        if reason is not None:
            more = (column.now.lost & ~column.before.lost).any()
            known = column.is_not_changed and not more
            sentence = f"blocks of toys failed{', as in the baseline' if known else ''}: {reason}"
            # time is a matter of the machine; all else is one of the method
            broken = more and column.state != NEW and "no answer" not in reason
            yield column.found(WARNING if known else FAILURE if broken else UNDECIDED_FINDING, "lost", sentence)
        drawn = (column.now.status != MISSING).sum(axis=-1) * column.toys_per_block
        missing = ~column.now.is_exact & (drawn < wanted)
        if missing.any():
            cell = tuple(np.argwhere(missing)[0].tolist())
            sentence = f"toys are missing in {int(missing.sum())} of {missing.size} cells, {column.where(cell)} say"
            yield column.found(UNDECIDED_FINDING, "incomplete", sentence, cell)
        not_summed = column.now.is_exact.any(axis=1) & np.isnan(column.now.worst[0])
        if not_summed.any():
            sentence = f"the smallest exact coverage is not known yet at b = {column.b[int(not_summed.argmax())]:g}"
            yield column.found(UNDECIDED_FINDING, "incomplete", sentence)


def _by_budget(columns: list[Column], candidate: Side) -> Iterator[Discovery]:
    """Yield what a budget of toys says of the columns: no test of counts is valid where it chose their number."""
    if "adaptive" not in candidate.maps.attrs:
        return
    told = {(each.limit_method, each.cl): each for each in judge(candidate.maps).findings}
    for column in columns:
        each = told.get((column.label, column.cl))
        if each is None or column.now.is_exact.all() or column.is_not_changed:
            continue
        if each.outcome in ("broken", "undecided"):
            severity = FAILURE if each.outcome == "broken" else UNDECIDED_FINDING
            cell = column.nearest(column.b.index(each.b), each.s_true)
            yield column.found(severity, "promise", each.sentence, cell, coverage=each.worst_coverage)
        elif column.is_changed:
            sentence = (
                "limits are others than those of the baseline; toys of a budget do not tell whether they cover less"
            )
            yield column.found(NOTE if column.promises else UNDECIDED_FINDING, "toys", sentence)


def _of_study(candidate: Side, baseline: Side | None, same_toys: bool) -> Iterator[Discovery]:
    """Yield what concerns all columns."""
    if baseline is None:
        return
    if not same_toys:
        sentence = "the toys are others than those of the baseline: limits are not compared toy by toy, which sees less"
        yield Discovery(WARNING, "toys", sentence)
    for label, cl in _lacking(candidate, baseline):
        yield Discovery(WARNING, "gone", "the baseline has this column, the study no longer", label, cl)
    cells = {(b, s) for b in baseline.axes["b"] for s in baseline.axes["s_true"]}
    cells -= {(b, s) for b in candidate.axes["b"] for s in candidate.axes["s_true"]}
    known = baseline.maps["n_toys"].any(["limit_method", "cl"]) | baseline.maps["exact_coverage"].notnull().any(
        ["limit_method", "cl"]
    )
    gone = [cell for cell in cells if bool(known.sel(b=cell[0], s_true=cell[1]))]
    if gone:
        b, s_true = min(gone)
        sentence = f"{len(gone)} cells of the baseline are no longer in the study, s_true = {s_true:.6g}, b = {b:g} say"
        yield Discovery(WARNING, "gone", sentence, numbers={"cells": len(gone)})


def _discordance(column: Column) -> float | None:
    here = column.compared
    changed = column.pairs.gained["covered"][here] + column.pairs.lost["covered"][here]
    n = int(column.pairs.n[here].sum())
    return float(changed.sum() / n) if n else None
