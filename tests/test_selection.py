"""Selection of labels, values and ranges; verdicts and rows of cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from covsvc.errors import StudyError, UnknownName
from covsvc.selection import AXES, COLUMNS, Wanted, cell_verdict, rows_of, select, wanted, wanted_of

NO = np.nan


def maps_of(exact=NO, low=0.9, n_toys=1000, under=False, **variables):
    """Return maps of two methods at two cl on three b and four s_true, the same in all cells but for `variables`."""
    coords = {"limit_method": ["cls", "zech"], "cl": [0.9, 0.95], "b": [0.0, 0.3, 3.0], "s_true": [0.0, 1.0, 2.5, 6.0]}
    shape = tuple(map(len, coords.values()))
    values = dict.fromkeys([*COLUMNS, "exact_p_empty", "exact_p_unbounded", "exact_p_failed"], 0.5)
    values |= {
        "exact_coverage": exact,
        "coverage_low": low,
        "n_toys": n_toys,
        "n_covered": 7,
        "under_significant": under,
    }
    values = {name: value for name, value in (values | variables).items() if name not in coords}
    return xr.Dataset({name: (AXES, np.full(shape, value)) for name, value in values.items()}, coords)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2.5", Wanted((2.5,))),
        ("1, 2,3,2", Wanted((1.0, 2.0, 3.0))),
        ("0:5", Wanted(None, 0.0, 5.0)),
        (":5", Wanted(None, -math.inf, 5.0)),
        ("1e-3:", Wanted(None, 1e-3, math.inf)),
        (":", Wanted()),
    ],
)
def test_a_text_is_a_value_some_values_or_a_range(text, meant):
    assert wanted(text, "b") == meant
    assert wanted(str(meant), "b") == meant


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "1,", "1:x", "nan:1", "0:inf", "1:2:3", "1;2", "0x10", "[1]"])
def test_another_text_is_refused_with_what_it_could_be(text):
    with pytest.raises(StudyError, match=r"^b = .*: give a number \(2\.5\), numbers \(1,2,3\) or a range"):
        wanted(text, "b")


@pytest.mark.parametrize("given", ["5:1", slice(5, 1)])
def test_a_reversed_range_is_refused_with_the_right_one(given):
    with pytest.raises(StudyError, match=r"s_true = 5:1: the range is reversed; write 1:5"):
        wanted_of(given, "s_true")


@given(st.text(max_size=12))
def test_any_text_is_finite_numbers_or_a_refusal(text):
    try:
        found = wanted(text, "b")
    except StudyError:
        return
    assert found.low <= found.high
    assert all(map(math.isfinite, found.values or ()))


@pytest.mark.parametrize("given", [2.5, np.float64(2.5), [2.5], (2.5, 2.5), np.array([2.5]), "2.5", Wanted((2.5,))])
def test_numbers_sequences_and_texts_mean_the_same(given):
    assert wanted_of(given, "s_true") == Wanted((2.5,))


@pytest.mark.parametrize("given", [object(), [[1.0], [1.0, 2.0]], ["x"], {"a": 1}, slice(0, 5, 2), [math.nan], 10**400])
def test_what_is_no_number_is_refused(given):
    with pytest.raises(StudyError, match="s_true = "):
        wanted_of(given, "s_true")


def test_floats_are_found_though_they_were_rounded():
    found = select(maps_of(), b=0.1 + 0.2, s_true=[2.5 * (1 + 1e-12), 0])
    assert found.sizes == {"limit_method": 2, "cl": 2, "s_true": 2}
    assert (float(found["b"]), found["s_true"].values.tolist()) == (0.3, [2.5, 0.0])
    assert select(maps_of(), b=slice(0.1 + 0.2, 3 - 1e-10))["b"].values.tolist() == [0.3, 3.0]


def test_single_values_drop_their_dimension_and_ranges_keep_it():
    maps = maps_of()
    assert select(maps, limit_method="zech", cl=0.9, b=3, s_true=1).sizes == {}
    assert select(maps, limit_method=["zech"], cl="0.9", b=slice(None, 1), s_true="7:").sizes == {
        "limit_method": 1,
        "cl": 1,
        "b": 2,
        "s_true": 0,
    }
    xr.testing.assert_identical(select(maps), maps)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"b": 0.30001}, "b = 0.30001: not on the grid; there are 0, 0.3, 3"),
        ({"cl": [0.9, 0.99]}, "cl = 0.99: not on the grid; there are 0.9, 0.95"),
        (
            {"limit_method": "zecj"},
            "zecj: unknown limit method of the study, did you mean 'zech'?; known are cls, zech",
        ),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(asked, told):
    with pytest.raises(StudyError) as refused:
        select(maps_of(), **asked)
    assert str(refused.value) == told


def test_of_a_part_the_same_is_selected_again_and_nothing_else():
    maps = maps_of()
    part = select(maps, limit_method="zech", b=3)
    xr.testing.assert_identical(select(part, limit_method="zech", b=[3], cl=0.9), select(part, cl=0.9))
    with pytest.raises(UnknownName, match="known are zech"):
        select(part, limit_method="cls")
    with pytest.raises(StudyError, match=r"b = 0.3: not on the grid; there are 3$"):
        select(part, b=0.3)
    with pytest.raises(StudyError, match=r"b: only 3.0 is left here"):
        select(part, b="5:")


def test_a_long_axis_is_told_by_the_values_beside():
    maps = xr.Dataset(coords={"s_true": np.arange(40) / 2})
    with pytest.raises(StudyError, match=r"s_true = 2.6: not on the grid; the nearest are 2.5 and 3$"):
        select(maps, s_true=2.6)
    with pytest.raises(StudyError, match=r"s_true = 99: not on the grid; the nearest are 19.5$"):
        select(maps, s_true=99)


@pytest.mark.parametrize(
    ("exact", "low", "n_toys", "under", "verdict"),
    [
        (0.85, 0.99, 1000, True, "under"),
        (0.93, 0.96, 1000, False, "ok"),  # what is exact counts, whatever toys say
        (0.95, 0.90, 1000, False, "over"),  # half of the 0.1 that may miss
        (0.9499, 0.99, 1000, False, "ok"),
        (NO, 0.951, 1000, False, "over"),
        (NO, 0.949, 1000, False, "ok"),
        (NO, 0.80, 1000, True, "under"),
        (NO, NO, 0, False, "unknown"),
        (0.96, NO, 0, False, "over"),
    ],
)
def test_a_verdict_goes_by_the_exact_value_or_else_by_the_interval(exact, low, n_toys, under, verdict):
    maps = maps_of(exact, low, n_toys, under)
    assert set(cell_verdict(maps).sel(cl=0.9).values.ravel().tolist()) == {verdict}
    assert str(cell_verdict(maps.isel(limit_method=0, cl=0, b=0, s_true=0)).values) == verdict
    assert {row["verdict"] for row in rows_of(maps.isel(cl=[0]))} == {verdict}


def test_rows_have_the_names_and_the_order_of_the_maps():
    maps = maps_of(0.93, sigma_med=math.inf)
    maps["coverage"] = AXES, np.arange(48.0).reshape(2, 2, 3, 4)
    rows = rows_of(maps.transpose("s_true", "b", "cl", "limit_method"))
    assert [tuple(row) for row in rows] == [tuple(COLUMNS)] * 48
    assert [row["coverage"] for row in rows] == np.arange(48.0).tolist()
    last = rows[-1]
    assert (last["limit_method"], last["cl"], last["b"], last["s_true"]) == ("zech", 0.95, 3.0, 6.0)
    assert (type(last["n_toys"]), type(last["limit_method"]), last["sigma_med"]) == (int, str, math.inf)
    assert rows_of(maps.isel(b=1, limit_method=0)) == [
        row for row in rows if (row["b"], row["limit_method"]) == (0.3, "cls")
    ]


def test_rows_say_where_their_numbers_come_from():
    (row,) = rows_of(maps_of(0.9, n_toys=0, p_empty=NO, exact_p_empty=0.25).isel(limit_method=0, cl=0, b=0, s_true=0))
    assert (row["source"], row["p_empty"], row["neighbour_of"]) == ("exact", 0.25, "")
    (row,) = rows_of(maps_of(NO, p_empty=0.125).isel(limit_method=0, cl=0, b=0, s_true=0))
    assert (row["source"], row["p_empty"]) == ("toys", 0.125)
    (row,) = rows_of(maps_of(NO, n_toys=0).isel(limit_method=0, cl=0, b=0, s_true=0))
    assert row["source"] == ""


def test_an_unknown_label_is_an_unknown_name():
    with pytest.raises(UnknownName):
        select(maps_of(), limit_method=["cls", "nix"])
