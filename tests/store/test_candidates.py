"""Candidates beside what is stored, their acceptance, and the baselines that come of it."""

from __future__ import annotations

import getpass
import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from object_store import BUCKET, served
from waiting import CODE, make_candidate, verdict

from covsvc import api
from covsvc.api.running import fill, trust
from covsvc.errors import StoreError, StudyError
from covsvc.store.candidates import baseline_of, baselines, candidates, start_candidate
from covsvc.store.history import resolve
from covsvc.store.place import place_of
from covsvc.store.repository import open_cube, open_existing, open_ledger

ONE, TWO = "0123456789", "0123abcdef"


@pytest.fixture
def tiny(small_study):
    """Return what makes a study of four cells."""

    def make(**changes):
        return small_study(
            **({"methods": ["classical"], "cl": [0.9], "s_true": [0, 1], "b": [0, 3], "n_toys": 1000} | changes)
        )

    return make


def repository_of(store, name="small"):
    return open_existing(place_of(store), name)


def read(store, at="main", name="small"):
    cube = open_cube(store, name, at).load()
    return {str(variable): np.asarray(cube[variable]) for variable in cube.variables}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert_array_equal(found[name], values, err_msg=name)


def tip_of(store, name="small"):
    return str(repository_of(store, name).lookup_branch("main"))


def accept(store, *what, tag="v1", reason="a good reason", **options):
    return api.accept(what or ("small",), store, tag=tag, reason=reason, **options)


def states(store, name="small"):
    return {each["candidate"]: each["state"] for each in api.baselines(name, store)[0]["candidates"]}


def test_a_candidate_is_computed_beside_main_which_stays_where_and_as_it_is(tiny, tmp_path):
    api.run(tiny(), tmp_path)
    base, before = tip_of(tmp_path), read(tmp_path)
    larger = tiny(n_toys=3000, methods=["classical", "zech"])
    with open_ledger(tmp_path, larger, replace=True, branch=f"candidate.{ONE}", base=base) as ledger:
        trust(ledger, larger, replace=True)
        ledger.discard(["classical"])
        fill(larger, ledger, tmp_path, nullcontext)
    api.run(larger, tmp_path / "fresh")
    assert_equal(read(tmp_path, f"candidate.{ONE}"), read(tmp_path / "fresh"))
    assert_equal(read(tmp_path), before)
    assert tip_of(tmp_path) == base
    assert {each["what"] for each in api.history("small", tmp_path)} == {"run"}
    commit = json.loads(open_cube(tmp_path, "small", f"candidate.{ONE}").attrs["commit"])
    assert (commit["what"], commit["candidate"], commit["base"]) == ("validate", f"candidate.{ONE}", base)
    assert commit["driver"]["toys"] == 4 * 3000


def test_what_was_computed_of_a_candidate_is_there_when_it_is_opened_again(tiny, tmp_path):
    study = tiny(n_toys=2000)
    for left in ((2, 1, 2), (0, 0, 0)):
        with open_ledger(tmp_path, study, replace=True, branch=f"candidate.{ONE}") as ledger:
            trust(ledger, study, replace=True)
            wanted = [ledger.missing(b)[0] for b in study.b]
            assert sum(each.sum() for each in wanted) == (8 if left[0] else 0)
            fill(study, ledger, tmp_path, nullcontext)
    assert candidates(repository_of(tmp_path))[0].state == "unvalidated"


def test_what_was_told_of_a_cube_is_not_told_of_the_candidate_that_starts_from_it(tiny, tmp_path):
    api.run(tiny(), tmp_path)
    make_candidate(tmp_path, tiny(), ONE)
    accept(tmp_path)
    assert json.loads(open_cube(tmp_path, "small").attrs["validation"])["studies"][1]["outcome"] == "passed"
    with open_ledger(tmp_path, tiny(), replace=True, branch=f"candidate.{TWO}") as ledger:
        assert (ledger.told("validation"), ledger.told("accepted")) == (None, None)
        trust(ledger, tiny(), replace=True)
        ledger.tell("validation", {"outcome": "undecided", "numbers": [1.5, None]})
    with open_ledger(tmp_path, tiny(), replace=True, branch=f"candidate.{TWO}") as ledger:
        told = ledger.told("validation")
        assert told == {"outcome": "undecided", "numbers": [1.5, None]}
        told["numbers"].append("changed by who was told")
        assert ledger.told("validation")["numbers"] == [1.5, None]
    assert [each.outcome for each in candidates(repository_of(tmp_path))] == ["undecided"]


def test_a_candidate_that_was_only_started_has_no_verdict(tiny, tmp_path):
    api.run(tiny(), tmp_path)
    make_candidate(tmp_path, tiny(), ONE)
    accept(tmp_path)
    repository = repository_of(tmp_path)
    assert start_candidate(repository, TWO, tip_of(tmp_path)) == start_candidate(repository, TWO) == f"candidate.{TWO}"
    found = candidates(repository)[0]
    assert (found.state, found.outcome, found.base, found.snapshot) == ("unvalidated", None, *[tip_of(tmp_path)] * 2)
    with pytest.raises(StoreError, match=f"candidate.{TWO} has no verdict yet, its validation was cut short"):
        accept(tmp_path, tag="v2")


def test_a_candidate_starts_only_from_where_main_is(tiny, tmp_path):
    api.run(tiny(), tmp_path)
    base = tip_of(tmp_path)
    make_candidate(tmp_path, tiny(), ONE, base=base)
    api.run(tiny(n_toys=2000), tmp_path)
    tip = tip_of(tmp_path)
    with pytest.raises(StoreError, match=f"main was at {base[:6]} and is at {tip[:6]} now; validate again"):
        make_candidate(tmp_path, tiny(), TWO, base=base)
    with pytest.raises(StoreError, match=f"candidate.{ONE}: was made from {base[:6]}, but main is at {tip[:6]}"):
        make_candidate(tmp_path, tiny(), ONE)
    assert states(tmp_path) == {f"candidate.{ONE}": "outdated"}


def test_accepting_makes_a_candidate_main_and_a_baseline_that_tells_who_why_and_what_came_out(tiny, tmp_path):
    api.run(tiny(), tmp_path)
    base = tip_of(tmp_path)
    branch = make_candidate(tmp_path, tiny(n_toys=2000), ONE)
    held, before = read(tmp_path, branch), datetime.now(UTC).replace(microsecond=0)
    made = accept(tmp_path, tag="v1.3", reason=" twice\nthe toys ")[0]
    when = datetime.fromisoformat(made["accepted_at"])
    assert before <= when <= datetime.now(UTC)
    assert made["tag"] == f"v1.3@{when:%Y%m%dT%H%M%SZ}"
    expected = {"study": "small", "name": "v1.3", "reason": "twice the toys", "candidate": branch, "outcome": "passed"}
    who = f"{getpass.getuser()}@{socket.gethostname()}"
    assert made.items() >= (expected | CODE | {"sentence": "It passed.", "who": who}).items()

    assert_equal(read(tmp_path), held)
    assert made["snapshot"] == tip_of(tmp_path) == api.tags("small", tmp_path)[made["tag"]]
    assert states(tmp_path) == {}
    commits = api.history("small", tmp_path)
    assert [commits[0]["what"], commits[1]["what"], commits[0]["tags"]] == ["accept", "validate", [made["tag"]]]
    assert base in [each["snapshot"] for each in commits]
    told = {name: value for name, value in made.items() if name not in ("study", "snapshot")}
    assert commits[0]["accepted"] == json.loads(open_cube(tmp_path, "small").attrs["accepted"]) == told
    assert commits[0]["all"]["toys"] == 4 * 2000


def test_a_baseline_keeps_its_verdict_and_what_is_stored_afterwards_has_none(tiny, tmp_path):
    make_candidate(tmp_path, tiny(), ONE)
    accept(tmp_path)
    held = read(tmp_path, "v1")
    api.run(tiny(), tmp_path)
    assert "validation" in open_cube(tmp_path, "small").attrs  # nothing was missing: it is the same
    api.run(tiny(n_toys=2000), tmp_path)
    assert not {"validation", "accepted"} & set(open_cube(tmp_path, "small").attrs)
    assert json.loads(open_cube(tmp_path, "small", "v1").attrs["validation"])["outcome"] == "failed"
    assert_equal(read(tmp_path, "v1"), held)


def test_a_study_that_was_never_run_is_validated_and_accepted(tiny, tmp_path):
    branch = make_candidate(tmp_path, tiny(), ONE)
    with pytest.raises(StoreError, match=r"nothing is stored yet; .*`covsvc baselines` lists what can be accepted"):
        open_cube(tmp_path, "small")
    assert {each.value for each in api.doctor(tmp_path) if each.name == "small"} == {"never accepted; 1 candidate"}
    held = read(tmp_path, branch)
    accept(tmp_path)
    assert_equal(read(tmp_path), held)
    assert (open_cube(tmp_path, "small")["n_toys"] == 1000).all()


def test_what_cannot_be_accepted_is_refused_and_nothing_changes(tiny, tmp_path):
    api.run(tiny(), tmp_path)
    with pytest.raises(StoreError, match="no candidate waits; `covsvc validate small` makes one"):
        accept(tmp_path)
    make_candidate(tmp_path, tiny(), ONE, None)
    with pytest.raises(StoreError, match=f"candidate.{ONE} has no verdict yet, its validation was cut short"):
        accept(tmp_path)
    base, made = tip_of(tmp_path), repository_of(tmp_path).lookup_branch(f"candidate.{ONE}")
    for outcome in ("failed", "undecided"):
        make_candidate(tmp_path, tiny(), TWO, outcome)
        with pytest.raises(
            StoreError, match=rf"candidate.{TWO} is {outcome}: It {outcome}\. Mend .* --despite, and say"
        ):
            accept(tmp_path)
    with pytest.raises(StoreError, match=r"no candidate 'candidate\.77'; candidates are: candidate\.0123456789, cand"):
        accept(tmp_path, "candidate.77")
    with pytest.raises(StoreError, match=r"'candidate\.0123' begins 2 candidates"):
        accept(tmp_path, "candidate.0123")
    with pytest.raises(StoreError, match="the reason is empty"):
        accept(tmp_path, reason=" \n")
    with pytest.raises(StudyError, match="small: is named twice"):
        accept(tmp_path, "small", f"candidate.{TWO}")
    with pytest.raises(StudyError, match="nothing to accept"):
        api.accept([], tmp_path, tag="v1", reason="x")
    with pytest.raises(StoreError, match="no such study in the store; stored are: small"):
        accept(tmp_path, "small", "other")
    assert tip_of(tmp_path) == base
    assert repository_of(tmp_path).lookup_branch(f"candidate.{ONE}") == made
    assert api.tags("small", tmp_path) == {}
    assert not (tmp_path / "other.lock").exists()
    assert accept(tmp_path, despite=True)[0]["outcome"] == "undecided"


@pytest.mark.parametrize("tag", ["", "a/b", "v1@20261122T130501Z", "main", "2026-11-22", "candidate.0123", "thesis"])
def test_names_that_mean_something_else_are_no_baselines(tiny, tmp_path, tag):
    make_candidate(tmp_path, tiny(), ONE)
    accept(tmp_path, tag="v0")
    make_candidate(tmp_path, tiny(), TWO)
    api.set_tag("small", "thesis", tmp_path)
    with pytest.raises(StoreError, match=re.escape(repr(tag))):
        accept(tmp_path, tag=tag)
    with pytest.raises(StoreError, match="'v0' is the name of a baseline; choose another tag"):
        api.set_tag("small", "v0", tmp_path)
    assert [each["name"] for each in api.baselines("small", tmp_path)[0]["baselines"]] == ["v0"]


def test_a_candidate_made_before_main_moved_on_is_refused_with_the_cure(tiny, tmp_path):
    api.run(tiny(), tmp_path)
    base = tip_of(tmp_path)
    make_candidate(tmp_path, tiny(), ONE)
    api.run(tiny(n_toys=2000), tmp_path)
    for what in ("small", f"candidate.{ONE}"):
        told = f"was made from {base[:6]}, but main is at {tip_of(tmp_path)[:6]} now, and what was stored since"
        with pytest.raises(StoreError, match=told):
            accept(tmp_path, what, despite=True)
    assert (open_cube(tmp_path, "small")["n_toys"] == 2000).all()
    make_candidate(tmp_path, tiny(), TWO)
    assert states(tmp_path) == {f"candidate.{TWO}": "waits", f"candidate.{ONE}": "outdated"}
    assert accept(tmp_path)[0]["candidate"] == f"candidate.{TWO}"
    assert (open_cube(tmp_path, "small")["n_toys"] == 2000).all()


def test_the_newest_candidate_is_meant_unless_one_is_named(tiny, tmp_path):
    api.run(tiny(), tmp_path)
    for identity in (TWO, ONE):
        make_candidate(tmp_path, tiny(), identity)
    assert accept(tmp_path, f"candidate.{TWO[:6]}", tag="one")[0]["candidate"] == f"candidate.{TWO}"
    for identity in (TWO, "9" * 10):
        make_candidate(tmp_path, tiny(n_toys=2000), identity)
    assert accept(tmp_path, tag="two")[0]["candidate"] == f"candidate.{'9' * 10}"


def test_of_several_studies_all_are_accepted_or_none(tiny, tmp_path):
    names = ("one", "two", "three")
    for name, outcome in zip(names, ("passed", "failed", None), strict=True):
        make_candidate(tmp_path, tiny(name=name), ONE.replace("0", name[1]), outcome)
    with pytest.raises(StoreError) as refused:
        accept(tmp_path, *names)
    assert [line.split(":")[0].rpartition("/")[2] for line in str(refused.value).splitlines()] == ["two", "three"]
    assert [each["baselines"] for each in api.baselines(names, tmp_path)] == [[], [], []]
    made = accept(tmp_path, tiny(name="two"), "one", despite=True)
    assert [(each["study"], each["outcome"]) for each in made] == [("two", "failed"), ("one", "passed")]
    assert len({each["tag"] for each in made}) == 1


def test_the_newest_baseline_is_the_one_that_was_accepted_last_whatever_the_clock_says(tiny, tmp_path):
    make_candidate(tmp_path, tiny(), ONE)
    first = accept(tmp_path, tag="ahead")[0]
    ahead = datetime.now(UTC).replace(microsecond=0) + timedelta(days=400)
    repository_of(tmp_path).create_tag(f"ahead@{ahead:%Y%m%dT%H%M%SZ}", first["snapshot"])
    make_candidate(tmp_path, tiny(n_toys=2000), TWO)
    second = accept(tmp_path, tag="behind")[0]
    assert datetime.fromisoformat(second["accepted_at"]) == ahead + timedelta(seconds=1)
    repository = repository_of(tmp_path)
    assert [each.name for each in baselines(repository)] == ["behind", "ahead", "ahead"]
    assert baseline_of(repository, None, "small").tag == second["tag"]
    assert baseline_of(repository, "ahead", "small").accepted_at == ahead.isoformat()


def test_a_baseline_is_found_by_its_name_its_tag_and_as_any_commit(tiny, tmp_path):
    api.run(tiny(), tmp_path)
    repository = repository_of(tmp_path)
    assert baseline_of(repository, None, "small") is None
    plain = baseline_of(repository, "main", "small")
    assert (plain.tag, plain.name, plain.snapshot, plain.outcome) == (None, "main", tip_of(tmp_path), None)
    assert plain.covsvc == api.history("small", tmp_path)[0]["covsvc"]

    made = []
    for identity, n_toys, tag in ((ONE, 1000, "v1"), (TWO, 2000, "v2"), ("a" * 10, 3000, "v1")):
        make_candidate(tmp_path, tiny(n_toys=n_toys), identity)
        made += accept(tmp_path, tag=tag)
    waiting = make_candidate(tmp_path, tiny(n_toys=4000), "b" * 10)
    repository = repository_of(tmp_path)
    expected = {None: made[2], "v1": made[2], "v2": made[1], made[0]["tag"]: made[0]}
    for against, baseline in expected.items():
        found = baseline_of(repository, against, "small")
        assert (found.tag, found.snapshot, found.who) == (baseline["tag"], baseline["snapshot"], baseline["who"])
        assert found.as_dict().items() <= baseline.items()
        if against is not None:
            assert resolve(repository, against, "small") == baseline["snapshot"]
            cube = open_cube(tmp_path, "small", against)
            assert (cube["n_toys"] == 1000 * (1 + made.index(baseline))).all()
    assert baseline_of(repository, made[1]["snapshot"], "small").tag == made[1]["tag"]
    for at in (waiting, "candidate.bbbb"):
        assert (open_cube(tmp_path, "small", at)["n_toys"] == 4000).all()
        assert baseline_of(repository, at, "small").snapshot == resolve(repository, waiting, "small")
    with pytest.raises(StoreError, match=r"no candidate 'candidate\.c'; candidates are: candidate\.bbbbbbbbbb"):
        open_cube(tmp_path, "small", "candidate.c")
    with pytest.raises(StoreError, match="no snapshot 'v3', no tag and no time"):
        baseline_of(repository, "v3", "small")
    assert [each.tag for each in baselines(repository)] == [each["tag"] for each in reversed(made)]


def test_the_same_acceptance_twice_changes_nothing(tiny, tmp_path):
    branch = make_candidate(tmp_path, tiny(), ONE)
    made = accept(tmp_path)
    for what in ("small", branch, branch[:14]):
        assert accept(tmp_path, what, reason="other words") == made
    assert len(api.history("small", tmp_path)) == len({each["snapshot"] for each in api.history("small", tmp_path)})
    assert api.tags("small", tmp_path) == {made[0]["tag"]: tip_of(tmp_path)}
    with pytest.raises(StoreError, match=f"no candidate waits; the newest baseline is {made[0]['tag']}"):
        accept(tmp_path, tag="v2")


def test_nothing_is_accepted_while_a_driver_works(tiny, tmp_path):
    branch = make_candidate(tmp_path, tiny(), ONE)
    with open_ledger(tmp_path, tiny(), replace=True, branch=branch):
        with pytest.raises(StoreError, match=f"another driver has this study: pid {os.getpid()} on"):
            accept(tmp_path)
        with pytest.raises(StoreError, match="another driver has this study"), open_ledger(tmp_path, tiny()):
            pass
    assert accept(tmp_path)[0]["candidate"] == branch


KILLED = """
import os, signal, sys
import icechunk
from covsvc import api
store, kind, name, when = sys.argv[1:]

def die(*arguments, **options):
    if when == "after":
        original(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)

original = getattr(getattr(icechunk, kind), name)
setattr(getattr(icechunk, kind), name, die)
api.accept(["one", "two"], store, tag="v1", reason="first words")
"""
"""Accepts two studies, and is killed at a step of the first."""

STEPS = (
    ("Session", "commit", "before", "waits"),
    ("Session", "commit", "after", "waits"),
    ("Repository", "reset_branch", "after", "half accepted"),
    ("Repository", "create_tag", "after", "half accepted"),
    ("Repository", "delete_branch", "after", None),
)


@pytest.fixture
def cut_short(tiny, tmp_path):
    """Return what makes two studies with candidates, and kills an acceptance of both after a step."""

    def kill(kind, name, when):
        for study in ("one", "two"):
            api.run(tiny(name=study), tmp_path)
            make_candidate(tmp_path, tiny(name=study, n_toys=2000), ONE.replace("0", study[1]))
        child = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), kind, name, when], timeout=120)
        assert child.returncode == -signal.SIGKILL
        return tmp_path

    return kill


@pytest.mark.system
@pytest.mark.parametrize(("kind", "name", "when", "state"), STEPS)
def test_killed_at_any_step_the_same_acceptance_ends_it(cut_short, kind, name, when, state):
    store = cut_short(kind, name, when)
    first = f"candidate.{ONE.replace('0', 'n')}"
    assert states(store, "one") == ({first: state} if state else {})
    assert states(store, "two") == {f"candidate.{ONE.replace('0', 'w')}": "waits"}
    # whole at any time: either all of the candidate or none of it
    assert (open_cube(store, "one")["n_toys"] == (1000 if state == "waits" else 2000)).all()
    doctor = {each.name: each.state for each in api.doctor(store)}
    assert (doctor["one"], doctor["two"]) == ("warn" if state == "half accepted" else "ok", "ok")

    made = accept(store, "one", "two", reason="second words")
    assert [each["reason"] for each in made] == ["second words" if state == "waits" else "first words", "second words"]
    for baseline in made:
        study = baseline["study"]
        assert (open_cube(store, study)["n_toys"] == 2000).all()
        assert api.tags(study, store) == {baseline["tag"]: tip_of(store, study)}
        assert states(store, study) == {}
        assert api.history(study, store)[0]["accepted"]["tag"] == baseline["tag"]
    assert accept(store, "one", "two") == made


@pytest.mark.system
@pytest.mark.parametrize("how", ["run", "gc", "merge", "validate"])
def test_whoever_works_on_the_study_next_ends_an_acceptance_that_was_cut_short(cut_short, tiny, tmp_path, how):
    store = cut_short("Repository", "reset_branch", "after")
    accepted, more = tip_of(store, "one"), tiny(name="one", n_toys=3000)
    if how == "run":
        api.run(more, store)
    elif how == "gc":
        assert api.gc("one", store, older_than=timedelta(0), dry_run=True)["dropped"] == []
        assert api.gc("one", store, older_than=timedelta(0))["dropped"] == []
    elif how == "merge":
        api.run(more, tmp_path / "other")
        api.merge(store, "one", [f"{tmp_path / 'other'}/one"])
    else:
        make_candidate(store, more, TWO)
    found = api.baselines("one", store)[0]
    assert [each["snapshot"] for each in found["baselines"]] == [accepted]
    assert [each["candidate"] for each in found["candidates"]] == [f"candidate.{TWO}"] * (how == "validate")
    assert (open_cube(store, "one", "v1")["n_toys"] == 2000).all()


def test_garbage_collection_drops_candidates_that_are_old_or_outdated_and_never_a_baseline(tiny, tmp_path):
    api.run(tiny(), tmp_path)
    make_candidate(tmp_path, tiny(), ONE)
    made = accept(tmp_path)[0]
    make_candidate(tmp_path, tiny(n_toys=2000), TWO)
    api.run(tiny(n_toys=3000), tmp_path, commit_seconds=0.0)
    current = make_candidate(tmp_path, tiny(n_toys=4000), "c" * 10)
    held = {at: read(tmp_path, at) for at in ("main", "v1", current)}

    for dry_run in (True, False):
        freed = api.gc("small", tmp_path, older_than=timedelta(days=1), dry_run=dry_run)
        assert freed["dropped"] == [f"candidate.{TWO}"]
        assert len(states(tmp_path)) == 1 + dry_run
    assert freed["bytes"] > 0
    for at, values in held.items():
        assert_equal(read(tmp_path, at), values)

    freed = api.gc("small", tmp_path, older_than=timedelta(0), keep=1)
    assert freed["dropped"] == [current]
    assert freed["expired"]
    for at in ("main", "v1"):
        assert_equal(read(tmp_path, at), held[at])
    assert baseline_of(repository_of(tmp_path), None, "small").reason == made["reason"]
    with pytest.raises(StoreError, match=r"no candidate 'candidate\.c'; candidates are: none"):
        open_cube(tmp_path, "small", "candidate.c")


def test_a_candidate_can_be_accepted_after_commits_before_it_have_expired(tiny, tmp_path):
    for n_toys in (1000, 2000, 3000):
        api.run(tiny(n_toys=n_toys), tmp_path, commit_seconds=0.0)
    branch = make_candidate(tmp_path, tiny(n_toys=4000), ONE)
    held = read(tmp_path, branch)
    repository, tip = repository_of(tmp_path), next(iter(repository_of(tmp_path).ancestry(branch="main")))
    repository.expire_snapshots(tip.written_at)
    assert len(api.history("small", tmp_path)) == 1
    assert_equal(read(tmp_path, branch), held)
    accept(tmp_path)
    assert api.gc("small", tmp_path)["bytes"] > 0
    assert_equal(read(tmp_path), held)


def test_what_is_exported_and_stored_elsewhere_was_not_accepted_there(tiny, tmp_path):
    make_candidate(tmp_path / "here", tiny(), ONE)
    accept(tmp_path / "here")
    cube = open_cube(tmp_path / "here", "small", "v1")
    for form in ("zarr", "nc"):
        path = api.export_cube(cube, tmp_path / f"small.{form}")
        store = tmp_path / f"from-{form}"
        api.import_cube(path, store)
        assert not {"validation", "accepted"} & set(open_cube(store, "small").attrs)
        assert api.baselines("small", store)[0]["baselines"] == []


@pytest.mark.system
def test_candidates_and_baselines_are_the_same_on_an_object_store(tiny, tmp_path, monkeypatch):
    with served() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        store = f"s3://{BUCKET}/cubes"
        for place in (store, tmp_path):
            for name in ("one", "two"):
                api.run(tiny(name=name), place)
                make_candidate(place, tiny(name=name, n_toys=2000), ONE.replace("0", name[1]))
            accept(place, "one", "candidate.w")
            make_candidate(place, tiny(name="one", n_toys=3000), TWO)
        for name in ("one", "two"):
            assert_equal(read(store, "v1", name), read(tmp_path, "v1", name))
            assert_equal(read(store, "main", name), read(tmp_path, "main", name))
        assert states(store, "one") == states(tmp_path, "one") == {f"candidate.{TWO}": "waits"}
        assert api.gc("one", store, older_than=timedelta(0), keep=1)["dropped"] == [f"candidate.{TWO}"]
        assert_equal(read(store, "v1", "one"), read(tmp_path, "v1", "one"))
        assert {each.state for each in api.doctor(store)} == {"ok"}


@pytest.mark.system
def test_of_two_acceptances_at_once_each_ends_or_says_who_is_before_it(tiny, tmp_path):
    for name in ("one", "two"):
        make_candidate(tmp_path, tiny(name=name), ONE.replace("0", name[1]))
    program = "import sys; from covsvc import api; api.accept(sys.argv[2:], sys.argv[1], tag='v1', reason='x')"
    orders = (("one", "two"), ("two", "one"), ("one", "two"))
    children = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), *order], stderr=subprocess.PIPE, text=True)
        for order in orders
    ]
    told = [child.communicate(timeout=120)[1] for child in children]
    assert any(child.returncode == 0 for child in children)
    for child, error in zip(children, told, strict=True):
        assert child.returncode == 0 or "another driver has this study: pid" in error
    for name in ("one", "two"):
        assert len(api.tags(name, tmp_path)) == 1
        assert [each["what"] for each in api.history(name, tmp_path)].count("accept") == 1


def test_a_verdict_that_holds_no_study_of_its_own_is_that_of_the_whole(tiny, tmp_path):
    with open_ledger(tmp_path, tiny(), replace=True, branch=f"candidate.{ONE}") as ledger:
        trust(ledger, tiny(), replace=True)
        ledger.tell("validation", verdict("small", "candidate.other"))
    assert candidates(repository_of(tmp_path))[0].outcome == "failed"
