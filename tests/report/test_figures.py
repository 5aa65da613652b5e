"""The figures, artist by artist."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from covsvc.report.column import columns
from covsvc.report.coverage_map import COLOURS, draw_coverage
from covsvc.report.picture import drawing
from covsvc.report.sigma_map import draw_sigma, scale_ticks, sigma_range
from covsvc.report.slices import curve, draw_slices, slice_rows
from covsvc.report.tiles import edges

KINDS = {"classical": "upper", "$low_": "low"}


@pytest.fixture(scope="module")
def maps(make_maps):
    return make_maps(KINDS, cl=(0.9,), b=(0.0, 1.0, 2.0, 3.0, 4.0, 5.5), s_true=(0.0, 1.0, 2.0, 4.0))


@pytest.fixture(scope="module")
def every(maps):
    return list(columns(maps))


@pytest.mark.parametrize(
    ("nodes", "expected"), [([0, 1, 3], [-0.5, 0.5, 2, 4]), ([2.0], [1.5, 2.5]), ([0, 12], [-6, 6, 18])]
)
def test_cells_end_half_way_between_nodes(nodes, expected):
    assert edges(np.array(nodes, dtype=float)).tolist() == expected


def test_white_is_nominal_and_the_scale_ends_at_two_cl_minus_one(every):
    image = draw_coverage(every[0]).axes[0].images[0]
    assert (image.norm.vmin, image.norm.vmax) == (pytest.approx(0.8), 1)
    assert COLOURS(0.5) == pytest.approx((1, 1, 1, 1), abs=5e-3)
    assert COLOURS(0.9)[2] > COLOURS(0.9)[0]
    assert COLOURS(0.1)[0] > COLOURS(0.1)[2]


def test_only_significant_cells_are_outlined(every):
    between_rows = draw_coverage(every[0]).axes[0].patches
    assert [patch.get_edgecolor() for patch in between_rows] == [(1, 1, 1, 1)]
    low = every[1]
    _, hatched, outlined = draw_coverage(low).axes[0].patches
    assert len(hatched.get_path().vertices) == 2 * low.under.sum()
    assert outlined.get_edgecolor() == (0, 0, 0, 1)


def test_axes_are_named(every):
    axes = draw_coverage(every[0]).axes[0]
    assert axes.get_xlabel() == "true signal s_true (events)"
    assert axes.get_ylabel() in ("background b (events)", "background b\n(events)")
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["0", "1", "2", "3", "4", "5.5"]


def test_ratio_is_masked_at_zero_signal(every):
    image = draw_sigma(every[0], *sigma_range(every)).axes[0].images[0]
    assert image.get_array().mask[:, 0].all()
    assert not image.get_array().mask[:, 1:].any()


def test_one_scale_holds_every_ratio(every):
    low, high = sigma_range(every)
    ratios = np.concatenate([column.sigma[:, 1:].ravel() for column in every])
    assert low == ratios.min()
    assert high == ratios.max()


@pytest.mark.parametrize(("low", "high"), [(1.2, 30), (0.9, 1.1), (0.1, 100), (0.01, 1000), (1.31, 1.38)])
def test_scale_ticks_are_few_and_inside(low, high):
    ticks = scale_ticks(low, high)
    assert 1 <= len(ticks) <= 7
    assert all(low <= tick <= high for tick in ticks)


def test_slices_show_the_first_and_the_last_background(every):
    assert slice_rows(every[0]) == [0, 2, 3, 5]


def test_slices_draw_both_sides_of_a_jump(maps, every, make_curves):
    curves = make_curves(maps, KINDS)
    s, coverage = curve(curves, every[0], 3)
    assert np.isfinite(s).all()
    assert (np.abs(np.diff(coverage)) > 0.02).any()
    figure = draw_slices([every[0]], curves)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "cl (grey: below)",
        "exact",
        "toys with 95 % interval",
    ]


def test_slices_without_a_curve_do_not_join_the_nodes(maps, every, make_curves):
    curves = make_curves(maps, KINDS).isel(limit_method=[1])
    assert curve(curves, every[0], 0) is None
    texts = draw_slices([every[0]], curves).legends[0].get_texts()
    assert texts[1].get_text() == "exact, at the grid"


@pytest.mark.parametrize("b", [(3.0,), (0.0, 1.0, 2.0), tuple(np.linspace(0, 20, 30))], ids=["one", "three", "thirty"])
@pytest.mark.parametrize(
    "draw", [draw_coverage, lambda column: draw_sigma(column, 0.5, 50.0)], ids=["coverage", "sigma"]
)
def test_nothing_is_cut_off_or_overlaps(make_maps, b, draw):
    maps = make_maps({"a_rather_long_label(with_an_option=True)": "low"}, cl=(0.6827,), b=b, s_true=(0.0, 1.0, 12.0))
    with drawing():
        figure = draw(next(iter(columns(maps))))
        FigureCanvasAgg(figure)
        figure.draw_without_rendering()
        texts = list(figure.texts)
        for axes in figure.axes:
            left, right = axes.get_xlim()
            texts += [axes.xaxis.label, axes.yaxis.label, *axes.get_yticklabels()]
            texts += [tick for tick in axes.get_xticklabels() if left <= tick.get_position()[0] <= right]
        boxes = [text.get_window_extent() for text in texts if text.get_text()]
    page = figure.bbox
    assert all(page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1 for box in boxes)
    assert not [(i, j) for i, j in itertools.combinations(range(len(boxes)), 2) if boxes[i].overlaps(boxes[j])]


def test_legend_of_slices_stays_clear_of_the_titles(maps, every, make_curves):
    curves = make_curves(maps, KINDS).isel(b=[0, 1, 2])
    with drawing():
        figure = draw_slices([every[0]], curves)
        FigureCanvasAgg(figure)
        figure.draw_without_rendering()
        legend, titles = figure.legends[0], [text.get_window_extent() for text in figure.texts]
        assert len(legend.get_texts()) == 4
        assert not any(legend.get_window_extent().overlaps(title) for title in titles)
        assert all(axes.get_tightbbox().y1 < legend.get_window_extent().y0 for axes in figure.axes)
