"""Figures of other distributions: they stand in the page, and those that cannot be drawn are left out and named."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from distribution import install

from covsvc import registry
from covsvc.report import write_page

FIGURES = '''
import os
import numpy as np
from matplotlib.figure import Figure

def curve(maps, study):
    """Show a <curve> of coverage.

    It rises, and
    falls.

    Parameters
    ----------
    maps : Dataset
    """
    figure = Figure(figsize=(4, 3))
    axes = figure.add_subplot(xlabel=study["name"])
    axes.plot(maps["s_true"], maps["coverage"][0, 0, 0])
    maps["coverage"][:] = 0.123
    study["name"] = "changed"
    return figure

def by_pyplot(maps, study):
    from matplotlib import pyplot
    figure, axes = pyplot.subplots()
    axes.imshow(np.ones((2, 2)))
    return figure

def raising(maps, study):
    """Raise."""
    os.chdir("/")
    return maps["no such variable"]

def leaving(maps, study):
    """Leave."""
    raise SystemExit(3)

def silent(maps, study):
    """Show nothing."""

def wordy(maps, study):
    """Show words."""
    return "a picture"

def unfinished(maps, study):
    """Show what cannot be written."""
    figure = Figure()
    figure.text(0, 0, "$\\\\notacommand{$")
    return figure
'''
NAMES = ("curve", "by_pyplot", "raising", "leaving", "silent", "wordy", "unfinished")
POINTS = "\n".join(
    ["[covsvc.figures]", *(f"{name} = plugged_artist:{name}" for name in NAMES), "absent = plugged_nowhere:absent"]
)


@pytest.fixture(scope="module")
def maps(make_maps):
    return make_maps({"classical": "upper"}, cl=(0.9,), b=(0.0, 3.0), s_true=(0.0, 1.0, 2.0))


@pytest.fixture(scope="module")
def page(tmp_path_factory, maps, make_verdict):
    """Write the report of maps while somebody's figures are installed."""
    site = tmp_path_factory.mktemp("site")
    install(site, "artist", POINTS, "2.1", plugged_artist=FIGURES)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        registry.installed.cache_clear()
        index = write_page(maps, make_verdict(maps), tmp_path_factory.mktemp("report"))
    registry.installed.cache_clear()
    return index


def section(page):
    return re.search(r'<section aria-labelledby="plugged">.*?</section>', page.read_text(), re.DOTALL)[0]


def test_a_figure_that_changes_its_folder_does_not_move_the_report(monkeypatch, tmp_path, maps, make_verdict):
    site = tmp_path / "site"
    install(site, "artist", POINTS, "2.1", plugged_artist=FIGURES)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.chdir(tmp_path)
    registry.installed.cache_clear()
    index = write_page(maps, make_verdict(maps), Path("report"))
    registry.installed.cache_clear()
    assert (tmp_path / index).is_file()
    assert "raising of artist 2.1" in section(index)


def test_without_any_there_is_no_section(tmp_path, maps, make_verdict):
    assert "plugged" not in write_page(maps, make_verdict(maps), tmp_path).read_text()


def test_figures_stand_in_the_page_and_beside_it(page):
    assert section(page).count("<svg") == 2
    written = {path.name for path in (page.parent / "figures").glob("plugged-*")}
    assert written == {f"plugged-{name}.{kind}" for name in ("curve", "by_pyplot") for kind in ("png", "svg")}
    for name in written:
        assert f'href="figures/{name}"' in section(page)
    assert '<li><a href="#plugged">' in page.read_text()


def test_the_first_line_is_the_caption_and_all_of_it_is_told_to_who_cannot_see(page):
    text = section(page)
    assert "<figcaption><span>Show a &lt;curve&gt; of coverage. curve, of artist 2.1." in text
    assert 'role="img" aria-label="Show a &lt;curve&gt; of coverage. It rises, and falls. Drawn by artist 2.1."' in text
    assert "<figcaption><span>by_pyplot by_pyplot, of artist 2.1." not in text
    assert "<figcaption><span>by_pyplot, of artist 2.1." in text


def test_a_figure_is_given_the_study_and_cannot_change_what_the_page_shows(page, maps):
    assert ">example<" in section(page) or maps.attrs["study"]
    assert not np.isclose(maps["coverage"], 0.123).any()
    assert "changed" not in page.read_text()


def test_what_cannot_be_drawn_is_left_out_with_the_reason(page):
    told = re.findall(r"<li>(.*?)</li>", section(page))
    reasons = {line.partition(" of artist 2.1: ")[0]: line.partition(" of artist 2.1: ")[2] for line in told}
    assert set(reasons) == set(NAMES) - {"curve", "by_pyplot"} | {"absent"}
    assert reasons["raising"].startswith("KeyError: ")
    assert reasons["leaving"] == "SystemExit: 3"
    assert reasons["silent"] == "has nothing to show of this study"
    assert reasons["wordy"] == "returned str, not a matplotlib Figure"
    assert reasons["unfinished"].startswith("ValueError: ")
    assert "plugged_nowhere:absent of artist 2.1 cannot be imported: ModuleNotFoundError" in reasons["absent"]


def test_figures_of_pyplot_are_closed(page):
    from matplotlib import pyplot

    assert pyplot.get_fignums() == []


def test_two_figures_of_one_name_do_not_take_the_report_down(tmp_path, maps, make_verdict, monkeypatch):
    for name in ("one", "other"):
        install(tmp_path / name, name, f"[covsvc.figures]\nsame = plugged_{name}:same", "2.1")
        monkeypatch.syspath_prepend(str(tmp_path / name))
    registry.installed.cache_clear()
    page = write_page(maps, make_verdict(maps), tmp_path / "report")
    monkeypatch.undo()
    registry.installed.cache_clear()
    assert "same: two installed figures have this name, plugged_one:same of one 2.1 and plugged_other:same" in section(
        page
    )
