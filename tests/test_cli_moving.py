"""The command line: `export`, `import`, `merge`, and `run --part`."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from covsvc.store.repository import open_cube

STUDY = """\
name: small
experiment: counting
methods: [classical, garwood]
cl: [0.90]
s_true: [0, 2.5]
b: [0, 3]
toys_per_block: 1000
n_toys: 3000
seed: 1999
"""


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


@pytest.fixture
def stored(covsvc, study):
    """Store the study in the default store, and return it."""
    assert covsvc("run", study, "--cluster", "none")[0] == 0
    return study


def snapshot(store="coverage-cubes"):
    return open_cube(store, "small").attrs["snapshot"]


def test_three_machines_draw_a_part_each_and_merge_makes_the_whole(covsvc, study):
    for part in (1, 2, 3):
        code, _, told = covsvc("run", study, "--cluster", "none", "--store", f"store{part}", "--part", f"{part}/3")
        assert code == 0
        assert (
            f"small: part {part}/3, which `covsvc merge` joins with the others: 4 cells, 2 columns; 4,000 toys" in told
        )
    assert "8 of 24 blocks done, 4,000 toys" in covsvc("status", "--store", "store2")[1]
    assert covsvc("export", "small", "three.nc", "--store", "store3")[:2] == (0, "three.nc\n")
    code, told, error = covsvc("merge", "small", "store2", "three.nc", "--store", "store1")
    assert (code, error) == (0, "")
    assert told.splitlines() == [
        "store2: 8 blocks, 4,000 toys",
        "three.nc: 8 blocks, 4,000 toys",
        f"small: snapshot {snapshot('store1')}",
    ]
    assert (
        covsvc("run", study, "--cluster", "none", "--store", "store1")[2]
        == "small: complete already, nothing to compute\n"
    )
    code, told, _ = covsvc("merge", "small", "store2", "--store", "store1", "--json")
    assert json.loads(told) == {
        "study": "small",
        "snapshot": snapshot("store1"),
        "committed": False,
        "added": [{"from": "store2", "blocks": 0, "toys": 0}],
        "left_out": {"blocks": 0, "example": None},
    }
    assert "store2: no blocks to add" in covsvc("merge", "small", "store2", "--store", "store1")[1]
    assert "merge" in covsvc("history", "small", "--store", "store1")[1]


def test_a_study_goes_out_and_in_again(covsvc, stored):
    code, told, _ = covsvc("export", "small", "--json")
    assert (code, json.loads(told)) == (0, {"study": "small", "snapshot": snapshot(), "export": "small.zarr"})
    code, told, _ = covsvc("import", "small.zarr", "--store", "other")
    assert (code, told) == (0, f"small: 24 blocks, 12,000 toys, snapshot {snapshot('other')}\n")
    assert json.loads(covsvc("import", "small.zarr", "--name", "copy", "--json")[1])["study"] == "copy"
    assert "24 of 24 blocks done" in covsvc("status", "copy")[1]
    assert covsvc("report", "copy", "--gate")[0] == 0


def test_an_older_snapshot_is_exported_too(covsvc, stored):
    old = snapshot()
    stored.write_text(STUDY.replace("3000", "5000"))
    covsvc("run", stored, "--cluster", "none")
    covsvc("export", "small", "old.csv", "--at", old)
    covsvc("export", "small", "new.csv")
    tables = (Path(name).read_text() for name in ("old.csv", "new.csv"))
    told = [next(csv.DictReader(io.StringIO(table)))["n_toys"] for table in tables]
    assert told == ["3000", "5000"]


def test_a_csv_on_the_standard_output_is_nothing_else(covsvc, stored):
    code, told, error = covsvc("export", "small", "-", "--format", "csv")
    assert (code, error) == (0, "")
    rows = list(csv.DictReader(io.StringIO(told)))
    assert len(rows) == 8
    assert {row["limit_method"] for row in rows} == {"classical", "garwood"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("export", "none", "x.zarr"), "no such study in the store"),
        (("export", "small", "x.pdf"), "x.pdf: its name tells no format"),
        (("export", "small", "x", "--format", "root"), "'root' is not one of"),
        (("export", "small", "-"), "to the standard output goes a CSV"),
        (("export", "small", "study.yaml", "--format", "csv"), "study.yaml: exists already"),
        (("export", "small", "nowhere/x.nc"), "nowhere/x.nc: no folder nowhere"),
        (("import", "study.yaml"), "study.yaml: cannot be read, it is damaged or no export"),
        (("import", "none.zarr"), "none.zarr: no such file or folder"),
        (("import", "out.zarr"), "is stored already; add to it with `covsvc merge small FROM`"),
        (("import", "out.zarr", "--name", "a b"), "name: 'a b': letters, digits"),
        (("merge", "small"), "Missing argument 'FROM...'"),
        (("merge", "small", "nowhere"), "nowhere: no export, no store with a study small"),
        (("merge", "small", "out.zarr", "study.yaml"), "study.yaml: cannot be read"),
        (("merge", "small", "seeds/small"), "seed is 2000 there and 1999 in coverage-cubes/small"),
        (("run", "study.yaml", "--part", "3"), "'3': the K-th of N parts is K/N, for example 1/3"),
        (("run", "study.yaml", "--part", "0/3"), "part 0/3: the parts are 1/3 to 3/3"),
        (("run", "study.yaml", "--part", "1/4"), "small has 3 blocks of 1000 toys a cell, so at most 3 parts"),
    ],
)
def test_what_cannot_be_is_refused_and_loses_nothing(covsvc, stored, tmp_path, arguments, told):
    if "out.zarr" in arguments:
        covsvc("export", "small", "out.zarr")
    if "seeds/small" in arguments:
        (tmp_path / "seeds.yaml").write_text(STUDY.replace("1999", "2000"))
        covsvc("run", "seeds.yaml", "--cluster", "none", "--store", "seeds")
    before = snapshot()
    code, out, error = covsvc(*arguments)
    assert (code, out) == (2, "")
    assert told in error
    assert snapshot() == before
    assert (tmp_path / "study.yaml").read_text() == STUDY
    assert not [each for each in tmp_path.iterdir() if each.name.endswith((".part", ".old"))]


def test_blocks_that_overlap_are_left_to_run_and_said_so(covsvc, study):
    for store, part in (("ours", "1/3"), ("ours", "2/3"), ("theirs", "2/3"), ("theirs", "3/3")):
        covsvc("run", study, "--cluster", "none", "--store", store, "--part", part)
    code, told, error = covsvc("merge", "small", "theirs", "--store", "ours")
    assert code == 0
    assert "theirs: no blocks to add" in told
    assert "small: 8 blocks stay missing, for example of classical at 0.9, b = 0, s_true = 0: counts" in error
    assert "4,000 toys" in covsvc("run", study, "--cluster", "none", "--store", "ours")[2]
