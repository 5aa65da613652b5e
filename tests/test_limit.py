"""`covsvc limit`: limits on real data, and their plot over a model parameter."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from reference_uncertain import gamma_pmf, gaussian_pmf, posterior_beyond
from scipy import stats

NARSKY_EQ_21 = "known background (Eq. 21)"
MASSES = """\
mass (GeV),n,b,scale
300,0,0.2,0.002
100,3,5.5,0.5
200,1,1.5,0.04
"""


@pytest.fixture
def rows(covsvc):
    """Return the rows of `limit --json`, by method, with the exit code and stderr of 0 and nothing."""

    def call(*arguments):
        code, told, error = covsvc("limit", *arguments, "--json")
        assert (code, error) == (0, "")
        return {row["limit_method"]: row for row in parsed(told)}

    return call


@pytest.fixture
def masses(tmp_path):
    path = tmp_path / "masses.csv"
    path.write_text(MASSES)
    return path


def parsed(told):
    """Parse JSON as strictly as other languages do."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(told, parse_constant=refuse)


# I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Table 1 (b = 5.5) and Section 2.2, 90 %
@pytest.mark.parametrize(
    ("b", "name", "upper"),
    [
        (5.5, "bayes_flat", 3.57),
        (5.5, "bayes_jeffreys", 3.30),
        (5.5, "bayes_reciprocal", 3.06),
        (5.5, "classical", 1.18),
        (6.5, "bayes_flat", 3.39),
        (6.5, "classical", 0.18),
    ],
)
def test_prints_what_narsky_found_for_cleo(covsvc, rows, b, name, upper):
    assert rows("--n", 3, "--b", b, "-m", name)[name]["upper"] == pytest.approx(upper, abs=5e-3)
    code, told, _ = covsvc("limit", "--n", 3, "--b", b, "-m", name)
    assert code == 0
    (line,) = (line for line in told.splitlines() if line.startswith(name))
    assert float(line.split("<")[1]) == pytest.approx(upper, abs=5e-3)


def test_prints_the_interval_of_feldman_and_cousins(covsvc):
    # Phys. Rev. D 57 (1998) 3873, Table IV: n = 3, b = 1
    _, told, _ = covsvc("limit", "--n", 3, "--b", 1, "-m", "feldman_cousins")
    lower, upper = told.split("[")[1].split("]")[0].split(", ")
    assert (float(lower), float(upper)) == (pytest.approx(0.10, abs=5e-3), pytest.approx(6.42, abs=5e-3))


def test_a_scale_turns_events_into_the_branching_fraction_of_cleo(covsvc, rows):
    # K. W. Edwards et al. (CLEO), Phys. Rev. D 55 (1997) 3919: 3.57 events are B < 3.0e-6 (Narsky, Section 5)
    arguments = ("--n", 3, "--b", 5.5, "-m", "bayes_flat", "--scale", 8.4e-7, "--quantity", "B(tau -> mu gamma)")
    row = rows(*arguments)["bayes_flat"]
    assert row["scaled"] == pytest.approx(3.0e-6, abs=5e-8)
    assert (row["scale"], row["quantity"]) == (8.4e-7, "B(tau -> mu gamma)")
    _, told, _ = covsvc("limit", *arguments)
    assert "B(tau -> mu gamma)" in told
    assert "3.001e-06" in told


def test_expected_limits_are_those_of_the_counts_at_each_quantile(covsvc, rows):
    # b = 0.3: P(N <= 0, 1, 2) = 0.741, 0.963, 0.996; Phi(-2, -1, 0, 1, 2) = 0.023, 0.159, 0.5, 0.841, 0.977
    row = rows("--n", 0, "--b", 0.3, "-m", "cls", "--cl", 0.95, "--expected")["cls"]
    assert row["expected"] == pytest.approx([2.9957, 2.9957, 2.9957, 4.489, 6.001], abs=5e-4)
    for n, upper in ((0, row["expected"][2]), (1, row["expected"][3]), (2, row["expected"][4])):
        assert stats.poisson.cdf(n, upper + 0.3) / stats.poisson.cdf(n, 0.3) == pytest.approx(0.05, rel=1e-8)
    assert row["b_expected"] == 0.3
    _, told, _ = covsvc("limit", "--n", 0, "--b", 0.3, "-m", "cls", "--cl", 0.95, "--expected")
    (line,) = (line for line in told.splitlines() if line.startswith("cls"))
    assert line.split()[1:] == ["0.95", "<", "2.9957", "2.9957", "2.9957", "2.9957", "4.4894", "6.0007"]


def test_expected_limits_of_on_off_data_are_those_of_the_background_without_a_signal(covsvc, rows):
    # all 14 events are background then: b = (3 + 11)/(1 + 2)
    arguments = ("--n-on", 3, "--n-off", 11, "--tau", 2, "-m", "cls", "--expected")
    assert rows(*arguments)["cls"]["b_expected"] == pytest.approx(14 / 3)
    assert "expected without a signal at b = 4.66667: " in covsvc("limit", *arguments)[1]


def test_expected_limits_are_scaled_and_q_mu_tilde_has_those_of_the_asimov_data(covsvc, rows):
    row = rows("--n", 0, "--b", 3, "-m", "q_mu_tilde", "--expected")["q_mu_tilde"]
    assert all(math.isfinite(value) for value in row["asimov"])
    _, told, _ = covsvc("limit", "--n", 0, "--b", 3, "-m", "q_mu_tilde", "--expected", "--scale", 2)
    (line,) = (line for line in told.splitlines() if line.startswith("  Asimov"))
    assert [float(value) for value in line.split()[1:]] == pytest.approx([2 * u for u in row["asimov"]], rel=1e-3)


# Narsky, Eq. 10, as tests/reference_uncertain.py sums it; n_off leaves a gamma distribution of shape n_off + 1, rate tau
@pytest.mark.parametrize(
    ("arguments", "pmf", "b", "b_error"),
    [
        (("--n", 3, "--b", 5.5, "--b-error", 1), gamma_pmf, 5.5, 1),
        (("--n", 3, "--b", 5.5, "--b-error", 1, "--shape", "truncated_gaussian"), gaussian_pmf, 5.5, 1),
        (("--n-on", 3, "--n-off", 11, "--tau", 2), gamma_pmf, 6, math.sqrt(12) / 2),
        (("--n", 3, "--n-out", 15, "--n-sb", 11, "--zeta", 0.25, "--zeta-sb", 0.5), gamma_pmf, 6, math.sqrt(12) / 2),
    ],
)
def test_an_uncertain_background_is_averaged_over(rows, arguments, pmf, b, b_error):
    found = rows(*arguments)
    upper = found["bayes_uncertain_background"]["upper"]
    assert float(posterior_beyond(upper, 3, [pmf(j, b, b_error) for j in range(4)])) == pytest.approx(0.1, rel=1e-6)
    # all the others take b = 5.5 for known
    assert found["classical"]["upper"] == pytest.approx(1.18, abs=5e-3)
    assert found["classical"]["plugged_in"]
    assert found["classical"]["reads"] == "Counts"


def test_what_an_estimated_background_is_taken_for_is_told(covsvc):
    _, told, _ = covsvc("limit", "--n-on", 3, "--n-off", 11, "--tau", 2)
    assert "observed: n_on = 3, n_off = 11, tau = 2\n" in told
    assert "reads Counts: the estimated background is taken as known" in told
    assert "taken as known" not in covsvc("limit", "--n", 3, "--b", 5.5, "-m", "cls")[1]
    _, told, _ = covsvc("limit", "--n", 3, "--b", 5.5, "--b-error", 1, "-m", "cls")
    assert "observed: n = 3, b = 5.5, b_error = 1 (gamma)\n" in told
    sideband = ("--n", 3, "--n-out", 1234567, "--n-sb", 10, "--zeta", 0.25, "--zeta-sb", 0.5)
    _, told, _ = covsvc("limit", *sideband, "-m", "cls")
    assert told.startswith("observed: n = 3, n_out = 1234567, n_sb = 10, zeta = 0.25, zeta_sb = 0.5\n")


def test_a_view_chooses_what_a_method_reads(rows):
    on_off = ("--n-on", 1, "--n-off", 4, "--tau", 1)
    found = rows(*on_off, "-m", "q_mu,view=Counts", "-m", "q_mu")
    assert (found["q_mu(Counts)"]["reads"], found["q_mu"]["reads"]) == ("Counts", "OnOff")
    assert found["q_mu(Counts)"]["upper"] == rows("--n", 1, "--b", 4, "-m", "q_mu")["q_mu"]["upper"]
    assert found["q_mu(Counts)"]["upper"] != found["q_mu"]["upper"]


def test_a_list_is_an_option_and_toys_have_an_error(covsvc, rows):
    name = "sampling_distribution,n_toys=1000,hypotheses=[1,2,4,8]"
    found = rows("--n", 3, "--b", 5.5, "-m", name, "-m", "sampling_distribution")
    drawn = found["sampling_distribution(n_toys=1000, hypotheses=(1.0, 2.0, 4.0, 8.0))"]
    enumerated = found["sampling_distribution"]
    assert enumerated["error"] is None
    # F(2; s+b) + pmf(3; s+b)/2 over the same without s is 0.1: mid-p-values
    mid = [stats.poisson.cdf(2, nu) + stats.poisson.pmf(3, nu) / 2 for nu in (enumerated["upper"] + 5.5, 5.5)]
    assert mid[0] / mid[1] == pytest.approx(0.1, rel=1e-8)
    assert 0 < drawn["error"] < 0.5
    assert abs(drawn["upper"] - enumerated["upper"]) < 5 * drawn["error"]
    _, told, _ = covsvc("limit", "--n", 3, "--b", 5.5, "-m", name)
    assert f"< {drawn['upper']:.4f} +- {drawn['error']:.2g}" in told


def test_the_significance_stands_below_the_limits(covsvc, rows):
    # Narsky, Section 2.2: 1.4 for n = 3 over b = 1 by Eq. 21
    assert rows("--n", 3, "--b", 1, "-m", "cls")["cls"]["significance"][NARSKY_EQ_21] == pytest.approx(1.4, abs=0.05)
    assert f"significance, {NARSKY_EQ_21}: 1.40 sigma" in covsvc("limit", "--n", 3, "--b", 1, "-m", "cls")[1]
    _, told, _ = covsvc("limit", "--n", 0, "--b", 1, "-m", "cls")
    assert f"significance, {NARSKY_EQ_21}: none, no event was observed" in told
    assert rows("--n", 0, "--b", 1, "-m", "cls")["cls"]["significance"][NARSKY_EQ_21] == "-inf"


# Narsky, Section 3.1: one event in the signal region, none in an equal sideband, is infinite by Eq. 23, 0.27 by Eq. 29
@pytest.mark.parametrize(
    "arguments",
    [
        ("--n-on", 1, "--n-off", 0, "--tau", 1),
        ("--n", 1, "--n-out", 0, "--n-sb", 0, "--zeta", 0.5, "--zeta-sb", 1),
    ],
)
def test_the_significance_of_one_event_beside_an_empty_sideband(covsvc, rows, arguments):
    found = rows(*arguments, "-m", "cls")["cls"]["significance"]
    assert found["whole region (Eq. 29)"] == pytest.approx(0.27, abs=5e-3)
    assert found["sideband taken as known (Eq. 21, 23)"] == "inf"
    _, told, _ = covsvc("limit", *arguments, "-m", "cls")
    assert "significance, whole region (Eq. 29): 0.27 sigma" in told
    assert "significance, sideband taken as known (Eq. 21, 23): infinite" in told


def test_significance_counts_all_of_the_outside_not_the_sideband_alone(rows):
    found = rows("--n", 3, "--n-out", 15, "--n-sb", 10, "--zeta", 0.05, "--zeta-sb", 0.1, "-m", "cls")["cls"]
    assert found["significance"]["whole region (Eq. 29)"] == pytest.approx(
        stats.norm.isf(stats.poisson.sf(2, 0.05 * 18)), rel=1e-9
    )
    assert found["significance"]["sideband taken as known (Eq. 21, 23)"] == pytest.approx(1.4, abs=0.05)


def test_coverage_is_not_told_of_a_sideband_in_a_larger_outside(covsvc, rows):
    # toys have counts on and off source: the off region is all of the outside
    larger = ("--n", 3, "--n-out", 15, "--n-sb", 10, "--zeta", 0.25, "--zeta-sb", 0.5, "--coverage", "--expected")
    methods = ("-m", "significance_sideband", "-m", "q_mu_tilde")
    found = rows(*larger, *methods)
    assert found["significance_sideband"]["coverage"] is None
    assert found["significance_sideband"]["expected"] == [None] * 5
    assert found["q_mu_tilde"]["coverage"] > 0.9
    assert "reads Sideband: coverage is known where" in covsvc("limit", *larger, *methods)[1]
    whole = rows("--n", 3, "--n-out", 10, "--n-sb", 10, "--zeta", 1 / 3, "--zeta-sb", 0.5, "--coverage", *methods)
    assert whole["significance_sideband"]["coverage"] > 0.85


def test_what_is_not_known_is_left_blank_and_said(covsvc, tmp_path):
    measured = ("--n", 3, "--b", 4, "--b-error", 1, "--shape", "truncated_gaussian")
    told = covsvc("limit", *measured, "-m", "cls", "--coverage", "--expected")[1]
    assert "exact coverage is not known" in told
    assert "expected limits are not known" in told
    scan = tmp_path / "scan.csv"
    scan.write_text("mass,n,b,b_error\n1,3,4,1\n")
    told = covsvc("limit", "--scan", scan, "--shape", "truncated_gaussian", "-m", "cls")[1]
    assert "failed" not in told


def test_a_significance_that_takes_an_uncertain_background_as_known_says_so(rows):
    found = rows("--n", 3, "--b", 1, "--b-error", 0.5, "-m", "cls")["cls"]["significance"]
    # P(N >= 3; 1) = 0.0803, 1.4 sigma: Narsky, Section 3.1
    assert found["known background (Eq. 21), the error of b left out"] == pytest.approx(1.4, abs=0.01)


def test_a_method_may_be_labelled(covsvc):
    told = covsvc("limit", "--n", 3, "--b", 1, "-m", "q_mu", "-m", "q_mu,label=again")[1]
    assert [line.split()[0] for line in told.splitlines() if line.startswith(("q_mu", "again"))] == ["q_mu", "again"]


def test_a_coverage_below_cl_is_told_with_the_digits_that_show_it(covsvc):
    told = covsvc("limit", "--n", 3, "--b", 1, "-m", "q_mu", "--cl", 0.999999, "--coverage")[1]
    (line,) = (line for line in told.splitlines() if line.startswith("q_mu"))
    starred = [float(word.rstrip("*")) for word in line.split() if word.endswith("*")]
    assert starred
    assert all(value < 0.999999 for value in starred)


def test_an_unbounded_limit_is_said_with_its_reason(covsvc, rows):
    arguments = ("--n-on", 3, "--n-off", 0, "--tau", 2, "-m", "significance_independent", "-m", "cls")
    code, told, error = covsvc("limit", *arguments)
    assert code == 0
    (line,) = (line for line in told.splitlines() if line.startswith("significance_independent"))
    assert line.split()[-2:] == ["no", "limit"]
    assert "<" not in line
    assert "significance_independent at 0.90: unbounded: no event in the independent sample" in error
    code, told, _ = covsvc("limit", *arguments, "--scale", 2, "--json")
    row, other = parsed(told)
    assert (code, row["status"], row["upper"], row["scaled"]) == (0, "unbounded", "inf", "inf")
    assert "independent sample" in row["reason"]
    assert (other["status"], other["reason"]) == ("ok", "")


def test_an_empty_set_is_no_failure(covsvc):
    # 2.3026 events are the limit on nu = s + b of no event: below b = 3
    code, told, error = covsvc("limit", "--n", 0, "--b", 3, "-m", "classical")
    assert (code, "empty" in told) == (0, True)
    assert "classical at 0.90: empty: " in error
    (row,) = parsed(covsvc("limit", "--n", 0, "--b", 3, "-m", "classical", "--json")[1])
    assert (row["status"], row["upper"]) == ("empty", 0.0)


def test_a_method_that_was_named_and_failed_exits_2(covsvc):
    # the posterior 1/(s+b) e^-(s+b) of no event without background is improper (Narsky, Section 2.1)
    code, told, error = covsvc("limit", "--n", 0, "--b", 0, "-m", "bayes_reciprocal", "-m", "cls")
    assert code == 2
    assert "failed" in told
    assert "< 2.3026" in told
    assert "bayes_reciprocal at 0.90: failed: " in error
    assert "Traceback" not in error
    code, told, _ = covsvc("limit", "--n", 0, "--b", 0, "-m", "bayes_reciprocal", "--json", "--scale", 2)
    (row,) = parsed(told)
    assert (code, row["status"], row["upper"], row["scaled"]) == (2, "failed", None, None)
    assert row["reason"]
    code, told, error = covsvc("limit", "--n", 0, "--b", 0)
    assert (code, "failed" in told) == (0, True)


def test_a_method_that_raises_has_failed_with_what_it_raised(covsvc, plugins):
    code, told, error = covsvc("limit", "--n", 3, "--b", 1, "-m", "raising", "-m", "classical")
    assert (code, "failed" in told, "< 5.68" in told) == (2, True, True)
    assert error == "raising at 0.90: failed: ZeroDivisionError: no such luck\n"


def test_json_holds_the_data_and_all_that_is_known(rows):
    arguments = ("--n", 3, "--b", 5.5, "--b-error", 1.1, "-m", "classical", "--cl", 0.9)
    row = rows(*arguments, "--coverage", "--expected", "--scale", 2)["classical"]
    assert {key: row[key] for key in ("n", "b", "b_error", "cl", "sided", "reads", "scale", "quantity")} == {
        "n": 3, "b": 5.5, "b_error": 1.1, "cl": 0.9, "sided": "upper", "reads": "Counts", "scale": 2, "quantity": None
    }  # fmt: skip
    assert (row["experiment"], row["options"]["shape"]) == ("counting", "gamma")
    known = {"status", "reason", "lower", "upper", "error", "scaled", "coverage", "worst_coverage_at_b", "expected"}
    assert known <= row.keys()
    sideband = ("--n", 3, "--n-out", 15, "--n-sb", 10, "--zeta", 0.25, "--zeta-sb", 0.5)
    assert rows(*sideband, "-m", "cls")["cls"]["zeta_sb"] == 0.5


def test_coverage_of_the_limit_is_the_closed_form(rows):
    # classical covers s unless n is so small that its limit lies below s: n <= 3 just above the limit of 3
    row = rows("--n", 3, "--b", 5.5, "-m", "classical", "--coverage", "--s-max", 5)["classical"]
    assert row["coverage"] == pytest.approx(stats.poisson.sf(3, row["upper"] + 5.5), abs=1e-9)
    assert row["coverage"] == pytest.approx(0.9, abs=1e-9)
    assert row["worst_coverage_at_b"] >= 0.9 - 1e-9


REFUSED = [
    ("", "given: nothing; data are one of"),
    ("--n 3", "given: n; data are one of"),
    ("--b 3", "given: b; data are one of"),
    ("--n-on 3 --n-off 2", "covsvc:   n_on, n_off, tau: counts on and off source"),
    ("--n 3 --b 1 --tau 1", "given: n, b, tau;"),
    ("--n-on 3 --n-off 2 --tau 1 --b-error 1", "given: n_on, n_off, tau, b_error;"),
    ("--n 3 --n-out 15 --n-sb 10 --zeta 0.25", "given: n, n_out, n_sb, zeta;"),
    ("--n-on 3 --n-off 2 --tau 0", "tau = 0: "),
    ("--n-on 3 --n-off 2 --tau -1", "tau = -1: "),
    ("--n-on 3 --n-off 2 --tau 1e9", "tau = 1e+09: "),
    ("--n-on 3 --n-off 2 --tau nan", "tau = nan: "),
    ("--n-on 3 --n-off -2 --tau 1", "n_off = -2.0: a count of events is a whole number >= 0"),
    ("--n-on 3.5 --n-off 2 --tau 1", "n_on = 3.5: a count of events is a whole number >= 0"),
    ("--n 3 --n-out 5 --n-sb 10 --zeta 0.25 --zeta-sb 0.5", "n_sb = 10 is above n_out = 5"),
    ("--n 3 --n-out 15 --n-sb 10 --zeta 1 --zeta-sb 0.5", "zeta = 1: the signal region is a part"),
    ("--n 3 --n-out 15 --n-sb 10 --zeta 2 --zeta-sb 0.5", "zeta = 2: "),
    ("--n 3 --n-out 15 --n-sb 10 --zeta 0.25 --zeta-sb 0.2", "zeta is at most zeta_sb / (1 + zeta_sb) = 0.166667"),
    ("--n 3 --n-out 15 --n-sb 10 --zeta 0.25 --zeta-sb 1e9", "zeta_sb = 1e+09: "),
    ("--n 3 --b 5.5 --b-error -1", "b_error = -1: "),
    ("--n 3 --b 0 --b-error 1", "b = 0 with b_error > 0: "),
    ("--n 3 --b 5.5 --b-error 20 --coverage", "b_error = 20 at b = 5.5: coverage is known where"),
    ("--n 3 --b 5.5 --shape gauss", "'gauss' is not one of 'gamma', 'truncated_gaussian'"),
    ("--n 3 --b 5.5 --shape gamma", "--shape: that of a background with an error; give --b-error, too"),
    ("--n 3 --b 5.5 -m bayes_uncertain_background,prior_exponent=1", "only m = 0, flat in s, is"),
    ("--n-on 3 --n-off 2 --tau 1 -m cls,view=Count", "did you mean 'Counts'?; known are Counts, OnOff,"),
    ("--n-on 3 --n-off 2 --tau 1 -m cls,view=OnOff", "cls(OnOff) reads Counts but not OnOff"),
    ("--n 3 --b 5.5 -m cls,view=", "options are given as OPTION=VALUE"),
    ("--n 3 --b 5.5 -m cls,view={", "'{' is no value"),
    ("--n 3 --b 5.5 -m ,a=1", "--method ',a=1': give the name of a method"),
    ("--n 3 --b 5.5 -m significance_sideband", "significance_sideband reads Sideband, OnOff"),
    ("--n 3 --b 5.5 --scale 0", "scale = 0: what one event stands for lies in"),
    ("--n 3 --b 5.5 --scale -1", "scale = -1: "),
    ("--n 3 --b 5.5 --scale nan", "scale = nan: "),
    ("--n 3 --b 5.5 --scale inf", "scale = inf: "),
    ("--n 3 --b 5.5 --quantity x", "--quantity: names what events times --scale are; give --scale, too"),
    ("--n 3 --b 5.5 --figure x.png", "--figure: the limit plot is that of a --scan"),
    ("--n 3 --b 5.5 --cl 0.49", "cl = 0.49: a confidence level lies in [0.5, 1), for example 0.90"),
    ("--n 3 --b 5.5 --cl 1", "cl = 1.0: "),
    ("--n 3 --b 5.5 --cl nan", "cl = nan: "),
    ("--n 3 --b 5.5 --coverage --s-max -1", "--s-max -1: expected events lie in [0, 100000]"),
    ("--n 3 --b 5.5 --coverage --s-max nan", "--s-max nan: "),
    ("--n 3 --b 5.5 --s-max 3", "--s-max: how far the worst coverage is searched; give --coverage, too"),
    ("--scan masses.csv --n 3", "--n: a scan takes its data and scales from its columns"),
    ("--scan masses.csv --b-error 3", "--b-error: a scan takes its data"),
    ("--scan masses.csv --scale 3", "--scale: a scan takes its data and scales"),
    ("--scan masses.csv --coverage", "--coverage: is that of one observation"),
    ("--scan masses.csv --shape gamma", "--shape: that of a background with an error; masses.csv has no b_error"),
    ("--scan masses.csv --cl 0.9 --cl 0.95", "--cl 0.95: a scan is drawn at one confidence level"),
    ("--scan masses.csv --cl 1", "cl = 1.0: "),
    ("--scan masses.csv --figure a.jpg", "--figure a.jpg: a limit plot is written as .png, .svg, .pdf"),
    ("--scan masses.csv --figure a", "--figure a: a limit plot is written as .png, .svg, .pdf"),
    ("--scan masses.csv --figure masses.csv/a.png", "covsvc: masses.csv"),
    ("--scan masses.csv -m significance_sideband", "significance_sideband reads Sideband, OnOff"),
    (
        "--scan masses.csv -m cls -m zech -m garwood -m classical -m poisson -m bayes_flat -m q_mu",
        "a limit plot of 7 methods cannot be read; choose at most 6",
    ),
    ("--scan none.csv", "covsvc: none.csv: No such file or directory"),
    ("--scan empty.csv", "covsvc: empty.csv: holds no points; give a header such as 'mass,n,b'"),
    ("--scan latin.csv", "covsvc: latin.csv: byte 1 is no text in UTF-8"),
    ("--scan ragged.csv", "covsvc: ragged.csv:2: 2 values under 3 names"),
]


@pytest.mark.parametrize(("arguments", "told"), REFUSED)
def test_bad_input_exits_2_with_the_value_and_the_cure_and_does_nothing(covsvc, masses, tmp_path, arguments, told):
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "latin.csv").write_bytes(b"m\xe9,n,b\n1,2,3\n")
    (tmp_path / "ragged.csv").write_text("mass,n,b\n1,2\n")
    before = sorted(tmp_path.iterdir())
    code, out, error = covsvc("limit", *arguments.split())
    assert (code, out) == (2, "")
    assert told in error
    assert "Traceback" not in error
    assert "(1/" not in error
    assert sorted(tmp_path.iterdir()) == before


def test_help_keeps_its_examples_in_80_columns():
    told = subprocess.run(
        [sys.executable, "-m", "covsvc", "limit", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "80", "PATH": ""},
    ).stdout
    assert "\n    covsvc limit --n 3 --b 5.5\n    covsvc limit --n 3 --b 5.5 --b-error 1\n" in told
    assert max(map(len, told.splitlines())) <= 80


def test_a_scan_sets_the_limits_that_each_point_has_by_itself(covsvc, rows, masses):
    names = ("-m", "bayes_flat", "-m", "feldman_cousins")
    code, told, error = covsvc("limit", "--scan", masses, *names, "--cl", 0.95, "--quantity", "cross section", "--json")
    scan = parsed(told)
    assert code == 0
    assert (scan["parameter"], scan["quantity"], scan["cl"]) == ("mass (GeV)", "cross section", 0.95)
    assert [row["parameter"] for row in scan["points"]] == [100, 200, 300, 100, 200, 300]
    data = {100: (3, 5.5, 0.5), 200: (1, 1.5, 0.04), 300: (0, 0.2, 0.002)}
    for row in scan["points"]:
        n, b, scale = data[row["parameter"]]
        alone = rows("--n", n, "--b", b, *names, "--cl", 0.95, "--expected")[row["limit_method"]]
        assert row["observed"] == pytest.approx(alone["upper"] * scale, rel=1e-12)
        assert row["expected"] == pytest.approx([upper * scale for upper in alone["expected"]], rel=1e-12)
    assert error.splitlines() == ["mass (GeV) = 100 (1/3)", "mass (GeV) = 200 (2/3)", "mass (GeV) = 300 (3/3)"]


def test_a_scan_prints_a_table_and_draws_beside_its_file(covsvc, masses):
    code, told, _ = covsvc("limit", "--scan", masses)
    lines = told.splitlines()
    assert code == 0
    assert lines[1].split()[:6] == ["method", "mass", "(GeV)", "signal", "events", "x"]
    # no event: 2.3026 events, whatever is expected
    assert lines[4].split()[:3] == ["cls", "300", f"{-math.log(0.1) * 0.002:.4g}"]
    assert lines[-1] == f"Limit plot at 0.90: {masses.with_suffix('.png')}"
    assert masses.with_suffix(".png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG\r\n\x1a\n"), ("svg", b"<?xml"), ("PDF", b"%PDF-")])
def test_a_limit_plot_is_what_its_suffix_says(covsvc, masses, tmp_path, suffix, magic):
    code, told, _ = covsvc("limit", "--scan", masses, "-m", "cls", "--figure", f"plots/scan.{suffix}")
    assert code == 0
    assert f"Limit plot at 0.90: plots/scan.{suffix}" in told
    assert (tmp_path / "plots" / f"scan.{suffix}").read_bytes().startswith(magic)
    if suffix == "svg":
        ET.parse(tmp_path / "plots" / "scan.svg")


def test_limits_over_decades_are_drawn_on_a_logarithmic_axis(masses):
    from covsvc import api
    from covsvc.report.limit_plot import draw_scan

    name, points = api.read_scan(masses)
    scan = api.scan_limits(name, points, [{"name": "cls"}], 0.9, quantity="x")
    axes = draw_scan(scan).axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "log")
    even = [type(point)(point.parameter, point.observed, 1.0) for point in points]
    axes = draw_scan(api.scan_limits(name, even, [{"name": "cls"}], 0.9)).axes[0]
    assert axes.get_yscale() == "linear"


def test_a_scan_of_on_off_rows_shows_where_there_is_no_limit(covsvc, tmp_path):
    (tmp_path / "on_off.csv").write_text("x,n_on,n_off,tau,scale\n2,1,0,1,5\n1,2,3,1,1\n")
    code, told, _ = covsvc("limit", "--scan", "on_off.csv", "-m", "significance_independent", "-m", "q_mu_tilde")
    assert code == 0
    (line,) = (line for line in told.splitlines() if line.split()[:2] == ["significance_independent", "2"])
    assert line.split()[2:4] == ["no", "limit"]
    assert (tmp_path / "on_off.png").exists()
    _, told, _ = covsvc("limit", "--scan", "on_off.csv", "-m", "significance_independent", "--json")
    assert [row["observed"] for row in parsed(told)["points"]][1] == "inf"
    _, told, _ = covsvc("limit", "--scan", "on_off.csv", "--json")
    assert {row["limit_method"] for row in parsed(told)["points"]} == {"q_mu_tilde"}


def test_a_scan_in_which_a_named_method_fails_exits_2_and_says_where(covsvc, tmp_path):
    (tmp_path / "x.csv").write_text("x,n,b\n1,0,1\n2,0,0\n")
    code, told, error = covsvc("limit", "--scan", "x.csv", "-m", "bayes_reciprocal")
    assert code == 2
    assert "failed" in told
    assert "bayes_reciprocal failed at x = 2" in error
    assert (tmp_path / "x.png").exists()


def test_names_are_shown_where_the_terminal_knows_ascii_only(covsvc, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    arguments = ("--n", 3, "--b", 5.5, "-m", "cls", "--scale", 2, "--quantity", "B(\u03c4:x:)")
    code, _, error = covsvc("limit", *arguments)
    assert (code, error) == (0, "")
    assert b"B(\\u03c4:x:)" in sys.stdout.buffer.getvalue()


def test_every_level_is_a_row(covsvc):
    code, told, _ = covsvc("limit", "--n", 0, "--b", 3, "-m", "cls", "--cl", 0.95, "--cl", 0.9, "--cl", 0.999, "--json")
    assert code == 0
    assert {row["cl"]: row["upper"] for row in parsed(told)} == {
        cl: pytest.approx(-math.log(1 - cl), rel=1e-9) for cl in (0.9, 0.95, 0.999)
    }


def test_results_are_all_that_stdout_holds(masses):
    command = [sys.executable, "-W", "error", "-m", "covsvc", "limit", "--scan", masses, "-m", "cls", "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(parsed(ended.stdout)["points"]) == 3
    assert ended.stderr == "mass (GeV) = 100 (1/3)\nmass (GeV) = 200 (2/3)\nmass (GeV) = 300 (3/3)\n"
