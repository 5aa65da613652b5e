"""Expected limits: the median and the bands of the upper limits if there is no signal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import special

from covsvc.contracts import Binned, Counts, Enumerable, Experiment, LimitMethod, ModelledEvents, Status
from covsvc.data_file import told_data
from covsvc.engine.answers import MethodFailed
from covsvc.engine.exact import chances_of
from covsvc.engine.guard import method_of
from covsvc.engine.observation import Build, build, is_enumerated, set_limit
from covsvc.engine.work import Tables, enumerable, make_tables, order_of, try_limits
from covsvc.kernels import binned
from covsvc.kernels.outcomes import quantiles
from covsvc.study import HIGHEST, Column, Row, Study, rounded

N_SIGMA = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""Expected limits are given at these quantiles of a normal distribution."""

TOYS = 2000
"""Toys without signal, where outcomes cannot be enumerated."""

_SEED = 1999


def expect(study: Study, tables: Mapping[float, Tables] | None = None, build: Build = build) -> xr.Dataset:
    """Return the expected limits of every column at each b of a study, beside the limits on its real data there.

    The N-sigma limit is the smallest u with P(upper <= u) >= Phi(N) at s_true = 0, from the exact distribution; empty
    limits count as 0, unbounded and failed ones as +inf. Where the outcomes cannot be enumerated, but the data are
    events with densities or counts in bins, it is from `TOYS` toys.

    Parameters
    ----------
    study : Study
    tables : dict, optional
        From `tables_of`, if they are made already.
    build : callable, optional
        Builds the limit methods.

    Returns
    -------
    xarray.Dataset
        Over (limit_method, cl, b, n_sigma), expected signal events: expected, NaN where it is not known; asimov, the
        same from the counts that b predicts, where a method has that form and b is known. Over (limit_method, cl, b):
        observed, the limit on the real data if the background is b, where b is known.
    """
    experiment = study.experiment.build()
    shape = (len(study.methods), len(study.cl), len(study.b))
    expected, asimov = (np.full((*shape, len(N_SIGMA)), np.nan) for _ in range(2))
    observed = np.full(shape, np.nan)
    for at, b in enumerate(study.b):
        found = _quantiles(study, b, tables[b] if tables else _without_signal(study, b))
        toys = experiment.toys(0.0, b, TOYS, np.random.default_rng(_SEED)) if is_fitted(study) else ()
        for index, column in enumerate(study.columns):
            place = *divmod(index, len(study.cl)), at
            expected[place] = found[index]
            if toys:
                view = toys[column.spec.view_of(experiment)]
                expected[place] = _quantiles_of(build(column, view), view, column.cl)
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


def expect_there(study: Study, build: Build = build) -> list[dict[str, Any]]:
    """Return the expected limits of every column for the real data of a study.

    They are exact where the outcomes can be enumerated, and else, of events with densities and of counts in bins, from
    `TOYS` toys without signal.

    Parameters
    ----------
    study : Study
    build : callable, optional
        Builds the limit methods.

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
        if isinstance(observed, ModelledEvents | Binned):
            expected = expected_from_toys(build(column, observed), observed, column.cl)
        told.append({"b_expected": b, "expected": expected, "asimov": asimov_of(column, observed)})
    return told


def expected_from_toys(method: LimitMethod, observed: ModelledEvents | Binned, cl: float) -> list[float]:
    """Return the expected limits, at `N_SIGMA`, from toys without signal.

    Their background is that which fits the observation best without signal: of events their number, or what is known
    of it; of counts in bins the yields at the profiled nuisance parameters.

    Returns
    -------
    list of float
        NaN where the analysis cannot be drawn, the method draws toys for each observation, or so many limits fail that
        it depends on them.
    """
    toys = _toys_without_signal(observed)
    if toys is None:
        return [np.nan] * len(N_SIGMA)
    return _quantiles_of(method, toys, cl)


def is_fitted(study: Study) -> bool:
    """Tell whether the data are such that likelihoods are fitted: events with densities, or counts in bins."""
    return bool({ModelledEvents, Binned} & set(study.experiment.build().gives))


def _quantiles_of(method: LimitMethod, toys: Any, cl: float) -> list[float]:
    if type(toys) in getattr(method, "draws", ()):
        return [np.nan] * len(N_SIGMA)
    limits = try_limits(method, toys, cl)
    if isinstance(limits, str):
        return [np.nan] * len(N_SIGMA)
    failed = limits.status == Status.FAILED
    ranks = np.maximum(np.ceil(special.ndtr(np.array(N_SIGMA)) * len(limits)).astype(np.int64), 1) - 1
    # a failed limit may be any: known is what it is whatever they are
    low, high = (np.sort(np.where(failed, end, limits.upper))[ranks] for end in (0.0, np.inf))
    return [float(each) for each in np.where(low == high, low, np.nan)]


def _toys_without_signal(observed: ModelledEvents | Binned) -> ModelledEvents | Binned | None:
    rng = np.random.default_rng(_SEED)
    if isinstance(observed, Binned):
        fitted = binned.fit_at(observed.model, observed.counts, observed.auxiliary, np.zeros(1))
        if not fitted.ok[0]:
            return None
        counts, auxiliary = binned.draw(observed.model, 0.0, fitted.theta[0], TOYS, rng)
        return Binned.drawn(counts, auxiliary, observed.model)
    if observed.model is None:
        return None
    known = observed.b if observed.b is not None and not np.any(observed.b_error) else float(observed.n[0])
    n = rng.poisson(np.ravel(known)[0], TOYS)
    ratios = observed.model.background_ratios(int(n.sum()), rng)
    b, error = (None if each is None else float(np.ravel(each)[0]) for each in (observed.b, observed.b_error))
    return ModelledEvents.drawn(n, ratios, observed.model, b, error or 0.0, observed.shape)


def asimov_of(column: Column, observed: Any) -> list[float]:
    """Return the expected limits from the data that the background of `observed` predicts, NaN without that form."""
    method = method_of(column)
    if observed is None or not hasattr(method, "asimov"):
        return [np.nan] * len(N_SIGMA)
    try:
        return [float(method.asimov(observed, column.cl, n_sigma)[0]) for n_sigma in N_SIGMA]
    except MethodFailed:
        return [np.nan] * len(N_SIGMA)


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
    limit, _ = set_limit(method_of(column), views[column.spec.view_of(experiment)], column.cl)
    return float(limit.upper[0])


def _told(study: Study) -> str:
    return told_data({key: value for key, value in (study.observed or {}).items() if key != "b"})
