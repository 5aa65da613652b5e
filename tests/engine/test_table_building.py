"""Building of tables: the same bits whoever does the work, honest errors, and what is done is not done again."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import special, stats

from covsvc.contracts import Events
from covsvc.engine import table_building
from covsvc.engine.clusters import connect
from covsvc.engine.table_building import build_tables
from covsvc.errors import TaskError
from covsvc.interval_tables import interval_table
from covsvc.version import __version__

LEVELS, TOYS, SEED, LARGEST = (0.68, 0.9), 10_000, 17, 8.0


def build(folder, levels=LEVELS, toys=TOYS, seed=SEED, largest_mu=LARGEST, **more):
    return build_tables(levels, toys, seed, largest_mu, folder, **more)


def bits(tables):
    """Return all numbers of some tables."""
    return [
        {field.name: getattr(part, field.name).tobytes() for field in dataclasses.fields(part)}
        for table in tables
        for part in (table.c_max, table.p_max)
    ] + [(table.cl, table.fixed_mu.tobytes(), table.fixed_g.tobytes()) for table in tables]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return build(tmp_path_factory.mktemp("reference"))


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """Return the table at 0.9 that comes with the package."""
    monkeypatch.delenv("COVSVC_TABLES", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return interval_table(0.9)


def test_tables_come_in_order_and_say_what_made_them(reference):
    assert [table.cl for table in reference] == [0.68, 0.9]
    for table in reference:
        made_by = {"toys": TOYS, "seed": SEED, "largest_mu": LARGEST, "version": __version__}
        assert made_by.items() <= table.made_by.items()
        assert table.largest_mu == LARGEST


def test_the_same_seed_gives_the_same_bits_in_any_order_of_levels(reference, tmp_path):
    again = build(tmp_path, levels=LEVELS[::-1])
    assert bits(again) == bits(reference)
    assert not list(tmp_path.glob("building-*"))


def test_tables_are_written_where_they_are_found(tmp_path, monkeypatch):
    (table,) = build(tmp_path, levels=(0.68,), toys=1000)
    monkeypatch.setenv("COVSVC_TABLES", str(tmp_path))
    found = interval_table(0.68)
    assert found.made_by == table.made_by
    np.testing.assert_array_equal(found.c_max.value, table.c_max.value)
    np.testing.assert_allclose(found.c_max.g, table.c_max.g, rtol=2**-24)


def test_another_seed_gives_another_table(reference, tmp_path):
    other = build(tmp_path, seed=SEED + 1)
    for one, two in zip(reference, other, strict=True):
        assert one.digest != two.digest
        # but for what is exact
        assert one.c_max.thresholds[1] == two.c_max.thresholds[1]
        assert one.c_max.atom_ends[1] == two.c_max.atom_ends[1]
        assert one.c_max.thresholds[2] != two.c_max.thresholds[2]
        np.testing.assert_array_equal(one.fixed_g, two.fixed_g)


@pytest.mark.system
def test_the_same_bits_on_two_workers(tmp_path):
    changes = {"levels": (0.9,), "toys": 2000}
    alone = build(tmp_path / "alone", **changes)
    with connect("local", 2) as client:
        assert bits(build(tmp_path / "shared", client=client, **changes)) == bits(alone)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize(("stage", "part"), [("pilot", 0.5), ("final", 0.0), ("final", 0.7)])
def test_an_interrupted_build_goes_on(reference, tmp_path, monkeypatch, stage, part):
    told = []

    def stop(name, done):
        told.append((name, done))
        if name == stage and done > part:
            raise Interrupted

    with pytest.raises(Interrupted):
        build(tmp_path, progress=stop)
    (kept,) = tmp_path.iterdir()
    before = {path.name for path in kept.iterdir()}
    assert before
    counted = []
    count = table_building._count_excesses

    def recorded(seed, number, events, *rest):
        counted.append((number, events))
        return count(seed, number, events, *rest)

    monkeypatch.setattr(table_building, "_count_excesses", recorded)
    assert bits(build(tmp_path)) == bits(reference)
    again = {f"{name}-{events}.npz" for number, events in counted for name in [{1: "pilot", 2: "final"}[number]]}
    assert counted
    assert not again & before
    assert not list(tmp_path.glob("building-*"))


def test_builds_in_one_folder_do_not_mix(reference, tmp_path):
    def stop(name, done):
        if name == "final" and done > 0.5:
            raise Interrupted

    with pytest.raises(Interrupted):
        build(tmp_path, seed=SEED + 1, progress=stop)
    assert bits(build(tmp_path)) == bits(reference)
    assert len(list(tmp_path.glob("building-*"))) == 1


def test_progress_rises_to_the_end_of_each_stage(tmp_path):
    told = {}
    build(tmp_path, levels=(0.9,), toys=1000, progress=lambda stage, done: told.setdefault(stage, []).append(done))
    assert {"pilot", "final"} <= set(told)
    for done in told.values():
        assert all(0 <= one <= other <= 1 + 1e-12 for one, other in zip([0.0, *done[:-1]], done, strict=True))
        assert done[-1] == pytest.approx(1)


def test_each_table_is_pinned(reference):
    for table in reference:
        for part in (table.c_max, table.p_max):
            t, e = part.thresholds, part.atom_ends
            assert (t <= e).all()
            assert (e[:-1] < t[1:]).all()
            assert set(t[1:]) | set(e) <= set(part.mu)
            for k in range(part.g.shape[1]):
                assert (part.g[part.mu <= e[k], k] == 1).all()
            assert np.isfinite(part.value).all()
            assert ((part.value > table.cl * (1 - 1e-12)) & (part.value < 1)).all()


@pytest.fixture(scope="module")
def slopes(tmp_path_factory):
    """Return a function: what CBarMax and pBarMax rise by with cl, from tables of the same toys around 0.9."""
    low, high = build(tmp_path_factory.mktemp("slopes"), levels=(0.89, 0.91), toys=100_000)

    def of(name, mu):
        return (at(getattr(high, name), mu) - at(getattr(low, name), mu)) / (high.cl - low.cl)

    return of


def at(part, mu):
    return np.interp(mu, part.mu, part.value)


def test_errors_are_those_by_which_tables_of_other_seeds_differ(shipped, slopes, tmp_path):
    """Squares and mean of what they are off by in coverage, where a table of 3e6 toys is the truth."""
    seeds = 16
    tables = [build(tmp_path, levels=(0.9,), toys=1000, seed=seed)[0] for seed in range(seeds)]
    chances = []
    for name, mu in [("c_max", 4.8), ("c_max", 6.5), ("c_max", 8.0), ("p_max", 5.6), ("p_max", 6.8), ("p_max", 8.0)]:
        parts = [getattr(table, name) for table in tables]
        off = np.array([at(part, mu) - at(getattr(shipped, name), mu) for part in parts]) / slopes(name, mu)
        errors = np.array([np.interp(mu, part.mu, part.error) for part in parts])
        assert ((errors > 2e-4) & (errors < 5e-3)).all()
        chi2 = ((off / errors) ** 2).sum()
        chances.append(2 * min(stats.chi2.sf(chi2, seeds), stats.chi2.cdf(chi2, seeds)))
        chances.append(2 * stats.norm.sf(abs(off.sum()) / np.sqrt((errors**2).sum())))
    assert min(chances) * len(chances) > 1e-3, np.array(chances).reshape(-1, 2)
    # where it is on the atom, nothing of it is left to chance but where that begins and ends
    thresholds = np.array([table.c_max.thresholds[2] for table in tables])
    assert abs(thresholds.mean() - shipped.c_max.thresholds[2]) < 4 * thresholds.std(ddof=1) / np.sqrt(seeds)


def test_thresholds_are_those_of_the_table_that_is_shipped(reference, shipped):
    """Within four errors: of coverage, over how fast coverage rises there with mu."""
    table = reference[1]
    for part, exact in ((table.c_max, shipped.c_max), (table.p_max, shipped.p_max)):
        assert len(part.thresholds) > 2
        for k in range(2, len(part.thresholds)):
            t = exact.thresholds[k]
            # P(mu, k + 1) has to be as large as the value, which has the slope of that below the threshold
            rise = stats.poisson.pmf(k, t)
            below = exact.mu[(exact.mu > 0.97 * t) & (exact.mu < t)]
            rise -= np.polyfit(below, at(exact, below), 1)[0]
            error = np.interp(t, part.mu, part.error) * (1 - special.gammainc(k + 1, t)) / 0.1
            assert part.thresholds[k] == pytest.approx(t, abs=4 * 1.2 * error / rise), (k, t)


def test_what_is_exact_is_exact_with_few_toys(reference):
    """Below the end of the first atom; Yellin, Phys. Rev. D 66 (2002) 032005, Eq. B2."""
    c_max = reference[1].c_max
    assert c_max.thresholds[1] == pytest.approx(special.gammaincinv(2, 0.9), rel=1e-12)
    assert c_max.atom_ends[1] == pytest.approx(4.345574, abs=5e-7)
    first = c_max.mu <= c_max.atom_ends[1]
    exact = np.maximum(special.gammainc(2, c_max.mu[first]), 0.9)
    np.testing.assert_allclose(c_max.value[first], exact, rtol=0, atol=1e-12)
    assert (c_max.error[first] == 0).all()


@pytest.mark.parametrize(("levels", "largest_mu", "toys"), [((0.5,), 8.0, 20_000), ((0.999,), 15.0, 20_000)])
@pytest.mark.parametrize("seed", [1, 3])
def test_other_levels_are_built(tmp_path, levels, largest_mu, toys, seed):
    """At 0.5 the table ends within an atom; at 0.999 few toys exceed."""
    (table,) = build(tmp_path, levels=levels, largest_mu=largest_mu, toys=toys, seed=seed)
    (cl,) = levels
    for part in (table.c_max, table.p_max):
        assert np.isfinite(part.value).all()
        assert (part.value > cl * (1 - 1e-12)).all()
        assert ((part.error >= 0) & (part.error < 5 * np.sqrt(cl * (1 - cl) / toys))).all()
    events = Events.of([[], [0.2], [0.1, 0.3, 0.35]])
    upper = table.c_max.boundary.crossing(events.n, events.largest_intervals, True).signal
    assert upper[0] == pytest.approx(-np.log(1 - cl), rel=1e-12)
    assert (np.diff(upper) > 0).all()


@pytest.mark.parametrize("toys", [1, 3, 30, 300])
def test_few_toys_say_so_or_have_wide_errors(tmp_path, toys):
    try:
        (table,) = build(tmp_path, levels=(0.9,), toys=toys)
    except TaskError as error:
        if "take more toys" not in str(error):
            raise
        return
    beyond = table.c_max.mu > table.c_max.atom_ends[1]
    on_atom = np.any(
        [
            (table.c_max.mu >= t) & (table.c_max.mu <= e)
            for t, e in zip(table.c_max.thresholds, table.c_max.atom_ends, strict=True)
        ][1:],
        axis=0,
    )
    assert np.median(table.c_max.error[beyond & ~on_atom]) > 5e-4
    assert np.isfinite(table.c_max.value).all()
