"""`covsvc limit --events`: limits on a cross section from the positions of real events."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from mpmath import mp
from scipy import optimize, stats

from covsvc import api
from covsvc.event_file import SeenEvents, Table, read_events, read_signal

DOCS = Path(__file__).parents[1] / "docs"
ENERGIES = [2.0, 2.3, 2.9, 4.4, 7.0, 9.1, 21.5]
DECIDING = ("max_gap", "optimum_interval", "p_max")
SPECTRUM = "exponential:scale=10,low=2,high=60,events=4"


@pytest.fixture
def events(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text("energy (keV)\n" + "".join(f"{energy}\n" for energy in reversed(ENERGIES)))
    return path


@pytest.fixture
def found(covsvc):
    """Return what `limit --json` says, its rows by method and level."""

    def call(*arguments):
        code, told, error = covsvc("limit", *arguments, "--json")
        assert (code, error) == (0, "")
        told = json.loads(told)
        return told | {"rows": {(row["limit_method"], row["cl"]): row for row in told["limits"]}}

    return call


def gap_limit(part, cl):
    """Return the limit of the maximum gap method, S. Yellin, Phys. Rev. D 66 (2002) 032005, Eq. 2.

    `part` is the largest gap over the whole: C_0(part mu, mu) = cl.
    """

    def c_0(mu):
        mu = mp.mpf(mu)
        x = mp.mpf(part) * mu
        terms = (
            (k * x - mu) ** k * mp.exp(-k * x) / mp.factorial(k) * (1 + k / (mu - k * x))
            for k in range(int(mp.floor(1 / mp.mpf(part))) + 1)
        )
        return float(mp.fsum(terms)) - cl

    with mp.workdps(40):
        return optimize.brentq(c_0, -math.log(1 - cl), 400, xtol=1e-12)


def u_of(energy):
    return stats.truncexpon(5.8, 2, 10).cdf(energy)


@pytest.mark.parametrize("cl", [0.90, 0.95])
def test_the_largest_gap_and_the_count_set_limits(found, events, cl):
    told = found("--events", events, "--spectrum", SPECTRUM, "-m", "max_gap", "-m", "poisson", "--cl", cl)
    part = u_of(21.5) - u_of(9.1)
    assert part == max(np.diff([0, *u_of(ENERGIES), 1]))
    gap, poisson = told["rows"]["max_gap", cl], told["rows"]["poisson", cl]
    assert gap["upper"] == pytest.approx(gap_limit(part, cl), rel=1e-9)
    assert gap["scaled"] == pytest.approx(gap["upper"] / 4, rel=1e-15)
    inside = gap["interval"]
    assert (inside["low"], inside["high"], inside["events"], inside["background"]) == (9.1, 21.5, 0, 0.0)
    assert inside["expected"] == pytest.approx(part * gap["upper"], rel=1e-12)
    assert poisson["upper"] == pytest.approx(stats.gamma.ppf(cl, 8), rel=1e-12)
    assert poisson["interval"] is None
    assert (told["n"], told["range"], told["position"], told["signal_of_unit"]) == (7, [2, 60], "energy (keV)", 4)


def test_every_method_for_unknown_background_is_asked_and_its_interval_told(found, covsvc):
    arguments = ("--events", DOCS / "events.csv", "--spectrum", DOCS / "spectrum.csv", "--figure", "a.png")
    rows = found(*arguments)["rows"]
    assert [name for name, _ in rows] == [*DECIDING, "poisson"]
    energies = sorted(float(line) for line in (DOCS / "events.csv").read_text().splitlines()[2:])
    for name in DECIDING:
        row = rows[name, 0.9]
        inside = row["interval"]
        assert inside["events"] == sum(inside["low"] < energy < inside["high"] for energy in energies)
        assert {inside["low"], inside["high"]} <= {2, 60, *energies}
        # fewer were seen than expected, or it would decide nothing
        assert inside["events"] < inside["expected"] <= row["upper"]
    # background at low energies is what these methods are for
    assert rows["optimum_interval", 0.9]["upper"] < rows["max_gap", 0.9]["upper"] < rows["poisson", 0.9]["upper"]
    _, told, _ = covsvc("limit", *arguments, "--quantity", "cross section (1e-45 cm2)")
    lines = told.splitlines()
    assert lines[0] == "observed: 11 events, energy (keV) in [2, 60]"
    assert lines[1].endswith(" of signal at cross section (1e-45 cm2) = 1")
    (line,) = (line for line in lines if line.startswith("optimum_interval"))
    row = rows["optimum_interval", 0.9]
    inside = row["interval"]
    assert line.split() == [
        *("optimum_interval", "0.90", "<", f"{row['upper']:.4f}", f"{row['scaled']:.4g}"),
        *(f"{inside['low']:.5g}", "to", f"{inside['high']:.5g}", str(inside["events"]), f"{inside['expected']:.4g}"),
    ]
    assert lines[-1] == "Picture at 0.90: a.png"


@pytest.mark.parametrize("cl", [0.90, 0.95, 0.99])
def test_without_events_every_limit_is_the_same(found, tmp_path, cl):
    (tmp_path / "none.csv").write_text("energy (keV)\n")
    rows = found("--events", "none.csv", "--spectrum", SPECTRUM, "--cl", cl)["rows"]
    assert len(rows) == 4
    for row in rows.values():
        assert row["upper"] == pytest.approx(-math.log(1 - cl), rel=1e-9)
    for name in DECIDING:
        inside = rows[name, cl]["interval"]
        assert (inside["low"], inside["high"], inside["events"]) == (2, 60, 0)


def limits_of(positions, spectrum):
    seen = SeenEvents(np.sort(np.array(positions, np.float64)), spectrum)
    rows = api.limits_on_events(seen, [{"name": name} for name in DECIDING], [0.9])
    return [row["upper"] for row in rows], [row["interval"] for row in rows]


def test_limits_do_not_depend_on_the_variable():
    exponential = read_signal("exponential:scale=10,low=2,high=60")
    upper, inside = limits_of(ENERGIES, exponential)
    # exp(-E/10) falls with E, and a signal is uniform in it
    ends = math.exp(-6.0), math.exp(-0.2)
    mapped = [math.exp(-energy / 10) for energy in ENERGIES]
    again, there = limits_of(mapped, read_signal(f"uniform:low={ends[0]!r},high={ends[1]!r}"))
    assert again == pytest.approx(upper, rel=1e-12)
    for before, after in zip(inside, there, strict=True):
        assert after["low"] == pytest.approx(math.exp(-before["high"] / 10), rel=1e-12)
        assert after["high"] == pytest.approx(math.exp(-before["low"] / 10), rel=1e-12)
        assert after["expected"] == pytest.approx(before["expected"], rel=1e-9)


def test_a_table_gives_the_limits_of_the_uniform_density_that_it_is_mapped_to():
    # dN/dE = 2 (1 - E) in [0, 1]: F = 1 - (1 - E)^2 is uniform
    energies = [0.03, 0.1, 0.11, 0.2, 0.35, 0.8]
    table = Table.of(np.array([0.0, 0.4, 1.0]), np.array([2.0, 1.2, 0.0]))
    upper, _ = limits_of(energies, table)
    again, _ = limits_of([1 - (1 - energy) ** 2 for energy in energies], read_signal("uniform:low=0,high=1"))
    assert again == pytest.approx(upper, rel=1e-12)


def test_a_fine_table_in_the_logarithm_gives_the_same_limits_as_far_as_it_is_fine():
    # linear between rows h apart, the density is off by h^2/8 of its curvature: 6e-9 of the whole at h = 2e-4
    x = np.linspace(math.log(2.0), math.log(60.0), 20_001)
    x[0], x[-1] = math.log(2.0), math.log(60.0)
    fine = Table.of(x, np.exp(x - np.exp(x) / 10))
    exact, _ = limits_of(ENERGIES, read_signal("exponential:scale=10,low=2,high=60"))
    assert limits_of(np.log(ENERGIES), fine)[0] == pytest.approx(exact, rel=1e-6)


def test_coincident_events_and_events_at_the_ends_are_no_trouble(found, tmp_path):
    (tmp_path / "same.csv").write_text("2\n2\n5\n5\n60\n60\n")
    rows = found("--events", "same.csv", "--spectrum", SPECTRUM)["rows"]
    part = max(u_of(5), 1 - u_of(5))
    assert rows["max_gap", 0.9]["upper"] == pytest.approx(gap_limit(part, 0.9), rel=1e-9)
    for row in rows.values():
        assert row["status"] == "ok"
        assert row["upper"] >= 2.3


def test_a_range_looks_at_a_part_and_leaves_events_out(found, covsvc, events):
    arguments = ("--events", events, "--spectrum", SPECTRUM, "-m", "poisson", "--range", "4,30")
    told = found(*arguments)
    assert (told["n"], told["left_out"], told["range"]) == (4, 3, [4, 30])
    share = u_of(30) - u_of(4)
    assert told["signal_of_unit"] == pytest.approx(4 * share, rel=1e-12)
    row = told["rows"]["poisson", 0.9]
    assert row["scaled"] == pytest.approx(stats.gamma.ppf(0.9, 5) / (4 * share), rel=1e-12)
    assert "observed: 4 events, energy (keV) in [4, 30]; 3 outside left out\n" in covsvc("limit", *arguments)[1]


def test_a_known_background_is_told_and_subtracted_by_those_who_read_it(found, covsvc, events):
    arguments = ("--events", events, "--spectrum", SPECTRUM, "--background", "uniform:low=0,high=100,events=5")
    methods = ("-m", "max_gap", "-m", "classical", "-m", "poisson")
    told = found(*arguments, *methods)
    rows = {name: row for (name, _), row in told["rows"].items()}
    assert told["background"] == pytest.approx(2.9, rel=1e-15)
    assert rows["classical"]["upper"] == pytest.approx(stats.gamma.ppf(0.9, 8) - 2.9, rel=1e-12)
    assert rows["poisson"]["upper"] == pytest.approx(stats.gamma.ppf(0.9, 8), rel=1e-12)
    inside = rows["max_gap"]["interval"]
    assert inside["background"] == pytest.approx(0.05 * (inside["high"] - inside["low"]), rel=1e-12)
    # C_0(x, mu) = cl where x and mu hold both (Yellin, Section II)
    mu = rows["max_gap"]["upper"] + 2.9
    assert gap_limit((inside["expected"] + inside["background"]) / mu, 0.9) == pytest.approx(mu, rel=1e-9)
    _, text, _ = covsvc("limit", *arguments, *methods)
    assert "expected there: 4 of signal at cross section = 1, 2.9 of known background\n" in text


def test_what_a_lower_end_rests_on_is_said(covsvc, events):
    code, told, _ = covsvc("limit", "--events", events, "--spectrum", SPECTRUM, "-m", "garwood")
    assert code == 0
    assert "a lower end takes all events beyond the known background for signal\n" in told


def test_several_levels_are_printed_and_the_lowest_is_drawn(covsvc, events):
    levels = ("--cl", 0.95, "--cl", 0.9)
    code, told, _ = covsvc("limit", "--events", events, "--spectrum", SPECTRUM, "-m", "max_gap", *levels)
    assert code == 0
    assert [line.split()[1] for line in told.splitlines() if line.startswith("max_gap")] == ["0.90", "0.95"]
    assert "no background is known: none is subtracted\n" in told
    assert "a lower end" not in told
    assert told.splitlines()[-1] == f"Picture at 0.90: {events.with_suffix('.png')}"
    assert events.with_suffix(".png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG\r\n\x1a\n"), ("svg", b"<?xml"), ("PDF", b"%PDF-")])
def test_a_picture_is_what_its_suffix_says(covsvc, events, tmp_path, suffix, magic):
    arguments = ("--events", events, "--spectrum", SPECTRUM, "-m", "max_gap", "--figure", f"plots/seen.{suffix}")
    code, told, _ = covsvc("limit", *arguments)
    assert code == 0
    assert f"Picture at 0.90: plots/seen.{suffix}" in told
    assert (tmp_path / "plots" / f"seen.{suffix}").read_bytes().startswith(magic)
    if suffix == "svg":
        ET.parse(tmp_path / "plots" / "seen.svg")


def test_a_level_without_a_table_says_how_it_is_built_and_fails_if_it_was_asked_for(
    covsvc, events, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    arguments = ("--events", events, "--spectrum", SPECTRUM, "--cl", 0.87)
    code, told, error = covsvc("limit", *arguments)
    assert (code, "failed" in told) == (0, True)
    assert "optimum_interval at 0.87: failed: cl = 0.87: " in error
    assert "covsvc tables build --cl 0.87" in error
    assert covsvc("limit", *arguments, "-m", "optimum_interval")[0] == 2
    assert covsvc("limit", *arguments, "-m", "max_gap")[0] == 0


def test_a_limit_beyond_the_table_is_none(covsvc, tmp_path):
    # so many events everywhere that no interval of the table excludes what they would be the signal of
    rng = np.random.default_rng(4)
    (tmp_path / "many.csv").write_text("\n".join(map(str, rng.uniform(0, 1, 2000).tolist())))
    code, told, error = covsvc("limit", "--events", "many.csv", "--spectrum", "uniform:low=0,high=1")
    assert code == 0
    (line,) = (line for line in told.splitlines() if line.startswith("optimum_interval"))
    assert line.split()[2:] == ["no", "limit", "no", "limit"]
    assert "optimum_interval at 0.90: unbounded: " in error


def test_a_hundred_thousand_events_take_seconds(found, tmp_path):
    rng = np.random.default_rng(4)
    energies = np.concatenate([2 + 8 * rng.uniform(0, 1, 100_000), [40.0]])
    (tmp_path / "many.csv").write_text("\n".join(map(str, energies.tolist())))
    rows = found("--events", "many.csv", "--spectrum", SPECTRUM, "-m", "max_gap", "-m", "poisson")["rows"]
    part = u_of(40) - u_of(energies[:-1].max())
    assert rows["max_gap", 0.9]["interval"]["high"] == 40
    assert rows["max_gap", 0.9]["upper"] == pytest.approx(gap_limit(part, 0.9), rel=1e-9)


REFUSED = [
    ("--events events.csv", "--events: positions are held against the signal's spectrum; give --spectrum, too"),
    ("--spectrum uniform:low=0,high=1", "--spectrum: belongs to the positions of events; give --events, too"),
    ("--n 3 --b 1 --background uniform:low=0,high=1", "--background: belongs to the positions of events"),
    ("--n 3 --b 1 --range 1,2", "--range: belongs to the positions of events"),
    ("--n 3 --b 1 --column E", "--column: belongs to the positions of events"),
    ("--events events.csv --spectrum s.csv --n 3", "--n: events are counted in their file; leave it out"),
    ("--events events.csv --spectrum s.csv --b-error 3", "--b-error: events are counted in their file"),
    ("--events events.csv --spectrum s.csv --coverage", "--coverage: is known from toys, not enumerated; `covsvc run`"),
    ("--events events.csv --spectrum s.csv --expected", "--expected: there is no expectation where the background is"),
    ("--events events.csv --spectrum s.csv --scale 2", "--scale: the spectrum tells what a cross section of 1 gives"),
    ("--events events.csv --spectrum s.csv --scan a.csv", "--scan: is of counts"),
    ("--events events.csv --spectrum s.csv --shape gamma", "--shape: that of a count's background"),
    ("--events events.csv --spectrum s.csv --s-max 3", "--s-max: how far the worst coverage is searched"),
    ("--events events.csv --spectrum s.csv --figure a.jpg", "--figure a.jpg: a picture of events is written as .png,"),
    ("--events events.csv --spectrum s.csv --range 5", "--range 5: give both ends as LOW,HIGH, for example 2,60"),
    ("--events events.csv --spectrum s.csv --range 1,5", "s.csv: the spectrum is known in [2, 10] only"),
    (
        "--events events.csv --spectrum uniform:low=2,high=60 -m max_gap --cl 1",
        "cl = 1.0: a confidence level lies in [0.5, 1)",
    ),
    ("--events events.csv --spectrum s.csv", "events.csv:2: energy (keV) = 21.5: outside of [2, 10], where the spec"),
    ("--events events.csv --spectrum s.csv --column E", "events.csv: E: unknown column"),
    ("--events none.csv --spectrum s.csv", "covsvc: none.csv: No such file or directory"),
    ("--events events.csv --spectrum none.csv", "covsvc: none.csv: No such file or directory"),
    ("--events events.csv --spectrum gauss:mean=3", "gauss: unknown density, and no file, did you mean 'gaussian'?"),
    ("--events events.csv --spectrum s.csv --background bad.csv", "bad.csv:2: dN/dE = -1: expected events are not neg"),
    ("--events events.csv --spectrum uniform:low=2,high=60 -m fc", "fc: unknown method"),
    ("--events events.csv --spectrum uniform:low=2,high=60 -m significance_sideband", "reads Sideband, OnOff"),
]


@pytest.mark.parametrize(("arguments", "told"), REFUSED)
def test_bad_input_exits_2_with_the_value_and_the_cure_and_draws_nothing(covsvc, events, tmp_path, arguments, told):
    (tmp_path / "s.csv").write_text("E,dN/dE\n2,3\n10,1\n")
    (tmp_path / "bad.csv").write_text("0,1\n20,-1\n")
    before = sorted(tmp_path.iterdir())
    code, out, error = covsvc("limit", *arguments.split())
    assert (code, out) == (2, "")
    assert told in error
    assert "Traceback" not in error
    assert sorted(tmp_path.iterdir()) == before


def test_the_example_of_the_documentation_can_be_read():
    seen = read_events(DOCS / "events.csv", read_signal(DOCS / "spectrum.csv"))
    assert (len(seen.positions), seen.name) == (11, "energy (keV)")
