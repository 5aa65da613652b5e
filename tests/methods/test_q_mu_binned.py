"""q_mu and q_mu_tilde of counts in bins."""

import numpy as np
import pytest
from reference_workspaces import BUMP, CONTROL, TWO_BINS

from covsvc.binned_model import BinnedModel, Parameter, Scale
from covsvc.contracts import Binned, Counts, OnOff, Status
from covsvc.kernels.binned import draw
from covsvc.methods.q_mu import QMu, QMuTilde
from covsvc.workspace import workspace_of

METHODS = [QMu(), QMuTilde(), QMu("clsb"), QMuTilde("clsb")]
every_method = pytest.mark.parametrize("method", METHODS, ids=str)

N_SIGMA = (-2, -1, 0, 1, 2)


def one_bin(b, tau=None):
    parameters, effects = (), ()
    if tau is not None:
        parameters = (Parameter("rate", "poisson", 1.0, tau=tau * b, low=0.0),)
        effects = (Scale(0, 1, 0, 1),)
    return BinnedModel(("signal", "background"), ((2.0,), (b,)), (True, False), parameters, effects)


def toys(workspace, mu, size, seed=1):
    model = workspace_of(workspace).model
    theta = model.compiled.numbers[: model.n_parameters, 1]
    return Binned(*draw(model, mu, theta, size, np.random.default_rng(seed)), model)


# pyhf 0.7.6, infer.intervals.upper_limits.toms748_scan with rtol=1e-6, codes 4 and 4p, scipy's fits with tolerance 1e-12;
# of the first, its documentation has 1.01156939, 0.5600747, 0.75702605, 1.06234693, 1.50116923, 2.05078912
@pytest.mark.parametrize(
    ("workspace", "observed", "expected", "within"),
    [
        (TWO_BINS, 1.01157, [0.55988, 0.75702, 1.06235, 1.50117, 2.05079], 2e-5),
        (BUMP, 1.89212545, [0.79917657, 1.08071298, 1.51772246, 2.1498053, 2.95561378], 1e-6),
        (CONTROL, 0.91902336, [0.40642713, 0.55252528, 0.7825384, 1.12177173, 1.56171018], 1e-6),
    ],
    ids=["two_bins", "bump", "control"],
)
def test_agrees_with_the_root_finder_of_pyhf(workspace, observed, expected, within):
    data = workspace_of(workspace).observed
    events = data.model.signal_events
    assert QMuTilde().limits(data, 0.95).upper / events == pytest.approx([observed], abs=within)
    found = [QMuTilde().asimov(data, 0.95, n_sigma)[0] / events for n_sigma in N_SIGMA]
    assert found == pytest.approx(expected, abs=within)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("workspace", [TWO_BINS, BUMP], ids=["two_bins", "bump"])
def test_cls_of_pyhf_passes_its_level_at_the_limits(workspace):
    import pyhf

    data = workspace_of(workspace).observed
    read = pyhf.Workspace(workspace)
    model = read.model(modifier_settings={"normsys": {"interpcode": "code4"}, "histosys": {"interpcode": "code4p"}})
    events = data.model.signal_events
    for method, statistic in ((QMu(), "q"), (QMuTilde(), "qtilde")):
        mu = float(method.limits(data, 0.95).upper[0]) / events
        bounds = model.config.suggested_bounds()
        if statistic == "q":
            bounds[model.config.poi_index] = (-1.0, 10.0)  # no yield is negative there
        level = pyhf.infer.hypotest(mu, read.data(model), model, par_bounds=bounds, test_stat=statistic)
        assert float(level) == pytest.approx(0.05, rel=1e-4)


@every_method
@pytest.mark.parametrize("cl", [0.5, 0.9, 0.95, 0.999, 1 - 1e-9])
def test_one_bin_without_nuisance_parameters_is_one_count(method, cl):
    for b in (0.3, 3.0, 700.0):
        n = np.arange(40) if b < 10 else np.arange(600, 900, 15)
        binned, count = method.limits(Binned(n[:, None], np.zeros((len(n), 0)), one_bin(b)), cl), Counts(n, b)
        other = method.limits(count, cl)
        # where the best signal is 0, double precision leaves some 1e-8 of p
        assert binned.upper == pytest.approx(other.upper, rel=1e-6, abs=1e-6)
        sure = (n != b) & ((other.upper > 1e-2) | (other.status == Status.EMPTY))
        assert (binned.status == other.status)[sure].all()


@every_method
@pytest.mark.parametrize("cl", [0.9, 0.95, 0.999])
def test_one_bin_whose_rate_is_counted_is_on_off(method, cl):
    rng = np.random.default_rng(11)
    for tau in (0.5, 2.0, 30.0):
        on, off = rng.poisson(12.0, 60), rng.poisson(8.0 * tau, 60)
        binned = method.limits(Binned(on[:, None], off[:, None], one_bin(5.0, tau)), cl)
        other = method.limits(OnOff(on, off, tau), cl)
        sure = (other.upper > 0.3) | (other.status == Status.EMPTY)
        assert binned.upper[sure] == pytest.approx(other.upper[sure], rel=1e-6)
        assert (binned.status == other.status)[sure].all()


@pytest.mark.parametrize("kind", [QMu, QMuTilde])
@pytest.mark.parametrize("procedure", ["cls", "clsb"])
def test_expected_limits_of_one_bin_are_those_of_on_off(kind, procedure):
    binned, other = Binned([[9], [2]], [[8], [20]], one_bin(5.0, 2.0)), OnOff([9, 2], [8, 20], 2.0)
    for n_sigma in N_SIGMA:
        found = kind(procedure).asimov(binned, 0.95, n_sigma)
        assert found == pytest.approx(kind(procedure).asimov(other, 0.95, n_sigma), rel=1e-7)


@every_method
def test_a_limit_depends_on_its_toy_alone(method):
    observed = toys(BUMP, 0.5, 40)
    for array in (observed.counts, observed.auxiliary):
        array.flags.writeable = False
    together = method.limits(observed, 0.9)
    order = np.random.default_rng(2).permutation(40)
    again = method.limits(Binned(observed.counts[order], observed.auxiliary[order], observed.model), 0.9)
    assert again.upper.tobytes() == together.upper[order].tobytes()
    alone = [
        method.limits(Binned(observed.counts[[i]], observed.auxiliary[[i]], observed.model), 0.9) for i in range(40)
    ]
    assert [one.upper[0] for one in alone] == together.upper.tolist()
    assert len(method.limits(Binned(observed.counts[:0], observed.auxiliary[:0], observed.model), 0.9)) == 0


@every_method
def test_no_event_and_no_background_is_one_count(method):
    for b in (0.0, 1e-100, 1e-3):
        binned, count = Binned([[0], [2]], np.zeros((2, 0)), one_bin(b)), Counts([0, 2], b)
        found, other = method.limits(binned, 0.95), method.limits(count, 0.95)
        assert found.upper == pytest.approx(other.upper, rel=1e-6, abs=1e-6)
        assert method.explain(binned, 0.95) == ["", ""]


@every_method
def test_memory_layout_and_protection_of_arrays_are_of_no_account(method):
    observed = toys(BUMP, 0.5, 5)
    plain = method.limits(observed, 0.9).upper
    column_by_column = Binned.drawn(
        np.asfortranarray(observed.counts), np.asfortranarray(observed.auxiliary), observed.model
    )
    column_by_column.counts.flags.writeable = column_by_column.auxiliary.flags.writeable = False
    assert method.limits(column_by_column, 0.9).upper.tolist() == plain.tolist()


def test_a_signal_that_a_parameter_can_undo_has_no_limit():
    # the Gaussian efficiency, 0 or more, is 1.8 of its widths above 0, and 6 events are no more than the background
    model = BinnedModel(
        ("signal", "background"), ((1.0,), (6.0,)), (True, False), (Parameter("efficiency", "gaussian", 1.0, 0.56),),
        (Scale(0, 0, 0, 1),),
    )  # fmt: skip
    observed = Binned([[6]], [[1.0]], model)
    for method in (QMu(), QMuTilde()):
        limits, (reason,) = method.limits(observed, 0.99), method.explain(observed, 0.99)
        assert limits.status[0] == Status.UNBOUNDED
        assert "no signal up to" in reason


@every_method
def test_covers_at_large_counts(method):
    # 100 and 104 events a bin; CLs covers at least there, and clsb exactly but for the discreteness
    observed = toys(TWO_BINS, 2.0, 4000)
    covered = method.limits(observed, 0.9).cover(2.0 * 23.0).mean()
    error = np.sqrt(0.09 / 4000)
    assert covered > 0.9 - 4 * error
    if method.procedure == "clsb":
        assert covered < 0.9 + 4 * error


def test_explains_why_there_is_no_limit():
    background = BinnedModel(("signal", "background"), ((1.0, 1.0), (5.0, 0.0)), (True, False))
    limits = QMu("clsb").limits(Binned([[0, 0], [3, 1]], np.zeros((2, 0)), background), 0.6)
    assert limits.status[1] == Status.OK
    free = BinnedModel(
        ("signal", "background"), ((1.0,), (5.0,)), (True, False), (Parameter("rate", "none", 1.0, low=0.0),),
        (Scale(0, 1, 0, 1),),
    )  # fmt: skip
    for method in METHODS:
        observed = Binned([[5]], [[0.0]], free)
        limits, (reason,) = method.limits(observed, 0.9), method.explain(observed, 0.9)
        assert limits.status[0] in (Status.FAILED, Status.OK)
        assert (reason == "") == (limits.status[0] == Status.OK)
    for method in (QMu("clsb"), QMuTilde("clsb")):
        observed = Binned([[0], [9]], np.zeros((2, 0)), one_bin(9.0))
        assert method.limits(observed, 0.9).status.tolist() == [Status.EMPTY, Status.OK]
        empty, found = method.explain(observed, 0.9)
        assert "so far below the background" in empty
        assert found == ""


@every_method
def test_events_where_only_signal_is_expected_have_a_limit(method):
    model = BinnedModel(
        ("signal", "background"), ((1.0, 2.0), (5.0, 0.0)), (True, False),
        (Parameter("rate", "gaussian", 0.0, 1.0), Parameter("scale", "poisson", 1.0, tau=25.0, low=0.0)),
        (Scale(1, 1, 0, 1),),
    )  # fmt: skip
    limits = method.limits(Binned([[4, 3], [0, 1]], [[0.0, 24.0], [0.3, 30.0]], model), 0.95)
    assert limits.status.tolist() == [Status.OK, Status.OK]
    # by 3 events alone: 7.0 or more of the 2/3 of the signal
    assert 7.0 < limits.upper[0] < 14.0


@every_method
def test_every_observation_has_a_limit_or_a_reason(method):
    observed = toys(CONTROL, 3.0, 200, seed=4)
    counts = np.concatenate([observed.counts, np.zeros((1, 12), int), np.full((1, 12), 10_000)])
    auxiliary = np.concatenate([observed.auxiliary, observed.auxiliary[:2]])
    hard = Binned(counts, auxiliary, observed.model)
    for cl in (0.5, 0.95, 1 - 1e-9):
        limits, reasons = method.limits(hard, cl), method.explain(hard, cl)
        for status, reason in zip(limits.status, reasons, strict=True):
            assert (status == Status.OK) == (reason == "")
        assert (limits.status[:-2] != Status.FAILED).all()
