"""The picture of a likelihood."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from scipy import stats

from covsvc.errors import StudyError
from covsvc.report.likelihood_plot import draw_likelihood, write_likelihood
from covsvc.report.picture import drawing

S = np.linspace(0, 10, 101)


def scan_of(n=3, top=10.0, integrated=True):
    """Return the likelihood of a count without background: -2 ln lambda = 2 (s - n - n ln(s / n))."""
    s = np.linspace(0, top, 101)
    with np.errstate(divide="ignore"):
        fall = 2 * (s - n - n * np.log(s / n)) if n else 2 * s
    told = {"profiled": ("signal", fall)} | ({"integrated": ("signal", 1.1 * fall)} if integrated else {})
    return xr.Dataset(told, coords={"signal": s}, attrs={"best": float(n)})


def rows_of(labels=("likelihood_integration", "mc_likelihood", "profile_likelihood"), unit=1.0, expected=False, **told):
    rows = []
    for place, label in enumerate(labels):
        upper = (6.0 + place) * unit
        row = {"limit_method": label, "cl": 0.9, "sided": "upper", "status": "ok", "lower": 0.0, "upper": upper}
        if expected:
            row["expected"] = [(2.0 + place / 2 + step) * unit for step in range(5)]
        rows.append(row | told)
    return rows


def test_the_curves_are_those_of_the_scan_and_the_line_is_z_squared():
    scan = scan_of()
    figure = draw_likelihood(scan, rows_of(), "signal events", "3 events seen")
    curves, below = figure.axes
    profiled, integrated = (line for line in curves.lines if len(line.get_xdata()) == 101)
    np.testing.assert_allclose(profiled.get_ydata()[1:], scan["profiled"][1:])
    np.testing.assert_allclose(integrated.get_ydata()[1:], scan["integrated"][1:])
    assert np.isnan(profiled.get_ydata()[0])
    z2 = stats.norm.ppf(0.9) ** 2
    assert z2 in [pytest.approx(line.get_ydata()[0]) for line in curves.lines if len(set(line.get_ydata())) == 1]
    assert [text.get_text() for text in curves.texts] == ["z² = 1.64"]
    assert [text.get_text() for text in figure.texts] == [
        "Likelihood of signal events",
        "limits at 90 % confidence level; 3 events seen",
    ]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["background profiled", "integrated", "best fit"]
    assert below.get_xlabel() == "signal events"


def test_each_method_has_a_bar_that_ends_at_its_limit_and_a_mark_through_the_curve():
    rows = rows_of()
    curves, below = draw_likelihood(scan_of(), rows, "signal events", "x").axes
    bars = [list(line.get_xdata()) for line in below.lines if len(line.get_xdata()) == 2]
    assert bars == [[0, row["upper"]] for row in rows]
    marks = [
        line.get_xdata()[0] for line in curves.lines if len(set(line.get_xdata())) == 1 and len(line.get_xdata()) == 2
    ]
    assert marks == [row["upper"] for row in rows]
    texts = [text.get_text() for text in below.texts]
    assert texts == ["likelihood_integration < 6", "mc_likelihood < 7", "profile_likelihood < 8"]
    assert len({to_hex(text.get_color()) for text in below.texts}) == 3


def test_the_expected_limits_are_bands_behind_the_bar():
    figure = draw_likelihood(scan_of(integrated=False), rows_of(expected=True), "mu", "x")
    below = figure.axes[1]
    first = [band.get_paths()[0].vertices[:, 0] for band in below.collections[:2]]
    assert [(ends.min(), ends.max()) for ends in first] == [(2, 6), (3, 5)]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["nuisance parameters profiled", "best fit", "expected", "±1 sigma", "±2 sigma"]


def test_two_ends_are_told():
    below = draw_likelihood(scan_of(), rows_of(("sampling_distribution",), sided="two", lower=1.5), "mu", "x").axes[1]
    assert below.texts[0].get_text() == "sampling_distribution in [1.5, 6]"
    assert [list(line.get_xdata()) for line in below.lines] == [[1.5, 6], [1.5, 6]]


@pytest.mark.parametrize(
    ("status", "upper", "told"),
    [("unbounded", np.inf, ": no limit"), ("failed", np.nan, ": failed"), ("empty", 0.0, ": empty")],
)
def test_without_a_limit_the_row_says_so(status, upper, told):
    figure = draw_likelihood(scan_of(), rows_of(("q_mu",), status=status, upper=upper), "mu", "x")
    assert figure.axes[1].texts[0].get_text() == "q_mu" + told
    assert not figure.axes[1].lines


def test_no_likelihood_is_said():
    scan = scan_of() * np.nan
    figure = draw_likelihood(
        scan.assign_attrs(best=np.nan), rows_of(("q_mu",), status="failed", upper=np.nan), "mu", "x"
    )
    assert "no likelihood" in [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize("unit", [1.0, 3.7e-9, 2e5])
@pytest.mark.parametrize(
    ("quantity", "labels"),
    [
        ("signal events", ("likelihood_integration", "mc_likelihood", "profile_likelihood")),
        ("branching fraction of the decay tau -> mu gamma, times the efficiency (%)", ("q_mu",)),
        (
            "mu",
            tuple(f"sampling_distribution(statistic=t_mu_tilde, n_toys={n}, power_constrained=True)" for n in range(8)),
        ),
    ],
)
def test_nothing_is_cut_off_or_overlaps(clashes, unit, quantity, labels):
    rows = rows_of(labels, unit, expected=True)
    with drawing():
        scan = scan_of()
        scan = scan.assign_coords(signal=scan["signal"] * unit * 1.5).assign_attrs(best=3.0 * unit)
        figure = draw_likelihood(scan, rows, quantity, "123,456 events seen in 120 bins")
        assert clashes(figure) == []
        FigureCanvasAgg(figure)
        for axes in figure.axes:
            for text in axes.texts:
                assert text.get_window_extent().x1 <= figure.bbox.x1


@pytest.mark.parametrize(("name", "first"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("in/a.pdf", b"%PDF")])
def test_suffix_chooses_the_format_and_the_bytes_are_the_same_every_time(tmp_path, name, first):
    path = write_likelihood(scan_of(), rows_of(expected=True), tmp_path / name, "mu", "x")
    once = path.read_bytes()
    assert once.startswith(first)
    assert write_likelihood(scan_of(), rows_of(expected=True), path, "mu", "x").read_bytes() == once


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(StudyError, match=r"a\.jpg: a picture is written as \.png, \.svg, \.pdf, not as \.jpg"):
        write_likelihood(scan_of(), rows_of(), tmp_path / "a.jpg", "mu", "x")
    assert not list(tmp_path.iterdir())
