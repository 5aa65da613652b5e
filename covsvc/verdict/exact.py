"""What exact values tell of a column, without any test."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from covsvc.contracts import FloatArray
from covsvc.tally import EXACT, ROUNDING
from covsvc.verdict.column import EXACT_RATES, Column
from covsvc.verdict.findings import FAILURE, NOTE, WARNING, Discovery, and_others
from covsvc.verdict.sides import Grid

MEDIAN_CHANGE = 0.01
"""A relative change of the median limit that is a finding."""

_MEDIAN = EXACT.index("exact_median_upper")


def find_exactly(column: Column, margin: float) -> Iterator[Discovery]:
    """Yield what the exact values of a column tell."""
    if column.promises:
        yield from _broken(column)
    if column.is_changed:
        yield from _fallen(column, margin)
        yield from _risen(column, margin)
        yield from _rates(column, margin)
    yield from _end_points(column)


def _broken(column: Column) -> Iterator[Discovery]:
    lowest = _lowest(column.now)
    if not lowest < column.least - ROUNDING:
        return
    if smallest_of(column.now.worst[0]) == lowest:
        at = int(np.nanargmin(column.now.worst[0]))
        s_true = float(column.now.worst[1][at])
        cell = column.nearest(at, s_true)
    else:
        cell = _place(column.now.exact[0] == lowest)
        s_true = column.s_true[cell[1]]
    before = _lowest(column.before)
    nowhere_lower = column.is_not_changed or not (_falls(column) > ROUNDING).any()
    known = lowest >= before - ROUNDING and nowhere_lower
    sentence = f"exact coverage {lowest:.5f} at {column.where(cell, s_true)}, below the promised {column.cl:g}"
    numbers = {"coverage": lowest, "promised": column.least}
    if np.isfinite(before):
        numbers["baseline"] = before
        sentence += ", and no less than in the baseline" if known else f"; the smallest in the baseline is {before:.5f}"
    yield column.found(WARNING if known else FAILURE, "promise", sentence, cell, s_true, **numbers)


def _falls(column: Column) -> FloatArray:
    """Return by how much exact coverage fell, shape (b, s_true + 1): at each node, and last the smallest at each b."""
    nodes = column.both_exact & ~column.near_end
    fall = np.where(nodes, column.before.exact[0] - column.now.exact[0], 0.0)
    worst_fall = np.where(column.worst_comparable, column.before.worst[0] - column.now.worst[0], 0.0)
    return np.column_stack([fall, worst_fall])


def _fallen(column: Column, margin: float) -> Iterator[Discovery]:
    falls = _falls(column)
    fall, worst_fall = falls[:, :-1], falls[:, -1]
    largest = float(falls.max(initial=0.0))
    if not largest > ROUNDING:
        return
    if largest in fall:
        cell = _place(fall == largest)
        s_true, now = column.s_true[cell[1]], float(column.now.exact[0][cell])
    else:
        at = int(worst_fall.argmax())
        s_true, now = float(column.now.worst[1][at]), float(column.now.worst[0][at])
        cell = column.nearest(at, s_true)
    what = "exact coverage" if largest in fall else "smallest exact coverage"
    cells = int((fall > margin).sum())
    sentence = (
        f"{what} {now:.5f} at {column.where(cell, s_true)}, lower by {largest:.2g} than in the baseline "
        f"({now + largest:.5f}){and_others(cells, f'by more than {margin:g}')}"
    )
    if column.promises:
        sentence += f"; the method promises {column.cl:g}, and only that is held against it"
    elif largest <= margin:
        sentence += f"; this is less than {margin:g} and does not fail"
    matters, does_not = (WARNING, NOTE) if column.promises else (FAILURE, WARNING)
    severity = matters if largest > margin else does_not
    numbers = {"coverage": now, "baseline": now + largest, "fall": largest, "cells": cells}
    yield column.found(severity, "coverage fell", sentence, cell, s_true, **numbers)


def _lowest(side: Grid) -> float:
    """Return the smallest exact coverage of a side; inf if none is known."""
    return min(smallest_of(side.worst[0]), smallest_of(side.exact[0]))


def smallest_of(values: FloatArray) -> float:
    """Return the smallest value that is known; inf if none is."""
    return float(np.where(np.isnan(values), np.inf, values).min(initial=np.inf))


def _risen(column: Column, margin: float) -> Iterator[Discovery]:
    nodes = column.both_exact & ~column.near_end
    now, before = column.now.exact[0], column.before.exact[0]
    growth = np.where(nodes, np.maximum(now, column.cl) - np.maximum(before, column.cl), 0.0)
    if growth.max(initial=0.0) > margin:
        cell, cells = _place(growth == growth.max()), int((growth > margin).sum())
        sentence = (
            f"limits became weaker: exact coverage {now[cell]:.5f} at {column.where(cell)}, in the baseline "
            f"{before[cell]:.5f}, with {column.cl:g} asked for{and_others(cells, f'by more than {margin:g}')}"
        )
        numbers = {"coverage": float(now[cell]), "baseline": float(before[cell]), "cells": cells}
        yield column.found(WARNING, "coverage rose", sentence, cell, **numbers)


def _rates(column: Column, margin: float) -> Iterator[Discovery]:
    for rate, at in EXACT_RATES.items():
        now, before = column.now.exact[at], column.before.exact[at]
        change = np.where(column.both_exact & ~column.near_end, now - before, 0.0)
        largest = float(np.abs(change).max(initial=0.0))
        if largest > ROUNDING:
            rises = rate == "failed" and change.max() > ROUNDING
            cell = _place(change == change.max() if rises else np.abs(change) == largest)
            severity = FAILURE if rises else WARNING if largest > margin else NOTE
            sentence = (
                f"{said_of(rate)}: exact probability {now[cell]:.3g} at {column.where(cell)}, in the baseline "
                f"{before[cell]:.3g}{and_others(int((np.abs(change) > ROUNDING).sum()), 'it changed')}"
            )
            yield column.found(severity, rate, sentence, cell, rate=float(now[cell]), baseline=float(before[cell]))


def _end_points(column: Column) -> Iterator[Discovery]:
    jump = np.abs(column.now.exact[0] - column.before.exact[0])
    jump = np.where(column.both_exact & column.near_end, jump, 0.0)
    if jump.max(initial=0.0) > ROUNDING:
        cell, cells = _place(jump == jump.max()), int((jump > ROUNDING).sum())
        sentence = (
            f"exact coverage differs by {jump[cell]:.3g} at {column.where(cell)}, which is an end of a limit to within "
            f"rounding; this is not held against the method{and_others(cells, 'likewise')}"
        )
        yield column.found(NOTE, "end point", sentence, cell, jump=float(jump[cell]), cells=cells)


def exact_medians(column: Column) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Return the exact medians of both sides, and in which cells both are known."""
    return column.now.exact[_MEDIAN], column.before.exact[_MEDIAN], column.both_exact


def said_of(rate: str) -> str:
    """Name what happens at a rate."""
    return {"empty": "empty intervals", "unbounded": "no upper limit", "failed": "limits that fail"}[rate]


def _place(where: NDArray[np.bool_]) -> tuple[int, int]:
    b, s_true = np.argwhere(where)[0].tolist()
    return b, s_true
