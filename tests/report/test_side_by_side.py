"""Medians and mistakes of all methods in the same axes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from covsvc.report.column import columns
from covsvc.report.medians import MEDIANS, describe_medians, draw_medians
from covsvc.report.mistakes import MISTAKES, describe_mistakes, draw_mistakes
from covsvc.report.picture import drawing
from covsvc.report.side_by_side import compared_cells
from covsvc.report.strokes import PAPER, strokes

STYLES = strokes({label: {"name": label} for label in ("max_gap", "optimum_interval", "p_max", "poisson")})


@pytest.fixture(scope="module")
def maps(make_event_maps):
    return make_event_maps()


@pytest.fixture(scope="module")
def every(maps):
    return list(columns(maps))


def lines_of(axes):
    """Return the lines that hold a value at each node."""
    return [line for line in axes.lines if len(line.get_xdata()) > 2]


@pytest.mark.parametrize("draw", [draw_medians, draw_mistakes])
def test_lines_are_those_of_the_captions(every, draw):
    # Figs. 3 and 4 of S. Yellin, Phys. Rev. D 66 (2002) 032005: C_0 dotted, C_Max dashed, p_Max dash-dotted, Poisson
    # solid
    lines = lines_of(draw(every, STYLES).axes[0])
    patterns = [line._unscaled_dash_pattern[1] for line in lines]
    assert [pattern and len(pattern) for pattern in patterns] == [2, 2, 4, None]
    dot, dash = (pattern[0] for pattern in patterns[:2])
    assert dot < 1.5 < dash
    assert len({line.get_color() for line in lines}) == 4


def test_medians_are_drawn_in_their_interval(every, maps):
    axes = draw_medians(every, STYLES).axes[0]
    for line, band, label in zip(lines_of(axes), axes.collections, maps["limit_method"].to_numpy(), strict=True):
        ratio = maps["sigma_med_over_true"].sel(limit_method=label).to_numpy().ravel()
        np.testing.assert_array_equal(line.get_xdata(), maps["s_true"])
        np.testing.assert_array_equal(line.get_ydata(), ratio)
        box = band.get_paths()[0].vertices
        assert box[:, 1].min() == pytest.approx(0.99 * ratio.min(), rel=1e-12)
        assert box[:, 1].max() == pytest.approx(1.01 * ratio.max(), rel=1e-12)


def test_mistakes_are_one_minus_coverage_with_clopper_pearson_bands(every, maps):
    axes = draw_mistakes(every, STYLES).axes[0]
    for line, band, label in zip(lines_of(axes), axes.collections, maps["limit_method"].to_numpy(), strict=True):
        missed = (maps["n_toys"] - maps["n_covered"]).sel(limit_method=label).to_numpy().ravel()
        np.testing.assert_allclose(line.get_ydata(), missed / 10_000, atol=1e-15)
        highest = stats.beta.ppf(0.975, missed.max() + 1, 10_000 - missed.max())
        assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(highest, rel=1e-9)
    nominal = [line.get_ydata() for line in axes.lines if len(line.get_xdata()) == 2]
    assert nominal == [pytest.approx([0.1, 0.1])]


def test_there_is_a_panel_for_each_background(make_event_maps):
    every = list(columns(make_event_maps(b=(0.0, 2.0, 5.5))))
    for draw in (draw_medians, draw_mistakes):
        assert [axes.get_title() for axes in draw(every, STYLES).axes] == ["b = 0", "b = 2", "b = 5.5"]


def test_axis_is_logarithmic_where_the_grid_is(make_event_maps):
    for s_true, scale in ((np.geomspace(1, 54, 40), "log"), (np.linspace(1.36, 54.4, 40), "linear")):
        every = list(columns(make_event_maps(s_true=tuple(s_true))))
        assert draw_medians(every, STYLES).axes[0].get_xscale() == scale


def test_no_signal_has_mistakes_and_no_median(make_event_maps):
    every = list(columns(make_event_maps(s_true=(0.0, 1.0, 2.0, 3.0))))
    assert np.isnan(lines_of(draw_medians(every, STYLES).axes[0])[0].get_ydata()[0])
    assert lines_of(draw_mistakes(every, STYLES).axes[0])[0].get_ydata()[0] == 0


def test_unbounded_medians_are_gaps(make_event_maps):
    maps = make_event_maps()
    maps["sigma_med_over_true"] = maps["sigma_med_over_true"].where(maps["s_true"] < 20, np.inf)
    every = list(columns(maps))
    for line in lines_of(draw_medians(every, STYLES).axes[0]):
        np.testing.assert_array_equal(np.isnan(line.get_ydata()), maps["s_true"] >= 20)
    assert compared_cells(every, 0, MEDIANS)[-1][1] == ["∞"] * 4
    words = " ".join(text.get_text() for text in draw_medians(every, STYLES).texts).replace("\n", " ")
    assert "A line ends where the median is unbounded." in words


def test_words_say_who_is_strongest_and_who_makes_mistakes(every, maps):
    # the medians of the maps are (factor + 2.3 / s_true) s_true
    assert describe_medians(every) == (
        "sigma_Med/sigma_True at cl = 0.9: from 3.5 (optimum_interval) to 3.9 (max_gap) at s_true = 1, b\xa0=\xa00; "
        "from 1.25 (optimum_interval) to 1.65 (max_gap) at s_true = 46, b\xa0=\xa00."
    )
    highest = (1 - maps["coverage"]).max(["b", "s_true"])
    for label in maps["limit_method"].to_numpy():
        assert f"{label} {highest.sel(limit_method=label).item():.3g} (s_true = " in describe_mistakes(every)


def test_table_holds_values_and_intervals(every, maps):
    s_true, medians = compared_cells(every, 0, MEDIANS)[2]
    assert s_true == "4"
    assert medians == ["2.175 (2.153–2.197)", "1.775 (1.757–1.793)", "1.825 (1.807–1.843)", "1.875 (1.856–1.894)"]
    _, mistakes = compared_cells(every, 0, MISTAKES)[2]
    assert mistakes[0].startswith(f"{1 - float(maps['coverage'][0, 0, 0, 2]):.4g} (")


def test_exact_coverage_has_no_interval(make_maps):
    every = list(columns(make_maps({"classical": "upper"}, cl=(0.9,), b=(0.0,), s_true=(0.0, 1.0, 3.0))))
    # Poisson with mean 3: the upper limit of no event, 2.303, is below 3, that of one event, 3.890, is not
    assert compared_cells(every, 0, MISTAKES)[2][1] == [f"{np.exp(-3):.4g}"]


def test_no_values_are_said(make_event_maps):
    maps = make_event_maps()
    names = [name for name in maps if name.startswith(("coverage", "sigma"))]
    every = list(columns(maps.assign({name: maps[name] * np.nan for name in names})))
    for draw in (draw_medians, draw_mistakes):
        assert "no values" in [text.get_text() for text in draw(every, STYLES).axes[0].texts]
    assert describe_medians(every).endswith("there is no value.")
    assert describe_mistakes(every).endswith("there is no value.")


def test_each_method_has_another_stroke():
    names = {f"fixed_interval_n(n={n})": {"name": "fixed_interval_n"} for n in range(20)}
    found = strokes(names | {label: {"name": label} for label in PAPER} | {"again": {"name": "p_max"}})
    assert len({(style["color"], str(style["linestyle"])) for style in found.values()}) == len(found) == 25
    assert (found["p_max"]["color"], found["p_max"]["linestyle"]) == PAPER["p_max"]


@pytest.mark.parametrize("draw", [draw_medians, draw_mistakes])
@pytest.mark.parametrize("b", [(0.0,), (0.0, 1.0), (0.0, 1.0, 2.0, 3.0, 4.0)], ids=["one", "two", "five"])
@pytest.mark.parametrize("s_true", [tuple(np.geomspace(1.36, 54.4, 40)), (0.0, 1.0, 12.0)], ids=["log", "linear"])
def test_nothing_is_cut_off_or_overlaps(make_event_maps, clashes, draw, b, s_true):
    long = {"p_max": "a_rather_long_label_of_a_method(with_an_option=True)", "poisson": "fixed_interval_n(n=2)"}
    maps = make_event_maps(b=b, s_true=s_true)
    maps["limit_method"] = [long.get(label, label) for label in maps["limit_method"].to_numpy().tolist()]
    every = list(columns(maps))
    with drawing():
        figure = draw(every, strokes({column.label: {} for column in every}), "Unknown background: b + 1 × s_true.")
        assert clashes(figure) == []
