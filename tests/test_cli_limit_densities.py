"""`covsvc limit` for events with densities, and for counts in bins."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, stats

DOCS = Path(__file__).parents[1] / "docs"
PEAK, FLAT = "gaussian:mean=0,width=1,low=-10,high=10", "uniform:low=-10,high=10"
BOTH = ("--signal-density", PEAK, "--background-density", FLAT)
WITHOUT_TOYS = ("-m", "likelihood_integration", "-m", "profile_likelihood")
Z2 = stats.norm.ppf(0.9) ** 2

UNCORRELATED = {
    "version": "1.0.0",
    "channels": [
        {
            "name": "bins",
            "samples": [
                {
                    "name": "signal",
                    "data": [12.0, 11.0],
                    "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
                },
                {
                    "name": "background",
                    "data": [50.0, 52.0],
                    "modifiers": [{"name": "error", "type": "shapesys", "data": [3.0, 7.0]}],
                },
            ],
        }
    ],
    "observations": [{"name": "bins", "data": [51, 48]}],
    "measurements": [{"name": "first", "config": {"poi": "mu", "parameters": []}}],
}
"""The example `uncorrelated_background` of pyhf."""

ROOTS = (0.559884255082, 0.757029023475, 1.06235500068, 1.50118082715, 2.05080202179)
"""Its expected limits by CLs at 95 %."""


@pytest.fixture
def write(tmp_path):
    def call(name, *rows):
        (tmp_path / name).write_text("\n".join(map(str, rows)) + "\n")
        return tmp_path / name

    return call


@pytest.fixture
def workspace(tmp_path):
    """Write a workspace after changes to its background, its modifiers and its observation."""

    def call(background=(50.0, 52.0), modifiers=None, observed=(51, 48), **changes):
        content = json.loads(json.dumps(UNCORRELATED | changes))
        sample = content["channels"][0]["samples"][1]
        sample["data"] = list(background)
        sample["modifiers"] = sample["modifiers"] if modifiers is None else modifiers
        content["observations"][0]["data"] = list(observed)
        (tmp_path / "w.json").write_text(json.dumps(content))
        return tmp_path / "w.json"

    return call


@pytest.fixture
def found(covsvc):
    """Return what `limit --json` says, its rows by method and level."""

    def call(*arguments):
        code, told, _ = covsvc("limit", *arguments, "--json")
        assert code == 0
        told = json.loads(told)
        return told | {"rows": {(row["limit_method"], row["cl"]): row for row in told["limits"]}}

    return call


def integrated_count(n, b, cl):
    """Return the s with F(n; s + b) = (1 - cl) F(n; b): the Bayesian limit of a count under a flat prior."""
    alpha = (1 - cl) * stats.poisson.cdf(n, b)
    return optimize.brentq(lambda s: stats.poisson.cdf(n, s + b) - alpha, 0, 100, xtol=1e-12)


def profiled_count(n, b, z2=Z2):
    """Return the s at which -2 ln of the likelihood of a count has fallen by z^2 from its largest, of s >= 0."""

    best = max(n, b)

    def fall(s):
        return 2 * (s + b - best - (n * math.log((s + b) / best) if n else 0)) - z2

    return optimize.brentq(fall, max(n - b, 0), 100, xtol=1e-12)


@pytest.mark.parametrize(("n", "b"), [(0, 3.0), (3, 1.0), (3, 5.5), (12, 4.0)])
def test_where_the_densities_are_equal_only_the_count_is_read(found, write, n, b):
    events = write("e.csv", "x", *np.linspace(-9, 9, n))
    same = ("--signal-density", FLAT, "--background-density", FLAT)
    rows = found("--events", events, *same, "--b", b, *WITHOUT_TOYS)["rows"]
    assert rows["likelihood_integration", 0.9]["upper"] == pytest.approx(integrated_count(n, b, 0.9), rel=1e-9)
    assert rows["profile_likelihood", 0.9]["upper"] == pytest.approx(profiled_count(n, b), rel=1e-7)


@pytest.mark.parametrize(("n", "printed"), [(1, 3.774), (3, 6.543)])
def test_events_at_the_peak_over_an_unknown_background(found, write, n, printed):
    # of n events of ratio r the likelihood integrated over b is a sum of Gamma(j + 1) with weights r^j
    r = stats.norm.pdf(0) * 20
    told = found("--events", write("e.csv", *[0.0] * n), *BOTH, *WITHOUT_TOYS)
    weights = np.array([r**j for j in range(n + 1)])

    def beyond(s):
        return (weights * stats.gamma.sf(s, np.arange(n + 1) + 1)).sum() / weights.sum() - 0.1

    upper = told["rows"]["likelihood_integration", 0.9]["upper"]
    assert upper == pytest.approx(optimize.brentq(beyond, 0, 50, xtol=1e-12), rel=1e-9)
    assert upper == pytest.approx(printed, abs=5e-4)
    assert (told["n"], told["range"], told["left_out"]) == (n, [-10, 10], 0)


def test_densities_told_at_the_events_are_those_of_their_positions(found, covsvc, write):
    x = np.array([-8.0, -3.1, -0.4, 0.2, 1.1, 6.0])
    positions = found("--events", write("e.csv", "mass", *x), *BOTH, *WITHOUT_TOYS, "--b", 4, "--b-error", 1)
    table = write(
        "d.csv",
        "place,signal_density,background_density",
        *(f"here,{float(stats.norm.pdf(each))!r},0.05" for each in x),
    )
    told = found("--events", table, *WITHOUT_TOYS, "--b", 4, "--b-error", 1)
    for key, row in positions["rows"].items():
        assert told["rows"][key]["upper"] == pytest.approx(row["upper"], rel=1e-9)
    assert (told["b"], told["b_error"], told["shape"], told["range"]) == (4, 1, "gamma", None)
    code, text, error = covsvc("limit", "--events", table)
    assert code == 0
    assert "observed: 6 events, densities told at each\nbackground expected there: nothing is known of it" in text
    (line,) = (line for line in text.splitlines() if line.startswith("mc_likelihood"))
    assert line.split() == ["mc_likelihood", "0.90", "failed"]
    assert "mc_likelihood at 0.90: failed: no toys can be drawn: there is no model of the densities" in error
    assert covsvc("limit", "--events", table, "-m", "mc_likelihood")[0] == 2


def test_what_is_known_of_the_background_is_used(found, write):
    events = write("e.csv", *np.linspace(-9, 9, 12), 0, 0.3)
    uppers = [
        found("--events", events, *BOTH, *WITHOUT_TOYS, *known)["rows"]["likelihood_integration", 0.9]["upper"]
        for known in ((), ("--b", 5), ("--b", 5, "--b-error", 1), ("--b", 5, "--b-error", 1e-9))
    ]
    assert len({round(each, 6) for each in uppers}) == 3
    assert uppers[1] == pytest.approx(uppers[3], rel=1e-6)


def test_a_range_and_a_scale_are_told(covsvc, write):
    events = write("e.csv", "mass (GeV)", -9, -1, 0, 2, 7)
    arguments = ("--events", events, *BOTH, "--range", "-2,2", "-m", "profile_likelihood")
    code, told, _ = covsvc("limit", *arguments, "--scale", 0.5, "--quantity", "B(a -> b)", "--figure", "a.svg")
    assert code == 0
    lines = told.splitlines()
    assert lines[0] == "observed: 3 events, mass (GeV) in [-2, 2]; 2 outside left out"
    assert (
        lines[2] == f"limits are on the signal there, {stats.norm.cdf(2) - stats.norm.cdf(-2):.4f} of all that is told"
    )
    upper, scaled = (float(cell) for cell in lines[-2].split()[-2:])
    assert scaled == pytest.approx(upper / 2, rel=1e-3)
    assert lines[-1] == "Picture at 0.90: a.svg"


def test_a_calibration_is_kept_in_the_store_and_told_of(covsvc, write, tmp_path):
    events = write("e.csv", 0.1, 3, -6)
    method = "mc_likelihood,n_toys=100,largest_s=12.0,largest_b=12.0"
    arguments = ("limit", "--events", events, *BOTH, "-m", method, "--store", "kept", "--cl", 0.6)
    code, told, error = covsvc(*arguments)
    assert code == 0
    assert "draws the toys of its calibration, once for this analysis" in error
    assert (tmp_path / "kept" / "calibrations").is_dir()
    assert covsvc(*arguments) == (0, told, "")
    code, known, error = covsvc(*arguments, "--b", 2)
    assert (code, error) == (0, "")
    assert "mc_likelihood makes no use of what is known of the background\n" in known
    limit = [line for line in told.splitlines() if line.startswith("mc_likelihood")]
    assert limit[0] in known


def test_expected_limits_of_events_come_from_toys(found, covsvc, write):
    arguments = ("--events", write("e.csv", 0.1, 3, -6, 7), *BOTH, "-m", "profile_likelihood", "--expected")
    row = found(*arguments, "--b", 4)["rows"]["profile_likelihood", 0.9]
    assert row["expected_from"] == "toys"
    assert row["expected"] == sorted(row["expected"])
    assert "expected without a signal, events, from 2,000 toys: profile_likelihood" in covsvc("limit", *arguments)[1]


def test_the_workspace_of_pyhf_has_its_limits(found, workspace):
    # the roots by mpmath, the profile in each bin being that of a quadratic equation; pyhf's documentation has those of
    # an interpolation on a grid: 1.01764 and .59577 .76169 1.08505 1.50170 2.06655
    told = found("--workspace", workspace(), "--cl", 0.95, "--expected", "-m", "q_mu_tilde")
    row = told["rows"]["q_mu_tilde", 0.95]
    assert row["mu_upper"] == pytest.approx(1.01157, abs=1e-5)
    assert row["mu_expected"] == pytest.approx(ROOTS, rel=1e-8)
    assert row["upper"] == pytest.approx(23 * row["mu_upper"], rel=1e-14)
    assert row["expected_from"] == "asimov"
    assert (told["signal_events"], told["background_events"], told["counts"]) == (23, 102, [51, 48])


def test_what_fits_best_is_told_with_its_pulls(found, covsvc, workspace):
    fit = found("--workspace", workspace(), "-m", "q_mu_tilde")["fit"]
    assert (fit["mu"], fit["reason"]) == (0, "")
    assert -0.1 < fit["mu_of_any_sign"] < 0
    for row, n, b, error in zip(fit["parameters"], (51, 48), (50, 52), (3, 7), strict=True):
        # at mu = 0 both counts have the expectation gamma times b and tau
        tau = (b / error) ** 2
        gamma = (n + tau) / (b + tau)
        assert row["fitted"] == pytest.approx(gamma, rel=1e-7)
        assert row["pull"] == pytest.approx((gamma - 1) * tau**0.5, rel=1e-5)
    lines = covsvc("limit", "--workspace", workspace(), "-m", "q_mu_tilde")[1].splitlines()
    assert lines[0] == "observed: 99 events seen in 2 bins of 1 channel; measurement 'first'"
    assert lines[2].startswith("best fit: mu = 0 (-0.066")
    (line,) = (line for line in lines if line.startswith("error[1]"))
    assert line.split() == ["error[1]", "1", "0.9627", "-0.28"]


def test_all_methods_on_bins_are_asked_but_those_that_take_long(covsvc, workspace):
    code, told, error = covsvc("limit", "--workspace", workspace(), "--cl", 0.95)
    assert code == 0
    asked = [line.split()[0] for line in told.splitlines() if " 0.95 " in line]
    assert asked == ["profile_likelihood", "q_mu", "q_mu_tilde"]
    assert error == "sampling_distribution draws toys, for seconds to minutes; -m sampling_distribution asks for it\n"


@pytest.mark.parametrize("given", ["60, 70", "file"])
def test_another_observation(found, workspace, write, given):
    write("o.csv", "60,70")
    told = found("--workspace", workspace(), "--observation", given.replace("file", "o.csv"), "-m", "q_mu_tilde")
    again = found("--workspace", workspace(observed=(60, 70)), "-m", "q_mu_tilde")
    assert told["counts"] == [60, 70]
    assert told["limits"] == again["limits"]


def test_the_interpolation_matters_where_templates_are_not_symmetric(found, workspace):
    modifiers = [{"name": "a", "type": "normsys", "data": {"lo": 0.7, "hi": 1.1}}]
    path = workspace(modifiers=modifiers, observed=(70, 72))
    smooth, default, linear = (
        found("--workspace", path, *told, "-m", "q_mu_tilde")["limits"][0]["upper"]
        for told in (("--interpolation", "smooth"), (), ("--interpolation", "linear"))
    )
    assert smooth == default != linear


def test_a_signal_that_a_free_parameter_undoes_has_no_limit_and_why(covsvc, workspace):
    # a singular information matrix: the free background is a multiple of the signal
    free = [{"name": "free", "type": "normfactor", "data": None}]
    path = workspace(background=(12.0, 11.0), modifiers=free)
    code, told, error = covsvc("limit", "--workspace", path, "-m", "q_mu_tilde")
    assert (code, "Traceback" in error) == (2, False)
    assert "q_mu_tilde at 0.90: failed: the data do not tell the signal from the free parameters\n" in error
    assert "best fit: none, the data do not tell the signal from the free parameters\n" in told


def test_events_where_nothing_is_expected_have_no_limit_and_why(covsvc, workspace):
    content = json.loads(workspace(background=(50.0, 0.0), modifiers=[]).read_text())
    content["channels"][0]["samples"][0]["data"] = [12.0, 0.0]
    path = workspace(channels=content["channels"], background=(50.0, 0.0), modifiers=[])
    code, _, error = covsvc("limit", "--workspace", path, "-m", "q_mu_tilde")
    assert code == 2
    assert "failed: events in a bin where neither signal nor background is expected\n" in error


def test_events_in_a_bin_without_background_are_signal(found, workspace):
    path = workspace(background=(50.0, 0.0), modifiers=[], observed=(51, 3))
    row = found("--workspace", path, "-m", "profile_likelihood")["limits"][0]

    def value(mu):
        return 2 * (23 * mu - 51 * math.log(12 * mu + 50) - 3 * math.log(11 * mu))

    best = optimize.minimize_scalar(value, (0.1, 0.3), tol=1e-12)
    expected = optimize.brentq(lambda mu: value(mu) - best.fun - Z2, best.x, 5, xtol=1e-12)
    assert row["mu_upper"] == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG\r\n\x1a\n"), ("svg", b"<?xml"), ("PDF", b"%PDF-")])
def test_a_picture_is_what_its_suffix_says(covsvc, workspace, tmp_path, suffix, magic):
    arguments = ("--workspace", workspace(), "-m", "q_mu_tilde", "--figure", f"plots/scan.{suffix}", "--cl", 0.95)
    code, told, _ = covsvc("limit", *arguments, "--cl", 0.9)
    assert code == 0
    assert told.splitlines()[-1] == f"Picture at 0.90: plots/scan.{suffix}"
    assert (tmp_path / "plots" / f"scan.{suffix}").read_bytes().startswith(magic)


E = f"--events e.csv --signal-density {PEAK} --background-density {FLAT}"
REFUSED = [
    (f"--events e.csv --signal-density {PEAK}", "--signal-density: the likelihood needs both densities; give --backg"),
    (f"--signal-density {PEAK}", "--signal-density: belongs to the positions of events; give --events, too"),
    (f"{E} --spectrum s.csv", "--spectrum: belongs to a background of which no density is known; leave it out"),
    (f"{E} --n 3", "--n: events are counted in their file; leave it out"),
    (f"{E} --b-error 3", "--b-error: is the error of the expected background; give --b, too"),
    (f"{E} --b 3 --shape gamma", "--shape: that of a background with an error; give --b-error, too"),
    (f"{E} --b -3", "b = -3: an expected background is a number of events >= 0"),
    (f"{E} --coverage", "--coverage: is known from toys, not enumerated; `covsvc run`"),
    (f"{E} --scan a.csv", "--scan: is of counts"),
    (f"{E} --quantity B", "--quantity: names what events times --scale are; give --scale, too"),
    (f"{E} --workspace w.json", "--events: the workspace tells counts, templates and nuisance parameters"),
    (f"{E} --observation 3,4", "--observation: belongs to counts in bins; give --workspace, too"),
    (f"{E} --figure a.jpg", "--figure a.jpg: a picture of a likelihood is written as .png, .svg, .pdf"),
    (f"{E} --range 5", "--range 5: give both ends as LOW,HIGH"),
    (f"{E} -m classical", "classical reads Counts but not ModelledEvents"),
    (f"{E} -m profile_likelihood,view=Counts", "view = Counts: these data are read in one way only"),
    (f"{E} -m mc_likelihood,toys=3", "toys: unknown option of mc_likelihood, did you mean 'n_toys'?"),
    (f"{E} --cl 0.3", "cl = 0.3: a confidence level lies in [0.5, 1)"),
    (f"--events far.csv {E[15:]}", "far.csv:2: mass = 11: outside of [-10, 10]"),
    (
        f"--events e.csv --signal-density dn.csv --background-density {FLAT}",
        "dn.csv: the signal density has the integra",
    ),
    (f"--events e.csv --signal-density dn.csv --background-density {FLAT}", "l 40 over [-10, 10], not 1; divide it by"),
    (f"--events e.csv --signal-density minus.csv --background-density {FLAT}", "minus.csv:3: density = -0.1: "),
    (
        f"--events e.csv --signal-density {PEAK},events=4 --background-density {FLAT}",
        "events = 4: a density is that of",
    ),
    (f"--events e.csv --signal-density hole.csv --background-density {FLAT}", "signal density is told in [0, 9], the"),
    ("--events e.csv --signal-density hole.csv --background-density hole.csv", "e.csv: mass = 5: both densities are 0"),
    (
        f"--events e.csv --signal-density hole.csv --background-density {FLAT} --range 4,6",
        "hole.csv: nothing of it lies",
    ),
    ("--events told.csv --range 3,4", "--range: the file tells both densities at each event"),
    ("--events told.csv --background b.csv", "--background: belongs to a background of which no density is known"),
    ("--events good.csv --expected", "--expected: no toys can be drawn where the densities are told at the events"),
    ("--events told.csv", "told.csv:3: signal_density = -1: a density is not negative"),
    ("--workspace w.json --n 3", "--n: the workspace tells counts, templates and nuisance parameters; leave it out"),
    ("--workspace w.json --coverage", "--coverage: is known from toys, not enumerated; `covsvc run`"),
    ("--workspace w.json --scale 2", "--scale: limits are shown as strengths of the signal, too"),
    ("--workspace w.json --range 2,3", "--range: the workspace tells counts, templates and nuisance parameters"),
    ("--workspace w.json --observation 3", "--observation 3: 1 count, but the workspace has 2 bins, 2 of bins; give"),
    ("--workspace w.json --observation 3,x", "--observation: count of bins[1] = 'x': is no number; give COUNT,"),
    ("--workspace w.json --observation 3,-1", "count of bins[1] = -1: a count of events is a whole number >= 0"),
    ("--workspace w.json --observation e.csv", "--observation e.csv: 3 counts, but the workspace has 2 bins"),
    ("--workspace w.json --measurement other", "other: unknown measurement; known are first"),
    ("--workspace w.json -m classical", "classical reads Counts but not Binned"),
    ("--workspace w.json --figure a.gif", "--figure a.gif: a picture of a likelihood is written as"),
    ("--workspace none.json", "none.json: No such file or directory"),
    ("--workspace e.csv", "e.csv:1:1: no JSON"),
    (
        "--workspace odd.json",
        "shapefactor 'odd' of sample 'background' in channel 'bins' is not supported; supported are",
    ),
    ("--n 3 --b 1 --workspace w.json", "--n: the workspace tells"),
    ("--n 3 --b 1 --measurement first", "--measurement: belongs to counts in bins; give --workspace, too"),
]


@pytest.mark.parametrize(("arguments", "told"), REFUSED)
def test_bad_input_exits_2_with_the_value_and_the_cure_and_draws_nothing(
    covsvc, workspace, write, tmp_path, arguments, told
):
    workspace(modifiers=[{"name": "odd", "type": "shapefactor", "data": None}]).rename(tmp_path / "odd.json")
    workspace()
    write("e.csv", "mass", 5, 1)
    write("far.csv", "mass", 11)
    write("dn.csv", "mass,dN/dm", "-10,2", "10,2")
    write("minus.csv", "mass,density", "-10,0.15", "10,-0.1")
    write("hole.csv", "mass,density", "0,0.5", "1.95,0.5", "2.05,0", "9,0")
    write("good.csv", "signal_density,background_density", "1,2")
    write("told.csv", "signal_density,background_density", "1,2", "-1,2")
    before = sorted(tmp_path.iterdir())
    code, out, error = covsvc("limit", *arguments.split())
    assert (code, out) == (2, "")
    assert told in error
    assert "Traceback" not in error
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("--events", DOCS / "candidates.csv", "--signal-density", DOCS / "signal-density.csv", "--background-density",
         "exponential:scale=60,low=100,high=160", *WITHOUT_TOYS),
        ("--events", DOCS / "densities.csv", "--b", 12, "--b-error", 2, *WITHOUT_TOYS),
        ("--workspace", DOCS / "workspace.json", "-m", "q_mu_tilde"),
    ],
)  # fmt: skip
def test_the_examples_of_the_documentation_have_limits(found, arguments):
    told = found(*arguments, "--figure", "a.png")
    assert {row["status"] for row in told["limits"]} == {"ok"}
