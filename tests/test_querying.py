"""What a query of stored maps finds, and how they are kept."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import threading

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from covsvc import api
from covsvc.api import kept_maps, off_grid
from covsvc.api.plain import plain
from covsvc.errors import StoreError, StudyError, UnknownName
from covsvc.selection import COLUMNS
from covsvc.store.place import place_of
from covsvc.store.repository import open_ledger
from covsvc.study import study_of

S_TRUE, B = [0.0, 1.0, 2.5, 6.0], [0.0, 3.0, 5.5]


def study(**changes):
    return study_of(
        {
            "name": "counts",
            "experiment": "counting",
            "methods": ["classical", "cls", {"name": "bayes_flat", "label": "flat"}],
            "cl": [0.9, 0.95],
            "s_true": S_TRUE,
            "b": B,
            "toys_per_block": 500,
            "n_toys": 500,
            "seed": 1999,
        }
        | changes
    )


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Keep the user's cache out of it."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Store a study that can be summed, 500 and then 1000 toys a cell, and one of events that cannot."""
    place = tmp_path_factory.mktemp("store")
    api.run(study(), place)
    api.set_tag("counts", "half", place)
    api.run(study(n_toys=1000), place)
    of_events = {"name": "events", "experiment": "spectrum", "methods": ["max_gap", "classical"], "cl": 0.9}
    api.run(study(**of_events, s_true=[1, 2, 4], b=[0, 1]), place)
    return place


def covers(s_true, b, cl=0.9):
    """Return the coverage of the classical upper limit: of the counts whose limit is not below s_true."""
    n = np.arange(200)
    return stats.poisson.pmf(n, s_true + b)[stats.gamma.ppf(cl, n + 1) - b >= s_true].sum()


def keys_of(rows):
    return [(row["limit_method"], row["cl"], row["b"], row["s_true"]) for row in rows]


def test_a_point_has_the_numbers_of_the_maps(store):
    found = api.query("counts", store, limit_method="classical", cl=0.9, b=3, s_true=2.5)
    (row,) = found.rows
    maps = api.maps_of(api.open_cube(store, "counts"))
    cell = maps.sel(limit_method="classical", cl=0.9, b=3, s_true=2.5)
    same = [name for name in COLUMNS if name not in ("verdict", "source", "neighbour_of")]
    assert {name: row[name] for name in same} == {name: cell[name].item() for name in same}
    assert row["exact_coverage"] == pytest.approx(covers(2.5, 3), abs=1e-12)
    assert (row["source"], row["n_toys"]) == ("exact", 1000)
    assert (found.columns, found.notes) == (tuple(COLUMNS), [])
    assert found.snapshot == api.history("counts", store)[0]["snapshot"]
    assert found.written_at == api.history("counts", store)[0]["written_at"]


def test_units_are_those_of_the_maps(store):
    maps = api.read_maps(store, "counts")
    units = {name: maps[name].attrs.get("units", "") for name in COLUMNS if name in maps}
    assert units == {name: COLUMNS[name][1] for name in units}


def test_everything_comes_in_the_order_of_the_study(store):
    found = api.query("counts", store)
    labels = ["classical", "cls", "flat"]
    assert keys_of(found.rows) == [(m, cl, b, s) for m in labels for cl in (0.9, 0.95) for b in B for s in S_TRUE]


def test_ranges_are_closed_and_values_may_be_rounded(store):
    found = api.query("counts", store, limit_method=["flat", "cls"], cl="0.95", b=slice(3, None), s_true="1:2.5")
    assert keys_of(found.rows) == [(m, 0.95, b, s) for m in ("cls", "flat") for b in (3.0, 5.5) for s in (1.0, 2.5)]
    found = api.query("counts", store, limit_method="cls", cl=0.9, b=[1.1 * 5, 3], s_true=2.5 + 1e-12)
    assert keys_of(found.rows) == [("cls", 0.9, 3.0, 2.5), ("cls", 0.9, 5.5, 2.5)]
    assert found.notes == []


def test_a_range_without_nodes_is_empty_and_names_the_nearest(store):
    found = api.query("counts", store, cl="0.91:0.94", b="3.5:4", s_true="7:")
    assert found.rows == []
    assert found.notes == [
        "cl = 0.91:0.94: nothing on the grid lies there; the nearest are 0.9 and 0.95",
        "b = 3.5:4: nothing on the grid lies there; the nearest are 3 and 5.5",
        "s_true = 7:: nothing on the grid lies there; the nearest are 6",
    ]
    assert found.to_dataframe().columns.tolist() == list(COLUMNS)


def test_a_point_off_the_grid_is_summed_exactly(store):
    found = api.query("counts", store, limit_method="classical", cl=0.9, b=[3, 4.25], s_true=[2.5, 2.6, 40])
    assert [row["source"] for row in found.rows] == ["exact"] + ["computed"] * 5
    assert keys_of(found.rows) == [("classical", 0.9, b, s) for b in (3.0, 4.25) for s in (2.5, 2.6, 40.0)]
    for row in found.rows:
        assert row["exact_coverage"] == pytest.approx(covers(row["s_true"], row["b"]), abs=1e-12)
        # the median count is the smallest n with P(N <= n) >= 1/2; the limits rise with the count
        median = stats.gamma.ppf(0.9, stats.poisson.ppf(0.5, row["s_true"] + row["b"]) + 1) - row["b"]
        assert row["exact_median_upper"] == pytest.approx(median, rel=1e-9)
        assert row["exact_sigma_med_over_true"] == pytest.approx(median / row["s_true"], rel=1e-9)
        assert row["neighbour_of"] == ""
    computed = found.rows[-1]
    # no limit where even a signal of 0 is too much: n is so small that P(N <= n; b) < 0.1
    empty = stats.gamma.ppf(0.9, np.arange(200) + 1) < 4.25
    assert computed["p_empty"] == pytest.approx(stats.poisson.pmf(np.arange(200), 44.25)[empty].sum(), abs=1e-12)
    assert (computed["n_toys"], computed["n_covered"], math.isnan(computed["coverage"])) == (0, 0, True)
    assert found.notes == [
        "b = 4.25 and s_true = 2.6, 40: not on the grid; the coverage there is summed exactly now (source: computed)"
    ]


def test_a_range_along_the_other_axis_takes_its_nodes(store):
    found = api.query("counts", store, limit_method="cls", cl=0.9, b="3:", s_true=2.6)
    assert keys_of(found.rows) == [("cls", 0.9, 3.0, 2.6), ("cls", 0.9, 5.5, 2.6)]
    found = api.query("counts", store, limit_method="cls", cl=0.9, b=1)
    assert keys_of(found.rows) == [("cls", 0.9, 1.0, s) for s in S_TRUE]


def test_a_sum_off_the_grid_is_that_of_a_study_with_this_node(store, tmp_path):
    api.run(study(s_true=[2.6], b=[4.25]), tmp_path)
    stored = api.query("counts", tmp_path).rows
    computed = api.query("counts", store, s_true=2.6, b=4.25).rows
    same = [name for name in COLUMNS if name.startswith("exact_")] + ["verdict"]
    assert keys_of(computed) == keys_of(stored)
    assert [[row[name] for name in same] for row in computed] == [[row[name] for name in same] for row in stored]


def test_where_toys_tell_the_cells_beside_a_point_are_given(store):
    found = api.query("events", store, limit_method="max_gap", b=0.5, s_true=[2, 3, 9])
    told = [(row["b"], row["s_true"], row["neighbour_of"]) for row in found.rows]
    assert told == [
        (0.0, 2.0, "b = 0.5"),
        (1.0, 2.0, "b = 0.5"),
        (0.0, 2.0, "b = 0.5, s_true = 3"),
        (0.0, 4.0, "b = 0.5, s_true = 3"),
        (1.0, 2.0, "b = 0.5, s_true = 3"),
        (1.0, 4.0, "b = 0.5, s_true = 3"),
        (0.0, 4.0, "b = 0.5, s_true = 9"),
        (1.0, 4.0, "b = 0.5, s_true = 9"),
    ]
    assert {row["source"] for row in found.rows} == {"toys"}
    assert found.notes == [
        "b = 0.5 and s_true = 3, 9: not on the grid; the cells beside it are given, nothing is interpolated: "
        "coverage there is known from toys only"
    ]
    on_grid = api.query("events", store, limit_method="max_gap", b=0, s_true=2).rows[0]
    assert plain(found.rows[0] | {"neighbour_of": ""}) == plain(on_grid)


def test_far_beyond_the_grid_nothing_is_summed(store):
    found = api.query("counts", store, limit_method="cls", cl=0.9, b=3, s_true=[90, 9e4])
    assert [(row["s_true"], row["source"], row["neighbour_of"]) for row in found.rows] == [
        (90.0, "computed", ""),
        (6.0, "exact", "s_true = 90000"),
    ]
    assert found.rows[0]["exact_coverage"] > 0.9  # as CLs promises
    assert found.notes[1].endswith(
        "the cells of cls beside it are given, nothing is interpolated: it lies far beyond the grid"
    )


def test_too_many_limits_are_refused(store, monkeypatch):
    monkeypatch.setattr(off_grid, "MOST_LIMITS", 100)
    with pytest.raises(StudyError, match="too many limits would have to be set there, more than 100; ask for fewer"):
        api.query("counts", store, limit_method="cls", s_true=2.6)


@pytest.mark.parametrize(
    ("attribute", "change", "reason"),
    [
        ("methods", {"classical": {"fingerprint": "other"}}, "the installed code is not that which made"),
        ("study", {"experiment": {"name": "of_somebody_else", "options": {}}}, "what its study needs is not installed"),
    ],
)
def test_other_code_than_that_of_the_stored_values_computes_nothing(store, tmp_path, attribute, change, reason):
    shutil.copytree(store / "counts", tmp_path / "counts")
    with open_ledger(tmp_path, study(n_toys=1000)) as ledger:
        ledger.trust_engine()
        told = ledger.told(attribute)
        for key, value in change.items():
            told[key] = told[key] | value
        ledger.tell(attribute, told)
    found = api.query("counts", tmp_path, limit_method=["classical", "cls"], cl=0.9, b=3, s_true=2.0)
    beside = [row["s_true"] for row in found.rows if row["limit_method"] == "classical"]
    assert beside == [1.0, 2.5]
    assert reason in found.notes[-1]
    if attribute == "methods":  # cls is as it was
        assert [(row["s_true"], row["source"]) for row in found.rows[2:]] == [(2.0, "computed")]
        assert found.notes[0].startswith("s_true = 2: not on the grid; the coverage of cls there is summed exactly now")


def test_verdicts_filter_and_columns_sort(store):
    found = api.query("counts", store, verdict="under", sort=["-b", "exact_coverage"])
    maps = api.read_maps(store, "counts")
    assert len(found.rows) == int(maps["under_significant"].sum())
    assert [row["b"] for row in found.rows] == sorted((row["b"] for row in found.rows), reverse=True)
    flat = api.query("counts", store, verdict=["ok", "over"], sort="-exact_median_upper,s_true", most=3, columns="b,cl")
    assert (flat.columns, [set(row) for row in flat.rows]) == (("b", "cl"), [{"b", "cl"}] * 3)
    assert flat.notes == [f"the first 3 of {72 - len(found.rows)} rows"]
    assert api.query("counts", store, verdict="unknown").notes == ["no cell is unknown"]


@pytest.mark.parametrize("sort", ["sigma_med_over_true", "-sigma_med_over_true"])
def test_what_is_not_known_comes_last(store, sort):
    ratios = [row["sigma_med_over_true"] for row in api.query("counts", store, sort=sort).rows]
    known = [ratio for ratio in ratios if not math.isnan(ratio)]
    assert len(known) == 54  # all but those at s_true = 0
    assert ratios[:54] == sorted(known, reverse=sort[0] == "-")


def test_another_commit_is_compared_cell_by_cell(store):
    now, then = (api.query("counts", store, at=at, b=3).rows for at in ("main", "half"))
    found = api.query("counts", store, b=3, against="half")
    assert found.columns[-2:] == ("exact_median_upper_before", "exact_median_upper_change")
    for row, new, old in zip(found.rows, now, then, strict=True):
        assert (row["coverage"], row["coverage_before"]) == (new["coverage"], old["coverage"])
        assert row["coverage_change"] == new["coverage"] - old["coverage"]
        assert row["sigma_med_change"] == pytest.approx(new["sigma_med"] / old["sigma_med"] - 1, abs=1e-15)
        assert (row["exact_coverage_change"], row["exact_median_upper_change"]) == (0.0, 0.0)
    assert found.notes[0].startswith(f"compared with {api.tags('counts', store)['half']}, written at ")
    assert any(row["coverage_change"] for row in found.rows)
    computed = api.query("counts", store, b=3, s_true=2.0, against="half").rows
    assert all(math.isnan(row["exact_coverage_change"]) for row in computed)


@pytest.mark.parametrize("at", [None, "half"])
def test_another_method_is_compared_cell_by_cell(store, at):
    found = api.query("counts", store, limit_method="cls", cl=0.9, b=3, against=at, against_method="classical")
    rows, others = (
        api.query("counts", store, limit_method=label, cl=0.9, b=3, at=when).rows
        for label, when in (("cls", "main"), ("classical", at or "main"))
    )
    for row, one, other in zip(found.rows, rows, others, strict=True):
        assert (row["limit_method"], row["coverage"]) == ("cls", one["coverage"])
        assert row["coverage_before"] == other["coverage"]
        assert row["exact_coverage_change"] == one["exact_coverage"] - other["exact_coverage"]
    assert any(row["exact_coverage_change"] for row in found.rows)
    assert found.notes[0].startswith(
        f"compared with classical of {api.read_maps(store, 'counts', at or 'main').snapshot}"
    )


def test_an_answer_is_a_table_of_pandas_and_of_json(store):
    found = api.query("counts", store, limit_method="cls", b=3)
    frame = found.to_dataframe()
    assert frame["exact_coverage"].tolist() == [row["exact_coverage"] for row in found.rows]
    assert (frame["n_toys"].dtype, frame.attrs["snapshot"]) == (np.int64, found.snapshot)
    assert frame.attrs["units"]["sigma_med"] == "events"
    told = json.loads(json.dumps(plain(found.as_dict()), allow_nan=False))
    assert (told["rows"][0]["sigma_med_over_true"], told["columns"]) == (None, list(COLUMNS))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"limit_method": "klass"}, "klass: unknown limit method of the study, did you mean 'classical'?"),
        ({"cl": 0.99}, "cl = 0.99: not on the grid; there are 0.9, 0.95"),
        ({"b": -1}, r"b = -1: expected events lie in \[0, 100000\]"),
        ({"s_true": 1e6}, "s_true = 1000000: expected events lie in"),
        ({"s_true": "1:x"}, "s_true = 1:x: give a number"),
        ({"b": list(np.linspace(0.1, 2, 1000))}, "not on the grid, and 24,000 cells are too many"),
        ({"verdict": "bad"}, "bad: unknown verdict"),
        ({"against_method": "klass"}, "klass: unknown limit method of the study, did you mean 'classical'?"),
        ({"sort": "covrage"}, "covrage: unknown column, did you mean 'coverage'?"),
        ({"columns": ["coverage_change"]}, "coverage_change: unknown column"),
        ({"most": 0}, "most = 0"),
    ],
)
def test_what_cannot_be_answered_is_refused(store, asked, told):
    with pytest.raises(StudyError, match=told):
        api.query("counts", store, **asked)


def test_unknown_studies_and_commits_are_refused(store):
    with pytest.raises(StoreError, match="stored are: counts, events"):
        api.query("count", store)
    with pytest.raises(StoreError, match="no snapshot 'nix'"):
        api.query("counts", store, at="nix")
    with pytest.raises(StoreError, match="no snapshot 'nix'"):
        api.query("counts", store, against="nix")


def test_the_worst_cells_are_those_of_the_maps(store):
    every = api.worst_cells(api.read_maps(store, "events"))
    found = api.worst("events", store)
    assert [cell["p_adjusted"] for cell in found["cells"]] == [cell.p_adjusted for cell in every]
    only = api.worst("events", store, limit_method="max_gap", cl=0.9, most=1)
    assert plain(only["cells"]) == plain([cell for cell in found["cells"] if cell["limit_method"] == "max_gap"])
    assert only["snapshot"] == api.read_maps(store, "events").attrs["snapshot"]
    with pytest.raises(UnknownName):
        api.worst("events", store, limit_method="cls")


def forget():
    """Forget what is in memory, as a new process does."""
    kept_maps._held.clear()


def newest(store):
    return api.history("counts", store)[0]["snapshot"]


def without_commit(maps):
    """Return maps without the words on their commit, whose order is not always the same."""
    return maps.assign_attrs(commit="", provenance="")


def test_kept_maps_are_those_of_the_cube_to_the_bit(store):
    made = api.maps_of(api.open_cube(store, "counts")).load()
    forget()
    for kept in (api.read_maps(store, "counts"), api.read_maps(store, "counts")):
        xr.testing.assert_identical(without_commit(kept), without_commit(made))
        assert {name: kept[name].dtype for name in kept.variables} == {
            name: made[name].dtype for name in made.variables
        }
        assert json.loads(kept.attrs["commit"]) == json.loads(made.attrs["commit"])
    with pytest.raises(ValueError, match="read-only"):
        kept["coverage"][0] = 0


def test_a_new_process_reads_maps_from_the_users_cache(store, tmp_path):
    shutil.copytree(store / "counts", tmp_path / "counts")
    before = api.read_maps(tmp_path, "counts")
    forget()
    shutil.rmtree(tmp_path / "counts" / "chunks")  # nothing is left to make them from
    xr.testing.assert_identical(api.read_maps(tmp_path, "counts"), before)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 and then nothing", None])
def test_a_damaged_or_unwritable_cache_is_no_error(store, tmp_path, monkeypatch, damage):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if damage is None:
        tmp_path.joinpath("covsvc").write_text("no folder")
    else:
        forget()
        api.read_maps(store, "counts")
        (file,) = kept_maps.folder().iterdir()
        file.write_bytes(damage)
    forget()
    assert api.read_maps(store, "counts").sizes["s_true"] == 4
    if damage is not None:
        forget()
        assert len(file.read_bytes()) > 1000


def test_a_cache_that_can_only_be_read_is_read(store, tmp_path, monkeypatch):
    def touch(path):
        raise PermissionError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    forget()
    api.read_maps(store, "counts")
    forget()
    monkeypatch.setattr(kept_maps.Path, "touch", touch)
    kept = kept_maps.kept_maps(place_of(store).study("counts"), newest(store), lambda: pytest.fail("made again"))
    assert kept.sizes["s_true"] == 4


def test_what_a_killed_process_half_wrote_is_cleared_away(store, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    old, new = (kept_maps.folder() / name for name in ("tmp-old", "tmp-new"))
    for each in (old, new):
        each.mkdir(parents=True)
        each.joinpath("X.npz").write_bytes(b"PK")
    os.utime(old, (0, 0))
    forget()
    api.read_maps(store, "counts")
    assert not old.exists()
    assert new.exists()  # somebody may be writing there


def test_a_user_without_a_home_has_no_cache(store, monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")  # of a number that no password file knows

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(kept_maps.Path, "home", home)
    forget()
    assert api.read_maps(store, "counts").sizes["s_true"] == 4


def test_maps_are_kept_a_snapshot(store):
    now, then = (api.read_maps(store, "counts", at) for at in ("main", "half"))
    assert (int(now["n_toys"].max()), int(then["n_toys"].max())) == (1000, 500)


def test_the_cache_forgets_what_was_read_longest_ago(store, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kept_maps, "MOST_FILES", 1)
    for at in ("half", "main"):
        forget()
        api.read_maps(store, "counts", at)
    (left,) = kept_maps.folder().iterdir()
    assert left.name.startswith(api.read_maps(store, "counts").attrs["snapshot"])


def test_who_asks_at_once_waits_for_the_one_who_makes_them():
    begun, made = threading.Event(), []

    def make():
        made.append(begun.wait(10))
        return xr.Dataset({"coverage": ("b", [0.9])})

    asking = [threading.Thread(target=lambda: kept_maps.kept_maps("nowhere", "X", make)) for _ in range(4)]
    for each in asking:
        each.start()
    begun.set()
    for each in asking:
        each.join(10)
    assert made == [True]
