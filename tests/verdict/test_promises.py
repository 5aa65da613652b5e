"""Verdicts: kept, broken, reported and undecided promises."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from covsvc import api
from covsvc.maps import CELLS, summarize
from covsvc.verdict import judge, smallest_deficit


def maps_of(columns, *, s_true=(0.0, 1.0, 2.5), b=(0.0, 3.0), cl=0.9, n=1000):
    """Return maps of some methods.

    `columns` maps a name to its promise and to either ``worst``, the exact worst coverage at each b (NaN: not summed
    yet), or ``covered``, how many of `n` toys are covered in each cell (-1: no toys yet), and ``failed``, how many
    limits failed.
    """
    shape = (len(columns), 1, len(b), len(s_true))
    n_toys, covered, failed = (np.zeros(shape, np.int64) for _ in range(3))
    exact, worst = np.full(shape, np.nan), np.full(shape[:3], np.nan)
    for row, told in enumerate(columns.values()):
        if "worst" in told:
            worst[row] = told["worst"]
            exact[row] = np.minimum(worst[row][..., None] + 0.01, 1.0)  # the nodes of the grid miss the worst case
        else:
            counts = np.broadcast_to(told["covered"], shape[2:])
            n_toys[row], covered[row] = np.where(counts < 0, 0, n), np.maximum(counts, 0)
            failed[row] = told.get("failed", 0)
    number = np.where(n_toys > 0, n_toys, np.nan)
    return xr.Dataset(
        {
            "n_toys": (CELLS, n_toys),
            "n_covered": (CELLS, covered),
            "coverage": (CELLS, covered / number),
            "p_failed": (CELLS, failed / number),
            "exact_coverage": (CELLS, exact),
            "worst_coverage": (CELLS[:3], worst),
            "worst_s_true": (CELLS[:3], np.full(shape[:3], 1.75)),
        },
        coords={"limit_method": list(columns), "cl": [cl], "b": list(b), "s_true": list(s_true)},
        attrs={"methods": json.dumps({k: {"promises": v["promises"], "sided": "upper"} for k, v in columns.items()})},
    )


def outcomes(verdict):
    return {finding.limit_method: finding.outcome for finding in verdict.findings}


def promise(promises="at_least", **told):
    return {"promises": promises, **told}


# exact columns


@pytest.mark.parametrize(
    ("below", "outcome"), [(-0.01, "kept"), (0.0, "kept"), (1e-10, "kept"), (2e-9, "broken"), (0.1, "broken")]
)
def test_an_exact_column_is_broken_by_more_than_rounding(below, outcome):
    verdict = judge(maps_of({"exact": promise(worst=[0.95, 0.9 - below])}))
    assert outcomes(verdict) == {"exact": outcome}
    assert verdict.outcome == {"kept": "passed", "broken": "failed"}[outcome]


def test_the_worst_case_is_told_with_its_place_even_between_the_nodes():
    (finding,) = judge(maps_of({"exact": promise(worst=[0.95, 0.85])})).findings
    assert (finding.worst_coverage, finding.s_true, finding.b) == (0.85, 1.75, 3.0)
    assert finding.sentence == "smallest exact coverage 0.85000 at s_true = 1.75, b = 3, below the promised 0.9"
    assert (finding.promises, finding.sided, finding.cl) == ("at_least", "upper", 0.9)


def test_an_exact_column_is_not_judged_by_its_toys():
    maps = maps_of({"exact": promise(worst=[0.95, 0.9])})
    maps["n_toys"][:] = 1000  # of which none is covered
    assert outcomes(judge(maps)) == {"exact": "kept"}


@pytest.mark.parametrize("promises", ["nothing", "asymptotic"])
@pytest.mark.parametrize("told", [{"worst": 0.2}, {"covered": 0}])
def test_who_promises_no_coverage_is_reported(promises, told):
    verdict = judge(maps_of({"honest": promise(promises, **told), "exact": promise(worst=0.9)}))
    assert outcomes(verdict) == {"honest": "reported", "exact": "kept"}
    assert verdict.outcome == "passed"
    promised = {"nothing": "nothing", "asymptotic": "cl asymptotically"}[promises]
    assert verdict.findings[0].sentence.endswith(f"the method promises {promised}")
    assert verdict.sentence == "All 1 columns that promise coverage keep it; 1 do not promise it and are reported."
    by_toys = verdict.smallest_deficit_sentence.endswith("with 80 % power.")
    assert by_toys == ("covered" in told)
    assert by_toys or verdict.smallest_deficit_sentence == "No toys were drawn."


def test_without_promises_there_is_nothing_to_judge():
    verdict = judge(maps_of({"honest": promise("nothing", worst=0.2)}))
    assert verdict.outcome == "passed"
    assert verdict.sentence == "Nothing to judge: no column promises coverage, all 1 are reported."
    assert verdict.smallest_deficit_sentence == "No toys were drawn."


def test_failures_of_columns_that_are_not_judged_are_named():
    maps = maps_of({"honest": promise("nothing", worst=0.2), "exact": promise(worst=0.9)})
    maps["p_failed"].loc[{"limit_method": "honest"}] = 0.25
    assert judge(maps).sentence.endswith("are reported. Some limits failed: of honest.")


def test_one_broken_promise_fails_all_and_is_named():
    verdict = judge(maps_of({"good": promise(worst=0.9), "bad": promise(worst=0.8), "late": promise(covered=-1)}))
    assert (verdict.outcome, verdict.sentence) == ("failed", "Broken promises: bad at 0.9.")


# columns known from toys


def first_count_with_p_above(level, n=1000, cl=0.9):
    """Return the smallest x with P(Bin(n, cl) <= x) > level."""
    return int(np.flatnonzero(stats.binom.cdf(np.arange(n + 1), n, cl) > level)[0])


def test_a_toy_column_is_broken_at_one_percent_over_all_cells():
    at = first_count_with_p_above(0.01 / 6)
    covered = np.full((2, 3), 900)
    covered[1, 2] = at
    assert outcomes(judge(maps_of({"toys": promise(covered=covered)}))) == {"toys": "kept"}
    covered[1, 2] = at - 1
    assert stats.binom.cdf(at - 1, 1000, 0.9) <= 0.01 / 6
    verdict = judge(maps_of({"toys": promise(covered=covered)}))
    assert outcomes(verdict) == {"toys": "broken"}
    assert (verdict.findings[0].s_true, verdict.findings[0].b) == (2.5, 3.0)
    assert verdict.findings[0].worst_coverage == (at - 1) / 1000


def test_holms_procedure_steps_down():
    # two hypotheses; p of `second` lies in (0.005, 0.01]: rejected after `first` is, by itself it is not
    second = first_count_with_p_above(0.01) - 1
    assert 0.005 < stats.binom.cdf(second, 1000, 0.9) <= 0.01
    one_cell = {"s_true": (1.0,), "b": (0.0,)}
    both = judge(maps_of({"first": promise(covered=800), "second": promise(covered=second)}, **one_cell))
    assert outcomes(both) == {"first": "broken", "second": "broken"}
    alone = judge(maps_of({"first": promise(covered=900), "second": promise(covered=second)}, **one_cell))
    assert outcomes(alone) == {"first": "kept", "second": "kept"}


def test_columns_that_cover_are_seldom_called_broken():
    # P(a false alarm anywhere) <= 1 % in each of 300 verdicts over 4 correlated columns; width 1e-3
    rng = np.random.default_rng(1999)
    failed = 0
    for _ in range(300):
        covered = rng.binomial(1000, 0.9, (2, 3))
        columns = {f"method_{i}": promise(covered=covered) for i in range(2)}
        columns |= {f"other_{i}": promise(covered=rng.binomial(1000, 0.9, (2, 3))) for i in range(2)}
        failed += judge(maps_of(columns)).outcome == "failed"
    assert stats.binom.sf(failed - 1, 300, 0.01) >= 1e-3, failed


def test_a_toy_column_with_missing_cells_is_undecided():
    covered = np.full((2, 3), 900)
    covered[0, 1] = -1
    verdict = judge(maps_of({"toys": promise(covered=covered), "exact": promise(worst=0.9)}))
    assert outcomes(verdict) == {"toys": "undecided", "exact": "kept"}
    assert verdict.outcome == "undecided"
    assert verdict.findings[0].sentence.endswith("some cells have no toys yet")


def test_a_broken_promise_is_broken_though_cells_are_missing():
    covered = np.full((2, 3), 500)
    covered[0, 1] = -1
    assert outcomes(judge(maps_of({"toys": promise(covered=covered)}))) == {"toys": "broken"}


def test_an_exact_column_with_missing_backgrounds_is_undecided():
    assert outcomes(judge(maps_of({"exact": promise(worst=[0.95, np.nan])}))) == {"exact": "undecided"}


def test_failed_limits_are_misses_but_break_no_promise():
    # 850 of 1000 are covered; 60 failed, which might have been
    verdict = judge(maps_of({"toys": promise(covered=850, failed=60)}))
    assert outcomes(verdict) == {"toys": "undecided"}
    assert verdict.findings[0].worst_coverage == 0.85
    # too few even if all that failed had covered
    assert outcomes(judge(maps_of({"toys": promise(covered=780, failed=60)}))) == {"toys": "broken"}
    assert outcomes(judge(maps_of({"toys": promise(covered=1000, failed=0)}))) == {"toys": "kept"}


def test_nothing_at_all_is_undecided():
    verdict = judge(maps_of({"toys": promise(covered=-1)}))
    assert (verdict.outcome, verdict.findings) == ("undecided", ())
    assert verdict.smallest_deficit_sentence == "No toys were drawn."
    assert np.isnan(verdict.smallest_deficit)


# cubes of real runs


def test_a_method_that_promises_too_much_is_broken_by_toys_alone(plugins, small_study, tmp_path):
    study = small_study(experiment="drawn", methods=["too_low", "classical"])
    verdict = judge(summarize(api.run(study, tmp_path / "store")))
    assert {(f.limit_method, f.cl): f.outcome for f in verdict.findings} == {
        ("classical", 0.90): "kept",
        ("classical", 0.95): "kept",
        ("too_low", 0.90): "broken",
        ("too_low", 0.95): "broken",
    }
    assert verdict.sentence == "Broken promises: too_low at 0.9, too_low at 0.95."
    assert verdict.smallest_deficit_sentence.startswith("In 48 tests (a cell in a column) of 5,000 toys")


def test_of_a_method_that_raises_nothing_is_known(plugins, small_study, tmp_path):
    verdict = judge(summarize(api.run(small_study(methods=["raising", "classical"], cl=0.9), tmp_path / "store")))
    assert outcomes(verdict) == {"raising": "undecided", "classical": "kept"}
    assert verdict.outcome == "undecided"


def test_methods_of_the_paper_are_judged_by_what_is_proven_of_them(small_study, tmp_path):
    names = ["classical", "bayes_flat", "garwood", "feldman_cousins", "bayes_jeffreys", "bayes_reciprocal"]
    verdict = judge(summarize(api.run(small_study(methods=names, cl=0.9), tmp_path)))
    assert verdict.outcome == "passed"
    assert outcomes(verdict) == dict.fromkeys(names[:4], "kept") | dict.fromkeys(names[4:], "reported")
    worst = {finding.limit_method: finding.worst_coverage for finding in verdict.findings}
    # classical, b = 0: just above the limit of no event, -ln 0.1, all but n = 0 cover
    assert worst["classical"] == pytest.approx(0.9, abs=1e-9)
    # 1/s, b = 0: no posterior for n = 0, so that s = 0 is never covered
    assert worst["bayes_reciprocal"] == 0.0
    # 1/sqrt(s), b = 0: the limit of n = 0 is 1.352772 : erfc(sqrt(1.352772)) = 0.1, and just above only n >= 1 covers
    assert worst["bayes_jeffreys"] <= 1 - np.exp(-1.352772) + 1e-6
    assert worst["bayes_jeffreys"] == pytest.approx(0.7415, abs=5e-4)


def test_an_interrupted_run_is_undecided(small_study, tmp_path):
    looks = iter(range(2))

    def interrupt(progress):
        if next(looks) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        api.run(small_study(methods=["classical"], cl=0.9), tmp_path, progress=interrupt, task_toys=1)
    verdict = judge(summarize(api.open_cube(tmp_path, "small")))
    assert verdict.outcome == "undecided"


def test_a_verdict_is_json(plugins, small_study, tmp_path):
    study = small_study(experiment="drawn", methods=["too_low", "classical"], cl=0.9)
    verdict = judge(summarize(api.run(study, tmp_path / "store")))
    told = json.loads(json.dumps(verdict.as_dict(), allow_nan=False))
    assert told["outcome"] == "failed"
    assert [finding["outcome"] for finding in told["findings"]] == [f.outcome for f in verdict.findings]
    assert told["smallest_deficit"] == verdict.smallest_deficit


# what toys can show


@pytest.mark.parametrize(("n", "deficit"), [(1_000, 0.053), (10_000, 0.016), (100_000, 0.0049)])
def test_the_smallest_deficit_agrees_with_another_program(n, deficit):
    # of another program: seen with 80 % power at 1050 cells, cl 0.9
    assert float(f"{smallest_deficit(n, 0.9, 1050):.2g}") == deficit


@pytest.mark.parametrize("n", [50, 1000, 100_000])
@pytest.mark.parametrize("cl", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("tests", [1, 1050, 42_000])
def test_the_smallest_deficit_is_shown_with_80_percent_power(n, cl, tests):
    deficit = smallest_deficit(n, cl, tests)
    x = np.arange(n + 1)
    rejected = x[stats.binom.cdf(x, n, cl) <= 0.01 / tests]
    if rejected.size:
        assert stats.binom.cdf(rejected[-1], n, cl - deficit) == pytest.approx(0.8, abs=1e-9)
    else:
        assert deficit == cl


def test_no_coverage_at_all_cannot_be_shown_by_too_few_toys():
    # no toy of three is covered with probability 1e-3 at cl 0.9: more than 1 % over 1050 tests
    assert smallest_deficit(3, 0.9, 1050) == 0.9


def test_a_verdict_tells_the_deficit_of_its_poorest_cell():
    maps = maps_of({"toys": promise(covered=900), "more": promise(covered=900)})
    maps["n_toys"][1] = 4000
    maps["n_covered"][1] = 3600
    verdict = judge(maps)
    assert verdict.smallest_deficit == smallest_deficit(1000, 0.9, 12)
    assert verdict.smallest_deficit_sentence == (
        f"In 12 tests (a cell in a column) of 1,000 toys, toys alone show a coverage that is too small by {verdict.smallest_deficit:.2g} "
        "with 80 % power."
    )


@pytest.mark.parametrize(("error", "outcome"), [(0.0, "broken"), (0.004, "broken"), (0.005, "kept")])
def test_a_method_is_forgiven_four_errors_of_its_table(error, outcome):
    # 879,700 of 1,000,000: at cl 0.9 and at 0.884 impossible, at 0.88 0.9 standard deviations away
    maps = maps_of({"calibrated": promise(covered=879_700)}, n=1_000_000)
    told = {"promises": "at_least", "sided": "upper", "tables": {"0.9": {"digest": "x", "error": error}}}
    maps.attrs["methods"] = json.dumps({"calibrated": told})
    assert outcomes(judge(maps)) == {"calibrated": outcome}
