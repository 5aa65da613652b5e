"""The page of a validation and the files beside it."""

from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser

import pytest
import validations

from covsvc.report import validation_page, write_validation
from covsvc.report.validation_junit import junit_of
from covsvc.report.validation_markdown import markdown_of
from covsvc.report.validation_page import MOST_SHOWN

SMALL = {"b": (0.0, 3.0), "s_true": (0.0, 1.0, 2.5)}


class Elements(HTMLParser):
    """The start tags of a page, its words, those that are not folded, and the tags that were left open."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.shown, self.open = [], [], [], []
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
        if "details" not in self.open and "style" not in self.open:
            self.shown.append(data)

    def values(self, name):
        return [said[name] for _, said in self.tags if name in said]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    @property
    def seen(self):
        return " ".join(" ".join(self.shown).split())


@pytest.fixture(scope="module")
def some_maps(make_maps):
    def pair(kinds, before, **grid):
        return make_maps(kinds, **grid), make_maps(before, **grid)

    grid = {"cl": (0.9, 0.95), **SMALL}
    counting = pair(
        {"classical": "upper", validations.ODD: "low"}, {"classical": "upper", validations.ODD: "upper"}, **grid
    )
    yellin = pair(
        {validations.SCRIPT: "low", "max_gap": "low"},
        {validations.SCRIPT: "upper", "max_gap": "upper"},
        cl=(0.9,),
        exact=False,
        **SMALL,
    )
    return {"counting-all": counting, "yellin-test-a": yellin, "on-off": counting}


@pytest.fixture(scope="module")
def written(tmp_path_factory, some_maps):
    return {
        name: write_validation(make(), some_maps, tmp_path_factory.mktemp(name))
        for name, make in validations.EVERY.items()
    }


@pytest.fixture(scope="module")
def pages(written):
    return {name: Elements(index.read_text()) for name, index in written.items()}


def test_all_files_are_there_and_nothing_partial(written):
    for name, index in written.items():
        told, folder = validations.EVERY[name](), index.parent
        assert index.name == "index.html"
        assert json.loads((folder / "verdict.json").read_text()) == told
        assert (folder / "summary.md").read_text() == markdown_of(told)
        assert (folder / "junit.xml").read_text() == junit_of(told)
        assert {path.name for path in folder.iterdir()} == {
            "index.html",
            "figures",
            "verdict.json",
            "summary.md",
            "junit.xml",
        }


def test_the_first_words_are_the_outcome_and_what_to_do(pages, written):
    for name, mark, word in (
        ("failed", "✗", "FAILED"),
        ("undecided", "?", "UNDECIDED"),
        ("unchanged", "✓", "PASSED"),
        ("improved", "✓", "PASSED, 3 warnings to look at"),
    ):
        told = validations.EVERY[name]()
        expected = f"Verdict {mark} {word} {told['sentence']} What to do: {told['advice'].replace('`', '')}"
        assert expected in pages[name].seen
        assert pages[name].seen.index(expected) < 400
    assert "<code>covsvc accept</code> it.</p>" in written["improved"].read_text()


def test_findings_stand_in_the_order_in_which_they_matter(pages):
    seen = pages["failed"].seen
    heads = [
        seen.index(said) for said in ("What to do", "covers less than it promises", "may cover less", "Studies Each")
    ]
    assert heads == sorted(heads)
    assert "covsvc replay counting-all --s-true 2.5 --b 3 --limit-method 'feldman_cousins(monotone_in_b=True)'" in seen
    assert "7 more like this" in pages["failed"].text
    assert "s_true = 7, b = 3" in pages["failed"].text
    assert "s_true = 7, b = 3" not in seen


def test_commands_are_selected_whole(pages, written):
    commands = [said for tag, said in pages["failed"].tags if tag == "pre"]
    assert commands
    assert all("replay" in said["class"] for said in commands)
    assert re.search(r"\.replay \{[^}]*user-select: all", written["failed"].read_text())


def test_what_did_not_change_is_folded_and_counted(pages):
    assert "2 unchanged, 1 identical, 1 equal, 3 changed" in pages["failed"].seen
    assert "bayes_flat" in pages["failed"].text
    assert "bayes_flat" not in pages["failed"].seen
    assert f"{validations.ODD} promises at least cl 0.9 changed other limits failed 0.8651" in pages["failed"].text
    assert "12 % stronger" in pages["failed"].seen
    assert "0 733,912" in pages["failed"].seen


def test_without_a_baseline_nothing_is_said_of_before(pages):
    text = pages["first"].seen
    assert "nothing: never accepted" in text
    assert "bayes_jeffreys promises nothing 0.9 reported 0.7415" in text
    assert "Against before" not in text
    assert "none: the study was never accepted; promises alone were judged" in text
    assert "None" not in text


def test_acceptance_is_offered_only_to_what_passed(pages):
    assert "covsvc accept candidate.0123456789 --store coverage-cubes --tag NAME" in pages["improved"].seen
    for name in ("failed", "undecided", "unchanged"):
        assert "covsvc accept" not in pages[name].text


def test_origin_names_who_accepted_what_and_what_drifted(pages):
    text = pages["improved"].seen
    assert "v1.2@20261115T060000Z, snapshot 1CECHNKREP0F1RSTCMT0, passed" in text
    assert "by Ada <ada@example.org>: tables to mu = 60" in text
    assert "counting-all: numpy 2.4.5 → 2.4.6" in text
    assert "counting-all: numba – → 0.66" in text
    assert "with changes that are not committed" in pages["failed"].seen
    assert "of the change alone: the revision of the baseline is not here" in pages["undecided"].seen


def test_only_what_changed_is_drawn(written, pages):
    names = {name: {path.stem for path in (index.parent / "figures").iterdir()} for name, index in written.items()}
    stem = "counting-all-feldman_cousins-monotone_in_b-True-0.9"
    assert names["unchanged"] == names["first"] == set()
    assert names["improved"] == {f"difference-coverage-{stem}", f"difference-median-{stem}"}
    assert len(names["failed"]) == 2 * 3
    for name, index in written.items():
        linked = {each.removeprefix("figures/") for each in pages[name].values("href") if each.startswith("figures/")}
        assert linked == {path.name for path in (index.parent / "figures").iterdir()}


def test_page_is_whole_and_needs_nothing_else(pages, written):
    for name, elements in pages.items():
        assert not elements.open
        assert not {tag for tag, _ in elements.tags} & {"link", "script", "img", "iframe", "object", "embed", "base"}
        assert not re.search(r"https?://|@import|//cdn", written[name].read_text())
        ids = elements.values("id")
        assert len(ids) == len(set(ids))
        wanted = [href[1:] for href in elements.values("href") if href.startswith("#")]
        wanted += re.findall(r"url\(#([^)]+)\)", " ".join(str(said) for _, said in elements.tags))
        assert set(wanted) <= set(ids)
        levels = [int(tag[1]) for tag, _ in elements.tags if re.fullmatch("h[1-6]", tag)]
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
        count = [tag for tag, _ in elements.tags]
        assert count.count("table") == count.count("caption")
        assert all("scope" in said for tag, said in elements.tags if tag == "th")
        assert all(len(said["aria-label"]) > 40 for tag, said in elements.tags if tag == "svg")


def test_labels_of_others_stay_text(pages, written):
    assert "<script" not in written["failed"].read_text()
    assert f"{validations.SCRIPT} at cl 0.9: covers less than before" in pages["failed"].seen


def test_figures_of_an_earlier_validation_are_removed_and_no_others(some_maps, tmp_path):
    write_validation(validations.failed(), some_maps, tmp_path)
    (tmp_path / "figures/coverage-classical-0.9.png").write_bytes(b"of a report")
    write_validation(validations.improved(), some_maps, tmp_path)
    stems = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert "coverage-classical-0.9" in stems
    assert len(stems) == 3


def test_what_failed_is_drawn_first_and_the_rest_is_counted(make_maps, tmp_path, monkeypatch):
    monkeypatch.setattr(validation_page, "MOST_DRAWN", 2)
    labels = [f"method_{i}" for i in range(5)]
    columns = [validations.column(label, state="changed") for label in labels[:-1]]
    columns += [validations.column(labels[-1], state="changed", outcome="failed")]
    kinds = dict.fromkeys(labels, "upper")
    grid = {"cl": (0.9,), "b": (3.0,), "s_true": (0.0, 1.0)}
    maps = make_maps(kinds, **grid), make_maps(kinds, **grid)
    told = validations.validation(validations.study(outcome="failed", columns=columns), outcome="failed")
    elements = Elements(write_validation(told, {"counting-all": maps}, tmp_path).read_text())
    names = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert len(names) == 2 * 2
    assert f"difference-coverage-counting-all-{labels[-1]}-0.9" in names
    assert "3 more columns changed and are not drawn here" in elements.seen


def test_a_flood_of_findings_is_folded(some_maps, tmp_path):
    findings = [validations.finding(label=f"method_{i}") for i in range(MOST_SHOWN + 20)]
    told = validations.validation(validations.study(outcome="failed", findings=findings), outcome="failed")
    elements = Elements(write_validation(told, some_maps, tmp_path).read_text())
    assert "Failures (32)" in elements.seen
    assert "method_11" in elements.seen
    assert "method_12" in elements.text
    assert "method_12" not in elements.seen
    assert elements.text.count("In repeated experiments its intervals") == 2


def test_a_study_without_maps_is_told_all_the_same(tmp_path):
    elements = Elements(write_validation(validations.failed(), {}, tmp_path).read_text())
    assert "Maps of what changed" not in elements.text
    assert "covers less than it promises" in elements.seen


def test_words_are_there_even_if_a_figure_cannot_be_drawn(some_maps, tmp_path):
    now, before = some_maps["counting-all"]
    broken = {"counting-all": (now, before.drop_vars("coverage"))}
    with pytest.raises(KeyError):
        write_validation(validations.failed(), broken, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"verdict.json", "summary.md", "junit.xml", "figures"}


def test_what_is_no_number_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_validation(validations.unchanged() | {"margin": float("nan")}, {}, tmp_path)


def test_same_validation_gives_the_same_bytes(some_maps, tmp_path):
    for folder in ("once", "twice"):
        write_validation(validations.failed(), some_maps, tmp_path / folder)
    once, twice = (sorted((tmp_path / folder).rglob("*.*")) for folder in ("once", "twice"))
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in twice]


@pytest.mark.browser
def test_browser_shows_the_pages_to_everybody(written):
    """Without network, in both schemes, on a telephone, all folds open: axe finds nothing that keeps readers out."""
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    asked, said = [], []
    with sync_playwright() as started:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = started.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        for name, scheme, width in (("failed", "light", 390), ("failed", "dark", 1280), ("improved", "light", 1280)):
            context = browser.new_context(offline=True, color_scheme=scheme, viewport={"width": width, "height": 800})
            tab = context.new_page()
            tab.on("request", lambda request: asked.append(request.url))
            tab.on("console", lambda message: said.append(message.text))
            tab.on("pageerror", lambda error: said.append(str(error)))
            tab.goto(written[name].as_uri())
            # what to do is read without scrolling
            box = tab.locator(".verdict").bounding_box()
            assert box["y"] + box["height"] < 800
            tab.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            overflow = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert overflow == 0
            violations = Axe().run(tab).response["violations"]
            assert [(each["id"], each["nodes"][0]["html"]) for each in violations] == []
            context.close()
        browser.close()
    assert all(url.startswith(("file://", "data:")) for url in asked)
    assert said == []
