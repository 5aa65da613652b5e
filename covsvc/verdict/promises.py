"""Promises of coverage, and whether methods keep them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from covsvc.budget import OK, UNDECIDED, UNDER, Rule
from covsvc.notebook import html_table
from covsvc.tally import ROUNDING

ALPHA = 0.01
"""Probability of a false alarm, at most, over all toy columns of a verdict."""

MARGIN = 0.005
"""The smallest deficit of coverage that matters."""

_TABLE_ERRORS = 4.0
"""Standard errors of a method's table that are forgiven it."""


@dataclass(frozen=True)
class Finding:
    """What was found of one limit method at one cl.

    Attributes
    ----------
    outcome : str
        ``"kept"``, ``"broken"``, ``"reported"`` (no promise to hold it to) or ``"undecided"``.
    worst_coverage, s_true, b : float
        Smallest coverage, and where; searched between the nodes of the grid where it is exact.
    """

    limit_method: str
    cl: float
    outcome: str
    promises: str
    sided: str
    worst_coverage: float
    s_true: float
    b: float
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """The outcome of a cube: ``"passed"``, ``"failed"`` or ``"undecided"``."""

    outcome: str
    sentence: str
    smallest_deficit: float
    smallest_deficit_sentence: str
    findings: tuple[Finding, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON takes it: None for NaN."""
        told = asdict(self)
        return {**_nameable(told), "findings": [_nameable(finding) for finding in told["findings"]]}

    def _repr_html_(self) -> str:
        """Return it as notebooks show it."""
        heads = "limit method", "cl", "promises", "worst coverage", "s_true", "b", "outcome"
        rows = [
            (each.limit_method, each.cl, each.promises, each.worst_coverage, each.s_true, each.b, each.outcome)
            for each in self.findings
        ]
        said = f"<p><strong>{escape(self.outcome)}</strong>: {escape(self.sentence)}</p>"
        return f"{said}\n{html_table(heads, rows)}\n<p>{escape(self.smallest_deficit_sentence)}</p>"


def judge(maps: xr.Dataset) -> Verdict:
    """Hold the methods of a cube to their own promises.

    ``at_least``: coverage >= cl everywhere. Enumerable columns need no test: the worst exact coverage, searched at the
    jumps between the grid's nodes, must not be below cl - 1e-9. Other columns are tested cell by cell on their toys,
    exact binomial with Holm's correction at 1 %. A method that rests on a table made from toys is held to cl less four
    standard errors of that table. ``asymptotic`` and ``nothing`` are reported.

    Of a study with a budget of toys, which stops where it has seen enough, no test of the counts is valid: its own
    intervals decide. A promise is broken if coverage is below cl in any cell, and kept if it is above cl less the
    margin of the budget in all.

    Parameters
    ----------
    maps : xarray.Dataset
        As `summarize` gives it.
    """
    methods = json.loads(maps.attrs["methods"])
    promising = [methods[label]["promises"] == "at_least" for label in maps["limit_method"].values.tolist()]
    least = least_of(maps, methods)
    rule = Rule(**json.loads(maps.attrs["adaptive"])) if "adaptive" in maps.attrs else None
    by_toys = _below(maps, least) if rule else _rejected_by_toys(maps, np.array(promising), least)
    waiting = _undecided(maps, least - rule.margin) if rule else None
    lost = lost_blocks(maps)
    findings = tuple(
        _find(
            maps.sel(limit_method=label, cl=cl),
            label,
            cl,
            methods[label],
            by_toys[row, column],
            lost.get((label, cl), ""),
            None if waiting is None else int(waiting[row, column]),
        )
        for row, label in enumerate(maps["limit_method"].values.tolist())
        for column, cl in enumerate(maps["cl"].values.tolist())
        if has_data(maps.isel(limit_method=row, cl=column))
    )
    deficit, told = _by_budget(maps, rule) if rule else _by_toys(maps)
    outcomes = [finding.outcome for finding in findings]
    broken = [f"{finding.limit_method} at {finding.cl:g}" for finding in findings if finding.outcome == "broken"]
    if broken:
        return Verdict("failed", f"Broken promises: {', '.join(broken)}.", deficit, told, findings)
    if "undecided" in outcomes or not findings:
        missing = (
            "Something is missing: see the findings." if findings else "Nothing is known: `covsvc status` says why."
        )
        return Verdict("undecided", missing, deficit, told, findings)
    held, reported = outcomes.count("kept"), outcomes.count("reported")
    sentence = f"All {held} columns that promise coverage keep it" if held else "Nothing to judge"
    if reported:
        less = f"; {reported} do not promise it and are reported"
        sentence += less if held else f": no column promises coverage, all {reported} are reported"
    if failing := _failing(maps):
        sentence += f". Some limits failed: of {', '.join(failing)}"
    return Verdict("passed", f"{sentence}.", deficit, told, findings)


def smallest_deficit(n: int, cl: float, tests: int, alpha: float = ALPHA) -> float:
    """Return the smallest deficit of coverage that one of `tests` exact binomial tests shows with 80 % power.

    Each test has level `alpha` / `tests`.

    Parameters
    ----------
    n : int
        Toys of a cell.
    cl : float
    tests : int
        Cells times columns; of a budget, times looks.
    alpha : float
        Probability of a false alarm in any of them.
    """
    level = alpha / tests
    threshold = int(stats.binom.ppf(level, n, cl))
    if stats.binom.cdf(threshold, n, cl) > level:
        threshold -= 1
    if threshold < 0:
        return float(cl)
    return float(cl - stats.beta.ppf(0.2, threshold + 1, n - threshold))


def _by_toys(maps: xr.Dataset) -> tuple[float, str]:
    """Return the smallest deficit that the toys show, and say so."""
    n_toys = maps["n_toys"].values
    drawn = n_toys[n_toys > 0]
    if not drawn.size:
        return np.nan, "No toys were drawn."
    deficit = max((smallest_deficit(int(drawn.min()), cl, drawn.size) for cl in maps["cl"].values), default=np.nan)
    return deficit, (
        f"In {drawn.size:,} tests (a cell in a column) of {int(drawn.min()):,} toys, toys alone show a coverage "
        f"that is too small by {deficit:.2g} with 80 % power."
    )


def _by_budget(maps: xr.Dataset, rule: Rule) -> tuple[float, str]:
    """Return the smallest deficit that the largest number of toys shows, and say what the budget has found."""
    tests = len(rule.looks) * rule.tests
    deficit = max((smallest_deficit(rule.looks[-1], cl, tests, rule.error) for cl in maps["cl"].values), default=np.nan)
    states = maps["resolved"].values[np.isnan(maps["exact_coverage"].values)]
    under, above, neither = (int((states == state).sum()) for state in (UNDER, OK, UNDECIDED))
    return deficit, (
        f"Cells were given {rule.looks[0]:,} to {rule.looks[-1]:,} toys, until coverage was known to be below cl or "
        f"above cl - {rule.margin:g}. Of {states.size:,} tests by toys (a cell in a column) {under:,} are below, "
        f"{above:,} above, {neither:,} undecided; with a probability of at most {rule.error:g} any is wrongly called "
        f"below, and with no larger one above. {rule.looks[-1]:,} toys show a coverage that is too small by "
        f"{deficit:.2g} with 80 % power."
    )


def _nameable(told: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in told.items()}


def _failing(maps: xr.Dataset) -> list[str]:
    """Return the limit methods of which limits failed somewhere, exactly or among toys."""
    rate = maps["p_failed"]
    if "exact_p_failed" in maps:
        rate = maps["exact_p_failed"].fillna(rate)
    failed = (rate > 0).any(["cl", "b", "s_true"]).values
    return [str(label) for label, some in zip(maps["limit_method"].values, failed, strict=True) if some]


def has_data(maps: xr.Dataset) -> bool:
    """Tell whether anything is known of coverage, exactly or from toys."""
    return bool(np.isfinite(maps["exact_coverage"]).any() or (maps["n_toys"] > 0).any())


def least_of(maps: xr.Dataset, methods: dict[str, Any]) -> NDArray[np.float64]:
    """Return the coverage that methods are held to, shape (limit_method, cl): less than cl where a table has errors."""
    labels, levels = maps["limit_method"].values.tolist(), maps["cl"].values.tolist()
    errors = [[_error_of(methods[label], f"{cl:.12g}") for cl in levels] for label in labels]
    return np.array(levels) - _TABLE_ERRORS * np.array(errors)


def _error_of(method: dict[str, Any], cl: str) -> float:
    """Return the standard error of the coverage that the toys behind a method's table or calibration leave."""
    table = method.get("tables", {}).get(cl, {"error": 0.0})["error"]
    return float(max(table, method.get("calibrations", {}).get(cl, 0.0)))


def _rejected_by_toys(maps: xr.Dataset, promising: NDArray[np.bool_], least: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return, over (limit_method, cl), whether Holm's procedure rejects `least` coverage in a cell known from toys."""
    n = maps["n_toys"].values
    # a failed limit might have covered: a promise is broken only if it is even so
    x = maps["n_covered"].values + np.nan_to_num(np.round(maps["p_failed"].values * n)).astype(np.int64)
    held_to = np.broadcast_to(least[:, :, None, None], n.shape)
    tested = np.isnan(maps["exact_coverage"].values) & (n > 0) & promising[:, None, None, None]
    rejected = np.zeros(n.shape, bool)
    if tested.any():
        p = stats.binom.cdf(x[tested], n[tested], held_to[tested])
        order = np.argsort(p, kind="stable")
        kept = np.flatnonzero(p[order] > ALPHA / np.arange(len(p), 0, -1))
        flags = np.zeros(len(p), bool)
        flags[order[: kept[0] if len(kept) else len(p)]] = True
        rejected[tested] = flags
    return np.asarray(rejected.any(axis=(2, 3)))


def _below(maps: xr.Dataset, least: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return, over (limit_method, cl), whether the intervals of a budget lie below `least` in a cell."""
    by_toys = np.isnan(maps["exact_coverage"].values)
    return np.asarray((by_toys & (maps["coverage_high"].values < least[:, :, None, None])).any(axis=(2, 3)))


def _undecided(maps: xr.Dataset, least: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return, over (limit_method, cl), in how many cells the intervals of a budget do not lie above `least`."""
    by_toys = np.isnan(maps["exact_coverage"].values)
    return np.asarray((by_toys & ~(maps["coverage_low"].values > least[:, :, None, None])).sum(axis=(2, 3)))


def lost_blocks(maps: xr.Dataset) -> dict[tuple[str, float], str]:
    """Return why blocks failed of the columns of which some did, by label and cl."""
    cells = {name: set(maps[name].values.tolist()) for name in ("limit_method", "cl", "b", "s_true")}
    told = json.loads(maps.attrs.get("failures", "[]"))
    return {
        (each["limit_method"], each["cl"]): each["reason"]
        for each in told
        if all(each[name] in values for name, values in cells.items())
    }


def _find(
    maps: xr.Dataset, label: str, cl: float, method: dict[str, Any], rejected: bool, lost: str, waiting: int | None
) -> Finding:
    """Judge one column; of a budget, `waiting` cells are not known to cover."""
    coverage, s_true, b, exact = worst_of(maps)
    of_toys = "smallest coverage of toys" if waiting is None else "smallest coverage of toys (adaptive)"
    known = "smallest exact coverage" if exact else of_toys
    where = f"{known} {coverage:.5f} at s_true = {s_true:.6g}, b = {b:g}"
    if not exact and (failed := float(maps["p_failed"].sel(s_true=s_true, b=b))) > 0:
        where += f", where {failed:.3g} of the limits failed and count as misses"
    summed = exact and not np.isnan(maps["worst_coverage"].values).any()
    broken = rejected or (exact and coverage < cl - ROUNDING)
    if lost and not summed and not (broken and method["promises"] == "at_least") and waiting != 0:
        outcome, sentence = "undecided", f"{where}; blocks failed, draw them again with --retry-failed: {lost}"
    elif method["promises"] != "at_least":
        outcome = "reported"
        promised = "cl asymptotically" if method["promises"] == "asymptotic" else "nothing"
        sentence = f"{where}; the method promises {promised}"
    elif broken:
        outcome, sentence = "broken", f"{where}, below the promised {cl:g}"
    elif exact and np.isnan(maps["worst_coverage"].values).any():
        outcome, sentence = "undecided", f"{where}; some backgrounds are not summed yet"
    elif not exact and maps["n_toys"].values.min() == 0:
        outcome, sentence = "undecided", f"{where}; some cells have no toys yet"
    elif waiting:
        outcome, sentence = "undecided", f"{where}; in {waiting} cells the budget has not shown that it is large enough"
    elif not exact and (maps["p_failed"].values > 0).any() and waiting is None:
        outcome, sentence = "undecided", f"{where}; some limits failed, which count as misses here"
    else:
        outcome, sentence = "kept", f"{where}"
    return Finding(label, cl, outcome, method["promises"], method["sided"], coverage, s_true, b, sentence)


def worst_of(maps: xr.Dataset) -> tuple[float, float, float, bool]:
    """Return the smallest coverage of one column, its s_true and b, and whether it is exact."""
    worst = maps["worst_coverage"].values
    if np.isfinite(worst).any():
        at = int(np.nanargmin(worst))
        return float(worst[at]), float(maps["worst_s_true"].values[at]), float(maps["b"].values[at]), True
    coverage = maps["coverage"].transpose("b", "s_true").values
    row, column = np.unravel_index(np.nanargmin(coverage), coverage.shape)
    return float(coverage[row, column]), float(maps["s_true"].values[column]), float(maps["b"].values[row]), False
