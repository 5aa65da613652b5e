"""What a validation finds: of a column how it changed, and what somebody has to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FAILURE, UNDECIDED_FINDING, WARNING, NOTE = "failure", "undecided", "warning", "note"
"""Severities: fails a validation, leaves it undecided, is to be looked at before accepting, is to be known."""

UNCHANGED, IDENTICAL, EQUAL, CHANGED, NEW, GONE = "unchanged", "identical", "equal", "changed", "new", "gone"
"""States of a column: other code with the same bits is identical, other bits with the same values are equal."""

NOT_CHANGED = (UNCHANGED, IDENTICAL, EQUAL)


@dataclass(frozen=True)
class Discovery:
    """Something that was found, of a column, or of a whole study where `limit_method` is None.

    Attributes
    ----------
    severity : str
        ``"failure"``, ``"undecided"``, ``"warning"`` or ``"note"``.
    kind : str
        ``"promise"``, ``"coverage fell"``, ``"coverage rose"``, ``"median rose"``, ``"median fell"``, ``"empty"``,
        ``"unbounded"``, ``"failed"``, ``"end point"``, ``"drift"``, ``"toys"``, ``"gone"``, ``"lost"`` or
        ``"incomplete"``.
    numbers : mapping of str to float
        What the sentence says, by name.
    replay : str
        The command that shows toys of that cell; empty where there is none.
    """

    severity: str
    kind: str
    sentence: str
    limit_method: str | None = None
    cl: float | None = None
    b: float | None = None
    s_true: float | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    replay: str = ""


@dataclass(frozen=True)
class Change:
    """How one column changed.

    Attributes
    ----------
    state : str
        ``"unchanged"``, ``"identical"``, ``"equal"``, ``"changed"``, ``"new"`` or ``"gone"``.
    exact : bool
        Whether coverage is known exactly in all cells.
    worst_coverage, worst_s_true, worst_b, baseline_worst_coverage : float, or None
        Smallest coverage and where, and that of the baseline.
    median_ratio : float, or None
        Median over the cells of sigma_Med/sigma_True.
    median_change, median_change_s_true, median_change_b : float, or None
        The relative change of the median limit that is largest, and where.
    toys_rose, toys_fell : int, or None
        Paired toys whose upper limit rose or fell by a bin or more.
    """

    limit_method: str
    cl: float
    state: str
    promises: str
    sided: str
    exact: bool
    worst_coverage: float | None = None
    worst_s_true: float | None = None
    worst_b: float | None = None
    baseline_worst_coverage: float | None = None
    median_ratio: float | None = None
    median_change: float | None = None
    median_change_s_true: float | None = None
    median_change_b: float | None = None
    toys_rose: int | None = None
    toys_fell: int | None = None


def and_others(cells: int, how: str = "") -> str:
    """Say that something is so in other cells than the one that is named, if there are any."""
    if cells < 2:
        return ""
    where = "one other cell" if cells == 2 else f"{cells - 1} other cells"
    return f", and in {where} {how}".rstrip()
