"""Optimum interval, pMax and fixed interval, against closed forms and tables made by hand."""

import numpy as np
import pytest
import reference_intervals as reference
from numpy.testing import assert_array_equal
from scipy import optimize, special

from covsvc.contracts import Events, Status
from covsvc.errors import StudyError
from covsvc.interval_tables import Calibrated, IntervalTable, write_table
from covsvc.methods.fixed_interval_n import FixedIntervalN
from covsvc.methods.optimum_interval import OptimumInterval
from covsvc.methods.p_max import PMax
from covsvc.registry import OptionError, method

CL = 0.9
TOYS = [[], [0.5], [0.01], [0.3, 0.4], [0.1, 0.2, 0.9], [0.0, 1.0], [0.5, 0.5, 0.5]]

# mu from which on 1 event in the whole range excludes as a Poisson count, and the atom of C_Max ends: P(N <= 1) = 0.1,
# and P(C_Max < P(N >= 2)) = 0.9; of p_Max the latter
T_1, E_1, P_1 = 3.889720, 4.345574, 5.265779


def gap(c, mu):
    """Return the x <= mu with C_0(x, mu) = c: Yellin's Eq. 2, of whose terms those up to k = 2 count for x >= mu/3."""

    def excess(x):
        second = (2 * x - mu) * (2 * x - mu - 2) * np.exp(-2 * x) / 2 if 2 * x < mu else 0.0
        return 1 - (1 + mu - x) * np.exp(-x) + second - c

    return optimize.brentq(excess, mu / 3, mu)


def table_by_hand(cl=CL):
    """Return a table that is exact for C_0 up to E_1 and of a likely shape elsewhere."""
    start = -np.log(1 - cl)
    mu = np.unique(np.concatenate([np.linspace(start, E_1, 400), [T_1, E_1, P_1], np.linspace(E_1, 12, 300)]))
    mu[np.argmin(abs(mu - start))] = start
    value = np.where(mu <= T_1, cl, 1 - (1 + mu) * np.exp(-mu))
    g = np.minimum(special.gammaincinv(np.arange(1, 7), 0.93) / mu[:, None], 1.0)
    below = mu <= E_1
    g[below, 0] = [gap(c, m) / m if m > start else 1.0 for m, c in zip(mu[below], value[below], strict=True)]
    ends = np.array([start, E_1, 6.1, 7.6, 9.2, 11.0])
    g = np.where(mu[:, None] <= ends, 1.0, g)
    p_ends = np.array([start, P_1, 7.0, 8.6, 10.0, 11.5])
    p_bar = np.clip(1 - (1 + mu) * np.exp(-mu), cl, 0.966)
    fixed = np.linspace(start, 12, 800)
    fixed_g = np.ones((len(fixed), 2))
    fixed_g[1:, 0] = [gap(cl, m) / m for m in fixed[1:]]
    fixed_g[:, 1] = np.minimum(special.gammaincinv(2, cl) / fixed, 1.0)
    return IntervalTable(
        cl,
        Calibrated(mu, value, np.linspace(1e-4, 3e-4, len(mu)), g, np.array([start, T_1, 5.3, 6.7, 8.0, 9.3]), ends),
        Calibrated(mu, p_bar, np.linspace(2e-4, 4e-4, len(mu)), np.ones((len(mu), 6)), p_ends - 0.1, p_ends),
        fixed,
        fixed_g,
        {"seed": 1, "toys": 1000, "version": "by hand"},
    )


@pytest.fixture(autouse=True)
def tables(tmp_path, monkeypatch):
    write_table(table_by_hand(), tmp_path)
    monkeypatch.setenv("COVSVC_TABLES", str(tmp_path))


FAMILY = [
    OptimumInterval(),
    OptimumInterval(crossing="first"),
    PMax(),
    PMax(crossing="first"),
    FixedIntervalN(),
    FixedIntervalN(n=1),
]


@pytest.mark.parametrize("each", FAMILY)
def test_no_events_give_the_poisson_limit(each):
    n = getattr(each, "n", 0)
    limits = each.limits(Events.of([[]]), CL)
    assert limits.upper == pytest.approx([special.gammaincinv(n + 1, CL)], rel=1e-9)
    assert limits.status.tolist() == [Status.OK]
    assert [side.tolist() for side in each.intervals(Events.of([[]]), CL)] == [[-1], [0]]


@pytest.mark.parametrize(
    ("each", "end"), [(OptimumInterval(), E_1), (OptimumInterval(crossing="first"), E_1), (PMax(), P_1)]
)
def test_one_event_whose_whole_range_decides_gives_the_end_of_the_atom(each, end):
    observed = Events.of([[0.5], [0.4]])
    assert each.limits(observed, CL).upper.tolist() == [end, end]
    assert [side.tolist() for side in each.intervals(observed, CL)] == [[-1, -1], [1, 1]]


# below T_1 the optimum interval is the maximum gap: (1 + mu - x) exp(-x) = 0.1 at x = 0.99 mu
@pytest.mark.parametrize("crossing", ["last", "first"])
def test_one_event_at_the_edge_is_decided_by_the_gap(crossing):
    exact = optimize.brentq(lambda mu: (1 + 0.01 * mu) * np.exp(-0.99 * mu) - 0.1, 2, 3)
    observed = Events.of([[0.01], [0.99]])
    each = OptimumInterval(crossing=crossing)
    assert each.limits(observed, CL).upper == pytest.approx([exact, exact], abs=1e-5)
    assert [side.tolist() for side in each.intervals(observed, CL)] == [[0, -1], [1, 0]]


# C_0(mu/2, mu) = 1 - (1 + mu/2) exp(-mu/2) = 0.9 at twice the Poisson limit of one event
def test_fixed_interval_without_events_is_the_maximum_gap():
    observed = Events.of([[0.5], [0.3], [0.05]])
    found = FixedIntervalN().limits(observed, CL).upper
    assert found[0] == pytest.approx(2 * T_1, abs=2e-5)
    for f, upper in zip([0.7, 0.95], found[1:], strict=True):
        exact = optimize.brentq(lambda mu, f=f: (1 + mu - f * mu) * np.exp(-f * mu) - 0.1, 2, 8)
        assert upper == pytest.approx(exact, abs=2e-5)


@pytest.mark.parametrize("each", FAMILY)
@pytest.mark.parametrize("b", [0.0, 1.0, 4.0])
def test_agrees_with_the_definition(each, b):
    table = table_by_hand()
    with np.errstate(all="raise"):
        found = each.limits(Events.of(TOYS, b, [np.sqrt(toy) for toy in TOYS] if b else None), CL)
    last = getattr(each, "crossing", "last") == "last"
    # the file holds g to 24 bits, but ends of atoms exactly
    if isinstance(each, OptimumInterval):
        mu, g, first = table.c_max.mu, table.c_max.g.astype(np.float32).astype(float), 0
    elif isinstance(each, PMax):
        mu, p = table.p_max.mu, table.p_max.value
        g = np.minimum(special.gammaincinv(np.arange(1, 7), p[:, None]) / mu[:, None], 1.0)
        g, first = np.where(mu[:, None] <= table.p_max.atom_ends, 1.0, g), 0
    else:
        start = special.gammaincinv(each.n + 1, CL)
        above = table.fixed_mu > start
        mu, first = np.append(start, table.fixed_mu[above]), each.n
        g = np.append(1.0, table.fixed_g[above, each.n].astype(np.float32))[:, None].astype(float)
    v = [np.sqrt(toy) for toy in TOYS]
    exact = np.array(
        [reference.limit(mu, g, u, first=first, b=b, v=w, last=last) for u, w in zip(TOYS, v, strict=True)]
    )
    wanted = np.select([exact == np.inf, exact < 0], [Status.UNBOUNDED, Status.EMPTY], Status.OK)
    assert_array_equal(found.status, wanted)
    assert found.upper == pytest.approx(np.maximum(exact, 0.0), rel=1e-9)


@pytest.mark.parametrize("each", [OptimumInterval(), PMax(), FixedIntervalN(n=1)])
def test_says_why_there_is_no_limit(each):
    many = np.linspace(0.05, 0.95, 19)
    observed = Events.of([many, [0.5]])
    assert each.limits(observed, CL).status.tolist() == [Status.UNBOUNDED, Status.OK]
    assert each.explain(observed, CL) == ["the limit lies beyond mu = 12, where the table ends", ""]
    assert [side[0] for side in each.intervals(observed, CL)] == [-1, -1]
    empty = Events.of([[0.9], many], 9.0, [[0.9], many])
    assert each.limits(empty, CL).status.tolist() == [Status.EMPTY, Status.UNBOUNDED]
    words = each.explain(empty, CL)
    assert "of the b = 9 expected background events that no signal >= 0 is left" in words[0]
    assert words[1] == "the limit lies beyond mu = 12, where the table ends"


@pytest.mark.parametrize("each", FAMILY)
def test_limits_know_no_neighbours_and_leave_the_events_alone(each):
    rng = np.random.default_rng(7)
    toys = [np.sort(rng.random(rng.poisson(4))) for _ in range(60)]
    for b in (0.0, 1.5):
        observed = Events.of(toys, b, [toy**2 for toy in toys] if b else None)
        observed.u.flags.writeable = observed.n.flags.writeable = False
        limits = each.limits(observed, CL)
        for i in range(0, 60, 7):
            alone = each.limits(Events.of([toys[i]], b, [toys[i] ** 2] if b else None), CL)
            assert alone.upper[0] == limits.upper[i]


def test_tables_state_their_errors_and_what_is_missing():
    assert OptimumInterval().calibration_error(CL) == pytest.approx(3e-4, rel=1e-6)
    assert PMax().calibration_error(CL) == pytest.approx(4e-4, rel=1e-6)
    assert FixedIntervalN().calibration_error(CL) == 0.0
    assert FixedIntervalN(n=1).calibration_error(CL) == 0.0
    for each in FAMILY:
        assert each.missing(CL) is None
        assert "covsvc tables build --cl 0.77" in each.missing(0.77)
        with pytest.raises(StudyError, match=r"covsvc tables build --cl 0\.77"):
            each.limits(Events.of([[0.5]]), 0.77)
    assert "n = 2" in FixedIntervalN(n=2).missing(CL)
    with pytest.raises(StudyError, match="n = 2"):
        FixedIntervalN(n=2).limits(Events.of([[0.5]]), CL)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("optimum_interval", "crossing", "second"),
        ("p_max", "crossing", "second"),
        ("fixed_interval_n", "n", -1),
        ("fixed_interval_n", "n", 160),
    ],
)
def test_options_that_mean_nothing_are_refused(name, option, value):
    with pytest.raises(OptionError, match=option):
        method(name, {option: value})
    plugin = type(method(name))
    with pytest.raises(ValueError, match=option):
        plugin(**{option: value})
