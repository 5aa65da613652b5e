"""The map of coverage over true signal and background."""

from __future__ import annotations

from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from covsvc.report.column import Column
from covsvc.report.notation import probability
from covsvc.report.tiles import HOLE, draw_scale, hatch, lay_out, outline, paint

# lighter ends than matplotlib's RdBu: a black outline must show on them
COLOURS = LinearSegmentedColormap.from_list(
    "under_nominal_over", ["#b2182b", "#e58368", "#ffffff", "#6aacd0", "#2166ac"]
).with_extremes(bad=HOLE)


def draw_coverage(column: Column) -> Figure:
    """Draw the coverage of `column`: white is nominal, red below, blue above; significant cells outlined and hatched.

    The scale is [2 cl - 1, 1]; what is lower has the darkest red.
    """
    cl, known = column.cl, column.known
    figure, axes, scale = lay_out(column, f"coverage at cl = {cl:.12g} ({source(column)})", describe_marks(column))
    norm = Normalize(2 * cl - 1, 1)
    paint(axes, column, column.coverage, COLOURS, norm)
    under = column.under & known
    hatch(axes, column, under)
    outline(axes, column, under)
    ticks, names = scale_ticks(cl)
    draw_scale(scale, COLOURS, norm, ticks, names, marked=cl)
    return figure


def scale_ticks(cl: float) -> tuple[list[float], list[str]]:
    """Return what of the scale is named, and how."""
    ticks = [2 * cl - 1, 1.5 * cl - 0.5, cl, 0.5 + cl / 2, 1]
    names = [f"{tick:.4g}" for tick in ticks]
    names[0], names[2] = f"≤ {names[0]}", f"{names[2]} = cl"
    return ticks, names


def source(column: Column) -> str:
    """Say where the painted values come from."""
    exact, known = column.exact.sum(), column.known.sum()
    if not known:
        return "no values"
    if exact == known:
        return "exact"
    toys = "toys, adaptive" if column.is_adaptive else "toys"
    return f"exact where enumerable, else {toys}" if exact else toys


def describe_lowest(column: Column) -> str:
    """Say where coverage is lowest: on the grid, and between its values if it is lower there."""
    worst, at = column.worst, column.lowest
    if worst is None or at is None:
        return ""
    row, node = at
    lowest = column.coverage[at]
    on_grid = f"{probability(lowest, column.cl)} at s_true = {column.s_true[node]:.4g}, b = {column.b[row]:.4g}"
    if worst.value >= lowest:
        return f"Lowest coverage {on_grid}."
    return (
        f"Lowest coverage on the grid {on_grid}; between its values, exactly, {probability(worst.value, column.cl)} "
        f"near s_true = {worst.s_true:.4g}, b = {worst.b:.4g}."
    )


def describe_marks(column: Column) -> str:
    """Say in words what is outlined and what is grey."""
    known, under = int(column.known.sum()), int((column.under & column.known).sum())
    holes = column.known.size - known
    if under:
        said = f"Outlined and hatched: {under} of {known} cells, significantly below cl."
    else:
        said = f"None of {known} cells is significantly below cl."
    return said + (f" Grey: no value ({holes})." if holes else "")
