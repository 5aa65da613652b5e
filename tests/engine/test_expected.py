"""Expected limits: against sorted sums over the outcomes without signal."""

from __future__ import annotations

import numpy as np
import pytest
from reference import bayes_upper
from reference_outcomes import pairs
from scipy import optimize, special, stats

import covsvc
from covsvc.contracts import Counts, OnOff
from covsvc.engine.expected import N_SIGMA, expect, expect_there
from covsvc.engine.work import tables_of

BELOW = stats.norm.cdf(N_SIGMA)


def smallest_ends(ends, chance):
    """Return, for each of the five bands, the smallest end with so much probability at or below."""
    order = np.argsort(ends, kind="stable")
    below = np.cumsum(chance[order])
    return [float(ends[order][np.flatnonzero(below >= level)[0]]) for level in BELOW]


def expected_of(small_study, **changes):
    study = small_study(**({"s_true": [0], "n_toys": 1000} | changes))
    return expect(study).expected.values


def test_bands_are_at_one_and_two_standard_deviations():
    assert N_SIGMA == (-2, -1, 0, 1, 2)
    assert BELOW.tolist() == pytest.approx([0.02275, 0.15866, 0.5, 0.84134, 0.97725], abs=5e-6)


def test_the_bands_of_cls_at_a_background_of_0_3(small_study):
    # P(0) = 0.741, P(N <= 1) = 0.963, P(N <= 2) = 0.996: the limits of 0, 0, 0, 1 and 2 events; -ln 0.05 = 2.9957
    found = expected_of(small_study, methods="cls", cl=0.95, b=0.3)[0, 0, 0]
    assert found == pytest.approx([2.9957, 2.9957, 2.9957, 4.489, 6.001], abs=5e-4)
    assert found[2:] == pytest.approx([bayes_upper(n, 0.3, 0.95, 0) for n in range(3)], rel=1e-9)


@pytest.mark.parametrize("b", [0.0, 1.0, 3.0, 60.0])
def test_bands_are_quantiles_of_the_limits_without_signal(small_study, b):
    methods = ["classical", "cls", "feldman_cousins", "bayes_reciprocal"]
    found = expected_of(small_study, methods=methods, cl=[0.8, 0.9], b=b, s_true=[2, 5])
    n = np.arange(200)
    for row, name in enumerate(methods):
        for column, cl in enumerate((0.8, 0.9)):
            limits = covsvc.limits(name, Counts(n, b), cl)
            # empty counts as 0, failed as +inf
            ends = np.select([limits.status == 1, limits.status == 3], [0.0, np.inf], limits.upper)
            assert found[row, column, 0].tolist() == smallest_ends(ends, stats.poisson.pmf(n, b))


def test_empty_limits_count_as_zero_and_failed_ones_as_infinite(small_study):
    # classical at b = 3: n = 0 has no limit, P(0) = 0.0498 > 0.0228; n = 1, 3 are at 16 and 50 %: 3.8897 and 6.6808 - 3
    found = expected_of(small_study, methods="classical", cl=0.9, b=3)[0, 0, 0]
    assert found[:3] == pytest.approx([0.0, 0.8897, 3.6808], abs=5e-5)
    # without events and background there is no posterior for the prior 1/s, and nothing but that can happen
    assert expected_of(small_study, methods="bayes_reciprocal", cl=0.9, b=0)[0, 0, 0].tolist() == [np.inf] * 5


@pytest.mark.parametrize("tau", [0.5, 2.0, 40.0])
@pytest.mark.parametrize("b", [0.0, 0.8, 3.0])
def test_bands_on_and_off_source_are_quantiles_over_all_pairs(small_study, tau, b):
    methods = ["cls", "classical", "q_mu_tilde", "bayes_uncertain_background", "significance_independent"]
    experiment = {"name": "on_off", "options": {"tau": tau}}
    found = expected_of(small_study, experiment=experiment, methods=methods, cl=0.9, b=b)[:, 0, 0]
    n_on, n_off, chance = pairs(b, tau * b)
    for row, name in enumerate(methods):
        views = (
            covsvc.contracts.Sideband(n_on, n_off, n_off, 1 / (1 + tau), 1 / tau),
            OnOff(n_on, n_off, tau),
            Counts(n_on, n_off / tau),
        )
        limits = covsvc.limits(name, views, 0.9)
        ends = np.select([limits.status == 1, limits.status >= 2], [0.0, np.inf], limits.upper)
        assert found[row].tolist() == smallest_ends(ends, chance)


def test_tables_that_are_made_already_give_the_same_bits(small_study):
    study = small_study(experiment="on_off", methods=["cls", "q_mu"], s_true=[4, 9], b=[0, 2, 30])
    assert expect(study, tables_of(study)).identical(expect(study))


def test_what_cannot_be_enumerated_has_no_expected_limits(small_study):
    options = {"relative_b_error": 0.3, "shape": "truncated_gaussian"}
    experiment = {"name": "counting", "options": options}
    assert np.isnan(expected_of(small_study, experiment=experiment, methods="cls", cl=0.9, b=2)).all()


def test_limits_expected_from_the_asimov_set_solve_their_equation(small_study):
    # Cowan et al. (2011), Section 4.3: sqrt q_A(s) = N + Phi^-1(1 - alpha Phi(N)) for CLs,
    # q_A(s) = 2 (s - b ln(1 + s/b))
    b, alpha = 3.0, 0.1
    study = small_study(methods=["q_mu", {"name": "q_mu", "options": {"procedure": "clsb"}}, "cls"], cl=0.9, b=b)
    found = expect(study).asimov.values[:, 0, 0]
    for column, n_sigma in enumerate(N_SIGMA):
        for row, root in enumerate(
            (n_sigma - special.ndtri(alpha * special.ndtr(n_sigma)), n_sigma - special.ndtri(alpha))
        ):
            if root <= 0:
                assert found[row, column] == 0
                continue
            expected = optimize.brentq(
                lambda s, root=root: 2 * (s - b * np.log1p(s / b)) - root**2, 1e-9, 100, xtol=1e-12
            )
            assert found[row, column] == pytest.approx(expected, rel=1e-9)
    assert np.isnan(found[2]).all()


def test_limits_on_real_data_stand_beside_them_at_each_background(small_study):
    study = small_study(methods=["cls", "classical"], cl=0.9, b=[0.5, 2], observed={"n": 3, "b": 1.0})
    found = expect(study).observed.values[:, 0]
    assert found[0] == pytest.approx([bayes_upper(3, b, 0.9, 0) for b in (0.5, 2)], rel=1e-9)
    assert found[1] == pytest.approx(stats.gamma.ppf(0.9, 4) - np.array([0.5, 2]), rel=1e-12)
    assert np.isnan(expect(small_study(methods="cls", cl=0.9, b=1)).observed.values).all()


def test_what_is_expected_where_real_data_lie(small_study):
    # without signal the largest likelihood of 3 and 6 events at tau = 2 is at b = 9/3
    experiment = {"name": "on_off", "options": {"tau": 2.0}}
    study = small_study(experiment=experiment, methods=["cls", "q_mu"], cl=0.9, observed={"n_on": 3, "n_off": 6})
    found = expect_there(study)
    assert [each["b_expected"] for each in found] == [3.0, 3.0]
    n_on, n_off, chance = pairs(3.0, 6.0)
    for name, each in zip(("cls", "q_mu"), found, strict=True):
        limits = covsvc.limits(name, (OnOff(n_on, n_off, 2.0), Counts(n_on, n_off / 2.0)), 0.9)
        ends = np.select([limits.status == 1, limits.status >= 2], [0.0, np.inf], limits.upper)
        assert each["expected"] == smallest_ends(ends, chance)
