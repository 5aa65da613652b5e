"""The history of a study: what commits tell, how they are named, and what stays when old ones are forgotten."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from object_store import BUCKET, served

from covsvc import api
from covsvc.errors import StoreError
from covsvc.store.growth import free
from covsvc.store.history import Commit, resolve, short_ids, time_of
from covsvc.store.place import place_of
from covsvc.store.repository import open_cube, open_existing, open_ledger
from covsvc.version import __version__

NOW = timedelta(0)


def grow(small_study, store, *n_toys):
    """Run a study of more and more toys, each row of b a commit."""
    for each in n_toys:
        api.run(small_study(n_toys=each), store, commit_seconds=0.0)


def read(store, at="main", name="small"):
    cube = open_cube(store, name, at)
    return {str(variable): np.asarray(cube[variable]) for variable in cube.variables}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert_array_equal(found[name], values, err_msg=name)


def test_each_commit_tells_who_did_what_with_what_and_at_what_cost(small_study, tmp_path):
    before = datetime.now(UTC) - timedelta(seconds=1)
    grow(small_study, tmp_path, 2000)
    newest, *_, first = api.history("small", tmp_path)
    assert (newest["what"], newest["covsvc"], newest["host"]) == ("run", __version__, socket.gethostname())
    assert (newest["pid"], newest["workers"]) == (os.getpid(), 1)
    assert newest["packages"]["numpy"] == np.__version__
    assert {"xarray", "zarr", "icechunk", "dask"} < set(newest["packages"])
    assert newest["engine"] == open_cube(tmp_path, "small").attrs["engine"]
    # a row of b is 4 cells of 2 blocks of 1000 toys, and 6 columns
    assert (newest["commit"]["toys"], newest["commit"]["blocks"]) == (4 * 2000, 4 * 2 * 6)
    assert (newest["all"]["toys"], newest["all"]["blocks"]) == (12 * 2000, 12 * 2 * 6)
    assert newest["commit"]["cpu_seconds"] > 0
    assert newest["all"]["wall_seconds"] > newest["commit"]["wall_seconds"] > 0
    assert first["commit"]["toys"] == 0
    assert (
        before
        < datetime.fromisoformat(newest["written_at"]) + timedelta(seconds=1)
        < datetime.now(UTC) + 2 * (datetime.now(UTC) - before)
    )


def test_all_is_the_sum_of_what_each_commit_spent_and_each_driver_begins_anew(small_study, tmp_path):
    grow(small_study, tmp_path, 1000, 3000)
    commits = api.history("small", tmp_path)
    for quantity in ("toys", "blocks", "cpu_seconds", "wall_seconds"):
        spent = sum(each["commit"][quantity] for each in commits)
        assert commits[0]["all"][quantity] == pytest.approx(spent, abs=1e-3 * len(commits))
    assert commits[0]["driver"]["toys"] == 12 * 2000
    assert commits[0]["all"]["toys"] == 12 * 3000
    rate = commits[0]["all"]["toys"] / commits[0]["all"]["wall_seconds"]
    assert commits[0]["all"]["toys_per_second"] == pytest.approx(rate, rel=1e-2)
    assert api.status(tmp_path, "small")["spent"] == commits[0]["all"]
    told = json.loads(api.maps_of(open_cube(tmp_path, "small")).attrs["provenance"])
    assert (told["toys"], told["cpu_seconds"]) == (12 * 3000, commits[0]["all"]["cpu_seconds"])


def test_a_commit_that_discards_columns_says_so(small_study, tmp_path):
    grow(small_study, tmp_path, 1000)
    api.run(small_study(seed=3, n_toys=1000), tmp_path, replace=True)
    assert [each["what"] for each in api.history("small", tmp_path)].count("replace") == 1
    other = {"name": "feldman_cousins", "label": "feldman_cousins", "options": {"monotone_in_b": True}}
    api.run(small_study(seed=3, n_toys=1000, methods=["classical", other]), tmp_path, replace=True)
    assert [each["what"] for each in api.history("small", tmp_path)].count("replace") == 2


def test_a_commit_is_found_by_tag_by_beginning_and_by_time(small_study, tmp_path):
    grow(small_study, tmp_path, 1000, 2000)
    commits = api.history("small", tmp_path)
    repository, where = open_existing(place_of(tmp_path), "small"), "small"
    newest, older = commits[0], commits[3]
    api.set_tag("small", "thesis", tmp_path, at=older["short"])
    for at, meant in (
        ("main", newest),
        (newest["snapshot"], newest),
        (older["short"], older),
        (older["short"].lower(), older),
        ("thesis", older),
        (newest["written_at"], newest),
        ("2999-01-01", newest),
        ("9999-12-31T23:59:59", newest),
        ("2999-01-01T12:00+05:00", newest),
    ):
        assert resolve(repository, at, where) == meant["snapshot"], at
        assert open_cube(tmp_path, "small", at).attrs["snapshot"] == meant["snapshot"]
    assert [each["tags"] for each in api.history("small", tmp_path)].count(["thesis"]) == 1
    assert (open_cube(tmp_path, "small", "thesis")["n_toys"] < 2000).any()


def test_a_time_means_the_last_commit_until_then_to_the_second(small_study, tmp_path):
    grow(small_study, tmp_path, 1000)
    first = api.history("small", tmp_path)[0]
    written = datetime.fromisoformat(first["written_at"])
    time.sleep(1.1)
    grow(small_study, tmp_path, 2000)
    repository = open_existing(place_of(tmp_path), "small")
    for at in (written, written.replace(tzinfo=None)):  # UTC unless it says otherwise
        assert resolve(repository, at.isoformat(), "small") == first["snapshot"]
    with pytest.raises(StoreError, match=r"no commit until 2020-01-01; the oldest is 20\d\d-"):
        resolve(repository, "2020-01-01", "small")
    assert time_of("20261121") is None
    assert time_of("main") is None


def test_what_names_no_commit_or_several_is_refused_with_what_there_is(small_study, tmp_path):
    grow(small_study, tmp_path, *range(1000, 13_000, 1000))
    commits = api.history("small", tmp_path)
    api.set_tag("small", "thesis", tmp_path)
    with pytest.raises(
        StoreError, match=f"no snapshot 'nix', no tag and no time; tags are: thesis; .*{commits[0]['short']}"
    ):
        open_cube(tmp_path, "small", "nix")
    repository = open_existing(place_of(tmp_path), "small")
    with pytest.raises(StoreError, match="no snapshot"):
        resolve(repository, commits[0]["snapshot"][:3], "small")  # too short to be meant
    with pytest.raises(StoreError, match="no snapshot ''"):
        resolve(repository, "", "small")


def test_short_ids_are_as_long_as_they_must_be_to_differ():
    made = [Commit(each, datetime.now(UTC)) for each in ("AAAAAAAAAA0000000000", "AAAAAAAAAB0000000000")]
    assert set(short_ids(made).values()) == {"AAAAAAAAAA", "AAAAAAAAAB"}
    assert short_ids(made[:1]) == {"AAAAAAAAAA0000000000": "AAAAAA"}


@pytest.mark.parametrize(
    ("tag", "told"),
    [
        ("", "a tag is letters, digits"),
        ("a/b", "a tag is letters, digits"),
        ("..", "a tag is letters, digits"),
        ("small@now", "those with '@' are set when a baseline is accepted"),
        ("x" * 101, "a tag is letters, digits"),
        ("main", "names the newest commit"),
        ("2026-11-21", "names a time"),
    ],
)
def test_names_that_are_none_for_a_tag_are_refused(small_study, tmp_path, tag, told):
    grow(small_study, tmp_path, 1000)
    with pytest.raises(StoreError, match=told):
        api.set_tag("small", tag, tmp_path)
    assert api.tags("small", tmp_path) == {}


def test_a_tag_does_not_hide_a_snapshot(small_study, tmp_path):
    grow(small_study, tmp_path, 1000)
    snapshot = api.history("small", tmp_path)[-1]["snapshot"]
    for tag in (snapshot, snapshot[:6].lower(), snapshot[:4]):
        with pytest.raises(StoreError, match=f"{tag!r}: names the snapshot {snapshot}; choose another tag"):
            api.set_tag("small", tag, tmp_path)
    api.set_tag("small", snapshot[:3], tmp_path)  # too short to name it


def test_a_tag_stays_where_it_is_and_its_name_is_not_used_twice(small_study, tmp_path):
    grow(small_study, tmp_path, 1000)
    held = api.set_tag("small", "thesis", tmp_path)
    grow(small_study, tmp_path, 2000)
    assert api.tags("small", tmp_path) == {"thesis": held}
    with pytest.raises(StoreError, match=f"'thesis' stands at {held[:6]} and does not move"):
        api.set_tag("small", "thesis", tmp_path)
    api.delete_tag("small", "thesis", tmp_path)
    with pytest.raises(StoreError, match="'thesis' was a tag that is deleted, and names are not used twice"):
        api.set_tag("small", "thesis", tmp_path)
    with pytest.raises(StoreError, match="no tag 'thesis'; tags are: none"):
        api.delete_tag("small", "thesis", tmp_path)


def test_while_a_driver_works_its_newest_commit_can_be_tagged_but_nothing_is_forgotten(small_study, tmp_path):
    grow(small_study, tmp_path, 1000)
    oldest = api.history("small", tmp_path)[-1]["snapshot"]
    with open_ledger(tmp_path, small_study(n_toys=1000)):
        api.set_tag("small", "newest", tmp_path)
        with pytest.raises(StoreError, match=f"another driver has this study: pid {os.getpid()} on"):
            api.gc("small", tmp_path, older_than=NOW, keep=1)
        with pytest.raises(StoreError, match="another driver has this study"):
            api.set_tag("small", "oldest", tmp_path, at=oldest)
    assert api.history("small", tmp_path)[-1]["snapshot"] == oldest


def test_garbage_collection_leaves_main_and_the_tags_as_they_were_bit_for_bit(small_study, tmp_path):
    grow(small_study, tmp_path, 1000, 2000, 3000)
    commits = api.history("small", tmp_path)
    api.set_tag("small", "early", tmp_path, at=commits[-3]["snapshot"])
    held = {at: read(tmp_path, at) for at in ("main", "early", commits[1]["snapshot"])}
    size = sum(each.stat().st_size for each in tmp_path.rglob("*") if each.is_file())

    rehearsed = api.gc("small", tmp_path, older_than=NOW, keep=2, dry_run=True)
    assert len(api.history("small", tmp_path)) == len(commits)
    freed = api.gc("small", tmp_path, older_than=NOW, keep=2)
    assert rehearsed["expired"] == freed["expired"]
    assert len(freed["expired"]) == len(commits) - 3

    for at, values in held.items():
        assert_equal(read(tmp_path, at), values)
    left = api.history("small", tmp_path)
    assert [each["snapshot"] for each in left] == [commits[at]["snapshot"] for at in (0, 1, -3)]
    assert left[0]["all"] == commits[0]["all"]
    now = sum(each.stat().st_size for each in tmp_path.rglob("*") if each.is_file())
    assert size - now == pytest.approx(freed["bytes"], rel=0.05)
    with pytest.raises(StoreError, match=r"no snapshot .* tags are: early"):
        open_cube(tmp_path, "small", commits[4]["snapshot"])

    again = api.gc("small", tmp_path, older_than=NOW, keep=2)
    assert (again["expired"], again["files"], again["bytes"]) == ([], 0, 0)
    grow(small_study, tmp_path, 4000)
    grow(small_study, tmp_path / "fresh", 4000)
    assert_equal(read(tmp_path), read(tmp_path / "fresh"))
    assert api.history("small", tmp_path)[0]["all"]["toys"] == 12 * 4000


def test_young_commits_and_the_newest_are_never_forgotten(small_study, tmp_path):
    grow(small_study, tmp_path, 1000, 2000)
    number = len(api.history("small", tmp_path))
    assert api.gc("small", tmp_path, keep=1)["expired"] == []
    assert api.gc("small", tmp_path, older_than=NOW, keep=number)["expired"] == []
    assert free(tmp_path, "small", -timedelta(days=1), 0).kept == 1  # a clock that is late, and nobody asks for none
    assert (open_cube(tmp_path, "small")["n_toys"] == 2000).all()


def test_an_age_beyond_the_calendar_forgets_nothing(small_study, tmp_path):
    grow(small_study, tmp_path, 1000)
    assert api.gc("small", tmp_path, older_than=timedelta.max, keep=1)["expired"] == []


def test_what_a_killed_driver_left_is_deleted_too(small_study, tmp_path):
    grow(small_study, tmp_path, 1000)
    with open_ledger(tmp_path, small_study(n_toys=2000)) as ledger:
        counts = ledger._array("limit_counts")
        counts[:] = np.random.default_rng(1).integers(0, 2**60, counts.shape)  # written, never committed
    assert api.gc("small", tmp_path)["bytes"] > 8 * counts.size
    grow(small_study, tmp_path, 2000)
    assert (open_cube(tmp_path, "small")["n_toys"] == 2000).all()


COLLECTOR = """
import sys
from datetime import timedelta
from covsvc import api
print("ready", flush=True)
sys.stdin.readline()
api.gc("small", sys.argv[1], older_than=timedelta(0), keep=1)
print("done", flush=True)
sys.stdin.readline()
"""


@pytest.mark.system
def test_kill_9_in_the_middle_of_a_garbage_collection_harms_nothing(small_study, tmp_path):
    store, rng = tmp_path / "store", np.random.default_rng(6)
    (tmp_path / "collector.py").write_text(COLLECTOR)
    n_toys, killed, longest = 0, 0, 60.0
    for attempt in range(4):
        n_toys += 2000
        grow(small_study, store, n_toys - 1000, n_toys)
        api.set_tag("small", f"t{attempt}", store)
        held = {at: read(store, at) for at in ("main", *api.tags("small", store))}
        with subprocess.Popen(
            [sys.executable, str(tmp_path / "collector.py"), str(store)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as collector:
            try:
                assert collector.stdout.readline() == "ready\n"
                collector.stdin.write("\n")
                collector.stdin.flush()
                begun = time.monotonic()
                if attempt == 0:  # it is let do its work, to know how long that takes
                    assert collector.stdout.readline() == "done\n"
                    longest = time.monotonic() - begun
                time.sleep(rng.uniform(0.0, longest))
            finally:
                os.killpg(collector.pid, signal.SIGKILL)
            killed += "done" not in collector.stdout.read()
        for at, values in held.items():
            assert_equal(read(store, at), values)
        read(store, api.history("small", store)[-1]["snapshot"])
    assert killed >= 1
    api.gc("small", store, older_than=NOW, keep=1)
    assert len(api.history("small", store)) == 4
    assert_equal(read(store), held["main"])


@pytest.mark.system
def test_history_tags_and_garbage_collection_are_the_same_on_an_object_store(small_study, tmp_path, monkeypatch):
    with served() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        store = f"s3://{BUCKET}/cubes"
        grow(small_study, store, 1000, 2000)
        grow(small_study, tmp_path, 1000, 2000)
        api.set_tag("small", "early", store, at=api.history("small", store)[-2]["short"])
        freed = api.gc("small", store, older_than=NOW, keep=1)
        assert len(freed["expired"]) == len(api.history("small", tmp_path)) - 2
        assert freed["bytes"] > 0
        assert_equal(read(store), read(tmp_path))
        assert [each["tags"] for each in api.history("small", store)] == [[], ["early"]]
        assert {each.state for each in api.doctor(store)} == {"ok"}
