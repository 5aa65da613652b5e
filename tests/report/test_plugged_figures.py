"""Figures of the registry: they stand in the page, and those that cannot be drawn are left out and named."""

from __future__ import annotations

import json
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

def telling(maps, study):
    """Tell more than a picture can."""
    from covsvc.report import Picture, Section, Table

    rows = [("one", "1"), ("<two>", "2")]
    pictures = [Picture(Figure(figsize=(4, 3)), f"The {name}.", name) for name in ("left", "right")]
    return Section("Somebody's numbers", ["In short.", "At <length>."], pictures, [Table("Numbers", ["name", "n"], rows)])

def ragged(maps, study):
    """Show a row that is too long."""
    from covsvc.report import Section, Table

    return Section("Ragged", tables=[Table("Numbers", ["name", "n"], [("one", "1", "2")])])

def doubled(maps, study):
    """Show two pictures of one name."""
    from covsvc.report import Picture, Section

    return Section("Doubled", pictures=[Picture(Figure(), "Twice.")] * 2)

def unpictured(maps, study):
    """Show no picture."""
    from covsvc.report import Picture, Section

    return Section("Unpictured", pictures=[Picture("drawing", "A drawing.")])

def reading(maps, study):
    """Read what was observed."""
    import json
    from covsvc.report import Section

    return Section("Observed", [f"Upper end {row['upper']:g}." for row in json.loads(maps.attrs["observed"])])

def drawing_again(maps, study):
    """Draw by a function that draws."""
    from covsvc.report.picture import drawing

    with drawing():
        return Figure(figsize=(3, 2))

def unfinished(maps, study):
    """Show what cannot be written."""
    figure = Figure()
    figure.text(0, 0, "$\\\\notacommand{$")
    return figure
'''
DRAWN = ("curve", "by_pyplot", "telling", "drawing_again", "reading")
LEFT_OUT = ("raising", "leaving", "silent", "wordy", "ragged", "doubled", "unpictured", "unfinished")
POINTS = "\n".join(
    [
        "[covsvc.figures]",
        *(f"{name} = plugged_artist:{name}" for name in (*DRAWN, *LEFT_OUT)),
        "absent = plugged_nowhere:absent",
    ]
)
OBSERVED = [{"limit_method": "classical", "cl": 0.9, "lower": 0.0, "upper": np.inf, "status": "unbounded", "n": 3}]


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
        index = write_page(maps, make_verdict(maps), tmp_path_factory.mktemp("report"), OBSERVED)
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
    assert section(page).count("<svg") == 5
    written = {path.name for path in (page.parent / "figures").glob("plugged-*")}
    names = ("curve", "by_pyplot", "drawing_again", "telling-left", "telling-right")
    assert written == {f"plugged-{name}.{kind}" for name in names for kind in ("pdf", "png", "svg")}
    for name in written:
        assert f'href="figures/{name}"' in section(page)
    assert '<li><a href="#plugged">' in page.read_text()


def test_the_first_line_is_the_caption_and_all_of_it_is_told_to_who_cannot_see(page):
    text = section(page)
    assert "<figcaption><span>Show a &lt;curve&gt; of coverage. curve, of artist 2.1." in text
    assert 'role="img" aria-label="Show a &lt;curve&gt; of coverage. It rises, and falls. Drawn by artist 2.1."' in text
    assert "<figcaption><span>by_pyplot by_pyplot, of artist 2.1." not in text
    assert "<figcaption><span>by_pyplot, of artist 2.1." in text


def test_a_section_has_its_heading_words_pictures_and_tables(page):
    text = section(page)
    assert '<h3 id="plugged-telling">Somebody&#39;s numbers</h3>' in text
    assert "<p>In short.</p>" in text
    assert "<li>At &lt;length&gt;.</li>" in text
    assert "<figcaption><span>The left. telling, of artist 2.1." in text
    assert 'aria-label="The right. In short. At &lt;length&gt;. The tables below hold the numbers."' in text
    assert "<summary>Table: Somebody&#39;s numbers</summary>" in text
    assert re.search(r'<th scope="row">&lt;two&gt;(</th>)?<td>2\b', text)


def test_a_figure_can_read_the_limits_on_the_observation(page):
    assert "<p>Upper end inf.</p>" in section(page)


def test_a_figure_is_given_the_study_and_cannot_change_what_the_page_shows(page, maps):
    assert ">example<" in section(page) or maps.attrs["study"]
    assert not np.isclose(maps["coverage"], 0.123).any()
    assert "changed" not in page.read_text()


def test_what_cannot_be_drawn_is_left_out_with_the_reason(page):
    told = re.findall(r"<li>(.*?)</li>", section(page).partition("Left out:")[2])
    reasons = {line.partition(" of artist 2.1: ")[0]: line.partition(" of artist 2.1: ")[2] for line in told}
    assert set(reasons) == {*LEFT_OUT, "absent"}
    assert reasons["raising"].startswith("KeyError: ")
    assert reasons["leaving"] == "SystemExit: 3"
    assert reasons["silent"] == "has nothing to show of this study"
    assert reasons["wordy"] == "returned str, neither a matplotlib Figure nor a Section"
    assert reasons["doubled"] == "has pictures of the same name"
    assert reasons["unpictured"] == "TypeError: the figure of a picture is str, not a matplotlib Figure"
    assert "has 2 heads and a row of 3 cells" in reasons["ragged"]
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
    progress = []
    page = write_page(maps, make_verdict(maps), tmp_path / "report", progress=progress.append)
    monkeypatch.undo()
    registry.installed.cache_clear()
    assert "same: two installed figures have this name, plugged_one:same of one 2.1 and plugged_other:same" in section(
        page
    )
    assert progress[-1].startswith("left out: same: two installed figures have this name")


def test_those_of_covsvc_stand_under_headings_of_their_own(tmp_path, maps, make_verdict):
    # the search for tau -> mu gamma: Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Table 1
    study = {"name": "tau", "experiment": "counting", "cl": [0.9], "observed": {"n": 3, "b": 5.5}}
    methods = {"classical": {"name": "classical", "sided": "upper", "promises": "at_least"}}
    told = maps.assign_attrs(study=json.dumps(study), methods=json.dumps(methods))
    observed = [{**OBSERVED[0], "upper": 1.1808, "status": "ok", "b": 5.5}]
    text = write_page(told, make_verdict(told), tmp_path, observed).read_text()
    assert '<li><a href="#published">Published limits</a></li>' in text
    (found,) = re.findall(r'<section aria-labelledby="published">.*?</section>', text, re.DOTALL)
    assert '<h2 id="published">Published limits</h2>' in found
    assert "<details>" not in found
    assert re.search(r'<a href="#method-classical">classical</a></th><td[^>]*>1.18</td><td[^>]*>1.18</td>', found)
    assert found.count("not to be reproduced") == 2
    assert 'id="plugged"' not in text
