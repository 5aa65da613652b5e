"""The table of worst cells, and the commands that are copied from it."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from covsvc import api
from covsvc.report.worst_cells import worst_rows
from covsvc.study import study_of
from covsvc.worst_cells import WorstCell

STUDY = {
    "name": "small",
    "experiment": "counting",
    "methods": ["bayes_jeffreys", {"name": "bayes_reciprocal", "label": "it's <1/s> & $more"}],
    "cl": [0.9],
    "s_true": [0.5, 2.5],
    "b": [0, 3],
    "toys_per_block": 500,
    "n_toys": 1500,
    "seed": 1999,
}


def cell(**changes):
    told = {
        "limit_method": "a",
        "cl": 0.9,
        "s_true": 2.0,
        "b": 3.0,
        "n_toys": 1000,
        "n_covered": 880,
        "coverage": 0.88,
        "coverage_low": 0.85822,
        "coverage_high": 0.89947,
        "exact_coverage": float("nan"),
        "deficit": 0.02,
        "p": 0.0214,
        "p_adjusted": 0.0428,
        "command": "covsvc replay",
    }
    return WorstCell(**(told | changes))


def commands_of(page):
    return [html.unescape(each) for each in re.findall(r'<tr class="command">.*?<code>(.*?)</code>', page)]


def test_rows_hold_what_is_known():
    known, exact = worst_rows([cell(), cell(exact_coverage=0.8975, p=float("nan"), p_adjusted=float("nan"))])
    assert (known["counts"], known["coverage"], known["interval"]) == ("880 of 1,000", "0.8800", "0.8582 to 0.8995")
    assert (known["deficit"], known["low"], known["p"], known["p_adjusted"]) == ("0.02", "low", "0.021", "0.043")
    assert (known["exact"], exact["exact"], exact["p"], exact["p_adjusted"]) == ("–", "0.8975", "–", "")


def test_a_deficit_below_rounding_is_none():
    (row,) = worst_rows([cell(deficit=1e-12)])
    assert (row["deficit"], row["low"]) == ("0", "")


def test_a_command_copied_from_the_page_shows_what_the_cube_counted(tmp_path):
    cube = api.run(study_of(STUDY), tmp_path / "my cubes")
    page = api.write_report(cube, tmp_path / "report").read_text()
    commands = commands_of(page)
    assert len(commands) == 2
    found = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for command in commands:
        ended = subprocess.run(
            ["sh", "-c", f"{command} --most 1500 --json"],
            cwd=tmp_path,
            env=found,
            capture_output=True,
            text=True,
            check=True,
        )
        told = json.loads(ended.stdout)
        (label,) = {row["limit_method"] for toy in told["toys"] for row in toy["limits"]}
        here = cube.sel(limit_method=label, cl=0.9, s_true=told["s_true"], b=told["b"])
        lowest = cube.sel(limit_method=label, cl=0.9)["exact_coverage"]
        assert float(here["exact_coverage"]) == float(lowest.min())
        assert len(told["toys"]) == int(here["n_toys"] - here["n_covered"]) > 0
        assert (told["snapshot"], told["compared"], told["differing"]) == (cube.attrs["snapshot"], 3, [])


def test_columns_beyond_the_first_are_folded(tmp_path):
    columns = {"methods": ["classical", "bayes_flat"], "cl": [0.5, 0.68, 0.9, 0.95, 0.99]}
    cube = api.run(study_of(STUDY | columns | {"n_toys": 500}), tmp_path / "cubes")
    page = api.write_report(cube, tmp_path / "report").read_text()
    assert "<summary>The worst cells of the other 2 columns</summary>" in page
    assert len(commands_of(page)) == 10
    assert '<th scope="col" class="n">p</th>' not in page
