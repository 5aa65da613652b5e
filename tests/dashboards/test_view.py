"""What is looked at, without a browser."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qs

import pytest

from covsvc import api
from covsvc_dashboards.fitting import brushed, fitted
from covsvc_dashboards.live import sentence_of
from covsvc_dashboards.style import DARK, LIGHT
from covsvc_dashboards.view import View, asked_of

WHOLE = View(
    study="tiny",
    at="v1",
    page="compare",
    limit_method='f, c & "<b>',
    cl=0.9,
    b=1.0,
    s_true=1 / 3,
    s_low=0.0,
    s_high=1e-9,
    other="a=b",
    other_at="main",
    slices=('f, c & "<b>', "a=b"),
    theme="dark",
)


def read(address):
    told = parse_qs(address)
    return asked_of({name: [each.encode() for each in values] for name, values in told.items()})


@pytest.fixture(scope="module")
def maps(store):
    return api.read_maps(store, "tiny")


def test_address_reproduces_the_view():
    assert WHOLE.address().count("&") == 13
    view, wrong = read(WHOLE.address())
    assert (view, wrong) == (replace(WHOLE, s_true=0.333333333333), [])


def test_spaces_at_the_ends_are_part_of_a_label():
    view = View(study="tiny", limit_method=" a ", slices=(" b",))
    assert read(view.address()) == (view, [])
    assert read("study=+&limit_method=+&slices=+&cl=+0.9+") == (View(cl=0.9), [])


def test_address_tells_only_what_was_chosen():
    assert View(study="tiny").address() == "study=tiny"
    assert read("") == (View(), [])


@pytest.mark.parametrize("value", ["x", "nan", "inf", "-inf", "1e999", "1,5"])
def test_what_is_no_number_is_said_and_left_out(value):
    view, wrong = read(f"study=tiny&b={value}")
    assert view == View(study="tiny")
    assert len(wrong) == 1
    assert wrong[0].startswith(f"b = {value}: ")


def test_page_that_is_none_is_said_and_left_out():
    view, wrong = read("page=nowhere")
    assert view == View()
    assert wrong == ["page = nowhere: there are maps, compare, methods, history"]


def test_bytes_that_are_no_text_are_taken_as_they_are():
    view, wrong = asked_of({"study": [b"\xff\xfe"], "unknown": [b"1"]})
    assert (view.study, wrong) == ("\ufffd\ufffd", [])


def test_view_without_choices_gets_the_first_method_and_level(maps):
    view, wrong = fitted(View(study="tiny"), maps)
    assert (view, wrong) == (View(study="tiny", limit_method="classical", cl=0.9), [])


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"limit_method": "<b>"}, "limit_method = <b>: not in this commit of the study; classical is shown"),
        ({"cl": 0.5}, "cl = 0.5: not on the grid; the nearest are 0.9"),
        ({"b": 1.2, "s_true": 1.0}, "b = 1.2: not on the grid; the nearest are 1 and 3"),
        ({"b": 1.0, "s_true": -7.0}, "s_true = -7: not on the grid; the nearest are 0"),
        ({"slices": ("f, c", "<b>")}, "slices = <b>: not in this commit of the study"),
        ({"s_low": 7.0}, "s_true from 7: nothing on the grid lies there; all of it is shown"),
        ({"s_low": 3.0, "s_high": 2.0}, "s_true from 3 to 2: nothing on the grid lies there; all of it is shown"),
        (
            {"b": 1.0, "s_true": 1.0, "s_low": 2.0},
            "s_true = 1: not in the range of s_true that is shown; no cell is chosen",
        ),
    ],
)
def test_what_is_not_there_is_said_and_replaced(maps, asked, told):
    view, wrong = fitted(View(study="tiny", **asked), maps)
    assert wrong == [told]
    assert fitted(view, maps) == (view, [])


def test_a_number_of_a_cell_is_completed_by_where_coverage_is_lowest(maps):
    """At b = 0 bayes_jeffreys covers s_true = 1.5 only where there is an event: 1 - exp(-1.5), the least of its row."""
    view, wrong = fitted(View(study="tiny", limit_method="bayes_jeffreys", cl=0.9, b=0.0), maps)
    assert (view.b, view.s_true, wrong) == (0.0, 1.5, [])


def test_methods_of_the_slices_stand_in_the_order_of_the_study(maps):
    view, wrong = fitted(read("study=tiny&slices=mine&slices=&slices=f%2C+c&slices=mine")[0], maps)
    assert (view.slices, wrong) == (("f, c", "mine"), [])


def test_range_that_cuts_nothing_off_is_none(maps):
    view, wrong = fitted(View(study="tiny", s_low=0.0, s_high=6.0), maps)
    assert (view.s_low, view.s_high, wrong) == (None, None, [])


def test_lowest_coverage_outside_of_the_range_is_not_shown(maps):
    """What is lowest between the nodes lies at the largest s that a limit excludes, far below s_true = 4 here."""
    assert brushed(maps, None, None) is maps
    part = brushed(maps, 1.0, 4.0)
    assert part["s_true"].to_numpy().tolist() == [1.0, 1.5, 2.5, 4.0]
    where = part["worst_s_true"].to_numpy()
    assert (((where >= 1.0) & (where <= 4.0)) | (where != where)).all()
    outside = maps["worst_s_true"].where((maps["worst_s_true"] < 1.0) | (maps["worst_s_true"] > 4.0))
    assert part["worst_coverage"].where(outside.notnull()).isnull().all()
    inside = outside.isnull()
    assert part["worst_coverage"].where(inside).equals(maps["worst_coverage"].where(inside))


STATE = {
    "complete": False,
    "blocks": 400,
    "blocks_done": 248,
    "blocks_failed": 0,
    "at_most": False,
    "toys_per_second": 1_234_567.0,
    "seconds_left": 40.2,
    "driver": "host, pid 7",
    "snapshot": "ABC",
}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({}, "Being run: 248 of 400 blocks, 1.23 M toys/s, about 40 s left."),
        (
            {"seconds_left": 7300.0, "blocks_failed": 2},
            "Being run: 248 of 400 blocks, 2 failed, 1.23 M toys/s, about 2.0 h left.",
        ),
        ({"driver": "", "seconds_left": None}, "Not complete: 248 of 400 blocks; nobody works on it."),
        ({"at_most": True, "seconds_left": None}, "Being run: 248 of at most 400 blocks, 1.23 M toys/s."),
        ({"snapshot": "", "toys_per_second": None, "seconds_left": None}, "Being run: nothing is committed yet."),
        ({"complete": True, "driver": ""}, ""),
    ],
)
def test_work_is_told_in_a_sentence(state, said):
    assert sentence_of(STATE | state) == said


@pytest.mark.parametrize("colours", [LIGHT, DARK])
def test_text_can_be_read(colours):
    """The contrast of WCAG 2.1, 1.4.3: 4.5 for text, and 3 for what is no text (1.4.11)."""

    def luminance(colour):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(colour):
        dark, light = sorted((luminance(colour), luminance(colours.paper)))
        return (light + 0.05) / (dark + 0.05)

    assert min(contrast(each) for each in (colours.ink, colours.muted, colours.accent)) >= 4.5
    assert contrast(colours.line) >= 3
