"""What limits with an unknown background are for: the argument of the paper's introduction and its comparisons.

Paper: S. Yellin, Phys. Rev. D 66 (2002) 032005.
"""

from math import exp, factorial

import numpy as np
import pytest
from scipy import stats

import covsvc
from covsvc import registry
from covsvc.contracts import Events

SIZE = 20_000
METHODS = [
    ("max_gap", {}),
    ("p_max", {}),
    ("optimum_interval", {}),
    ("p_max", {"crossing": "first"}),
    ("optimum_interval", {"crossing": "first"}),
    ("fixed_interval_n", {"n": 1}),
]


def draw(s_true, b=0.0, size=SIZE, seed=2002, **options):
    (events,) = registry.experiment("spectrum", options).toys(s_true, b, size, np.random.default_rng(seed))
    return events


def toy_of_each(events):
    return np.repeat(np.arange(len(events)), events.n)


def cut(events, low, high):
    """Return the events of a part of the range, in the cumulative spectrum of the part."""
    kept = (events.u >= low) & (events.u < high)
    n = np.bincount(toy_of_each(events)[kept], minlength=len(events))
    return Events(n, (events.u[kept] - low) / (high - low))


def upper(name, events, **options):
    return covsvc.limits(name, events, 0.9, **options).upper


def median_between(values):
    """Return two of the values, between which the median of their distribution is but for once in 1000."""
    rank = int(stats.binom.ppf(5e-4, len(values), 0.5))
    ordered = np.sort(values)
    return float(ordered[rank - 1]), float(ordered[-rank])


def agrees(found, chance):
    """Tell whether toys agree with a probability; by chance they do not once in 1000."""
    return stats.binomtest(int(found.sum()), len(found), chance).pvalue > 1e-3


@pytest.mark.parametrize("background", [{}, {"background_per_signal": 1.0}])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.2, 0.5), (0.5, 0.9)])
def test_an_interval_chosen_beforehand_covers(low, high, background):
    s_true, width = 10.0, high - low
    events = draw(s_true, **background)
    covered = upper("poisson", cut(events, low, high)) / width >= s_true
    # the background is uniform below 1/2
    mu = s_true * (width + (2 * (min(high, 0.5) - min(low, 0.5)) if background else 0))
    n = np.arange(100)
    enough = stats.poisson.cdf(n, s_true * width) >= 0.1
    exact = stats.poisson.pmf(n, mu)[enough].sum()
    assert exact > 0.9
    assert agrees(covered, exact)


def fewest_in_any_interval(events, width):
    """Return the smallest number of events of each toy in an interval of this width, wherever it is."""
    fewest = []
    for start, n in zip(events.starts.tolist(), events.n.tolist(), strict=False):
        u = events.u[start : start + n]
        lows = np.concatenate([[0.0], u[u < 1 - width]])  # open below but for the first, closed above
        inside = np.searchsorted(u, lows + width, side="left") - np.searchsorted(u, lows, side="right")
        inside[0] = np.searchsorted(u, width, side="left")
        last = n - np.searchsorted(u, 1 - width, side="right")
        fewest.append(min(int(inside.min()), last))
    return np.array(fewest)


def test_an_interval_chosen_by_looking_at_the_data_does_not_cover():
    s_true, width = 10.0, 0.3
    events = draw(s_true)
    fewest = fewest_in_any_interval(events, width)
    covered = upper("poisson", Events.of([np.linspace(0, 1, n) for n in fewest])) / width >= s_true
    # 3 events are expected: F(0; 3) = 0.0498, F(1; 3) = 0.199, so no event excludes and one does not. A place with no
    # event is found where the largest gap is larger than x = 3 of mu = 10, but for Eq. 2
    x, mu = 3.0, 10.0
    gap_is_smaller = sum((k * x - mu) ** k * exp(-k * x) / factorial(k) * (1 + k / (mu - k * x)) for k in range(4))
    assert gap_is_smaller == pytest.approx(0.631, abs=5e-4)
    assert agrees(covered, gap_is_smaller)
    # the largest gap chosen by looking at the data and known to be so: covers
    assert agrees(upper("max_gap", events) >= s_true, 0.9)


def test_the_optimum_interval_hardly_feels_where_the_range_is_cut_and_poisson_does():
    # as many background events as two signals, all in a tenth of the range
    events = draw(10.0, background_per_signal=2.0, background_edges=[0.0, 0.1])
    clean = cut(events, 0.1, 1.0)
    assert events.n.mean() > 3 * clean.n.mean()
    for name in ("optimum_interval", "p_max", "max_gap"):
        whole, part = median_between(upper(name, events)), median_between(upper(name, clean) / 0.9)
        assert whole[1] < 1.1 * part[0], name
    whole, part = median_between(upper("poisson", events)), median_between(upper("poisson", clean) / 0.9)
    assert whole[0] > 2 * part[1]


@pytest.mark.parametrize("mu", [10.0, 20.0])
def test_next_to_nothing_is_lost_where_the_background_is_distributed_as_the_signal(mu):
    events = draw(mu / 2, background_per_signal=1.0, background_edges=[0.0, 1.0])
    best, poisson = median_between(upper("optimum_interval", events)), median_between(upper("poisson", events))
    assert best[1] < 1.05 * poisson[0]
    assert best[0] > 0.95 * poisson[1]


@pytest.mark.parametrize("mu", [10.0, 20.0, 40.0])
def test_without_background_the_optimum_interval_is_the_strongest_of_its_kind(mu):
    events = draw(mu)
    best, second, third = (median_between(upper(name, events)) for name in ("optimum_interval", "p_max", "max_gap"))
    assert best[1] < second[0]
    assert second[1] < third[0]


@pytest.mark.parametrize("mu", [10.0, 20.0])
def test_with_background_in_half_of_the_range_poisson_is_the_weakest(mu):
    events = draw(mu, background_per_signal=1.0)
    best, second, third, weakest = (
        median_between(upper(name, events)) for name in ("optimum_interval", "p_max", "max_gap", "poisson")
    )
    assert best[1] < 1.03 * second[0]
    assert second[1] < 1.03 * best[0]
    assert max(best[1], second[1]) < third[0]
    assert third[1] < weakest[0]


@pytest.mark.parametrize("mu", [10.0, 20.0, 40.0])
def test_the_optimum_interval_makes_fewer_mistakes_than_the_maximum_gap(mu):
    events = draw(mu, background_per_signal=1.0)
    wrong = {name: upper(name, events) < mu for name in ("optimum_interval", "p_max", "max_gap", "poisson")}
    assert all(stats.binomtest(int(each.sum()), SIZE, 0.1).pvalue < 1e-6 for each in wrong.values())
    for fewer, more in (
        ("optimum_interval", "p_max"),
        ("optimum_interval", "max_gap"),
        ("poisson", "optimum_interval"),
    ):
        only_fewer = int((wrong[fewer] & ~wrong[more]).sum())
        only_more = int((wrong[more] & ~wrong[fewer]).sum())
        assert only_more > only_fewer
        assert stats.binomtest(only_fewer, only_fewer + only_more).pvalue < 1e-3, (fewer, more)


@pytest.mark.parametrize(("name", "options"), METHODS, ids=str)
def test_one_more_event_never_strengthens_a_limit(name, options):
    events = draw(6.0, size=2000)
    toys = np.split(events.u, events.starts[1:-1])
    rng = np.random.default_rng(2002)
    more = Events.of([[*toy, rng.uniform() ** 2] for toy in toys])
    before, after = upper(name, events, **options), upper(name, more, **options)
    assert (after >= before * (1 - 1e-9)).all()
    assert (after > before).mean() > 0.3


@pytest.mark.parametrize(("name", "options"), METHODS, ids=str)
def test_a_spectrum_that_is_read_from_its_other_end_has_the_same_limits(name, options):
    events = draw(6.0, size=2000, background_per_signal=1.0)
    toys = np.split(events.u, events.starts[1:-1])
    mirrored = Events.of([1.0 - toy for toy in toys])
    assert upper(name, mirrored, **options) == pytest.approx(upper(name, events, **options), rel=1e-9)
