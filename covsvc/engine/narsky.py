"""Limits of all methods on the toy model of a paper."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from covsvc.contracts import FloatArray
from covsvc.engine.observation import Build, build, set_limit
from covsvc.study import Column, Study

MOST_N = 6
"""Largest number of events in the signal region."""
MOST_BACKGROUNDS = 6
"""So many backgrounds are shown, at most."""
LEVEL = 0.9


def toy_model(study: Study, build: Build = build) -> xr.Dataset | None:
    """Return the limits of each method of a study where n events lie at the peak and the rest is as expected.

    In the other regions there are as many events as background is expected, in the middle of equal parts of the
    distance from 0, on both sides in turn. The paper draws their places from a flat distribution.

    Parameters
    ----------
    study : Study
        Of the experiment gaussian_flat.
    build : callable, optional
        Builds the limit methods.

    Returns
    -------
    xarray.Dataset or None
        lower, upper and status over (limit_method, b, n), and sided over limit_method; attribute cl, 0.9 or the first
        one of the study. None for another experiment, and where no background of the study makes whole numbers of
        events.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Section 4 and Fig. 1.
    """
    if study.experiment.name != "gaussian_flat":
        return None
    experiment: Any = study.experiment.build()
    places = {b: around for b in study.b if (around := _around(experiment, b)) is not None}
    backgrounds = list(places)[:MOST_BACKGROUNDS]
    if not backgrounds:
        return None
    cl = LEVEL if LEVEL in study.cl else study.cl[0]
    columns = [column for column in study.columns if column.cl == cl]
    counts = range(MOST_N + 1)
    seen = [
        experiment.observe({"x": np.concatenate([np.full(n, experiment.signal_mean), places[b]]).tolist()} | told)
        for b in backgrounds
        for told in [{} if experiment.b_is == "unknown" else {"b": b}]
        for n in counts
    ]
    shape = len(columns), len(backgrounds), len(counts)
    found = np.array([_limits(column, experiment, seen, build) for column in columns]).reshape(*shape, 3)
    over = ("limit_method", "b", "n")
    return xr.Dataset(
        {
            "lower": (over, found[..., 0]),
            "upper": (over, found[..., 1]),
            "status": (over, found[..., 2].astype(np.int8)),
            "sided": ("limit_method", [column.spec.build().sided for column in columns]),
        },
        coords={"limit_method": [column.key[0] for column in columns], "b": backgrounds, "n": list(counts)},
        attrs={"cl": cl},
    )


def _around(experiment: Any, b: float) -> FloatArray | None:
    """Return the places of the events outside of the signal region; None where they are no whole numbers."""
    region, start, end = experiment.signal_region, experiment.sideband_start, experiment.half_width
    expected = [b * (start - region) / region, b * (end - start) / region]
    whole = [round(each) for each in expected]
    if not np.allclose(expected, whole, rtol=0, atol=1e-9):
        return None
    middles = [
        left + (right - left) * (np.arange(count) + 0.5) / count
        for (left, right), count in zip(((region, start), (start, end)), whole, strict=True)
        if count
    ]
    distance = np.concatenate([*middles, np.zeros(0)])
    return np.where(np.arange(len(distance)) % 2, -distance, distance)


def _limits(
    column: Column, experiment: Any, seen: list[tuple[Any, ...]], build: Build
) -> list[tuple[float, float, int]]:
    view = column.spec.view_of(experiment)
    method = build(column, seen[0][view])  # the densities are the same everywhere: one calibration serves all
    limits = [set_limit(method, views[view], column.cl)[0] for views in seen]
    return [(float(limit.lower[0]), float(limit.upper[0]), int(limit.status[0])) for limit in limits]
