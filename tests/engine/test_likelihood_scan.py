"""The likelihood of one observation as a function of the signal."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from covsvc.binned_model import BinnedModel, Parameter, Scale
from covsvc.contracts import Binned, ModelledEvents
from covsvc.engine.likelihood_scan import fit_of_bins, scan_bins, scan_events

S = np.linspace(0.0, 15.0, 301)
RATIOS = [0.3, 2.0, 7.9, 0.01, 1.1]


def log_likelihood(s, b, ratios=RATIOS):
    return -s - b + sum(math.log(s * r + b) for r in ratios)


def falls(values):
    return -2 * (np.array(values) - max(values))


@pytest.mark.parametrize("known", [{}, {"b": 4.0}, {"b": 4.0, "b_error": 1.5, "shape": "truncated_gaussian"}])
def test_events_are_profiled_and_integrated_over_the_background(known):
    def density(b):
        if not known:
            return 1.0
        return stats.norm.pdf(b, 4.0, 1.5)

    profiled, integrated = [], []
    places = S[::20]
    for s in places:
        if "b" in known and "b_error" not in known:
            profiled.append(log_likelihood(s, 4.0))
            integrated.append(log_likelihood(s, 4.0))
            continue
        found = optimize.minimize_scalar(
            lambda b, s=s: -log_likelihood(s, b) - math.log(density(b)), bounds=(1e-9, 40), method="bounded",
            options={"xatol": 1e-11},
        )  # fmt: skip
        profiled.append(-found.fun)
        area = integrate.quad(
            lambda b, s=s: math.exp(log_likelihood(s, b)) * density(b), 0, 60, epsabs=0, epsrel=1e-11, limit=300
        )
        integrated.append(math.log(area[0]))
    scan = scan_events(ModelledEvents.of([RATIOS], **known), places)
    for name, values in (("profiled", profiled), ("integrated", integrated)):
        got = scan[name].values
        assert got - got.min() == pytest.approx(falls(values), abs=1e-6)
    fine = scan_events(ModelledEvents.of([RATIOS], **known), S)
    assert fine.attrs["best"] == pytest.approx(S[np.argmin(fine["profiled"].values)], abs=0.05)


def test_without_events_the_signal_alone_is_told():
    scan = scan_events(ModelledEvents.of([[]], b=3.0), S)
    np.testing.assert_allclose(scan["profiled"], 2 * S, atol=1e-12)
    np.testing.assert_allclose(scan["integrated"], 2 * S, atol=1e-12)
    assert (scan.attrs["best"], scan.attrs["best_b"]) == (0, 3)


def test_what_no_signal_explains_has_no_likelihood():
    scan = scan_events(ModelledEvents.of([[1.0, 0.0]], b=0.0), S)
    assert np.isnan(scan["profiled"]).all()
    assert np.isnan(scan["integrated"]).all()


def test_an_event_that_must_be_signal_excludes_none():
    scan = scan_events(ModelledEvents.of([[np.inf]], b=1.0), S)
    assert scan["profiled"][0] == scan["integrated"][0] == np.inf
    expected = 2 * (S[1:] - 1 - np.log(S[1:]))
    np.testing.assert_allclose(scan["profiled"][1:], expected, atol=1e-9)


MODEL = BinnedModel(
    ("signal", "background"),
    ((5.0, 2.0), (10.0, 20.0)),
    (True, False),
    (Parameter("scale", "poisson", 1.0, tau=30.0),),
    (Scale(0, 1, 0, 2),),
)


def test_bins_are_profiled_over_the_nuisance_parameters():
    observed = Binned([[14, 19]], [[33.0]], MODEL)
    mu = np.linspace(0, 4, 17)

    def value(at, gamma):
        means = at * np.array([5, 2]) + gamma * np.array([10, 20])
        return -2 * (stats.poisson.logpmf([14, 19], means).sum() + 33 * math.log(gamma) - 30 * gamma)

    profiled = [
        optimize.minimize_scalar(
            lambda g, at=at: value(at, g), bounds=(0.1, 3), method="bounded", options={"xatol": 1e-10}
        ).fun
        for at in mu
    ]
    best = optimize.minimize(
        lambda x: value(*x), (0.5, 1.0), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}
    )
    scan = scan_bins(observed, mu)
    np.testing.assert_allclose(scan["profiled"], np.array(profiled) - best.fun, atol=1e-7)
    assert scan.attrs["best"] == pytest.approx(best.x[0], abs=1e-4)
    fit = fit_of_bins(observed)
    assert fit["mu"] == fit["mu_of_any_sign"] == pytest.approx(best.x[0], abs=1e-4)
    (row,) = fit["parameters"]
    assert row["measured"] == pytest.approx(33 / 30, rel=1e-15)
    assert row["fitted"] == pytest.approx(best.x[1], abs=1e-5)
    assert row["pull"] == pytest.approx((best.x[1] - 1.1) * 30 / 33**0.5, abs=1e-3)


def test_a_fit_that_is_not_has_its_reason():
    free = BinnedModel(
        MODEL.samples, ((5.0, 2.0), (5.0, 2.0)), MODEL.signal, (Parameter("free", "none", 1.0),), MODEL.effects
    )
    fit = fit_of_bins(Binned([[14, 19]], [[0.0]], free))
    assert fit["reason"] == "the data do not tell the signal from the free parameters"
    assert math.isnan(fit["parameters"][0]["pull"])
