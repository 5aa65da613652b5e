"""Distributions of test statistics: sums over outcomes from the definitions, closed forms of the asymptotic ones."""

from __future__ import annotations

import numpy as np
import pytest
from reference_outcomes import pairs, poisson
from reference_sampling import on_off_statistic
from scipy import optimize, special, stats

from covsvc.engine.statistics import STATISTICS, statistics_of


def with_known_background(n, s, b):
    """Return q_mu, q_mu_tilde and t of n events."""
    n = n.astype(float)

    def log_likelihood(mean):
        return special.xlogy(n, mean) - mean

    t = 2 * (log_likelihood(n) - log_likelihood(s + b))
    q_mu = np.where(n - b > s, 0.0, t)
    tilde = np.where(n < b, 2 * (log_likelihood(b) - log_likelihood(s + b)), q_mu)
    return {"q_mu": q_mu, "q_mu_tilde": tilde, "t": t}


def likelihood_ratio(n_on, n_off, tau, s):
    """Return t of one pair, its background fitted by a numerical search."""

    def log_likelihood(signal, b):
        return special.xlogy(n_on, signal + b) - signal - b + special.xlogy(n_off, tau * b) - tau * b

    top = n_on + n_off + 1.0
    found = optimize.minimize_scalar(
        lambda b: -log_likelihood(s, b), bounds=(0.0, top), method="bounded", options={"xatol": 1e-9}
    )
    at_zero = log_likelihood(s, 0.0) if n_off == 0 else -np.inf
    largest = special.xlogy(n_on, n_on) - n_on + special.xlogy(n_off, n_off) - n_off
    return 2 * (largest - max(-found.fun, at_zero))


def assert_survival(survival, values, chance, q):
    """Compare where no value lies so close to q that rounding decides."""
    clear = np.abs(values[:, None] - q).min(axis=0) > 1e-6
    expected = (chance[:, None] * (values[:, None] >= q)).sum(axis=0)
    assert clear.sum() > len(q) / 2
    assert survival[clear] == pytest.approx(expected[clear], abs=1e-10)


@pytest.mark.parametrize(("s", "b"), [(2.0, 0.0), (1.0, 3.0), (6.0, 20.0)])
def test_survival_with_a_known_background_is_the_sum_over_all_counts(small_study, s, b):
    found = statistics_of(small_study(s_true=[0, s], b=[b]))
    assert list(found.statistic.values) == list(STATISTICS)
    assert (found.attrs["s_true"], found.attrs["b"], np.isnan(found.attrs["tau"])) == (s, b, True)
    n, chance = poisson(s + b)
    for name, values in with_known_background(n, s, b).items():
        assert_survival(found.survival.sel(statistic=name).values, values, chance, found.q.values)


@pytest.mark.parametrize(("s", "b", "tau"), [(2.0, 0.5, 1.0), (1.0, 3.0, 2.0), (5.0, 1.0, 0.3)])
def test_survival_on_and_off_source_is_the_sum_over_all_pairs(small_study, s, b, tau):
    experiment = {"name": "on_off", "options": {"tau": tau}}
    found = statistics_of(small_study(experiment=experiment, methods="cls", s_true=[s], b=[b]))
    assert found.attrs == {"s_true": s, "b": b, "tau": tau}
    n_on, n_off, chance = pairs(s + b, tau * b)
    kept = chance > 1e-13
    n_on, n_off, chance = n_on[kept], n_off[kept], chance[kept]
    values = {
        "q_mu": on_off_statistic(n_on, n_off, tau, s, False),
        "q_mu_tilde": on_off_statistic(n_on, n_off, tau, s, True),
        "t": np.array([likelihood_ratio(*pair, tau, s) for pair in zip(n_on.tolist(), n_off.tolist(), strict=True)]),
    }
    for name, each in values.items():
        assert_survival(found.survival.sel(statistic=name).values, each, chance, found.q.values)


def test_every_value_is_at_least_zero(small_study):
    found = statistics_of(small_study(experiment="on_off", methods="cls"))
    assert found.survival.sel(q=0.0).values == pytest.approx([1, 1, 1], abs=1e-13)
    assert (np.diff(found.survival.values, axis=1) <= 1e-15).all()


def test_asymptotically_t_is_a_chi_square_and_q_mu_half_of_one(small_study):
    found = statistics_of(small_study())
    q = found.q.values
    assert found.asymptotic.sel(statistic="t").values == pytest.approx(stats.chi2.sf(q, 1), abs=1e-14)
    # Cowan et al. (2011), Eq. 57: half of the probability lies at 0
    assert found.asymptotic.sel(statistic="q_mu").values[1:] == pytest.approx(stats.chi2.sf(q[1:], 1) / 2, abs=1e-14)
    assert found.asymptotic.sel(statistic="q_mu", q=0.0).item() == 1.0


@pytest.mark.parametrize("tau", [None, 2.0])
def test_asymptotically_q_mu_tilde_bends_where_shat_is_negative(small_study, tau):
    # Cowan et al. (2011), Eq. 64, with sigma = s / sqrt q_A of the Asimov set without signal
    s, b = 2.5, 3.0
    experiment = {"name": "on_off", "options": {"tau": tau}} if tau else "counting"
    found = statistics_of(small_study(experiment=experiment, methods="cls", s_true=[s], b=[b]))
    q = found.q.values[1:]
    distance2 = float(on_off_statistic(b, tau * b, tau, s, False)) if tau else 2 * (s - b * np.log1p(s / b))
    near = special.ndtr(-np.sqrt(q))
    far = special.ndtr(-(q + distance2) / (2 * np.sqrt(distance2)))
    expected = np.where(q <= distance2, near, far)
    assert found.asymptotic.sel(statistic="q_mu_tilde").values[1:] == pytest.approx(expected, abs=1e-12)
    assert 0 < distance2 < q[-1]


def test_a_cell_of_few_events_is_taken(small_study):
    def cell(**changes):
        attrs = statistics_of(small_study(**changes)).attrs
        return attrs["s_true"], attrs["b"]

    assert cell(s_true=[0, 1, 2.9, 3, 6], b=[0, 0.3, 5.5]) == (3, 0.3)
    assert cell(s_true=[0, 0.5, 1], b=[3]) == (1, 3)
    assert cell(s_true=[4], b=[0]) == (4, 0)


def test_there_are_none_without_signal_or_outcomes(small_study, plugins):
    assert statistics_of(small_study(s_true=[0])) is None
    assert statistics_of(small_study(experiment="drawn")) is None
    options = {"relative_b_error": 0.3, "shape": "truncated_gaussian"}
    assert statistics_of(small_study(experiment={"name": "counting", "options": options})) is None
    many = {"name": "on_off", "options": {"tau": 1000.0}}
    assert statistics_of(small_study(experiment=many, methods="cls", b=[1000])) is None
