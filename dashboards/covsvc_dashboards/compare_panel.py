"""Two methods, or two commits of one, beside each other: their maps, how they differ, and the toys they differ on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from html import escape
from typing import Any

import numpy as np
from bokeh.layouts import column as stacked
from bokeh.layouts import row as beside
from bokeh.models import ColumnDataSource
from bokeh.models.widgets import Button, Div, Select
from numpy.typing import NDArray

from covsvc import api
from covsvc.errors import CovsvcError
from covsvc.report.column import BoolArray, Column
from covsvc.report.coverage_map import describe_marks
from covsvc.report.difference_map import (
    Difference,
    coverage_cells,
    describe_coverage_difference,
    describe_median_ratio,
    difference_of,
    median_cells,
    signed,
)
from covsvc.report.notation import NOTHING, number, percent, place, probability
from covsvc.selection import nodes_of
from covsvc.verdict import MARGIN
from covsvc_dashboards.cell_map import CellMap, show_together
from covsvc_dashboards.colours import COVERAGE_CHANGE, MEDIAN_RATIO
from covsvc_dashboards.downloads import picture_buttons
from covsvc_dashboards.held import Held
from covsvc_dashboards.labels import paragraphs
from covsvc_dashboards.maps_panel import coverage_table
from covsvc_dashboards.paintings import Painting, Scale, counts_of, coverage_of, told_of, verdicts_of
from covsvc_dashboards.shown import Change, Shown, Side, when_free
from covsvc_dashboards.style import SIDE_BY_SIDE, WRAPPED, Style
from covsvc_dashboards.twin import Twin, table_twin

SAME = ("", "the same commit")

MAPS = {
    "one": "coverage of A",
    "other": "coverage of B",
    "change": "coverage, A less B",
    "ratio": "median limit, A over B",
}
"""The maps, by the name of their values, and what they show."""


class ComparePanel:
    """The page that compares.

    Parameters
    ----------
    change : Change
    style : Style
    held : Held

    Attributes
    ----------
    root : UIElement
    """

    def __init__(self, change: Change, style: Style, held: Held) -> None:
        self._change, self._held = change, held
        self._shown: Shown | None = None
        self._pair: Pair | None = None
        self._commits: list[tuple[str, str]] = []
        self._commits_of: tuple[str, ...] = ()
        self._counted: dict[_Asked, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

        sheets: list[Any] = [style.sheet]
        self._other = Select(title="compare with limit method", width=230, stylesheets=sheets)
        self._other_at = Select(title="as it was at commit", width=260, stylesheets=sheets)
        self._other.on_change("value", self._choose_other)
        self._other_at.on_change("value", self._choose_other_at)
        self._said, self._cell, self._result, *seen = (
            Div(disable_math=True, sizing_mode="stretch_width", stylesheets=sheets) for _ in range(3 + len(MAPS))
        )
        self._seen = dict(zip(MAPS, seen, strict=True))
        cells = ColumnDataSource()
        self._maps = [CellMap(change, style, cells, name) for name in MAPS]
        self._twins = {name: Twin(f"{what} as a table", style) for name, what in MAPS.items()}
        drawn = [
            stacked(
                each.figure,
                self._seen[each.name],
                picture_buttons(each.figure, MAPS[each.name], style),
                self._twins[each.name].root,
                sizing_mode="stretch_width",
            )
            for each in self._maps
        ]
        self._pictures = beside(*drawn, sizing_mode="stretch_width", stylesheets=[SIDE_BY_SIDE])
        self._count = Button(label="Count discordant toys", width=220, stylesheets=sheets)
        self._count.on_click(self._ask)
        self._below = stacked(self._cell, self._count, self._result, sizing_mode="stretch_width")
        chosen = beside(self._other, self._other_at, sizing_mode="stretch_width", stylesheets=[WRAPPED])
        self.root = stacked(chosen, self._said, self._pictures, self._below, sizing_mode="stretch_width")

    def show(self, shown: Shown) -> None:
        """Show two other sides, or another cell of them."""
        if shown.other is None:
            return
        self._shown = shown
        self._offer(shown, shown.other)
        self._read_commits(shown, shown.other)
        known = self._pair
        if known is not None and known.has_sides_of(shown):
            self._pair = replace(known, shown=shown)  # another cell of them
            for each in self._maps:
                each.mark(self._pair.looked_at)
            self._tell_cell(self._pair)
            return
        self._pair = Pair.of(shown, shown.other)
        self._pictures.visible = self._below.visible = self._pair is not None
        if self._pair is None:
            self._said.text = paragraphs(["These two have no cell in common: nothing can be compared."])
            return
        pair = self._pair
        self._said.text = paragraphs(pair.sentences())
        show_together(self._maps, pair.paintings(), pair.told(), pair.looked_at)
        for name, seen in pair.seen().items():
            self._seen[name].text = paragraphs([" ".join(seen)])
        sides = [partial(coverage_table, each) for each in pair.columns]
        tables: list[Callable[[], str]] = [*sides, pair.coverage_table, pair.median_table]
        for twin, table in zip(self._twins.values(), tables, strict=True):
            twin.show(table)
        self._tell_cell(pair)

    def _tell_cell(self, pair: Pair) -> None:
        self._tell()  # first: what was counted in one cell never stands under the name of another
        self._cell.text = pair.cell_table()
        self._count.visible = pair.has_other_sides and pair.cell is not None

    def _offer(self, shown: Shown, other: Side) -> None:
        labels = other.maps["limit_method"].to_numpy().tolist()
        known = [SAME, *self._commits]
        if shown.view.other_at not in dict(known):
            known.append((shown.view.other_at, shown.view.other_at[:20]))
        self._other.update(options=labels, value=other.label)
        self._other_at.update(options=known, value=shown.view.other_at)

    def _choose_other(self, _: str, __: str, value: str) -> None:
        if self._shown is not None and self._shown.other is not None and value != self._shown.other.label:
            self._change(other=value)

    def _choose_other_at(self, _: str, __: str, value: str) -> None:
        if self._shown is not None and value != self._shown.view.other_at:
            self._change(other_at=value)

    def _read_commits(self, shown: Shown, other: Side) -> None:
        """Read which commits there are, when there may be others."""
        key = shown.view.study, shown.side.snapshot, other.snapshot
        if key != self._commits_of:
            self._commits_of = key
            self._start(self._offer_commits(shown.view.study))

    async def _offer_commits(self, study: str) -> None:
        try:
            commits = await self._held.commits(study)
        except CovsvcError:
            return  # what the page says of it already

        def offer() -> None:
            if self._shown is not None and self._shown.other is not None and self._shown.view.study == study:
                self._commits = commits
                self._offer(self._shown, self._shown.other)

        when_free(self.root, offer)

    def _ask(self) -> None:
        """Count the discordant toys of the cell, in a child."""
        if self._shown is not None and self._pair is not None and self._pair.has_other_sides:
            asked = self._pair.asked
            if asked not in self._counted:
                self._counted[asked] = paragraphs(["Counting …"])
                self._start(self._answer(asked, self._pair.names))
            self._tell()

    async def _answer(self, asked: _Asked, names: tuple[str, str]) -> None:
        sides = asked.study, asked.one, asked.other
        try:
            found = await self._held.in_child(
                api.discordant, self._held.store, *sides, cl=asked.cl, b=asked.b, s_true=asked.s_true
            )
            said = counted_html(found, names)
        except CovsvcError as error:
            said = paragraphs([f"The toys could not be counted: {error}"])

        def tell() -> None:
            self._counted[asked] = said
            self._tell()

        when_free(self.root, tell)

    def _tell(self) -> None:
        """Show what was counted in the cell that is looked at, if it was."""
        said = "" if self._pair is None else self._counted.get(self._pair.asked, "")
        self._result.text = f'<div role="status">{said}</div>'

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # which nobody else holds
        task.add_done_callback(self._tasks.discard)


@dataclass(frozen=True)
class _Asked:
    """A cell of two sides whose discordant toys are asked for."""

    study: str
    one: tuple[str, str]
    other: tuple[str, str]
    cl: float
    b: float
    s_true: float


@dataclass(frozen=True)
class Pair:
    """Two sides on the cells that both have, A and B.

    Attributes
    ----------
    shown : Shown
    one, other : Side
    names : tuple of (str, str)
        What they are called.
    difference : Difference
    """

    shown: Shown
    one: Side
    other: Side
    names: tuple[str, str]
    difference: Difference

    @classmethod
    def of(cls, shown: Shown, other: Side) -> Pair | None:
        """Return the pair of a view; None if it has no cell in common."""
        one, names = shown.side, (shown.side.label, other.label)
        if one.snapshot != other.snapshot:
            at = shown.view.at, shown.view.other_at or shown.view.at
            names = names[0] + f" at {_short(at[0], one)}", names[1] + f" at {_short(at[1], other)}"
        difference = difference_of(one.column, other.column, names, MARGIN)
        return None if difference is None else cls(shown, one, other, names, difference)

    def has_sides_of(self, shown: Shown) -> bool:
        """Whether a view is of the same sides, under the same names."""
        before, now = self.shown.view, shown.view
        same_names = (before.at, before.other_at) == (now.at, now.other_at)
        return self.one is shown.side and self.other is shown.other and same_names

    @property
    def has_other_sides(self) -> bool:
        """Whether its sides are not the same column of the same commit."""
        return (self.one.label, self.one.snapshot) != (self.other.label, self.other.snapshot)

    @cached_property
    def columns(self) -> tuple[Column, Column]:
        """The two, named A and B."""
        sides = self.difference.candidate, self.difference.baseline
        one, other = (
            replace(each, label=f"{letter}: {name}") for each, letter, name in zip(sides, "AB", self.names, strict=True)
        )
        return one, other

    @property
    def only_one(self) -> BoolArray:
        """Where A alone is significantly below cl."""
        return self._under[0] & ~self._under[1]

    @property
    def only_other(self) -> BoolArray:
        """Where B alone is."""
        return self._under[1] & ~self._under[0]

    @cached_property
    def _under(self) -> list[BoolArray]:
        return [each.under & each.known for each in self.columns]

    @cached_property
    def least(self) -> NDArray[np.int64]:
        """Discordant toys of each cell, at least, shape (b, s_true); -1 where the counts do not tell.

        They do where both sides have as many toys, and the same: none of their blocks failed.
        """
        numbers = [[each.values(name) for name in ("n_toys", "n_covered")] for each in self.columns]
        told = [json.loads(each.maps.attrs.get("failures", "[]")) for each in (self.one, self.other)]
        failed = any(
            each["limit_method"] == side.label
            for side, here in zip((self.one, self.other), told, strict=True)
            for each in here
        )
        known = (numbers[0][0] == numbers[1][0]) & (numbers[0][0] > 0) & self.have_same_toys & (not failed)
        return np.where(known, np.abs(numbers[0][1] - numbers[1][1]), -1).astype(np.int64)

    @property
    def have_same_toys(self) -> bool:
        """Whether both sides see toys of one experiment, seed and size of blocks."""
        sources = [side.maps.attrs.get("source") for side in (self.one, self.other)]
        return bool(sources[0] == sources[1])

    @property
    def cell(self) -> tuple[int, int] | None:
        """Where the cell is that is looked at: the one that was chosen, or where coverage differs most."""
        column = self.difference.candidate
        chosen = self.shown.view.cell
        if chosen is None:
            size = np.abs(np.nan_to_num(self.difference.coverage))
            row, node = divmod(int(size.argmax()), size.shape[1])
            return row, node
        (at_b,), (at_s,) = nodes_of(column.b, chosen[:1]), nodes_of(column.s_true, chosen[1:])
        return None if at_b is None or at_s is None else (at_b, at_s)

    @property
    def looked_at(self) -> tuple[float, float] | None:
        """The b and s_true of that cell."""
        return None if self.cell is None else (self.asked.b, self.asked.s_true)

    @property
    def asked(self) -> _Asked:
        """What is to be counted, of the cell that is looked at."""
        column, (row, node) = self.difference.candidate, self.cell or (0, 0)
        one, other = ((each.label, each.snapshot) for each in (self.one, self.other))
        b, s_true = float(column.b[row]), float(column.s_true[node])
        return _Asked(self.shown.view.study, one, other, column.cl, b, s_true)

    def paintings(self) -> list[Painting]:
        """Return the maps of A, of B, of what A covers more than B, and of A's median limit over that of B."""
        difference, (one, other) = self.difference, self.columns
        cl = one.cl
        changes = Painting(
            replace(one, label="coverage, A − B"),
            f"A less B at cl = {cl:.12g}\n({difference.source}; red: A covers less)",
            difference.coverage,
            _scale(COVERAGE_CHANGE, *difference.coverage_ticks),
            outlined=self.only_one | self.only_other,
            hatched=self.only_one,
        )
        scale = _scale(MEDIAN_RATIO, *difference.median_ticks, log=True)
        ratio = difference.median_ratio
        ratios = Painting(
            replace(one, label="median limit, A / B"),
            f"A over B at cl = {cl:.12g}\n(above 1, red: A is weaker)",
            np.clip(ratio, scale.low, scale.high),
            scale,
            crossed=np.isposinf(ratio),
        )
        return [coverage_of(one), coverage_of(other), changes, ratios]

    def told(self) -> dict[str, list[str]]:
        """Return what is told of each cell."""
        sides = [_told_of(each) for each in self.columns]
        rows = {f"{letter}: {name}": side[name] for name in sides[0] for letter, side in zip("AB", sides, strict=True)}
        return rows | {
            "coverage, A − B": [signed(each) for each in self.difference.coverage.ravel().tolist()],
            "median limit, A / B": [number(each) for each in self.difference.median_ratio.ravel().tolist()],
            "discordant toys, at least": [_count(each) for each in self.least.ravel().tolist()],
        }

    def sentences(self) -> list[str]:
        """Say what is compared."""
        (one, other), (row, column) = self.names, self.difference.coverage.shape
        said = [f"A is {one}; B is {other}."]
        if not self.has_other_sides:
            return [f"{said[0]} Both are the same: choose another limit method or commit to compare with."]
        if not self.have_same_toys:
            said.append("The toys of A are not those of B: they cannot be compared one by one.")
        sizes = [each.coverage.size for each in (self.one.column, self.other.column)]
        if sizes != [row * column] * 2:
            said.append(f"Only the {row * column} cells are shown that both have; A has {sizes[0]}, and B {sizes[1]}.")
        return said

    def seen(self) -> dict[str, list[str]]:
        """Say what is seen on each map, by the names of `MAPS`."""
        sides = dict(zip(("one", "other"), ([describe_marks(each)] for each in self.columns), strict=True))
        if not self.has_other_sides:
            return sides | {"change": [], "ratio": []}
        change = [describe_coverage_difference(self.difference), self._marks()]
        return sides | {"change": change, "ratio": [describe_median_ratio(self.difference)]}

    def _marks(self) -> str:
        found = int(self.only_one.sum()), int(self.only_other.sum())
        if sum(found):
            return (
                f"Outlined: only one of the two is significantly below cl, A in {found[0]} cells (hatched), "
                f"B in {found[1]}."
            )
        both = int((self._under[0] & self._under[1]).sum())
        return f"No cell is significantly below cl for one of the two alone; {both or 'none'} for both."

    def coverage_table(self) -> str:
        """Return the twin of the map of the difference: coverage of A, less that of B, and marks as words."""
        marks = np.select([self.only_one, self.only_other], ["; only A below", "; only B below"], "")
        rows = [
            (s_true, [f"{cell}{mark}" for cell, mark in zip(cells, each, strict=True)])
            for (s_true, cells), each in zip(coverage_cells(self.difference), marks.T.tolist(), strict=True)
        ]
        return self._table(f"Coverage of {self.names[0]}, and in brackets A less B ({self.names[1]})", rows)

    def median_table(self) -> str:
        """Return the twin of the map of median limits."""
        caption = f"Median limit of {self.names[0]} over that of {self.names[1]}"
        return self._table(caption, median_cells(self.difference))

    def cell_table(self) -> str:
        """Return what is known of the cell that is looked at, on both sides."""
        if self.cell is None:
            return paragraphs(["The cell that is chosen is not one that both have: choose another."])
        why = (
            "No cell is chosen; this is where coverage differs most: click another, or choose b and s_true above."
            if self.shown.view.cell is None
            else ""
        )
        column, (row, node) = self.difference.candidate, self.cell
        where = place(column.s_true[node], column.b[row])
        sides = [told_of(each.at(row, node)) for each in self.columns]
        heads = [each.label for each in self.columns]
        names = list(dict.fromkeys(name for side in sides for name in side))
        lines = [[side[name][0] if name in side else NOTHING for side in sides] for name in names]
        table = table_twin(f"{where}, at cl = {column.cl:.12g}", names, heads, lines)
        return f"<h2>{escape(where)}</h2>{paragraphs([why, self._least_told(row, node)])}{table}"

    def _least_told(self, row: int, node: int) -> str:
        if not self.has_other_sides:
            return ""
        least, n_toys = int(self.least[row, node]), int(self.columns[0].values("n_toys")[row, node])
        if least < 0:
            return "The counts alone do not tell how many toys are discordant, that is covered by one of the two only."
        return (
            f"Discordant are toys that only one of the two covers: from the counts, at least {least:,} of {n_toys:,}."
        )

    def _table(self, caption: str, rows: Sequence[tuple[str, Sequence[str]]]) -> str:
        column = self.difference.candidate
        heads = [f"b = {b:g}" for b in column.b.tolist()]
        return table_twin(
            f"{caption}, at cl = {column.cl:.12g}",
            [row for row, _ in rows],
            heads,
            [cells for _, cells in rows],
            "s_true",
        )


def counted_html(found: dict[str, Any], names: tuple[str, str]) -> str:
    """Return what `covsvc.api.discordant` found, as a table of two rows and two columns and in words."""
    return "".join(_counted(found, names))


def _counted(found: dict[str, Any], names: tuple[str, str]) -> Iterator[str]:
    if found["source"] == "none":
        yield paragraphs([f"No toy can be compared: {found['why']}."])
        return
    n, shared = found["n_toys"], found["shared_toys"]
    if not n:
        bounds = f"between {found['least']:,} and {found['most']:,} of {shared:,} toys are discordant"
        yield paragraphs([f"The toys were not counted: {found['why']}. From the counts, {bounds}."])
        return
    one, other = names
    cells = [[found["both"], found["only_one"]], [found["only_other"], found["neither"]]]
    yield table_twin(
        f"{n:,} toys that both saw, by which of the two covers them",
        [f"A ({one}) covers", f"A ({one}) misses"],
        [f"B ({other}) covers", f"B ({other}) misses"],
        [[NOTHING if each is None else f"{each:,}" for each in line] for line in cells],
    )
    discordant = found["only_one"] + found["only_other"]
    said = f"{discordant:,} of {n:,} toys are discordant ({percent(discordant, n)})."
    if found["p"] is not None:
        said += f" That both cover equally often has p = {number(found['p'], 2)} (exact McNemar test, two-sided"
        said += "; it holds for a cell that was not chosen for what the maps show)."
    yield paragraphs([said, _origin(found)])


def _origin(found: dict[str, Any]) -> str:
    """Say where the numbers come from."""
    origin = {
        "kept": "The limit of each toy is kept in the cube.",
        "identical": "All limits of the two have the same bits, as the stored digests tell.",
        "replayed": "The toys were drawn again, and all limits have the bits that are stored.",
    }[found["source"]]
    n, shared = found["n_toys"], found["shared_toys"]
    left = "" if n == shared else f" These are {n:,} of the {shared:,} toys that both have."
    why = f" {found['why'][0].upper()}{found['why'][1:]}." if found["why"] else ""
    return f"{origin}{left}{why}"


def _told_of(column: Column) -> dict[str, list[str]]:
    """Return what is told of one of two sides: exact values where there are any."""
    median = column.values("exact_median_upper")
    known = ~np.isnan(median)
    median = np.where(known, median, column.values("sigma_med"))

    def marked(words: list[str], exact: BoolArray) -> list[str]:
        return [f"{each}, exact" if here else each for each, here in zip(words, exact.ravel().tolist(), strict=True)]

    return {
        "verdict": verdicts_of(column),
        "covered": counts_of(column),
        "coverage": marked([probability(each, column.cl) for each in column.coverage.ravel().tolist()], column.exact),
        "median limit": marked([number(each) for each in median.ravel().tolist()], known),
    }


def _scale(palette: Sequence[str], ticks: Sequence[float], names: Sequence[str], *, log: bool = False) -> Scale:
    return Scale(palette, ticks[0], ticks[-1], dict(zip(ticks, names, strict=True)), log=log)


def _short(at: str, side: Side) -> str:
    return side.snapshot[:8] if at == side.snapshot else at


def _count(least: int) -> str:
    return NOTHING if least < 0 else f"{least:,}"
