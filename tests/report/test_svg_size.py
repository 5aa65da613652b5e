"""Drawings in fewer bytes."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from covsvc.report.svg_size import compact, shorten_path


def points_of(data):
    """Follow the steps of path data and return where they lead, and the subpaths that are closed."""
    words = data.replace("m", " m ").replace("l", " l ").replace("z", " z ").replace("-", " -").split()
    at, start, points, closed = np.zeros(2), np.zeros(2), [], 0
    place, command = 0, ""
    while place < len(words):
        if words[place] in ("m", "l", "z"):
            command = words[place]
            place += 1
            if command == "z":
                closed += 1
                at = start
                continue
        at = at + np.array([float(words[place]), float(words[place + 1])])
        start = at if command == "m" else start
        command = "l"
        points.append(at)
        place += 2
    return np.array(points), closed


@pytest.mark.parametrize("seed", range(5))
def test_a_long_line_goes_through_the_same_points(seed):
    points = np.random.default_rng(seed).uniform(-5, 600, (200, 2)).round(2)
    points[50] = points[49]
    data = " ".join(f"{'M' if i % 40 == 0 else 'L'} {x:g} {y:g}" for i, (x, y) in enumerate(points))
    short = shorten_path(data)
    found, closed = points_of(short)
    assert len(short) < 0.9 * len(data)
    assert closed == 0
    # to half a step, and no further off at the end than at the beginning
    assert np.abs(found - points).max() <= 0.05 + 1e-6


def test_what_follows_a_closed_line_starts_where_that_began():
    data = "M 10 10 L 20.1 10 L 20 20 z M 11 12 L 30 30 " + "L 1 2 " * 20 + "z L 14 15"
    found, closed = points_of(shorten_path(data))
    assert closed == 2
    assert found[4:6] == pytest.approx(np.array([[30, 30], [1, 2]]))
    assert found[-1] == pytest.approx([14, 15])


@pytest.mark.parametrize("data", ["M 0 0 L 0 2.5", "M 0 0 C 1.5 2.5 3 4 5 6 " * 20])
def test_short_lines_and_curves_stay(data):
    assert shorten_path(data) == data


def test_a_copy_keeps_its_style_where_the_original_has_none():
    root = ET.fromstring(
        '<svg><path id="a" style="fill:red" /><path id="b" /><use href="#a" style="fill:red" /><use href="#b" '
        'style="fill:red" /></svg>'
    )
    compact(root)
    assert [each.attrib.get("style") for each in root] == ["fill:red", None, None, "fill:red"]


def test_groups_that_say_nothing_are_left_out():
    root = ET.fromstring('<svg><g><g clip="a"><g><path style="fill: none; stroke: #fff" /></g></g></g><g /></svg>')
    compact(root)
    assert ET.tostring(root, encoding="unicode") == (
        '<svg><g clip="a"><path style="fill:none;stroke:#fff" /></g></svg>'
    )
