"""Expected limits: the median and the bands of the upper limits if there is no signal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import special

from covsvc.contracts import Counts, Enumerable, Experiment, Status
from covsvc.data_file import told_data
from covsvc.engine.exact import chances_of
from covsvc.engine.observation import is_enumerated, set_limit
from covsvc.engine.work import Tables, enumerable, make_tables, order_of
from covsvc.kernels.outcomes import quantiles
from covsvc.study import HIGHEST, Column, Row, Study, rounded

N_SIGMA = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""Expected limits are given at these quantiles of a normal distribution."""


def expect(study: Study, tables: Mapping[float, Tables] | None = None) -> xr.Dataset:
    """Return the expected limits of every column at each b of a study, beside the limits on its real data there.

    The N-sigma limit is the smallest u with P(upper <= u) >= Phi(N) at s_true = 0, from the exact distribution; empty
    limits count as 0, unbounded and failed ones as +inf.

    Parameters
    ----------
    study : Study
    tables : dict, optional
        From `tables_of`, if they are made already.

    Returns
    -------
    xarray.Dataset
        Over (limit_method, cl, b, n_sigma), expected signal events: expected, NaN where the outcomes cannot be
        enumerated; asimov, the same from the counts that b predicts, where a method has that form and b is known.
        Over (limit_method, cl, b): observed, the limit on the real data if the background is b, where b is known.
    """
    experiment = study.experiment.build()
    shape = (len(study.methods), len(study.cl), len(study.b))
    expected, asimov = (np.full((*shape, len(N_SIGMA)), np.nan) for _ in range(2))
    observed = np.full(shape, np.nan)
    for at, b in enumerate(study.b):
        found = _quantiles(study, b, tables[b] if tables else _without_signal(study, b))
        for index, column in enumerate(study.columns):
            place = *divmod(index, len(study.cl)), at
            expected[place] = found[index]
            known = _known(column, experiment, b)
            asimov[place] = asimov_of(column, known)
            if study.observed and known is not None:
                observed[place] = _observed(column, experiment, {**study.observed, "b": known.b})
    dims = ("limit_method", "cl", "b", "n_sigma")
    units = {"units": "events"}
    coords = {**study.axes, "n_sigma": list(N_SIGMA)}
    del coords["s_true"]
    data = {
        "expected": (dims, expected, units),
        "asimov": (dims, asimov, units),
        "observed": (dims[:3], observed, units),
    }
    return xr.Dataset(data, coords=coords, attrs={"observed_text": _told(study)})


def expect_there(study: Study) -> list[dict[str, Any]]:
    """Return the expected limits of every column for the real data of a study.

    Returns
    -------
    list of dict
        One a column: b_expected, the best estimate of the background if there is no signal; expected and asimov, each
        at `N_SIGMA`, expected signal events.
    """
    experiment = study.experiment.build()
    b = experiment.background(dict(study.observed or {}), no_signal=True)
    views = experiment.observe(dict(study.observed or {}))
    found = np.full((len(study.columns), len(N_SIGMA)), np.nan)
    if b <= HIGHEST:
        found = _quantiles(study, rounded(b), _without_signal(study, rounded(b)))
    told = []
    for column, quantiles_there in zip(study.columns, found.tolist(), strict=True):
        observed = views[column.spec.view_of(experiment)]
        expected = quantiles_there if is_enumerated(observed) else [np.nan] * len(N_SIGMA)
        told.append({"b_expected": b, "expected": expected, "asimov": asimov_of(column, observed)})
    return told


def asimov_of(column: Column, observed: Any) -> list[float]:
    """Return the expected limits from the data that the background of `observed` predicts, NaN without that form."""
    method = column.spec.build()
    if observed is None or not hasattr(method, "asimov"):
        return [np.nan] * len(N_SIGMA)
    return [float(method.asimov(observed, column.cl, n_sigma)[0]) for n_sigma in N_SIGMA]


def _without_signal(study: Study, b: float) -> Tables:
    return make_tables(Row(study.source, study.columns, b, (0.0,)))


def _quantiles(study: Study, b: float, tables: Tables) -> NDArray[np.float64]:
    """Return the quantiles of the upper limits without a signal, shape (column, n_sigma)."""
    experiment = study.experiment.build()
    found = np.full((len(study.columns), len(N_SIGMA)), np.nan)
    held = tables.only(study.columns)
    if held is None:
        return found
    columns, table = held
    limits = table.told.limits
    upper = np.where(limits.status == Status.FAILED, np.inf, limits.upper)
    order = order_of(limits)
    first, chances, others = chances_of(enumerable(experiment), 0.0, b)
    for row, column in enumerate(columns):
        found[column] = quantiles(
            chances, others, upper[row], order[row], first - table.first[0], special.ndtr(np.array(N_SIGMA))
        )
    return found


def _known(column: Column, experiment: Experiment, b: float) -> Counts | None:
    """Return no event over the background that an analyst takes for known if it is b; None if he knows of an error."""
    view = column.spec.view_of(experiment)
    if experiment.gives[view] is not Counts or Counts in getattr(experiment, "plugs_in", ()):
        return None
    if not isinstance(experiment, Enumerable):
        return None
    seen: Counts = experiment.views((np.zeros(1, np.int64),), b)[view]
    return seen


def _observed(column: Column, experiment: Experiment, data: dict[str, Any]) -> float:
    views = experiment.observe(data)
    limit, _ = set_limit(column.spec.build(), views[column.spec.view_of(experiment)], column.cl)
    return float(limit.upper[0])


def _told(study: Study) -> str:
    return told_data({key: value for key, value in (study.observed or {}).items() if key != "b"})
