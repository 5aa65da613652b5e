"""Real data by name, and row by row in a CSV file."""

from __future__ import annotations

import pytest

from covsvc.data_file import Observed, observation_of, read_scan, scale_of
from covsvc.errors import CovsvcError, ObservationError


@pytest.fixture
def scan_file(tmp_path):
    """Write a scan; return its path."""

    def write(text):
        path = tmp_path / "scan.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_the_names_of_data_tell_the_experiment():
    assert observation_of({"n": 3, "b": 5.5}) == Observed("counting", {}, {"n": 3.0, "b": 5.5})
    assert observation_of({"tau": 2, "n_off": 11, "n_on": 3}) == Observed(
        "on_off", {"tau": 2.0}, {"n_on": 3.0, "n_off": 11.0}
    )
    sideband = {"n": 3, "n_out": 15, "n_sb": 10, "zeta": 0.25, "zeta_sb": 0.5}
    assert observation_of(sideband) == Observed(
        "on_off", {"tau": 2.0}, {"n": 3.0, "n_out": 15.0, "n_sb": 10.0, "zeta": 0.25}
    )


@pytest.mark.parametrize(
    ("b", "b_error", "options"),
    [
        (5.5, 0, {}),
        (5.5, 1.1, {"shape": "truncated_gaussian", "relative_b_error": pytest.approx(0.2)}),
        (5.5, 20, {"shape": "truncated_gaussian"}),  # no toys have such an error, but the limit is defined
        (5.5, 1e-9, {"shape": "truncated_gaussian"}),
        (0, 1, {"shape": "truncated_gaussian"}),
    ],
)
def test_an_error_of_the_background_is_an_option_of_the_toys_where_they_can_have_it(b, b_error, options):
    found = observation_of({"n": 3, "b": b, "b_error": b_error}, "truncated_gaussian")
    assert (found.experiment, found.options) == ("counting", options)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "given: nothing; data are one of\n  n, b: a count"),
        ({"n": 3}, "given: n; data are one of"),
        ({"n_on": 3, "n_off": 2}, "\n  n_on, n_off, tau: counts on and off source"),
        ({"n": 3, "b": 1, "tau": 1}, "given: n, b, tau;"),
        ({"n_on": 3, "n_off": 2, "tau": 1, "b_error": 1}, "given: n_on, n_off, tau, b_error;"),
        ({"n": "three", "b": 1}, "n = 'three': is no number"),
        ({"n": None, "b": 1}, "n = None: is no number"),
        ({"n": float("nan"), "b": 1}, "n = nan: must be finite"),
        ({"n": 3, "b": float("inf")}, "b = inf: must be finite"),
        ({"n": -1, "b": 1}, "n = -1.0: a count of events is a whole number >= 0"),
        ({"n": 1e7, "b": 1}, "at most 1,000,000"),
        ({"n": 3, "b": -1}, "b = -1: an expected background is a number of events >= 0"),
        ({"n": 3, "b": 5, "b_error": -1}, "b_error = -1: an expected background"),
        ({"n": 3, "b": 0, "b_error": 1}, "no gamma distribution of mean 0 has a width; give b > 0"),
        ({"n_on": 3.5, "n_off": 2, "tau": 1}, "n_on = 3.5: a count of events is a whole number >= 0"),
        ({"n_on": 3, "n_off": 1e13, "tau": 1}, "at most 1,000,000,000,000"),
        ({"n_on": 3, "n_off": 2, "tau": 0}, "tau = 0: the expected background off source over that on source lies in"),
        ({"n_on": 3, "n_off": 2, "tau": -1}, "tau = -1: "),
        ({"n_on": 3, "n_off": 2, "tau": 1e9}, "tau = 1e+09: "),
        ({"n": 3, "n_out": 5, "n_sb": 10, "zeta": 0.2, "zeta_sb": 0.5}, "n_sb = 10 is above n_out = 5"),
        ({"n": 3, "n_out": 5, "n_sb": 1, "zeta": 1, "zeta_sb": 0.5}, "zeta = 1: the signal region is a part"),
        ({"n": 3, "n_out": 5, "n_sb": 1, "zeta": 0, "zeta_sb": 0.5}, "zeta = 0.0: a ratio of expected backgrounds"),
        (
            {"n": 3, "n_out": 5, "n_sb": 1, "zeta": 0.2, "zeta_sb": 0},
            "zeta_sb = 0: the signal region over the sideband",
        ),
        ({"n": 3, "n_out": 5, "n_sb": 1, "zeta": 0.2, "zeta_sb": 1e9}, "lies in [1e-06, 10000]"),
    ],
)
def test_refused_data_are_named_with_their_value(given, told):
    with pytest.raises(CovsvcError) as refused:
        observation_of(given)
    assert told in str(refused.value)


@pytest.mark.parametrize("given", [0, -1, "nan", "inf", 1e308, 1e-308])
def test_a_scale_is_above_0_and_leaves_room_for_the_limit(given):
    with pytest.raises(ObservationError, match="scale = "):
        scale_of(given)


def test_a_scan_is_read_in_ascending_order_past_byte_order_mark_comments_and_blank_lines(scan_file):
    text = (
        b"\xef\xbb\xbf# limits of 2026, with a \"quote\r\n"
        b"mass (GeV) , n,b,scale\r\n\r\n300,1,0.5,2\r\n,,,\r\n 100 , 3 , 1.5 , 4e-7\r\n  # 150,1,1,1\r\n\"200\",0,1,1\r\n"
    )  # fmt: skip
    name, points = read_scan(scan_file(text))
    assert name == "mass (GeV)"
    assert [(point.parameter, point.scale) for point in points] == [(100.0, 4e-7), (200.0, 1.0), (300.0, 2.0)]
    assert [point.observed.data for point in points] == [{"n": 3, "b": 1.5}, {"n": 0, "b": 1}, {"n": 1, "b": 0.5}]


def test_a_scan_may_have_columns_in_any_order_and_no_scale(scan_file):
    name, points = read_scan(scan_file("m_H,tau,n_off,n_on\n-1,2,11,3\n"))
    assert (name, len(points), points[0].parameter, points[0].scale) == ("m_H", 1, -1.0, 1.0)
    assert points[0].observed == observation_of({"n_on": 3, "n_off": 11, "tau": 2})
    _, points = read_scan(scan_file("x,n,b,b_error\n1,3,5,1\n2,3,5,0\n"), "truncated_gaussian")
    assert [point.observed.options.get("shape") for point in points] == ["truncated_gaussian", None]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ": holds no points; give a header such as 'mass,n,b' and a row a point"),
        ("mass,n,b\n", ": holds no points"),
        ("# only\n\n , ,\n", ": holds no points"),
        ("mass,n,b\n1,2\n", ":2: 2 values under 3 names"),
        ("mass,n,b\n1,2,3,\n", ":2: 4 values under 3 names"),
        ("mass,n,b\n\n# a comment\n1,2,3\n2,two,3\n", ":5: n = 'two': is no number"),
        ("mass,n,b\n1,,3\n", ":2: n = '': is no number"),
        ("mass,n,b\n1,-2,3\n", ":2: n = -2.0: a count of events is a whole number >= 0"),
        ("mass,n,b\n1,2.5,3\n", ":2: n = 2.5: a count"),
        ("mass,n,b\nnan,2,3\n", ":2: mass = nan: must be finite"),
        ("mass,n,b\n1,2,3\n1.0,3,3\n", ": mass = 1 stands twice"),
        ("mass,n,b,scale\n1,2,3,0\n", ":2: scale = 0: "),
        ("mass,n,b,scale\n1,2,3,-1\n", ":2: scale = -1: "),
        ("mass,n_on,n_off,tau\n1,2,3,0\n", ":2: tau = 0: "),
        ("mass,n,b,efficiency\n1,2,3,4\n", ":1: efficiency: unknown column"),
        ("mass,n_on,noff,tau\n1,2,3,4\n", ":1: noff: unknown column, did you mean 'n_off'?"),
        ("mass,n,b,\n1,2,3,\n", ":1: column 4 has no name"),
        (",n,b\n0,2,3\n", ":1: the first column has no name; it holds the model parameter"),
        ("mass,n,n,b\n1,2,3,4\n", ":1: a column stands twice in n, n, b"),
        ("n,b\n1,2\n", ":1: the columns after the parameter, n, are b; data are one of"),
        ("mass;n;b\n1;2;3\n", ":1: 'mass;n;b' is one column; separate columns with commas"),
        ("mass,n_on,n_off,tau,b_error\n1,2,3,1,1\n", "b_error; data are one of"),
        ('mass,n,b\n1,2,"3\n', ":2: unexpected end of data"),
        (b"m\xe9,n,b\n1,2,3\n", ": byte 1 is no text in UTF-8"),
        (b"\xff\xfem\x00,\x00n\x00", ": byte 0 is no text in UTF-8"),
    ],
)
def test_a_refused_scan_names_the_line_and_the_value(scan_file, text, told):
    path = scan_file(text)
    with pytest.raises(ObservationError) as refused:
        read_scan(path)
    assert str(refused.value).startswith(str(path))
    assert told in str(refused.value)
