"""The limit plot."""

from __future__ import annotations

import numpy as np
import pytest

from covsvc.errors import CovsvcError, StudyError
from covsvc.report.bands import describe_arrows
from covsvc.report.limit_plot import draw_scan, write_scan
from covsvc.report.picture import drawing

LONG = "velocity-averaged annihilation cross section ⟨σv⟩ (cm³ s⁻¹)"


@pytest.fixture
def scan(make_scan):
    return make_scan(("classical", "other"))


@pytest.mark.parametrize("place", [0, 1])
def test_lines_and_bands_hold_the_limits(scan, place):
    axes = draw_scan(scan).axes[place]
    median, observed = axes.lines[:2]
    here = scan.isel(limit_method=place)
    assert (median.get_linestyle(), observed.get_linestyle()) == ("--", "-")
    np.testing.assert_array_equal(median.get_xdata(), scan["parameter"])
    np.testing.assert_array_equal(median.get_ydata(), here["expected"].sel(n_sigma=0))
    np.testing.assert_array_equal(observed.get_ydata(), here["observed"])
    floor = axes.get_ylim()[0]
    for band, n_sigma in zip(axes.collections, (1, 2), strict=True):
        drawn = {tuple(corner) for corner in band.get_paths()[0].vertices}
        for end in (-n_sigma, n_sigma):
            values = np.maximum(here["expected"].sel(n_sigma=end).to_numpy(), floor)
            assert set(zip(scan["parameter"].to_numpy(), values, strict=True)) <= drawn


def test_axes_and_legend_are_named(scan):
    figure = draw_scan(scan)
    assert [axes.get_title() for axes in figure.axes] == ["classical", "other"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"mass (GeV)"}
    assert figure.axes[0].get_ylabel() == "upper limit on cross section (cm²)"
    assert figure.texts[1].get_text().startswith("90 % confidence level")
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["Median expected", "±1 sigma", "±2 sigma", "Observed"]


def test_values_over_many_decades_have_a_logarithmic_axis(scan):
    figure = draw_scan(scan)
    assert {(axes.get_xscale(), axes.get_yscale()) for axes in figure.axes} == {("log", "log")}
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


def test_values_over_one_decade_have_a_linear_axis(scan):
    narrow = scan.assign(expected=scan["expected"] * 0 + 3.0, observed=scan["observed"] * 0 + 30.0)
    assert draw_scan(narrow).axes[0].get_yscale() == "linear"
    assert draw_scan(narrow.isel(point=[0, 1, 2])).axes[0].get_xscale() == "linear"


def test_scales_can_be_chosen(scan):
    axes = draw_scan(scan.assign_attrs(log_x=False, log_y=False)).axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "linear")
    few = scan.isel(point=[0, 1, 2])
    assert draw_scan(few.assign_attrs(log_x=True)).axes[0].get_xscale() == "log"


def test_logarithmic_axis_refuses_a_parameter_of_zero(scan):
    parameter = scan["parameter"].copy(data=np.arange(float(scan.sizes["point"])))
    shifted = scan.assign_coords(parameter=parameter)
    assert draw_scan(shifted).axes[0].get_xscale() == "linear"
    with pytest.raises(StudyError, match="log_x: the parameter is 0 at its lowest"):
        draw_scan(shifted.assign_attrs(log_x=True))


def test_parameters_are_sorted(scan):
    line = draw_scan(scan.isel(point=[3, 1, 2, 0])).axes[0].lines[0]
    np.testing.assert_array_equal(line.get_xdata(), scan["parameter"][:4])


def test_infinite_limits_are_gaps_with_an_arrow_at_the_top(scan):
    scan["expected"][4, 0, 3:] = np.inf
    scan["observed"][6, 0] = np.inf
    axes = draw_scan(scan).axes[0]
    arrows = {line.get_color(): line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "^"}
    mass = scan["parameter"].to_numpy()
    assert sorted(arrows.values()) == [[mass[4]], [mass[6]]]
    assert np.isfinite(axes.get_ylim()).all()
    assert np.isnan(axes.lines[1].get_ydata()[6])


def test_limits_of_zero_on_a_logarithmic_axis_are_arrows_at_the_bottom(scan):
    scan["expected"][7, 1, :3] = 0
    scan["observed"][7, 1] = 0
    axes = draw_scan(scan).axes[1]
    arrows = [line for line in axes.lines if line.get_marker() == "v"]
    assert [line.get_xdata().tolist() for line in arrows] == [[scan["parameter"][7].item()]] * 2
    assert np.isnan(axes.lines[0].get_ydata()[7])
    assert "Arrow down: zero (open: median, filled: observed)." in describe_arrows(scan, log=True)


def test_limits_that_are_all_zero_or_infinite_are_drawn(scan):
    for value in (0.0, np.inf, np.nan):
        odd = scan.assign(expected=scan["expected"] * 0 + value, observed=scan["observed"] * 0 + value)
        assert np.isfinite(draw_scan(odd).axes[0].get_ylim()).all()


def test_asimov_median_is_drawn_where_there_is_one(scan):
    axes = draw_scan(scan.assign(asimov=2 * scan["expected"])).axes[0]
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), 2 * scan["expected"].sel(n_sigma=0).isel(limit_method=0))


def test_more_methods_than_can_be_read_are_refused(make_scan):
    with pytest.raises(StudyError, match="7 methods cannot be read: choose at most 6"):
        draw_scan(make_scan(tuple("abcdefg")))


@pytest.mark.parametrize(
    ("name", "first"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("a.pdf", b"%PDF"), ("in/a.svg", b"<?xml")]
)
def test_suffix_chooses_the_format(scan, tmp_path, name, first):
    path = write_scan(scan, tmp_path / name)
    assert path == tmp_path / name
    once = path.read_bytes()
    assert once.startswith(first)
    assert write_scan(scan, tmp_path / name).read_bytes() == once


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.png.txt"])
def test_other_suffixes_are_refused(scan, tmp_path, name):
    with pytest.raises(CovsvcError, match=r"is written as \.png, \.svg, \.pdf"):
        write_scan(scan, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("quantity", ["branching fraction", LONG])
def test_nothing_is_cut_off_or_overlaps(make_scan, clashes, count, quantity):
    labels = [f"feldman_cousins(monotone_in_b={place})" for place in range(count)]
    scan = make_scan(labels, quantity_name=quantity)
    scan["expected"][2, 0, 2:] = scan["observed"][3, 0] = np.inf
    with drawing():
        assert clashes(draw_scan(scan)) == []
