"""`covsvc history`, `tag` and `gc`, and `--at`, as a user types them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from covsvc import api
from covsvc.store.repository import open_ledger

GIVEN = {"methods": ["classical"], "cl": [0.9]}


@pytest.fixture
def grown(covsvc, small_study, tmp_path):
    """Store 1000, then 2000 toys a cell; return the commits, newest first."""
    for n_toys in (1000, 2000):
        api.run(small_study(**GIVEN, n_toys=n_toys), tmp_path / "coverage-cubes")
    return api.history("small", tmp_path / "coverage-cubes")


def test_history_lists_the_commits_newest_first(covsvc, grown):
    code, out, _ = covsvc("history", "small")
    heads, *lines = out.splitlines()
    assert code == 0
    assert heads.split()[:4] == ["snapshot", "written", "(UTC)", "what"]
    assert [line.split()[0] for line in lines] == [each["short"] for each in grown]
    assert lines[0].split()[3:6] == ["run", "12,000", "24,000"]
    code, out, _ = covsvc("history", "small", "--json")
    told = json.loads(out)
    assert (code, told["study"], told["commits"]) == (0, "small", grown)


def test_a_short_id_a_tag_and_a_time_are_what_report_and_status_take(covsvc, grown):
    old = grown[2]["short"]
    assert covsvc("tag", "small", "first", "--at", old)[:2] == (0, f"small: first is {grown[2]['snapshot']}\n")
    assert covsvc("tag", "small") == (0, f"{grown[2]['snapshot']}  first\n", "")
    for at, toys in (("main", 24_000), (old, 12_000), ("first", 12_000), (grown[0]["written_at"], 24_000)):
        code, out, _ = covsvc("status", "small", "--at", at, "--json")
        assert (code, json.loads(out)[0]["toys"]) == (0, toys)
    code, out, _ = covsvc("report", "small", "--at", "first", "--out", "old")
    assert code == 0
    assert grown[2]["snapshot"] in Path(out.splitlines()[-1]).read_text()
    code, out, err = covsvc("report", "small", "--at", "nix")
    assert (code, out) == (2, "")
    assert "no snapshot 'nix', no tag and no time; tags are: first; the newest snapshots: " in err


def test_a_tag_is_deleted_and_listed_as_json(covsvc, grown):
    covsvc("tag", "small", "one")
    assert json.loads(covsvc("tag", "small", "--json")[1]) == {"study": "small", "tags": {"one": grown[0]["snapshot"]}}
    assert covsvc("tag", "small", "one", "--delete") == (0, "small: one is deleted\n", "")
    code, out, err = covsvc("tag", "small")
    assert (code, out, err) == (0, "", "small: no tags; `covsvc tag small NAME` sets one\n")
    code, _, err = covsvc("tag", "small", "one")
    assert (code, "names are not used twice" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("tag", "small", "--delete"), "name the tag, too"),
        (("tag", "small", "x", "--delete", "--at", "y"), "--delete takes no --at"),
        (("tag", "small", "a/b"), "a tag is letters"),
        (("tag", "other", "x"), "no such study in the store; stored are: small"),
        (("history", "other"), "no such study in the store; stored are: small"),
        (("gc", "other"), "no such study in the store; stored are: small"),
        (("gc",), "Missing argument 'STUDY...'"),
        (("gc", "small", "--older-than", "soon"), "an age is a number and a unit, such as 30d, 12h or 2w"),
        (("gc", "small", "--keep", "0"), "0 is not in the range x>=1"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(covsvc, grown, tmp_path, arguments, told):
    code, out, err = covsvc(*arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert api.history("small", tmp_path / "coverage-cubes") == grown
    assert not (tmp_path / "coverage-cubes" / "other.lock").exists()


def test_gc_says_what_it_would_do_and_then_does_it(covsvc, grown, tmp_path):
    arguments = ("gc", "small", "--older-than", "0s", "--keep", "1")
    code, out, _ = covsvc(*arguments, "--dry-run")
    assert (code, out) == (0, "small: 3 of 4 commits would be forgotten; nothing refers to 0 files, 0 bytes already\n")
    assert api.history("small", tmp_path / "coverage-cubes") == grown
    code, out, _ = covsvc(*arguments)
    assert code == 0
    assert out.startswith("small: 3 of 4 commits forgotten; ")
    assert api.history("small", tmp_path / "coverage-cubes") == grown[:1]
    told = json.loads(covsvc(*arguments, "--json")[1])
    assert told == [
        {"study": "small", "dry_run": False, "expired": [], "kept": 1, "dropped": [], "files": 0, "bytes": 0}
    ]


def test_gc_leaves_young_commits_unless_told_otherwise(covsvc, grown):
    code, out, _ = covsvc("gc", "small", "--keep", "1")
    assert (code, out) == (0, "small: 0 of 4 commits forgotten; 0 files, 0 bytes deleted\n")


def test_gc_is_refused_while_a_driver_works(covsvc, grown, small_study, tmp_path):
    with open_ledger(tmp_path / "coverage-cubes", small_study(**GIVEN, n_toys=2000)):
        code, out, err = covsvc("gc", "small")
    assert (code, out) == (2, "")
    assert f"another driver has this study: pid {os.getpid()} on" in err
