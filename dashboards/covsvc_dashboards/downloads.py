"""Downloads of what is seen."""

from __future__ import annotations

from html import escape

from bokeh.models import Plot
from bokeh.models.ui.ui_element import UIElement
from bokeh.models.widgets import Div

from covsvc_dashboards.style import Style


def picture_buttons(figure: Plot, name: str, style: Style) -> UIElement:
    """Return buttons that download a figure, as it is seen, as PNG and as SVG.

    The script of the page makes the pictures, in the browser.

    Parameters
    ----------
    figure : Plot
    name : str
        What it shows; the name of the file begins with study, method and cl.
    style : Style
    """
    buttons = " ".join(
        f'<button type="button" data-figure="{figure.id}" data-what="{escape(name)}" data-format="{suffix}"'
        f' aria-label="Download {escape(name)} as {suffix.upper()}">{suffix.upper()}</button>'
        for suffix in ("png", "svg")
    )
    shown: UIElement = Div(text=buttons, stylesheets=[style.sheet], sizing_mode="stretch_width")
    return shown
