"""How the page looks: colours in light and dark, and what stands beside what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bokeh.models import InlineStyleSheet, Plot
from bokeh.models.annotations import ColorBar, Legend, Title

FOLDER = Path(__file__).parent / "own"
"""Style sheets and scripts that the server hands out as ``own/``."""

WRAPPED = ":host { flex-wrap: wrap; gap: .3rem .8rem; align-items: end; }"
"""Widgets in a row, or in several where there is little room."""

SIDE_BY_SIDE = """
:host { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, max(26rem, 40%)), 1fr)); gap: 1rem; }
:host > * { min-width: 0; }
"""
"""Two figures beside each other where there is room, else under each other."""


@dataclass(frozen=True)
class Colours:
    """Colours of a theme; text on `paper` has a contrast of 4.5 at least.

    Attributes
    ----------
    paper : str
        Behind everything.
    ink, muted : str
        Of text.
    line : str
        Of axes and borders.
    grid : str
        Of lines that help the eye.
    accent : str
        Of links, and of what is chosen.
    """

    paper: str
    ink: str
    muted: str
    line: str
    grid: str
    accent: str


LIGHT = Colours("#ffffff", "#1a1a1a", "#565b63", "#767b84", "#e3e5e8", "#0b4f9e")
DARK = Colours("#14161a", "#e8e8e8", "#a9b0bb", "#808894", "#30343c", "#8ab8ff")


class Style:
    """The theme of one reader's page.

    Figures that were painted once follow when the theme changes.

    Attributes
    ----------
    sheet : InlineStyleSheet
        For widgets, `Div` and the like: ``Select(stylesheets=[style.sheet])``. Follows the theme by itself.
    """

    def __init__(self, *, dark: bool = False) -> None:
        self.dark = dark
        self.sheet = InlineStyleSheet(css=(FOLDER / "widgets.css").read_text(encoding="utf-8"))
        self._followers: list[Callable[[], None]] = []

    @property
    def colours(self) -> Colours:
        """The colours now."""
        return DARK if self.dark else LIGHT

    def follow(self, paint: Callable[[], None]) -> None:
        """Call `paint` now, and whenever the theme has changed."""
        self._followers.append(paint)
        paint()

    def change(self, *, dark: bool) -> None:
        """Change the theme, and paint everything anew."""
        if dark != self.dark:
            self.dark = dark
            for paint in self._followers:
                paint()

    def paint(self, figure: Plot) -> None:
        """Give a figure the colours of the page, now and whenever the theme changes.

        Its axes, grids, titles, legends and colour bars are painted that it has now; its glyphs are not.
        """
        self.follow(lambda: _paint(figure, self.colours))


def _paint(figure: Plot, colours: Colours) -> None:
    figure.update(
        background_fill_color=colours.paper,
        border_fill_color=colours.paper,
        outline_line_color=colours.line,
    )
    if "border_line_color" in figure.properties():  # not in old versions of Bokeh, which draw none
        figure.update(border_line_color=None)
    for axis in figure.axis:
        axis.update(
            axis_label_text_color=colours.ink,
            major_label_text_color=colours.ink,
            axis_line_color=colours.line,
            major_tick_line_color=colours.line,
            minor_tick_line_color=None,
            axis_label_text_font_style="normal",
        )
    for grid in figure.grid:
        grid.grid_line_color = colours.grid
    for place in ("above", "below", "left", "right", "center"):
        for each in getattr(figure, place):
            _paint_beside(each, colours)
    if isinstance(figure.title, Title):
        figure.title.text_color = colours.ink


def _paint_beside(each: object, colours: Colours) -> None:
    if isinstance(each, Title):
        each.text_color = colours.ink
    elif isinstance(each, ColorBar):
        each.update(
            background_fill_color=None,
            title_text_color=colours.ink,
            major_label_text_color=colours.ink,
            major_tick_line_color=colours.line,
            bar_line_color=colours.line,
            title_text_font_style="normal",
        )
    elif isinstance(each, Legend):
        each.update(
            background_fill_color=colours.paper,
            background_fill_alpha=0.85,
            border_line_color=colours.line,
            label_text_color=colours.ink,
            title_text_color=colours.ink,
            inactive_fill_color=colours.paper,
        )
