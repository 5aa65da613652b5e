"""`covsvc accept` and `baselines`, and `history` and `gc` where there are some, as a user types them."""

from __future__ import annotations

import json

import pytest
from waiting import make_candidate

from covsvc import api
from covsvc.errors import StoreError

STUDY = """
name: {name}
experiment: counting
methods: [classical]
cl: [0.9]
s_true: [0, 1]
b: [0, 3]
n_toys: 1000
toys_per_block: 1000
seed: 1999
"""

SMALL = {"methods": ["classical"], "cl": [0.9], "s_true": [0, 1], "b": [0, 3], "n_toys": 1000}


@pytest.fixture
def store(tmp_path):
    return tmp_path / "coverage-cubes"


@pytest.fixture
def waiting(covsvc, small_study, store):
    """Store a study, and a candidate of it that waits; return its name."""
    api.run(small_study(**SMALL), store)
    return make_candidate(store, small_study(**SMALL), "0123456789")


def test_what_waits_is_listed_accepted_and_listed_again(covsvc, waiting, store):
    code, out, err = covsvc("baselines")
    heads, line = out.splitlines()
    assert (code, err) == (0, "")
    assert heads.split() == ["study", "candidate", "written", "(UTC)", "state", "verdict", "on", "it"]
    assert [line.split()[at] for at in (0, 1, 4, 5)] == ["small", waiting, "waits", "passed"]

    code, out, err = covsvc("accept", "small", "--tag", "v1", "--reason", "first light")
    tag = next(iter(api.tags("small", store)))
    assert (code, out, err) == (0, f"small: {tag} is the baseline, {waiting}, passed\n", "")
    code, out, _ = covsvc("baselines", "small")
    heads, line = out.splitlines()
    assert line.split()[:2] == ["small", tag]
    assert line.split()[-3:] == ["passed", "first", "light"]
    assert "candidate" not in out


def test_the_same_is_told_as_json(covsvc, waiting, store):
    told = json.loads(covsvc("baselines", "small", "--json")[1])
    assert told == api.baselines("small", store)
    assert told[0]["baselines"] == []
    candidate = told[0]["candidates"][0]
    assert (candidate["candidate"], candidate["state"], candidate["outcome"]) == (waiting, "waits", "passed")
    made = json.loads(covsvc("accept", waiting[:14], "--tag", "v1", "--reason", "x", "--json")[1])
    assert [made[0][name] for name in ("study", "name", "candidate")] == ["small", "v1", waiting]
    told = json.loads(covsvc("baselines", "--json")[1])
    assert ({"study": "small"} | told[0]["baselines"][0], told[0]["candidates"]) == (made[0], [])


def test_a_study_file_accepts_all_of_its_studies_or_none(covsvc, store, tmp_path):
    path = tmp_path / "both.yaml"
    path.write_text("---".join(STUDY.format(name=name) for name in ("one", "two")))
    one, two = api.load_studies(path)
    make_candidate(store, one, "1" * 10)
    make_candidate(store, two, "2" * 10, "failed")
    command = ("accept", path, "--tag", "v1", "--reason", "x")
    code, out, err = covsvc(*command)
    assert (code, out) == (2, "")
    assert f"two: candidate.{'2' * 10} is failed: It failed. Mend what is named there and validate again; or" in err
    assert [each["baselines"] for each in api.baselines(path, store)] == [[], []]
    code, out, _ = covsvc(*command, "--despite")
    assert code == 0
    assert [line.split(":")[0] for line in out.splitlines()] == ["one", "two"]
    assert out.splitlines()[1].endswith(f"is the baseline, candidate.{'2' * 10}, failed")
    assert covsvc(*command)[1] == out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("accept", "small", "--reason", "x"), "Missing option '--tag'"),
        (("accept", "small", "--tag", "v1"), "Missing option '--reason'"),
        (("accept", "--tag", "v1", "--reason", "x"), "Missing argument 'STUDY|CANDIDATE...'"),
        (("accept", "small", "--tag", "v1", "--reason", ""), "the reason is empty; say why"),
        (("accept", "small", "--tag", "main", "--reason", "x"), "'main': names the newest commit"),
        (("accept", "other", "--tag", "v1", "--reason", "x"), "no such study in the store; stored are: small"),
        (("accept", "other.yaml", "--tag", "v1", "--reason", "x"), "other.yaml: No such file or directory"),
        (("accept", "candidate.7", "--tag", "v1", "--reason", "x"), "no candidate 'candidate.7'; candidates are: cand"),
        (("accept", "small", "small", "--tag", "v1", "--reason", "x"), "small: is named twice"),
        (("baselines", "other"), "no such study in the store; stored are: small"),
        (("tag", "small", "candidate.7"), "'candidate.7': names a candidate; choose another tag"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(covsvc, waiting, store, arguments, told):
    before = api.baselines("small", store), api.history("small", store)
    code, out, err = covsvc(*arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert (api.baselines("small", store), api.history("small", store)) == before


def test_nothing_stored_and_nothing_accepted_is_said(covsvc, small_study, store):
    assert covsvc("baselines")[1:] == (
        "",
        "coverage-cubes: no studies stored yet; `covsvc run` or `validate` stores them\n",
    )
    assert json.loads(covsvc("baselines", "--json")[1]) == []
    api.run(small_study(**SMALL), store)
    code, out, err = covsvc("baselines")
    assert (code, out) == (0, "")
    assert err.startswith("small: never accepted; `covsvc validate` makes a candidate")


def test_history_tells_why_a_baseline_was_accepted(covsvc, waiting, store):
    covsvc("accept", "small", "--tag", "v1", "--reason", "first light")
    tag = next(iter(api.tags("small", store)))
    code, out, _ = covsvc("history", "small")
    who = api.baselines("small", store)[0]["baselines"][0]["who"]
    assert code == 0
    assert out.splitlines()[1].split()[3] == "accept"
    assert out.splitlines()[1].split()[-1] == tag
    assert out.splitlines()[-1] == f"{tag}: passed, accepted by {who}: first light"
    code, out, _ = covsvc("status", "small", "--at", "v1", "--json")
    assert (code, json.loads(out)[0]["toys"]) == (0, 4000)


def test_gc_says_which_candidates_it_drops(covsvc, waiting, small_study, store):
    api.run(small_study(**SMALL | {"n_toys": 2000}), store)
    for arguments, told in ((("--dry-run",), "would be forgotten"), ((), "forgotten")):
        code, out, _ = covsvc("gc", "small", *arguments)
        assert code == 0
        assert f" commits and 1 candidate {told}; " in out
    assert json.loads(covsvc("gc", "small", "--json")[1])[0]["dropped"] == []


def test_a_changed_method_is_refused_by_run_which_names_validate_as_a_cure(covsvc, small_study, store):
    for name in ("classical", "zech"):
        study = small_study(**SMALL | {"methods": [{"name": name, "label": "mine"}]})
        if name == "classical":
            api.run(study, store)
    with pytest.raises(
        StoreError, match=r"of mine differ .*; see with `covsvc validate` what the change does and keep"
    ):
        api.run(study, store)
    make_candidate(store, study, "0123456789")
    covsvc("accept", "small", "--tag", "v1", "--reason", "another method")
    api.run(study, store)
