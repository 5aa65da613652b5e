"""The validation as Markdown."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
import validations
from markdown_it import MarkdownIt

from covsvc.report.validation_markdown import LONGEST, markdown_of

GITHUB = MarkdownIt("commonmark", {"html": True, "breaks": True}).enable(["table", "strikethrough"])


class Rendered(HTMLParser):
    """Elements and words of what a forge would show."""

    def __init__(self, markdown):
        super().__init__()
        self.tags, self.words, self.open, self.folded = [], [], [], []
        self.feed(GITHUB.render(markdown))
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if "details" in self.open:
            self.folded.append(data)

    @property
    def text(self):
        return " ".join("".join(self.words).split())

    @property
    def shown(self):
        """What is seen before anything is opened."""
        hidden = " ".join("".join(self.folded).split())
        return self.text.replace(hidden, "") if hidden else self.text


@pytest.mark.parametrize("name", validations.EVERY)
def test_only_what_was_meant_becomes_markup(name):
    rendered = Rendered(markdown_of(validations.EVERY[name]()))
    meant = {"h2", "h3", "p", "strong", "em", "code", "pre", "table", "thead", "tbody", "tr", "th", "td", "br"}
    assert set(rendered.tags) <= meant | {"details", "summary", "ul", "li"}


def test_two_lines_tell_the_outcome_and_what_to_do():
    for name, word, advice in (
        ("failed", "FAILED", "Do not accept this change."),
        ("undecided", "UNDECIDED", "Do not accept it yet."),
        ("unchanged", "PASSED", "You may accept it."),
        ("improved", "PASSED, 3 warnings to look at", "Look at the warnings"),
    ):
        told = validations.EVERY[name]()
        first, second = markdown_of(told).splitlines()[:2]
        assert first.startswith("## ")
        assert first.endswith(word)
        assert told["sentence"] in Rendered(second).text
        assert advice in second


def test_commands_of_the_advice_are_code():
    told = validations.unchanged() | {"advice": "Set n_toys to 5 (`covsvc plan a_b.yaml`). `covsvc accept` it."}
    line = markdown_of(told).splitlines()[1]
    assert line.endswith(r"Set n\_toys to 5 (`covsvc plan a_b.yaml`). `covsvc accept` it.")


def test_failures_and_warnings_stand_open_and_notes_are_folded():
    rendered = Rendered(markdown_of(validations.failed()))
    assert f"{validations.ODD} at cl 0.9: covers less than it promises" in rendered.shown
    assert "covsvc replay counting-all --s-true 2.5 --b 3" in rendered.shown
    assert "max_gap at cl 0.9: may cover less than it promises" in rendered.shown
    folded = " ".join("".join(rendered.folded).split())
    assert "7 more like this" in folded
    assert "s_true = 7, b = 3" in folded
    assert "3 cells" in folded
    assert "typical limit is weaker" in Rendered(markdown_of(validations.improved())).shown


def test_labels_of_others_stay_text():
    rendered = Rendered(markdown_of(validations.failed()))
    assert "script" not in rendered.tags
    assert f"{validations.SCRIPT} at cl 0.9" in rendered.text
    markdown = markdown_of(validations.failed())
    outside = re.sub(r"(`+).*?\1", "", markdown)
    assert not re.search(r"[@#]\w", outside.replace("<!-- -->", " "))


def test_sentences_with_marks_are_not_markup():
    sentence = "a_b_c *x* [y](https://example.org) <b> $x$ $y$ @ada #12 ~~z~~ `w` | \\"
    told = validations.validation(
        validations.study(findings=[validations.finding(sentence=sentence)]), outcome="failed"
    )
    markdown = markdown_of(told | {"sentence": sentence})
    assert Rendered(markdown).text.count(sentence) == 2
    assert "a" not in Rendered(markdown).tags
    assert "@ada" not in markdown
    assert "#12" not in markdown
    assert not re.search(r"(?<!<span>)\$(?!</span>)", markdown)


def test_tables_have_as_many_cells_as_heads():
    lines = markdown_of(validations.failed()).splitlines()
    rows = [re.sub(r"\\\|", "", line).count("|") for line in lines if line.startswith("|")]
    assert set(rows) == {9, 10}
    rendered = Rendered("\n".join(lines))
    assert rendered.tags.count("td") == 2 * 8 + 3 * 9


def test_calm_columns_are_counted_and_not_listed():
    columns = [validations.column(f"method_{i}", state="unchanged") for i in range(60)]
    columns += [validations.column(f"renamed_{i}", state="identical") for i in range(7)]
    rendered = Rendered(markdown_of(validations.validation(validations.study(columns=columns))))
    assert "60 unchanged, 7 identical" in rendered.shown
    assert "method_1" not in rendered.text
    assert "renamed_1" not in rendered.text
    # one that was broken before and still is stands there
    columns[0] |= {"outcome": "failed"}
    assert "method_0" in Rendered(markdown_of(validations.validation(validations.study(columns=columns)))).text


def test_acceptance_is_offered_only_to_what_passed():
    assert "covsvc accept candidate.0123456789" in Rendered(markdown_of(validations.improved())).shown
    for told in (validations.failed(), validations.undecided(), validations.unchanged()):
        assert "covsvc accept" not in markdown_of(told)


def test_a_flood_of_findings_stays_short_and_says_what_it_leaves_out():
    long = "a sentence that goes on | and on " * 40
    findings = [
        validations.finding(severity, kind, f"method_{label}", cl, b=b, sentence=long)
        for severity in ("failure", "undecided", "warning", "note")
        for kind in ("promise", "coverage fell", "median rose")
        for label in range(40)
        for cl in (0.9, 0.95)
        for b in (0.0, 3.0)
    ]
    columns = [validations.column(f"method_{i}", cl, "changed", "failed") for i in range(120) for cl in (0.9, 0.95)]
    told = validations.validation(validations.study(columns=columns, findings=findings), outcome="failed")
    markdown = markdown_of(told)
    assert len(markdown.encode()) <= LONGEST < 65_536
    assert "left out here for its length" in markdown
    rendered = Rendered(markdown)
    assert "Failures (240)" in rendered.text
    assert rendered.text.startswith("❌ Coverage validation: FAILED")
    assert "How to read this" in rendered.text


def test_what_fits_is_not_said_to_be_cut():
    for make in validations.EVERY.values():
        markdown = markdown_of(make())
        assert "left out" not in markdown
        assert len(markdown.encode()) < 12_000
