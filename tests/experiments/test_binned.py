"""Counts in bins: their distribution, what the analyst is told, and options inline or in a workspace."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import stats

from covsvc import registry
from covsvc.contracts import Binned
from covsvc.errors import ObservationError, StudyError
from covsvc.experiments.binned import BinnedCounts
from covsvc.kernels.binned import expected
from covsvc.study import ExperimentSpec
from covsvc.study_file import read_studies

SIZE = 20_000
TWO_BINS = {"signal": [12, 11], "backgrounds": [50, 52], "uncorrelated": [3, 7]}
NUISANCES = {
    "scale": {"impacts": {"background": [0.1, -0.05], "signal": 0.02}},
    "norm": {"tau": 40, "scales": "background"},
}
LUMI = {"name": "lumi", "auxdata": [1.0], "sigmas": [0.02]}
WORKSPACE = {
    "channels": [
        {
            "name": "SR",
            "samples": [
                {
                    "name": "signal",
                    "data": [3, 6],
                    "modifiers": [
                        {"name": "mu", "type": "normfactor", "data": None},
                        {"name": "lumi", "type": "lumi", "data": None},
                    ],
                },
                {
                    "name": "background",
                    "data": [20, 10],
                    "modifiers": [
                        {"name": "norm", "type": "normsys", "data": {"lo": 0.8, "hi": 1.3}},
                        {"name": "stat", "type": "staterror", "data": [2, 1]},
                    ],
                },
            ],
        },
        {
            "name": "CR",
            "samples": [
                {
                    "name": "background",
                    "data": [70],
                    "modifiers": [{"name": "norm", "type": "normsys", "data": {"lo": 0.8, "hi": 1.3}}],
                }
            ],
        },
    ],
    "observations": [{"name": "SR", "data": [22, 13]}, {"name": "CR", "data": [66]}],
    "measurements": [
        {"name": "fit", "config": {"poi": "mu", "parameters": [LUMI]}},
        {"name": "wide", "config": {"poi": "mu", "parameters": [LUMI | {"sigmas": [0.1]}]}},
    ],
    "version": "1.0.0",
}


def draw(s_true, b, size=SIZE, seed=1999, **options):
    return BinnedCounts(**options).toys(s_true, b, size, np.random.default_rng(seed))


def check_counts(counts, means):
    """Hold counts to Poisson distributions: the smallest p of their sums and of their dispersions times their number."""
    p = []
    for n, mean in zip(counts.T, means, strict=True):
        total = stats.poisson(mean * len(n))
        p += [2 * min(total.cdf(n.sum()), total.sf(n.sum() - 1))]
        # the index of dispersion of Poisson counts, (N - 1) s^2 / mean, is close to chi-square of N - 1
        dispersion = stats.chi2(len(n) - 1)
        index = (len(n) - 1) * n.var(ddof=1) / n.mean()
        p += [2 * min(dispersion.cdf(index), dispersion.sf(index))]
    assert min(p) * len(p) > 1e-3


def test_counts_and_measurements_are_those_of_the_model():
    # pyhf's uncorrelated_background: yields s_i + b_i, and a count of mean (b_i / error_i)^2 for each bin
    binned, counted = draw(2 * 23, 102, **TWO_BINS)
    check_counts(binned.counts, [50 + 2 * 12, 52 + 2 * 11])
    check_counts(binned.auxiliary, [(50 / 3) ** 2, (52 / 7) ** 2])
    assert_array_equal(counted.n, binned.counts.sum(axis=1))
    assert counted.b == 102


def test_impacts_are_linear_and_add_up():
    told = TWO_BINS | {"uncorrelated": (), "nuisances": NUISANCES}
    model = BinnedCounts(**told).model(102)
    assert [each.name for each in model.parameters] == ["scale", "norm"]
    found = expected(model.compiled, np.array([1.5]), np.array([[-2.0, 1.1]]))[0]
    assert found == pytest.approx(
        [1.5 * 12 * (1 - 0.04) + 50 * 1.1 * (1 - 0.2), 1.5 * 11 * (1 - 0.04) + 52 * 1.1 * (1 + 0.1)], rel=1e-13
    )


def test_toys_are_drawn_about_the_true_nuisance_parameters():
    told = TWO_BINS | {"uncorrelated": (), "nuisances": NUISANCES, "theta_true": {"scale": -2.0, "norm": 1.1}}
    binned, counted = draw(0, 102, **told)
    check_counts(binned.counts, [50 * 1.1 * 0.8, 52 * 1.1 * 1.1])
    assert stats.kstest(binned.auxiliary[:, 0], stats.norm(-2.0, 1.0).cdf).pvalue > 1e-3
    check_counts(binned.auxiliary[:, 1:], [40 * 1.1])
    # which the analyst is not told
    assert binned.model == BinnedCounts(**{**told, "theta_true": None}).model(102)
    assert counted.b == 102


def test_templates_are_scaled_to_the_background_with_their_relative_errors():
    experiment = BinnedCounts(**TWO_BINS)
    model = experiment.model(204)
    assert model.nominal == ((12.0, 11.0), (100.0, 104.0))
    assert [each.tau for each in model.parameters] == [each.tau for each in experiment.model(102).parameters]
    binned, counted = draw(0, 204, **TWO_BINS)
    check_counts(binned.counts, [100, 104])
    assert counted.b == 204
    assert binned.model == model


def test_real_data_and_toys_at_the_nominal_background_have_one_model():
    experiment = BinnedCounts(signal=[1, 2, 3], backgrounds=[0.1, 0.2, 0.3])
    assert sum([0.1, 0.2, 0.3]) != 0.6
    assert experiment.model(0.6).key == experiment.observe({"counts": [1, 2, 3]})[0].model.key
    assert experiment.model(0.6000001).key != experiment.model(0.6).key


def test_several_backgrounds_go_by_name():
    experiment = BinnedCounts(
        signal=[1, 2],
        backgrounds={"top": [5, 6], "fakes": [0, 3]},
        uncorrelated={"fakes": [1, 1.5]},
        nuisances={"rate": {"tau": 10, "scales": ["top", "fakes"]}},
    )
    model = experiment.model(14)
    assert model.samples == ("signal", "top", "fakes")
    # there is nothing that an error could multiply in the first bin of fakes
    assert [(each.name, each.tau) for each in model.parameters] == [("rate", 10.0), ("fakes[1]", 4.0)]
    found = expected(model.compiled, np.array([1.0]), np.array([[2.0, 0.5]]))[0]
    assert found == pytest.approx([1 + 10, 2 + 12 + 3], rel=1e-13)


def test_what_is_drawn_is_what_an_analyst_could_observe():
    binned, _ = draw(9, 100, 500, workspace=WORKSPACE)
    checked = Binned(binned.counts, binned.auxiliary, binned.model)
    assert_array_equal(checked.counts, binned.counts)
    assert (binned.counts.dtype, binned.auxiliary.dtype) == (np.int64, np.float64)


def test_plain_counts_pass_the_nominal_background_off_as_known_where_it_is_not():
    assert BinnedCounts(**TWO_BINS).plugs_in == registry.find("experiments", "binned").gives[1:]
    assert BinnedCounts(signal=[1], backgrounds=[3]).plugs_in == ()


def test_an_observation_is_counts_with_nominal_measurements_unless_they_are_told():
    experiment = BinnedCounts(**TWO_BINS, nuisances=NUISANCES)
    binned, counted = experiment.observe({"counts": [51, 48]})
    assert binned.counts.tolist() == [[51, 48]]
    assert binned.auxiliary[0] == pytest.approx([0.0, 40.0, (50 / 3) ** 2, (52 / 7) ** 2], rel=1e-14)
    assert (counted.n.tolist(), counted.b) == ([99], 102.0)
    (binned, _) = experiment.observe({"counts": [51, 48], "auxiliary": {"norm": 44}})
    assert binned.auxiliary[0, :2].tolist() == [0.0, 44.0]
    (binned, _) = experiment.observe({"counts": [51, 48], "auxiliary": [0.5, 44, 280, 50]})
    assert binned.auxiliary.tolist() == [[0.5, 44.0, 280.0, 50.0]]
    assert experiment.background({"counts": [51, 48]}) == 102.0


def test_the_observation_of_a_workspace_is_its_own_unless_one_is_told():
    experiment = BinnedCounts(workspace=WORKSPACE)
    binned, counted = experiment.observe({})
    assert binned.counts.tolist() == [[22, 13, 66]]
    assert (counted.n.tolist(), counted.b) == ([101], 100.0)
    assert experiment.observe({"counts": {"CR": [60], "SR": [1, 2]}})[0].counts.tolist() == [[1, 2, 60]]
    assert experiment.observe({"auxiliary": {"lumi": 1.05}})[0].auxiliary[0, 0] == 1.05
    assert experiment.background({}) == 100.0


@pytest.mark.parametrize(
    ("options", "data", "message"),
    [
        (TWO_BINS, {}, "is given by counts and, where they are not nominal, auxiliary measurements, not by nothing"),
        (TWO_BINS, {"n": 3}, "not by n"),
        (TWO_BINS, {"auxiliary": [1, 2]}, "not by auxiliary"),
        (TWO_BINS, {"counts": [1, 2, 3]}, "counts has shape (1, 3): give 2 counts for each toy"),
        (TWO_BINS, {"counts": [1, -2]}, "counts = -2"),
        (TWO_BINS, {"counts": {"SR": [1, 2]}}, "counts: SR: unknown channel"),
        (TWO_BINS, {"counts": "12"}, "counts"),
        (TWO_BINS, {"counts": [1, [2]]}, "counts"),
        (TWO_BINS, {"counts": [1, 2], "auxiliary": [3]}, "auxiliary has shape"),
        (TWO_BINS, {"counts": [1, 2], "auxiliary": [[3], 4]}, "auxiliary"),
        (TWO_BINS, {"counts": [1, 2], "auxiliary": [3, -1]}, "auxiliary of background[1] = -1: a count >= 0"),
        (TWO_BINS, {"counts": [1, 2], "auxiliary": {"backgroud[1]": 1}}, "did you mean 'background[1]'"),
        (
            TWO_BINS,
            {"counts": [1, 2], "auxiliary": {"background[1]": "a"}},
            "auxiliary of background[1] = 'a': a finite",
        ),
        ({"workspace": WORKSPACE}, {"count": [1]}, "or by nothing, for that of the workspace, not by count"),
        ({"workspace": WORKSPACE}, {"counts": {"SR": [1, 2]}}, "counts: give 1 counts of channel 'CR'"),
        ({"workspace": WORKSPACE}, {"counts": {"SR": [1], "CR": [3]}}, "counts: give 2 counts of channel 'SR'"),
    ],
)
def test_impossible_data_are_refused(options, data, message):
    with pytest.raises(ObservationError) as refused:
        BinnedCounts(**options).observe(data)
    assert message in str(refused.value)


def test_a_file_gives_lists_and_the_toys_are_known_by_what_they_say():
    told = TWO_BINS | {"nuisances": NUISANCES, "theta_true": {"scale": 1, "norm": 1.0}}
    experiment = registry.experiment("binned", told)
    spec = ExperimentSpec(name="binned", options=told)
    assert spec.build() == experiment
    assert ExperimentSpec.model_validate_json(spec.model_dump_json()) == ExperimentSpec(**spec.model_dump())
    assert ExperimentSpec.model_validate_json(spec.model_dump_json()).build() == experiment
    assert hash(ExperimentSpec.model_validate_json(spec.model_dump_json()).build()) == hash(experiment)
    assert experiment.theta_true == {"scale": 1.0}
    named = {**told, "backgrounds": {"background": [50.0, 52.0]}, "theta_true": {"scale": 1.0}}
    assert registry.experiment("binned", named) == experiment


def test_toys_of_a_workspace_are_known_by_its_content(tmp_path):
    (tmp_path / "one.json").write_text(json.dumps(WORKSPACE))
    (tmp_path / "two.json").write_text(json.dumps(WORKSPACE, sort_keys=True, indent=2).replace("20,", "20.0,"))
    specs = [
        ExperimentSpec(name="binned", options={"workspace": str(tmp_path / f"{name}.json")}) for name in ("one", "two")
    ]
    assert specs[0] == specs[1]
    assert hash(specs[0].build()) == hash(specs[1].build())
    (tmp_path / "one.json").unlink()
    assert ExperimentSpec.model_validate_json(specs[0].model_dump_json()) == specs[1]
    assert_array_equal(
        specs[0].build().toys(3, 100, 50, np.random.default_rng(1))[0].counts,
        draw(3, 100, 50, 1, workspace=WORKSPACE)[0].counts,
    )


def test_a_measurement_is_chosen_by_name():
    widths = [
        BinnedCounts(workspace=WORKSPACE, measurement=name).model(100).parameters[0].width
        for name in (None, "fit", "wide")
    ]
    assert widths == [0.02, 0.02, 0.1]


def test_between_templates_a_workspace_is_smooth_or_linear():
    smooth, linear = (BinnedCounts(workspace=WORKSPACE, interpolation=each).model(100) for each in ("smooth", "linear"))
    theta = np.array([[1.0, 0.5, 1.0, 1.0]])
    yields = [expected(each.compiled, np.array([0.0]), theta)[0] for each in (smooth, linear)]
    assert yields[1] == pytest.approx(np.array([20, 10, 70]) * math.sqrt(1.3), rel=1e-13)
    assert abs(yields[0] / yields[1] - 1).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "signal: give expected events of signal and background in each bin, or a workspace"),
        ({"signal": [1, 2]}, "backgrounds: give expected events of signal and background"),
        ({"signal": [0, 0], "backgrounds": [1, 2]}, "signal: give expected events"),
        ({"signal": [1, -2], "backgrounds": [1, 2]}, "signal = -2: expected events are not negative"),
        ({"signal": [1, float("inf")], "backgrounds": [1, 2]}, "inf]: give a finite number for each bin"),
        ({"signal": "12", "backgrounds": [1, 2]}, "signal = '12'"),
        ({"signal": [1, 2], "backgrounds": [1]}, "backgrounds: background: holds 1 numbers, but signal has 2 bins"),
        ({"signal": [1], "backgrounds": {"signal": [1]}}, "backgrounds: 'signal' is the name of the signal"),
        ({"signal": [1], "backgrounds": [1], "uncorrelated": {"a": [1]}}, "uncorrelated: a: unknown sample"),
        ({"signal": [1], "backgrounds": {"a": [1], "c": [1]}, "uncorrelated": [1]}, "give it by name: a, c"),
        ({"signal": [1], "backgrounds": [1], "uncorrelated": [-1]}, "uncorrelated: background = -1"),
        (
            {"signal": [1], "backgrounds": [1], "nuisances": {"x": {}}},
            "nuisances: x: is given by impacts, or by tau and scales, not by nothing",
        ),
        ({"signal": [1], "backgrounds": [1], "nuisances": {"x": {"impact": 1}}}, "not by impact"),
        (
            {"signal": [1], "backgrounds": [1], "nuisances": {"x": {"impacts": {}}}},
            "nuisances: x: impacts = {}: give those",
        ),
        (
            {"signal": [1], "backgrounds": [1], "nuisances": {"x": {"impacts": {"back": 1}}}},
            "did you mean 'background'",
        ),
        (
            {"signal": [1], "backgrounds": [1], "nuisances": {"x": {"impacts": {"background": "a"}}}},
            "impacts on background = 'a'",
        ),
        (
            {"signal": [1], "backgrounds": [1], "nuisances": {"x": {"tau": 0, "scales": "background"}}},
            "tau = 0: a number of events above 0",
        ),
        (
            {"signal": [1], "backgrounds": [1], "nuisances": {"x": {"tau": 1, "scales": []}}},
            "scales = []: name the samples",
        ),
        ({"signal": [1], "backgrounds": [1], "nuisances": {"x": 3}}, "nuisances = {'x': 3}"),
        (
            {**TWO_BINS, "nuisances": {"background[0]": {"impacts": {"signal": 1}}}},
            "nuisances: background[0]: is the name",
        ),
        ({**TWO_BINS, "theta_true": {"background[2]": 1.0}}, "theta_true: background[2]: unknown nuisance parameter"),
        ({**TWO_BINS, "theta_true": {"background[1]": -1.0}}, "theta_true: background[1] = -1: lies in [0, inf]"),
        ({**TWO_BINS, "theta_true": {"background[1]": float("nan")}}, "theta_true: background[1] = nan"),
        ({**TWO_BINS, "measurement": "fit"}, "measurement and interpolation: are those of a workspace"),
        ({**TWO_BINS, "interpolation": "cubic"}, "interpolation = 'cubic'"),
        ({"workspace": WORKSPACE, "signal": [1]}, "signal: is told by the workspace"),
        ({"workspace": WORKSPACE, "measurement": "fin"}, "measurement: fin: unknown measurement, did you mean 'fit'?"),
        ({"workspace": {"channels": []}}, "workspace: workspace: has no observations"),
        ({"workspace": "/missing/workspace.json"}, "workspace: /missing/workspace.json: No such file"),
        ({"workspace": 3}, "workspace = 3"),
    ],
)
def test_options_that_make_no_experiment_are_refused(options, message):
    with pytest.raises(StudyError) as refused:
        registry.experiment("binned", options)
    assert message in str(refused.value)


def test_toys_with_more_events_than_can_be_observed_are_refused():
    with pytest.raises(ObservationError, match=r"1.1e\+06 expected events: up to .* take a smaller s_true or b"):
        draw(0, 1e5, 1, **TWO_BINS, nuisances=NUISANCES, theta_true={"norm": 11.0})


def test_a_model_without_background_has_no_other():
    told = copy.deepcopy(WORKSPACE)
    told["channels"] = [{"name": "SR", "samples": [told["channels"][0]["samples"][0]]}]
    told["observations"] = told["observations"][:1]
    experiment = BinnedCounts(workspace=told)
    check_counts(experiment.toys(9, 0, SIZE, np.random.default_rng(3))[0].counts, [3, 6])
    with pytest.raises(ObservationError, match="cannot be scaled"):
        experiment.model(3.0)


STUDY = """
name: shapes
experiment: {{name: binned, options: {{workspace: {path}}}}}
methods: [classical]
cl: [0.9]
s_true: [0, 5]
b: [100]
n_toys: 1000
toys_per_block: 1000
seed: 1
observed: {{}}
"""


def test_a_study_file_names_a_workspace_beside_it(tmp_path, monkeypatch):
    folder = tmp_path / "studies"
    folder.mkdir()
    (folder / "shapes.json").write_text(json.dumps(WORKSPACE))
    (folder / "study.yaml").write_text(STUDY.format(path="shapes.json"))
    monkeypatch.chdir(tmp_path)
    (study,) = read_studies("studies/study.yaml")
    assert study.experiment.build() == BinnedCounts(workspace=WORKSPACE)
    (folder / "study.yaml").write_text(STUDY.format(path=folder / "shapes.json"))
    assert read_studies(folder / "study.yaml") == (study,)


def test_a_study_file_says_where_it_names_a_workspace_that_is_none(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY.format(path="nothing.json"))
    with pytest.raises(StudyError) as refused:
        read_studies(tmp_path / "study.yaml")
    assert (
        f"study.yaml:3:38: experiment.options.workspace: workspace: {tmp_path / 'nothing.json'}: No such file or directory"
        in str(refused.value)
    )
