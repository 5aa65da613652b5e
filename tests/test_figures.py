"""Figures one at a time: those of the report, to the byte, and closed forms in their lines."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from matplotlib.image import imread
from numpy.testing import assert_allclose
from scipy import stats

from covsvc import api
from covsvc.errors import StudyError
from covsvc.study import study_of

CL, B = 0.9, 3.0


STUDY = {
    "name": "small",
    "experiment": "counting",
    "methods": ["classical", {"name": "garwood", "label": "two-sided"}],
    "cl": [CL],
    "s_true": [0, 0.5, 1, 2.5, 6],
    "b": [0, B],
    "toys_per_block": 1000,
    "n_toys": 1000,
    "seed": 1999,
}


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    return api.maps_of(api.run(study_of(STUDY), tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Return the figures of a report on one of the methods."""
    cube = api.run(study_of(STUDY | {"methods": ["classical"]}), tmp_path_factory.mktemp("store"))
    return api.write_report(cube, tmp_path_factory.mktemp("report")).parent / "figures"


def covered(s_true, b=B):
    """Return the coverage of the classical limit: the chance of counts n with P(N <= n; s_true + b) > 1 - cl."""
    n = np.arange(60)[:, None]
    mean = np.atleast_1d(s_true) + b
    return (stats.poisson.pmf(n, mean) * (stats.poisson.cdf(n, mean) > 1 - CL)).sum(axis=0)


@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
@pytest.mark.parametrize("kind", ["coverage", "sigma"])
def test_a_map_is_that_of_the_report_to_the_byte(maps, report, kind, form):
    # of this method alone, so that the colours of sigma reach as far
    part = maps.covsvc.select(limit_method=["classical"])
    drawn = api.figure(part, kind, limit_method="classical", cl=CL, format=form)
    assert drawn == (report / f"{kind}-classical-0.9.{form}").read_bytes()


def test_slices_are_those_of_the_report_to_the_byte(maps, report):
    assert api.figure(maps, "slice", limit_method="classical") == (report / "slices-classical.svg").read_bytes()


def lines(figure, panel=0):
    return [line for line in figure.axes[panel].lines if np.size(line.get_xdata()) > 2]


def test_the_curve_of_a_slice_is_the_closed_form_with_its_jumps(maps):
    figure = api.draw(maps, "slice", limit_method="classical", cl=CL, b=B)
    (axes,) = figure.axes
    assert axes.get_title() == "b = 3"
    curve = lines(figure)[0]
    s, coverage = np.asarray(curve.get_xdata()), np.asarray(curve.get_ydata())
    assert (s[0], s[-1]) == (0, 6)
    beside = np.abs(coverage - np.stack([covered(np.maximum(s + step, 0)) for step in (-1e-7, 1e-7)])).min(axis=0)
    assert_allclose(beside, 0, atol=1e-6)
    # an end of the allowed range of n is passed where chi2.ppf(0.9, 2 (n + 1)) / 2 = s + 3: at n = 1 .. 4
    jumps = [stats.chi2.ppf(CL, 2 * (n + 1)) / 2 - B for n in range(1, 5)]
    risen = s[1:][np.diff(coverage) < -0.01]
    assert_allclose([risen[np.argmin(np.abs(risen - jump))] for jump in jumps], jumps, atol=1e-6)


def test_without_the_exact_values_of_here_there_is_no_curve(maps):
    other = maps.assign(exact_coverage=maps["exact_coverage"] - 0.01 * (maps["s_true"] == 1))
    told = json.loads(maps.attrs["study"])
    told["methods"][0] |= {"name": "somebody_elses"}
    for strange in (other, maps.assign_attrs(study=json.dumps(told))):
        figure = api.draw(strange, "slice", limit_method="classical", b=B)
        assert [text.get_text() for text in figure.legends[0].texts][1] == "exact, at the grid"
        ticks = np.asarray(lines(figure)[0].get_ydata())[::3]
        assert_allclose(ticks, strange["exact_coverage"].sel(limit_method="classical", cl=CL, b=B))


def test_methods_side_by_side_are_against_the_true_signal_at_one_background(maps):
    figure = api.draw(maps, "mistakes", b=B)
    assert len(figure.axes) == 1
    classical = next(line for line in lines(figure) if np.size(line.get_xdata()) == len(STUDY["s_true"]))
    assert_allclose(classical.get_ydata(), 1 - covered(classical.get_xdata()), atol=1e-9)
    names = [text.get_text() for text in figure.legends[0].texts]
    assert {"classical", "two-sided"} <= set(names)
    assert len(api.draw(maps, "medians").axes) == 2
    assert api.figure(maps, "medians", b=B) == api.figure(maps, "medians", b="3:", cl=CL)


def test_maps_of_some_backgrounds_and_of_a_part_are_drawn(maps):
    one = api.draw(maps, "coverage", limit_method="classical", b=0.0)
    assert [label.get_text() for label in one.axes[0].get_yticklabels()] == ["0"]
    part = maps.covsvc.select(limit_method="classical", cl=CL)
    assert api.figure(part, "coverage") == api.figure(maps, "coverage", limit_method="classical")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"kind": "coverag"}, "did you mean 'coverage'"),
        ({"format": "gif"}, "known are pdf, png, svg"),
        ({"limit_method": "clasical"}, "did you mean 'classical'"),
        ({"limit_method": None}, "limit_method: say which one to draw; there are classical, two-sided"),
        ({"cl": 0.68}, "cl = 0.68: not on the grid; there are 0.9"),
        ({"cl": float("nan")}, "cl = nan: give a number"),
        ({"cl": "0.95:1"}, "cl = 0.95:1: a figure is of one confidence level; there are 0.9"),
        ({"b": 2.0}, "b = 2: not on the grid; there are 0, 3"),
        ({"b": "10:"}, "b = 10:: no background of the grid is there; there are 0, 3"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_what_can(maps, asked, told):
    with pytest.raises(StudyError) as refused:
        api.figure(maps, **{"kind": "slice", "limit_method": "classical"} | asked)
    assert told in str(refused.value)


def test_a_png_shows_every_point_however_narrow_its_panels_are(maps):
    s_true = np.linspace(0, 19.5, 40)
    crowded = maps.sel(s_true=s_true, method="nearest").isel(b=[0, 1, 0, 1]).assign_coords(s_true=s_true, b=range(4))
    figure = api.draw(crowded, "slice", limit_method="classical")
    shown = imread(io.BytesIO(figure._repr_png_()))[::-1]
    figure.set_dpi(160)
    blue = np.array([0x1F, 0x5F, 0xA8]) / 255
    for b, axes in enumerate(figure.axes):
        toys = crowded["coverage"].sel(limit_method="classical", cl=CL, b=b).values
        for x, y in axes.transData.transform(np.stack([s_true, toys], axis=1)):
            near = shown[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2, :3]
            assert np.abs(near - blue).sum(axis=-1).min() < 0.1, (b, x, y)
