"""Poisson probabilities against forty digits of mpmath."""

from __future__ import annotations

import math
import subprocess
import sys

import mpmath
import numpy as np
import pytest

from covsvc.kernels.poisson import (
    TAIL,
    deviance,
    mean_lower,
    mean_upper,
    outside,
    pmf,
    pmf_run,
    poisson_run,
    poisson_runs,
    support,
    truncated_upper,
)

EPS = 2.0**-52
MEANS = (1e-6, 0.3, 1.0, 7.5, 100.0, 3000.0, 1e5)


@pytest.fixture(autouse=True)
def forty_digits():
    with mpmath.workdps(40):
        yield


def exact_pmf(k, nu):
    nu = mpmath.mpf(nu)
    return mpmath.exp(k * mpmath.log(nu) - nu - mpmath.loggamma(k + 1))


def exact_below(k, nu):
    """Return P(N < k) = Q(k, nu)."""
    return mpmath.gammainc(k, nu, mpmath.inf, regularized=True) if k > 0 else mpmath.mpf(0)


def exact_above(k, nu):
    """Return P(N > k) = P(k + 1, nu)."""
    return mpmath.gammainc(k + 1, 0, nu, regularized=True)


def exact_deviance(x, nu):
    x, nu = mpmath.mpf(x), mpmath.mpf(nu)
    return x * mpmath.log(x / nu) + nu - x


def relative(found, exact):
    return abs(float(mpmath.mpf(found) / exact - 1))


def counts_around(seed, size, sigmas):
    """Return random means from 1e-3 to 1e5 and counts within some standard deviations of each."""
    rng = np.random.default_rng(seed)
    for nu in (10 ** rng.uniform(-3, 5, size)).tolist():
        yield min(max(int(nu + rng.uniform(-sigmas, sigmas) * math.sqrt(nu)), 0), 100_000), nu


def test_probabilities_within_a_standard_deviation_are_right_to_4e_15():
    assert max(relative(pmf(k, nu), exact_pmf(k, nu)) for k, nu in counts_around(1999, 2000, 1)) < 4e-15


def test_probabilities_of_up_to_1e5_events_lose_only_what_rounding_of_their_logarithm_costs():
    # ln pmf is a difference of terms of the size of |k - nu|; each is rounded, and exp turns that into a relative error
    for k, nu in counts_around(2000, 2000, 9):
        assert relative(pmf(k, nu), exact_pmf(k, nu)) < 4e-15 + 3 * EPS * abs(k - nu), (k, nu)


@pytest.mark.parametrize("k", [0, 1, 15, 16, 17, 99_999, 100_000])
def test_probabilities_hold_where_the_formula_changes(k):
    for nu in (np.nextafter(700.0, 0), 700.0, k + 0.5, k * 0.8181818181818181 or 1e-300, k * 1.2222222222222223 or 1.0):
        exact = exact_pmf(k, nu)
        if exact > 1e-290:
            assert relative(pmf(k, nu), exact) < 4e-15 + 3 * EPS * abs(k - nu), nu


def test_no_event_is_certain_at_mean_zero():
    assert [pmf(k, 0.0) for k in (0, 1, 2, 1000)] == [1.0, 0.0, 0.0, 0.0]
    assert pmf_run(0, 3, 0.0).tolist() == [1.0, 0.0, 0.0, 0.0]
    assert pmf_run(2, 4, 0.0).tolist() == [0.0, 0.0, 0.0]


def test_probabilities_too_small_for_a_double_are_zero():
    assert (pmf(0, 1e5), pmf(100_000, 1.0), pmf(3, 1e5)) == (0.0, 0.0, 0.0)


def test_the_deviance_does_not_cancel():
    # differences from 1e-12 to the size of the mean itself: the plain sum would lose all digits of the smallest
    rng = np.random.default_rng(3)
    for x in rng.integers(1, 100_000, 2000).tolist():
        nu = x * (1 + float(rng.choice([-1, 1])) * 10 ** rng.uniform(-12, -0.05))
        assert relative(deviance(float(x), nu), exact_deviance(x, nu)) < 1e-14, (x, nu)


def test_the_deviance_at_its_ends():
    assert (deviance(0.0, 3.5), deviance(7.0, 7.0), deviance(2.0, 0.0)) == (3.5, 0.0, math.inf)
    for x, nu in ((1.0, 700.0), (700.0, 1.0), (1e5, 1e-3)):
        assert relative(deviance(x, nu), exact_deviance(x, nu)) < 1e-15


@pytest.mark.parametrize("nu", MEANS)
def test_a_run_holds_the_probability_of_each_count(nu):
    lo, hi = support(nu, 1e-15)
    run = pmf_run(lo, hi, nu)
    assert len(run) == hi - lo + 1
    for k in np.unique(np.linspace(lo, hi, 80).astype(int)).tolist():
        # each step of the recurrence rounds twice
        assert relative(run[k - lo], exact_pmf(k, nu)) < 4e-15 + EPS * abs(k - nu), k
    assert run.sum() == pytest.approx(1.0, abs=1e-14)


def test_a_run_beside_the_mean_is_right_too():
    for lo, hi, nu in ((0, 5, 40.0), (80, 99, 40.0), (30, 30, 40.0)):
        for k, found in zip(range(lo, hi + 1), pmf_run(lo, hi, nu), strict=True):
            assert relative(found, exact_pmf(k, nu)) < 4e-15 + 3 * EPS * abs(k - nu)


def test_what_lies_outside_a_run_is_right_to_1e_13():
    rng = np.random.default_rng(4)
    for nu in (10 ** rng.uniform(-2, 4, 300)).tolist():
        lo = int(max(0.0, nu - rng.uniform(-3, 9) * math.sqrt(nu)))
        hi = lo + int(rng.uniform(0, 9) * math.sqrt(nu))
        exact = exact_below(lo, nu) + exact_above(hi, nu)
        assert relative(outside(lo, hi, nu), exact) < 1e-13, (lo, hi, nu)


@pytest.mark.parametrize("nu", MEANS)
def test_outside_the_support_hardly_anything_is_left_and_its_digits_are_right(nu):
    lo, hi = support(nu, 1e-15)
    assert relative(outside(lo, hi, nu), exact_below(lo, nu) + exact_above(hi, nu)) < 1e-12


def test_outside_an_empty_run_is_everything():
    assert [outside(3, 2, nu) for nu in (0.0, 2.0, 1e5)] == [1.0, 1.0, 1.0]


def test_outside_a_run_from_zero_is_the_upper_tail():
    assert outside(0, 0, 0.5) == pytest.approx(1 - math.exp(-0.5), rel=1e-14)
    assert outside(0, 1, 1e-9) == pytest.approx(5e-19, rel=1e-8)  # nu^2/2


@pytest.mark.parametrize(("lo", "hi", "expected"), [(0, 0, 0.0), (0, 3, 0.0), (1, 5, 1.0)])
def test_outside_at_mean_zero_is_whether_the_run_holds_zero(lo, hi, expected):
    assert outside(lo, hi, 0.0) == expected


@pytest.mark.parametrize(
    ("lo", "hi", "nu"), [(50, 55, 10.0), (0, 3, 60.0), (400, 410, 40.0), (1000, 1010, 1e3 / 3), (90_000, 90_100, 1e5)]
)
def test_outside_a_run_far_from_the_mean_is_everything_while_its_edge_is_a_double(lo, hi, nu):
    assert (hi - lo + 1) * max(exact_pmf(lo, nu), exact_pmf(hi, nu)) < 1e-13  # at least so much lies outside
    assert outside(lo, hi, nu) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize(
    ("lo", "hi", "nu"), [(330, 340, 10.0), (0, 5, 2000.0), (0, 3, 760.0), (3000, 3010, 10.0), (2, 5, 0.0)]
)
def test_outside_a_run_whose_edge_underflows_is_everything(lo, hi, nu):
    assert outside(lo, hi, nu) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("nu", [*MEANS, 1e-300, 1e-3, 0.999, 2.0, 15.5, 33.0, 1234.5, 54_321.0])
@pytest.mark.parametrize("tail", [1e-15, 1e-9])
def test_beyond_each_end_of_the_support_less_than_the_tail_is_left_and_no_count_is_wasted(nu, tail):
    lo, hi = support(nu, tail)
    assert exact_below(lo, nu) < tail
    assert exact_above(hi, nu) < tail
    # one count shorter would leave it out; a geometric series bounds a tail at z sigma only to about 1/z^2 < 0.03
    assert lo == 0 or exact_below(lo + 1, nu) >= 0.95 * tail
    assert hi == 0 or exact_above(hi - 1, nu) >= 0.95 * tail


def test_the_support_of_mean_zero_is_zero():
    assert support(0.0, 1e-15) == (0, 0)


@pytest.mark.parametrize("nu", [0.0, 1e-300, 1e-3, 0.999, 15.5, 1234.5, 54_321.0])
def test_an_enumeration_leaves_out_less_than_its_tail_beyond_each_end(nu):
    first, probability = poisson_run(nu)
    last = first + len(probability) - 1
    if nu == 0:
        assert (first, probability.tolist()) == (0, [1.0])
        return
    assert exact_below(first, nu) < TAIL
    assert exact_above(last, nu) < TAIL
    for k in np.unique(np.linspace(first, last, 40).astype(int)).tolist():
        assert relative(probability[k - first], exact_pmf(k, nu)) < 4e-15 + EPS * abs(k - nu), k
    assert math.fsum(probability) == pytest.approx(1.0, abs=1e-14 + 3 * EPS * math.sqrt(nu))


def test_several_enumerations_are_those_of_one_after_the_other():
    means = np.array([0.0, 3.5, 1e-300, 700.0, 3.5, 12_345.6, 0.2])
    first, offset, probability = poisson_runs(means)
    assert (len(first), len(offset), offset[0], offset[-1]) == (7, 8, 0, len(probability))
    for i, nu in enumerate(means.tolist()):
        lo, alone = poisson_run(nu)
        assert first[i] == lo
        assert probability[offset[i] : offset[i + 1]].tobytes() == alone.tobytes()
    assert [len(part) for part in poisson_runs(np.zeros(0))] == [0, 1, 0]


def test_the_ends_of_an_enumeration_never_fall_with_the_mean():
    # a table made for the smallest and the largest mean holds all between
    rng = np.random.default_rng(5)
    means = np.sort(np.concatenate([rng.uniform(0, 60, 4000), 10 ** rng.uniform(-6, 5, 2000)]))
    first, offset, _ = poisson_runs(means)
    assert (np.diff(first) >= 0).all()
    assert (np.diff(first + np.diff(offset)) >= 0).all()


@pytest.mark.parametrize(("n", "upper"), [(0, 2.30), (1, 3.89), (2, 5.32), (3, 6.68), (10, 15.41)])
def test_means_agree_with_the_pdg_table_at_90_percent(n, upper):
    # R. L. Workman et al. (Particle Data Group), PTEP 2022, 083C01, Table 40.3
    assert mean_upper([n], 0.10) == pytest.approx([upper], abs=5e-3)


@pytest.mark.parametrize("n", [0, 1, 5, 400, 100_000])
@pytest.mark.parametrize("tail", [0.5, 0.1, 1e-9])
def test_means_give_back_their_tails(n, tail):
    upper, lower = float(mean_upper([n], tail)[0]), float(mean_lower([n], tail)[0])
    slack = 4 * EPS * n  # the mean itself is rounded
    assert relative(exact_below(n + 1, upper), tail) < 1e-12 + slack * n
    assert lower == 0 if n == 0 else relative(exact_above(n - 1, lower), tail) < 1e-12 + slack * n


def test_there_is_no_posterior_without_events_background_and_a_proper_prior():
    # 1/s has no finite integral at 0; with one event the posterior is exponential: Narsky (2000), Eq. 9 with m = 1
    assert np.isnan(truncated_upper(np.array([0.0]), 0.0, 0.9)).all()
    assert truncated_upper(np.array([1.0]), 0.0, 0.9) == pytest.approx([math.log(10)], rel=1e-15)


def test_a_folder_of_cubes_named_coverage_does_not_hide_the_module_from_numba(tmp_path):
    (tmp_path / "coverage").mkdir()
    # as where no module coverage is installed: the folder is found as a namespace package
    found = (
        "import sys, importlib.machinery as m\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'coverage':\n"
        "            spec = m.ModuleSpec(name, None, is_package=True)\n"
        "            spec.submodule_search_locations = ['coverage']\n"
        "            return spec\n"
        "sys.meta_path.insert(0, Finder())\n"
        "import covsvc.kernels.belts\n"
    )
    ended = subprocess.run([sys.executable, "-c", found], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
