import doctest

import numpy as np
import pytest
from reference_uncertain import significance
from scipy import stats

import covsvc.significance
from covsvc.contracts import Counts, OnOff, Sideband, UncertainCounts
from covsvc.errors import ObservationError
from covsvc.significance import (
    of,
    of_independent_sample,
    of_known_background,
    of_likelihood,
    of_sideband,
    of_whole_region,
    under_the_null,
)


def test_examples_come_out():
    failed, tried = doctest.testmod(covsvc.significance)
    assert not failed
    assert tried


# Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Section 3.1: one event, an empty sideband of equal size
def test_agrees_with_narsky():
    assert of_whole_region(1, 0, 0.5) == pytest.approx(0.27, abs=5e-3)
    assert of_sideband(1, 0, 1.0) == np.inf
    # n = 3, b = 1: 1 - 5/(2e) = 0.0803
    assert of_known_background(3, 1.0) == pytest.approx(stats.norm.isf(1 - 2.5 / np.e), rel=1e-12)
    assert of_known_background(3, 1.0) == pytest.approx(1.4, abs=5e-3)


@pytest.mark.parametrize(
    ("n", "b"),
    [
        (1, 0.6931471805599453),
        (1, 1e-300),
        (1, 700.0),
        (3, 3.0),
        (2, 3.0),
        (3, 4.0),
        (100, 1.0),
        (1000, 1.0),
        (1, 5000.0),
        (5000, 3000.0),
        (100_000, 99_000.0),
        (1_000_000, 1.0),
        (10, 1e5),
    ],
)
def test_agrees_with_40_digits_in_far_tails(n, b):
    found = float(of_known_background(n, b))
    assert found == pytest.approx(float(significance(n, b, found)), rel=1e-11, abs=1e-14)


def test_no_event_is_as_little_significant_as_can_be():
    assert (of_known_background(0, [0.0, 1e-300, 3.0, 1e6]) == -np.inf).all()
    assert of_whole_region(0, 10, 0.5) == -np.inf
    assert of_known_background(1, 0.0) == np.inf


def test_the_estimates_of_the_background_are_those_of_the_paper():
    n, k = np.arange(1, 8)[:, None], np.arange(1, 12)
    for found, mu in (
        (of_independent_sample(n, k, 0.5), 0.5 * k),
        (of_sideband(n, k, 0.5), 0.5 * k),
        (of_whole_region(n, k, 0.25), 0.25 * (n + k)),
    ):
        assert found.shape == (7, 11)
        assert found == pytest.approx(of_known_background(n, mu), rel=1e-12)


# Li and Ma, Astrophys. J. 272 (1983) 317, Eq. 17 with alpha = 1/tau
def test_likelihood_on_and_off_source_is_that_of_li_and_ma():
    on, off, alpha = np.array([5, 12, 300]), np.array([3, 40, 900]), 0.2
    total = on + off
    exact = np.sqrt(2 * (on * np.log((1 + alpha) / alpha * on / total) + off * np.log((1 + alpha) * off / total)))
    assert of_likelihood(OnOff(on, off, 1 / alpha)) == pytest.approx(exact, rel=1e-10)


def test_likelihood_of_a_known_background_is_that_of_a_poisson_count():
    n, b = np.array([4, 30, 1000]), np.array([1.0, 5.5, 900.0])
    exact = np.sqrt(2 * (n * np.log(n / b) - n + b))
    assert of_likelihood(Counts(n, b)) == pytest.approx(exact, rel=1e-10)
    assert of_likelihood(Counts([1, 0], 0.0)).tolist() == [np.inf, 0.0]


def test_a_deficit_has_no_significance_by_likelihood():
    assert (of_likelihood(Counts([0, 2, 3], 3.0)) == 0).all()
    assert (of_likelihood(OnOff([0, 2, 3], [9, 9, 9], 3.0)) == 0).all()


@pytest.mark.parametrize(
    ("observed", "names"),
    [
        (Counts([3], 1.0), ["known background (Eq. 21)", "likelihood (Eq. 27)"]),
        (UncertainCounts([3], 1.0, 0.5), ["known background (Eq. 21)"]),
        (Sideband([3], [9], [6], 0.25, 0.5), ["sideband taken as known (Eq. 21, 23)", "whole region (Eq. 29)"]),
        (
            OnOff([3], [9], 3.0),
            [
                "sideband taken as known (Eq. 21, 23)",
                "independent sample (Eq. 28)",
                "whole region (Eq. 29)",
                "likelihood (Eq. 27)",
            ],
        ),
    ],
)
def test_every_definition_that_an_observation_allows_is_given(observed, names):
    found = of(observed)
    assert list(found) == names
    assert all(z.shape == (1,) for z in found.values())


def test_every_observation_on_and_off_source_has_its_significances():
    n, k = (values.ravel() for values in np.meshgrid([0, 1, 10**6], [0, 1, 10**12]))
    for tau in (1e-4, 1e6):
        assert not any(np.isnan(z).any() for z in of(OnOff(n, k, tau)).values())


@pytest.mark.parametrize(("b", "tau"), [(0.0, 1.0), (2.0, 1.0), (7.5, 3.0), (0.4, 20.0)])
def test_chances_under_the_null_are_sums_over_both_counts(b, tau):
    null = under_the_null([b], tau, [1.0, 2.0, 3.0])
    n, k = np.meshgrid(np.arange(80), np.arange(160), indexing="ij")
    chance = stats.poisson.pmf(n, b) * stats.poisson.pmf(k, tau * b)
    for found, mu in ((null.sideband, k / tau), (null.whole_region, (n + k) / (1 + tau))):
        z = stats.norm.isf(stats.poisson.sf(n - 1, mu))
        exact = [(chance * (z > threshold)).sum() for threshold in (1, 2, 3)]
        assert found[:, 0] == pytest.approx(exact, rel=1e-11, abs=1e-16)


def test_a_sideband_taken_as_known_passes_background_for_a_signal():
    null = under_the_null(np.linspace(0.5, 30, 12), tau=1.0)
    assert null.sideband.shape == (3, 12)
    assert null.nominal == pytest.approx(stats.norm.sf([1, 2, 3]))
    assert (null.sideband[2] > 5 * null.nominal[2]).all()
    assert (null.whole_region <= null.nominal[:, None]).all()


def test_a_large_sideband_keeps_its_promise():
    null = under_the_null(1000.0, tau=1000.0)
    assert null.sideband[:, 0] == pytest.approx(null.nominal, rel=0.15)


def test_chances_of_huge_counts_are_those_of_many_events():
    # a sideband a million times as large: b is known, and 1e6 events are almost Gaussian (skewness 1e-3)
    null = under_the_null(1e6, tau=1e6)
    assert null.sideband[:, 0] == pytest.approx(null.nominal, rel=0.01)
    assert null.whole_region[:, 0] == pytest.approx(null.nominal, rel=0.01)


def test_beside_an_empty_sideband_any_event_passes_every_threshold():
    null = under_the_null(2.0, tau=1.0, thresholds=[60.0])
    assert null.sideband[0, 0] == pytest.approx(np.exp(-2) * (1 - np.exp(-2)), rel=1e-12)
    assert null.whole_region[0, 0] == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: of_known_background(-1, 1.0), "n = -1"),
        (lambda: of_known_background(1.5, 1.0), "n = 1.5"),
        (lambda: of_known_background(np.nan, 1.0), "n = nan"),
        (lambda: of_known_background("three", 1.0), "n = 'three'"),
        (lambda: of_known_background(True, 1.0), "n = True"),
        (lambda: of_known_background(3, -1.0), "b = -1"),
        (lambda: of_known_background(3, np.nan), "b = nan"),
        (lambda: of_known_background(10**7, 1.0), "at most 1,000,000"),
        (lambda: of_known_background([1, 2], [1.0, 2.0, 3.0]), r"shape \(2,\).*shape \(3,\)"),
        (lambda: of_sideband([1, 2], [1, 2, 3], 1.0), r"shape \(2,\).*shape \(3,\)"),
        (lambda: of_sideband(1, [1, 2, 3], [1.0, 2.0]), r"zeta_sb has shape \(2,\)"),
        (lambda: of_sideband(1, 1, 0.0), "zeta_sb = 0"),
        (lambda: of_independent_sample(1, 1, np.inf), "zeta_ind = inf"),
        (lambda: of_whole_region(1, 1, 1.0), "zeta = 1: nothing is left"),
        (lambda: of_whole_region(1, [1, 2, 3], [0.5, 0.25]), "shape"),
        (lambda: under_the_null(1.0, 0.0), "tau = 0"),
        (lambda: under_the_null(1.0, 1.0, [-1.0]), "threshold = -1"),
        (lambda: under_the_null([[1.0]], 1.0), "2"),
    ],
)
def test_refuses_what_no_experiment_can_give(call, message):
    with pytest.raises(ObservationError, match=message):
        call()
