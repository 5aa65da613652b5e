"""The guide: its examples print what it says, and its numbers are those of closed forms and of the papers."""

from __future__ import annotations

import math
import re
import shlex
import shutil
from pathlib import Path

import pytest
from pages import commands, comparable
from scipy.stats import chi2, norm, poisson

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "guide.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_examples_print_what_the_guide_says(covsvc, tmp_path, capsys):
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("*.png", "*.md"))
    found = re.findall(r"```(\w+)\n(.*?)```(?:\n+```text\n(.*?)```)?", GUIDE, re.DOTALL)
    session = {}
    for language, block, told in found:
        if language == "yaml":
            (tmp_path / "guide.yaml").write_text(block)
        elif language == "python":
            exec(compile(block, "guide.md", "exec"), session)
            printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
            assert printed == told.splitlines(), block
        else:
            assert language == "console"
            for command, answer in commands(block):
                program, *arguments = shlex.split(command)
                here = ["--cluster", "none"] if arguments[0] == "run" else []  # has the same bits, and is there at once
                code, printed, said = covsvc(*arguments, *here)
                assert (program, code) == ("covsvc", 0), said
                assert comparable(printed) == comparable(answer), command
    assert {language for language, *_ in found} == {"console", "python", "yaml"}
    assert {each.name for each in tmp_path.glob("*.png")} == {"guide-map.png", "guide-slice.png", "limit-plot.png"}


Z = norm.ppf(0.90)


@pytest.mark.parametrize(
    ("said", "true"),
    [
        ("z = {:.2f} the 90 % point of a Gaussian", Z),
        ("{:.2f} belongs to an interval with two ends at 90 %", chi2.ppf(0.90, 1)),
        ("this limit is z²/2 = {:.2f}", Z**2 / 2),
        ("The right one is −ln 0.10 = {:.2f}", -math.log(0.10)),
        ("e^−0.82 = {:.0f} %", 100 * math.exp(-(Z**2) / 2)),
        ("b =    0   profile_likelihood {:.3f}", 1 - math.exp(-(Z**2) / 2)),
        ("By the p-value it was {:.2f}", chi2.ppf(0.90, 2 * 3) / 2 - 3.0),
        ("[0.   0.89 2.32 {:.2f}] ['EMPTY', 'OK', 'OK', 'OK']", chi2.ppf(0.90, 2 * 4) / 2 - 3.0),
        ("the limit is −ln 0.20 = {:.2f}", -math.log(0.20)),
        ("which covers {:.2f} just above", 1 - 0.20),
        ("An answer of {:.2f}", chi2.ppf(0.90, 1) / 2),
        ("above the dashed line: {:.2f}", poisson.cdf(2, 2.0)),  # 2 is the median of a Poisson mean of 2
        ("without a signal, 4 events or more: {:.2f}", 1 - poisson.cdf(3, 2.0)),
        ("exact: {:.4f}", 1 - poisson.cdf(3, 7.0)),
        ("so few events in {:.2f}", poisson.cdf(3, 6.5)),
        ("feldman_cousins    0.90 {:.2f}", 2.44),  # Feldman and Cousins, Table IV
    ],
)
def test_its_numbers_are_those_of_closed_forms_and_papers(said, true):
    assert said.format(true) in " ".join(GUIDE.split()) or said.format(true) in GUIDE


@pytest.mark.parametrize(
    ("limit_method", "printed"),
    [("bayes_flat", "3.57"), ("bayes_jeffreys", "3.30"), ("bayes_reciprocal", "3.06"), ("classical", "1.18")],
)
def test_limits_on_the_search_of_cleo_are_those_of_narsky(limit_method, printed):
    """Table 1 of Nucl. Instrum. Meth. A 450 (2000) 444."""
    search = GUIDE.partition("observed: n = 3, b = 5.5")[2]
    (limit,) = re.findall(rf"^{limit_method} +0\.90 +< ([\d.]+)", search.partition("```")[0], re.MULTILINE)
    assert f"{float(limit):.2f}" == printed
    assert printed in search.partition("He prints")[2].partition("\n")[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_links_lead_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        place, _, section = target.partition("#")
        there = page.parent / place if place else page
        assert there.exists(), target
        if section:
            titles = re.findall(r"^#+ (.+)$", there.read_text(), re.MULTILINE)
            assert section in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, target
