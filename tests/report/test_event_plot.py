"""The picture of real events."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from covsvc.errors import StudyError
from covsvc.event_file import SeenEvents, Table, read_background, read_signal
from covsvc.report.event_plot import draw_events, stacked, write_events
from covsvc.report.picture import drawing

LONG = "velocity-averaged annihilation cross section ⟨σv⟩ (cm³ s⁻¹)"
SPECTRUM = read_signal("exponential:scale=9,low=2,high=60,events=4")


def seen_events(count, background=None, spectrum=SPECTRUM, name="energy (keV)"):
    rng = np.random.default_rng(count)
    low, high = spectrum.low, spectrum.high
    return SeenEvents(np.sort(low + (high - low) * rng.uniform(0, 1, count) ** 3), spectrum, background, name)


def limit_rows(seen, labels=("max_gap", "optimum_interval", "p_max", "poisson"), upper=8.0):
    """Return rows as they are: another interval for each method, none for a count."""
    ends = [seen.spectrum.low, *seen.positions.tolist(), seen.spectrum.high]
    rows = []
    for place, label in enumerate(labels):
        low, high = ends[max(len(ends) - 2 - place, 0)], ends[-1]
        inside = {"low": low, "high": high, "events": min(place, len(ends) - 2), "expected": 3.456, "background": 0.25}
        rows.append(
            {
                "limit_method": label,
                "cl": 0.9,
                "status": "ok",
                "upper": upper + place,
                "scaled": (upper + place) / seen.spectrum.total,
                "interval": None if label == "poisson" else inside,
            }
        )
    return rows


def drawn_texts(figure):
    """Return the texts within the axes."""
    return [text for axes in figure.axes for text in axes.texts]


def test_the_spectrum_is_drawn_at_the_limit_of_the_optimum_interval():
    seen = seen_events(11)
    figure = draw_events(seen, limit_rows(seen), "cross section (cm2)")
    line = figure.axes[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), 9 / 4 * SPECTRUM.density(line.get_xdata()))
    assert (line.get_xdata()[0], line.get_xdata()[-1]) == (2, 60)
    assert [text.get_text() for text in figure.texts] == [
        "cross section (cm2) < 2.25",
        "optimum_interval, 90 % confidence level: 9 signal events, 11 seen",
    ]
    assert figure.axes[0].get_ylabel() == "events per keV"
    assert figure.axes[-1].get_xlabel() == "energy (keV)"


def test_the_deciding_interval_is_shaded_between_its_ends_and_each_is_a_bar():
    seen = seen_events(11)
    rows = limit_rows(seen)
    figure = draw_events(seen, rows, "cross section")
    shade = figure.axes[0].collections[-1].get_paths()[0].vertices
    assert (shade[:, 0].min(), shade[:, 0].max()) == (seen.positions[-2], 60)
    bars = [list(line.get_xdata()) for line in figure.axes[2].lines if line.get_linestyle() == "-"]
    assert bars == [[row["interval"]["low"], row["interval"]["high"]] for row in rows[:3]]
    assert [text.get_text() for text in figure.axes[2].texts] == [
        "max_gap < 8 events: 0 seen, 3.46 expected",
        "optimum_interval < 9 events: 1 seen, 3.46 expected",
        "p_max < 10 events: 2 seen, 3.46 expected",
    ]


def test_a_known_background_lies_below_the_signal():
    known = read_background("uniform:low=0,high=100,events=20", SPECTRUM)
    seen = seen_events(11, known)
    figure = draw_events(seen, limit_rows(seen), "cross section")
    line = figure.axes[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), 0.2 + 9 / 4 * SPECTRUM.density(line.get_xdata()))
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["signal at the limit", "known background", "the interval that decides"]
    assert figure.axes[2].texts[0].get_text().endswith("3.46 + 0.25 expected")


def test_rows_of_a_table_are_corners():
    table = Table.of(np.array([0.0, 1.0, 1.001, 7.0]), np.array([5.0, 1.0, 0.0, 3.0]))
    seen = SeenEvents(np.array([2.0]), table)
    line = draw_events(seen, limit_rows(seen), "x").axes[0].lines[0]
    assert {0.0, 1.0, 1.001, 7.0} <= set(line.get_xdata())


def test_a_range_over_decades_is_logarithmic():
    for low, scale in ((0.5, "log"), (0.0, "linear"), (-3.0, "linear"), (20.0, "linear")):
        seen = seen_events(5, spectrum=read_signal(f"uniform:low={low},high=100"))
        assert {axes.get_xscale() for axes in draw_events(seen, limit_rows(seen), "x").axes} == {scale}


def test_events_that_lie_close_are_stacked_and_many_are_strokes():
    assert stacked(np.array([0.0, 1.0, 2.0, 4.5, 20.0]), 4.0).tolist() == [0, 1, 2, 0, 0]
    assert stacked(np.zeros(3), 4.0).tolist() == [0, 1, 2]
    few, many = (draw_events(seen, limit_rows(seen), "x").axes[1] for seen in (seen_events(11), seen_events(1000)))
    assert len(few.lines[0].get_xdata()) == 11
    assert not many.lines
    drawn = {float(x) for (x, _), _ in many.collections[0].get_segments()}
    assert drawn <= set(seen_events(1000).positions)
    # 4.6 inches are 1700 strokes of 0.2 points
    gaps = np.diff(seen_events(1000).positions)
    assert len(drawn) >= (gaps > 58 / 1600).sum()


def test_no_event_is_said():
    seen = seen_events(0)
    assert [text.get_text() for text in draw_events(seen, limit_rows(seen), "x").axes[1].texts] == ["no event"]


@pytest.mark.parametrize(("status", "told"), [("unbounded", "No limit on x"), ("empty", "x: even 0 is excluded")])
def test_without_a_limit_the_spectrum_is_that_of_one_event(status, told):
    seen = seen_events(11)
    rows = limit_rows(seen)
    for row in rows:
        upper = np.inf if status == "unbounded" else 0.0
        row |= {"status": status, "upper": upper, "scaled": upper}
        row["interval"] = None if status == "unbounded" else row["interval"]
    figure = draw_events(seen, rows, "x")
    line = figure.axes[0].lines[0]
    assert np.trapezoid(line.get_ydata(), line.get_xdata()) == pytest.approx(1.0, rel=1e-3)
    assert figure.texts[0].get_text() == told


def test_each_method_has_a_colour_of_its_own():
    seen = seen_events(11)
    labels = ("optimum_interval", "optimum_interval(crossing=first)", "max_gap", "fixed_interval_n(n=1)")
    figure = draw_events(seen, limit_rows(seen, labels), "x")
    assert len({text.get_color() for text in figure.axes[2].texts}) == 4


@pytest.mark.parametrize("count", [0, 1, 11, 1000])
@pytest.mark.parametrize(
    ("quantity", "name", "labels"),
    [
        ("cross section", "energy (keV)", ("max_gap", "optimum_interval", "p_max", "poisson")),
        (LONG, "energy of the recoiling nucleus [keV]", ("optimum_interval(crossing=first)", "p_max(crossing=first)")),
        ("x", "position", ("poisson",)),
    ],
)
def test_nothing_is_cut_off_or_overlaps(clashes, count, quantity, name, labels):
    known = read_background("uniform:low=0,high=100,events=20", SPECTRUM)
    seen = seen_events(count, known, name=name)
    with drawing():
        figure = draw_events(seen, limit_rows(seen, labels, 1234.5), quantity)
        assert clashes(figure) == []
        FigureCanvasAgg(figure)
        for text in drawn_texts(figure):
            assert text.get_window_extent().x1 <= figure.bbox.x1


@pytest.mark.parametrize(("name", "first"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("in/a.pdf", b"%PDF")])
def test_suffix_chooses_the_format_and_the_bytes_are_the_same_every_time(tmp_path, name, first):
    seen = seen_events(11)
    path = write_events(seen, limit_rows(seen), tmp_path / name, "x")
    once = path.read_bytes()
    assert once.startswith(first)
    assert write_events(seen, limit_rows(seen), path, "x").read_bytes() == once


def test_other_suffixes_are_refused(tmp_path):
    seen = seen_events(1)
    with pytest.raises(StudyError, match=r"a\.jpg: a picture is written as \.png, \.svg, \.pdf, not as \.jpg"):
        write_events(seen, limit_rows(seen), tmp_path / "a.jpg", "x")
    assert not list(tmp_path.iterdir())
