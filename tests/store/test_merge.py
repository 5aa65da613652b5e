"""Merging: the same cube in whatever parts it comes, and by name what does not match."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
from itertools import permutations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from covsvc import api
from covsvc.errors import StoreError, StudyError
from covsvc.store.merge import Source, merge_cubes
from covsvc.store.repository import open_cube, open_ledger
from covsvc.study import study_of

SUMS = ("n_toys", "n_covered", "n_upper_covered", "n_empty", "n_unbounded", "n_failed", "limit_counts")
TINY = {
    "name": "tiny",
    "experiment": "counting",
    "methods": ["classical", "feldman_cousins"],
    "cl": [0.9, 0.95],
    "s_true": [0, 2.5],
    "b": [0, 3],
    "toys_per_block": 100,
    "n_toys": 500,
    "seed": 7,
}


def assert_equal(one, other):
    for name in other.variables:
        assert_array_equal(one[name].values, other[name].values, err_msg=str(name))


def never(source, columns):
    raise AssertionError(f"{source.told}: nothing was to be proven of {columns}")


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    """Return a cube of each single block, computed by itself."""
    folder = tmp_path_factory.mktemp("blocks")
    study = study_of(TINY)
    return [api.run(study, folder / str(part), part=(part, 5)).load() for part in range(1, 6)]


def summed(blocks, held):
    """Return the cube of some blocks of each column and cell, held : bool, shape (limit_method, cl, b, s_true, block)."""
    cube = blocks[0].copy(deep=True)
    for name in SUMS:
        extra = (1,) * (cube[name].ndim - 4)
        cube[name].values[...] = sum(
            each[name].values * held[..., at].reshape(*held.shape[:4], *extra) for at, each in enumerate(blocks)
        )
    for name in ("block_status", "limit_digest"):
        one_each = np.stack([each[name].values[..., at] for at, each in enumerate(blocks)], axis=-1)
        cube[name].values[...] = one_each * held
    return cube


def drawn_apart_or_nested(rng, number, shape):
    """Return blocks of `number` cubes: in each column and cell those of any two are disjoint, or one has the other."""
    held = np.zeros((number, *shape, 5), bool)
    for place in np.ndindex(shape):
        # a tree: each cube takes some of what an earlier one has, or of what nobody has
        free = [np.arange(5)]
        for cube in rng.permutation(number):
            at = int(rng.integers(len(free)))
            some = rng.random(len(free[at])) < rng.choice([0.2, 0.5, 0.9])
            mine, rest = free[at][some], free[at][~some]
            held[(cube, *place, mine)] = True
            free[at] = rest
            free.append(mine)
    return held


@given(st.integers(0, 2**32), st.integers(2, 3))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_disjoint_and_nested_parts_make_the_whole_in_any_order(blocks, tmp_path_factory, seed, number):
    held = drawn_apart_or_nested(np.random.default_rng(seed), number, (2, 2, 2, 2))
    cubes = [Source(f"part {at}", summed(blocks, each)) for at, each in enumerate(held)]
    wanted = summed(blocks, held.any(axis=0))
    store = tmp_path_factory.mktemp("merged")
    for number, order in enumerate(permutations(cubes)):
        merged = merge_cubes(store / str(number), "tiny", order, never)
        assert merged.left_out == 0
        assert_equal(open_cube(store / str(number), "tiny"), wanted)
        assert sum(merged.blocks) == held.any(axis=0).sum()
    again = merge_cubes(store / "0", "tiny", cubes, never)
    assert not again.committed
    assert again.blocks == [0] * len(cubes)


@given(st.integers(0, 2**32))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_two_parts_one_after_the_other_are_the_two_at_once(blocks, tmp_path_factory, seed):
    held = drawn_apart_or_nested(np.random.default_rng(seed), 2, (2, 2, 2, 2))
    one, other = (Source(f"part {at}", summed(blocks, each)) for at, each in enumerate(held))
    store = tmp_path_factory.mktemp("merged")
    merge_cubes(store, "tiny", [one], never)
    merge_cubes(store, "tiny", [other], never)
    assert_equal(open_cube(store, "tiny"), summed(blocks, held.any(axis=0)))


@given(st.integers(0, 2**32), st.integers(2, 4))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_parts_make_a_cube_whose_counts_are_those_of_its_blocks(blocks, tmp_path_factory, seed, number):
    rng = np.random.default_rng(seed)
    held = rng.random((number, 2, 2, 2, 2, 5)) < rng.random()
    store = tmp_path_factory.mktemp("merged")
    cubes = [Source(f"part {at}", summed(blocks, each)) for at, each in enumerate(held)]
    merged = merge_cubes(store, "tiny", cubes, never)
    found = open_cube(store, "tiny")
    done = found["block_status"].values == 1
    assert_equal(found, summed(blocks, done))
    assert not (done & ~held.any(axis=0)).any()
    assert merged.left_out == (held.any(axis=0) & ~done).sum()
    assert (done.sum(axis=-1) >= held.sum(axis=-1).max(axis=0)).all()  # never fewer blocks than the best of them


def test_of_overlapping_parts_that_of_more_blocks_is_kept_and_run_draws_the_rest(blocks, tmp_path):
    few, many = np.zeros((2, 2, 2, 2, 2, 5), bool)
    few[..., :2] = True
    many[..., 1:4] = True
    merge_cubes(tmp_path, "tiny", [Source("few", summed(blocks, few))], never)
    merged = merge_cubes(tmp_path, "tiny", [Source("many", summed(blocks, many))], never)
    assert_equal(open_cube(tmp_path, "tiny"), summed(blocks, many))
    assert (merged.left_out, merged.example) == (16, "classical at 0.9, b = 0, s_true = 0")
    assert merged.toys == [2 * 4 * 100]
    assert api.remainder(study_of(TINY), tmp_path).toys == 4 * 2 * 100
    whole = summed(blocks, np.ones_like(few))
    assert_equal(api.run(study_of(TINY), tmp_path), whole)


def test_three_parts_are_the_whole_and_know_what_they_are(small_study, tmp_path):
    study = small_study()
    for part in (1, 2, 3):
        assert api.remainder(study, tmp_path / str(part), part=(part, 3)).toys == [24, 24, 12][part - 1] * 1000
        api.run(study, tmp_path / str(part), part=(part, 3))
        assert api.remainder(study, tmp_path / str(part), part=(part, 3)).nothing
        told = api.status(tmp_path / str(part), "small")
        assert (told["blocks_done"], told["blocks"]) == ([144, 144, 72][part - 1], 360)
    exported = api.export_cube(open_cube(tmp_path / "3", "small"), tmp_path / "3.nc")
    merged = api.merge(tmp_path / "1", "small", [tmp_path / "2" / "small", exported])
    whole = api.run(study, tmp_path / "whole")
    assert_equal(open_cube(tmp_path / "1", "small"), whole)
    assert (merged.blocks, merged.toys) == ([144, 72], [24_000, 12_000])
    assert api.remainder(study, tmp_path / "1").nothing
    assert api.merge(tmp_path / "1", "small", [tmp_path / "whole"]).committed is False
    # a study that is not stored yet is made
    api.merge(tmp_path / "new", "small", [tmp_path / "3", tmp_path / "2", tmp_path / "whole"])
    assert_equal(open_cube(tmp_path / "new", "small"), whole)


def test_parts_of_events_are_the_whole_too(small_study, tmp_path):
    given = {"experiment": "spectrum", "methods": ["max_gap", "optimum_interval"], "b": [0.0], "s_true": [1, 4]}
    study = small_study(**given, toys_per_block=200, n_toys=800)
    for part in (1, 2):
        api.run(study, tmp_path / str(part), part=(part, 2))
    api.merge(tmp_path / "1", "small", [tmp_path / "2"])
    assert_equal(open_cube(tmp_path / "1", "small"), api.run(study, tmp_path / "whole"))


@pytest.mark.system
def test_three_parts_of_local_clusters_are_the_whole(small_study, tmp_path):
    study = small_study()
    for part in (1, 2, 3):
        api.run(study, tmp_path / str(part), "local", n_workers=1, part=(part, 3), task_toys=4e3)
    api.merge(tmp_path / "2", "small", [tmp_path / "1", tmp_path / "3"])
    assert_equal(open_cube(tmp_path / "2", "small"), api.run(study, tmp_path / "whole"))


def test_parts_are_refused_where_there_are_none(small_study, tmp_path):
    for part, told in (
        ((6, 6), "small has 5 blocks of 1000 toys a cell, so at most 5 parts"),
        ((0, 3), "part 0/3: the"),
    ):
        with pytest.raises(StudyError, match=told):
            api.run(small_study(), tmp_path, part=part)
    budget = small_study(n_toys={"min": 1000, "max": 4000})
    with pytest.raises(StudyError, match="n_toys is a budget"):
        api.remainder(budget, tmp_path, part=(1, 2))
    assert not list(tmp_path.iterdir())


def test_a_wider_study_grows_every_axis_and_equals_a_fresh_run(small_study, tmp_path):
    ours = small_study(methods=["classical", "bayes_flat"], cl=0.95, s_true=[6, 1], b=[3], n_toys=3000)
    theirs = small_study(methods=["classical", "zech"], cl=[0.9, 0.95], s_true=[0, 1, 6], b=[0, 3], n_toys=4000)
    api.run(ours, tmp_path / "ours")
    api.run(theirs, tmp_path / "theirs")
    api.merge(tmp_path / "ours", "small", [tmp_path / "theirs"])
    merged = open_cube(tmp_path / "ours", "small")
    both = small_study(
        methods=["classical", "bayes_flat", "zech"], cl=[0.9, 0.95], s_true=[0, 1, 6], b=[0, 3], n_toys=4000
    )
    assert study_of(json.loads(merged.attrs["study"])) == both
    theirs_again = open_cube(tmp_path / "theirs", "small").load()
    at = {name: theirs_again[name].values for name in ("limit_method", "cl", "b", "s_true")}
    assert_equal(merged.sel(at), theirs_again)
    left = api.remainder(both, tmp_path / "ours")
    # missing: bayes_flat but for its 2 cells at 0.95, of which it has 3 blocks
    assert left.toys == 6 * 4000
    assert_equal(api.run(both, tmp_path / "ours"), api.run(both, tmp_path / "fresh"))


def test_values_that_arrived_in_another_order_are_merged_by_value(small_study, tmp_path):
    for store, first, part in (("ours", [1, 6], 1), ("theirs", [2.5, 6], 2)):
        # on disk the new values stand behind the first ones
        api.run(small_study(s_true=first, b=[3], methods=["bayes_flat"], cl=0.95), tmp_path / store, part=(part, 2))
        api.run(small_study(), tmp_path / store, part=(part, 2))
    api.merge(tmp_path / "ours", "small", [tmp_path / "theirs"])
    merged, whole = open_cube(tmp_path / "ours", "small"), api.run(small_study(), tmp_path / "whole")
    assert merged["limit_method"].values.tolist() == ["bayes_flat", "classical", "feldman_cousins"]
    assert_equal(merged.sel(limit_method=whole["limit_method"].values), whole)
    assert api.remainder(small_study(), tmp_path / "ours").nothing


def test_the_worst_coverage_of_the_wider_search_is_kept(small_study, tmp_path):
    wrong = {"experiment": {"name": "counting", "options": {"assumed_over_true": 1.3}}, "methods": "feldman_cousins"}
    narrow = api.run(small_study(**wrong, cl=0.9, b=[3], s_true=[0, 0.1]), tmp_path / "narrow")
    wide = api.run(small_study(**wrong, cl=0.9, b=[3], s_true=[0, 2, 12]), tmp_path / "wide")
    assert narrow["worst_coverage"].item() != wide["worst_coverage"].item()
    for ours, theirs in (("narrow", "wide"), ("wide", "narrow")):
        api.merge(tmp_path / ours, "small", [tmp_path / theirs])
        merged = open_cube(tmp_path / ours, "small")
        for name in ("worst_coverage", "worst_s_true", "worst_s_min", "worst_s_max"):
            assert merged[name].item() == wide[name].item()


def test_a_wider_search_is_taken_though_nothing_else_is_new(blocks, tmp_path):
    wide = blocks[0].copy(deep=True)
    wide["worst_s_max"].values[...] += 1.0
    wide["worst_coverage"].values[...] -= 0.001
    merge_cubes(tmp_path, "tiny", [Source("narrow", blocks[0])], never)
    assert merge_cubes(tmp_path, "tiny", [Source("wide", wide)], never).committed
    assert_equal(open_cube(tmp_path, "tiny"), wide)
    assert not merge_cubes(tmp_path, "tiny", [Source("narrow", blocks[0])], never).committed


def test_a_done_block_beats_a_failed_one_and_reasons_of_the_others_travel(small_study, tmp_path, plugins, monkeypatch):
    study = small_study(experiment="broken", methods="classical", cl=0.9, s_true=[0, 1, 6])
    api.run(study, tmp_path / "fails")
    monkeypatch.setenv("STRANGE_SIGNAL", "5")
    api.run(study, tmp_path / "works")
    assert api.status(tmp_path / "fails", "small")["blocks_failed"] == 30
    before = open_cube(tmp_path / "works", "small").load()
    assert not api.merge(tmp_path / "works", "small", [tmp_path / "fails"]).committed
    api.merge(tmp_path / "fails", "small", [tmp_path / "works"])
    assert_equal(open_cube(tmp_path / "fails", "small"), before)
    told = api.status(tmp_path / "fails", "small")
    assert (told["blocks_failed"], [each["cells"] for each in told["failures"]]) == (15, [3])
    api.merge(tmp_path / "new", "small", [tmp_path / "fails", tmp_path / "works"])
    assert api.status(tmp_path / "new", "small")["failures"] == told["failures"]


def changed(cube, **attributes):
    """Return a cube with other attributes, each made from the present one."""
    cube = cube.copy()
    cube.attrs = copy.deepcopy(cube.attrs)
    for name, change in attributes.items():
        told = cube.attrs[name]
        decoded = json.loads(told) if told.startswith(("{", "[")) else told
        found = change(decoded)
        cube.attrs[name] = found if isinstance(found, str) else json.dumps(found)
    return cube


def with_(path, value):
    """Return what sets a value deep in a mapping."""

    def change(told):
        inner = told
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        return told

    return change


@pytest.mark.parametrize(
    ("study", "told"),
    [
        ({"seed": 2000}, "seed is 2000 there and 1999 in .*ours/small"),
        ({"toys_per_block": 500}, "toys_per_block is 500 there and 1000 in"),
        (
            {"experiment": {"name": "counting", "options": {"assumed_over_true": 1.1}}},
            "experiment is .*1.1.* there and",
        ),
        (
            {"methods": [{"name": "feldman_cousins", "label": "feldman_cousins", "options": {"monotone_in_b": True}}]},
            "options of feldman_cousins is {'monotone_in_b': True} there and {} in",
        ),
        (
            {"methods": [{"name": "garwood", "label": "classical"}]},
            "name of classical is 'garwood' there and 'classical'",
        ),
    ],
)
def test_other_toys_and_options_are_refused_with_both_values_and_change_nothing(small_study, tmp_path, study, told):
    before = api.run(small_study(n_toys=2000), tmp_path / "ours")
    api.run(small_study(**{"n_toys": 2000} | study), tmp_path / "theirs")
    with pytest.raises(StoreError, match=told):
        api.merge(tmp_path / "ours", "small", [tmp_path / "theirs"])
    assert open_cube(tmp_path / "ours", "small").attrs["snapshot"] == before.attrs["snapshot"]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (("classical", "fingerprint"), "the code of classical is 1234 there and [0-9a-f]{16} in"),
        (("classical", "tables"), "the table of classical at 0.9 is beef there and cafe in"),
    ],
)
def test_other_code_and_tables_are_refused_with_both_fingerprints(blocks, tmp_path, path, told):
    table = {"0.9": {"digest": "cafe", "error": 0.0}}
    ours = changed(blocks[0], methods=with_(("classical", "tables"), table))
    value = {"0.9": {"digest": "beef", "error": 0.0}} if path[1] == "tables" else "classical:1234:{}:"
    theirs = changed(changed(blocks[1], methods=with_(("classical", "tables"), table)), methods=with_(path, value))
    merge_cubes(tmp_path, "tiny", [Source("ours", ours)], never)
    snapshot = open_cube(tmp_path, "tiny").attrs["snapshot"]
    with pytest.raises(StoreError, match=told):
        merge_cubes(tmp_path, "tiny", [Source("theirs", theirs)], never)
    assert open_cube(tmp_path, "tiny").attrs["snapshot"] == snapshot


def test_a_block_of_other_limits_is_refused_by_column_cell_and_number(blocks, tmp_path):
    held = np.ones((2, 2, 2, 2, 5), bool)
    ours, theirs = summed(blocks, held), summed(blocks, held)
    theirs["limit_digest"].values[1, 0, 1, 1, 3] += np.uint64(1)
    merge_cubes(tmp_path, "tiny", [Source("ours", ours)], never)
    told = r"theirs: feldman_cousins at 0\.9, b = 3, s_true = 2\.5: block 3 has other limits there \(digest"
    with pytest.raises(StoreError, match=told):
        merge_cubes(tmp_path, "tiny", [Source("theirs", theirs)], never)
    # of two that are merged into a third, too
    with pytest.raises(StoreError, match="than in ours"):
        merge_cubes(tmp_path / "new", "tiny", [Source("ours", ours), Source("theirs", theirs)], never)
    assert not (tmp_path / "new" / "tiny").exists()


def test_other_exact_values_are_refused_by_column_and_cell(blocks, tmp_path):
    theirs = blocks[1].copy(deep=True)
    theirs["exact_coverage"].values[0, 1, 0, 1] -= 1e-3
    with pytest.raises(StoreError, match=r"theirs: classical at 0\.95, b = 0, s_true = 2\.5: exact_coverage is 0\.9"):
        merge_cubes(tmp_path, "tiny", [Source("ours", blocks[0]), Source("theirs", theirs)], never)


def test_exact_values_are_taken_where_they_are_missing(blocks, tmp_path):
    empty = blocks[0].copy(deep=True)
    for name in empty.data_vars:
        if str(name).startswith(("exact", "worst")):
            empty[name].values[...] = 0 if name == "exact_status" else np.nan
    merge_cubes(tmp_path, "tiny", [Source("empty", empty)], never)
    merge_cubes(tmp_path, "tiny", [Source("full", blocks[0])], never)
    assert_equal(open_cube(tmp_path, "tiny"), blocks[0])


def test_other_libraries_are_trusted_by_common_blocks_or_by_one_that_is_computed_again(blocks, tmp_path):
    other = changed(blocks[1], environment=with_(("numpy",), "0.0"))
    api.export_cube(blocks[0], tmp_path / "ours.zarr")
    api.export_cube(other, tmp_path / "theirs.zarr")
    api.import_cube(tmp_path / "ours.zarr", tmp_path / "store")
    with pytest.raises(AssertionError, match="nothing was to be proven of"):
        merge_cubes(tmp_path / "store", "tiny", [Source("theirs", other)], never)
    api.merge(tmp_path / "store", "tiny", [tmp_path / "theirs.zarr"])
    two = np.zeros((2, 2, 2, 2, 5), bool)
    two[..., :2] = True
    assert_equal(open_cube(tmp_path / "store", "tiny"), summed(blocks, two))
    assert json.loads(open_cube(tmp_path / "store", "tiny").attrs["environment"])["numpy"] == np.__version__
    # a common block of each column tells it without computing
    merge_cubes(tmp_path / "common", "tiny", [Source("ours", blocks[0])], never)
    both = changed(summed(blocks, two), environment=with_(("numpy",), "0.0"))
    merge_cubes(tmp_path / "common", "tiny", [Source("theirs", both)], never)
    assert_equal(open_cube(tmp_path / "common", "tiny"), summed(blocks, two))


def test_other_libraries_that_give_other_limits_are_refused_with_what_differs(blocks, tmp_path):
    merge_cubes(tmp_path / "store", "tiny", [Source("ours", blocks[0])], never)
    spoilt = changed(blocks[1], environment=with_(("numpy",), "0.0"), engine=lambda _: "older")
    digests = spoilt["limit_digest"].values.copy()
    digests[0] += np.uint64(1) * (spoilt["block_status"].values[0] == 1)
    spoilt["limit_digest"] = spoilt["limit_digest"].dims, digests
    path = api.export_cube(spoilt, tmp_path / "theirs.zarr")
    before = open_cube(tmp_path / "store", "tiny").attrs["snapshot"]
    with pytest.raises(StoreError, match=r"engine is older there and .*numpy is 0\.0 there") as refused:
        api.merge(tmp_path / "store", "tiny", [path])
    assert "A block of classical at 0.9, classical at 0.95, computed again here, has other limits" in str(refused.value)
    assert open_cube(tmp_path / "store", "tiny").attrs["snapshot"] == before


def test_sources_are_exports_stores_and_studies_of_stores(small_study, tmp_path, monkeypatch):
    api.run(small_study(name="other"), tmp_path / "store", part=(1, 2))
    api.run(small_study(), tmp_path / "small-one", part=(2, 2))
    monkeypatch.chdir(tmp_path / "store")
    api.merge("../new", "small", ["other", "../small-one"])
    assert_equal(open_cube("../new", "small"), api.run(small_study(), tmp_path / "whole"))
    with pytest.raises(
        StoreError, match=r"\.\./nowhere: no export, no store with a study small, and no study of a store"
    ):
        api.merge("../new", "small", ["../nowhere"])


def test_a_merge_waits_for_no_driver_and_says_who_it_is(blocks, tmp_path):
    with (
        open_ledger(tmp_path, study_of(TINY)),
        pytest.raises(StoreError, match=rf"another driver has this study: pid {os.getpid()}"),
    ):
        merge_cubes(tmp_path, "tiny", [Source("theirs", blocks[0])], never)


def test_what_a_study_no_longer_names_stays_stored_bit_for_bit(small_study, tmp_path):
    before = api.run(small_study(), tmp_path).load()
    less = small_study(methods=["bayes_flat", "garwood"], cl=[0.95], s_true=[1], b=[3, 4], n_toys=7000)
    kept = api.run(less, tmp_path)
    at = {name: before[name].values for name in ("limit_method", "cl", "b", "s_true")}
    old = {"limit_method": "classical"}
    assert_equal(kept.sel(at).isel(block=slice(5)).sel(old), before.sel(old))
    untouched = {"s_true": [0, 2.5, 6]}
    assert_equal(kept.sel(at).isel(block=slice(5)).sel(untouched), before.sel(untouched))
    assert api.maps_of(kept)["limit_method"].values.tolist() == ["bayes_flat", "garwood"]


def test_a_damaged_source_is_named_and_nothing_is_merged(small_study, tmp_path):
    before = api.run(small_study(), tmp_path / "ours", part=(1, 2)).attrs["snapshot"]
    api.run(small_study(), tmp_path / "theirs", part=(2, 2))
    for chunk in (tmp_path / "theirs" / "small" / "chunks").iterdir():
        chunk.unlink()
    with pytest.raises(StoreError, match="theirs: cannot be read, it is damaged: "):
        api.merge(tmp_path / "ours", "small", [tmp_path / "theirs"])
    assert open_cube(tmp_path / "ours", "small").attrs["snapshot"] == before


@pytest.mark.system
def test_stores_in_a_bucket_take_and_give_exports_and_parts(small_study, tmp_path, monkeypatch):
    from object_store import BUCKET, served

    study, url = small_study(), f"s3://{BUCKET}/store"
    with served() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        for part in (1, 2, 3):
            api.run(study, tmp_path / str(part), part=(part, 3))
        whole = api.run(study, tmp_path / "whole").load()
        path = api.export_cube(open_cube(tmp_path / "1", "small"), tmp_path / "1.zarr")
        api.import_cube(path, url)
        with pytest.raises(StoreError, match="small: is stored already"):
            api.import_cube(path, url)
        api.merge(url, "small", [tmp_path / "2"])
        api.merge(tmp_path / "3", "small", [f"{url}/small"])
        api.merge(url, "small", [tmp_path / "3"])
        for store in (url, tmp_path / "3"):
            assert_equal(open_cube(store, "small").load(), whole)
        assert api.remainder(study, url).nothing
        back = api.export_cube(open_cube(url, "small"), tmp_path / "back.nc")
        api.import_cube(back, url, "copy")
        assert_equal(open_cube(url, "copy").load(), whole)


MERGER = """
import sys
from covsvc import api
print("begins", flush=True)
api.merge(sys.argv[1], "small", sys.argv[2:])
print("done", flush=True)
"""


@pytest.mark.system
def test_kill_9_of_a_merge_leaves_the_store_as_it_was_or_whole(small_study, tmp_path):
    study = small_study(s_true=[0.5 * step for step in range(24)])
    parts = [api.run(study, tmp_path / str(part), part=(part, 3), task_toys=1e4) for part in (1, 2, 3)]
    before, whole = parts[0].load(), api.run(study, tmp_path / "whole")
    command = [sys.executable, "-c", MERGER, *(str(tmp_path / str(part)) for part in (1, 2, 3))]
    rng, ends = np.random.default_rng(3), []
    for _ in range(5):
        merger = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        try:
            assert merger.stdout is not None
            assert merger.stdout.readline() == "begins\n"
            time.sleep(rng.uniform(0.1, 2.0))
        finally:
            os.killpg(merger.pid, signal.SIGKILL)
            merger.wait()
            merger.stdout.close()
        left = open_cube(tmp_path / "1", "small")
        ends.append(left.attrs["snapshot"] == before.attrs["snapshot"])
        assert_equal(left, before if ends[-1] else whole)
    assert any(ends), "the merge was over before it could be killed"
    api.merge(tmp_path / "1", "small", [tmp_path / "2", tmp_path / "3"])
    assert_equal(open_cube(tmp_path / "1", "small"), whole)


def test_a_damaged_study_is_told_of_and_nothing_is_written_over_it(blocks, tmp_path):
    other = api.export_cube(blocks[1], tmp_path / "other.zarr")
    api.import_cube(api.export_cube(blocks[0], tmp_path / "x.zarr"), tmp_path / "store")
    study = tmp_path / "store" / "tiny"
    newest = max((study / "snapshots").iterdir(), key=lambda each: each.stat().st_mtime_ns)
    whole = {each: each.read_bytes() for each in study.rglob("*") if each.is_file()}
    for lost in (newest, *(study / "manifests").iterdir()):
        lost.unlink()
        with pytest.raises(StoreError, match="cannot be read"):
            api.merge(tmp_path / "store", "tiny", [other])
        with pytest.raises(StoreError, match="cannot be read"):
            api.export_cube(open_cube(tmp_path / "store", "tiny"), tmp_path / "y.nc")
        assert not (tmp_path / "y.nc").exists()
        assert {each: each.read_bytes() for each in study.rglob("*") if each.is_file()} | {lost: whole[lost]} == whole
        lost.write_bytes(whole[lost])
    assert api.merge(tmp_path / "store", "tiny", [other]).committed
