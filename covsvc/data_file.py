"""Real data as they are given: by name, or row by row in a CSV file."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from numbers import Real
from pathlib import Path
from typing import Any

from covsvc import registry
from covsvc.contracts import LARGEST_SCALE, SMALLEST_SCALE
from covsvc.errors import CovsvcError, ObservationError, UnknownName

FORMS = {
    ("n", "b"): "a count over its expected background; b_error, too, where that has an error",
    ("n_on", "n_off", "tau"): "counts on and off source",
    ("n", "n_out", "n_sb", "zeta", "zeta_sb"): "counts in a signal region and around it",
}
"""What data are given by."""

OPTIONAL = {"b_error", "scale"}
"""What may stand beside them."""


_FEW = 5
"""Positions of events that are told one by one."""


@dataclass(frozen=True)
class Observed:
    """Real data, and the experiment that gave them.

    Attributes
    ----------
    experiment : str
    options : dict
        Of the experiment.
    data : dict
        As the experiment's `observe` takes them.
    """

    experiment: str
    options: dict[str, Any]
    data: dict[str, Any]


@dataclass(frozen=True)
class Point:
    """A row of a scan: the data at one value of a model parameter, and the scale of one event there."""

    parameter: float
    observed: Observed
    scale: float


def observation_of(given: Mapping[str, Any], shape: str = "gamma") -> Observed:
    """Return what experiment gave data of these names.

    Parameters
    ----------
    given : mapping of str to number
        n and b, with b_error or without; n_on, n_off and tau; or n, n_out, n_sb, zeta and zeta_sb.
    shape : str
        How an uncertain background is distributed: ``"gamma"`` or ``"truncated_gaussian"``.

    Raises
    ------
    ObservationError
        If something is missing, does not belong together, or has a value that no experiment can give.
    StudyError
        If tau is out of range.
    """
    names = set(given) - {"b_error"}
    if not _complete(names) or ("b_error" in given and "b" not in given):
        raise ObservationError(f"given: {_listed(given)}; {_forms()}")
    numbers = {name: finite(name, value) for name, value in given.items()}
    observed = _observed(numbers, shape)
    registry.experiment(observed.experiment, observed.options).observe(dict(observed.data))
    return observed


def told_data(data: Mapping[str, Any]) -> str:
    """Say what was observed in words; of many events only how many there are."""
    return ", ".join(f"{name} = {_told(value)}" for name, value in data.items())


def scale_of(given: Any) -> float:
    """Return the quantity that one event stands for.

    Raises
    ------
    ObservationError
        If no limit can be told in its units.
    """
    scale = finite("scale", given)
    if not 1e-100 <= scale <= 1e100:
        raise ObservationError(f"scale = {scale:g}: what one event stands for lies in [1e-100, 1e+100]")
    return scale


def read_scan(path: str | Path, shape: str = "gamma") -> tuple[str, list[Point]]:
    """Return the name of the model parameter of a scan, and its points in ascending order.

    The file is CSV with a header: the first column is the parameter, under any name; the others are what data are
    given by, and scale, the branching fraction or cross section of one event.

    Raises
    ------
    ObservationError
        If the file or a row is refused, with the line and the value.
    """
    rows = rows_of(path)
    if len(rows) < 2:
        raise ObservationError(f"{path}: holds no points; give a header such as 'mass,n,b' and a row a point")
    (first, (name, *columns)), *lines = rows
    at = f"{path}:{first}"
    if not name:
        raise ObservationError(f"{at}: the first column has no name; it holds the model parameter, for example mass")
    if not columns and any(mark in name for mark in ";|\t"):
        raise ObservationError(f"{at}: {name!r} is one column; separate columns with commas")
    known = {*chain(*FORMS), *OPTIONAL}
    for index, column in enumerate(columns, 2):
        if not column:
            raise ObservationError(f"{at}: column {index} has no name")
        if column not in known:
            raise ObservationError(f"{at}: {UnknownName.of('column', column, known)}")
    if len(set(columns)) < len(columns):
        raise ObservationError(f"{at}: a column stands twice in {', '.join(columns)}")
    if not _complete(set(columns) - OPTIONAL) or ("b_error" in columns and "b" not in columns):
        raise ObservationError(f"{at}: the columns after the parameter, {name}, are {_listed(columns)}; {_forms()}")
    points = []
    for number, row in lines:
        try:
            if len(row) != len(columns) + 1:
                raise ObservationError(f"{len(row)} values under {len(columns) + 1} names")
            parameter, *values = row
            given = dict(zip(columns, values, strict=True))
            scale = scale_of(given.pop("scale", 1.0))
            points.append(Point(finite(name, parameter), observation_of(given, shape), scale))
        except CovsvcError as error:
            raise ObservationError(f"{path}:{number}: {error}") from None
    points.sort(key=lambda point: point.parameter)
    for before, point in pairwise(points):
        if before.parameter == point.parameter:
            raise ObservationError(f"{path}: {name} = {point.parameter:.12g} stands twice")
    return name, points


def rows_of(path: str | Path, delimiter: str | None = ",") -> list[tuple[int, list[str]]]:
    """Return the rows of a text file with the number of their line; no comments, no empty rows.

    Parameters
    ----------
    path : str or Path
    delimiter : str, optional
        What stands between the cells; None: the first of comma, semicolon and tab that any row holds, or white space.

    Raises
    ------
    ObservationError
        If it is no text in UTF-8, or a row is no CSV.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ObservationError(f"{path}: byte {error.start} is no text in UTF-8; save the file as CSV, UTF-8") from None
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if not line.lstrip().startswith("#")]
    if delimiter is None:
        delimiter = next((mark for mark in ",;\t" if any(mark in line for _, line in lines)), None)
    found = []
    for number, line in lines:
        try:
            rows = csv.reader([line], delimiter=delimiter, strict=True) if delimiter else [line.split()]
            cells = [cell.strip() for row in rows for cell in row]
        except csv.Error as error:
            raise ObservationError(f"{path}:{number}: {error}") from None
        if any(cells):
            found.append((number, cells))
    return found


def finite(name: str, value: Any) -> float:
    """Return the number that `value` is, or is written as.

    Raises
    ------
    ObservationError
        If it is none, or infinite or NaN.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ObservationError(f"{name} = {value!r}: is no number") from None
    if not math.isfinite(number):
        raise ObservationError(f"{name} = {value}: must be finite")
    return number


def _told(value: Any) -> str:
    if isinstance(value, Real):
        return f"{float(value):g}"
    values = list(value)
    return f"[{', '.join(f'{each:g}' for each in values)}]" if len(values) <= _FEW else f"{len(values)} positions"


def _observed(given: dict[str, float], shape: str) -> Observed:
    if "tau" in given:
        return Observed("on_off", {"tau": given["tau"]}, {key: given[key] for key in ("n_on", "n_off")})
    if "zeta_sb" in given:
        zeta_sb = given["zeta_sb"]
        if not 1.0 / LARGEST_SCALE <= zeta_sb <= 1.0 / SMALLEST_SCALE:
            raise ObservationError(
                f"zeta_sb = {zeta_sb:g}: the signal region over the sideband, in background, lies in "
                f"[{1.0 / LARGEST_SCALE:g}, {1.0 / SMALLEST_SCALE:g}]"
            )
        return Observed("on_off", {"tau": 1.0 / zeta_sb}, {key: given[key] for key in ("n", "n_out", "n_sb", "zeta")})
    b, b_error = given["b"], given.get("b_error", 0.0)
    options: dict[str, Any] = {}
    if b_error:
        options["shape"] = shape
        if b > 0 and 1e-3 <= b_error / b <= 1.0:
            options["relative_b_error"] = b_error / b
    return Observed("counting", options, given)


def _complete(names: set[str]) -> bool:
    return any(names == set(form) for form in FORMS)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"


def _forms() -> str:
    return "\n".join(["data are one of", *(f"  {', '.join(form)}: {what}" for form, what in FORMS.items())])
