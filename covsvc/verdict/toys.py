"""What the stored toys tell of a column beside the hypotheses that they test."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from covsvc.contracts import FloatArray
from covsvc.kernels.binomial import chance_of_at_most
from covsvc.verdict.column import Column
from covsvc.verdict.exact import MEDIAN_CHANGE, exact_medians
from covsvc.verdict.findings import NOTE, UNDECIDED_FINDING, WARNING, Discovery, and_others
from covsvc.verdict.hypotheses import chance_of_lost
from covsvc.verdict.medians import Medians
from covsvc.verdict.suspicions import Counted


def find_by_toys(column: Column, margin: float, error: float) -> Iterator[Discovery]:
    """Yield what the toys of a column tell at this probability of an error in any of its cells."""
    if column.compared.any():
        yield from _risen(column, margin, error)
        if column.promises:
            yield from _closer(column, margin, error)
    yield from _failing(column, error)


def _risen(column: Column, margin: float, error: float) -> Iterator[Discovery]:
    cells = np.argwhere(column.compared)
    counted = Counted.of(column, "covered", column.compared)
    now, before = counted.x / counted.n, counted.x_old / counted.n_old
    growth = np.maximum(now, column.cl) - np.maximum(before, column.cl)
    found = np.flatnonzero((growth > margin) & (counted.rise(sure=True) <= error))
    if found.size:
        at = int(found[growth[found].argmax()])
        cell = _cell(cells[at])
        sentence = (
            f"limits became weaker: {now[at]:.4f} of the toys are covered at {column.where(cell)}, in the baseline "
            f"{before[at]:.4f}, with {column.cl:g} asked for"
        )
        sentence += and_others(int(found.size), f"by more than {margin:g}")
        numbers = {"coverage": float(now[at]), "baseline": float(before[at]), "cells": int(found.size)}
        yield column.found(WARNING, "coverage rose", sentence, cell, **numbers)


def _closer(column: Column, margin: float, error: float) -> Iterator[Discovery]:
    """Tell that a method covers less than it did, which its promise does not forbid."""
    cells = np.argwhere(column.compared)
    counted = Counted.of(column, "covered", column.compared)
    now, before, p = counted.x / counted.n, counted.x_old / counted.n_old, counted.fall(sure=True)
    at = int((before - now).argmax())
    pooled = counted.pool()
    if p[at] <= error or (pooled is not None and pooled.fall(sure=True)[0] <= error and now[at] < before[at]):
        cell = _cell(cells[at])
        sentence = (
            f"{now[at]:.4f} of the toys are covered at {column.where(cell)}, in the baseline {before[at]:.4f}; the "
            f"method promises {column.cl:g}, and only that is held against it"
        )
        numbers = {"coverage": float(now[at]), "baseline": float(before[at])}
        severity = WARNING if before[at] - now[at] > margin else NOTE
        yield column.found(severity, "coverage fell", sentence, cell, **numbers)


def _failing(column: Column, error: float) -> Iterator[Discovery]:
    """Tell where it depends on limits that failed whether a promise is kept, and that all limits of a column fail."""
    if column.now.n.any() and (column.now.counts["n_failed"] == column.now.n).all():
        yield column.found(UNDECIDED_FINDING, "failed", "all limits failed: nothing is known of coverage")
        return
    failed = np.where(column.promised, column.now.counts["n_failed"], 0)
    if not failed.any():
        return
    n, covered = column.now.n, column.now.counts["n_covered"]
    as_misses = np.where(failed > 0, chance_of_at_most(covered, n, column.least), 1.0)
    as_hits = chance_of_at_most(covered + failed, n, column.least)
    open_ = (as_misses <= error) & (as_hits > error)
    cell = _cell(np.argwhere(open_ if open_.any() else failed == failed.max())[0])
    sentence = f"{failed[cell]:,} of {n[cell]:,} limits failed at {column.where(cell)}"
    if open_.any():
        sentence += f"; if these count as misses, coverage is below the promised {column.cl:g}, else it is not"
    severity = UNDECIDED_FINDING if open_.any() else NOTE
    yield column.found(severity, "failed", sentence, cell, failed=int(failed[cell]), n_toys=int(n[cell]))


def median_changes(
    column: Column, now: Medians | None, before: Medians | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the relative changes of medians, and the medians of both sides; NaN where they do not compare."""
    median, old, known = exact_medians(column)
    median, old = np.where(known, median, np.nan), np.where(known, old, np.nan)
    if now is not None and before is not None:
        by_toys = ~known & column.common & (column.is_changed)
        median, old = np.where(by_toys, now.median, median), np.where(by_toys, before.median, old)
    with np.errstate(invalid="ignore", divide="ignore"):
        change = median / old - 1.0
    change[(median == old) & ~np.isnan(old)] = 0.0
    return change, median, old


def find_medians(
    column: Column,
    changes: tuple[FloatArray, FloatArray, FloatArray],
    now: Medians | None,
    before: Medians | None,
    error: float,
) -> Iterator[Discovery]:
    """Yield that the median limit rose, or fell, by more than can be by chance and is no trifle."""
    change, median, old = changes
    known = column.both_exact | _significant(column, now, before, error)
    for kind, severity, size in (("median rose", WARNING, change), ("median fell", NOTE, -change)):
        size = np.where(known & ~np.isnan(size), size, 0.0)
        # what is 1 % to within the rounding of a limit is
        found = size >= MEDIAN_CHANGE * (1.0 - 1e-9)
        if found.any():
            cell = _cell(np.argwhere(found & (size == size.max()))[0])
            sentence = (
                f"the median limit {'rose' if kind == 'median rose' else 'fell'} from {_told(old[cell])} to "
                f"{_told(median[cell])} at {column.where(cell)}"
            )
            sentence += f" ({change[cell]:+.2%})" if np.isfinite(change[cell]) else ""
            cells = int(found.sum())
            sentence += and_others(cells, f"by {MEDIAN_CHANGE:.0%} or more")
            sentence += ": limits became weaker" if kind == "median rose" else ": limits became stronger"
            numbers = {"median": float(median[cell]), "baseline": float(old[cell]), "cells": cells}
            yield column.found(severity, kind, sentence, cell, **numbers)


def _significant(column: Column, now: Medians | None, before: Medians | None, error: float) -> NDArray[np.bool_]:
    """Tell where the limits on toys differ: more often in one direction than in the other, or by their intervals."""
    if now is None or before is None:
        return np.zeros(column.common.shape, bool)
    with np.errstate(invalid="ignore"):
        found: NDArray[np.bool_] = (now.low > before.high) | (now.high < before.low)
    more, fewer = (choose(column.pairs.rose, column.pairs.fell) for choose in (np.maximum, np.minimum))
    found = found | (2.0 * chance_of_lost(fewer, more) <= error)
    return found & column.compared


def _told(median: float) -> str:
    return f"{median:.4g}" if np.isfinite(median) else "no limit"


def _cell(indices: NDArray[np.int64]) -> tuple[int, int]:
    b, s_true = indices.tolist()
    return b, s_true
