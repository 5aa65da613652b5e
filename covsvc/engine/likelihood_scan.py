"""The likelihood of one observation as a function of the signal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr
from scipy import special

from covsvc.contracts import Binned, FloatArray, ModelledEvents
from covsvc.kernels import binned, unbinned
from covsvc.kernels.symmetric import knowledge_of, posterior

_NEGLIGIBLE = 1e-20


def scan_events(observed: ModelledEvents, s: FloatArray) -> xr.Dataset:
    """Return the likelihood of one observation of events at the signals `s`.

    Parameters
    ----------
    observed : ModelledEvents
        Of one toy.
    s : ndarray of float, shape (signal,)
        Expected signal events, ascending from 0.

    Returns
    -------
    xarray.Dataset
        Over signal: profiled, -2 ln lambda with the background profiled; integrated, -2 ln of the posterior density
        over its maximum, the prior flat in the signal and, where nothing is known of it, in the background. Attributes
        best and best_b, those of the largest likelihood. What is not defined is NaN.
    """
    b, error = _told(observed.b), _told(observed.b_error)
    kind = unbinned.UNKNOWN if observed.b is None else unbinned.KINDS[observed.shape]
    profiled, _, outcome = unbinned.scan(observed.density_ratio, kind, b, error, s)
    fitted = unbinned.fit_at(
        observed.starts, observed.density_ratio, kind, np.array([b]), np.array([error]), np.array([np.nan])
    )
    if outcome == unbinned.NOT_CONVERGED:
        profiled = np.full(s.shape, np.nan)
    return xr.Dataset(
        {"profiled": ("signal", profiled), "integrated": ("signal", _fall_of_posterior(observed, s))},
        coords={"signal": s},
        attrs={"best": float(fitted[0][0]), "best_b": float(fitted[1][0])},
    )


def scan_bins(observed: Binned, mu: FloatArray) -> xr.Dataset:
    """Return the likelihood of one observation of counts in bins at the signal strengths `mu`.

    Parameters
    ----------
    observed : Binned
        Of one toy.
    mu : ndarray of float, shape (signal,)
        Strengths, ascending from 0.

    Returns
    -------
    xarray.Dataset
        Over signal: profiled, -2 ln lambda with the nuisance parameters profiled, NaN where a fit fails. Attribute
        best, the strength >= 0 of the largest likelihood.
    """
    size = len(mu)
    counts, auxiliary = (np.repeat(each, size, axis=0) for each in (observed.counts, observed.auxiliary))
    found = binned.fit_at(observed.model, counts, auxiliary, mu)
    best = binned.fit(observed.model, observed.counts, observed.auxiliary)
    # the search for the best strength ends a rounding error above it
    profiled = np.maximum(found.value - best.value[0], 0.0)
    return xr.Dataset({"profiled": ("signal", profiled)}, coords={"signal": mu}, attrs={"best": float(best.mu[0])})


def fit_of_bins(observed: Binned) -> dict[str, Any]:
    """Return what fits one observation of counts in bins best.

    Returns
    -------
    dict
        mu, the strength >= 0; mu_of_any_sign; reason, why there is none, else empty; and parameters, of each its name,
        constraint, measured, the value that its measurement says, fitted, and pull, their distance over the error of
        the measurement. What is not defined is NaN.
    """
    model = observed.model
    best = binned.fit(model, observed.counts, observed.auxiliary)
    free = binned.fit(model, observed.counts, observed.auxiliary, -math.inf)
    rows = []
    for parameter, value, fitted in zip(model.parameters, observed.auxiliary[0], best.theta[0], strict=True):
        measured, width = math.nan, math.nan
        if parameter.constraint == "gaussian":
            measured, width = float(value), parameter.width
        elif parameter.constraint == "poisson":
            measured, width = float(value) / parameter.tau, math.sqrt(max(float(value), 1.0)) / parameter.tau
        rows.append(
            {
                "name": parameter.name,
                "constraint": parameter.constraint,
                "measured": measured,
                "fitted": float(fitted),
                "pull": (float(fitted) - measured) / width,
            }
        )
    return {
        "mu": float(best.mu[0]),
        "mu_of_any_sign": float(free.mu[0]),
        "reason": binned.REASONS[int(best.reason[0])],
        "parameters": rows,
    }


def _fall_of_posterior(observed: ModelledEvents, s: FloatArray) -> FloatArray:
    """Return -2 ln of the posterior density of the signal over the largest one, a mixture of gamma distributions.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 15-17 and 19.
    """
    told = knowledge_of(1, observed.b, observed.b_error, observed.shape)
    first, weight = posterior(observed.density_ratio, *(each[0] for each in told), _NEGLIGIBLE)
    if not len(weight):
        return np.full(s.shape, np.nan)
    powers = first + np.arange(len(weight))
    with np.errstate(divide="ignore"):
        log_weight, log_s = np.log(weight) - special.gammaln(powers + 1.0), np.log(s)
    fall = np.empty(s.shape)
    for place, (value, log_value) in enumerate(zip(s, log_s, strict=True)):
        terms = log_weight + np.where(powers, powers * log_value if value else -np.inf, 0.0)
        highest = terms.max()
        fall[place] = np.inf
        if highest > -np.inf:
            fall[place] = -2.0 * (highest + math.log(np.exp(terms - highest).sum()) - value)
    return np.asarray(fall - fall.min())


def _told(value: Any) -> float:
    """Return what is known of the one toy; 0 for nothing."""
    return 0.0 if value is None else float(np.ravel(value)[0])
