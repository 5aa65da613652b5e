"""`covsvc query`, as a user types it."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import sys

import pandas as pd
import pytest

from covsvc import api
from covsvc.api.plain import plain
from covsvc.selection import COLUMNS
from covsvc.study import study_of


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Store a study of 24 cells, of which 500, and then 1000 toys were drawn."""
    place = tmp_path_factory.mktemp("store")
    given = {
        "name": "counts",
        "experiment": "counting",
        "methods": ["classical", "cls"],
        "cl": [0.9, 0.95],
        "s_true": [0, 2.5, 6],
        "b": [0, 3],
        "toys_per_block": 500,
        "seed": 1999,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        patch.setenv("COVSVC_STORE", str(place))
        for n_toys in (500, 1000):
            api.run(study_of(given | {"n_toys": n_toys}), place)
            api.set_tag("counts", f"with-{n_toys}", place)
        yield place


def test_a_table_shows_what_was_asked_for(covsvc, store):
    code, out, err = covsvc("query", "counts", "--limit-method", "cls", "--cl", "0.9", "--b", "3", "--s-true", "0:2.5")
    lines = [line.split() for line in out.splitlines()]
    rows = api.query("counts", store, limit_method="cls", cl=0.9, b=3, s_true="0:2.5").rows
    assert code == 0
    assert [line[:5] for line in lines[-2:]] == [["cls", "0.90", "3", s, "over"] for s in ("0", "2.5")]
    assert [float(line[5]) for line in lines[-2:]] == [pytest.approx(row["exact_coverage"], abs=5e-5) for row in rows]
    assert "beside" not in out
    assert err == f"counts: 2 rows of {rows and api.history('counts', store)[0]['snapshot']}, " + (
        f"written at {api.history('counts', store)[0]['written_at']}\n"
    )


def test_json_is_what_python_answers(covsvc, store):
    asked = ["--limit-method", "cls", "--limit-method", "classical", "--b", "1,3", "--against", "main"]
    told = [covsvc("query", "counts", *asked, *form) for form in (["--json"], ["--format", "json"])]
    expected = plain(api.query("counts", store, limit_method=["cls", "classical"], b=[1, 3], against="main").as_dict())
    assert [(code, json.loads(out), err) for code, out, err in told] == [(0, expected, "")] * 2
    assert {row["source"] for row in expected["rows"]} == {"exact", "computed"}


def test_the_study_may_be_an_option(covsvc, store):
    assert covsvc("query", "--study", "counts", "--json") == covsvc("query", "counts", "--json")
    for both in (["counts", "--study", "counts"], []):
        code, out, err = covsvc("query", *both)
        assert (code, out) == (2, "")
        assert "name one study" in err


def test_csv_has_a_row_a_cell_and_nothing_else_on_stdout(covsvc, store):
    code, out, err = covsvc("query", "counts", "--s-true", "2.5,9", "--format", "csv", "--sort=-s_true,limit_method")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (code, list(rows[0])) == (0, list(COLUMNS))
    assert [row["s_true"] for row in rows] == ["9.0"] * 8 + ["2.5"] * 8
    assert [(row["coverage"], row["n_toys"], row["source"]) for row in rows[:1]] == [("", "0", "computed")]
    assert "summed exactly now" in err


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_a_file_ends_in_its_format_and_is_replaced(covsvc, store, tmp_path, form):
    path = tmp_path / f"cells.{form}"
    path.write_text("old")
    assert covsvc("query", "counts", "--cl", "0.9", "--out", path)[:2] == (0, f"{path}\n")
    expected = api.query("counts", store, cl=0.9)
    if form == "json":
        assert json.loads(path.read_text()) == plain(expected.as_dict())
    else:
        read = {"csv": pd.read_csv, "parquet": pd.read_parquet}[form](path)
        assert read["sigma_med"].tolist() == [row["sigma_med"] for row in expected.rows]
        assert read.columns.tolist() == list(COLUMNS)


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_what_is_no_file_is_not_replaced(covsvc, store, tmp_path, form):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code, out, err = covsvc("query", "counts", "--out", pipe, "--format", form)
    assert (code, out) == (2, "")
    assert f"{pipe}: is there and no file" in err
    assert pipe.is_fifo()


def test_a_file_stays_whole_where_there_is_no_room_for_a_new_one(covsvc, store, tmp_path):
    path = tmp_path / "cells.json"
    path.write_text("old")
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, most[1]))
    try:
        code, out, err = covsvc("query", "counts", "--out", path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    assert (code, out) == (2, "")
    assert f"{path}: cannot be written: File too large" in err
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("cells.json", "old")]


def test_limits_that_failed_are_told(covsvc, store, monkeypatch, tmp_path, plugins):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    given = {"name": "failing", "experiment": "counting", "methods": ["cls", "raising"], "cl": 0.9}
    api.run(study_of(given | {"s_true": 1, "b": 0, "toys_per_block": 10, "n_toys": 10, "seed": 1}), tmp_path)
    lines = covsvc("query", "failing", "--store", tmp_path)[1].splitlines()
    assert [line.split()[-1] for line in lines] == ["limits", "failed", "0", "1"]


def test_a_table_is_cut_where_nobody_reads_on_and_says_so(covsvc, store, monkeypatch):
    monkeypatch.setattr(sys.modules["covsvc.cli.query"], "_MOST_SHOWN", 4)
    code, out, err = covsvc("query", "counts")
    assert (code, len(out.splitlines())) == (0, 2 + 4)
    assert "counts: the first 4 of 24 rows\n" in err
    assert len(covsvc("query", "counts", "--most", "5")[1].splitlines()) == 2 + 5
    assert len(covsvc("query", "counts", "--format", "csv")[1].splitlines()) == 1 + 24


def test_chosen_columns_stand_as_they_are_called(covsvc, store):
    columns = ["b", "sigma_med_over_true", "p_empty", "source"]
    code, out, _ = covsvc("query", "counts", "--s-true", "0", "--most", "1", "--columns", ",".join(columns))
    heads, row = out.splitlines()
    assert (code, heads.split(), row.split()) == (0, columns, ["0", "0", "exact"])


def test_changes_stand_in_the_table(covsvc, store):
    code, out, err = covsvc("query", "counts", "--s-true", "2.5", "--against", "with-500")
    expected = api.query("counts", store, s_true=2.5, against="with-500").rows
    assert code == 0
    assert "change of" in out
    assert f"compared with {api.tags('counts', store)['with-500']}" in err
    assert any(row["coverage_change"] for row in expected)
    for line, row in zip(out.splitlines()[-len(expected) :], expected, strict=True):
        assert f"{row['coverage_change']:+.4f}" in line.split()


def test_worst_names_the_cells_and_their_replays(covsvc, store):
    code, out, _ = covsvc("query", "counts", "--worst", "--most", "2")
    found = api.worst("counts", store, most=2)
    assert code == 0
    assert out.splitlines()[-2:] == [cell["command"] for cell in found["cells"]]
    code, out, _ = covsvc("query", "counts", "--worst", "--limit-method", "cls", "--json")
    assert json.loads(out) == plain(api.worst("counts", store, limit_method="cls"))
    code, out, err = covsvc("query", "counts", "--worst", "--b", "3")
    assert (code, out) == (2, "")
    assert "--worst takes" in err


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["--limit-method", "clss"], "covsvc: clss: unknown limit method of the study, did you mean 'cls'?"),
        (["--cl", "0.8"], "covsvc: cl = 0.8: not on the grid; there are 0.9, 0.95"),
        (["--b", "nan"], "covsvc: b = nan: give a number"),
        (["--s-true", "5:1"], "the range is reversed; write 1:5"),
        (["--verdict", "good"], "covsvc: good: unknown verdict"),
        (["--sort", "klass"], "covsvc: klass: unknown column"),
        (["--at", "nix"], "no snapshot 'nix'"),
        (["--most", "0"], "0 is not in the range"),
        (["--format", "parquet"], "--format parquet needs --out"),
        (["--out", "cells.txt"], "name it .csv, .json or .parquet"),
        (["--out", "nowhere/cells.csv"], "no folder"),
        (["--out", "nowhere/cells.json"], "nowhere/cells.json: cannot be written: No such file or directory"),
        (["--json", "--format", "csv"], "two things"),
    ],
)
def test_what_cannot_be_answered_is_a_wrong_use(covsvc, store, asked, told):
    code, out, err = covsvc("query", "counts", *asked)
    assert (code, out) == (2, "")
    assert told in err


def test_an_empty_answer_is_an_answer(covsvc, store):
    code, out, err = covsvc("query", "counts", "--b", "1:2")
    assert (code, out) == (0, "")
    assert "b = 1:2: nothing on the grid lies there; the nearest are 0 and 3" in err


def test_a_run_leaves_its_maps_for_the_queries_to_come(covsvc, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tmp_path.joinpath("one.yaml").write_text(
        "{name: one, experiment: counting, methods: cls, cl: 0.9, s_true: 1, b: 0, toys_per_block: 10, n_toys: 10, seed: 1}"
    )
    assert covsvc("run", "one.yaml", "--store", "here", "--cluster", "none")[0] == 0
    (kept,) = (tmp_path / "cache" / "covsvc" / "maps").iterdir()
    assert kept.name.startswith(api.history("one", "here")[0]["snapshot"])
