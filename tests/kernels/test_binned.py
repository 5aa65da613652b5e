import math
import warnings

import numpy as np
import pyhf
import pytest
from reference_binned import expected as expected_by_definition
from reference_binned import minuit, saturated, twice_nll
from scipy import stats

from covsvc.binned_model import BinnedModel, Interpolation, Parameter, Scale
from covsvc.kernels import binned
from covsvc.kernels.binned import draw, expected, fit, fit_at

UNBOUNDED = -math.inf


def uncorrelated(signal, background, uncertainty):
    """Return one multiplier a bin, each measured by a Poisson count, as pyhf's uncorrelated_background."""
    bins = range(len(signal))
    taus = [(b / u) ** 2 for b, u in zip(background, uncertainty, strict=True)]
    return BinnedModel(
        ("signal", "background"),
        (tuple(signal), tuple(background)),
        (True, False),
        tuple(Parameter(f"gamma{i}", "poisson", 1.0, tau=taus[i]) for i in bins),
        tuple(Scale(i, 1, i, i + 1) for i in bins),
    )


def random_model(seed, bins=6, smooth=True, scale=30.0):
    """Return a model with every kind of effect on a signal and two backgrounds."""
    rng = np.random.default_rng([7, seed])
    signal = rng.uniform(0.1, 0.4, bins) * scale
    first = rng.uniform(0.5, 2.0, bins) * scale
    second = rng.uniform(0.1, 1.0, bins) * scale
    tilt = rng.uniform(-0.1, 0.1, bins)
    parameters = (
        Parameter("norm"),
        Parameter("tilt"),
        Parameter("lumi", "gaussian", 1.0, 0.05),
        Parameter("gamma", "poisson", 1.0, tau=float(rng.uniform(5, 50))),
        Parameter("free", "none", 1.0),
    )
    up, down = (float(each) for each in rng.uniform([1.02, 0.7], [1.3, 0.97]))
    effects = (
        Interpolation(0, 0, "factor", (down,), (up,), smooth),
        Interpolation(0, 1, "factor", (2 - up,), (2 - down,), smooth),
        Interpolation(0, 1, "shape", tuple(first * (1 - tilt / 3)), tuple(first * (1 + tilt / 2)), smooth),
        Interpolation(1, 1, "shape", tuple(first * (1 - tilt)), tuple(first * (1 + 0.7 * tilt)), smooth),
        Interpolation(1, 0, "shape", tuple(signal * (1 + 0.5 * tilt)), tuple(signal * (1 - 0.4 * tilt)), smooth),
        Scale(2, 0, 0, bins),
        Scale(2, 1, 0, bins),
        Scale(2, 2, 0, bins),
        Scale(3, 1, bins // 2, bins),
        Scale(4, 2, 0, bins),
    )
    nominal = tuple(tuple(each.tolist()) for each in (signal, first, second))
    return BinnedModel(("signal", "first", "second"), nominal, (True, False, False), parameters, effects)


def random_point(model, rng):
    gaussian = [parameter.value + parameter.width * rng.normal() for parameter in model.parameters]
    return [
        x if parameter.constraint == "gaussian" else rng.uniform(0.5, 1.5)
        for x, parameter in zip(gaussian, model.parameters, strict=True)
    ]


def toys(model, seed, size, mu=1.0):
    rng = np.random.default_rng(seed)
    theta = [parameter.value for parameter in model.parameters]
    return draw(model, mu, theta, size, rng)


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_yields_are_those_of_the_definition(seed, smooth):
    model = random_model(seed, smooth=smooth)
    rng = np.random.default_rng(seed)
    theta = np.array([random_point(model, rng) for _ in range(40)])
    mu = rng.uniform(0, 3, 40)
    found = expected(model.compiled, mu, theta)
    for row, strength, point in zip(found, mu, theta, strict=True):
        assert row == pytest.approx(expected_by_definition(model, strength, point), rel=1e-12)


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_gradient_and_hessian_are_those_of_differences(seed, smooth):
    model = random_model(seed, smooth=smooth)
    rng = np.random.default_rng(seed)
    m = model.compiled
    work = binned.new_work(m)
    counts, auxiliary = toys(model, seed, 6)
    for n, aux in zip(counts.astype(float), auxiliary, strict=True):
        x = np.array([*random_point(model, rng), rng.uniform(0.2, 2)])

        def gradient(at, n=n, aux=aux):
            work.parameters[binned._X] = at
            work.parameters[binned._SIDE] = 1.0
            assert binned._evaluate(m, work, n, aux, 0.0) == 0
            return work.parameters[binned._G].copy()

        def value(at, n=n, aux=aux):
            return 0.5 * twice_nll(model, n, aux, at[-1], at[:-1])

        found = gradient(x)
        hessian = np.tril(work.parameters[binned._HESSIAN : binned._HESSIAN + len(x)])
        hessian += np.tril(hessian, -1).T
        for p in range(len(x)):
            h = np.zeros(len(x))
            h[p] = 1e-5
            slope = (8 * (value(x + h) - value(x - h)) - (value(x + 2 * h) - value(x - 2 * h))) / 12e-5
            assert found[p] == pytest.approx(slope, rel=1e-6, abs=1e-5)
            curvature = (8 * (gradient(x + h) - gradient(x - h)) - (gradient(x + 2 * h) - gradient(x - 2 * h))) / 12e-5
            assert hessian[p] == pytest.approx(curvature, rel=1e-6, abs=1e-6 * abs(hessian).max())


@pytest.mark.parametrize("lowest", [0.0, UNBOUNDED])
@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_fits_agree_with_minuit(seed, smooth, lowest):
    model = random_model(seed, smooth=smooth)
    counts, auxiliary = toys(model, seed, 4, mu=0.3)
    found = fit(model, counts, auxiliary, lowest)
    held = fit_at(model, counts, auxiliary, 1.3)
    assert found.ok.all()
    assert held.ok.all()
    for j, (n, aux) in enumerate(zip(counts, auxiliary, strict=True)):
        base = saturated(model, n, aux)
        value = twice_nll(model, n, aux, found.mu[j], found.theta[j])
        assert found.value[j] == pytest.approx(value - base, abs=1e-9)
        # a kink has a minimum on either side: there MIGRAD looks for a lower point near by
        mu, least = minuit(model, n, aux, None, None if lowest else 0.0, None if smooth else found.theta[j])
        # MIGRAD stops above the minimum, never below it
        assert -1e-9 <= least - base - found.value[j] <= 1e-6
        assert found.mu[j] == pytest.approx(mu, abs=2e-3)
        _, least = minuit(model, n, aux, 1.3, start=None if smooth else held.theta[j])
        assert -1e-9 <= least - base - held.value[j] <= 1e-6


def modified(name, data, kind):
    return {"name": name, "type": kind, "data": data}


def channel(name, *samples):
    return {"name": name, "samples": [{"name": each, "data": data, "modifiers": list(m)} for each, data, m in samples]}


# every modifier, two channels; the same spelled out as covsvc reads it
WORKSPACE = {
    "channels": [
        channel(
            "first",
            (
                "signal",
                [3.0, 6.0, 2.0],
                [
                    modified("mu", None, "normfactor"),
                    modified("lumi", None, "lumi"),
                    modified("eff", {"hi": 1.1, "lo": 0.93}, "normsys"),
                ],
            ),
            (
                "background",
                [50.0, 40.0, 30.0],
                [
                    modified("lumi", None, "lumi"),
                    modified("eff", {"hi": 0.95, "lo": 1.07}, "normsys"),
                    modified("tilt", {"hi_data": [54.0, 40.5, 27.0], "lo_data": [47.0, 39.0, 32.0]}, "histosys"),
                    modified("control", [5.0, 8.0, 3.0], "shapesys"),
                ],
            ),
        ),
        channel(
            "second",
            ("signal", [1.0, 2.0], [modified("mu", None, "normfactor"), modified("lumi", None, "lumi")]),
            (
                "background",
                [20.0, 15.0],
                [
                    modified("scale", None, "normfactor"),
                    modified("tilt", {"hi_data": [21.0, 13.0], "lo_data": [19.5, 16.0]}, "histosys"),
                    modified("sample size", [1.5, 2.0], "staterror"),
                ],
            ),
        ),
    ],
    "observations": [{"name": "first", "data": [52, 41, 35]}, {"name": "second", "data": [18, 19]}],
    "measurements": [
        {
            "name": "only",
            "config": {
                "poi": "mu",
                "parameters": [
                    {"name": "lumi", "auxdata": [1.0], "sigmas": [0.03], "bounds": [[0.5, 1.5]], "inits": [1.0]}
                ],
            },
        }
    ],
    "version": "1.0.0",
}
FULL = BinnedModel(
    ("first signal", "second signal", "first background", "second background"),
    ((3.0, 6.0, 2.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0, 2.0), (50.0, 40.0, 30.0, 0.0, 0.0), (0.0, 0.0, 0.0, 20.0, 15.0)),
    (True, True, False, False),
    (
        Parameter("lumi", "gaussian", 1.0, 0.03),
        Parameter("eff"),
        Parameter("tilt"),
        *(Parameter(f"control[{i}]", "poisson", 1.0, tau=t) for i, t in enumerate((100.0, 25.0, 100.0))),
        Parameter("scale", "none", 1.0),
        *(Parameter(f"sample size[{i}]", "gaussian", 1.0, w) for i, w in enumerate((1.5 / 20, 2.0 / 15))),
    ),
    (
        Scale(0, 0, 0, 3),
        Scale(0, 1, 3, 5),
        Scale(0, 2, 0, 3),
        Interpolation(1, 0, "factor", (0.93,), (1.1,)),
        Interpolation(1, 2, "factor", (1.07,), (0.95,)),
        Interpolation(2, 2, "shape", (47.0, 39.0, 32.0, 0.0, 0.0), (54.0, 40.5, 27.0, 0.0, 0.0)),
        Interpolation(2, 3, "shape", (0.0, 0.0, 0.0, 19.5, 16.0), (0.0, 0.0, 0.0, 21.0, 13.0)),
        Scale(3, 2, 0, 1),
        Scale(4, 2, 1, 2),
        Scale(5, 2, 2, 3),
        Scale(6, 3, 3, 5),
        Scale(7, 3, 3, 4),
        Scale(8, 3, 4, 5),
    ),
)


@pytest.fixture(scope="module")
def workspace():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pyhf.Workspace(WORKSPACE).model()


def to_pyhf(model, mu, theta):
    """Return parameters in pyhf's order."""
    config = model.config
    values = dict(zip(["lumi", "eff", "tilt"], theta[:3], strict=True))
    values |= {"control": theta[3:6], "scale": theta[6], "mu": mu}
    values[next(name for name in config.par_order if "sample size" in name or "staterror" in name)] = theta[7:9]
    point = np.empty(config.npars)
    for name in config.par_order:
        point[config.par_slice(name)] = values[name]
    return point


def test_yields_are_those_of_pyhf(workspace):
    rng = np.random.default_rng(5)
    for _ in range(100):
        theta = np.array([rng.normal(1, 0.05), *rng.normal(0, 1.5, 2), *rng.uniform(0.5, 1.5, 6)])
        mu = rng.uniform(0, 4)
        theirs = workspace.expected_actualdata(to_pyhf(workspace, mu, theta))
        assert expected(FULL.compiled, np.array([mu]), theta[None])[0] == pytest.approx(np.array(theirs), rel=1e-12)


def test_likelihood_ratios_are_those_of_pyhf(workspace):
    data = np.array([52, 41, 35, 18, 19])
    aux = FULL.nominal_auxiliary + np.array([0.01, 0.3, -0.8, 5.0, -3.0, 2.0, 0.0, 0.05, -0.04])
    found = fit_at(FULL, [data] * 3, [aux] * 3, [0.0, 1.0, 2.5])
    assert found.ok.all()
    order = {name: i for i, name in enumerate(["lumi", "eff", "tilt"])} | {"control": slice(3, 6)}
    order[next(name for name in workspace.config.auxdata_order if name not in order)] = slice(7, 9)
    measured = np.concatenate([np.atleast_1d(aux[order[name]]) for name in workspace.config.auxdata_order])
    theirs = [
        -2 * float(workspace.logpdf(to_pyhf(workspace, mu, theta), np.concatenate([data, measured]))[0])
        for mu, theta in zip(found.mu, found.theta, strict=True)
    ]
    assert np.diff(found.value) == pytest.approx(np.diff(theirs), abs=1e-10)


def nominal(model, size=1):
    return np.repeat(model.nominal_auxiliary[None], size, 0)


TWO_BINS = uncorrelated([12.0, 11.0], [50.0, 52.0], [3.0, 7.0])


def profiled(s, b, tau, n, aux, mu):
    """Return the multiplier of one bin: the positive root of (b + tau) g^2 + (mu s (1 + tau/b) - n - aux) g = aux mu s / b."""
    x = mu * s
    p = x * (b + tau) - (n + aux) * b
    return (-p + math.sqrt(p * p + 4 * b * (b + tau) * aux * x)) / (2 * b * (b + tau))


# pyhf's uncorrelated_background: d/dg of n ln(x + g b) - g b + aux ln g - tau g = 0 is a quadratic equation
@pytest.mark.parametrize("mu", [0.0, 0.3, 1.01157, 5.0, 1e3])
@pytest.mark.parametrize("n", [(51, 48), (0, 0), (0, 90), (10**6, 3)])
def test_multipliers_at_fixed_signal_are_roots_of_a_quadratic_equation(n, mu):
    aux = TWO_BINS.nominal_auxiliary
    found = fit_at(TWO_BINS, [n], [aux], mu)
    assert found.ok.all()
    exact = [profiled(*each, mu) for each in zip((12, 11), (50, 52), aux, n, aux, strict=True)]
    assert found.theta[0] == pytest.approx(exact, rel=1e-9)
    value = twice_nll(TWO_BINS, n, aux, mu, exact) - saturated(TWO_BINS, n, aux)
    assert found.value[0] == pytest.approx(value, rel=1e-12, abs=1e-9)


# one bin: the signal explains all that the background does not
@pytest.mark.parametrize("n", [0, 1, 30, 50, 70, 10**6])
def test_one_bin_is_explained_exactly(n):
    model = uncorrelated([12.0], [50.0], [5.0])
    bounded, free = fit(model, [[n]], nominal(model)), fit(model, [[n]], nominal(model), UNBOUNDED)
    assert free.mu == pytest.approx([(n - 50) / 12], rel=1e-9, abs=1e-9)
    assert free.value == pytest.approx([0.0], abs=1e-9)
    assert bounded.mu == pytest.approx([max((n - 50) / 12, 0.0)], rel=1e-9, abs=1e-9)


def test_negative_signal_stops_where_a_bin_without_events_is_empty():
    # second bin: 20 expected at mu = 0, 20 seen; first bin: b + mu s >= 0
    model = BinnedModel(("s", "b"), ((5.0, 1.0), (2.0, 20.0)), (True, False))
    found = fit(model, [[0, 20], [0, 10], [0, 25]], np.empty((3, 0)), UNBOUNDED)
    assert found.ok.all()
    # of 2 (5 + 1) - 2 n ln(20 + mu): n / (20 + mu) = 6, below -2/5 all three
    assert found.mu == pytest.approx([-0.4] * 3, abs=1e-10)
    assert found.value == pytest.approx([2 * (19.6 - n + n * math.log(n / 19.6)) for n in (20, 10, 25)], abs=1e-9)


def test_no_background_and_no_events():
    model = BinnedModel(("s", "b"), ((5.0, 1.0), (0.0, 20.0)), (True, False))
    found = fit(model, [[0, 0], [0, 20], [3, 20]], np.empty((3, 0)))
    assert found.ok.all()
    assert found.mu[:2].tolist() == [0.0, 0.0]
    # 3 / mu + 20 / (20 + mu) = 6
    assert 3 / found.mu[2] + 20 / (20 + found.mu[2]) == pytest.approx(6, rel=1e-10)


def test_events_where_nothing_is_expected_have_no_likelihood():
    model = BinnedModel(("s", "b"), ((5.0, 1.0), (0.0, 20.0)), (True, False))
    held = fit_at(model, [[1, 20], [0, 20]], np.empty((2, 0)), 0.0)
    assert held.ok.all()
    assert held.value.tolist() == [math.inf, 0.0]
    nowhere = BinnedModel(("s", "b"), ((5.0, 0.0), (1.0, 0.0)), (True, False))
    for found in (
        fit(nowhere, [[1, 1], [1, 0]], np.empty((2, 0))),
        fit_at(nowhere, [[1, 1], [1, 0]], np.empty((2, 0)), 1.0),
    ):
        assert found.ok.tolist() == [False, True]
        assert math.isnan(found.mu[0])
        assert math.isnan(found.value[0])
        assert "neither signal nor background" in binned.REASONS[found.reason[0]]


def test_negative_yields_at_a_fixed_signal_fail():
    found = fit_at(TWO_BINS, [[51, 48]], nominal(TWO_BINS), -10.0)
    assert not found.ok.any()
    assert "negative" in binned.REASONS[found.reason[0]]


def test_measurement_of_zero_events_pushes_a_multiplier_to_zero():
    found = fit_at(TWO_BINS, [[0, 40], [7, 40]], [[0.0, 50.0]] * 2, 2.0)
    assert found.ok.all()
    assert found.theta[:, 0].tolist() == [0.0, 0.0]  # 24 signal events expected, 7 seen


def test_free_background_of_the_shape_of_the_signal_is_told_apart_by_nothing():
    model = BinnedModel(
        ("s", "b"), ((2.0, 4.0), (5.0, 10.0)), (True, False), (Parameter("free", "none", 1.0),), (Scale(0, 1, 0, 2),)
    )
    found = fit(model, [[5, 9], [9, 30]], np.zeros((2, 1)))
    assert not found.ok.any()
    assert np.isnan(found.mu).all()
    assert all("free parameters" in binned.REASONS[each] for each in found.reason)
    held = fit_at(model, [[5, 9]], np.zeros((1, 1)), 1.0)
    assert held.ok.all()
    assert held.theta[0] == pytest.approx([(14 - 6) / 15], rel=1e-9)


def test_parameters_without_effect_stay():
    model = BinnedModel(
        ("s", "b"), ((2.0, 4.0), (5.0, 5.0)), (True, False), (Parameter("free", "none", 0.0), Parameter("idle")), ()
    )
    found = fit(model, [[5, 9]], [[0.0, 0.7]])
    assert found.ok.all()
    assert found.theta[0] == pytest.approx([0.0, 0.7], abs=1e-9)


def test_kink_can_hold_the_minimum():
    # down and up both add events, none is missing: the parameter stays at 0 although its measurement says 0.1
    model = BinnedModel(
        ("s", "b"),
        ((1.0, 1.0), (50.0, 50.0)),
        (True, False),
        (Parameter("kinked"),),
        (Interpolation(0, 1, "shape", (70.0, 70.0), (70.0, 70.0), smooth=False),),
    )
    found = fit_at(model, [[45, 45], [50, 50]], [[0.1], [0.1]], 0.0)
    assert found.ok.all()
    assert found.theta[0, 0] == 0.0
    # 40 - 40 n / (50 + 20 x) / 2 ... + x - 0.1 = 0
    x = found.theta[1, 0]
    assert 40 * (1 - 50 / (50 + 20 * x)) + x - 0.1 == pytest.approx(0, abs=1e-9)


def test_shape_below_zero_is_floored():
    model = BinnedModel(
        ("s", "b"),
        ((1.0, 1.0), (1.0, 50.0)),
        (True, False),
        (Parameter("tilt"),),
        (Interpolation(0, 1, "shape", (2.0, 40.0), (0.0, 60.0), smooth=False),),
    )
    rows = expected(model.compiled, np.zeros(3), np.array([[0.5], [2.0], [50.0]]))
    assert rows[0] == pytest.approx([0.5, 55.0])
    assert (rows[1:, 0] > 0).all() or rows[2, 0] >= 0
    assert rows[1:, 0].max() < 1e-6
    found = fit(model, [[0, 80], [1, 80]], [[0.0], [0.0]])
    assert found.ok.all()


@pytest.mark.parametrize("lowest", [0.0, UNBOUNDED])
def test_bits_of_a_toy_do_not_depend_on_its_batch(lowest):
    model = random_model(3, scale=3.0)
    counts, auxiliary = toys(model, 1, 40, mu=0.0)
    together = fit(model, counts, auxiliary, lowest)
    assert together.ok.all()
    backwards = fit(model, counts[::-1], auxiliary[::-1], lowest)
    for one, other in zip(together, backwards, strict=True):
        assert one.tobytes() == other[::-1].tobytes()
    alone = fit(model, counts[7:8], auxiliary[7:8], lowest)
    assert alone.mu.tobytes() == together.mu[7:8].tobytes()
    assert alone.value.tobytes() == together.value[7:8].tobytes()


@pytest.mark.parametrize("scale", [0.05, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("seed", range(4))
def test_all_fits_converge(seed, scale):
    model = random_model(seed, scale=scale, smooth=seed % 2 == 0)
    for mu in (0.0, 1.0):
        counts, auxiliary = toys(model, seed, 300, mu)
        bounded, free, held = (
            fit(model, counts, auxiliary),
            fit(model, counts, auxiliary, UNBOUNDED),
            fit_at(model, counts, auxiliary, mu),
        )
        for found in (bounded, free, held):
            assert found.ok.all(), binned.REASONS[found.reason.max()]
        # a kink has a minimum on either side, and fits may differ in which they find
        assert (free.value <= bounded.value + 1e-9 * (1 + bounded.value)).mean() > 0.95
        assert (bounded.value <= held.value + 1e-9 * (1 + held.value)).mean() > 0.95


def test_asimov_set_is_fitted_exactly():
    model = random_model(1)
    theta = np.array([[0.3, -0.2, 1.02, 1.1, 0.8]])
    counts = expected(model.compiled, np.array([0.7]), theta)
    found = fit(model, counts, [[0.3, -0.2, 1.02, 1.1 * model.parameters[3].tau, 0.0]])
    assert found.mu == pytest.approx([0.7], rel=1e-7)
    assert found.theta == pytest.approx(theta, rel=1e-6)
    assert found.value == pytest.approx([0.0], abs=1e-12)


def test_toys_are_poisson_and_normal():
    model = BinnedModel(
        ("s", "b"),
        ((0.5, 1.0, 30.0, 0.0), (0.0, 3.0, 5000.0, 0.0)),
        (True, False),
        (Parameter("norm", width=0.7), Parameter("gamma", "poisson", 1.0, tau=12.0), Parameter("free", "none", 1.0)),
        (Interpolation(0, 0, "factor", (0.9,), (1.1,)), Scale(1, 1, 0, 4), Scale(2, 1, 0, 4)),
    )
    theta = np.array([0.4, 1.2, 0.9])
    size = 40_000
    counts, auxiliary = draw(model, 2.0, theta, size, np.random.default_rng(3))
    nu = expected(model.compiled, np.array([2.0]), theta[None])[0]
    assert counts.dtype == np.int64
    assert (counts[:, 3] == 0).all()
    p_values = [stats.kstest((auxiliary[:, 0] - 0.4) / 0.7, "norm").pvalue]
    for column, mean in [*zip(counts.T[:3], nu, strict=False), (auxiliary[:, 1], 14.4)]:
        edges = np.unique(stats.poisson.ppf(np.linspace(0.02, 0.98, 25), mean))
        cells = np.diff(np.concatenate([[0.0], stats.poisson.cdf(edges, mean), [1.0]]))
        seen = np.bincount(np.searchsorted(edges, column), minlength=len(cells))
        p_values.append(stats.chisquare(seen, size * cells).pvalue)
    assert min(p_values) * len(p_values) > 1e-3
    assert (auxiliary[:, 2] == 0).all()
    assert abs(np.corrcoef(np.column_stack([counts[:, :3], auxiliary[:, :2]]).T)[np.triu_indices(5, 1)]).max() < 0.025


def test_toys_depend_on_the_generator_alone():
    model = random_model(2)
    theta = [parameter.value for parameter in model.parameters]
    for size in (10, 5000):
        first, second = (draw(model, 1.0, theta, size, np.random.default_rng(4)) for _ in range(2))
        assert first[0].tobytes() == second[0].tobytes()
        assert first[1].tobytes() == second[1].tobytes()
