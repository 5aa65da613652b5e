"""Densities on a line and in a plane: their integrals, and events drawn from them."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import integrate, special, stats

from covsvc.kernels.densities import (
    Box,
    Line,
    Peak,
    Slope,
    count_plane,
    draw_line,
    draw_peak,
    draw_plane,
    draw_signal_on_line,
    draw_slope,
    gaussian_above_zero,
    line_cdf,
    line_inside,
    line_ratios,
    peak_density,
    peak_inside,
    slope_density,
    slope_of,
)

LINES = [Line(10.0, 0.0, 1.0), Line(2.0, 1.5, 0.7), Line(1.0, -1.0, 1.0), Line(5.0, 0.3, 0.01)]
BOX = Box(-200.0, 200.0, -500.0, 300.0)
PEAKS = [
    Peak(0.0, 0.0, 20.0, 50.0, 0.5, 0.7, 0.3, 2.0, 1.5),
    Peak(10.0, -20.0, 25.0, 40.0, -0.8, 1.0, 0.0, 1.0, 1.0),
    Peak(0.0, 0.0, 20.0, 50.0, 0.0, 0.0, 1.0, 1.0, 3.0),
    Peak(190.0, 290.0, 30.0, 60.0, 0.95, 0.5, 0.5, 3.5, 0.5),
    Peak(0.0, 280.0, 20.0, 10.0, 0.999, 1.0, 0.0, 2.0, 1.0),
]
SLOPES = [(1.0, 0.0, 0.0), (1.0, -0.001, -100.0), (3.0, 0.005, 10.0), (1.0, 0.00199, -0.0)]


def rng(seed=1999):
    return np.random.default_rng(seed)


def bivariate(m, E, peak):
    """Return Eq. 45 and 48 of Narsky (2000), written out with distributions of scipy."""
    covariance = [
        [peak.sigma_m**2, peak.rho * peak.sigma_m * peak.sigma_E],
        [peak.rho * peak.sigma_m * peak.sigma_E, peak.sigma_E**2],
    ]
    core = stats.multivariate_normal([peak.m0, peak.E0], covariance).pdf(np.stack([m, E], -1))
    tail = stats.gamma(peak.alpha, scale=peak.beta).pdf((peak.E0 - E) / peak.sigma_E) / peak.sigma_E
    return peak.A * core + peak.B * stats.norm(peak.m0, peak.sigma_m).pdf(m) * tail


def chi2_of(observed, expected):
    """Return p of Pearson's chi2, bins with fewer than ten expected events together."""
    large = expected >= 10
    o, e = (np.append(values[large], values[~large].sum()) for values in (observed, expected))
    kept = e > 0
    return stats.chi2.sf(((o - e)[kept] ** 2 / e[kept]).sum(), kept.sum() - 1)


@pytest.mark.parametrize("line", LINES)
def test_the_signal_on_a_line_is_a_gaussian_cut_off_at_the_ends(line):
    within = stats.truncnorm(*((np.array([-1, 1]) * line.half_width - line.mean) / line.width), line.mean, line.width)
    x = np.linspace(-line.half_width, line.half_width, 201)
    assert line_ratios(x, line) / (2 * line.half_width) == pytest.approx(within.pdf(x), rel=1e-11, abs=1e-300)
    assert line_cdf(x, line) == pytest.approx(within.cdf(x), rel=1e-9, abs=1e-15)
    assert line_inside(line) == pytest.approx(
        integrate.quad(stats.norm(line.mean, line.width).pdf, -line.half_width, line.half_width, points=[line.mean])[0],
        rel=1e-8,
    )
    drawn = draw_signal_on_line(50_000, line, rng())
    assert stats.kstest(drawn, within.cdf).pvalue > 1e-3


def test_a_cdf_never_falls_where_places_rise():
    near = 0.3 + np.arange(100_000) * 2.0**-52
    u = line_cdf(near, LINES[0])
    assert (np.diff(u) >= 0).all()
    assert line_cdf(np.array([-10.0, 10.0, -10.0]), LINES[0]).tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(("s", "b"), [(3.0, 5.0), (0.0, 4.0), (6.0, 0.0), (90.0, 1.0)])
def test_events_on_a_line_have_poisson_numbers_and_the_mixed_distribution(s, b):
    line, size = Line(10.0, 1.0, 1.5), 20_000
    n, x, inner, outer = draw_line(s, b, size, line, 2.5, 5.0, rng())
    assert len(x) == n.sum()
    toy = np.repeat(np.arange(size), n)
    assert ((np.diff(x) >= 0) | (np.diff(toy) > 0)).all()
    assert_array_equal(inner, np.bincount(toy[np.abs(x) < 2.5], minlength=size))
    assert_array_equal(outer, np.bincount(toy[np.abs(x) > 5], minlength=size))
    signal = stats.truncnorm(-11 / 1.5, 9 / 1.5, 1.0, 1.5)
    assert stats.kstest(x, lambda at: (s * signal.cdf(at) + b * (at + 10) / 20) / (s + b)).pvalue > 1e-3
    region = s * (signal.cdf(2.5) - signal.cdf(-2.5)) + b / 4
    for counts, mean in ((n, s + b), (inner, region)):
        values = np.arange(counts.max() + 1)
        assert chi2_of(np.bincount(counts), size * stats.poisson.pmf(values, mean)) > 1e-3


def test_places_are_drawn_again_where_memory_was_too_small():
    drawn = [draw_line(3.0, 5.0, 100, LINES[0], 2.5, 5.0, rng(), room) for room in (0, 1, 400)]
    for other in drawn[1:]:
        for one, same in zip(drawn[0], other, strict=True):
            assert_array_equal(one, same)


def test_nothing_expected_nothing_drawn():
    n, x, *_ = draw_line(0.0, 0.0, 50, LINES[0], 2.5, 5.0, rng())
    assert (n.sum(), len(x)) == (0, 0)
    n, m, _ = draw_plane(0.0, 0.0, 50, PEAKS[0], slope_of(1.0, 0.0, 0.0, BOX), BOX, rng())
    assert (n.sum(), len(m)) == (0, 0)
    assert len(draw_line(1.0, 1.0, 0, LINES[0], 2.5, 5.0, rng())[1]) == 0


@pytest.mark.parametrize("peak", PEAKS)
def test_the_peak_is_that_of_the_paper(peak):
    m, E = (axis.ravel() for axis in np.meshgrid(np.linspace(-199, 199, 41), np.linspace(-499, 299, 57)))
    assert peak_density(m, E, peak) == pytest.approx(bivariate(m, E, peak), rel=1e-10, abs=1e-200)


def integral(peak, box):
    """Return the integral of the peak over a box: of the Gaussian in E at each m, then by quadrature over m."""
    m, E = stats.norm(peak.m0, peak.sigma_m), stats.gamma(peak.alpha, scale=peak.beta)
    narrow = peak.sigma_E * np.sqrt(1 - peak.rho**2)
    tail = (
        np.diff(m.cdf([box.m1, box.m2]))[0] * -np.diff(E.cdf((peak.E0 - np.array([box.E1, box.E2])) / peak.sigma_E))[0]
    )

    def column(x):
        reached = (np.array([box.E1, box.E2]) - peak.E0 - peak.sigma_E * peak.rho * x) / narrow
        return np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi) * np.diff(special.ndtr(reached))[0]

    ends = (np.array([box.m1, box.m2]) - peak.m0) / peak.sigma_m
    cuts = np.unique(np.clip([*ends, *np.linspace(-8, 8, 161)], *ends))
    core = sum(integrate.quad(column, a, b, epsabs=1e-13)[0] for a, b in pairwise(cuts))
    return peak.A * core + peak.B * tail


@pytest.mark.parametrize("peak", PEAKS)
def test_the_part_of_the_peak_in_a_box_is_its_integral(peak):
    for box in (BOX, Box(-60.0, 60.0, -300.0, 100.0), Box(-10.0, 5.0, 3.0, 40.0), Box(0.0, 70.0, 0.0, 280.0)):
        assert peak_inside(peak, box) == pytest.approx(integral(peak, box), abs=1e-11)


def test_a_quarter_of_the_peak_is_known_in_closed_form():
    # W. F. Sheppard (1899): P(x < 0, y < 0) = 1/4 + arcsin(rho) / (2 pi)
    for rho in (-0.9999, -0.5, 0.0, 0.3, 0.9999):
        peak = Peak(1.0, 2.0, 20.0, 50.0, rho, 1.0, 0.0, 1.0, 1.0)
        inside = peak_inside(peak, Box(-1e5, 1.0, -1e5, 2.0))
        assert inside == pytest.approx(0.25 + np.arcsin(rho) / (2 * np.pi), abs=1e-14)


def test_a_peak_within_a_wide_box_has_an_integral_of_1():
    wide = Box(-2000.0, 2000.0, -5e4, 5e3)
    for peak in PEAKS:
        assert peak_inside(peak, wide) == pytest.approx(1.0, abs=1e-10)


@pytest.mark.parametrize("peak", PEAKS)
def test_drawn_signal_events_have_the_density_of_the_peak(peak):
    size = 100_000
    m, E = draw_peak(size, peak, BOX, rng())
    assert ((m > -200) & (m < 200) & (E > -500) & (E < 300)).all()
    edges = np.linspace(-200, 200, 21), np.linspace(-500, 300, 21)
    observed = np.histogram2d(m, E, edges)[0]
    expected = [
        [peak_inside(peak, Box(*edges[0][i : i + 2], *edges[1][j : j + 2])) for j in range(20)] for i in range(20)
    ]
    assert chi2_of(observed.ravel(), size * np.array(expected).ravel() / peak_inside(peak, BOX)) > 1e-3


@pytest.mark.parametrize(("a0", "a1", "at"), SLOPES)
def test_the_normalisation_of_the_paper_is_the_integral(a0, a1, at):
    # Narsky (2000), Eq. 49, as printed: (a0 - a1 E') (E2 - E1) + a1 (E2^2 - E1^2) / 2
    slope = slope_of(a0, a1, at, BOX)
    total = integrate.quad(lambda E: a0 + a1 * (E - at), BOX.E1, BOX.E2)[0]
    E = np.array([-500.0, -20.0, 300.0])
    assert slope_density(E, slope, BOX) == pytest.approx((a0 + a1 * (E - at)) / total / 400, rel=1e-12, abs=1e-18)
    one = integrate.quad(lambda at: slope_density(np.array([at]), slope, BOX)[0] * 400, BOX.E1, BOX.E2)[0]
    assert one == pytest.approx(1.0, rel=1e-13)


@pytest.mark.parametrize(("a0", "a1", "at"), SLOPES)
def test_drawn_background_events_are_flat_in_m_and_linear_in_energy(a0, a1, at):
    slope = slope_of(a0, a1, at, BOX)
    m, E = draw_slope(50_000, slope, BOX, rng())
    assert stats.kstest(m, stats.uniform(-200, 400).cdf).pvalue > 1e-3
    below = E - BOX.E1
    cdf = below * slope.at_low + 0.5 * slope.slope * below**2
    assert stats.kstest(cdf, "uniform").pvalue > 1e-3
    assert abs(stats.spearmanr(m, E).statistic) < 4 / math.sqrt(len(m))


def test_toys_in_the_plane_have_poisson_numbers_of_both_kinds():
    size, slope = 20_000, slope_of(1.0, -0.001, -100.0, BOX)
    n, m, E = draw_plane(4.0, 6.0, size, PEAKS[0], slope, BOX, rng())
    assert chi2_of(np.bincount(n), size * stats.poisson.pmf(np.arange(n.max() + 1), 10.0)) > 1e-3
    box = Box(-60.0, 60.0, -300.0, 100.0)
    inside, outer = count_plane(n, m, E, box, -80.0, 80.0)
    toy = np.repeat(np.arange(size), n)
    assert_array_equal(inside, np.bincount(toy[(np.abs(m) < 60) & (E > -300) & (E < 100)], minlength=size))
    assert_array_equal(outer, np.bincount(toy[np.abs(m) >= 80], minlength=size))
    mean = 4.0 * peak_inside(PEAKS[0], box) / peak_inside(PEAKS[0], BOX) + 6.0 * 0.15
    assert chi2_of(np.bincount(inside), size * stats.poisson.pmf(np.arange(inside.max() + 1), mean)) > 1e-3


def test_a_flat_slope_is_uniform_and_an_almost_flat_one_nearly():
    exact = draw_slope(1000, Slope(1 / 800, 0.0), BOX, rng())[1]
    nearly = draw_slope(1000, slope_of(1.0, 1e-13, 0.0, BOX), BOX, rng())[1]
    assert nearly == pytest.approx(exact, abs=1e-6)


def test_a_gaussian_above_zero_is_cut_off_there():
    estimates = gaussian_above_zero(4.0, 0.5, 50_000, rng())
    assert stats.kstest(estimates, stats.truncnorm(-2.0, np.inf, 4.0, 2.0).cdf).pvalue > 1e-3
    assert gaussian_above_zero(0.0, 0.5, 3, rng()).tolist() == [0.0, 0.0, 0.0]
