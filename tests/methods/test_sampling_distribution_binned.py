"""Limits from the sampling distributions of counts in bins."""

import pickle

import numpy as np
import pytest
from reference import bayes_upper, mean_upper
from reference_sampling import count_upper
from reference_workspaces import TWO_BINS
from scipy import stats

from covsvc.binned_model import BinnedModel, Parameter, Scale
from covsvc.contracts import Binned, Counts, OnOff, Status, calibration_of
from covsvc.kernels.binned import draw
from covsvc.kernels.binned_toys import quantiles_of_toys
from covsvc.methods.q_mu import QMuTilde
from covsvc.methods.sampling_distribution import SamplingDistribution
from covsvc.workspace import workspace_of

PROCEDURES = pytest.mark.parametrize("procedure", ["cls", "clsb"])
NUISANCES = pytest.mark.parametrize("nuisances", ["profiled", "nominal"])
UNIFIED = {"statistic": "t_mu_tilde", "procedure": "clsb"}


def one_bin(b, tau=None):
    if tau is None:
        return BinnedModel(("signal", "background"), ((1.0,), (b,)), (True, False))
    rate = Parameter("rate", "poisson", 1.0, tau=tau * b, low=0.0)
    return BinnedModel(("signal", "background"), ((1.0,), (b,)), (True, False), (rate,), (Scale(0, 1, 0, 1),))


def count(n, b):
    return Binned(np.atleast_2d(n).T, np.zeros((np.size(n), 0)), one_bin(b))


def exact_upper(n, b, cl, procedure, p_value):
    if p_value == "mid":
        return float(count_upper(n, b, cl, 0.5, procedure == "cls"))
    return float(bayes_upper(n, b, cl, 0)) if procedure == "cls" else float(mean_upper(n, 1 - cl)) - b


# F(n; s + b) = 1 - cl, or cl F(n; b) with CLs, and the same of mid-p-values: Narsky, Nucl. Instrum. Meth. A 450 (2000)
# 444, Eq. 9 and 12, as sums with many digits
@NUISANCES
@PROCEDURES
@pytest.mark.parametrize("p_value", ["mid", "inclusive"])
def test_one_bin_agrees_with_the_exact_limit_within_the_error(nuisances, procedure, p_value):
    pulls = []
    rng = np.random.default_rng(17)
    for seed in range(1, 10):
        b = float(rng.uniform(0.3, 6.0))
        n = int(rng.poisson(b + 2.0))
        exact = exact_upper(n, b, 0.9, procedure, p_value)
        method = SamplingDistribution(procedure=procedure, p_value=p_value, nuisances=nuisances, n_toys=2000, seed=seed)
        limits = method.limits(count(n, b), 0.9)
        if exact > 0.5:  # an end close to 0 is empty in one half of the toys
            pulls.append((limits.upper[0] - exact) / limits.error[0])
    assert len(pulls) >= 6
    # eight tests of two numbers, two sides: one false alarm in a thousand
    assert 1e-3 / 32 < stats.chi2.sf(np.sum(np.square(pulls)), len(pulls)) < 1 - 1e-3 / 32
    assert abs(np.sum(pulls)) / np.sqrt(len(pulls)) < stats.norm.isf(1e-3 / 32)


@PROCEDURES
def test_a_profiled_rate_agrees_with_the_enumeration_of_on_off(procedure):
    pulls = []
    for seed, (n, off) in enumerate([(3, 4), (6, 9), (9, 11), (5, 2), (12, 6), (4, 12)], 1):
        exact = SamplingDistribution(procedure=procedure).limits(OnOff([n], [off], 2.0), 0.9).upper[0]
        method = SamplingDistribution(procedure=procedure, n_toys=4000, seed=seed)
        limits = method.limits(Binned([[n]], [[off]], one_bin(4.0, 2.0)), 0.9)
        if exact > 0.5:
            pulls.append((limits.upper[0] - exact) / limits.error[0])
    assert stats.chi2.sf(np.sum(np.square(pulls)), len(pulls)) > 1e-3 / 2


# Feldman and Cousins, Phys. Rev. D 57 (1998) 3873, Tables IV and V, without (0, 0)'s lower end
@pytest.mark.parametrize(
    ("n", "b", "low", "high"), [(3, 1.0, 0.10, 6.42), (0, 0.0, 0.0, 2.44), (1, 0.0, 0.11, 4.36), (6, 3.0, 0.15, 8.47)]
)
def test_t_mu_tilde_of_one_bin_is_the_interval_of_feldman_and_cousins(n, b, low, high):
    method = SamplingDistribution(p_value="inclusive", n_toys=30_000, **UNIFIED)
    limits = method.limits(count(n, b), 0.9)
    # at (3, 1) p lies within 0.005 above 0.1 from 6.2 to the end
    assert abs(limits.upper[0] - high) < 4 * limits.error[0] + 0.01
    assert limits.lower[0] == pytest.approx(low, abs=0.03)


def test_tables_of_t_mu_tilde_give_the_interval_of_feldman_and_cousins_within_their_error():
    method = SamplingDistribution(p_value="inclusive", nuisances="nominal", n_toys=10_000, **UNIFIED)
    for n, b, high in ((0, 0.0, 2.44), (1, 0.0, 4.36), (6, 3.0, 8.47)):
        limits = method.limits(count(n, b), 0.9)
        assert abs(limits.upper[0] - high) < 3 * limits.error[0]


@NUISANCES
@pytest.mark.parametrize("statistic", ["q_mu", "q_mu_tilde"])
@PROCEDURES
def test_is_the_asymptotic_limit_at_large_counts(nuisances, statistic, procedure):
    model = BinnedModel(
        ("signal", "background"),
        ((40.0, 60.0, 30.0), (2000.0, 1800.0, 1600.0)),
        (True, False),
        (Parameter("rate", "gaussian", 1.0, width=0.02, low=0.0),),
        (Scale(0, 1, 0, 3),),
    )
    # measured where it is nominal: there tables and profiled toys have nearly the same parameters
    observed = Binned([[2030, 1850, 1620], [1990, 1790, 1590]], [[1.0], [1.0]], model)
    options = {"statistic": statistic, "procedure": procedure, "nuisances": nuisances, "n_toys": 4000}
    limits = SamplingDistribution(**options).limits(observed, 0.95)
    asymptotic = QMuTilde(procedure).limits(observed, 0.95).upper
    # the difference of the two is of some 1 / sqrt(2000)
    assert (np.abs(limits.upper - asymptotic) < 3.5 * limits.error + 0.02 * asymptotic).all()
    assert (limits.error < 0.06 * asymptotic).all()


@NUISANCES
def test_stated_error_is_the_spread_over_seeds(nuisances):
    observed = workspace_of(TWO_BINS).observed
    runs = [
        SamplingDistribution(nuisances=nuisances, n_toys=500, seed=seed).limits(observed, 0.9) for seed in range(1, 13)
    ]
    found, errors = np.array([run.upper[0] for run in runs]), np.array([run.error[0] for run in runs])
    # two tests, two sides: one false alarm in a thousand
    chance = stats.chi2.sf(np.sum((found - found.mean()) ** 2) / np.mean(errors**2), 11)
    assert chance > 1e-3 / 4
    assert nuisances == "nominal" or chance < 1 - 1e-3 / 4  # that of tables is an upper bound


@NUISANCES
@pytest.mark.parametrize("options", [{}, UNIFIED, {"procedure": "clsb", "power_constrained": True}], ids=str)
def test_a_limit_depends_on_seed_and_observation_alone(nuisances, options):
    model = workspace_of(TWO_BINS).model
    counts, auxiliary = [[51, 48], [40, 45], [66, 70], [51, 48]], [[277.0, 55.0]] * 4
    method = SamplingDistribution(n_toys=400, nuisances=nuisances, **options)
    together = method.limits(Binned(counts, auxiliary, model), 0.9)
    assert together.upper[0] == together.upper[3]
    for i in range(3):
        one = SamplingDistribution(n_toys=400, nuisances=nuisances, **options)
        alone = pickle.loads(pickle.dumps(one)).limits(Binned([counts[i]], [auxiliary[i]], model), 0.9)
        for part in ("lower", "upper", "error"):
            assert getattr(alone, part).tobytes() == getattr(together, part)[[i]].tobytes()
    other = SamplingDistribution(n_toys=400, nuisances=nuisances, seed=3, **options)
    assert (other.limits(Binned(counts, auxiliary, model), 0.9).upper != together.upper).all()
    assert len(method.limits(Binned(np.zeros((0, 2), int), np.zeros((0, 2)), model), 0.9)) == 0


def test_calibrates_once_for_an_analysis():
    model = workspace_of(TWO_BINS).model
    method = SamplingDistribution(nuisances="nominal", n_toys=500)
    assert method.calibrates == method.reads == (Binned,)
    assert SamplingDistribution().calibrates == ()
    made, again = (method.calibrate(model, 0.9) for _ in range(2))
    assert all(made.arrays[name].tobytes() == again.arrays[name].tobytes() for name in made.arrays)
    assert sum(array.nbytes for array in made.arrays.values()) < 2e6
    # binomial, of 500 toys at 0.1, and half of 0.1 of CL_b
    assert made.error == pytest.approx(np.sqrt((0.09 + 0.0025) / 500))


@pytest.mark.parametrize("options", [{}, {"procedure": "clsb"}, UNIFIED], ids=str)
def test_tables_cover_at_the_nominal_nuisance_parameters(options):
    model = workspace_of(TWO_BINS).model
    theta = model.compiled.numbers[: model.n_parameters, 1]
    method = SamplingDistribution(nuisances="nominal", n_toys=2000, **options)
    error = np.hypot(np.sqrt(0.09 / 2000), calibration_of(method, model, 0.9).error)
    for mu in (0.0, 0.7, 1.9):
        observed = Binned(*draw(model, mu, theta, 2000, np.random.default_rng(21)), model)
        limits = method.limits(observed, 0.9)
        # with CLs, an observation below all toys of the background has no limit
        failed = limits.status == Status.FAILED
        assert failed.mean() < (0.005 if not options else 1e-9)
        reasons = method.explain(observed, 0.9)
        assert all("none of the toys without signal" in reasons[i] for i in np.flatnonzero(failed))
        covered = limits.cover(mu * model.signal_events).mean()
        assert covered > 0.9 - 4 * error
        if mu > 0 and options:
            assert covered < 0.9 + 4 * error + 0.01


@NUISANCES
@pytest.mark.parametrize("statistic", ["q_mu", "q_mu_tilde", "t_mu_tilde"])
def test_power_constraint_is_the_limit_expected_one_sigma_low(nuisances, statistic):
    # without signal n <= 1 has probability 0.199, n = 0 only 0.050: the limit of one event is exceeded by 84 %
    options = {"statistic": statistic, "procedure": "clsb", "nuisances": nuisances, "n_toys": 4000}
    observed = count([0, 1, 3], 3.0)
    free = SamplingDistribution(**options).limits(observed, 0.9)
    held = SamplingDistribution(power_constrained=True, **options).limits(observed, 0.9)
    assert held.upper[0] == pytest.approx(free.upper[1], abs=3 * free.error[1] + 1e-9)
    assert held.upper[2] == free.upper[2]
    assert (held.status == Status.OK).all()
    assert (held.lower == 0).all()


def test_hypotheses_may_be_given():
    observed = workspace_of(TWO_BINS).observed
    hypotheses = tuple(np.linspace(0.0, 60.0, 25).tolist())
    for options in ({}, UNIFIED, {"procedure": "clsb", "power_constrained": True}):
        for nuisances in ("profiled", "nominal"):
            chosen = SamplingDistribution(n_toys=2000, nuisances=nuisances, **options).limits(observed, 0.9)
            given = SamplingDistribution(n_toys=2000, nuisances=nuisances, hypotheses=hypotheses, **options)
            limits = given.limits(observed, 0.9)
            width = 4 * np.hypot(chosen.error, limits.error) + (2.5 if options is UNIFIED else 0.0)
            assert abs(limits.upper - chosen.upper) < width
    short = SamplingDistribution(n_toys=500, hypotheses=(0.0, 5.0))
    for method in (short, SamplingDistribution(n_toys=500, hypotheses=(0.0, 5.0), nuisances="nominal")):
        limits, (reason,) = method.limits(observed, 0.9), method.explain(observed, 0.9)
        assert limits.status[0] == Status.FAILED
        assert np.isnan(limits.error[0])
        assert "the limit lies above the largest" in reason


@NUISANCES
def test_says_why_a_limit_is_empty(nuisances):
    method = SamplingDistribution(procedure="clsb", nuisances=nuisances, n_toys=1000)
    observed = count([0, 9], 9.0)
    assert method.limits(observed, 0.9).status.tolist() == [Status.EMPTY, Status.OK]
    empty, found = method.explain(observed, 0.9)
    assert "no signal is left" in empty
    assert found == ""


@NUISANCES
def test_excludes_nothing_where_no_toy_of_the_background_is_as_extreme(nuisances):
    method, observed = SamplingDistribution(nuisances=nuisances, n_toys=200), count(0, 30.0)
    assert method.limits(observed, 0.9).status[0] == Status.FAILED
    assert "raise n_toys" in method.explain(observed, 0.9)[0]


@NUISANCES
@pytest.mark.parametrize("n_toys", [200, 2000])
def test_a_limit_between_hypotheses_has_a_background_at_both(nuisances, n_toys):
    model = BinnedModel(
        ("s", "b"), ((12.0, 11.0), (50.0, 52.0)), (True, False),
        tuple(Parameter(f"b{i}", "poisson", 1.0, tau=tau, low=0.0) for i, tau in enumerate((277.8, 55.2))),
        (Scale(0, 1, 0, 1), Scale(1, 1, 1, 2)),
    )  # fmt: skip
    observed = Binned([[20, 30], [30, 30], [35, 40]], np.tile(model.nominal_auxiliary, (3, 1)), model)
    method = SamplingDistribution(n_toys=n_toys, nuisances=nuisances)
    limits, reasons = method.limits(observed, 0.9), method.explain(observed, 0.9)
    assert limits.status[0] == Status.FAILED
    assert ((limits.status == Status.OK) == np.isfinite(limits.error)).all()
    assert all(
        ("raise n_toys" in reason) == np.isnan(upper) for reason, upper in zip(reasons, limits.upper, strict=True)
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"statistic": "t_mu_tilde"}, "procedure"),
        ({"power_constrained": True}, "power_constrained"),
        ({"nuisances": "fitted"}, "nuisances"),
        ({"nuisances": "nominal", "n_toys": 99}, "n_toys"),
        ({"nuisances": "nominal", "hypotheses": (1.0,)}, "hypotheses"),
    ],
)
def test_refuses_options_that_make_no_sense_together(options, named):
    with pytest.raises(ValueError, match=f"^{named}"):
        SamplingDistribution(**options)


def test_says_what_it_reads_and_which_sides_it_has():
    assert SamplingDistribution().reads == (Counts, OnOff, Binned)
    unified = SamplingDistribution(**UNIFIED)
    assert (unified.reads, unified.sided) == ((Binned,), "two")
    assert SamplingDistribution(procedure="clsb", power_constrained=True).reads == (Binned,)


def test_quantiles_of_toys_are_order_statistics():
    values = np.random.default_rng(1).permutation(np.arange(1.0, 101.0))
    at, low, high = quantiles_of_toys(values, np.array([0.5, 0.16]))
    # ranks 50 and 16, and those 5 and 3.67 lower and higher
    assert at.tolist() == [50.0, 16.0]
    assert low.tolist() == [45.0, 13.0]
    assert high.tolist() == [55.0, 20.0]
