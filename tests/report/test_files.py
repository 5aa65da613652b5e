"""Figures, fonts and tables as files."""

from __future__ import annotations

import base64
import csv
import io
import itertools
import json
import re
import xml.etree.ElementTree as ET
import zlib

import matplotlib
import numpy as np
import pytest
from fontTools.ttLib import TTFont
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from PIL import Image

from covsvc.report.column import columns
from covsvc.report.coverage_map import COLOURS, draw_coverage
from covsvc.report.csv_tables import TABLES, csv_of, write_tables
from covsvc.report.expected import draw_expected
from covsvc.report.fonts import FAMILY, font_face
from covsvc.report.limit_plot import draw_scan
from covsvc.report.medians import draw_medians
from covsvc.report.mistakes import draw_mistakes
from covsvc.report.null_significance import draw_null
from covsvc.report.picture import FORMATS, drawing, embed, inline, picture
from covsvc.report.sigma_map import draw_sigma, sigma_range
from covsvc.report.slices import draw_slices
from covsvc.report.statistics import draw_statistics
from covsvc.report.strokes import PAPER, strokes
from covsvc.report.summary_markdown import summary_of
from covsvc.report.thresholds import STATISTICS, draw_thresholds
from covsvc.worst_cells import worst_cells

KINDS = {"classical": "upper", "feldman_cousins(monotone_in_b=True)": "low"}
POINTS_PER_CM = 72 / 2.54
COLUMN, PAGE = 8.6, 17.8
"""Widths of a column and of both in Phys. Rev., cm."""

LINEAR = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}
"""What such eyes see of linear RGB: G. M. Machado, M. M. Oliveira, L. A. F. Fernandes, IEEE Trans. Vis. Comput. Graph.
15 (2009) 1291, Table 1, severity 1.0."""


@pytest.fixture(scope="module")
def maps(make_maps):
    maps = make_maps(KINDS, cl=(0.9,), b=(0.0, 1.0, 3.0), s_true=(0.0, 1.0, 2.0, 4.0))
    maps.attrs["snapshot"], maps.attrs["store"] = "ZX81ABC", "cubes"
    return maps


@pytest.fixture(scope="module")
def every(maps):
    return list(columns(maps))


@pytest.fixture(scope="module")
def figures(every, make_maps, make_event_maps, make_expected, make_scan, make_null, make_statistics, make_table):
    """Draw a figure of each kind, of one panel and of several."""
    alone, several = (list(columns(make_event_maps(b=b))) for b in ((0.0,), (0.0, 2.0)))
    style = strokes({column.label: {"name": column.label} for column in alone})
    one = next(columns(make_maps({"classical": "upper"}, cl=(0.9,), b=(3.0,), s_true=(0.0, 1.0))))
    limits = make_expected({"classical": "upper"})
    with drawing():
        return {
            "coverage": draw_coverage(every[1]),
            "sigma": draw_sigma(every[1], *sigma_range(every)),
            "slice": draw_slices([one], None),
            "slices": draw_slices([every[0]], None),
            "medians": draw_medians(alone, style),
            "mistakes": draw_mistakes(several, style),
            "expected": draw_expected(limits, "classical"),
            "scan": draw_scan(make_scan()),
            "null": draw_null(make_null()),
            "statistics": draw_statistics(make_statistics()),
            "thresholds": draw_thresholds(make_table(), STATISTICS[0]),
        }


def test_letters_have_six_points_where_they_are_printed(figures):
    small = {}
    for name, figure in figures.items():
        width = 2.54 * figure.get_figwidth()
        printed = COLUMN if width < PAGE else PAGE
        sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
        small[name] = min(sizes) * printed / width
    assert min(small.values()) >= 6, small


def test_maps_and_figures_of_one_panel_fit_into_a_column(figures):
    wide = {name for name, figure in figures.items() if 2.54 * figure.get_figwidth() > PAGE}
    assert wide == {"slices", "mistakes", "expected", "null", "statistics"}


def test_nothing_is_cut_off_or_overlaps_in_any_figure(figures, clashes):
    with drawing():
        assert {name: found for name, figure in figures.items() if (found := clashes(figure))} == {}


def test_files_are_the_same_every_time_and_of_their_format(every):
    with drawing():
        once, again = ({suffix: picture(draw_coverage(every[1]), suffix) for suffix in FORMATS} for _ in range(2))
    assert once == again
    assert once[".pdf"].startswith(b"%PDF-")
    assert Image.open(io.BytesIO(once[".png"])).size == tuple(
        int(160 * inches) for inches in draw_coverage(every[1]).get_size_inches()
    )


def test_pdf_has_its_fonts_in_it_as_truetype(every):
    with drawing():
        document = picture(draw_coverage(every[1]), ".pdf")
    assert b"/Type3" not in document
    assert document.count(b"/FontFile2") == document.count(b"/Type /FontDescriptor") >= 2
    names = set(re.findall(rb"/FontName /[A-Z]{6}\+(\S+)", document))
    assert names == {b"FigureSans", b"FigureSans-Bold"}
    streams = [zlib.decompress(found) for found in re.findall(rb"stream\r?\n(x.*?)\r?\nendstream", document, re.DOTALL)]
    embedded = [TTFont(io.BytesIO(stream)) for stream in streams if stream[:4] == b"\0\1\0\0"]
    assert len(embedded) == document.count(b"/FontFile2")
    assert all("glyf" in font for font in embedded)


def test_svg_file_needs_no_font(every):
    with drawing():
        root = ET.fromstring(picture(draw_coverage(every[1]), ".svg"))
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert "text" not in tags
    assert "path" in tags


def test_embedding_writes_each_format(every, tmp_path):
    (tmp_path / "figures").mkdir()
    shown = embed(lambda: draw_coverage(every[1]), "coverage", tmp_path, "what it shows")
    assert shown["svg"].startswith("<svg")
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"coverage.png", "coverage.svg", "coverage.pdf"}


def fonts_of(css):
    """Return the fonts of a style sheet by weight."""
    found = re.findall(r'font-weight: (\d+); src: url\(data:font/woff;base64,([^)]+)\) format\("woff"\)', css)
    return {int(weight): TTFont(io.BytesIO(base64.b64decode(data))) for weight, data in found}


def test_page_has_the_letters_of_its_figures_and_no_others(every):
    with drawing():
        drawn = inline(draw_coverage(every[1]), "a", "what it shows")
    css = font_face([drawn])
    assert css.count("@font-face") == css.count(f'font-family: "{FAMILY}"') == 2
    fonts = fonts_of(css)
    bold = set("feldman_cousins(monotone_in_b=True)")
    assert set(map(chr, fonts[700].getBestCmap())) == bold
    letters = set("".join("".join(element.itertext()) for element in ET.fromstring(drawn).iter("text")))
    plain = set(map(chr, fonts[400].getBestCmap()))
    # the glyph of one letter may be drawn with that of another
    assert letters - bold <= plain
    assert len(plain - letters) <= 1
    assert len(css) < 20_000


def test_letters_of_the_page_are_those_of_dejavu_sans():
    letters = "Abgσ≤−±"
    font = fonts_of(font_face([f"<text>{letters}</text>"]))[400]
    whole = TTFont(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf")
    for letter in letters:
        name, known = font.getBestCmap()[ord(letter)], whole.getBestCmap()[ord(letter)]
        assert font["hmtx"][name] == whole["hmtx"][known]
        assert (
            font["glyf"][name].getCoordinates(font["glyf"])[0] == whole["glyf"][known].getCoordinates(whole["glyf"])[0]
        )


def test_marked_up_letters_are_the_letters():
    font = fonts_of(font_face(["<text>a&amp;<tspan>b</tspan></text><p>z</p>"]))[400]
    assert set(map(chr, font.getBestCmap())) == set("a&b")
    assert font_face(["<svg></svg>"]) == ""


def test_pages_with_the_same_letters_have_the_same_bytes():
    assert font_face(["<text>ab</text>", "<text>c</text>"]) == font_face(["<text>cba</text>"])


def seen_by(kind, rgb):
    """Return the lightness and chroma that such eyes, or a grey printer, make of colours: CIE L*a*b*, D65."""
    rgb = np.atleast_2d(rgb)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    if kind in LINEAR:
        linear = np.clip(linear @ np.transpose(LINEAR[kind]), 0, 1)
    xyz = linear @ np.transpose([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    scaled = xyz / [0.9505, 1.0, 1.089]
    root = np.where(scaled > 0.008856, np.cbrt(scaled), 7.787 * scaled + 16 / 116)
    lab = np.stack([116 * root[:, 1] - 16, 500 * (root[:, 0] - root[:, 1]), 200 * (root[:, 1] - root[:, 2])], axis=1)
    return lab * [1, 0, 0] if kind == "grey" else lab


@pytest.mark.parametrize("eyes", list(LINEAR))
def test_under_and_over_coverage_differ_for_colour_blind_eyes(eyes):
    steps = np.linspace(0.1, 0.5, 5)
    under, over = (seen_by(eyes, [COLOURS(place)[:3] for place in places]) for places in (0.5 - steps, 0.5 + steps))
    assert (np.linalg.norm(under - over, axis=1) > 20 * steps / steps[-1]).all()


@pytest.mark.parametrize("eyes", [*LINEAR, "grey"])
def test_ratio_darkens_steadily_for_all_eyes(eyes):
    lightness = seen_by(eyes, matplotlib.colormaps["cividis_r"](np.linspace(0, 1, 64))[:, :3])[:, 0]
    assert (np.diff(lightness) < 0).all()


@pytest.mark.parametrize("eyes", [*LINEAR, "grey"])
def test_lines_of_the_paper_differ_in_dashes_or_to_all_eyes(eyes):
    seen = {name: seen_by(eyes, matplotlib.colors.to_rgb(colour))[0] for name, (colour, _) in PAPER.items()}
    for first, second in itertools.combinations(PAPER, 2):
        assert np.linalg.norm(seen[first] - seen[second]) > 15 or PAPER[first][1] != PAPER[second][1]


@pytest.fixture(scope="module")
def tables(maps, make_verdict, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    paths = write_tables(maps, make_verdict(maps), worst_cells(maps), folder)
    assert [path.relative_to(folder).as_posix() for path in paths] == [f"tables/{name}" for name in TABLES]
    return {path.name: list(csv.DictReader(io.StringIO(path.read_text()))) for path in paths}


def test_cells_have_all_digits_of_the_maps(tables, maps):
    rows = tables["cells.csv"]
    assert len(rows) == maps["coverage"].size
    for row in rows:
        cell = maps.sel(
            limit_method=row["limit_method"], cl=float(row["cl"]), b=float(row["b"]), s_true=float(row["s_true"])
        )
        for name in ("coverage", "exact_coverage", "coverage_low", "sigma_med"):
            assert float(row[name]) == float(cell[name])
        assert int(row["n_covered"]) == int(cell["n_covered"])
        assert (row["sigma_med_over_true"] == "") == (float(row["s_true"]) == 0)


def test_columns_are_explained(tables):
    assert [row["column"] for row in tables["columns.csv"]] == list(tables["cells.csv"][0])
    assert {row["column"]: row["unit"] for row in tables["columns.csv"]}["s_true"] == "events"


def test_methods_are_told_with_their_worst_coverage(tables, maps):
    low = tables["methods.csv"][1]
    column = maps.sel(limit_method=low["limit_method"], cl=0.9)
    assert float(low["worst_coverage"]) == float(column["worst_coverage"].min())
    assert int(low["n_below"]) == int((column["exact_coverage"] < 0.9 - 1e-9).sum())
    assert int(low["n_cells"]) == column["coverage"].size
    assert [row["outcome"] for row in tables["methods.csv"]] == ["kept", "reported"]


def test_other_tables_are_those_of_the_report(tables, maps, make_verdict):
    assert [row["sentence"] for row in tables["findings.csv"]] == [
        each["sentence"] for each in make_verdict(maps)["findings"]
    ]
    assert [row["command"] for row in tables["worst-cells.csv"]] == [cell.command for cell in worst_cells(maps)]
    assert tables["failures.csv"] == []


def test_failures_are_told_one_by_one(maps, make_verdict, tmp_path):
    failure = {"limit_method": "classical", "cl": 0.9, "b": 1.0, "s_true": 2.0, "start": 3, "stop": 5}
    failed = maps.assign_attrs(failures=json.dumps([failure | {"reason": 'no limit, "at all"\nfound'}]))
    write_tables(failed, make_verdict(maps), [], tmp_path)
    with (tmp_path / "tables" / "failures.csv").open(newline="") as text:
        assert list(csv.DictReader(text)) == [
            {name: str(value) for name, value in failure.items()} | {"reason": 'no limit, "at all"\nfound'}
        ]


def test_unknown_and_infinite_values_are_told_apart():
    told = csv_of(["a", "b", "c", "d"], [{"a": float("nan"), "b": float("inf"), "c": None}, {"a": 0.1 + 0.2, "b": 0}])
    assert told.decode() == "a,b,c,d\n,inf,,\n0.30000000000000004,0,,\n"


@pytest.fixture(scope="module")
def summary(maps, make_verdict):
    return summary_of(maps, make_verdict(maps), worst_cells(maps))


def test_summary_begins_with_the_verdict(summary):
    first, _, sentence, *_ = summary.splitlines()
    assert first == "# ❌ Coverage of upper limits: by-hand failed"
    assert sentence == "2 of 6 promises are broken: the worst coverage is 0.6321."


def test_summary_tells_methods_and_worst_cells(summary, maps):
    worst = maps["worst_coverage"].sel(limit_method="classical", cl=0.9)
    assert f"| `classical` | 0.9 | at least cl | ✅ kept | {float(worst.min()):.4f}" in summary
    commands = re.findall(r"```sh\n(.*)\n```", summary)
    below = [cell for cell in worst_cells(maps) if cell.deficit > 1e-9]
    assert commands == [cell.command for cell in below][:3]
    assert len(commands) == 1
    assert "- snapshot: `ZX81ABC`" in summary


def test_summary_of_methods_that_cover_says_so(maps, make_verdict):
    good = maps.isel(limit_method=[0])
    assert "No cell of the grid covers less than its cl." in summary_of(
        good, make_verdict(good, "passed"), worst_cells(good)
    )


def test_summary_takes_no_markup_from_names(maps, make_verdict):
    odd = maps.isel(limit_method=[0]).assign_coords(limit_method=["a|b`<script>"])
    study = json.dumps(json.loads(maps.attrs["study"]) | {"name": "<img src=x> @all"})
    methods = json.dumps({"a|b`<script>": json.loads(maps.attrs["methods"])["classical"]})
    odd = odd.assign_attrs(study=study, methods=methods)
    told = summary_of(odd, make_verdict(odd, "passed"))
    assert r"\<img src=x\> @<!-- -->all" in told
    assert "| `` a\\|b`<script> `` |" in told


def test_figures_use_the_registered_font():
    with drawing():
        path = matplotlib.font_manager.findfont(FAMILY, fallback_to_default=False)
    assert FT2Font(path).family_name == FAMILY
