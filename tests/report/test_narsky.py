"""Limits on the toy model, and on tau -> mu gamma beside the published ones."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from covsvc.contracts import Status
from covsvc.report.narsky import (
    STYLES,
    describe_toy_model,
    draw_toy_model,
    published_cells,
    toy_model_cells,
)
from covsvc.report.picture import drawing

N = np.arange(7)
METHODS = {"classical": {"name": "classical"}, "central": {"name": "garwood"}, "higher": {"name": "bayes_flat"}}


def limits_by_hand(b=(0.0, 1.0, 2.0, 3.0, 4.0, 5.0), labels=tuple(METHODS)):
    """Return classical limits, central intervals, and something above the former by a half."""
    backgrounds = np.array(b)[:, np.newaxis]
    classical = stats.gamma.ppf(0.9, N + 1) - backgrounds
    upper = np.stack([classical, stats.gamma.ppf(0.95, N + 1) - backgrounds, np.maximum(classical, 0) + 0.5])
    lower = np.zeros(upper.shape)
    lower[1] = np.maximum(stats.gamma.ppf(0.05, np.maximum(N, 1)) * (N > 0) - backgrounds, 0)
    status = np.where(upper < 0, Status.EMPTY, Status.OK).astype(np.int8)
    over = ("limit_method", "b", "n")
    return xr.Dataset(
        {
            "lower": (over, lower),
            "upper": (over, np.maximum(upper, 0)),
            "status": (over, status),
            "sided": ("limit_method", ["upper", "two", "upper"]),
        },
        coords={"limit_method": list(labels), "b": list(b), "n": N},
        attrs={"cl": 0.9},
    )


@pytest.fixture(scope="module")
def limits():
    return limits_by_hand()


def test_there_is_a_panel_for_each_background_with_the_same_axis(limits):
    figure = draw_toy_model(limits, METHODS)
    assert [axes.get_title() for axes in figure.axes] == [f"b = {b}" for b in range(6)]
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert figure.axes[0].get_ylim()[1] > limits["upper"].max()


@pytest.mark.parametrize("panel", [0, 3, 5])
def test_lines_hold_the_upper_limits_and_end_where_there_is_none(limits, panel):
    axes = draw_toy_model(limits, METHODS).axes[panel]
    here = limits.isel(b=panel)
    for line, label in ((axes.lines[0], "classical"), (axes.lines[-1], "higher")):
        upper = here["upper"].sel(limit_method=label).where(here["status"].sel(limit_method=label) == Status.OK)
        np.testing.assert_array_equal(line.get_xdata(), N)
        np.testing.assert_array_equal(line.get_ydata(), upper)
    assert np.isnan(axes.lines[0].get_ydata()).sum() == {0: 0, 3: 1, 5: 2}[panel]


def test_crosses_are_the_ends_of_two_sided_intervals(limits):
    lower, upper = draw_toy_model(limits, METHODS).axes[2].lines[1:3]
    here = limits.sel(limit_method="central", b=2.0)
    np.testing.assert_array_equal(upper.get_ydata(), here["upper"])
    # a lower end of 0 has no cross (caption of Fig. 1 of the paper)
    np.testing.assert_array_equal(lower.get_ydata(), here["lower"].where(here["lower"] > 0))
    assert {lower.get_marker(), upper.get_marker()} == {"x"}


def test_each_method_has_another_stroke():
    methods = {f"{name} again": {"name": name} for name in STYLES} | {name: {"name": name} for name in STYLES}
    labels = list(methods)
    over = ("limit_method", "b", "n")
    ones = np.ones((len(labels), 1, 7))
    limits = xr.Dataset(
        {"lower": (over, 0 * ones), "upper": (over, ones), "status": (over, np.zeros(ones.shape, np.int8))},
        coords={"limit_method": labels, "b": [0.0], "n": N},
        attrs={"cl": 0.9},
    ).assign(sided=("limit_method", ["upper"] * len(labels)))
    lines = draw_toy_model(limits, methods).axes[0].lines
    assert len({(line.get_color(), str(line._unscaled_dash_pattern)) for line in lines}) == len(labels) == 18


def test_words_say_which_limits_are_largest_and_which_are_empty(limits):
    # P(N = 0; 3) < 0.1, P(N = 0; 4) < P(N <= 1; 4) < 0.1 and so at 5: five empty limits
    largest, empty = describe_toy_model(limits)
    assert largest == "The largest upper limit, or one as large, is set in 42 of 42 experiments by higher."
    assert empty == "Empty intervals: classical 5, central 4."
    ok = limits.assign(status=limits["status"] * 0)
    assert describe_toy_model(ok.isel(limit_method=[1])) == ["No interval is empty."]


def test_equal_limits_are_both_the_largest(limits):
    same = limits.copy(deep=True)
    same["upper"][2] = same["upper"][0] * (1 + 1e-14)
    same["status"][2] = same["status"][0]
    assert describe_toy_model(same)[0].endswith("is set in 37 of 42 experiments by classical, in 37 by higher.")


def test_table_holds_the_limits(limits):
    tables = toy_model_cells(limits)
    assert [table["b"] for table in tables] == ["0", "1", "2", "3", "4", "5"]
    n, cells = tables[3]["cells"][0]
    assert (n, cells[0]) == ("0", "empty")
    n, cells = tables[1]["cells"][6]
    # Gamma(7, 10.532) / Gamma(7) = 0.1, and 11.842 and 2.613 of the central interval of 6 (Garwood, 1936)
    assert (n, cells) == ("6", ["9.532", "[1.613, 10.84]", "10.03"])


# our limits as they are observed; published: Narsky, Table 1
OBSERVED = [
    {"limit_method": "classical", "cl": 0.9, "status": "ok", "upper": 1.1808},
    {"limit_method": "classical", "cl": 0.95, "status": "ok", "upper": 2.2537},
    {"limit_method": "mc", "cl": 0.9, "status": "ok", "upper": 3.2},
    {"limit_method": "mc(n_toys=100)", "cl": 0.9, "status": "failed", "upper": np.nan},
]
NAMES = {
    "classical": {"name": "classical"},
    "mc": {"name": "mc_likelihood"},
    "mc(n_toys=100)": {"name": "mc_likelihood"},
}


def test_published_limits_stand_beside_ours():
    rows = published_cells(OBSERVED, NAMES)
    assert [(row["label"], row["published"], row["ours"]) for row in rows] == [
        ("bayes_flat", "3.57", "–"),
        ("bayes_jeffreys", "3.30", "–"),
        ("bayes_reciprocal", "3.06", "–"),
        ("classical", "1.18", "1.18"),
        ("significance_sideband", "1.03", "–"),
        ("likelihood_integration", "2.30", "–"),
        ("mc", "1.37", "3.20"),
        ("mc(n_toys=100)", "1.37", "failed"),
        ("feldman_cousins", "~ 2.5", "–"),
    ]


def test_what_cannot_be_reproduced_is_said():
    said = {row["published"]: row["remark"] for row in published_cells(OBSERVED, NAMES)}
    assert all("not to be reproduced" in said[value] for value in ("1.03", "1.37"))
    assert not any("not to be reproduced" in said[value] for value in ("3.57", "1.18", "2.30"))


@pytest.mark.parametrize("b", [(0.0,), (1.0, 2.0), (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)], ids=["one", "two", "six"])
@pytest.mark.parametrize("labels", [tuple(METHODS), ("a_rather_long_label(with_an_option=True)", "p_max", "garwood")])
def test_nothing_is_cut_off_or_overlaps(clashes, b, labels):
    with drawing():
        assert clashes(draw_toy_model(limits_by_hand(b, labels), {})) == []
