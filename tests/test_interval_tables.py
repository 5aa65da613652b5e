"""The tables of the interval methods against published numbers, closed forms and Yellin's own later tables.

Paper: S. Yellin, Phys. Rev. D 66 (2002) 032005.
"""

from __future__ import annotations

import dataclasses
import io
import math
import os
import re
import shutil

import numpy as np
import pytest
from scipy import optimize, special

import covsvc as package
from covsvc.contracts import Counts, Events
from covsvc.errors import StudyError
from covsvc.interval_tables import (
    SHIPPED,
    cache_folder,
    file_name,
    interval_table,
    levels,
    missing_table,
    path_of,
    write_table,
)
from covsvc.study import study_of
from covsvc.version import __version__

LEVELS = (0.90, 0.95, 0.99)

TABLE_I = """
 2  5.800   3  7.491   4  9.059   5 10.548   6 12.009   7 13.433   8 14.824   9 16.196  10 17.540  11 18.891  12 20.208
13 21.520  14 22.821  15 24.119  16 25.400  17 26.669  18 27.926  19 29.197  20 30.457  21 31.690  22 32.972  23 34.203
24 35.422  25 36.632  26 37.849  27 39.108  28 40.333  29 41.546  30 42.768  31 43.978  32 45.164  33 46.351  34 47.544
35 48.734  36 49.944  37 51.139  38 52.314  39 53.488
"""
"""n, and from which mu on n events in the whole range count; from n = 2 on, cl = 0.9. Table I."""

TABLE_II = """
 4 11.599   5 13.427   6 15.193   7 16.900   8 18.559   9 20.176  10 21.771  11 23.355  12 24.880  13 26.419  14 27.922
15 29.428  16 30.891  17 32.359  18 33.808  19 35.251  20 36.701  21 38.100  22 39.519  23 40.913  24 42.317  25 43.700
26 45.091  27 46.465  28 47.827  29 49.193  30 50.561  31 51.902  32 53.255  33 54.589  34 55.926  35 57.264  36 58.603
37 59.920  38 61.237  39 62.549  40 63.868  41 65.179  42 66.478  43 67.791  44 69.080
"""
"""The same for pMax. Table II; its n = 2 and 3 are printed as 7.584 and 9.661, which is too high."""

C_BAR_MAX = {
    0.90: """
 2.38691 0.89999  2.74560 0.89995  3.18993 0.89999  3.70617 0.89997  4.30596 0.92844  5.00281 0.92916  5.81244 0.92913
 6.75309 0.94040  7.84597 0.94752  9.02501 0.94647 10.48557 0.95094 12.18249 0.95738 14.15404 0.95903 16.44465 0.96235
19.10596 0.96466 22.19795 0.96635 25.79034 0.96856 29.66595 0.97024 34.46692 0.97201 40.04484 0.97337 46.52547 0.97508
54.05489 0.97636 62.80281 0.97754 72.96647 0.97883 84.77495 0.97991 98.49440 0.98096
""",
    0.95: """
 3.09566 0.95003  3.52542 0.94995  4.05520 0.95000  4.66459 0.95002  5.36556 0.96621  6.17186 0.96562  7.09933 0.97223
 8.08491 0.97159  9.29987 0.97517 10.69739 0.97750 12.30493 0.97903 14.15404 0.98027 16.28102 0.98119 18.54128 0.98281
21.32756 0.98400 24.53253 0.98487 28.21912 0.98595 32.45972 0.98685 37.33756 0.98758 42.52108 0.98824 48.91088 0.98904
56.26089 0.98966 64.71545 0.99021 74.44048 0.99072 85.62693 0.99116 98.49440 0.99168
""",
    0.99: """
 4.75882 0.99000  5.36556 0.98999  6.04965 0.99000  6.82096 0.99149  7.69061 0.99352  8.67114 0.99344  9.77668 0.99481
11.02318 0.99518 12.42860 0.99548 14.15404 0.99597 15.95863 0.99629 17.99331 0.99680 20.28740 0.99693 22.87398 0.99720
25.79034 0.99739 29.07852 0.99754 32.78595 0.99773 37.33756 0.99787 42.09799 0.99801 47.46535 0.99813 53.51704 0.99822
60.34028 0.99832 68.03347 0.99840 76.70751 0.99849 86.48751 0.99857 98.49440 0.99865
""",
}
"""mu, and what C_Max has to exceed: from the tables of 1e8 toys per mu that come with Yellin's programs of 2008."""

SCATTER = {0.90: 2.7e-5, 0.95: 2.1e-5, 0.99: 0.84e-5}
"""What their values scatter by where they should be cl: below the threshold of n = 1, 52, 46 and 37 of them."""


def numbers(text):
    return np.array(text.split(), float).reshape(-1, 2)


def max_gap_cdf(x, mu):
    """Return C_0(x, mu) where no more than two gaps of x fit into mu: Eq. 2."""
    if not mu / 3 < x <= mu:
        raise ValueError(x)
    both = math.exp(-2 * x) * (2 * x - mu) * (2 * x - mu - 2) / 2 if 2 * x < mu else 0.0
    return 1 - math.exp(-x) * (1 + mu - x) + both


def max_gap_quantile(c, mu):
    return optimize.brentq(lambda x: max_gap_cdf(x, mu) - c, mu / 3 * (1 + 1e-12), mu, xtol=1e-14)


def more_than_one(mu):
    """Return P(mu, 2): the probability of two events or more."""
    return 1 - math.exp(-mu) * (1 + mu)


def first_threshold(statistic, cl):
    """Return the mu at which one event in the whole range and the largest gap exclude alike.

    C_1(mu, mu) is cl there; or P(mu, 2) is the Poisson probability of the gap, by Eq. C1.
    """

    def excess(mu):
        return more_than_one(mu) - (cl if statistic == "c_max" else 1 - math.exp(-max_gap_quantile(cl, mu)))

    start = -math.log(1 - cl)
    return optimize.brentq(excess, 1.001 * start, 2.5 * start, xtol=1e-14)


def first_atom_end(statistic, cl):
    """Return the mu at which P(statistic < P(mu, 2)) = cl.

    One event or none: the whole range has that value or more. Two or more: only an empty interval has. So it is
    reached if N <= 1, and if N >= 2 by a gap x or larger. Of one event the larger gap is u mu, u uniform in [1/2, 1].
    """

    def excess(mu):
        a = more_than_one(mu)
        x = max_gap_quantile(a, mu) if statistic == "c_max" else -math.log(1 - a)
        any_number = 1 - max_gap_cdf(x, mu)
        one = mu * math.exp(-mu) * min(2 * (1 - x / mu), 1)
        none = math.exp(-mu)
        return any_number - one - none + math.exp(-mu) * (1 + mu) - (1 - cl)

    start = first_threshold(statistic, cl)
    return optimize.brentq(excess, start, start + 1, xtol=1e-14)


def at(part, mu):
    return np.interp(mu, part.mu, part.value)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Let tables be looked for in empty folders and among those of the package."""
    (tmp_path / "named").mkdir()
    monkeypatch.setenv("COVSVC_TABLES", str(tmp_path / "named"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "named", tmp_path / "cache" / "covsvc" / "tables"


@pytest.fixture
def table(places):
    return interval_table(0.9)


@pytest.fixture
def other(table):
    """The table at 0.9 under the name of another level."""
    return dataclasses.replace(table, cl=0.93, made_by={"toys": 10, "seed": 7, "version": "0"})


@pytest.mark.parametrize("cl", LEVELS)
def test_a_table_is_shipped(places, cl):
    path = path_of(cl)
    assert path.parent == SHIPPED
    assert path.stat().st_size <= 500_000
    table = interval_table(cl)
    assert table.cl == cl
    assert table.largest_mu >= 100
    assert table.made_by["toys"] >= 3_000_000
    assert isinstance(table.made_by["seed"], int)
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", table.made_by["version"])
    assert missing_table(cl) is None
    assert cl in levels()


def test_thresholds_of_table_1(table):
    t = table.c_max.thresholds
    # one event: C_1(mu, mu) = P(mu, 2) = cl; printed as 3.890
    assert t[1] == pytest.approx(optimize.brentq(lambda mu: more_than_one(mu) - 0.9, 1, 9, xtol=1e-14), rel=1e-12)
    assert t[1] == pytest.approx(3.889720, abs=5e-7)
    assert t[2] == pytest.approx(5.800, abs=0.01)
    # printed values scatter by more than their digits tell, most of them upwards: n = 31 as 43.978 says that
    # CBarMax(43.978) = P(43.978, 32) = 0.97480, and 0.97427 and 0.97459 at 43.816 and 44.256 are Yellin's later ones
    printed = numbers(TABLE_I)
    found = t[printed[:, 0].astype(int)] - printed[:, 1]
    assert abs(found).max() < 0.07
    assert abs(found[printed[:, 0] <= 21]).max() < 0.03


def test_thresholds_of_table_2(table):
    t = table.p_max.thresholds
    assert t[1] == pytest.approx(first_threshold("p_max", 0.9), rel=1e-12)
    assert t[1] == pytest.approx(5.155790, abs=5e-7)
    assert t[2:4] == pytest.approx([7.557, 9.649], abs=2e-3)
    printed = numbers(TABLE_II)
    assert t[printed[:, 0].astype(int)] == pytest.approx(printed[:, 1], abs=0.03)


@pytest.mark.parametrize("cl", LEVELS)
def test_c_bar_max_agrees_with_the_later_tables_of_its_inventor(places, cl):
    part = interval_table(cl).c_max
    theirs = numbers(C_BAR_MAX[cl])
    mu = theirs[:, 0]
    # what coverage moves by, CBarMax moves by times its slope with cl, about (1 - CBarMax) / (1 - cl)
    ours = np.interp(mu, part.mu, part.error) * (1 - at(part, mu)) / (1 - cl)
    assert (abs(at(part, mu) - theirs[:, 1]) / np.hypot(ours, SCATTER[cl])).max() < 4


@pytest.mark.parametrize("cl", LEVELS)
def test_c_bar_max_is_a_closed_form_where_one_event_decides(places, cl):
    part = interval_table(cl).c_max
    start, threshold, end = -math.log(1 - cl), first_threshold("c_max", cl), first_atom_end("c_max", cl)
    assert part.mu[0] == pytest.approx(start, rel=1e-12)
    assert (part.thresholds[1], part.atom_ends[1]) == pytest.approx((threshold, end), rel=1e-12)
    flat = part.mu <= threshold * (1 + 1e-12)
    np.testing.assert_allclose(part.value[flat], cl, rtol=0, atol=1e-12)
    atom = (part.mu > threshold) & (part.mu <= end * (1 + 1e-12))
    assert atom.sum() > 5
    np.testing.assert_allclose(part.value[atom], [more_than_one(mu) for mu in part.mu[atom]], rtol=0, atol=1e-12)
    assert (part.error[flat | atom] == 0).all()
    if cl == 0.9:
        assert end == pytest.approx(4.345574, abs=5e-7)


@pytest.mark.parametrize("cl", LEVELS)
def test_p_bar_max_is_a_closed_form_where_one_event_decides(places, cl):
    part = interval_table(cl).p_max
    threshold, end = first_threshold("p_max", cl), first_atom_end("p_max", cl)
    assert (part.thresholds[1], part.atom_ends[1]) == pytest.approx((threshold, end), rel=1e-12)
    gap = part.mu <= threshold * (1 + 1e-12)
    exact = [1 - math.exp(-max_gap_quantile(cl, mu)) for mu in part.mu[gap]]
    np.testing.assert_allclose(part.value[gap], exact, rtol=0, atol=1e-12)
    atom = (part.mu > threshold) & (part.mu <= end * (1 + 1e-12))
    assert atom.sum() > 1
    np.testing.assert_allclose(part.value[atom], [more_than_one(mu) for mu in part.mu[atom]], rtol=0, atol=1e-12)
    if cl == 0.9:
        assert end == pytest.approx(5.265779, abs=5e-7)


@pytest.mark.parametrize("statistic", ["c_max", "p_max"])
@pytest.mark.parametrize("cl", LEVELS)
def test_no_interval_excludes_before_its_atom_ends(places, cl, statistic):
    part = getattr(interval_table(cl), statistic)
    t, e = part.thresholds, part.atom_ends
    columns = part.g.shape[1]
    assert np.isfinite(e).all()
    assert len(t) == len(e) == columns > 75
    assert (t[:-1] < t[1:]).all()
    assert (t <= e).all()
    assert (e[:-1] < t[1:]).all()
    assert set(t[1:]) | set(e) <= set(part.mu)
    for k in range(columns):
        assert (part.g[part.mu <= e[k], k] == 1).all()
        # half a cell on it does
        assert (part.g[part.mu > 1.005 * e[k], k] < 1).all()
    # while the whole range with k events decides, its value is what has to be exceeded
    for k in range(1, columns):
        on_atom = (part.mu >= t[k]) & (part.mu <= e[k])
        np.testing.assert_allclose(part.value[on_atom], special.gammainc(k + 1, part.mu[on_atom]), rtol=0, atol=1e-12)
    # a cell is no wider than one per cent
    assert (part.mu[1:] / part.mu[:-1]).max() < 1.01


@pytest.mark.parametrize("cl", LEVELS)
def test_p_max_excludes_where_the_poisson_probability_of_an_interval_is_larger(places, cl):
    part = interval_table(cl).p_max
    nodes, columns = np.nonzero(part.g < 1)
    found = special.gammainc(columns + 1.0, part.mu[nodes] * part.g[nodes, columns])
    np.testing.assert_allclose(found, part.value[nodes], rtol=0, atol=1e-13)


@pytest.mark.parametrize("cl", LEVELS)
def test_the_maximum_gap_is_the_first_column(places, cl):
    """Eq. 2; numbers are stored to 24 bits."""
    table = interval_table(cl)
    few = table.c_max.mu < 6
    exact = [max_gap_quantile(c, mu) / mu for c, mu in zip(table.c_max.value[few], table.c_max.mu[few], strict=True)]
    np.testing.assert_allclose(table.c_max.g[few, 0], exact, rtol=2**-24, atol=0)
    fixed = table.fixed(0)
    few = fixed.mu < 6
    exact = [max_gap_quantile(cl, mu) / mu for mu in fixed.mu[few]]
    np.testing.assert_allclose(fixed.g[few, 0], exact, rtol=2**-24, atol=0)


@pytest.mark.parametrize("cl", LEVELS)
@pytest.mark.parametrize("k", [0, 1, 2, 7, 30])
def test_a_fixed_interval_excludes_from_the_poisson_limit_on(places, cl, k):
    boundary = interval_table(cl).fixed(k)
    assert boundary.mu[0] == pytest.approx(special.gammaincinv(k + 1, cl), rel=1e-12)
    assert boundary.g[0, 0] == 1
    assert (boundary.g[1:, 0] < 1).all()
    assert boundary.first == k


def test_a_fixed_interval_beyond_the_table_is_refused(table):
    assert table.most_inside > 90
    with pytest.raises(StudyError, match=f"than {table.most_inside} events"):
        table.fixed(table.most_inside + 1)


def test_says_how_a_missing_table_is_built(places):
    told = r"^cl = 0\.93: there is no table .* only at 0\.9, 0\.95, 0\.99; .*: covsvc tables build --cl 0\.93$"
    assert re.search(told, missing_table(0.93))
    with pytest.raises(StudyError, match=told):
        interval_table(0.93)
    for name in ("optimum_interval", "p_max", "fixed_interval_n"):
        with pytest.raises(StudyError, match=told):
            package.limits(name, Events.of([[0.3]]), 0.93)


def test_names_a_level_by_all_its_digits(places):
    assert missing_table(0.9 + 1e-9).endswith("covsvc tables build --cl 0.900000001")


def test_the_maximum_gap_needs_no_table(places):
    mu = package.limits("max_gap", Events.of([[]]), 0.93).upper
    assert mu == pytest.approx([-math.log(0.07)], rel=1e-12)


@pytest.mark.parametrize("name", ["optimum_interval", "p_max", "fixed_interval_n"])
def test_a_study_is_refused_before_anything_runs(places, name):
    study = {
        "name": "missing",
        "experiment": "spectrum",
        "methods": ["poisson", name],
        "cl": [0.9, 0.93],
        "s_true": [3.0],
        "b": [0],
        "toys_per_block": 10,
        "n_toys": 10,
        "seed": 1,
    }
    with pytest.raises(StudyError, match=r"cl.* 0\.93: there is no table .*covsvc tables build --cl 0\.93"):
        study_of(study)
    assert study_of(study | {"cl": [0.9]}).cl == (0.9,)


STUDY = """
name: missing
experiment: spectrum
methods: [optimum_interval]
cl: [0.93]
s_true: [3.0]
b: [0]
toys_per_block: 10
n_toys: 10
seed: 1
"""


def test_the_command_line_says_what_to_build(places, covsvc, tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "events.csv").write_text("0.3\n0.7\n")
    limit = ("limit", "--events", "events.csv", "--spectrum", "uniform:low=0,high=1", "-m", "optimum_interval")
    for call in (("plan", "study.yaml"), ("run", "study.yaml", "--cluster", "none"), (*limit, "--cl", "0.93")):
        code, _, error = covsvc(*call)
        assert code == 2, call
        assert "covsvc tables build --cl 0.93" in " ".join(error.split()), error
    assert not (tmp_path / "coverage-cubes").exists()


@pytest.mark.parametrize("place", [0, 1])
def test_a_table_of_ones_own_is_found(places, other, place):
    path = write_table(other, places[place])
    assert path == path_of(0.93) == places[place] / "intervals-0.93.npz"
    assert missing_table(0.93) is None
    assert levels() == [0.9, 0.93, 0.95, 0.99]
    found = interval_table(0.93)
    assert found.made_by == other.made_by
    assert found.digest != interval_table(0.9).digest
    events = Events.of([[0.2, 0.4]])
    assert package.limits("optimum_interval", events, 0.93) == package.limits("optimum_interval", events, 0.9)


def test_what_is_written_is_read(places, table):
    write_table(table, places[0])
    found = interval_table(0.9)
    assert path_of(0.9).parent == places[0]
    assert found is not table
    assert found.digest == table.digest
    for name in ("mu", "value", "error", "g", "thresholds", "atom_ends"):
        for part in ("c_max", "p_max"):
            np.testing.assert_array_equal(getattr(getattr(found, part), name), getattr(getattr(table, part), name))


def test_the_cache_is_below_home_unless_named(places, monkeypatch, tmp_path):
    assert cache_folder() == places[1]
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "somebody"))
    assert cache_folder() == tmp_path / "somebody" / ".cache" / "covsvc" / "tables"


def test_a_shipped_table_comes_before_the_cache_and_after_a_folder_that_is_named(places, table):
    write_table(table, places[1])
    assert path_of(0.9).parent == SHIPPED
    write_table(table, places[0])
    assert path_of(0.9).parent == places[0]


def test_a_table_that_is_built_anew_is_read_anew(places, other):
    path = write_table(other, places[1])
    assert interval_table(0.93).made_by["seed"] == 7
    again = dataclasses.replace(other, made_by={"toys": 20, "seed": 8, "version": "0"})
    write_table(again, places[1])
    os.utime(path, ns=(1, 1))
    assert interval_table(0.93).made_by["seed"] == 8


def test_writing_leaves_nothing_or_all(places, other, monkeypatch):
    path = write_table(other, places[1])
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr("covsvc.interval_tables.np.savez_compressed", full)
    with pytest.raises(OSError, match="no space left"):
        write_table(other, places[1])
    assert path.read_bytes() == before
    assert levels() == [0.9, 0.93, 0.95, 0.99]
    assert interval_table(0.93).cl == 0.93


def archive(**parts):
    file = io.BytesIO()
    np.savez(file, **parts)
    return file.getvalue()


def array():
    file = io.BytesIO()
    np.save(file, np.arange(3))
    return file.getvalue()


SOUND = (SHIPPED / file_name(0.9)).read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\x80\x04\x95",
        SOUND[:5000],
        SOUND[:-100],
        SOUND[:60_000] + bytes(200) + SOUND[60_200:],
        array(),
        archive(a=1),
        archive(format=2, cl=0.9, checksum="none"),
    ],
    ids=["empty", "text", "pickle", "begun", "cut", "garbled", "array", "something else", "nothing in it"],
)
def test_a_file_that_is_no_table_is_refused(places, content):
    path = places[0] / file_name(0.9)
    path.write_bytes(content)
    with pytest.raises(StudyError, match=rf"^{re.escape(str(path))}: is no table .* build it anew"):
        interval_table(0.9)


def test_a_table_of_another_format_is_refused(places):
    path = places[0] / file_name(0.93)
    path.write_bytes(archive(format=99))
    with pytest.raises(StudyError, match=rf"^{re.escape(str(path))}: is of format 99, this covsvc reads \d"):
        interval_table(0.93)


def test_a_table_under_the_name_of_another_level_is_refused(places):
    shutil.copy(SHIPPED / file_name(0.9), places[0] / file_name(0.93))
    with pytest.raises(StudyError, match=r"holds the table at cl = 0\.9, not what its name says"):
        interval_table(0.93)


def test_files_of_other_names_do_no_harm(places):
    shutil.copy(SHIPPED / file_name(0.9), places[0] / "intervals-0.9 (copy).npz")
    assert levels() == [0.9, 0.95, 0.99]


def test_counts_alone_are_no_events(places):
    with pytest.raises(package.errors.ObservationError):
        package.limits("optimum_interval", Counts([3], 0.0), 0.9)


def test_the_version_that_made_them_is_told(table):
    assert table.made_by["version"] <= __version__


def test_a_table_that_was_tampered_with_is_refused(tmp_path, monkeypatch):
    with np.load(SHIPPED / "intervals-0.9.npz") as parts:
        changed = {name: parts[name] for name in parts.files}
    changed["c_max_g"] = changed["c_max_g"] * 0
    np.savez_compressed(tmp_path / "intervals-0.9.npz", **changed)
    monkeypatch.setenv("COVSVC_TABLES", str(tmp_path))
    with pytest.raises(StudyError, match=r"intervals-0\.9\.npz: is no table .*its checksum is wrong"):
        interval_table(0.9)


@pytest.mark.parametrize("place", ["nowhere", "a-file"])
def test_a_variable_that_names_no_folder_is_refused(tmp_path, monkeypatch, place):
    (tmp_path / "a-file").touch()
    monkeypatch.setenv("COVSVC_TABLES", str(tmp_path / place))
    with pytest.raises(StudyError, match=r"COVSVC_TABLES = .*: is no folder; name that of tables"):
        interval_table(0.9)


def test_a_level_that_no_table_can_have_is_not_told_to_build_one():
    assert "none can be built above 0.999; max_gap needs none" in missing_table(0.9999)
