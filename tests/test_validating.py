"""Validation of changes of limit methods, from the store to the verdict."""

from __future__ import annotations

import json
import sys

import pytest
from distribution import install

from covsvc import api, registry
from covsvc.errors import StoreError, StudyError
from covsvc.store.place import place_of
from covsvc.store.repository import open_ledger
from covsvc.study import study_of

SOURCE = '''
from dataclasses import dataclass
import numpy as np
from covsvc.contracts import Counts, Limits, Status, one_sided

@dataclass(frozen=True)
class Shifted:
    """Set the limit n + width, and none where there is too little."""
    reads = (Counts,)
    sided = "upper"
    promises = "nothing"
    width: float = 3.0
    fails: float = 0.0
    def limits(self, observed, cl):
        upper = observed.n + self.width
        status = np.where(observed.n < self.fails, Status.FAILED, Status.OK).astype(np.int8)
        upper = np.where(status == Status.FAILED, np.nan, upper)
        return Limits(np.where(status == Status.FAILED, np.nan, 0.0), upper, status)

@dataclass(frozen=True)
class Promising(Shifted):
    """Promise to cover."""
    promises = "at_least"

@dataclass(frozen=True)
class Drawn:
    """Counts whose sample space is not told."""
    gives = (Counts,)
    def toys(self, s_true, b, size, rng):
        return (Counts(rng.poisson(s_true + b, size), b),)
    def observe(self, data):
        return (Counts(data["n"], data["b"]),)
'''

ENTRY_POINTS = """
[covsvc.methods]
shifted = shifting:Shifted
promising = shifting:Promising

[covsvc.experiments]
drawn = shifting:Drawn
"""


@pytest.fixture(autouse=True)
def shifting(tmp_path, monkeypatch):
    """Install methods that can be changed; return what writes their source anew."""
    folder = tmp_path / "site"
    install(folder, "shifting", ENTRY_POINTS, shifting=SOURCE)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.chdir(tmp_path)

    def write(source):
        (folder / "shifting.py").write_text(source)
        refresh()

    def refresh():
        from covsvc import fingerprint

        registry.installed.cache_clear()
        fingerprint._imports_of.cache_clear()
        fingerprint._bare_source.cache_clear()
        sys.modules.pop("shifting", None)
        sys.path_importer_cache.clear()

    refresh()
    yield write
    refresh()


def study(*methods, experiment="drawn", **changes):
    """Return a study of 6 cells, of toys alone unless the experiment is `counting`."""
    told = {
        "name": "six",
        "experiment": experiment,
        "methods": list(methods),
        "cl": [0.9],
        "s_true": [1, 2.5, 6],
        "b": [0, 2],
        "toys_per_block": 500,
        "n_toys": 2000,
        "seed": 7,
        "keep": "toys",
        "isolate": False,
    }
    return study_of(told | changes)


def shifted(width, name="shifted", **options):
    return {"name": name, "options": {"width": width} | options, "label": "changing"}


def validated(*arguments, **options):
    """Return what a validation told, all of it and of its one study."""
    told = api.validate(*arguments, **options).validation.as_dict()
    json.dumps(told, allow_nan=False)
    return told, told["studies"][0]


def accepted(first, tag="v1", **options):
    """Make a study the baseline."""
    api.validate(first, **options)
    api.accept(first.name, tag=tag, reason="to begin with", despite=True)


def kinds(of_study, severity):
    return {each["kind"] for each in of_study["findings"] if each["severity"] == severity}


def test_without_a_baseline_promises_alone_are_held(capsys):
    whole, told = validated(study("classical", "cls", shifted(3.0)))
    assert whole["outcome"] == told["outcome"] == "passed"
    assert told["baseline"] is None
    assert {each["state"] for each in told["columns"]} == {"new"}
    assert told["work"]["recomputed"] == told["work"]["columns"] == 3
    assert api.open_cube(api.STORE, "six", told["candidate"]).attrs["snapshot"]
    with pytest.raises(StoreError, match="nothing is stored yet"):
        api.open_cube(api.STORE, "six")


def test_a_promise_that_toys_show_broken_fails_without_a_baseline():
    # n + 1/2 covers s = 6 if n >= 6: probability 1 - 0.4457 = 0.5543
    whole, told = validated(study("classical", shifted(0.5, "promising")))
    assert whole["outcome"] == "failed"
    assert kinds(told, "failure") == {"promise"}
    (found,) = (each for each in told["findings"] if each["severity"] == "failure")
    assert found["limit_method"] == "changing"
    assert "covsvc replay six" in found["replay"]
    assert told["candidate"] in found["replay"]


def test_nothing_changed_means_nothing_is_computed():
    accepted(study("classical", shifted(3.0)))
    whole, told = validated(study("classical", shifted(3.0)))
    assert whole["outcome"] == "passed"
    assert told["baseline"]["name"] == "v1"
    assert (told["work"]["recomputed"], told["work"]["toys"], told["work"]["fresh_toys"]) == (0, 0, 0)
    assert {each["state"] for each in told["columns"]} == {"unchanged"}


def test_a_method_that_lost_coverage_fails_and_the_baseline_stays():
    accepted(study("classical", shifted(3.0)))
    before = api.open_cube(api.STORE, "six").attrs["snapshot"]
    whole, told = validated(study("classical", shifted(2.5)))
    assert whole["outcome"] == "failed"
    assert "coverage fell" in kinds(told, "failure")
    assert told["work"]["paired"]
    assert told["work"]["skipped"] == 1
    assert told["work"]["fresh_toys"] > 0
    by_label = {each["limit_method"]: each for each in told["columns"]}
    assert by_label["classical"]["state"] == "unchanged"
    assert by_label["changing"]["toys_fell"] > 0 == by_label["changing"]["toys_rose"]
    assert api.open_cube(api.STORE, "six").attrs["snapshot"] == before


def test_weaker_limits_pass_with_a_warning():
    accepted(study(shifted(3.0)))
    whole, told = validated(study(shifted(3.4)))
    assert whole["outcome"] == "passed"
    assert "median rose" in kinds(told, "warning")


def test_limits_that_fail_now_fail_the_validation():
    accepted(study(shifted(4.0)))
    whole, told = validated(study(shifted(4.0, fails=1.0)))
    assert whole["outcome"] == "failed"
    assert "failed" in kinds(told, "failure")


def test_exact_columns_need_no_toys_to_be_judged():
    accepted(study(shifted(3.0), "cls", experiment="counting"))
    whole, told = validated(study(shifted(2.5), "cls", experiment="counting"))
    assert whole["outcome"] == "failed"
    assert kinds(told, "failure") == {"coverage fell"}
    assert told["work"]["fresh_toys"] == 0
    (column,) = (each for each in told["columns"] if each["limit_method"] == "changing")
    assert column["exact"]


@pytest.mark.parametrize("experiment", ["drawn", "counting"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("upper = observed.n + self.width\n", "limit = observed.n + self.width\n        upper = limit\n"),
        ("upper = observed.n + self.width\n", "upper = np.add(observed.n, self.width)\n"),
        ("        upper = observed", "        # as simple as can be\n        upper = observed"),
    ],
)
def test_a_refactoring_is_seen_as_one(shifting, experiment, old, new):
    accepted(study(shifted(3.0), experiment=experiment))
    assert SOURCE.count(old) == 1
    shifting(SOURCE.replace(old, new))
    whole, told = validated(study(shifted(3.0), experiment=experiment))
    assert whole["outcome"] == "passed"
    assert not told["findings"]
    assert {each["state"] for each in told["columns"]} == {"unchanged" if "#" in new else "identical"}


def test_code_that_changed_is_compared_on_the_toys_of_the_baseline_alone_where_the_old_code_is_not_at_hand(shifting):
    accepted(study(shifted(3.0)))
    shifting(SOURCE.replace("observed.n + self.width", "observed.n + self.width - 0.5"))
    whole, told = validated(study(shifted(3.0)))
    assert whole["outcome"] == "failed"
    assert not told["work"]["paired"]
    assert "changing" in told["work"]["unpaired_why"]


def test_everything_can_be_computed_again():
    accepted(study("classical", shifted(3.0)))
    _, told = validated(study("classical", shifted(3.0)), everything=True)
    assert told["work"]["recomputed"] == 2
    assert {each["state"] for each in told["columns"]} == {"unchanged"}


def test_other_toys_are_told_and_compared_without_pairs():
    accepted(study(shifted(3.0)))
    whole, told = validated(study(shifted(3.0), seed=8))
    assert not told["same_toys"]
    assert whole["outcome"] == "passed"
    assert "toys" in kinds(told, "note") | kinds(told, "warning")


def test_blocks_with_the_same_toys_fail(shifting):
    shifting(SOURCE.replace("rng.poisson(s_true + b, size)", "np.random.default_rng(1).poisson(s_true + b, size)"))
    whole, told = validated(study(shifted(3.0)))
    assert whole["outcome"] == "failed"
    assert kinds(told, "failure") == {"toys"}


@pytest.mark.parametrize("few", [{"s_true": [0], "b": [0]}, {"toys_per_block": 1, "n_toys": 40}])
def test_blocks_that_are_alike_by_chance_pass(few):
    whole, told = validated(study("classical", experiment="counting", **few))
    assert whole["outcome"] == "passed"
    assert not kinds(told, "failure")


def test_the_same_state_is_the_same_candidate_and_is_not_computed_twice():
    accepted(study(shifted(3.0)))
    first, second = (validated(study(shifted(2.5)))[1] for _ in range(2))
    assert first["candidate"] == second["candidate"]
    assert first["work"]["fresh_toys"] == second["work"]["fresh_toys"]
    assert first["findings"] == second["findings"]
    assert first["work"]["recomputed"] == second["work"]["recomputed"] == 1


def test_a_first_validation_that_was_killed_is_the_same_candidate():
    first = validated(study("classical"), store="untouched")[1]["candidate"]
    with open_ledger("killed", study("classical"), branch="candidate.0123456789"):
        pass  # a repository without a commit
    assert validated(study("classical"), store="killed")[1]["candidate"] == first


def test_studies_get_one_verdict():
    one, other = study("classical"), study(shifted(0.5, "promising"), name="seven")
    whole, _ = validated([one, other])
    assert [each["study"] for each in whole["studies"]] == ["six", "seven"]
    assert [each["outcome"] for each in whole["studies"]] == ["passed", "failed"]
    assert whole["outcome"] == "failed"
    with pytest.raises(StudyError, match="six: stands twice"):
        api.validate([one, one])
    with pytest.raises(StudyError, match="no study"):
        api.validate([])


def test_a_baseline_that_is_not_there_is_refused():
    with pytest.raises(StoreError, match="no such study"):
        api.validate(study("classical"), against="v9")
    accepted(study("classical"))
    with pytest.raises(StoreError, match="v9"):
        api.validate(study("classical"), against="v9")


def test_any_commit_can_be_compared_with():
    api.run(study(shifted(3.0)), api.STORE)
    api.set_tag("six", "thesis")
    found = api.validate(study(shifted(2.5)), against="thesis")
    page = api.write_validation(found)
    assert "thesis, never accepted" in page.read_text()
    told = found.validation.as_dict()["studies"][0]["baseline"]
    assert (told["name"], told["tag"], told["accepted_at"]) == ("thesis", None, None)


def test_what_is_accepted_was_made_from_the_study_that_is_given():
    first, second = study("classical"), study("classical", shifted(3.0))
    candidate = validated(first)[1]["candidate"]
    with pytest.raises(StoreError, match=f"no candidate was made from this text .*{candidate}"):
        api.accept(second, tag="v1", reason="of another")
    newer = validated(second)[1]["candidate"]
    (made,) = api.accept(first, tag="v1", reason="of the older one")
    assert made["candidate"] == candidate != newer


def test_only_one_validation_of_a_study_runs():
    with place_of(api.STORE).lock("six"), pytest.raises(StoreError, match="another driver"):
        api.validate(study("classical"))


@pytest.mark.parametrize("margin", [0.0, 0.5, float("nan")])
def test_a_margin_that_is_no_deficit_is_refused(margin):
    with pytest.raises(StudyError, match="margin"):
        api.validate(study("classical"), margin=margin)


def test_an_empty_interval_at_no_signal_and_no_background_is_compared():
    grid = {"s_true": [0, 3], "b": [0], "cl": [0.5, 0.9999]}
    accepted(study("classical", "garwood", experiment="counting", **grid))
    whole, told = validated(study("classical", "garwood", experiment="counting", **grid), everything=True)
    assert whole["outcome"] == "passed"
    assert {each["state"] for each in told["columns"]} == {"unchanged"}
