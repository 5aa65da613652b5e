"""Distributions of test statistics: exact, and as the asymptotic formulae have them."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import special

from covsvc.contracts import FloatArray, OnOff, grid_of
from covsvc.engine.exact import chances_of
from covsvc.engine.work import MOST_OUTCOMES, enumerable
from covsvc.kernels.poisson import deviance
from covsvc.kernels.profile import profiled_background, q_count, q_on_off, statistics_on_off
from covsvc.study import Study

STATISTICS = ("q_mu", "q_mu_tilde", "t")
"""The one-sided statistics, and the profile likelihood ratio t = -2 ln L(s)/L(shat), shat of either sign."""

_HIGHEST = 12.0


def statistics_of(study: Study) -> xr.Dataset | None:
    """Return the distributions of the test statistics of the true signal in a cell of few events of a study.

    The smallest b > 0 of the grid and its smallest signal of three events or more: where asymptotic formulae are tried.

    Returns
    -------
    xarray.Dataset or None
        Over (statistic, q): survival, the exact P(Q >= q) at the true signal, and asymptotic, the same by Wilks
        (q_mu: half a chi-square of one degree of freedom; t: a whole one) and from the Asimov data set (q_mu_tilde);
        attributes s_true, b, and tau, NaN where the background is known. None where b is known with an error, or the
        outcomes are too many.

    References
    ----------
    .. [1] G. Cowan, K. Cranmer, E. Gross and O. Vitells, Eur. Phys. J. C 71 (2011) 1554, Eq. 57 and 64.
    """
    experiment = study.experiment.build()
    positive = [s for s in study.s_true if s > 0]
    if not positive or not hasattr(experiment, "counts"):
        return None
    s = next((value for value in positive if value >= 3), positive[-1])
    b = next((value for value in study.b if value > 0), 0.0)
    runs = enumerable(experiment).counts(s, b)
    on_off = OnOff in experiment.gives
    if (
        runs is None
        or np.isnan(runs[0].mean)
        or len(runs) != 1 + on_off
        or np.prod([len(run.probability) for run in runs]) > MOST_OUTCOMES // 10
    ):
        return None
    tau = float(experiment.tau) if on_off else np.nan  # type: ignore[attr-defined]
    counts = grid_of([run.first for run in runs], [len(run.probability) for run in runs])
    _, first, others = chances_of(enumerable(experiment), s, b)
    chances = np.multiply.outer(first, others).ravel()
    nodes = np.linspace(0.0, _HIGHEST, 1201)
    survival = np.array([_survival(_values(name, counts, s, b, tau), chances, nodes) for name in STATISTICS])
    distance = np.sqrt(q_on_off(b, tau * b, tau, s, False) if on_off else q_count(b, b, s, False))
    asymptotic = np.array([_asymptotic(name, nodes, distance) for name in STATISTICS])
    return xr.Dataset(
        {"survival": (("statistic", "q"), survival), "asymptotic": (("statistic", "q"), asymptotic)},
        coords={"statistic": list(STATISTICS), "q": nodes},
        attrs={"s_true": s, "b": b, "tau": tau},
    )


def _values(name: str, counts: tuple[NDArray[np.int64], ...], s: float, b: float, tau: float) -> FloatArray:
    """Return a statistic of the signal s for every outcome."""
    if len(counts) == 1:
        if name == "t":
            return np.array([2.0 * deviance(n, s + b) for n in counts[0].astype(float)])
        return np.array([q_count(n, b, s, name == "q_mu_tilde") for n in counts[0].astype(float)])
    if name != "t":
        n_on, n_off = (each.astype(np.float64) for each in counts)
        return np.asarray(statistics_on_off(n_on, n_off, tau, s, name == "q_mu_tilde"))
    pairs = zip(counts[0].astype(float), counts[1].astype(float), strict=True)
    found = []
    for n_on, n_off in pairs:
        background = profiled_background(n_on, n_off, tau, s)
        found.append(2.0 * (deviance(n_on, s + background) + deviance(n_off, tau * background)))
    return np.array(found)


def _survival(values: FloatArray, chances: FloatArray, nodes: FloatArray) -> FloatArray:
    order = np.argsort(values, kind="stable")
    beyond = np.concatenate([np.cumsum(chances[order][::-1])[::-1], [0.0]])
    return beyond[np.searchsorted(values[order] * (1.0 + 1e-9), nodes)]


def _asymptotic(name: str, q: FloatArray, distance: float) -> FloatArray:
    """Return the asymptotic P(Q >= q); `distance` is s/sigma."""
    root = np.sqrt(q)
    if name == "t":
        return np.asarray(2.0 * special.ndtr(-root))
    if name == "q_mu_tilde":
        far = q > distance**2
        root[far] = (q[far] + distance**2) / (2.0 * distance)
    return np.where(q > 0, special.ndtr(-root), 1.0)
