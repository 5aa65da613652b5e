"""The pages that people see who come without a question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def home_page(studies: Sequence[str]) -> str:
    """Return a page that lists the studies, and what can be asked."""
    return _render("home.html.j2", studies=studies)


def waiting_page(study: str) -> str:
    """Return a page that says that a report is being drawn."""
    return _render("waiting.html.j2", study=study)


def _render(template: str, **values: Any) -> str:
    """Fill a template of this package: all `values` are escaped, and one that is missing is an error."""
    environment = Environment(
        loader=PackageLoader("covsvc.service", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template).render(values)
