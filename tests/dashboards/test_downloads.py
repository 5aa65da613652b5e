"""What is downloaded, opened and compared with what is stored."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from covsvc import api
from covsvc.selection import cell_verdict
from covsvc_dashboards.view import PAGES

pytestmark = pytest.mark.browser

JEFFREYS = {"study": "tiny", "limit_method": "bayes_jeffreys", "cl": 0.9}


def download(page, name, folder, number=0):
    """Press a button or follow a link; return the file."""
    with page.expect_download() as told:
        page.get_by_label(name).or_(page.get_by_role("link", name=name)).nth(number).click()
    path = folder / told.value.suggested_filename
    told.value.save_as(path)
    return path


@pytest.mark.parametrize(("low", "high"), [(None, None), (1.5, 4)])
def test_the_table_has_the_counts_of_the_cube(tab, store, tmp_path, low, high):
    brushed = {} if low is None else {"s_low": low, "s_high": high}
    path = download(tab(**JEFFREYS, **brushed), re.compile("CSV"), tmp_path)
    table = pd.read_csv(path, keep_default_na=False, na_values={"exact_coverage": ""}).set_index(["b", "s_true"])
    cube = api.open_cube(store, "tiny").sel(limit_method="bayes_jeffreys", cl=0.9).sel(s_true=slice(low, high))
    verdicts = cell_verdict(api.read_maps(store, "tiny")).sel(limit_method="bayes_jeffreys", cl=0.9)
    assert path.name == "tiny-maps.csv"
    assert len(table) == cube["n_toys"].size > 0
    for (b, s_true), row in table.iterrows():
        cell = cube.sel(b=b, s_true=s_true)
        assert (row["n_covered"], row["n_toys"]) == (int(cell["n_covered"]), int(cell["n_toys"]))
        assert row["exact_coverage"] == float(cell["exact_coverage"])
        assert row["verdict"] == verdicts.sel(b=b, s_true=s_true)


def colours_of_the_rule(store):
    """Return the colours of the coverage of the study in eight bits, made anew from the rule."""
    coverage = api.open_cube(store, "tiny")["exact_coverage"].sel(limit_method="bayes_jeffreys", cl=0.9).values
    stops = np.array([to_rgb(each) for each in ("#b2182b", "#e58368", "#ffffff", "#6aacd0", "#2166ac")])
    place = np.clip((coverage - 0.8) / 0.2, 0, 1).ravel()
    return np.array([np.interp(place, np.linspace(0, 1, 5), channel) for channel in stops.T]).T * 255


def is_there(colour, colours):
    """Tell whether one of some colours is the same but for rounding, of which there are 256 steps on the scale."""
    return bool((np.abs(np.array(colours, float) - colour).max(axis=1) < 3).any())


def test_the_picture_has_the_colours_of_the_rule(tab, store, tmp_path):
    path = download(tab(**JEFFREYS), re.compile(r"coverage as PNG"), tmp_path)
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    colours, numbers = np.unique(pixels, axis=0, return_counts=True)
    seen = colours[numbers > 200]
    assert all(is_there(colour, seen) for colour in colours_of_the_rule(store))
    assert is_there([0, 0, 0], seen)  # rims of significant cells


def test_the_drawing_has_cells_and_words(tab, store, tmp_path):
    """SVG is lines and letters: of pictures it has that of the scale of colours alone."""
    path = download(tab(**JEFFREYS), re.compile(r"coverage as SVG"), tmp_path)
    drawing = ElementTree.parse(path).getroot()
    pictures = [each for each in drawing.iter() if each.tag.endswith("}image")]
    assert [float(each.get("width")) < 40 for each in pictures] == [True]
    filled = [re.fullmatch(r"rgb\((\d+),(\d+),(\d+)\)", each.get("fill", "")) for each in drawing.iter()]
    seen = [[int(channel) for channel in each.groups()] for each in filled if each]
    assert all(is_there(colour, seen) for colour in colours_of_the_rule(store))
    told = " ".join(drawing.itertext())
    assert "true signal s_true (events)" in told
    assert "background b (events)" in told


@pytest.mark.parametrize("shown", PAGES)
def test_every_figure_of_a_page_can_be_taken_along(tab, tmp_path, shown):
    page = tab(study="tiny", page=shown, limit_method="f, c", cl=0.9, theme="dark")
    for kind in ("PNG", "SVG"):
        buttons = page.get_by_label(re.compile(f"as {kind}$"))
        buttons.first.wait_for()
        for number in range(buttons.count()):
            path = download(page, re.compile(f"as {kind}$"), tmp_path, number)
            assert re.fullmatch(r"tiny-[\w.,=+-]+", path.name)
            if kind == "SVG":
                assert len(list(ElementTree.parse(path).iter())) > 20
            else:
                with Image.open(path) as picture:
                    pixels = np.asarray(picture.convert("RGB"))
                assert pixels.shape[1] > 200
                assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
                assert pixels[0, 0].max() < 64  # as it is seen: in the dark
