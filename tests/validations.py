"""Validations made by hand: what passed, failed or is undecided, as the schema describes it."""

from __future__ import annotations

ODD = "feldman_cousins(monotone_in_b=True)"
SCRIPT = '<script>alert("$x$")</script> | `@all` #1'

BASELINE = {
    "tag": "v1.2@20261115T060000Z",
    "name": "v1.2",
    "snapshot": "1CECHNKREP0F1RSTCMT0",
    "accepted_at": "2026-11-15T06:00:00+00:00",
    "who": "Ada <ada@example.org>",
    "reason": "tables to mu = 60",
    "outcome": "passed",
}


def column(label="classical", cl=0.9, state="unchanged", outcome="passed", **more):
    return {
        "limit_method": label,
        "cl": cl,
        "state": state,
        "outcome": outcome,
        "promises": "at_least",
        "sided": "upper",
        "exact": True,
        "toys_per_second": 2_400_000.0,
        "worst_coverage": cl,
        "worst_s_true": 2.302585,
        "worst_b": 0.0,
        "baseline_worst_coverage": cl,
        "median_ratio": 2.3,
        "median_change": 0.0,
        "median_change_s_true": None,
        "median_change_b": None,
        "toys_rose": 0,
        "toys_fell": 0,
    } | more


def finding(severity="failure", kind="promise", label=ODD, cl=0.9, **more):
    return {
        "severity": severity,
        "kind": kind,
        "limit_method": label,
        "cl": cl,
        "b": 3.0,
        "s_true": 2.5,
        "sentence": f"exact coverage 0.87120 at s_true = 2.5, b = 3, below the promised {cl:g}",
        "numbers": {"coverage": 0.8712, "promised": cl, "deficit": cl - 0.8712},
        "replay": f"covsvc replay counting-all --s-true 2.5 --b 3 --limit-method '{label}' --cl {cl:g} --missed "
        "--store coverage-cubes --at candidate.0123456789",
    } | more


def about_study(severity, kind, sentence):
    nowhere = dict.fromkeys(("limit_method", "cl", "b", "s_true"))
    return finding(severity, kind, sentence=sentence, numbers={}, replay="") | nowhere


def study(name="counting-all", outcome="passed", columns=None, findings=(), **more):
    columns = [column(), column("cls", cl=0.95)] if columns is None else columns
    recomputed = sum(each["state"] not in ("unchanged", "gone") for each in columns)
    return {
        "study": name,
        "store": "coverage-cubes",
        "outcome": outcome,
        "sentence": f"{len(columns)} columns, {recomputed} of them computed again.",
        "candidate": "candidate.0123456789",
        "snapshot": "2CECHNKREP0F1RSTCMT0",
        "base": "1CECHNKREP0F1RSTCMT0",
        "baseline": dict(BASELINE),
        "same_toys": True,
        "drift": [],
        "work": {
            "columns": len(columns),
            "recomputed": recomputed,
            "skipped": len(columns) - recomputed,
            "toys": 2_500_000 * bool(recomputed),
            "fresh_toys": 0,
            "seconds": 12.3,
            "paired": True,
            "unpaired_why": "",
        },
        "columns": columns,
        "findings": list(findings),
    } | more


def validation(*studies, outcome="passed", **more):
    return {
        "schema": 1,
        "outcome": outcome,
        "sentence": "Nothing was found that speaks against the change.",
        "advice": "You may accept it.",
        "error": 0.01,
        "margin": 0.005,
        "tests": 0,
        "screened": 0,
        "power": "All coverage was summed exactly: any change of it was seen.",
        "covsvc": "0.8.0",
        "git_revision": "8dcca819a13656bec6ad9091a4ebfbfb34aa961e",
        "git_changed": False,
        "written_at": "2026-11-22T13:05:01+00:00",
        "studies": list(studies),
    } | more


def unchanged():
    return validation(study())


def first():
    """Nothing was ever accepted."""
    columns = [
        column(
            "classical", state="new", baseline_worst_coverage=None, median_change=None, toys_rose=None, toys_fell=None
        ),
        column(
            "bayes_jeffreys",
            state="new",
            outcome="reported",
            promises="nothing",
            worst_coverage=0.7415,
            worst_s_true=1.353,
            baseline_worst_coverage=None,
            median_change=None,
            toys_rose=None,
            toys_fell=None,
        ),
    ]
    return validation(study(columns=columns, baseline=None, base=None), git_revision=None, git_changed=None)


def improved():
    """Passed, with what should be looked at before."""
    weaker = {"state": "changed", "worst_coverage": 0.9, "baseline_worst_coverage": 0.9}
    columns = [
        column(),
        column("cls", state="identical"),
        column(ODD, **weaker, median_change=0.034, median_change_s_true=0.5, median_change_b=5.5, toys_rose=81_204),
        column(
            "gone_one",
            state="gone",
            outcome="reported",
            **dict.fromkeys(("worst_coverage", "worst_s_true", "worst_b", "median_change", "toys_rose", "toys_fell")),
        ),
    ]
    findings = [
        finding(
            "warning",
            "median rose",
            b=5.5,
            s_true=0.5,
            sentence="the median limit at s_true = 0.5, b = 5.5 is 3.21 and was 3.10: 3.4 % weaker",
            numbers={"median": 3.21, "before": 3.1044, "change": 0.034},
            replay="",
        ),
        finding(
            "warning",
            "gone",
            "gone_one",
            b=None,
            s_true=None,
            sentence="only the baseline has it",
            numbers={},
            replay="",
        ),
        finding("note", "coverage fell", "cls", sentence="coverage fell by 0.0001, less than the margin of 0.005"),
        about_study("warning", "drift", "numpy was 2.4.5 and is 2.4.6"),
    ]
    return validation(
        study(columns=columns, findings=findings, drift=[["numpy", "2.4.5", "2.4.6"], ["numba", None, "0.66"]]),
        study("on-off"),
        advice="Look at the warnings: if that is what the change was meant to do, `covsvc accept` it.",
    )


def failed():
    """Two studies: one method fails exactly and one by toys, in many cells; its label is made to do harm."""
    cells = [
        finding(
            s_true=s,
            b=b,
            sentence=f"exact coverage {0.8712 + s / 1000:.5f} at s_true = {s:g}, b = {b:g}, below the promised 0.9",
        )
        for b in (0.0, 3.0)
        for s in (2.5, 3.0, 3.5, 7.0)
    ]
    columns = [column(cl=cl) for cl in (0.9, 0.95)]
    columns += [
        column(
            ODD,
            state="changed",
            outcome="failed",
            sided="two",
            worst_coverage=0.8651,
            worst_s_true=2.31,
            worst_b=3.0,
            median_change=-0.121,
            median_change_s_true=0.0,
            median_change_b=5.5,
            toys_rose=0,
            toys_fell=733_912,
        ),
        column(ODD, cl=0.95, state="identical", sided="two"),
        column("bayes_flat", state="equal", outcome="reported", promises="nothing"),
    ]
    fell = finding(
        kind="coverage fell",
        label=SCRIPT,
        b=None,
        s_true=None,
        sentence="of all cells together 51,204 fresh toys lost their cover and 40,110 gained it",
        numbers={"lost": 51_204, "gained": 40_110, "p": 1.2e-169},
        replay="",
    )
    open_one = finding(
        "undecided",
        label="max_gap",
        sentence="coverage 0.8968 of 100,000 fresh toys at s_true = 2.5, b = 3; 340,000 would decide",
        numbers={"coverage": 0.8968, "toys": 340_000},
    )
    by_toys = {"exact": False, "toys_rose": 1204, "toys_fell": 48_211}
    toys = [
        column(SCRIPT, state="changed", outcome="failed", promises="asymptotic", worst_coverage=0.861, **by_toys),
        column("max_gap", state="changed", outcome="undecided", worst_coverage=0.8931, **by_toys),
    ]
    return validation(
        study(outcome="failed", columns=columns, findings=[*cells, about_study("note", "end point", "3 cells")]),
        study("yellin-test-a", "failed", toys, [fell, open_one], same_toys=False),
        outcome="failed",
        sentence=f"2 columns fail: {ODD} at cl 0.9 in counting-all, and one in yellin-test-a.",
        advice="Do not accept this change. Mend the method, or undo the change, and validate again.",
        tests=4210,
        screened=17,
        power="A deficit of 0.0085 in a single cell would have been found with 80 % probability.",
        git_changed=True,
    )


def undecided():
    columns = [column(), column("max_gap", state="changed", outcome="undecided", exact=False, worst_coverage=0.8968)]
    open_one = finding("undecided", label="max_gap", sentence="340,000 toys in this cell would decide")
    work = {"fresh_toys": 1_000_000, "paired": False, "unpaired_why": "the revision of the baseline is not here"}
    told = study(outcome="undecided", columns=columns, findings=[open_one])
    told["work"] |= work
    return validation(
        told,
        outcome="undecided",
        sentence="It is not decided yet whether max_gap at cl 0.9 keeps what it promises.",
        advice="Do not accept it yet. Give the study more toys (340,000 a cell) and validate again.",
        tests=200,
        screened=1,
    )


EVERY = {told.__name__: told for told in (unchanged, first, improved, failed, undecided)}
