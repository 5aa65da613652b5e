"""``ds.covsvc`` on cubes, maps and parts of them, against closed forms."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_array_equal
from scipy import stats

import covsvc
from covsvc import api
from covsvc.errors import StudyError
from covsvc.selection import select
from covsvc.study import study_of
from covsvc.verdict import Finding, Verdict

PNG = b"\x89PNG\r\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    study = {
        "name": "small",
        "experiment": "counting",
        "methods": ["classical", {"name": "profile_likelihood", "label": "<b>"}],
        "cl": [0.90, 0.95],
        "s_true": [0, 0.3, 1, 6],
        "b": [0, 3],
        "toys_per_block": 1000,
        "n_toys": 2000,
        "seed": 1999,
    }
    api.run(study_of(study), folder)
    return folder


@pytest.fixture
def cube(store):
    return api.open_cube(store, "small")


@pytest.fixture
def maps(store):
    return api.read_maps(store, "small")


def classical_coverage(s_true, b, cl):
    """Return the chance of counts n that are not excluded: those with P(N <= n; s_true + b) > 1 - cl."""
    n = np.arange(200)
    kept = stats.poisson.cdf(n, s_true + b) > 1 - cl
    return float(stats.poisson.pmf(n, s_true + b)[kept].sum())


@pytest.mark.parametrize("held", ["cube", "maps"])
@pytest.mark.parametrize(("s_true", "b", "cl"), [(0, 3, 0.9), (0.3, 0, 0.95), (1, 3, 0.9), (6, 3, 0.95)])
def test_coverage_and_median_of_a_cell_are_those_of_the_closed_form(request, held, s_true, b, cl):
    here = request.getfixturevalue(held)
    cell = here.covsvc.select(limit_method="classical", cl=cl, b=b, s_true=s_true)
    assert float(cell.covsvc.coverage) == pytest.approx(classical_coverage(s_true, b, cl), abs=1e-12)
    if s_true:
        # Classical, Narsky Eq. 12: the limit of the median count
        n = stats.poisson.ppf(0.5, s_true + b)
        upper = max(stats.chi2.ppf(cl, 2 * (n + 1)) / 2 - b, 0.0)
        assert float(cell.covsvc.sigma_med_over_true) == pytest.approx(upper / s_true, rel=1e-6)
    else:
        assert np.isnan(cell.covsvc.sigma_med_over_true)


def test_the_interval_is_that_of_clopper_and_pearson(maps):
    cell = maps.covsvc.select(limit_method="classical", cl=0.9, b=3, s_true=1)
    ends = cell.covsvc.interval()
    expected = stats.binomtest(int(cell["n_covered"]), 2000).proportion_ci(0.95, "exact")
    assert (float(ends["coverage_low"]), float(ends["coverage_high"])) == pytest.approx(tuple(expected), abs=1e-12)


def test_where_no_exact_value_is_known_coverage_is_that_of_the_toys(maps):
    known = maps["exact_coverage"].where(maps["s_true"] < 1)
    mixed = maps.assign(exact_coverage=known, exact_sigma_med_over_true=known)
    found = mixed.covsvc.coverage
    assert_array_equal(found.sel(s_true=[0, 0.3]), maps["exact_coverage"].sel(s_true=[0, 0.3]))
    assert_array_equal(found.sel(s_true=[1, 6]), (maps["n_covered"] / 2000).sel(s_true=[1, 6]))
    assert_array_equal(mixed.covsvc.sigma_med_over_true.sel(s_true=6), maps["sigma_med_over_true"].sel(s_true=6))


def test_verdicts_are_those_of_the_closed_forms(cube):
    verdict = cube.covsvc.verdict
    # without background a signal of 1 gives no count, and no limit that holds it, with probability 1/e
    cell = {"limit_method": "<b>", "cl": 0.9, "b": 0, "s_true": 1}
    assert float(cube.covsvc.coverage.sel(cell)) == pytest.approx(1 - np.exp(-1), abs=1e-9)
    assert verdict.sel(cell) == "under"
    over = {"limit_method": "classical", "cl": 0.9, "b": 0}
    assert classical_coverage(0.3, 0, 0.9) == pytest.approx(1.0)
    assert verdict.sel(over | {"s_true": 0.3}) == "over"
    assert classical_coverage(6, 0, 0.9) == pytest.approx(0.93803, abs=1e-5)
    assert verdict.sel(over | {"s_true": 6}) == "ok"


def test_a_cube_its_maps_and_their_parts_say_the_same(cube, maps):
    part = cube.covsvc.select(limit_method=["<b>"], cl=0.9, s_true="0.3:1")
    assert part.sizes["s_true"] == 2
    for name in ("coverage", "sigma_med_over_true", "verdict"):
        of_maps = getattr(maps.covsvc, name)
        xr.testing.assert_identical(getattr(cube.covsvc, name), of_maps)
        of_part = getattr(part.covsvc, name)
        xr.testing.assert_identical(of_part, of_maps.sel(limit_method=["<b>"], cl=0.9, s_true=[0.3, 1]))
    xr.testing.assert_equal(cube.covsvc.interval(), maps.covsvc.interval())


@pytest.mark.parametrize("held", ["cube", "maps"])
@pytest.mark.parametrize(
    "names", [{"cl"}, {"b"}, {"s_true"}, {"limit_method", "b", "s_true"}, {"limit_method", "cl", "b", "s_true"}]
)
def test_single_values_leave_the_numbers_as_they_are(request, maps, held, names):
    of_all = {"limit_method": "classical", "cl": 0.95, "b": 3, "s_true": 1}
    at = {name: value for name, value in of_all.items() if name in names}
    part = request.getfixturevalue(held).covsvc.select(**at).covsvc
    for name in ("coverage", "sigma_med_over_true", "verdict"):
        xr.testing.assert_identical(getattr(part, name), getattr(maps.covsvc, name).sel(at))
    assert float(part.coverage.sel({name: of_all[name] for name in of_all.keys() - names})) == pytest.approx(
        classical_coverage(1, 3, 0.95)
    )
    verdict = api.judge(maps.sel({name: [value] for name, value in at.items()}))
    assert f"{verdict.outcome}: {verdict.sentence}" in page_of(part._repr_html_()).text


def test_the_order_of_dimensions_does_not_matter(cube, maps):
    for held in (cube, maps):
        turned = held.transpose(*reversed(list(held.dims))).covsvc
        assert bool((turned.coverage == maps.covsvc.coverage).all())
        assert turned._repr_html_() == held.covsvc._repr_html_()


@pytest.mark.parametrize("empty", [{"b": "5:"}, {"s_true": "10:"}, {"limit_method": []}])
def test_of_nothing_a_notebook_shows_that_it_is_nothing(cube, maps, empty):
    (name,) = empty
    for held in (cube, maps):
        assert f"no {name} is left here" in page_of(held.covsvc.select(**empty).covsvc._repr_html_()).text
    with pytest.raises(StudyError, match=f"nothing to draw: no {name} is left here"):
        api.figure(select(maps, **empty), "medians", cl=0.9)


def test_a_cube_read_as_zarr_says_the_same(cube, tmp_path):
    read = xr.open_zarr(api.export_cube(cube, tmp_path / "cube.zarr"), chunks={})
    assert_array_equal(read.covsvc.coverage, cube.covsvc.coverage)
    assert_array_equal(read.covsvc.verdict.astype(str), cube.covsvc.verdict)
    assert_array_equal(read.covsvc.sigma_med_over_true, cube.covsvc.sigma_med_over_true)


def test_floats_are_found_and_what_is_not_there_is_refused_with_what_is(maps):
    assert float(maps.covsvc.select(s_true=0.1 + 0.2)["s_true"]) == 0.3
    with pytest.raises(StudyError, match=r"s_true = 0\.4: not on the grid; there are 0, 0\.3, 1, 6"):
        maps.covsvc.select(s_true=0.4)
    with pytest.raises(StudyError, match="did you mean 'classical'"):
        maps.covsvc.select(limit_method="clasical")


def test_worst_cells_are_a_table_of_what_a_query_tells(store, cube):
    frame = cube.covsvc.worst()
    told = covsvc.api.worst("small", store)["cells"]
    assert [list(map(str, row)) for row in frame.to_numpy()] == [list(map(str, each.values())) for each in told]
    assert frame["deficit"].is_monotonic_decreasing
    assert frame["deficit"].iloc[0] == pytest.approx(0.9 - (1 - np.exp(-1)))
    assert len(cube.covsvc.worst(2)) == 2
    assert frame.attrs["study"] == "small"
    assert frame.attrs["snapshot"] == cube.attrs["snapshot"]
    assert frame.attrs["units"] == {"b": "events", "s_true": "events"}


def test_what_is_neither_a_cube_nor_maps_is_refused(cube):
    with pytest.raises(StudyError, match="neither a cube nor maps: block_status is missing"):
        cube.drop_vars("block_status").covsvc.coverage  # noqa: B018
    with pytest.raises(StudyError, match="neither a cube nor maps: block_status, limit_counts, n_covered"):
        xr.Dataset({"x": 1}).covsvc.verdict  # noqa: B018


def test_everything_has_a_long_name_and_what_counts_events_its_unit(cube, maps):
    events = {"b", "s_true", "sigma_med", "sigma_med_low", "sigma_med_high", "exact_median_upper", "exact_mean_upper"}
    events |= {"worst_s_true", "worst_s_min", "worst_s_max"}
    told = {**cube.variables, **maps.variables}
    assert all(variable.attrs["long_name"] for variable in told.values())
    assert {name for name, variable in told.items() if variable.attrs.get("units") == "events"} == events
    for found in (cube.covsvc.coverage, cube.covsvc.sigma_med_over_true, cube.covsvc.verdict):
        assert found.attrs["long_name"]


@pytest.mark.parametrize(
    ("plot", "arguments"),
    [
        ("plot_map", {}),
        ("plot_map", {"kind": "sigma", "limit_method": "classical"}),
        ("plot_slice", {}),
        ("plot_slice", {"limit_method": "classical", "cl": 0.95, "b": 3.0}),
    ],
)
def test_a_plot_is_of_what_was_asked_or_else_of_the_worst_and_shows_in_a_notebook(cube, plot, arguments):
    figure = getattr(cube.covsvc, plot)(**arguments)
    title = [text.get_text() for text in figure.texts]
    assert title[0] == arguments.get("limit_method", "<b>")
    written = " ".join([*title, *(axes.get_ylabel() for axes in figure.axes)])
    assert f"cl = {arguments.get('cl', 0.95 if 'kind' in arguments else 0.9):g}" in written
    assert figure._repr_png_().startswith(PNG)


class Page(HTMLParser):
    """Elements that are open, and the text in them."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.seen = [], "", []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def page_of(shown):
    page = Page()
    page.feed(shown)
    assert page.open == []
    return page


def test_a_notebook_shows_the_study_its_verdict_worst_cells_and_a_map(cube):
    shown = cube.covsvc._repr_html_()
    page = page_of(shown)
    assert "2 limit methods: classical, <b>" in page.text
    assert "b" not in {tag for tag, _ in page.seen}  # the label is text
    assert "grid: b 0 to 3 (2), s_true 0 to 6 (4) events" in page.text
    assert "16,000 toys, the same for all methods" in page.text
    verdict = api.judge(cube.covsvc.maps)
    assert f"{verdict.outcome}: {verdict.sentence}" in page.text
    assert "0.632121" in page.text
    ((_, image),) = [each for each in page.seen if each[0] == "img"]
    assert "Map of coverage" in image["alt"] or "coverage" in image["alt"].lower()
    assert base64.b64decode(image["src"].removeprefix("data:image/png;base64,")).startswith(PNG)
    assert not re.search(r"https?:", shown)
    assert len(shown) < 200_000


def test_a_notebook_shows_the_first_limits_and_how_many_there_are():
    limits = covsvc.limits("classical", covsvc.Counts(n=np.arange(20), b=5.5), cl=0.90)
    page = page_of(limits._repr_html_())
    # n = 3, b = 5.5 at 90 %: 6.681 - 5.5, from the table of the PDG
    assert re.search(r"3\s*0\s*1\.18\d*\s*ok", page.text)
    assert page.text.rstrip().endswith("… and 8 more.")
    few = covsvc.limits("classical", covsvc.Counts(n=[0], b=5.5), cl=0.90)
    assert "empty" in few._repr_html_()
    assert "more" not in few._repr_html_()


def test_a_notebook_shows_a_verdict_as_text_whatever_its_names_are():
    finding = Finding("<script>", 0.9, "broken", "at_least", "upper", 0.5, 1.0, 0.0, "it does not cover")
    page = page_of(Verdict("failed", "1 < 2 columns", 0.01, "nothing & all", (finding,))._repr_html_())
    assert "script" not in {tag for tag, _ in page.seen}
    assert "<script>" in page.text
    assert "failed: 1 < 2 columns" in page.text
    assert "nothing & all" in page.text
