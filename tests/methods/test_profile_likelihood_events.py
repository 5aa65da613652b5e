import math

import numpy as np
import pytest
from iminuit import Minuit
from scipy import optimize

from covsvc.contracts import ModelledEvents, Status
from covsvc.kernels.unbinned import KINDS, UNKNOWN, fit_at
from covsvc.methods.profile_likelihood import ProfileLikelihood

CL = 0.9
Z2 = 1.6423744151498165  # Phi^-1(0.9)^2
SCALE = 1e8  # of the function that iminuit minimises: it stops at a fixed distance of that from the minimum


def gaussian_on_flat(size, seed, truths=((0, 5), (3, 10), (10, 20), (1, 40), (20, 10))):
    """Return the density ratios of toys in (-10, 10), signal N(0, 1), and their true backgrounds."""
    rng = np.random.default_rng(seed)
    for i in range(size):
        s, b = truths[i % len(truths)]
        x = np.concatenate([rng.normal(size=rng.poisson(s)), rng.uniform(-10, 10, rng.poisson(b))])
        yield 20.0 * np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi), float(b)


def minimiser(ratio, start, b, penalty):
    """Return iminuit at the minimum of -2 ln L in s, b >= 0; `penalty` is -2 ln f(b) and its slope."""
    at_start = start[0] * ratio + start[1]  # differences of the likelihood keep their digits

    def function(s, b):
        events = np.log((s * ratio + b) / at_start).sum()
        return SCALE * (2.0 * (s + b - sum(start) - events) + penalty(b)[0] - penalty(start[1])[0])

    def gradient(s, b):
        a = 1.0 / (s * ratio + b)
        return SCALE * np.array([2.0 - 2.0 * (ratio * a).sum(), 2.0 - 2.0 * a.sum() + penalty(b)[1]])

    minuit = Minuit(function, *start, grad=gradient, name=("s", "b"))
    minuit.limits = [(0, None), (1e-9, None)]
    minuit.strategy, minuit.errordef, minuit.tol = 2, SCALE * Z2, 1e-9
    return minuit.migrad().migrad()


def crossing(minuit, guess):
    """Return the s above the fitted one at which iminuit's minimum in b lies z^2 above that in s and b.

    The search stands for MINOS, which itself is content with 1e-3.
    """
    best = minuit.fval
    minuit.fixed["s"] = True

    def above(s):
        minuit.values["s"] = s
        return minuit.migrad().fval - best - SCALE * Z2

    return optimize.brentq(above, guess * (1 - 1e-4), guess * (1 + 1e-4), xtol=1e-9, rtol=1e-12)


def nothing(b):
    return 0.0, 0.0


def gamma(mean, error):
    shape, rate = (mean / error) ** 2, mean / error**2
    return lambda b: (2.0 * (rate * b - (shape - 1.0) * math.log(b)), 2.0 * (rate - (shape - 1.0) / b))


def gaussian(mean, error):
    return lambda b: (((b - mean) / error) ** 2, 2.0 * (b - mean) / error**2)


def compare(toys, known, penalty):
    backgrounds = np.array([b for _, b in toys])
    observed = ModelledEvents.of([ratio for ratio, _ in toys], **known(backgrounds))
    limits = ProfileLikelihood().limits(observed, CL)
    assert (limits.status == Status.OK).all()
    kind = UNKNOWN if observed.b is None else KINDS[observed.shape]
    errors = np.full(len(toys), observed.b_error, float)
    s, b_hat, _, _ = fit_at(
        observed.starts, observed.density_ratio, kind, backgrounds, errors, np.full(len(toys), np.nan)
    )
    fitted = 0
    for i, ((ratio, b), upper) in enumerate(zip(toys, limits.upper.tolist(), strict=True)):
        if not len(ratio):
            assert upper == pytest.approx(0.5 * Z2, rel=1e-12)
            continue
        minuit = minimiser(ratio, (0.3 * len(ratio) + 0.1, 0.7 * len(ratio)), b, penalty(b))
        assert (minuit.values["s"], minuit.values["b"]) == pytest.approx((s[i], b_hat[i]), rel=1e-6, abs=4e-6)
        assert crossing(minuit, upper) == pytest.approx(upper, rel=1e-6)
        fitted += s[i] > 0
    return fitted


def test_limits_agree_with_iminuit_on_1000_toys():
    toys = list(gaussian_on_flat(1000, seed=2000))
    assert compare(toys, lambda b: {}, lambda b: nothing) > 600


@pytest.mark.parametrize(("shape", "penalty"), [("gamma", gamma), ("truncated_gaussian", gaussian)])
def test_limits_with_an_estimated_background_agree_with_iminuit(shape, penalty):
    toys = list(gaussian_on_flat(60, seed=2001))
    assert compare(toys, lambda b: {"b": b, "b_error": 0.2 * b, "shape": shape}, lambda b: penalty(b, 0.2 * b)) > 30


def test_limit_with_a_known_background_is_the_root_of_its_likelihood():
    for ratio, b in gaussian_on_flat(50, seed=2002):

        def slope(s, ratio=ratio, b=b):
            return (ratio / (s * ratio + b)).sum() - 1.0

        def fall(s, s_hat, ratio=ratio, b=b):
            return 2.0 * (s - s_hat - np.log((s * ratio + b) / (s_hat * ratio + b)).sum())

        s_hat = optimize.brentq(slope, 0.0, len(ratio), xtol=1e-13) if slope(0.0) > 0 else 0.0
        upper = optimize.brentq(lambda s, s_hat=s_hat: fall(s, s_hat) - Z2, s_hat, 3.0 * len(ratio) + 10, xtol=1e-13)
        found = ProfileLikelihood().limits(ModelledEvents([len(ratio)], ratio, b=b), CL)
        assert found.upper == pytest.approx([upper], rel=1e-9)


def test_half_the_confidence_is_the_fit():
    ratios = [0.0, 8.0, 2.0, 0.1]
    # (s, b) of the largest likelihood: 8 / (8 s + b) + 2 / (2 s + b) + 0.1 / (0.1 s + b) = 1, s + b = 4
    s = optimize.brentq(lambda s: sum((r - 1.0) / (s * r + 4.0 - s) for r in ratios), 0.1, 3.9, xtol=1e-14)
    assert ProfileLikelihood().limits(ModelledEvents([4], ratios), 0.5).upper == pytest.approx([s], rel=1e-12)


def test_says_why_there_is_no_limit():
    method = ProfileLikelihood()
    divergent = ModelledEvents([1, 0], [2.0], b=[1.0, 1.0], b_error=[2.0, 0.5])
    assert method.limits(divergent, CL).status.tolist() == [Status.FAILED, Status.OK]
    assert [words[:22] for words in method.explain(divergent, CL)] == ["the gamma distribution", ""]
    impossible = ModelledEvents([1, 1], [2.0, 0.0], b=0.0)
    assert method.limits(impossible, CL).status.tolist() == [Status.OK, Status.FAILED]
    assert [words[:8] for words in method.explain(impossible, CL)] == ["", "an event"]


def test_unbounded_fits_are_failed_with_the_reason():
    method = ProfileLikelihood(bounded=False)
    observed = ModelledEvents([1, 0], [2.0])
    assert (method.limits(observed, CL).status == Status.FAILED).all()
    assert all("set bounded" in words for words in method.explain(observed, CL))
