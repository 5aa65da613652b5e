"""Positions of events, and spectra: their cumulative distributions, and what is refused of their files."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, stats

from covsvc.errors import ObservationError
from covsvc.event_file import read_background, read_events, read_signal, read_spectrum

ROWS = [(2.0, 4.0), (3.0, 1.0), (7.0, 0.0), (8.0, 0.0), (10.0, 3.0)]


@pytest.fixture
def file(tmp_path):
    """Write a file; return its path."""

    def write(text, name="some.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def table(file):
    return file("energy (keV),dN/dE\n" + "".join(f"{x},{y}\n" for x, y in ROWS), "spectrum.csv")


def area(x, rows=ROWS):
    """Return the integral of a density linear between `rows` up to x, exactly."""
    x, total = Fraction(x), Fraction(0)
    for (low, first), (high, last) in pairwise(rows):
        low, first, high, last = map(Fraction, (low, first, high, last))
        end = min(x, high)
        if end > low:
            there = first + (last - first) * (end - low) / (high - low)
            total += (end - low) * (first + there) / 2
    return total


def test_a_table_is_linear_between_its_rows(table):
    spectrum = read_signal(table)
    x = np.array([2.0, 2.25, 3.0, 4.5, 7.0, 7.3, 8.0, 9.9, 10.0])
    assert (spectrum.low, spectrum.high) == (2.0, 10.0)
    assert spectrum.total == pytest.approx(float(area(10)), rel=1e-15)
    exact = [float(area(value) / area(10)) for value in x.tolist()]
    np.testing.assert_allclose(spectrum.cdf(x), exact, rtol=1e-15)
    np.testing.assert_allclose(spectrum.density(np.array([2.5, 5.0, 7.5, 9.0])), [2.5, 0.5, 0.0, 1.5])


def test_a_cut_table_has_the_rest_of_the_events(table):
    spectrum = read_signal(table, (2.5, 9.0))
    whole = area(9) - area(2.5)
    assert spectrum.total == pytest.approx(float(whole), rel=1e-15)
    x = [2.5, 2.75, 5.0, 9.0]
    exact = [float((area(value) - area(2.5)) / whole) for value in x]
    np.testing.assert_allclose(spectrum.cdf(np.array(x)), exact, rtol=1e-14)


def test_the_tail_of_a_steep_table_loses_no_digits(file):
    rows = [(float(x), 10.0 ** (-2 * x)) for x in range(15)]
    path = file("".join(f"{x},{y!r}\n" for x, y in rows))
    spectrum = read_signal(path, (12.5, 14.0))
    # 1e-25 of what lies below: exact sums of the part alone
    part = [(12.5, float(spectrum.density(np.array([12.5]))[0])), *rows[13:]]
    np.testing.assert_allclose(spectrum.cdf(np.array([13.2])), float(area(13.2, part) / area(14, part)), rtol=1e-14)


NAMED = [
    ("uniform:low=2,high=60", stats.uniform(2, 58)),
    ("exponential:scale=10,low=2,high=60", stats.truncexpon(5.8, 2, 10)),
    ("gaussian:mean=5,width=3,low=2,high=60", stats.truncnorm(-1, 55 / 3, 5, 3)),
    ("gaussian:mean=-10,width=2,low=2,high=60", stats.truncnorm(6, 35, -10, 2)),
    ("gaussian:mean=80,width=3,low=2,high=60", stats.truncnorm(-26, -20 / 3, 80, 3)),
]


@pytest.mark.parametrize(("told", "expected"), NAMED)
def test_named_densities_are_those_of_scipy(told, expected):
    spectrum = read_signal(told + ",events=40")
    x = np.array([2.0, 2.5, 6.0, 11.0, 33.0, 59.9, 60.0])
    np.testing.assert_allclose(spectrum.cdf(x), expected.cdf(x), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(spectrum.density(x), 40 * expected.pdf(x), rtol=1e-9)
    assert (spectrum.low, spectrum.high, spectrum.total) == (2.0, 60.0, 40.0)


@pytest.mark.parametrize(("told", "expected"), NAMED)
def test_a_cut_named_density_has_the_rest_of_the_events(told, expected):
    spectrum = read_signal(told, (11.0, 33.0))
    share = expected.sf(11) - expected.sf(33) if expected.cdf(11) > 0.5 else expected.cdf(33) - expected.cdf(11)
    assert spectrum.total == pytest.approx(share, rel=1e-9)
    whole, _ = integrate.quad(expected.pdf, 11, 33, epsrel=1e-12, epsabs=0, points=[12, 30])
    part, _ = integrate.quad(expected.pdf, 11, 12.5, epsrel=1e-12, epsabs=0)
    assert spectrum.cdf(np.array([11.0, 12.5, 33.0])) == pytest.approx([0.0, part / whole, 1.0], rel=1e-9)


def test_events_are_read_with_a_header_or_without(file):
    spectrum = read_signal("uniform:low=0,high=10")
    for text in ("7\n1.5\n3e0\n", "energy (keV)\n7\n1.5\n3\n", "\ufeff# seen\n\n 7 \r\n1.5\r\n  # none\n3"):
        assert read_events(file(text), spectrum).positions.tolist() == [1.5, 3.0, 7.0]
    assert read_events(file("energy (keV)\n7\n"), spectrum).name == "energy (keV)"
    assert read_events(file("7\n"), spectrum).name == "position"


def test_one_of_several_columns_is_chosen(file):
    spectrum = read_signal("uniform:low=0,high=10")
    for mark in (",", ";", "\t", "  "):
        lines = [["id", "E", "t"], ["1", "7", "x"], ["2", "1.5", "y"]]
        path = file("\n".join(mark.join(line) for line in lines))
        seen = read_events(path, spectrum, column="E")
        assert (seen.positions.tolist(), seen.name) == ([1.5, 7.0], "E")


def test_no_event_is_an_observation(file):
    spectrum = read_signal("uniform:low=0,high=10")
    for text in ("energy (keV)\n", "# nothing came\nid,E\n"):
        seen = read_events(file(text), spectrum)
        assert seen.data == {"u": []}
        assert seen.left_out == 0


def test_the_name_of_the_positions_may_stand_over_the_spectrum(file, table):
    assert read_events(file("3\n"), read_signal(table)).name == "energy (keV)"


def test_events_are_told_by_both_cumulative_spectra(file, table):
    signal = read_signal(table)
    known = read_background("exponential:scale=5,low=0,high=20,events=3", signal)
    seen = read_events(file("9\n2.5\n10\n2\n2.5\n"), signal, known)
    at = [2.0, 2.5, 2.5, 9.0, 10.0]
    assert seen.data["u"] == pytest.approx([float(area(x) / area(10)) for x in at], rel=1e-14)
    assert seen.data["b"] == pytest.approx(3 * (math.exp(-0.4) - math.exp(-2)) / (1 - math.exp(-4)), rel=1e-14)
    assert seen.data["v"] == pytest.approx(stats.truncexpon(1.6, 2, 5).cdf(at), rel=1e-12)


def test_a_background_of_nothing_is_none(table, file):
    assert read_background(file("0,0\n20,0\n", "none.csv"), read_signal(table)) is None


def test_a_cut_leaves_events_out_and_counts_them(file, table):
    path = file("1\n2\n3\n9.5\n11\n")
    seen = read_events(path, read_signal(table, (2.5, 9.0)), cut=True)
    assert (seen.positions.tolist(), seen.left_out) == ([3.0], 4)


def test_the_cdf_never_falls_from_one_event_to_the_next(file):
    rng = np.random.default_rng(5)
    nodes = np.cumsum(rng.uniform(1e-3, 1.0, 400))
    path = file(
        "".join(f"{x!r},{y!r}\n" for x, y in zip(nodes.tolist(), rng.exponential(1, 400).tolist(), strict=True))
    )
    spectrum = read_signal(path)
    x = np.sort(np.concatenate([nodes, np.nextafter(nodes[1:], 0), rng.uniform(nodes[0], nodes[-1], 20_000)]))
    seen = read_events(file("\n".join(map(repr, x.tolist())), "events.csv"), spectrum)
    u = np.array(seen.data["u"])
    assert (np.diff(u) >= 0).all()
    assert (u[0], u[-1]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ": a spectrum is a table of two rows at least, position and dN/dE; it has 0"),
        ("E,dN/dE\n", ": a spectrum is a table of two rows at least"),
        ("E,dN/dE\n1,2\n", "; it has 1"),
        ("E,dN/dE,error\n1,2,3\n4,5,6\n", ": a spectrum has two columns, position and dN/dE, this has 3"),
        ("1\n2\n3\n", ": a spectrum has two columns, position and dN/dE, this has 1"),
        ("E,dN/dE\n1,2\n2,-1\n", ":3: dN/dE = -1: expected events are not negative"),
        ("E,dN/dE\n1,2\n2,nan\n", ":3: dN/dE = nan: must be finite"),
        ("E,dN/dE\n1,2\ninf,2\n", ":3: E = inf: must be finite"),
        ("E,dN/dE\n1,2\n2,two\n", ":3: dN/dE = 'two': is no number"),
        ("E,dN/dE\n1,2\n3,2\n2,2\n", ":4: E = 2 follows 3: the positions of a spectrum ascend"),
        ("1,2\n3,2\n3,5\n", ":3: position = 3 follows 3: "),
        ("1,2\n3\n", ":2: 1 values in a row where others have 2"),
        ("1,0\n3,0\n", ": a cross section of 1 gives 0 events in [1, 3]"),
        ("1,1e200\n3,1\n", ": a cross section of 1 gives 1e+200 events in [1, 3]; they must be from"),
        ("1,1e308\n9,1e308\n", "is beyond all numbers; choose other units"),
        ("-1e308,1\n1e308,1\n", "is beyond all numbers; choose other units"),
        ("recoil energy dN/dE\n1 2\n3 4\n", ":1: 3 names over 2 columns; separate both with commas"),
        (b"\xff\xfe1\x00", ": byte 0 is no text in UTF-8"),
    ],
)
def test_a_refused_spectrum_names_the_line_and_the_value(file, text, told):
    path = file(text)
    with pytest.raises(ObservationError) as refused:
        read_signal(path)
    assert str(refused.value).startswith(str(path))
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("exponentail:scale=1,low=0,high=3", "unknown density, and no file, did you mean 'exponential'?"),
        ("uniform", "spectrum uniform: low is missing; give low, high, events as OPTION=NUMBER"),
        ("exponential:low=0,high=3", "scale is missing; give low, high, events, scale as OPTION=NUMBER"),
        ("exponential:scale=1,low=0,hihg=3", "hihg: unknown option of exponential, did you mean 'high'?"),
        ("exponential:scale=0,low=0,high=3", "scale = 0: must be above 0"),
        ("gaussian:mean=1,width=-1,low=0,high=3", "width = -1: must be above 0"),
        ("uniform:low=0,high=3,events=0", "events = 0: must be above 0"),
        ("uniform:low=3,high=3", "low = 3 is not below high = 3"),
        ("uniform:low=0,high=nan", "high = nan: must be finite"),
        ("uniform:low=0,high=a", "high = 'a': is no number"),
        ("gaussian:mean=1,width=1,low=50,high=60", "nothing of it lies in [50, 60]"),
        ("uniform:low=0,high=3,events=1e200", "gives 1e+200 events in [0, 3]"),
    ],
)
def test_a_refused_density_names_the_option(given, told):
    with pytest.raises(ObservationError) as refused:
        read_signal(given)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("within", "told"),
    [
        ((1, 5), "the spectrum is known in [2, 10] only, which does not hold [1, 5]"),
        ((5, 10.5), "which does not hold [5, 10.5]"),
        ((5, 5), "range 5,5: the lower end comes first"),
        ((math.nan, 5), "range nan,5: "),
        ((7, 8), "a cross section of 1 gives 0 events in [7, 8]"),
    ],
)
def test_a_range_outside_of_the_spectrum_or_without_signal_is_refused(table, within, told):
    with pytest.raises(ObservationError) as refused:
        read_signal(table, within)
    assert told in str(refused.value)


def test_a_background_must_be_told_where_the_signal_is(table):
    with pytest.raises(
        ObservationError, match=r"the background is known in \[3, 20\] only, which does not hold \[2, 10\]"
    ):
        read_background("uniform:low=3,high=20", read_signal(table))


@pytest.mark.parametrize(
    ("text", "column", "told"),
    [
        ("", None, ": is empty; if nothing was observed, write a header alone, for example energy"),
        ("e\t5", None, ":1: e 5: neither a header nor a row of numbers"),
        ("# only\n", None, ": is empty; "),
        ("E\n3\n10.5\n", None, ":3: E = 10.5: outside of [2, 10], where the spectrum is known"),
        ("3\n1.999999\n", None, ":2: energy (keV) = 1.999999: outside of [2, 10]"),
        ("3\nnan\n", None, ":2: energy (keV) = nan: must be finite"),
        ("3\n-inf\n", None, ":2: energy (keV) = -inf: must be finite"),
        ("3\nfour\n", None, ":2: energy (keV) = 'four': is no number"),
        ("3,\n", None, ": has 2 columns without a header; keep that of the positions"),
        ("3,5\n", None, ": has 2 columns without a header"),
        ("id,E\n1,3\n", None, ": has the columns id, E; say which holds the positions, for example --column id"),
        ("id,E\n1,3\n", "e", ": e: unknown column"),
        ("3\n", "E", ": E: unknown column; known are none"),
        ("id,E\n1,3\n4\n", "E", ":3: 1 values in a row where others have 2"),
        ("id,E\n1,\n", "E", ":2: E = '': is no number"),
        ('E\n"3\n', None, ":2: E = '\"3': is no number"),
    ],
)
def test_refused_events_name_the_line_and_the_value(file, table, text, column, told):
    path = file(text)
    with pytest.raises(ObservationError) as refused:
        read_events(path, read_signal(table), column=column)
    assert str(refused.value).startswith(str(path))
    assert told in str(refused.value)


def test_a_named_density_is_told_from_a_file_of_that_name(file, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    file("1,2\n3,4\n", "uniform:low=0,high=1")
    assert read_spectrum("uniform:low=0,high=1").total == 6.0
