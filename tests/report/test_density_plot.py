"""Real events over the densities: what the picture shows, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.contour import ContourSet
from scipy import stats

from covsvc.experiments.cleo import Cleo
from covsvc.experiments.gaussian_flat import GaussianFlat
from covsvc.regions import SeenDensities
from covsvc.report.density_plot import (
    LISTED,
    density_cells,
    describe_densities,
    draw_densities,
    in_region,
    levels_of,
    stacked_heights,
)
from covsvc.report.picture import drawing

PLANE = Cleo().densities({"m": [-51.0, 57.0, 0.0, 150.0, 70.0], "E": [74.0, -246.0, 0.0, 100.0, 0.0]})
LINE = GaussianFlat().densities({"x": [0.0, 0.0, -3.0, 7.0]})


def drawn(seen):
    with drawing():
        figure = draw_densities(seen)
        FigureCanvasAgg(figure).draw()
    return figure


def marked(axes):
    """Return the places of the black marks."""
    (line,) = (line for line in axes.lines if line.get_color() == "black" and line.get_marker() in ("s", "|"))
    return line.get_xdata(), line.get_ydata()


def test_densities_of_an_experiment_have_an_integral_of_1():
    for seen in (PLANE, LINE):
        cell = np.prod([axis[1] - axis[0] for axis in seen.axes])
        for density in (seen.signal, seen.background):
            total = density
            for _ in seen.axes:
                total = np.trapezoid(total, axis=-1)
            assert total * cell == pytest.approx(1.0, abs=1e-4)


def test_in_the_plane_events_stand_where_they_are():
    (axes,) = drawn(PLANE).axes
    x, y = marked(axes)
    np.testing.assert_array_equal(x, [-51.0, 0.0, 57.0, 70.0, 150.0])
    np.testing.assert_array_equal(y, [74.0, 0.0, -246.0, 0.0, 100.0])
    assert (axes.get_xlim(), axes.get_ylim()) == ((-200, 200), (-500, 300))
    assert axes.get_xlabel() == "m − m_tau (MeV)"
    assert axes.get_ylabel() == "E − E_beam (MeV)"
    (circles,) = (line for line in axes.lines if line.get_marker() == "o")
    assert len(circles.get_xdata()) == 300


def test_contours_hold_the_parts_of_the_signal_that_they_name():
    (axes,) = drawn(PLANE).axes
    (contours,) = (each for each in axes.collections if isinstance(each, ContourSet))
    names = [text.get_text() for text in contours.labelTexts]
    assert set(names) == {"50 %", "90 %", "99 %"}
    for level, part in zip(sorted(contours.levels, reverse=True), (0.5, 0.9, 0.99), strict=True):
        cell = (PLANE.axes[0][1] - PLANE.axes[0][0]) * (PLANE.axes[1][1] - PLANE.axes[1][0])
        assert PLANE.signal[level <= PLANE.signal].sum() * cell == pytest.approx(part, abs=2e-3)


def test_a_level_holds_what_it_should_of_a_gaussian():
    x = np.linspace(-6, 6, 2001)
    # half of a Gaussian lies within 0.6745 widths
    assert levels_of(stats.norm.pdf(x), (0.5,)) == pytest.approx([stats.norm.pdf(0.6745)], rel=1e-2)


def test_on_a_line_events_are_stacked_under_both_densities():
    (axes,) = drawn(LINE).axes
    x, y = marked(axes)
    np.testing.assert_array_equal(x, [-3.0, 0.0, 0.0, 7.0])
    assert y[1] < y[2]
    assert y[0] == y[1] == y[3]
    heights = [line.get_ydata().max() for line in axes.lines[:2]]
    assert heights == [pytest.approx(1 / np.sqrt(2 * np.pi)), pytest.approx(0.05)]


def test_what_is_said_of_the_events():
    assert describe_densities(LINE) == (
        "2 of 4 events lie in the signal region, where the densities have the ratio 7.98; the signal density is at most "
        "7.98 times the background density."
    )
    assert describe_densities(GaussianFlat().densities({"x": []})).startswith("0 of 0 events lie in the signal region;")
    one = describe_densities(GaussianFlat().densities({"x": [0.0, 9.0]}))
    assert one.startswith("1 of 2 events lie in the signal region, where the densities have the ratio 7.98;")
    assert "3 of 5 events lie in the signal region, at ratios of the densities from " in describe_densities(PLANE)
    np.testing.assert_array_equal(in_region(PLANE), [True, True, True, False, False])


def test_the_table_tells_the_events_that_look_most_like_signal():
    rows = density_cells(PLANE)
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"]
    assert rows[0][1][:3] == ["0", "0", "signal"]
    assert {cells[2] for _, cells in rows[1:3]} <= {"signal", "neither"}
    assert rows[-1][1][:3] == ["150", "100", "sideband"]
    many = GaussianFlat().densities({"x": np.linspace(-9.9, 9.9, 500)})
    assert len(density_cells(many)) == LISTED


@pytest.mark.parametrize("n", [0, 1, 300, 5000])
def test_any_number_of_events_is_drawn(n):
    rng = np.random.default_rng(n)
    line = GaussianFlat().densities({"x": rng.uniform(-10, 10, n)})
    plane = Cleo().densities({"m": rng.uniform(-200, 200, n), "E": rng.uniform(-500, 300, n)})
    for seen in (line, plane):
        assert len(marked(drawn(seen).axes[0])[0]) == n


def test_text_stays_within_the_picture():
    narrow = Cleo(widths=[0.001, 0.01], tail=0.0).densities({"m": [0.0], "E": [300.0]})
    for seen in (PLANE, LINE, narrow):
        assert isinstance(seen, SeenDensities)
        figure = drawn(seen)
        renderer = figure.canvas.get_renderer()
        boxes = [text.get_window_extent(renderer) for text in figure.findobj(lambda each: hasattr(each, "get_text"))]
        assert all(box.x1 <= figure.bbox.x1 + 1 and box.x0 >= -1 for box in boxes if box.width)


def test_stacks_do_not_grow_without_end():
    assert stacked_heights(np.zeros(50), 20.0, 1.0).max() < 0.6
