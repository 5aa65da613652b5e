"""A validation on the terminal."""

from __future__ import annotations

import pytest
import validations

from covsvc.cli.validation import print_validation


@pytest.fixture
def printed(capsys):
    def run(told):
        print_validation(told)
        shown = capsys.readouterr()
        assert shown.err == ""
        return shown.out

    return run


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("unchanged", "PASSED. Nothing was found that speaks against the change."),
        ("improved", "PASSED, 3 warnings to look at. Nothing was found that speaks against the change."),
        ("undecided", "UNDECIDED. It is not decided yet whether max_gap at cl 0.9 keeps what it promises."),
    ],
)
def test_the_first_two_lines_tell_the_outcome_and_what_to_do(printed, name, first):
    told = validations.EVERY[name]()
    assert printed(told).splitlines()[:2] == [first, f"What to do: {told['advice']}"]


def test_what_did_not_change_is_counted_and_not_listed(printed):
    columns = [validations.column(f"method_{i}") for i in range(60)]
    said = printed(validations.validation(validations.study(columns=columns)))
    assert "counting-all  passed  against v1.2 of 2026-11-15  60 unchanged" in said
    assert "method_" not in said
    assert len(said.splitlines()) < 8


def test_findings_are_told_with_their_command(printed):
    said = printed(validations.failed())
    assert f"  {validations.ODD} at cl 0.9: covers less than it promises (counting-all)\n" in said
    assert "    exact coverage 0.87370 at s_true = 2.5, b = 0, below the promised 0.9\n" in said
    assert "    covsvc replay counting-all --s-true 2.5 --b 3 --limit-method" in said
    assert "    and 7 more like this\n" in said
    assert "max_gap at cl 0.9: may cover less than it promises" in said
    assert "1 note: the page and --json tell" in said
    assert validations.SCRIPT in said


def test_numbers_are_not_cut_however_narrow_the_terminal(printed, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    (row,) = (line for line in printed(validations.failed()).splitlines() if "733,912" in line)
    assert row.split() == [
        "counting-all",
        validations.ODD,
        "0.9",
        "changed",
        "failed",
        "0.8651",
        "0.9000",
        "12",
        "%",
        "stronger",
        "0",
        "733,912",
    ]


def test_a_flood_of_findings_is_counted(printed):
    findings = [validations.finding(label=f"method_{i}") for i in range(35)]
    said = printed(validations.validation(validations.study(findings=findings), outcome="failed"))
    assert said.count("covsvc replay") == 10
    assert "  and 25 more: the page and --json tell" in said


def test_acceptance_is_offered_only_to_what_passed(printed):
    assert "covsvc accept candidate.0123456789 --store coverage-cubes" in printed(validations.improved())
    for make in (validations.failed, validations.undecided, validations.unchanged):
        assert "covsvc accept" not in printed(make())
