import numpy as np
import pytest
import reference_gaps as reference
from scipy import stats

from covsvc.contracts import Events, Status
from covsvc.kernels.gaps import max_gap_cdf
from covsvc.methods.max_gap import MaxGap

LEVELS = [0.5, 0.9, 0.95, 1 - 1e-9]


def upper(toys, cl=0.9, b=0.0, v=None):
    return MaxGap().limits(Events.of(toys, b, v), cl).upper


def drawn(rng, mu, size, power=1.0):
    """Return events of signal with its own cdf to a power, n and u."""
    n = rng.poisson(mu, size)
    return n, np.concatenate([np.sort(rng.random(k) ** power) for k in n])


@pytest.mark.parametrize("cl", LEVELS)
def test_no_events_give_the_poisson_limit(cl):
    assert upper([[]], cl) == pytest.approx([-np.log(1 - cl)], rel=1e-15)


# C_0(mu/2, mu) = 1 - (1 + mu/2) exp(-mu/2)
@pytest.mark.parametrize("cl", LEVELS)
def test_one_event_in_the_middle_has_a_closed_form(cl):
    half = upper([[0.5]], cl)[0] / 2
    assert (1 + half) * np.exp(-half) == pytest.approx(1 - cl, rel=1e-12)


def test_agrees_with_equation_2_in_many_digits():
    toys = [[0.3], [0.1, 0.35, 0.8], [0.01, 0.02, 0.5, 0.51, 0.52], np.linspace(0.03, 0.97, 25)]
    gaps = [np.diff([0.0, *toy, 1.0]).max() for toy in toys]
    assert upper(toys, 0.95) == pytest.approx([float(reference.max_gap_limit(f, 0.95)) for f in gaps], rel=1e-12)


def test_events_at_the_ends_and_coincident_ones_are_no_trouble():
    none, middle = upper([[], [0.5]])
    assert upper([[0.0], [1.0], [0.0, 1.0], [0.0, 0.0, 1.0]]).tolist() == [none] * 4
    assert upper([[0.5] * 3, [0.0, 0.5, 0.5, 1.0]]).tolist() == [middle] * 2


def test_very_many_events_have_a_limit():
    u = np.sort(np.random.default_rng(1).random(100_000))
    limits = MaxGap().limits(Events([100_000, 0, 1_000_000], np.concatenate([u, np.full(1_000_000, 0.25)])), 0.9)
    assert (limits.status == Status.OK).all()
    f = np.diff([0.0, *u, 1.0]).max()
    missed = 1 - reference.max_gap_cdf(limits.upper[0] * f, limits.upper[0])
    assert float(missed) == pytest.approx(0.1, rel=1e-11)
    assert limits.upper[2] == upper([[0.25]])[0]


def test_limits_know_no_neighbours_and_leave_the_events_alone():
    rng = np.random.default_rng(2)
    n, u = drawn(rng, 4.0, 300)
    for v, b in ((None, 0.0), (u**3, 2.5)):
        before = u.copy()
        together = MaxGap().limits(Events(n, u, b, v), 0.9).upper
        starts = np.concatenate([[0], np.cumsum(n)])
        for toy in range(0, 300, 7):
            own = slice(starts[toy], starts[toy + 1])
            alone = MaxGap().limits(Events(n[toy : toy + 1], u[own], b, None if v is None else v[own]), 0.9).upper
            assert alone[0] == together[toy]
        assert (u == before).all()


# width: exact binomial, the smallest p of all times their number
def test_covers_exactly_without_unknown_background():
    rng = np.random.default_rng(3)
    p = []
    for mu in (0.5, 1.5, 3.0, 10.0, 40.0):
        events = Events(*drawn(rng, mu, 8000))
        for cl in (0.68, 0.9, 0.99):
            covers = int(MaxGap().limits(events, cl).cover(mu).sum())
            if mu < -np.log(1 - cl):
                assert covers == 8000
            else:
                p.append(stats.binomtest(covers, 8000, cl).pvalue)
    assert min(p) * len(p) > 1e-3


def test_covers_more_with_unknown_background():
    rng = np.random.default_rng(4)
    signal = np.split(*(lambda n, u: (u, np.cumsum(n)[:-1]))(*drawn(rng, 5.0, 4000)))
    background = np.split(*(lambda n, u: (u, np.cumsum(n)[:-1]))(*drawn(rng, 5.0, 4000, power=3.0)))
    both = Events.of([np.concatenate(parts) for parts in zip(signal, background, strict=True)])
    less = MaxGap().limits(Events.of(signal), 0.9).upper
    assert (MaxGap().limits(both, 0.9).upper >= less).all()
    assert MaxGap().limits(both, 0.9).cover(5.0).mean() > 0.93


# the events of both are uniform in (s u + b v) / (s + b)
def test_covers_at_least_over_a_known_background_of_another_shape():
    rng = np.random.default_rng(5)
    s, b, size = 3.0, 4.0, 8000
    toys = [np.concatenate([rng.random(rng.poisson(s)), rng.random(rng.poisson(b)) ** (1 / 3)]) for _ in range(size)]
    covers = int(MaxGap().limits(Events.of(toys, b, [toy**3 for toy in toys]), 0.9).cover(s).sum())
    assert stats.binomtest(covers, size, 0.9, alternative="less").pvalue > 1e-3
    excluded = [max_gap_cdf(reference.largest_gap_over_background(s, t, t**3, b), s + b) for t in map(np.sort, toys)]
    assert stats.binomtest(int((np.array(excluded) > 0.9).sum()), size, 0.1).pvalue > 1e-3


def test_background_weighs_like_signal_of_its_shape():
    assert upper([[0.5], []], b=1.5, v=[[0.5], []]) == pytest.approx(upper([[0.5], []]) - 1.5, rel=1e-13)
    assert upper([[0.5]], b=1e-300, v=[[0.9]]) == pytest.approx(upper([[0.5]]), rel=1e-14)


def test_turning_the_range_round_changes_nothing():
    toys = [[0.3], [0.1, 0.35, 0.8], []]
    turned = [[1 - u for u in toy] for toy in toys]
    assert upper(turned) == pytest.approx(upper(toys), rel=1e-14)
    v = [[u**2 for u in toy] for toy in toys]
    turned_v = [[1 - u**2 for u in toy] for toy in toys]
    assert upper(turned, b=2.0, v=turned_v) == pytest.approx(upper(toys, b=2.0, v=v), rel=1e-13)


def test_tells_the_events_on_both_sides_of_the_deciding_gap():
    left, right = MaxGap().intervals(Events.of([[0.2, 0.3, 0.9], [], [0.8], [0.1, 0.1]]), 0.9)
    assert left.tolist() == [1, -1, -1, 1]
    assert right.tolist() == [2, 0, 0, 2]


def test_the_deciding_gap_is_largest_at_the_limit():
    # at s = 0 the upper gap holds 0.9 of all, but signal fills the lower one
    observed = Events.of([[0.6], [0.6]], 1.0, [[0.1], [0.6]])
    left, right = MaxGap().intervals(observed, 0.9)
    s = MaxGap().limits(observed, 0.9).upper
    assert (0.6 * s + [0.1, 0.6] > 0.4 * s + [0.9, 0.4]).all()
    assert (left.tolist(), right.tolist()) == ([-1, -1], [0, 0])


def test_too_large_a_gap_in_the_background_leaves_no_signal_and_says_so():
    observed = Events.of([[0.5], [0.5], []], 8.0, [[0.1], [0.5], []])
    limits = MaxGap().limits(observed, 0.9)
    assert limits.status.tolist() == [Status.EMPTY, Status.EMPTY, Status.EMPTY]
    words = MaxGap().explain(observed, 0.9)
    assert words[0].startswith("7.2 of the b = 8 expected background events fall into a gap")
    assert MaxGap().explain(Events.of([[0.5], []]), 0.9) == ["", ""]
    assert MaxGap().intervals(observed, 0.9)[0].tolist() == [0, -1, -1]


@pytest.mark.parametrize("b", [1e-300, 1e-6, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("cl", LEVELS)
def test_every_observation_has_an_answer(b, cl):
    rng = np.random.default_rng(6)
    toys = [[], [0.0], [1.0], [0.0, 1.0], [0.5] * 4, rng.random(1000), np.full(50, 1e-12), 1 - rng.random(30) * 1e-15]
    for power in (1e-3, 1.0, 1e3):
        limits = MaxGap().limits(Events.of(toys, b, [np.asarray(toy) ** power for toy in toys]), cl)
        assert np.isin(limits.status, [Status.OK, Status.EMPTY]).all()
        assert np.isfinite(limits.upper).all()
