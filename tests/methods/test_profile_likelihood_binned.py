"""Profile-likelihood limits of counts in bins."""

import numpy as np
import pytest
from reference_workspaces import BUMP, CONTROL
from scipy.stats import norm

from covsvc.binned_model import BinnedModel, Parameter, Scale
from covsvc.contracts import Binned, Counts, OnOff, Status
from covsvc.kernels.binned import draw
from covsvc.methods.profile_likelihood import ProfileLikelihood
from covsvc.methods.q_mu import QMu
from covsvc.workspace import workspace_of

BOTH = pytest.mark.parametrize("method", [ProfileLikelihood(), ProfileLikelihood(bounded=False)], ids=str)


def one_bin(b, tau=None):
    if tau is None:
        return BinnedModel(("signal", "background"), ((0.5,), (b,)), (True, False))
    rate = Parameter("rate", "poisson", 1.0, tau=tau * b, low=0.0)
    return BinnedModel(("signal", "background"), ((0.5,), (b,)), (True, False), (rate,), (Scale(0, 1, 0, 1),))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("workspace", [BUMP, CONTROL], ids=["bump", "control"])
def test_likelihood_of_pyhf_has_fallen_by_z_squared_at_the_limit(workspace):
    import pyhf

    data = workspace_of(workspace).observed
    read = pyhf.Workspace(workspace)
    model = read.model(modifier_settings={"normsys": {"interpcode": "code4"}, "histosys": {"interpcode": "code4p"}})
    (upper,) = ProfileLikelihood().limits(data, 0.95).upper
    counts = read.data(model)
    _, least = pyhf.infer.mle.fit(counts, model, return_fitted_val=True)
    mu = float(upper) / data.model.signal_events
    _, there = pyhf.infer.mle.fixed_poi_fit(mu, counts, model, return_fitted_val=True)
    assert float(there - least) == pytest.approx(norm.isf(0.05) ** 2, abs=2e-5)  # its fits stop at some 1e-6


@BOTH
@pytest.mark.parametrize("cl", [0.5, 0.9, 0.999, 1 - 1e-9])
def test_one_bin_is_one_count_or_a_pair_on_and_off_source(method, cl):
    n = np.arange(30)
    rng = np.random.default_rng(3)
    on, off = rng.poisson(6.0, 60) + 1, rng.poisson(10.0, 60)
    for binned, other in (
        (Binned(n[:, None], np.zeros((30, 0)), one_bin(4.5)), Counts(n, 4.5)),
        (Binned(on[:, None], off[:, None], one_bin(3.0, 2.0)), OnOff(on, off, 2.0)),
    ):
        found, told = method.limits(binned, cl), method.limits(other, cl)
        assert found.upper == pytest.approx(told.upper, rel=1e-6, abs=1e-6)
        sure = (told.upper > 1e-6) | (told.status == Status.EMPTY)  # the best signal may be just 0
        assert (found.status == told.status)[sure].all()


def test_without_bounds_is_the_p_value_of_q_mu():
    model = workspace_of(BUMP).model
    theta = model.compiled.numbers[: model.n_parameters, 1]
    observed = Binned(*draw(model, 0.3, theta, 200, np.random.default_rng(8)), model)
    found, same = (method.limits(observed, 0.95) for method in (ProfileLikelihood(bounded=False), QMu("clsb")))
    assert found.upper.tolist() == same.upper.tolist()
    assert Status.EMPTY in found.status


@BOTH
def test_depends_on_its_toy_alone_and_says_why_it_has_no_limit(method):
    model = workspace_of(CONTROL).model
    theta = model.compiled.numbers[: model.n_parameters, 1]
    counts, auxiliary = draw(model, 0.0, theta, 50, np.random.default_rng(9))
    together = method.limits(Binned(counts, auxiliary, model), 0.95)
    alone = [method.limits(Binned(counts[[i]], auxiliary[[i]], model), 0.95).upper[0] for i in range(50)]
    assert alone == together.upper.tolist()
    reasons = method.explain(Binned(counts, auxiliary, model), 0.95)
    assert [reason == "" for reason in reasons] == (together.status == Status.OK).tolist()


# z^2 / 2 - b without events, as of one count
def test_without_events_is_that_of_one_count():
    model = BinnedModel(("signal", "background"), ((1.0, 1.0), (0.1, 0.2)), (True, False))
    (upper,) = ProfileLikelihood().limits(Binned([[0, 0]], np.zeros((1, 0)), model), 0.9).upper
    assert upper == pytest.approx(norm.isf(0.1) ** 2 / 2, rel=1e-9)
