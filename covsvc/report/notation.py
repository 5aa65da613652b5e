"""Numbers as a reader wants them."""

from __future__ import annotations

import math
from typing import Any

NOTHING = "–"


def number(value: Any, digits: int = 4) -> str:
    """Write a number with so many significant digits; a dash where there is none, ∞ where it is infinite."""
    if value is None or isinstance(value, str):
        return value or NOTHING
    value = float(value)
    if math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.{digits}g}".replace("-", "−")


def probability(value: Any, cl: float | None = None, digits: int = 4) -> str:
    """Write a coverage with so many decimals, or with as many as it takes to tell it from `cl`.

    0.89999 at cl = 0.9 must not read 0.9000.
    """
    if value is None or math.isnan(float(value)):
        return NOTHING
    value = float(value)
    if cl is not None:
        while digits < 9 and abs(value - cl) > 1e-9 and float(f"{value:.{digits}f}") == cl:
            digits += 1
    return f"{value:.{digits}f}"


def with_ends(value: str, low: str, high: str) -> str:
    """Write a value with the ends of its interval in brackets, where they are known."""
    return value if low == NOTHING else f"{value} ({low} to {high})"


def rate(value: float) -> str:
    """Write the rate of a status: 0 only where it is zero."""
    if math.isnan(value):
        return NOTHING
    if value == 0:
        return "0"
    return f"{value:.4f}" if value >= 0.001 else f"{value:.1e}".replace("-", "−")


def place(s_true: Any, b: Any) -> str:
    """Say where on the grid."""
    return f"s_true = {number(s_true)}, b\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{number(b)}"


def percent(part: int, whole: int) -> str:
    """Write a share: 0 % and 100 % only where it is none and all."""
    if not whole:
        return NOTHING
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "< 0.1 %"
    if 99.9 < share < 100:
        return "> 99.9 %"
    return f"{share:.3g} %"
