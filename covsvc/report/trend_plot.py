"""The trend of a study over its accepted baselines: a line a quantity, a row a limit method."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from covsvc.contracts import FloatArray
from covsvc.report.notation import number, probability
from covsvc.report.picture import drawing, save_as
from covsvc.report.tiles import title

WIDTH = 5.6
"""Of the figure, inches."""
LABEL, LINE, AIR, GAP = 1.54, 0.42, 0.05, 0.08
"""Where the first quantity begins; width of a line, of the space between it and a number, and between two quantities,
inches."""
HEAD, ROW, MORE, NOTE = 0.98, 0.26, 0.13, 0.15
"""Height of what stands over the rows, of a row, of each further line of its label, and of a line of the note."""
LETTERS, MOST_LINES = 24, 3
"""Of a label in a line; and lines of a label, at most."""
LETTERS_OF_NOTE, LETTERS_OF_NAME, MOST_NAMED = 89, 6, 6
"""Of the note in a line; of the name of a baseline over a column; and baselines that the note names, at most."""
SMALL = 8
"""Letters, points."""
WORSE, BETTER = "#c04a00", "#1f5fa8"
"""Colours that colour-blind readers tell apart, too; worse is filled, and better is open."""
STROKE, FAINT, SHADE = "#20262e", "#5a6370", "#f1f3f6"


@dataclass(frozen=True)
class Quantity:
    """What is followed, and what matters of it.

    Attributes
    ----------
    worse : int
        -1 where a fall is worse, 1 where a rise is.
    step : float
        The smallest change that is marked: a difference, or of a logarithmic scale a difference of logarithms.
    height : float
        What the height of a row stands for, at least, in the same unit.
    log : bool
        Whether its scale is logarithmic.
    depends_on_study : bool
        Whether it is another quantity where the grid or the toys are others.
    room : float
        Of a number, inches.
    told : callable
        Takes a value and cl, and returns it in few letters.
    """

    name: str
    head: str
    worse: int
    step: float
    height: float
    log: bool
    depends_on_study: bool
    room: float
    told: Callable[[float, float], str]

    def scaled(self, values: FloatArray) -> FloatArray:
        """Return `values` on the scale of the lines, NaN where they are not known or not finite."""
        known = np.where(np.isfinite(values) & ((values > 0) | (not self.log)), values, np.nan)
        return np.log(known) if self.log else known

    def changes(self, values: FloatArray, same_study: NDArray[np.bool_]) -> list[tuple[int, int]]:
        """Return where `values` differ from the last known ones by as much as matters: the index, 1 rose or -1 fell."""
        known, found = self.scaled(values), []
        before = np.nan
        for at, value in enumerate(known.tolist()):
            if self.depends_on_study and not same_study[at]:
                before = np.nan
            if abs(value - before) >= self.step * (1 - 1e-9):
                found.append((at, 1 if value > before else -1))
            before = before if np.isnan(value) else value
        return found


def _coverage(value: float, cl: float) -> str:
    text = probability(value, cl)
    return text if len(text) <= 6 else "< cl" if value < cl else "> cl"


def _short_number(value: float) -> str:
    """Write a number in five letters at most."""
    shown = float(f"{value:.2g}")
    power = sum(shown >= 1000**each for each in (1, 2, 3))
    shown /= 1000**power
    return (f"{shown:.0f}" if shown >= 10 else f"{shown:.2g}") + ("", "k", "M", "G")[power]


def _speed(value: float, _: float) -> str:
    return _short_number(value) if np.isfinite(value) else number(value)


def _ratio(value: float, _: float) -> str:
    if not np.isfinite(value):
        return number(value)
    return f"{value:#.3g}".removesuffix(".") if 0.001 <= value < 999.5 else _short_number(value)


QUANTITIES = (
    Quantity("worst_coverage", "worst coverage", -1, 0.005, 0.02, False, True, 0.44, _coverage),
    Quantity("median_ratio", "median ratio", 1, math.log(1.01), math.log(1.05), True, True, 0.35, _ratio),
    Quantity("toys_per_second", "toys/s", -1, math.log(1.5), math.log(3), True, False, 0.35, _speed),
)


def draw_trend(trend: xr.Dataset, cl: float) -> Figure:
    """Draw worst coverage, median ratio and speed of each limit method over the baselines: a row a method.

    Parameters
    ----------
    trend : Dataset
        ``worst_coverage``, ``median_ratio`` and ``toys_per_second`` over (baseline, limit_method, cl), oldest first,
        NaN where they are not known; coordinates of baseline ``name``, ``accepted_at`` and ``same_study``; attribute
        ``study``.
    cl : float
    """
    here = trend.sel(cl=cl).transpose("baseline", "limit_method")
    same = np.asarray(here["same_study"].values, bool)
    rows = [
        (_wrap(str(label)), [np.asarray(here[each.name][:, at].values, np.float64) for each in QUANTITIES])
        for at, label in enumerate(here["limit_method"].values.tolist())
    ]
    rows = [row for row in rows if np.isfinite(row[1]).any()]
    changes = [[each.changes(values, same) for each, values in zip(QUANTITIES, row[1], strict=True)] for row in rows]
    notes = textwrap.wrap(_note(here, {at for row in changes for cell in row for at, _ in cell}), LETTERS_OF_NOTE)
    heights = [ROW + MORE * (len(lines) - 1) for lines, _ in rows]
    height = HEAD + sum(heights) + 0.16 + NOTE * len(notes)
    figure = Figure(figsize=(WIDTH, height))
    number_of = len(same)
    title(
        figure,
        str(trend.attrs["study"]),
        f"limit methods in {number_of} accepted baseline{'s' * (number_of != 1)}, cl = {cl:.12g}",
    )
    sheet = figure.add_axes((0, 0, 1, 1))
    sheet.set(xlim=(0, WIDTH), ylim=(0, height), xticks=[], yticks=[])
    sheet.axis("off")
    _write_heads(figure, height, [str(name) for name in here["name"].values.tolist()])
    top = height - HEAD
    for place, ((lines, values), marks, tall) in enumerate(zip(rows, changes, heights, strict=True)):
        middle = top - tall / 2
        if place % 2 == 0:
            sheet.axhspan(top - tall, top, 0.01, 0.99, color=SHADE, linewidth=0)
        _write(figure, height, 0.08, middle, "\n".join(lines), ha="left", linespacing=1.05)
        for (left, right), quantity, known, changed in zip(_places(), QUANTITIES, values, marks, strict=True):
            box = (left, middle - tall / 2 + 0.045, LINE, tall - 0.09)
            _draw_line(sheet, box, quantity, known, changed, same, cl)
            first, last = quantity.told(known[0], cl), quantity.told(known[-1], cl)
            if first != last and (changed or quantity.depends_on_study):  # no two timings are the same
                _write(figure, height, left - AIR, middle, first, ha="right", color=FAINT)
            _write(figure, height, right, middle, last, ha="right")
        top -= tall
    figure.text(0.08 / WIDTH, 0.07 / height, "\n".join(notes), va="bottom", fontsize=SMALL, parse_math=False)
    return figure


def _write(figure: Figure, height: float, x: float, y: float, text: str, **style: Any) -> None:
    """Write at a place in inches."""
    told: dict[str, Any] = {"va": "center_baseline", "fontsize": SMALL, "parse_math": False} | style
    figure.text(x / WIDTH, y / height, text, **told)


def _places() -> Iterator[tuple[float, float]]:
    """Yield where the line of each quantity begins, and where its last number ends, inches."""
    start = LABEL
    for quantity in QUANTITIES:
        left = start + quantity.room + AIR
        start = left + LINE + AIR + quantity.room
        yield left, start
        start += GAP


def _write_heads(figure: Figure, height: float, names: Sequence[str]) -> None:
    """Write what is followed over its column, and below the names of the first and the last baseline."""
    for (left, right), quantity in zip(_places(), QUANTITIES, strict=True):
        end = height - HEAD
        _write(figure, height, right, end + 0.31, quantity.head, ha="right", fontweight="bold")
        if len(names) > 1:
            _write(figure, height, left - AIR, end + 0.12, _short(names[0]), ha="right", color=FAINT)
        _write(figure, height, right, end + 0.12, _short(names[-1]), ha="right")


def _draw_line(
    sheet: Axes,
    box: tuple[float, float, float, float],
    quantity: Quantity,
    values: FloatArray,
    changes: Sequence[tuple[int, int]],
    same_study: NDArray[np.bool_],
    cl: float,
) -> None:
    """Draw a quantity over the baselines into a box, with cl where it is near, and the changes that matter."""
    left, bottom, width, height = box
    known = quantity.scaled(values)
    if np.isnan(known).all():
        return
    low, high = float(np.nanmin(known)), float(np.nanmax(known))
    spread = max(high - low, quantity.height)
    x = left + width * (np.arange(len(known)) / (len(known) - 1) if len(known) > 1 else np.array([0.5]))

    def at(value: Any) -> Any:
        return bottom + height * (0.5 + (value - 0.5 * (low + high)) / spread)

    if quantity.name == "worst_coverage" and bottom <= at(cl) <= bottom + height:
        sheet.plot([left, left + width], [at(cl)] * 2, color=FAINT, linewidth=0.7, dashes=(3, 2), zorder=2)
    dots = np.flatnonzero(~np.isnan(known))[-1:].tolist()
    breaks = [0, *np.flatnonzero(~same_study).tolist()] if quantity.depends_on_study else [0]
    for start, stop in itertools.pairwise([*breaks, len(known)]):
        sheet.plot(x[start:stop], at(known[start:stop]), color=STROKE, linewidth=1.2, zorder=3)
        if start:
            sheet.plot([x[start - 1 : start + 1].mean()] * 2, [bottom, bottom + height], ":", color=FAINT, linewidth=1)
        gaps = np.isnan(np.pad(known[start:stop], 1, constant_values=np.nan))
        dots += (start + np.flatnonzero(gaps[:-2] & ~gaps[1:-1] & gaps[2:])).tolist()  # no line goes there
    sheet.plot(x[dots], at(known[dots]), "o", color=STROKE, markersize=2.4, zorder=3)
    for place, way in changes:
        is_worse = way == quantity.worse
        colour, marker = WORSE if is_worse else BETTER, "^" if way > 0 else "v"
        face = colour if is_worse else "white"
        style: dict[str, Any] = {"markersize": 4.6, "markeredgewidth": 1.0, "zorder": 4, "clip_on": False}
        sheet.plot(x[place], at(known[place]), marker, color=colour, markerfacecolor=face, **style)


def _note(here: xr.Dataset, marked: Collection[int]) -> str:
    """Say what the lines and the marks mean, and in which baselines marks stand."""
    names, times = ([str(each) for each in here[key].values.tolist()] for key in ("name", "accepted_at"))
    told = [f"{name} ({time[:10]})" if time else name for name, time in zip(names, times, strict=True)]
    said = [
        "Worst coverage: the smallest of the grid, cl dashed; median ratio: the median of sigma_Med/sigma_True, lower "
        "is stronger; toys/s: as timed when it was validated."
    ]
    if len(told) == 1:
        return f"{said[0]} Baseline {told[0]}."
    said.append(
        f"From {told[0]} on the left to {told[-1]} on the right. The height of a row is "
        "0.02 in coverage, 5 % in the ratio, a factor of 3 in speed, or more where there is more to show."
    )
    if marked:
        shown = [told[at] for at in sorted(marked)]
        most = shown if len(shown) <= MOST_NAMED else [*shown[:2], "...", *shown[-MOST_NAMED + 3 :]]
        said.append(
            "Filled triangles are worse, open ones better: coverage by 0.005, the ratio by 1 %, speed by a factor of "
            f"1.5, or more. They stand at {', '.join(most)}."
        )
    if not here["same_study"].values.all():
        said.append("Dotted: from here on the grid or the toys are others.")
    return " ".join(said).replace(" %", "\N{NO-BREAK SPACE}%")


def _wrap(label: str) -> list[str]:
    """Break a long label into lines, before its options first, and cut what is still too long."""
    stem, options, rest = label.partition("(")
    lines = [label] if len(label) <= LETTERS else [*_break(stem), *_break(options + rest)]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], f"{lines[MOST_LINES - 1][: LETTERS - 1]}…"]
    return lines


def _break(text: str) -> list[str]:
    lines: list[str] = []
    for line in textwrap.wrap(text, LETTERS, break_long_words=False):
        parts = [line] if len(line) <= LETTERS else textwrap.wrap(line.replace("_", "_ "), LETTERS)
        lines += [part.replace("_ ", "_") for part in parts]
    return lines


def _short(name: str) -> str:
    return name if len(name) <= LETTERS_OF_NAME else f"{name[: LETTERS_OF_NAME - 1]}…"


def write_trend(trend: xr.Dataset, folder: Path) -> list[Path]:
    """Draw the trend of a study into a folder, a figure a confidence level, as PNG and SVG; return their paths.

    The folder is made where it is missing. Nothing is drawn where there is no baseline.
    """
    levels = trend["cl"].values.tolist() if trend.sizes["baseline"] else []
    paths = []
    for cl in levels:
        found = [folder / f"{trend.attrs['study']}-{cl:.12g}{suffix}" for suffix in (".png", ".svg")]
        with drawing():
            figure = draw_trend(trend, cl)
            folder.mkdir(parents=True, exist_ok=True)
            for path in found:
                save_as(figure, path)
        paths += found
    return paths
