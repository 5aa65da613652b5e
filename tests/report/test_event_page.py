"""The page of a study of events with unknown background."""

from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from covsvc.report import write_page


class Words(HTMLParser):
    """The words of a page, and the ids and levels of its headings."""

    def __init__(self, text):
        super().__init__()
        self.said, self.ids, self.levels, self.tags = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))

    def handle_data(self, data):
        self.said.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.said).split())


def write(make_event_maps, make_verdict, folder, tables=(), change=lambda maps: maps, **grid):
    maps = change(make_event_maps(**grid))
    return write_page(maps, make_verdict(maps), folder, events=tables)


@pytest.fixture(scope="module")
def page(tmp_path_factory, make_event_maps, make_verdict, make_table):
    def beyond(maps):
        far = (maps["s_true"] > 35) & (maps["limit_method"] == "p_max")
        return maps.assign(p_unbounded=maps["p_unbounded"].where(~far, 0.0042)).assign_attrs(maps.attrs)

    folder = tmp_path_factory.mktemp("events")
    options = {"background_per_signal": 1.0}
    tables = [make_table(0.9), make_table(0.95)]
    return write(make_event_maps, make_verdict, folder, tables, beyond, cl=(0.9, 0.95), options=options)


@pytest.fixture(scope="module")
def words(page):
    return Words(page.read_text())


def test_each_figure_has_its_files(page):
    names = {path.name for path in (page.parent / "figures").iterdir()}
    shown = ("medians", "mistakes", "thresholds-c_max", "thresholds-p_max")
    assert {f"{name}-{cl}.{end}" for name in shown for cl in ("0.9", "0.95") for end in ("svg", "png")} <= names
    linked = set(re.findall(r'href="figures/([^"]+)"', page.read_text()))
    assert linked == names


def test_page_stays_well_formed(words, page):
    assert len(words.ids) == len(set(words.ids))
    assert {"side-by-side", "thresholds"} <= set(words.ids)
    assert all(after - before <= 1 for before, after in itertools.pairwise(words.levels))
    assert words.tags.count("table") == words.tags.count("caption")
    pictures = re.findall(r"<svg(?! role=.img. aria-label=.Small maps).*?</svg>", page.read_text(), re.DOTALL)
    assert all("holds the numbers" in picture or "hold the numbers" in picture for picture in pictures)
    assert max(map(len, pictures)) < 60_000


def test_tables_stand_beside_the_figures(words):
    # the median of optimum_interval is 1.2 + 2.3 / s_true, that of poisson 1.3 + 2.3 / s_true
    assert "4 2.175 (2.153–2.197) 1.775 (1.757–1.793) 1.825 (1.807–1.843) 1.875 (1.856–1.894)" in words.text
    # -ln(1 - cl)
    assert "k t_k, CBarMax e_k, CBarMax t_k, pBarMax e_k, pBarMax 0 2.3026 " in words.text
    assert "Fraction of mistakes at cl = 0.95, b = 0, with 95 % Clopper-Pearson interval" in words.text
    assert "pBarMax at cl = 0.95, at nodes of the table" in words.text


def test_background_that_grows_with_the_signal_is_said(words, page, tmp_path, make_event_maps, make_verdict):
    assert words.text.count("Unknown background: b + 1 × s_true.") >= 4
    without = write(make_event_maps, make_verdict, tmp_path)
    assert "Unknown background" not in without.read_text()


def test_limits_beyond_the_table_are_counted(words):
    # 8 of the 31 values of s_true are above 35; of the methods two read the table
    assert (
        "At cl = 0.9 the table of the interval methods ends at mu = 60: a limit beyond is unbounded, not "
        "extrapolated. It happens in 8 of 62 cells, at most to 0.0042 of the toys (p_max, s_true = 35.5, b = 0)."
    ) in words.text


def test_no_limit_beyond_the_table_is_said(tmp_path, make_event_maps, make_verdict, make_table):
    page = write(make_event_maps, make_verdict, tmp_path, [make_table()])
    assert "not extrapolated. It happened to no toy." in Words(page.read_text()).text


@pytest.mark.parametrize(
    ("methods", "figures"),
    [(("max_gap", "poisson"), set()), (("optimum_interval",), {"c_max"}), (("p_max", "poisson"), {"p_max"})],
    ids=str,
)
def test_only_what_a_method_reads_is_drawn(tmp_path, make_event_maps, make_verdict, make_table, methods, figures):
    def choose(maps):
        told = json.loads(maps.attrs["methods"])
        return maps.sel(limit_method=list(methods)).assign_attrs(
            maps.attrs | {"methods": json.dumps({label: told[label] for label in methods})}
        )

    page = write(make_event_maps, make_verdict, tmp_path, [make_table()], choose)
    drawn = {path.name.split("-")[1] for path in (tmp_path / "figures").glob("thresholds-*-0.9.png")}
    assert drawn == figures
    assert ("At cl = 0.9 the table of the interval methods ends" in page.read_text()) == bool(figures)
    assert ('id="thresholds"' in page.read_text()) == bool(figures)


def test_methods_of_counts_stand_side_by_side_too(tmp_path, make_maps, make_verdict):
    maps = make_maps({"classical": "upper"}, cl=(0.9,), b=(0.0, 3.0))
    text = write_page(maps, make_verdict(maps), tmp_path).read_text()
    assert 'id="side-by-side"' in text
    assert 'id="thresholds"' not in text
    names = {path.stem.split("-")[0] for path in (tmp_path / "figures").iterdir()}
    assert names == {"coverage", "sigma", "slices", "medians", "mistakes"}


@pytest.mark.parametrize(
    ("u", "said"),
    [
        ([], "0 events"),
        ([0.25], "1 event at u = 0.25"),
        ([0.1, 0.7], "2 events at u = 0.1, 0.7"),
        ([0.5] * 99, "99 events"),
    ],
    ids=["none", "one", "two", "many"],
)
def test_observed_events_are_told(tmp_path, make_event_maps, make_verdict, u, said):
    maps = make_event_maps(s_true=(1.0, 2.0))
    told = {"limit_method": "p_max", "cl": 0.9, "lower": 0.0, "upper": 5.25, "status": "ok", "u": u, "b_estimate": 0.0}
    text = Words(write_page(maps, make_verdict(maps), tmp_path, [told], events=()).read_text()).text
    assert f"Limits on the observation {said} Method cl Interval of s (events) p_max 0.9 [0, 5.25]" in text
    assert "known from toys only" in text
    assert "s_true = –" not in text


@pytest.mark.parametrize(
    "grid", [{"b": (0.0, 4.0, 9.0)}, {"s_true": (2.0,)}, {"s_true": (0.0,)}, {"s_true": (0.0, 1e-3, 40.0)}], ids=str
)
def test_odd_grids_are_drawn(tmp_path, make_event_maps, make_verdict, grid):
    write(make_event_maps, make_verdict, tmp_path, **grid)
    assert (tmp_path / "figures" / "medians-0.9.png").exists()


def test_same_maps_give_the_same_bytes(tmp_path, make_event_maps, make_verdict, make_table):
    for folder in ("once", "twice"):
        write(make_event_maps, make_verdict, tmp_path / folder, [make_table()], s_true=tuple(np.arange(1.0, 7.0)))
    once, twice = (sorted((tmp_path / folder).rglob("*.*")) for folder in ("once", "twice"))
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in twice]
