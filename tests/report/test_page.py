"""The page and its files."""

from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr

from covsvc.report import write_page

ODD, SCRIPT = "feldman_cousins(monotone_in_b=True)", '<script>alert("$x$")</script>'
KINDS = {"classical": "upper", ODD: "two", SCRIPT: "low"}
OBSERVED = [
    {
        "limit_method": "classical",
        "cl": 0.9,
        "lower": 0.0,
        "upper": 2.4171,
        "status": "ok",
        "n": 3,
        "b": 5.5,
        "coverage": 0.9134,
        "worst_coverage_at_b": 0.9,
        "worst_coverage": 0.89999,
        "worst_s_true": 0.25,
        "worst_b": 5.5,
    },
    {"limit_method": ODD, "cl": 0.9, "lower": 0.0, "upper": 0.0, "status": "empty", "n": 3, "b": 5.5},
    {"limit_method": SCRIPT, "cl": 0.9, "lower": 0.0, "upper": np.inf, "status": "unbounded", "n": 3, "b": 5.5},
]


class Elements(HTMLParser):
    """The start tags of a page, its words, and the tags that were left open."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        while tag == "tbody" and self.open[-1] in ("tr", "th", "td"):
            self.open.pop()  # their end tags may be left out
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def values(self, name):
        return [said[name] for _, said in self.tags if name in said]


@pytest.fixture(scope="module")
def page(tmp_path_factory, make_maps, make_curves, make_verdict):
    maps = make_maps(KINDS, cl=(0.9, 0.95), b=(0.0, 3.0, 5.5))
    told = []
    folder = tmp_path_factory.mktemp("report")
    curves = make_curves(maps, KINDS)
    index = write_page(maps, make_verdict(maps), folder, OBSERVED, told.append, curves=curves)
    assert told[-1].endswith("(3/3)")
    return index


@pytest.fixture(scope="module")
def text(page):
    return page.read_text()


@pytest.fixture(scope="module")
def elements(text):
    return Elements(text)


@pytest.fixture(scope="module")
def words(elements):
    return " ".join(" ".join(elements.words).split())


def write_small(make_maps, make_verdict, folder, change=lambda maps: maps, **grid):
    grid = {"cl": (0.9,), "b": (0.0, 3.0), "s_true": (0.0, 1.0, 2.0)} | grid
    maps = change(make_maps({"classical": "upper"}, **grid))
    return write_page(maps, make_verdict(maps), folder).read_text()


def test_page_needs_no_other_file(text, elements):
    tags = {tag for tag, _ in elements.tags}
    assert not tags & {"link", "script", "img", "iframe", "object", "embed", "base"}
    assert not re.search(r"https?://|@import|//cdn", text)
    beside = ("#", "figures/", "tables/", "summary.md", "data:")
    assert all(source.startswith(beside) for source in elements.values("href"))
    assert not re.search(r"url\((?!#|data:)", text)


def test_every_map_has_its_png_and_svg_and_pdf(page, elements):
    figures = page.parent / "figures"
    names = {path.name for path in figures.iterdir()}
    for shown in ("coverage", "sigma"):
        for cl in ("0.9", "0.95"):
            assert {f"{shown}-classical-{cl}.{end}" for end in ("png", "svg", "pdf")} <= names
    assert len(names) == 3 * (3 * 2 * 2 + 3 + 2 * 2)
    linked = {href.removeprefix("figures/") for href in elements.values("href") if href.startswith("figures/")}
    assert linked == names


def test_nothing_partial_is_left_behind(page):
    assert not [path for path in page.parent.rglob("*") if path.suffix == ".part"]


def test_ids_are_unique_and_links_find_them(elements):
    ids = elements.values("id")
    assert len(ids) == len(set(ids))
    wanted = [href[1:] for href in elements.values("href") if href.startswith("#")]
    wanted += re.findall(r"url\(#([^)]+)\)", " ".join(str(said) for _, said in elements.tags))
    assert set(wanted) <= set(ids)


def test_tags_are_closed(elements):
    assert not elements.open


def test_headings_come_in_order(elements):
    levels = [int(tag[1]) for tag, _ in elements.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_figures_are_described_and_tables_have_captions(elements):
    drawn = [said for tag, said in elements.tags if tag == "svg"]
    assert len(drawn) == 3 * 2 * 2 + 3 + 2 * 2 + 3 * 2
    assert all(said["role"] == "img" and len(said["aria-label"]) > 40 for said in drawn)
    count = [tag for tag, _ in elements.tags]
    assert count.count("table") == count.count("caption")
    assert all("scope" in said for tag, said in elements.tags if tag == "th")


def test_verdict_is_said_in_words(words):
    assert "✗ FAILED" in words
    assert "2 of 6 promises are broken: the worst coverage is 0.6321." in words
    assert "a deficit of 0.016 would have been shown" in words
    assert "With 10000 toys in each of 600 cells" in words


def test_tables_say_the_numbers_of_the_maps(words, make_maps):
    maps = make_maps(KINDS, cl=(0.9, 0.95), b=(0.0, 3.0, 5.5))
    worst = float(maps["worst_coverage"].sel(limit_method=SCRIPT, cl=0.9).min())
    assert f"{worst:.4f}" in words
    cell = float(maps["exact_coverage"].sel(limit_method="classical", cl=0.95, b=3.0, s_true=2.5))
    assert f"{cell:.4f}" in words
    median = maps["exact_sigma_med_over_true"].sel(limit_method=ODD, cl=0.9, s_true=slice(0.1, None)).median()
    assert f"{float(median):.3g} two-sided, not comparable at equal cl" in words


def test_observation_stands_beside_its_coverage(words):
    assert "[0, 2.417] 0.9134 0.9000 0.89999" in words
    assert "empty: no s ≥ 0 is accepted" in words
    assert "[0, ∞] unbounded" in words


def test_provenance_and_study_are_shown(words):
    for said in ("ZX81ABC", "2424517", '"seed": 1999', "3f9a5c0d77", "monotone_in_b = True"):
        assert said in words


def test_odd_labels_stay_text(text, elements, words):
    assert "<script" not in text
    assert ODD in words
    assert SCRIPT in words
    assert any(SCRIPT in label for label in elements.values("aria-label"))


def test_page_without_observation_or_toys_or_curves(make_maps, make_verdict, tmp_path):
    def without_toys(maps):
        names = [name for name in maps if name.startswith(("coverage", "p_", "sigma", "upper"))]
        return maps.assign({name: maps[name] * np.nan for name in names} | {"n_toys": maps["n_toys"] * 0})

    words = " ".join(Elements(write_small(make_maps, make_verdict, tmp_path, without_toys)).words)
    assert "Limits on the observation" not in words
    assert "exact, at the grid" in words
    assert "Exact coverage inside" not in words


def test_page_from_toys_alone(make_maps, make_verdict, tmp_path):
    words = " ".join(Elements(write_small(make_maps, make_verdict, tmp_path, exact=False)).words)
    assert "toys, grid only" in words
    assert "coverage at cl = 0.9 (toys)" in words


def test_holes_are_shown_as_holes(make_maps, make_verdict, tmp_path):
    def cut(maps):
        hole = (maps["s_true"] == 2.0) & (maps["b"] == 3.0)
        names = [name for name in maps if "s_true" in maps[name].dims and maps[name].dtype.kind == "f"]
        return maps.assign({name: maps[name].where(~hole) for name in names})

    words = " ".join(Elements(write_small(make_maps, make_verdict, tmp_path, cut)).words)
    assert "Grey: no value (1)." in words
    assert "–" in words


def test_page_without_any_value(make_maps, make_verdict, tmp_path):
    def nothing(maps):
        under = xr.zeros_like(maps["under_significant"])
        toys = {name: xr.zeros_like(maps[name]) for name in ("n_toys", "n_covered")}
        return (maps * np.nan).assign(under_significant=under, **toys).assign_attrs(maps.attrs)

    text = write_small(make_maps, make_verdict, tmp_path, nothing)
    assert "It has no values." in text


@pytest.mark.parametrize(
    "grid",
    [
        {"b": (3.0,)},
        {"s_true": (2.0,)},
        {"s_true": (0.0,)},
        {"b": (3.0,), "s_true": (2.0,)},
        {"s_true": (0.01, 0.1, 1.0, 10.0), "b": (5.5, 0.5)},
    ],
    ids=["one row", "one column", "only s_true = 0", "one cell", "irregular"],
)
def test_odd_grids_are_drawn(make_maps, make_verdict, tmp_path, grid):
    write_small(make_maps, make_verdict, tmp_path, **grid)
    assert len(list((tmp_path / "figures").iterdir())) == 3 * (3 + 2)


def test_unbounded_medians_are_crossed(make_maps, make_verdict, tmp_path):
    def unbounded(maps):
        return maps.assign(exact_sigma_med_over_true=maps["exact_sigma_med_over_true"].where(maps["b"] < 1, np.inf))

    words = " ".join(Elements(write_small(make_maps, make_verdict, tmp_path, unbounded)).words)
    assert "Crossed: unbounded" in words


def test_labels_with_one_stem_do_not_overwrite_each_other(make_maps, make_verdict, tmp_path):
    maps = make_maps({"a b": "upper", "a?b": "low", "A-B": "two"}, cl=(0.9,), b=(0.0, 3.0), s_true=(0.0, 1.0))
    elements = Elements(write_page(maps, make_verdict(maps), tmp_path).read_text())
    assert len(list((tmp_path / "figures").iterdir())) == 3 * (3 * 3 + 2)
    assert len(elements.values("id")) == len(set(elements.values("id")))


def test_same_maps_give_the_same_bytes(make_maps, make_verdict, tmp_path):
    for folder in ("once", "twice"):
        write_small(make_maps, make_verdict, tmp_path / folder)
    once, twice = (sorted((tmp_path / folder).rglob("*.*")) for folder in ("once", "twice"))
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in twice]


def test_passed_and_undecided_are_words(make_maps, make_verdict, tmp_path):
    maps = make_maps({"classical": "upper"}, cl=(0.9,), b=(0.0,), s_true=(0.0, 1.0))
    for outcome, word in (("passed", "✓ PASSED"), ("undecided", "? UNDECIDED")):
        verdict = make_verdict(maps, outcome) | {"smallest_deficit": float("nan")}
        assert word in write_page(maps, verdict, tmp_path).read_text()


def test_maps_are_not_changed(make_maps, make_verdict, tmp_path):
    maps = make_maps({"classical": "upper"}, cl=(0.9,), b=(3.0, 0.0), s_true=(0.0, 1.0))
    before = maps.copy(deep=True)
    write_page(maps, make_verdict(maps), tmp_path)
    xr.testing.assert_identical(maps, before)
    assert json.loads(maps.attrs["study"])["name"] == "by-hand"


NOTE = "this 90 % limit covers like a one-sided 95 % limit <b>of</b> its kind"
MORE = ("Observed and expected limits", "Significance without a signal", "Where Wilks' theorem holds")


def off_source(maps):
    """Return maps of a study whose background is counted off source, in as large a region."""
    study = json.loads(maps.attrs["study"]) | {"experiment": {"name": "on_off", "options": {"tau": 1.0}}}
    return maps.assign_attrs(study=json.dumps(study))


@pytest.fixture(scope="module")
def full(tmp_path_factory, make_maps, make_verdict, make_expected, make_statistics):
    maps = off_source(make_maps(KINDS, cl=(0.9, 0.95), b=(0.0, 3.0), s_true=(0.0, 1.0, 2.0)))
    return write_page(
        maps,
        make_verdict(maps),
        tmp_path_factory.mktemp("full"),
        expected=make_expected(KINDS),
        statistics=make_statistics(),
        notes=[
            {"limit_method": "classical", "cl": 0.9, "note": NOTE},
            {"limit_method": "not here", "cl": 0.95, "note": "nothing"},
        ],
    )


@pytest.fixture(scope="module")
def full_elements(full):
    return Elements(full.read_text())


@pytest.fixture(scope="module")
def full_words(full_elements):
    return " ".join(" ".join(full_elements.words).split())


def test_sections_stand_after_the_slices_and_in_the_contents(full_words):
    places = [[found.start() for found in re.finditer(head, full_words)] for head in MORE]
    assert all(len(found) >= 2 for found in places)
    heads = [found[-1] for found in places]
    assert full_words.rindex("slices") < min(heads) < max(heads) < full_words.rindex("Provenance")


def test_without_their_data_the_sections_are_absent(words, elements):
    assert not [head for head in (*MORE, "What the limits equal") if head in words]
    assert not {"expected", "significance", "statistics", "equal"} & set(elements.values("id"))


def test_one_section_comes_alone(make_maps, make_verdict, tmp_path):
    maps = off_source(make_maps({"classical": "upper"}, cl=(0.9,), b=(0.0,), s_true=(0.0, 1.0)))
    index = write_page(maps, make_verdict(maps), tmp_path)
    words = " ".join(" ".join(Elements(index.read_text()).words).split())
    assert MORE[1] in words
    assert MORE[0] not in words
    assert MORE[2] not in words
    assert {path.name for path in (tmp_path / "figures").glob("s*.png")} == {
        "sigma-classical-0.9.png",
        "significance.png",
        "slices-classical.png",
    }


def test_full_page_is_whole(full, full_elements):
    ids = full_elements.values("id")
    assert len(ids) == len(set(ids))
    wanted = [href[1:] for href in full_elements.values("href") if href.startswith("#")]
    wanted += re.findall(r"url\(#([^)]+)\)", " ".join(str(said) for _, said in full_elements.tags))
    assert set(wanted) <= set(ids)
    assert not full_elements.open
    levels = [int(tag[1]) for tag, _ in full_elements.tags if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    tags = [tag for tag, _ in full_elements.tags]
    assert tags.count("table") == tags.count("caption")
    names = {path.name for path in (full.parent / "figures").iterdir()}
    linked = {href.removeprefix("figures/") for href in full_elements.values("href") if href.startswith("figures/")}
    assert linked == names
    assert {"expected-classical.png", "significance.svg", "statistics.png"} <= names


def test_new_figures_are_described_and_small(full):
    pictures = re.findall(r"<svg(?! role=.img. aria-label=.Small maps).*?</svg>", full.read_text(), re.DOTALL)
    described = [
        picture for picture in pictures if "holds the numbers" in picture[:2000] or "hold the" in picture[:2000]
    ]
    assert len(described) == len(pictures) == 3 * 2 * 2 + 3 + 3 + 2 + 2 * 2
    assert max(map(len, pictures)) < 100_000
    assert all(path.stat().st_size < 250_000 for path in (full.parent / "figures").iterdir())


def test_figures_have_a_table_beside_them(full_words, make_expected, make_null, make_statistics):
    limits = make_expected(KINDS)["expected"].sel(limit_method=ODD, cl=0.95, b=3.0).to_numpy()
    assert " ".join(f"{limit:.4g}" for limit in limits) in full_words
    rates = make_null(b=(10**0.5,)).isel(b=0)
    cells = [f"{rates[name][0].item():.3g}" for name in ("p_sideband", "p_whole")]
    assert f"3.162 {' '.join(cells)}" in full_words
    assert "q_mu 0.9 1.642 0.0916 0.1" in full_words
    assert "a significance above 3 sigma is claimed without any signal up to" in full_words


def test_what_limits_equal_is_said_under_the_summary(full_words, full):
    assert f"What the limits equal classical , cl = 0.9: {NOTE} not here, cl = 0.95: nothing" in full_words
    assert "<b>of</b>" not in full.read_text()


def test_full_page_is_the_same_bytes(full, make_maps, make_verdict, make_expected, make_statistics, tmp_path):
    maps = off_source(make_maps({"classical": "upper"}, cl=(0.9,), b=(0.0,), s_true=(0.0, 1.0)))
    more = {"expected": make_expected(KINDS), "statistics": make_statistics()}
    before = {name: given.copy(deep=True) for name, given in more.items()}
    for folder in ("once", "twice"):
        write_page(maps, make_verdict(maps), tmp_path / folder, **more)
    once, twice = (sorted((tmp_path / folder).rglob("*.*")) for folder in ("once", "twice"))
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in twice]
    assert all(given.identical(before[name]) for name, given in more.items())


def test_expected_limits_of_another_method_have_their_own_file(make_maps, make_verdict, make_expected, tmp_path):
    maps = make_maps({"a b": "upper"}, cl=(0.9,), b=(0.0,), s_true=(0.0, 1.0))
    write_page(maps, make_verdict(maps), tmp_path, expected=make_expected({"a?b": "low", "a b": "upper"}))
    names = {path.name for path in (tmp_path / "figures").glob("expected*.png")}
    assert names == {"expected-a-b.png", "expected-a-b-2.png"}


@pytest.fixture(scope="module")
def apart(tmp_path_factory, make_maps, make_verdict, make_expected):
    maps = make_maps(KINDS, cl=(0.9,), b=(0.0, 3.0), s_true=(0.0, 1.0, 2.0))
    folder = tmp_path_factory.mktemp("apart")
    index = write_page(maps, make_verdict(maps), folder, expected=make_expected(KINDS, cl=(0.9,)), most_bytes=100)
    return {path.name: Elements(path.read_text()) for path in index.parent.glob("*.html")}


def test_methods_of_a_large_report_have_pages_of_their_own(apart):
    assert sorted(apart) == sorted(
        [
            "index.html",
            "method-classical.html",
            "method-feldman_cousins-monotone_in_b-True.html",
            "method-script-alert-x-script.html",
        ]
    )
    overview = " ".join(apart["index.html"].words)
    assert "Table of the coverage of" not in overview
    assert "are on their own pages" in overview
    assert sum("Small maps of" in label for label in apart["index.html"].values("aria-label")) == 3
    for name, page in apart.items():
        if name != "index.html":
            tables = [
                re.match("(Coverage|sigma.*|Upper limits) of .*value$", said) for said in page.values("aria-label")
            ]
            assert sum(map(bool, tables)) == 3
            assert {"index.html", *apart} - {name} <= set(page.values("href"))


def test_every_page_of_a_large_report_is_whole_by_itself(apart):
    for page in apart.values():
        tags = {tag for tag, _ in page.tags}
        assert not tags & {"link", "script", "img", "iframe", "object", "embed", "base"}
        ids = page.values("id")
        assert len(ids) == len(set(ids))
        assert {href[1:] for href in page.values("href") if href.startswith("#")} <= set(ids)
        assert not page.open
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
        assert "it can be sent alone" in " ".join(page.words)


def test_every_file_that_is_linked_is_there(page, elements):
    linked = {href for href in elements.values("href") if not href.startswith(("#", "data:"))}
    assert {"summary.md", "tables/cells.csv"} <= linked
    assert all((page.parent / href).is_file() for href in linked)


def test_sections_come_in_the_order_of_the_contents(elements, words):
    heads = [said["id"] for tag, said in elements.tags if tag == "h2"]
    contents = [href[1:] for href in elements.values("href") if href[1:] in heads]
    assert list(dict.fromkeys(contents)) == heads
    assert heads[:1] + heads[2:7] == ["verdict", "summary", "maps", "side-by-side", "toys-spent", "no-limit"]
    assert heads[-2:] == ["reading", "citing"]
    assert "What the verdict could have seen" in words


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_browser_shows_the_page_without_the_network(full, scheme):
    from playwright.sync_api import sync_playwright

    asked, said = [], []
    with sync_playwright() as started:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = started.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        context = browser.new_context(offline=True, color_scheme=scheme, viewport={"width": 390, "height": 800})
        tab = context.new_page()
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.goto(full.as_uri())
        assert tab.locator("h1").is_visible()
        assert tab.locator("svg[role=img]").first.is_visible()
        overflow = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        browser.close()
    assert overflow == 0
    assert all(url.startswith(("file://", "data:")) for url in asked)
    assert said == []
