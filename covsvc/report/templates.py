"""The templates of pages."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from covsvc.report.fonts import font_face

_FONTS = "/*<fonts>*/"
"""Where the style has room for the letters of figures; no value can hold it, since all are escaped."""


def render(template: str, **values: Any) -> str:
    """Fill a template of this package, and give it the letters of its figures.

    All `values` are escaped, and one that is missing is an error.
    """
    page = _environment().get_template(template).render(values)
    return page.replace(_FONTS, font_face([page]), 1)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("covsvc.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
