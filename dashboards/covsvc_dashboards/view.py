"""What is looked at: the state of a page, as its address tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from urllib.parse import urlencode

PAGES = ("maps", "compare", "methods", "history")
"""What a page may show."""

QUANTITIES = ("coverage", "median", "speed")
"""What the pages of all methods and of the history show of each method; all methods beside each other have no speed."""

ORDERS = ("study", "worst")
"""In which methods stand beside each other: as in the study, or worst coverage first."""

_CHOICES = {"page": PAGES, "quantity": QUANTITIES, "order": ORDERS}

_NUMBERS = ("cl", "b", "s_true", "s_low", "s_high")


@dataclass(frozen=True)
class View:
    """What is looked at. What is empty or None was not chosen.

    Attributes
    ----------
    study : str
    at : str
        The commit, as `covsvc.api.open_cube` takes it.
    page : str
        One of `PAGES`.
    limit_method : str
        Label of the method whose maps are shown.
    cl : float, optional
    b, s_true : float, optional
        The cell that is looked at.
    s_low, s_high : float, optional
        The range of true signals that was brushed; all that is shown lies in it.
    other, other_at : str
        Label and commit that are compared with.
    quantity : str
        One of `QUANTITIES`.
    order : str
        One of `ORDERS`.
    slices : tuple of str
        Labels of the methods that stand beside `limit_method` in the slices through the cell.
    theme : str
        ``"light"``, ``"dark"``, or as the reader's system has it.
    """

    study: str = ""
    at: str = "main"
    page: str = "maps"
    limit_method: str = ""
    cl: float | None = None
    b: float | None = None
    s_true: float | None = None
    s_low: float | None = None
    s_high: float | None = None
    other: str = ""
    other_at: str = ""
    quantity: str = "coverage"
    order: str = "study"
    slices: tuple[str, ...] = ()
    theme: str = ""

    @property
    def cell(self) -> tuple[float, float] | None:
        """The b and s_true of the cell that is looked at, if it was chosen."""
        return None if self.b is None or self.s_true is None else (self.b, self.s_true)

    def address(self) -> str:
        """Return the query of the address that reproduces the view, without what was not chosen.

        Of several labels each has a place of its own, ``slices=cls&slices=zech``: labels may hold commas.
        """
        told = {each.name: getattr(self, each.name) for each in fields(self)}
        chosen = {name: value for name, value in told.items() if value != getattr(View, name)}
        texts = {name: f"{value:.12g}" if name in _NUMBERS else value for name, value in chosen.items()}
        return urlencode(texts, doseq=True)


def asked_of(arguments: Mapping[str, Sequence[bytes]]) -> tuple[View, list[str]]:
    """Return the view that an address asks for, and what of it cannot be read.

    Parameters
    ----------
    arguments : mapping
        Of the request: lists of bytes by name.
    """
    told: dict[str, str | float | tuple[str, ...]] = {}
    wrong = []
    for each in fields(View):
        texts = [text.decode("utf-8", "replace") for text in arguments.get(each.name, ())]
        if each.name == "slices":
            told[each.name] = tuple(dict.fromkeys(filter(str.strip, texts)))
            continue
        text = next(iter(texts), "")
        if not text.strip():
            continue
        if each.name not in _NUMBERS:
            told[each.name] = text
            continue
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if abs(value) < float("inf"):
            told[each.name] = value
        else:
            wrong.append(f"{each.name} = {text[:40]}: is no number, and not taken")
    for name, choices in _CHOICES.items():
        if name in told and told[name] not in choices:
            wrong.append(f"{name} = {str(told.pop(name))[:40]}: there are {', '.join(choices)}")
    return View(**told), wrong  # type: ignore[arg-type]
