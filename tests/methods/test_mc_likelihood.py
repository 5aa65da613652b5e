from dataclasses import dataclass

import numpy as np
import pytest
from reference_fitted_signal import (
    background_positions,
    fitted,
    gaussian_ratio,
    narsky_positions,
    share_above,
    signal_positions,
    window_fit,
    window_upper,
)
from scipy import stats

from covsvc.contracts import ModelledEvents, Status, calibration_of
from covsvc.kernels.signal_estimates import signals_at
from covsvc.kernels.unbinned import fit_events
from covsvc.methods.mc_likelihood import STEP, MCLikelihood

SMALL = MCLikelihood(n_toys=4000, largest_s=16, largest_b=20)
TINY = {"n_toys": 200, "largest_s": 8, "largest_b": 8}


@dataclass(frozen=True)
class GaussianOnFlat:
    key = "Gaussian of width 1 at 0 on (-10, 10)"

    def signal_ratios(self, size, rng):
        return gaussian_ratio(signal_positions(size, rng))

    def background_ratios(self, size, rng):
        return gaussian_ratio(background_positions(size, rng))


@dataclass(frozen=True)
class Window:
    """A window with the shares a of signal and c of background; constant densities inside and outside."""

    a: float
    c: float

    @property
    def key(self):
        return str(self)

    @property
    def ratios(self):
        return np.array([self.a / self.c if self.c else np.inf, (1 - self.a) / (1 - self.c)])

    def signal_ratios(self, size, rng):
        return self.ratios[(rng.random(size) >= self.a).astype(int)]

    def background_ratios(self, size, rng):
        return self.ratios[(rng.random(size) >= self.c).astype(int)]

    def counted(self, pairs):
        return ModelledEvents.of([np.repeat(self.ratios, pair) for pair in pairs], self)


GAUSSIAN = GaussianOnFlat()


def at(positions, model=GAUSSIAN):
    return ModelledEvents.of([gaussian_ratio(np.asarray(x, float)) for x in positions], model)


def drawn(s, b, size, seed):
    rng = np.random.default_rng(seed)
    n, m = rng.poisson(s, size), rng.poisson(b, size)
    is_signal = np.concatenate([np.repeat([True, False], pair) for pair in zip(n, m, strict=True)])
    x = np.where(is_signal, signal_positions(is_signal.size, rng), background_positions(is_signal.size, rng))
    return ModelledEvents(n + m, gaussian_ratio(x), GAUSSIAN)


POSITIONS = [
    [],
    [0.0],
    [3.0],
    [0.0, 0.0, 0.0],
    [1.0, 2.0, 3.0],
    [0.0, 0.5, 3.0],
    [0.0, 0.0, 0.0, 2.7],
    [6.0, -8.0, 9.0],
    narsky_positions(0, 3),
    narsky_positions(2, 1),
    narsky_positions(4, 2),
    narsky_positions(5, 5),
    [-0.3, 0.2, 1.1, -1.6, 2.2, -2.9, 4.0, -6.0, 7.0],
]


# as many experiments as Narsky draws for each s_0 in Section 4
@pytest.mark.parametrize("cl", [0.68, 0.9, 0.95])
def test_a_larger_fitted_signal_has_probability_cl_at_the_limit(cl):
    experiments = 50_000
    limits = SMALL.limits(at(POSITIONS), cl)
    error = calibration_of(SMALL, GAUSSIAN, cl).error
    assert error < 0.003
    rng = np.random.default_rng(2000)
    deviates = []
    for x, upper in zip(POSITIONS, limits.upper, strict=True):
        s = fitted(gaussian_ratio(np.asarray(x, float)))
        found = share_above(s, upper, len(x) - s, experiments, rng)
        deviates.append((found - cl) / np.hypot(np.sqrt(cl * (1 - cl) / experiments), error))
    assert 2 * stats.norm.sf(np.abs(deviates).max()) * len(deviates) > 1e-3, deviates


# P(N > n) = cl: half a quantile of chi squared of 2 n + 2 degrees of freedom
@pytest.mark.parametrize("cl", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("events_outside", [0, 7])
def test_is_the_classical_limit_of_a_count_where_signal_and_background_do_not_mix(cl, events_outside):
    n = np.arange(5)
    limits = MCLikelihood(n_toys=2000, largest_s=14, largest_b=8).limits(
        Window(1.0, 0.0).counted([(k, events_outside) for k in n]), cl
    )
    assert limits.upper == pytest.approx(stats.chi2.isf(1 - cl, 2 * n + 2) / 2, abs=2e-6)


# b_hat = 0 and s_hat = n, but a signal event beyond 2.04 is background to a fit of its own: r < 1
def test_no_events_leave_somewhat_more_signal_than_a_count():
    alone = 2 * stats.norm.sf(np.sqrt(2 * np.log(20 / np.sqrt(2 * np.pi))))
    assert -np.log(0.1) < SMALL.limits(at([[]]), 0.9).upper[0] < -np.log(0.1) / (1 - alone)


def test_agrees_with_enumerated_counts_where_densities_are_constant_inside_and_outside_of_a_window():
    a, c = 0.9, 0.3
    pairs = [(0, 0), (1, 0), (0, 1), (1, 1), (2, 1), (3, 0), (2, 4), (1, 7), (5, 3), (4, 6)]
    for cl in (0.68, 0.9):
        limits = SMALL.limits(Window(a, c).counted(pairs), cl)
        exact = np.array([window_upper(k, m, a, c, cl) for k, m in pairs])
        pulls = (limits.upper - exact) / limits.error
        assert 2 * stats.norm.sf(np.abs(pulls).max()) * len(pairs) > 1e-3, pulls
        assert (limits.error < 0.06).all()


def test_is_empty_where_background_alone_gives_more_signal_too_often():
    a, c, pairs = 1.0, 0.8, [(1, 1), (3, 0)]
    assert [window_upper(*pair, a, c, 0.5) >= 0 for pair in pairs] == [False, True]
    assert window_fit(1, 1, a, c) == 0.0
    method, observed = MCLikelihood(**TINY), Window(a, c).counted(pairs)
    assert method.limits(observed, 0.5).status.tolist() == [Status.EMPTY, Status.OK]
    assert method.explain(observed, 0.5)[0] == (
        "no signal is left: with b = 2 alone a fitted signal above 0 has a probability above 0.5"
    )


# chi squared of the limits from independent toys about their mean
def test_errors_are_the_scatter_from_seed_to_seed():
    seeds, observed = 12, at(POSITIONS[:11])
    methods = [MCLikelihood(n_toys=1000, largest_s=12, largest_b=10, seed=seed) for seed in range(seeds)]
    found = [method.limits(observed, 0.9) for method in methods]
    upper, error = np.array([each.upper for each in found]), np.array([each.error for each in found])
    excess = ((upper - upper.mean(0)) ** 2).sum(0) / (error**2).mean(0)
    assert stats.chi2.sf(excess, seeds - 1).min() * len(excess) > 1e-3, excess
    assert stats.chi2.cdf(excess, seeds - 1).min() * len(excess) > 1e-3, excess


WIDE = MCLikelihood(n_toys=4000, largest_s=30, largest_b=36)
"""Reaches as far as the experiments that are drawn below."""


# Eq 20 is a statement about the fitted background; what is amiss in coverage comes from its scatter about the true one
@pytest.mark.parametrize(("s", "b"), [(3.2, 3.0), (6.0, 3.0), (8.5, 4.0), (6.0, 12.0)])
def test_covers_exactly_if_the_fitted_background_is_the_true_one(s, b):
    toys = 20_000
    observed = drawn(s, b, toys, 8)
    fit, _, _ = fit_events(observed.starts, observed.density_ratio)
    calibration = calibration_of(WIDE, GAUSSIAN, 0.9)
    edge, is_atom, *tables = (calibration.arrays[name] for name in ("edge", "is_atom", "signal", "error"))
    upper, _ = signals_at(fit, np.full(toys, b), edge, is_atom, STEP, *tables)
    deviate = ((upper >= s).mean() - 0.9) / np.hypot(np.sqrt(0.09 / toys), calibration.error)
    assert 2 * stats.norm.sf(np.abs(deviate)) > 1e-3


# not at every signal: where few background events are expected, the fit often has none
@pytest.mark.parametrize(("s", "b"), [(0.3, 4.0), (2.5, 0.0), (5.0, 8.0), (8.0, 16.0)])
def test_covers_asymptotically(s, b):
    toys = 10_000
    limits = WIDE.limits(drawn(s, b, toys, 7), 0.9)
    assert (limits.status != Status.FAILED).mean() > 0.999
    error = calibration_of(WIDE, GAUSSIAN, 0.9).error
    assert stats.binom.cdf(limits.cover(s).sum(), toys, 0.9 - 3 * error) > 1e-3


def test_has_the_same_bits_again_and_in_any_batch():
    method, observed = MCLikelihood(**TINY), at(POSITIONS)
    limits = method.limits(observed, 0.9)
    for i, x in enumerate(POSITIONS):
        alone = method.limits(at([x]), 0.9)
        assert [alone.upper[0], alone.error[0]] == pytest.approx([limits.upper[i], limits.error[i]], abs=0, nan_ok=True)
    first, second = method.calibrate(GAUSSIAN, 0.9), method.calibrate(GAUSSIAN, 0.9)
    assert first.error == second.error
    assert all((first.arrays[name] == second.arrays[name]).all() for name in first.arrays)
    other = MCLikelihood(**TINY, seed=4).calibrate(GAUSSIAN, 0.9)
    assert (first.arrays["signal"] != other.arrays["signal"]).any()


def test_higher_confidence_never_tightens():
    observed = drawn(2.0, 3.0, 1000, 11)
    lower, higher = (MCLikelihood(**TINY).limits(observed, cl).upper for cl in (0.9, 0.95))
    held = np.isfinite(higher)
    assert held.mean() > 0.5
    assert (lower[held] <= higher[held]).all()


def test_fails_and_says_why():
    method = MCLikelihood(**TINY)
    far = np.linspace(3, 9, 9)
    observed = at([[0.0], np.zeros(6), np.zeros(9), far])
    assert method.limits(observed, 0.9).status.tolist() == [Status.OK, *[Status.FAILED] * 3]
    assert method.explain(observed, 0.9) == [
        "",
        "the limit lies above largest_s = 8: give a larger one, up to 200",
        "the limit lies above largest_s = 8: give a larger one, up to 200",
        "the fitted background 9 is above largest_b = 8: give a larger one, up to 1000",
    ]
    assert method.explain(at([[0.0]]), 0.999)[0].startswith("the toys leave a standard error of 0.00")
    assert "give more than n_toys = 200" in method.explain(at([[0.0]]), 0.999)[0]
    alone = at([[0.0], []], None)
    assert method.limits(alone, 0.9).status.tolist() == [Status.FAILED] * 2
    assert method.explain(alone, 0.9) == ["no toys can be drawn: there is no model of the densities"] * 2


def test_what_is_known_of_the_background_is_not_used():
    ratio = gaussian_ratio(np.array([0.0, 1.0, 4.0, 6.0]))
    known = ModelledEvents([4], ratio, GAUSSIAN, b=1.0, b_error=0.1)
    assert SMALL.limits(known, 0.9).upper == SMALL.limits(ModelledEvents([4], ratio, GAUSSIAN), 0.9).upper


def test_no_toys_have_no_limits():
    limits = MCLikelihood(**TINY).limits(ModelledEvents.of([], GAUSSIAN), 0.9)
    assert len(limits) == 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"n_toys": 99}, "n_toys"),
        ({"n_toys": 10**8}, "n_toys"),
        ({"seed": -1}, "seed"),
        ({"largest_s": 0.5}, "largest_s"),
        ({"largest_s": float("nan")}, "largest_s"),
        ({"largest_s": 201}, "largest_s"),
        ({"largest_b": float("inf")}, "largest_b"),
        ({"largest_b": 0}, "largest_b"),
    ],
)
def test_refuses_options_that_make_no_sense(options, named):
    with pytest.raises(ValueError, match=f"^{named}"):
        MCLikelihood(**options)
