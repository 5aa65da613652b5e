"""Limits on real events and on counts in bins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import ndtri

from covsvc import registry
from covsvc.api.building import STORE, builder
from covsvc.api.observed import limits_on
from covsvc.contracts import Binned, Events, IntArray, LimitMethod, ModelledEvents
from covsvc.engine.expected import asimov_of, expected_from_toys
from covsvc.engine.likelihood_scan import scan_bins, scan_events
from covsvc.engine.observation import build_and_set, ends_of
from covsvc.errors import StudyError
from covsvc.event_file import SeenEvents
from covsvc.study import Column, Isolation, MethodSpec, confidence_level


def event_methods() -> list[dict[str, Any]]:
    """Return the name of every installed method that allows for unknown background and leaves nothing to choose."""
    known = registry.installed("methods")
    return [
        {"name": name}
        for name in known
        if name == "poisson" or (name != "fixed_interval_n" and Events in registry.find("methods", name).reads)
    ]


def limits_on_events(
    seen: SeenEvents, methods: list[dict[str, Any]] | None = None, cl: Sequence[float] = (0.90,)
) -> list[dict[str, Any]]:
    """Set the limits of several methods on the positions of real events.

    Parameters
    ----------
    seen : SeenEvents
        From `read_events`.
    methods : list of dict, optional
        name and options of each; `event_methods` unless given.
    cl : sequence of float

    Returns
    -------
    list of dict
        One a method and level, as `limits_on` gives it, with n and b in place of the data; scaled, the upper limit on
        the cross section; interval, None or what the interval was that decided: its ends, low and high; events, those
        inside; expected, the signal events there at the limit, and background, those of the known background.
    """
    asked = event_methods() if methods is None else methods
    # a method that nobody named does not keep the others from their answer: it fails and says why
    without = {each["name"]: _missing(each["name"], cl) for each in asked} if methods is None else {}
    asked = [each for each in asked if not without.get(each["name"])]
    view = registry.experiment("spectrum").observe(seen.data)[0]
    built = [registry.method(each["name"], each.get("options")) for each in asked for _ in cl]
    rows: list[dict[str, Any]] = []
    for method, found in zip(built, limits_on("spectrum", seen.data, asked, list(cl)), strict=True):
        row = {key: value for key, value in found.items() if key not in ("u", "v")}
        row |= {"n": len(seen.positions), "b": view.b, "scaled": row["upper"] / seen.spectrum.total}
        row["reason"] = row["reason"].removeprefix(f"{StudyError.__name__}: ")
        decide: Any = getattr(method, "intervals", None)
        decided = decide is not None and row["status"] in ("ok", "empty")
        row["interval"] = _interval(seen, row["upper"], *decide(view, row["cl"])) if decided else None
        rows.append(row)
    nothing = {"lower": np.nan, "upper": np.nan, "scaled": np.nan, "status": "failed", "interval": None}
    for name, reasons in without.items():
        for level, reason in reasons.items():
            rows.append(rows[0] | nothing | {"limit_method": name, "cl": level, "reason": reason})
    return rows


def _missing(name: str, levels: Sequence[float]) -> dict[float, str]:
    """Return why a method has no limits at these levels; empty if it has them at all of them."""
    missing: Any = getattr(registry.method(name), "missing", None)
    reasons = {level: missing(level) for level in sorted(levels)} if missing else {}
    first = next(filter(None, reasons.values()), None)
    return {level: reason or first for level, reason in reasons.items()} if first else {}


def write_events(
    seen: SeenEvents, rows: Sequence[Mapping[str, Any]], path: str | Path, *, quantity: str = "cross section"
) -> Path:
    """Draw events, the spectrum at its limit and the deciding intervals: PNG, SVG or PDF, by the suffix of `path`."""
    from covsvc.report.event_plot import write_events as write

    return write(seen, rows, Path(path), quantity)


def _interval(seen: SeenEvents, upper: float, left: IntArray, right: IntArray) -> dict[str, Any]:
    """Return the interval between the events `left` and `right`, or the ends of the range, with what is in it."""
    first, last = int(left[0]), int(right[0])
    low = seen.spectrum.low if first < 0 else float(seen.positions[first])
    high = seen.spectrum.high if last >= len(seen.positions) else float(seen.positions[last])
    ends = np.array([low, high])
    known = seen.background
    return {
        "low": low,
        "high": high,
        "events": last - first - 1,
        "expected": float(np.diff(seen.spectrum.cdf(ends))[0]) * upper,
        "background": float(np.diff(known.cdf(ends))[0]) * known.total if known is not None else 0.0,
    }


def methods_reading(kind: type) -> list[dict[str, Any]]:
    """Return the name of every installed method that reads such observations, `ModelledEvents` or `Binned`."""
    known = registry.installed("methods")
    return [{"name": name} for name in known if registry.view_for(registry.find("methods", name).reads, (kind,)) == 0]


def limits_on_view(
    observed: ModelledEvents | Binned,
    methods: list[dict[str, Any]] | None = None,
    cl: Sequence[float] = (0.90,),
    *,
    expected: bool = False,
    store: str | Path = STORE,
    tell: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """Set the limits of several methods on one observation of events with densities, or of counts in bins.

    Parameters
    ----------
    observed : ModelledEvents or Binned
        Of one toy.
    methods : list of dict, optional
        name and options of each; `methods_reading` such observations unless given.
    cl : sequence of float
    expected : bool
        Add the expected limits.
    store, tell
        As those of `observe`.

    Returns
    -------
    list of dict
        One a method and level: limit_method, cl, sided, lower, upper, status, error and reason, as `observe` gives
        them. With `expected`: expected, the median and the bands at -2 to 2 sigma without a signal, expected signal
        events, and expected_from, ``"asimov"`` or ``"toys"``, empty where they are not known.
    """
    asked = methods_reading(type(observed)) if methods is None else methods
    for each in asked:
        registry.method(each["name"], each.get("options"))  # its refusals say what and why
    specs = [MethodSpec(**each) for each in asked]
    for spec in specs:
        if spec.view:
            raise StudyError(f"view = {spec.view}: these data are read in one way only; leave it out")
        reads = spec.build().reads
        if registry.view_for(reads, (type(observed),)) is None:
            names = ", ".join(each.__name__ for each in reads)
            raise StudyError(f"{spec.label} reads {names} but not {type(observed).__name__}")
    levels_asked = [confidence_level(level) for level in cl]
    build = builder(store, tell)
    rows_found = []
    for spec in specs:
        for level in levels_asked:
            column = Column(spec, level, Isolation().of(spec.name))
            method, limit, reason = build_and_set(column, observed, build)
            row = {
                "limit_method": spec.label,
                "cl": level,
                "sided": method.sided,
                **ends_of(limit),
                "error": float(limit.error[0]) if limit.error is not None else np.nan,
                "reason": reason,
            }
            rows_found.append(row | (_expected_there(column, method, observed) if expected else {}))
    return rows_found


def _expected_there(column: Column, method: LimitMethod, observed: ModelledEvents | Binned) -> dict[str, Any]:
    found, how = asimov_of(column, observed), "asimov"
    if not np.isfinite(found).any():
        found, how = expected_from_toys(method, observed, column.cl), "toys"
    return {"expected": found, "expected_from": how if np.isfinite(found).any() else ""}


_WIDER = 20
"""How often a picture of the likelihood is made wider, so that it shows the fall by z^2."""


def write_likelihood(
    observed: ModelledEvents | Binned,
    rows: Sequence[Mapping[str, Any]],
    path: str | Path,
    *,
    quantity: str,
    told: str,
    scale: float = 1.0,
) -> Path:
    """Draw the likelihood of one observation, with the limits of `rows`: PNG, SVG or PDF, by the suffix of `path`.

    Parameters
    ----------
    observed : ModelledEvents or Binned
        Of one toy.
    rows : sequence of dict
        From `limits_on_view`, at one confidence level.
    path : str or Path
    quantity, told : str
        What the signal is called, and what was observed.
    scale : float
        The quantity of one signal event.
    """
    from covsvc.report.likelihood_plot import write_likelihood as write

    square = float(ndtri(rows[0]["cl"])) ** 2
    shown_ends = [row["upper"] for row in rows if row["status"] == "ok"]
    shown_ends += [each for row in rows for each in row.get("expected", []) if np.isfinite(each)]
    top = 1.08 * scale * (max(shown_ends, default=0.0) or 1.0)
    for _ in range(_WIDER):
        if not _scan_up_to(observed, top, 2, scale)["profiled"][-1] < 1.1 * square:
            break
        top *= 1.25
    scan = _scan_up_to(observed, top, 401, scale)
    ends = ("lower", "upper")
    shown = [
        dict(row)
        | {end: row[end] * scale for end in ends}
        | ({"expected": [each * scale for each in row["expected"]]} if "expected" in row else {})
        for row in rows
    ]
    return write(scan, shown, Path(path), quantity, told)


def _scan_up_to(observed: ModelledEvents | Binned, top: float, points: int, scale: float) -> xr.Dataset:
    """Return the likelihood from no signal up to `top`, in units of `scale` for one event."""
    signal = np.linspace(0.0, top, points)
    if isinstance(observed, Binned):
        unit = observed.model.signal_events * scale
        found = scan_bins(observed, signal / unit)
    else:
        unit = scale
        found = scan_events(observed, signal / unit)
    return found.assign_coords(signal=signal).assign_attrs(best=found.attrs["best"] * unit)
