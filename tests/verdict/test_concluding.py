"""The conclusion of a validation, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from two_sides import first, hits, side, with_status

from covsvc.contracts import Status
from covsvc.verdict import Evidence, Studied, compare, conclude, confirm, screen

SCHEMA = Path(__file__).parents[2] / "docs" / "validation.schema.json"
BASELINE = {
    "tag": "v1@20261122T130501Z",
    "name": "v1",
    "snapshot": "OLD",
    "accepted_at": "2026-11-22T13:05:01+00:00",
    "who": "somebody",
    "reason": "the first",
    "outcome": "passed",
}
WORK = {
    "columns": 1,
    "recomputed": 1,
    "skipped": 0,
    "toys": 0,
    "fresh_toys": 0,
    "seconds": 1.0,
    "paired": True,
    "unpaired_why": "",
}
N = 5000


def toys(covered=4500, promises="nothing", code="1"):
    return {"promises": promises, "code": code, "toys": lambda cl, b, s: hits(first(covered), s)}


def exact(coverage=0.95, promises="nothing", code="1", **values):
    told = {"coverage": coverage, "median_upper": 3.0, **values}
    return {"promises": promises, "code": code, "exact": lambda *_: told, "worst": lambda *_: (coverage, 1.0)}


def concluded(*pairs, evidence=None, paired=True, grid=None, same_toys=True, strict=False):
    """Conclude on studies given by their columns, now and before; `evidence` makes that of each hypothesis."""
    comparisons = [
        compare(
            f"study-{at}",
            side(new, **(grid or {})),
            None if old is None else side(old, **(grid or {})),
            same_toys=same_toys,
            at="candidate.0123456789",
            store="coverage",
        )
        for at, (new, old) in enumerate(pairs)
    ]
    tests = sum(each.tests for each in comparisons)
    selected = screen([each for comparison in comparisons for each in comparison.hypotheses], tests)
    seen = {each: evidence(each) for each in selected} if evidence else {}
    studies = [
        Studied(
            each,
            store="coverage",
            candidate="candidate.0123456789",
            snapshot="SNAPSHOT",
            base="BASE",
            baseline=None if old is None else BASELINE,
            same_toys=same_toys,
            work=WORK,
            speeds={("a", 0.9): 1e6},
        )
        for each, (_, old) in zip(comparisons, pairs, strict=True)
    ]
    confirmations = confirm(selected, seen, tests=tests, paired=paired)
    validation = conclude(
        studies,
        confirmations,
        strict=strict,
        covsvc="1.0",
        git_revision="",
        git_changed=None,
        written_at="2026-11-22T13:05:01+00:00",
    )
    jsonschema.validate(json.loads(json.dumps(validation.as_dict(), allow_nan=False)), json.loads(SCHEMA.read_text()))
    return validation


def findings(validation):
    return [each for study in validation.as_dict()["studies"] for each in study["findings"]]


def outcomes(validation):
    return {
        each["limit_method"]: each["outcome"] for study in validation.as_dict()["studies"] for each in study["columns"]
    }


def test_nothing_changed():
    columns = {"a": exact(promises="at_least"), "b": toys()}
    validation = concluded((columns, columns))
    assert (validation.outcome, validation.sentence) == (
        "passed",
        "Passed: all 2 columns give the limits of the baseline.",
    )
    assert validation.advice == "Nothing has to be done: limits are those of the baseline."
    assert outcomes(validation) == {"a": "passed", "b": "passed"}


def test_without_a_baseline_promises_alone_count():
    validation = concluded(({"a": exact(promises="at_least"), "b": toys(1000)}, None))
    assert validation.sentence == (
        "Passed: there is no baseline yet. Columns that keep what they promise: 1; that promise nothing: 1."
    )
    assert outcomes(validation) == {"a": "passed", "b": "reported"}
    assert "makes it the baseline" in validation.advice


def test_a_failure_of_one_study_fails_all():
    good, bad = {"a": exact(promises="at_least")}, {"b": exact(0.85, "at_least")}
    validation = concluded((good, None), (bad, None))
    assert validation.outcome == "failed"
    assert validation.sentence == "Failed: coverage is below what is promised. Concerned: b at 0.9."
    assert validation.advice.startswith("Do not merge or accept this change.")
    assert [each["outcome"] for each in validation.as_dict()["studies"]] == ["passed", "failed"]


def fresh(share, n=50_000):
    return lambda hypothesis: Evidence(n * len(hypothesis.cells), int(share * n) * len(hypothesis.cells))


def test_a_promise_that_fresh_toys_keep_is_cleared():
    columns = {"a": toys(4400, "at_least")}
    validation = concluded((columns, None), evidence=fresh(0.9))
    told = validation.as_dict()
    assert (told["outcome"], told["tests"], told["screened"], told["studies"][0]["findings"]) == ("passed", 1, 1, [])


def test_a_promise_that_fresh_toys_break_fails_with_cell_numbers_and_command():
    columns = {"a": toys(4400, "at_least")}
    (each,) = findings(concluded((columns, None), evidence=fresh(0.88)))
    assert (each["severity"], each["kind"], each["limit_method"], each["cl"], each["b"], each["s_true"]) == (
        "failure",
        "promise",
        "a",
        0.9,
        0.0,
        1.0,
    )
    assert each["sentence"].startswith(
        "coverage of 50,000 fresh toys 0.88000 at s_true = 1, b = 0, below the promised 0.9 by 0.02, which is not by chance (p"
    )
    assert (each["numbers"]["n_toys"], each["numbers"]["counted"]) == (50_000, 44_000)
    assert each["replay"] == (
        "covsvc replay study-0 --s-true 1 --b 0 --limit-method a --cl 0.9 --missed --store coverage --at candidate.0123456789"
    )


def test_that_a_column_covers_less_is_not_said_if_it_does_not_cover():
    new, old = {"a": exact(0.85, "at_least", "2")}, {"a": exact(0.95, "at_least")}
    assert [(each["severity"], each["kind"]) for each in findings(concluded((new, old)))] == [("failure", "promise")]


def test_what_is_undecided_says_how_many_toys_decide():
    columns = {"a": toys(4400, "at_least")}
    validation = concluded((columns, None), evidence=fresh(0.898, 5000))
    assert (validation.outcome, outcomes(validation)) == ("undecided", {"a": "undecided"})
    (each,) = findings(validation)
    # (z(0.99) + z(0.8))^2 0.09 / 0.005^2 fresh toys, of which there are ten for each toy of the study
    assert each["sentence"].endswith("too close to the promised 0.9 to tell; about 36,130 toys would decide it")
    assert (
        validation.advice
        == "Do not accept yet. More toys decide it: set n_toys of the study to 3,613 or more, and validate again."
    )


def test_fresh_toys_that_could_not_be_drawn_leave_it_undecided():
    columns = {"a": toys(4400, "at_least")}
    validation = concluded((columns, None))
    assert (validation.outcome, validation.advice) == ("undecided", "Do not accept yet. The findings say what is open.")
    assert findings(validation)[0]["sentence"].endswith("there are no fresh toys to tell")


def test_many_cells_make_one_finding_that_names_the_worst():
    new, old = {"a": toys(4300, code="2")}, {"a": toys(4500)}
    grid = {"s_true": (1.0, 2.0, 3.0)}

    def evidence(hypothesis):
        lost = 1000 if hypothesis.s_true != 2.0 else 3000
        n = 50_000 * len(hypothesis.cells)
        return Evidence(n, n - lost, 0, lost)

    validation = concluded((new, old), evidence=evidence, grid=grid)
    (each,) = [each for each in findings(validation) if each["severity"] == "failure"]
    assert (each["kind"], each["s_true"], each["numbers"]["cells"]) == ("coverage fell", 2.0, 3)
    assert "3,000 toys lost it and 0 gained it" in each["sentence"]
    assert each["sentence"].endswith("and in 2 other cells")


def test_a_fall_that_only_all_cells_together_show_names_no_cell():
    grid = {"s_true": tuple(float(s) for s in range(1, 31))}
    now = first(4500)
    now[:60], now[4500:4540] = False, True
    new = {"a": {"promises": "nothing", "code": "2", "toys": lambda cl, b, s: hits(now, s)}}

    def evidence(hypothesis):
        n = len(hypothesis.cells)
        return Evidence(N * n, 4480 * n, 40 * n, 60 * n)

    (each,) = [
        each
        for each in findings(concluded((new, {"a": toys()}), evidence=evidence, grid=grid))
        if each["severity"] == "failure"
    ]
    assert (each["b"], each["s_true"]) == (None, None)
    assert "over 30 cells together" in each["sentence"]
    assert each["replay"].startswith("covsvc replay study-0 --s-true")


@pytest.mark.parametrize(
    ("kind", "status", "outcome"), [("failed", 3, "failed"), ("empty", 1, "passed"), ("unbounded", 2, "passed")]
)
def test_more_failed_limits_fail_and_other_rates_warn(kind, status, outcome):
    plain = hits(first(4000))
    worse = with_status(plain, np.arange(N) >= N - 200, Status(status))
    new = {"a": {"promises": "nothing", "code": "2", "toys": lambda *_: worse}}
    old = {"a": {"promises": "nothing", "toys": lambda *_: plain}}

    def evidence(hypothesis):
        return Evidence(50_000, 2000, 2000, 0) if hypothesis.kind == kind else Evidence(50_000, 45_000, 0, 0)

    validation = concluded((new, old), evidence=evidence)
    assert validation.outcome == outcome
    assert (("failure" if outcome == "failed" else "warning"), kind) in {
        (each["severity"], each["kind"]) for each in findings(validation)
    }


def test_warnings_pass_and_are_to_be_looked_at():
    new, old = {"a": exact(median_upper=3.3, code="2")}, {"a": exact()}
    validation = concluded((new, old))
    assert validation.outcome == "passed"
    assert validation.sentence == (
        "Passed: 0 of 1 columns give the limits of the baseline; no failure was found in the others. To be looked at: a at 0.9."
    )
    assert "look at the warnings before accepting" in validation.advice


def test_a_fall_that_is_certainly_smaller_than_the_margin_is_a_warning():
    new, old = {"a": toys(4300, code="2")}, {"a": toys(4500)}
    # 0.002 of a million toys, of which 4000 changed: 3 to 1
    validation = concluded((new, old), evidence=lambda _: Evidence(1_000_000, 898_000, 1000, 3000))
    assert validation.outcome == "passed"
    assert ("warning", "coverage fell") in {(each["severity"], each["kind"]) for each in findings(validation)}
    validation = concluded((new, old), evidence=lambda _: Evidence(1_000_000, 894_000, 1000, 7000))
    assert validation.outcome == "failed"


def test_warnings_fail_where_that_is_asked_for():
    new, old = {"a": exact(median_upper=3.3, code="2")}, {"a": exact()}
    validation = concluded((new, old), strict=True)
    assert validation.outcome == "failed"
    assert {each["severity"] for each in findings(validation)} == {"failure"}
    assert concluded((old, old), strict=True).outcome == "passed"


def test_without_the_code_of_a_poor_baseline_its_code_is_asked_for():
    new, old = {"a": toys(4300, code="2")}, {"a": toys(4500)}
    validation = concluded((new, old), evidence=fresh(0.899), paired=False)
    assert validation.outcome == "undecided"
    assert "since the baseline has too few" in findings(validation)[0]["sentence"]
    assert "--baseline-code" in validation.advice


def test_what_concerns_the_whole_study_names_no_column():
    columns = {"a": exact()}
    validation = concluded((columns, columns), same_toys=False)
    (each,) = findings(validation)
    assert (each["severity"], each["kind"], each["limit_method"], each["cl"]) == ("warning", "toys", None, None)
    assert validation.sentence.endswith("To be looked at: the study.")


def test_a_validation_is_json():
    new = {"a": exact(code="2", median_upper=np.inf), "new": toys()}
    validation = concluded((new, {"a": exact(), "gone": toys()}))
    (study,) = validation.as_dict()["studies"]
    assert {each["limit_method"]: each["outcome"] for each in study["columns"]} == {
        "a": "passed",
        "new": "reported",
        "gone": "reported",
    }
    assert [each["toys_per_second"] for each in study["columns"]] == [1e6, None, None]
    rose = next(each for each in study["findings"] if each["kind"] == "median rose")
    assert rose["numbers"]["median"] is None
    order = ["failure", "undecided", "warning", "note"]
    severities = [order.index(each["severity"]) for each in study["findings"]]
    assert severities == sorted(severities)
