"""Workspaces: the same yields, constraints and observation as another program finds in them, and what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from covsvc.errors import ObservationError
from covsvc.kernels.binned import expected
from covsvc.workspace import read_workspace, workspace_of

SHAPE = Path(__file__).parents[1] / "deploy" / "studies" / "binned-shape.json"
CODES = {
    "smooth": None,
    "linear": {"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code0"}},
}


def modifier(kind, name, data=None):
    return {"name": name, "type": kind, "data": data}


def sample(name, data, *modifiers):
    return {"name": name, "data": data, "modifiers": list(modifiers)}


def content(*channels, observed=None, poi="mu", parameters=()):
    """Return a workspace of channels, each a name and its samples."""
    told = [{"name": name, "samples": list(samples)} for name, *samples in channels]
    counts = observed or {each["name"]: [3] * len(each["samples"][0]["data"]) for each in told}
    return {
        "channels": told,
        "observations": [{"name": name, "data": data} for name, data in counts.items()],
        "measurements": [{"name": "fit", "config": {"poi": poi, "parameters": list(parameters)}}],
        "version": "1.0.0",
    }


LUMI = {"name": "lumi", "auxdata": [1.0], "sigmas": [0.03], "bounds": [[0.5, 1.5]], "inits": [1.0]}

SMALL = content(
    ("SR", sample("signal", [1.0, 2.0], modifier("normfactor", "mu")), sample("background", [5.0, 4.0])),
)

TWO_CHANNELS = content(
    (
        "SR",
        sample(
            "signal",
            [1.5, 4.0, 2.5],
            modifier("normfactor", "mu"),
            modifier("lumi", "lumi"),
            modifier("normsys", "acceptance", {"lo": 0.93, "hi": 1.11}),
            modifier("staterror", "stat_SR", [0.3, 0.4, 0.2]),
        ),
        sample(
            "top",
            [12.0, 9.0, 3.0],
            modifier("normfactor", "k_top"),
            modifier("histosys", "scale", {"lo_data": [11.0, 9.5, 3.3], "hi_data": [13.5, 8.0, 2.9]}),
            modifier("normsys", "scale", {"lo": 1.05, "hi": 0.97}),
            modifier("histosys", "shape", {"lo_data": [12.5, 8.0, 3.1], "hi_data": [11.0, 9.5, 3.6]}),
            modifier("staterror", "stat_SR", [0.7, 0.0, 0.5]),
        ),
        sample(
            "other",
            [2.0, 0.0, 1.0],
            modifier("lumi", "lumi"),
            modifier("shapesys", "other_error", [0.5, 0.3, 0.0]),
            modifier("normsys", "acceptance", {"lo": 0.8, "hi": 1.2}),
        ),
    ),
    (
        "CR",
        sample(
            "top",
            [80.0, 45.0],
            modifier("normfactor", "k_top"),
            modifier("normsys", "scale", {"lo": 1.05, "hi": 0.97}),
            modifier("histosys", "scale", {"lo_data": [75.0, 47.0], "hi_data": [84.0, 41.0]}),
        ),
        sample("signal", [0.5, 0.2], modifier("lumi", "lumi")),
        sample("other", [4.0, 3.0], modifier("lumi", "lumi"), modifier("staterror", "stat_CR", [0.4, 0.2])),
    ),
    observed={"CR": [83, 51], "SR": [14, 15, 4]},
    parameters=[LUMI],
)
"""All kinds of modifiers; names shared by channels, samples and kinds; a sample that is signal in one channel only."""


def pyhf_model(spec, interpolation="smooth"):
    pyhf = pytest.importorskip("pyhf")
    config = spec["measurements"][0]["config"]
    told = {"channels": spec["channels"], "parameters": config["parameters"]}
    settings = {"modifier_settings": CODES[interpolation]} if CODES[interpolation] else {}
    # its validation warns of a library
    return pyhf.Model(copy.deepcopy(told), poi_name=config["poi"], validate=False, **settings)


def theirs(spec, ours, mu, theta, interpolation="smooth"):
    """Return the yields that pyhf expects, channels in the order of ours."""
    model = pyhf_model(spec, interpolation)
    value = {each.name: at for each, at in zip(ours.model.parameters, theta, strict=True)} | {ours.poi: mu}
    # what is no parameter of ours is fixed
    parameters = [
        value.get(name, usual)
        for name, usual in zip(model.config.par_names, model.config.suggested_init(), strict=True)
    ]
    data = np.asarray(model.expected_data(parameters, include_auxdata=False))
    return np.concatenate([data[model.config.channel_slices[name]] for name in ours.channels])


def random_points(ours, n_points, seed):
    rng = np.random.default_rng(seed)
    for _ in range(n_points):
        theta = [rng.uniform(0.2, 3.0) if each.value else rng.uniform(-2.5, 2.5) for each in ours.model.parameters]
        yield rng.uniform(0.0, 4.0), theta


@pytest.mark.parametrize("interpolation", ["smooth", "linear"])
@pytest.mark.parametrize("spec", [TWO_CHANNELS, read_workspace(SHAPE)], ids=["two-channels", "binned-shape"])
def test_yields_are_those_of_another_program(spec, interpolation):
    ours = workspace_of(spec, interpolation=interpolation)
    for mu, theta in random_points(ours, 25, 2026):
        found = expected(ours.model.compiled, np.array([mu]), np.array([theta]))[0]
        assert found == pytest.approx(theirs(spec, ours, mu, theta, interpolation), rel=1e-12)


def test_observation_and_constraints_are_those_of_another_program():
    ours = workspace_of(TWO_CHANNELS)
    model = pyhf_model(TWO_CHANNELS)
    assert ours.counts == (14, 15, 4, 83, 51)
    assert ours.channels == {"SR": (0, 3), "CR": (3, 5)}
    auxiliary, width = {}, {}
    measured = iter(model.config.auxdata)
    for name in model.config.auxdata_order:
        paramset = model.config.param_set(name)
        labels = [name] if paramset.is_scalar else [f"{name}[{at}]" for at in range(paramset.n_parameters)]
        for place, label in enumerate(labels):
            auxiliary[label] = next(measured)
            width[label] = paramset.width()[place] if paramset.pdf_type == "normal" else paramset.factors[place]
    constrained = [each for each in ours.model.parameters if each.constraint != "none"]
    for each in constrained:
        assert dict(zip((p.name for p in ours.model.parameters), ours.auxiliary, strict=True))[each.name] == (
            pytest.approx(auxiliary[each.name], rel=1e-14)
        )
        assert {"gaussian": each.width, "poisson": each.tau}[each.constraint] == pytest.approx(
            width[each.name], rel=1e-14
        )
    assert [each.name for each in ours.model.parameters if each.constraint == "none"] == ["k_top"]
    # two of three bins of other_error have no yield or no error
    assert set(auxiliary) - {each.name for each in constrained} == {"other_error[1]", "other_error[2]"}
    assert ours.observed.counts.tolist() == [[14, 15, 4, 83, 51]]
    assert ours.observed.model is ours.model


def test_samples_of_channels_are_one_sample_unless_signal_and_factors_differ():
    ours = workspace_of(TWO_CHANNELS)
    assert ours.model.samples == ("signal in SR", "top", "other in SR", "signal in CR", "other in CR")
    assert ours.model.signal == (True, False, False, False, False)
    assert ours.model.nominal[1] == (12.0, 9.0, 3.0, 80.0, 45.0)
    assert ours.model.signal_events == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("name", "inits", "factor"), [("k_top", [1.5], 1.5), ("k_top", None, 1.0), ("lumi", [0.9], 0.9)]
)
def test_what_is_fixed_is_no_parameter_and_multiplies_yields(name, inits, factor):
    fixed = {"name": name, "fixed": True} | ({"inits": inits} if inits else {})
    parameters = [fixed, LUMI] if name != "lumi" else [LUMI | fixed]
    told = copy.deepcopy(TWO_CHANNELS)
    told["measurements"][0]["config"]["parameters"] = parameters
    ours = workspace_of(told)
    assert name not in {each.name for each in ours.model.parameters}
    assert len(ours.model.parameters) == len(workspace_of(TWO_CHANNELS).model.parameters) - 1
    assert ours.model.nominal[1] == pytest.approx(
        np.array([12.0, 9.0, 3.0, 80.0, 45.0]) * (factor if name == "k_top" else 1)
    )
    for mu, theta in random_points(ours, 5, 7):
        found = expected(ours.model.compiled, np.array([mu]), np.array([theta]))[0]
        assert found == pytest.approx(theirs(told, ours, mu, theta), rel=1e-12)


def test_what_interpolates_can_be_fixed_at_0_only():
    told = copy.deepcopy(TWO_CHANNELS)
    told["measurements"][0]["config"]["parameters"] = [LUMI, {"name": "scale", "fixed": True}]
    assert "scale" not in {each.name for each in workspace_of(told).model.parameters}
    told["measurements"][0]["config"]["parameters"][1]["inits"] = [0.5]
    with pytest.raises(
        ObservationError, match=r"^histosys 'scale' of sample 'top' in channel 'SR': is fixed at 0\.5; what"
    ):
        workspace_of(told)


def test_a_luminosity_is_told_over_its_nominal_value():
    told = copy.deepcopy(TWO_CHANNELS)
    lumi = {"name": "lumi", "auxdata": [2.0], "sigmas": [0.05], "bounds": [[1.0, 3.0]], "inits": [2.0]}
    told["measurements"][0]["config"]["parameters"] = [lumi]
    ours = workspace_of(told)
    at = [each.name for each in ours.model.parameters].index("lumi")
    parameter = ours.model.parameters[at]
    assert (parameter.value, parameter.width, parameter.low, parameter.high) == (1.0, 0.025, 0.5, 1.5)
    assert ours.auxiliary[at] == 1.0
    usual = [each.value for each in ours.model.parameters]
    found = expected(ours.model.compiled, np.array([1.3]), np.array([usual]))[0]
    assert found == pytest.approx(theirs(told, ours, 1.3, [2.0 if place == at else v for place, v in enumerate(usual)]))


def test_the_measurement_says_what_was_measured_and_how_well():
    told = copy.deepcopy(TWO_CHANNELS)
    told["measurements"][0]["config"]["parameters"] = [
        LUMI,
        {"name": "scale", "auxdata": [0.4], "bounds": [[-3.0, 3.0]]},
        {"name": "stat_CR", "sigmas": [0.2, 0.3], "auxdata": [1.1, 0.9]},
        {"name": "other_error", "factors": [30.0, 1.0, 1.0], "auxdata": [28.0, 1.0, 1.0]},
        {"name": "k_top", "bounds": [[0.1, 5.0]], "inits": [1.2]},
        {"name": "pruned", "fixed": True},
    ]
    ours = workspace_of(told)
    found = {each.name: (each, value) for each, value in zip(ours.model.parameters, ours.auxiliary, strict=True)}
    scale, measured = found["scale"]
    assert (measured, scale.value, scale.low, scale.high) == (0.4, 0.0, -3.0, 3.0)
    assert [(found[name][0].width, found[name][1]) for name in ("stat_CR[0]", "stat_CR[1]")] == [(0.2, 1.1), (0.3, 0.9)]
    assert (found["other_error[0]"][0].tau, found["other_error[0]"][1]) == (30.0, 28.0)
    free = found["k_top"][0]
    assert (free.constraint, free.value, free.low, free.high) == ("none", 1.0, 0.1, 5.0)
    assert found["acceptance"][0].low == -np.inf
    assert (found["stat_SR[0]"][0].low, found["stat_SR[0]"][0].high) == (0.0, np.inf)


def test_the_first_measurement_is_taken_unless_another_is_named():
    told = copy.deepcopy(TWO_CHANNELS)
    other = {"name": "other", "config": {"poi": "k_top", "parameters": [LUMI]}}
    told["measurements"].append(other)
    assert (workspace_of(told).measurement, workspace_of(told).poi) == ("fit", "mu")
    named = workspace_of(told, "other")
    assert (named.measurement, named.poi) == ("other", "k_top")
    assert [name for name, signal in zip(named.model.samples, named.model.signal, strict=True) if signal] == ["top"]
    with pytest.raises(
        ObservationError, match=r"^othr: unknown measurement, did you mean 'other'\?; known are fit, other$"
    ):
        workspace_of(told, "othr")


def test_the_order_of_keys_does_not_matter():
    turned = json.loads(json.dumps(TWO_CHANNELS, sort_keys=True))
    assert list(turned["channels"][0]) != list(TWO_CHANNELS["channels"][0]) or list(turned) != list(TWO_CHANNELS)
    assert workspace_of(turned).model.key == workspace_of(TWO_CHANNELS).model.key


def test_a_file_is_read_as_its_content(tmp_path):
    file = tmp_path / "workspace.json"
    file.write_text(json.dumps(TWO_CHANNELS))
    assert read_workspace(file) == TWO_CHANNELS
    assert workspace_of(file).model == workspace_of(str(file)).model == workspace_of(TWO_CHANNELS).model


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"channels": [\n  1,\n]}', ":3:1: no JSON: Expecting value"),
        ("", ":1:1: no JSON"),
        ("[1]", ": no workspace: holds a list, no mapping"),
        ('{"version": "1.0.0", "version": "1.0.0"}', ": the key 'version' stands twice"),
        ("[" * 100_000, ": no JSON: nested too deeply"),
    ],
)
def test_files_that_are_no_workspace_are_refused(tmp_path, text, message):
    file = tmp_path / "broken.json"
    file.write_text(text)
    with pytest.raises(ObservationError) as refused:
        read_workspace(file)
    assert str(refused.value).startswith(f"{file}{message}")


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(ObservationError, match=r"missing\.json: No such file or directory$"):
        workspace_of(tmp_path / "missing.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ObservationError, match=r"is no UTF-8 text$"):
        workspace_of(tmp_path / "binary.json")


def changed(path, value, spec=SMALL):
    """Return a workspace with one value, at a path of keys and indices, replaced; None: left out."""
    told = copy.deepcopy(spec)
    *way, last = path
    at = told
    for part in way:
        at = at[part]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return told


CHANNEL = ("channels", 0)
SIGNAL = (*CHANNEL, "samples", 0)
BACKGROUND = (*CHANNEL, "samples", 1)
CONFIG = ("measurements", 0, "config")
ON_BACKGROUND = "of sample 'background' in channel 'SR'"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("channels",), None, "workspace: has no channels"),
        (("channels",), [], "channels: [] is no list, or an empty one"),
        (("channels", 0), 3, "channels[0]: 3 is no mapping"),
        (("chanels",), [], "workspace: chanels: unknown key, did you mean 'channels'?; known are"),
        (("version",), "2.0", "version = '2.0': workspaces of version 1 are supported"),
        ((*CHANNEL, "name"), 3, "channels[0]: name = 3 is no text"),
        ((*CHANNEL, "samples"), [], "channel 'SR': [] is no list, or an empty one"),
        ((*SIGNAL, "data"), None, "samples[0] of channel 'SR': has no data"),
        ((*SIGNAL, "data"), [1.0], "sample 'background' in channel 'SR': data holds 2 yields, but that of 'signal' 1"),
        ((*SIGNAL, "data"), [], "data of sample 'signal' in channel 'SR': holds no yields"),
        ((*SIGNAL, "data"), [0, 0], "mu: the samples that it multiplies have no yields above 0"),
        (
            (*BACKGROUND, "data"),
            [-1.0, 2.0],
            "data of sample 'background' in channel 'SR': -1: expected events are not",
        ),
        (
            (*BACKGROUND, "data"),
            [float("nan"), 2.0],
            "data of sample 'background' in channel 'SR': nan is no finite number",
        ),
        ((*BACKGROUND, "data"), [True, 2.0], "True is no finite number"),
        ((*BACKGROUND, "data"), "12", "'12' is no list of numbers"),
        ((*BACKGROUND, "name"), "signal", "sample 'signal' in channel 'SR': stands twice"),
        ((*BACKGROUND, "modifiers"), 1, "modifiers of sample 'background' in channel 'SR': 1 is no list"),
        ((*SIGNAL, "modifiers"), [], "mu: unknown parameter of interest; known are none"),
        ((*CONFIG, "poi"), "my", "my: unknown parameter of interest, did you mean 'mu'?; known are mu"),
        ((*CONFIG, "poi"), "", "measurement 'fit': poi = '': name the normfactor of the signal"),
        ((*CONFIG, "poi"), None, "config of measurement 'fit': has no poi"),
        ((*CONFIG, "parameters"), [{"name": "mu", "fixed": True}], "its parameter of interest, mu, is fixed"),
        ((*CONFIG, "parameters"), [{"name": "mu"}] * 2, "parameter 'mu' of measurement 'fit': stands twice"),
        (
            (*CONFIG, "parameters"),
            [{"name": "x", "fixed": 1}],
            "parameter 'x' of measurement 'fit': fixed is true or false",
        ),
        ((*CONFIG, "parameters"), [{"name": "x", "fixd": 1}], "parameters[0] of measurement 'fit': fixd: unknown key"),
        (("measurements",), [], "measurements: [] is no list, or an empty one"),
        (("observations", 0, "name"), "CR", "observations: CR: unknown channel"),
        (("observations", 0, "data"), [1], "observation of channel 'SR': holds 1 numbers, not 2"),
        (("observations", 0, "data"), [1, 2.5], "observation of channel 'SR': 2.5: a count is a whole number >= 0"),
        (("observations", 0, "data"), [1, -2], "observation of channel 'SR': -2: a count"),
    ],
)
def test_workspaces_with_something_wrong_are_refused(path, value, message):
    with pytest.raises(ObservationError) as refused:
        workspace_of(changed(path, value))
    assert message in str(refused.value)


SUPPORTED = "is not supported; supported are normfactor, normsys, histosys, shapesys, staterror, lumi"


@pytest.mark.parametrize(
    ("wrong", "parameters", "message"),
    [
        ([modifier("shapefactor", "x")], [], f"shapefactor 'x' {ON_BACKGROUND} {SUPPORTED}"),
        ([modifier("custom", "f")], [], f"custom 'f' {ON_BACKGROUND} {SUPPORTED}"),
        (
            [modifier("lumi", "lumi")],
            [],
            f"lumi 'lumi' {ON_BACKGROUND}: the measurement's parameters tell no auxdata and no sigmas",
        ),
        ([modifier("lumi", "lumi")], [{"name": "lumi", "auxdata": [1.0]}], "tell no sigmas of it"),
        ([modifier("lumi", "lumi")], [LUMI | {"sigmas": [0.0]}], "sigmas = 0 of lumi: a luminosity is above 0"),
        (
            [modifier("normsys", "n", {"lo": 0.0, "hi": 1.1})],
            [],
            f"lo = 0 of normsys 'n' {ON_BACKGROUND}: a factor is above 0",
        ),
        ([modifier("normsys", "n", {"lo": 0.9})], [], f"data of normsys 'n' {ON_BACKGROUND}: has no hi"),
        ([modifier("normsys", "n")], [], f"data of normsys 'n' {ON_BACKGROUND}: None is no mapping"),
        (
            [modifier("histosys", "h", {"lo_data": [1.0], "hi_data": [1.0, 2.0]})],
            [],
            f"lo_data of histosys 'h' {ON_BACKGROUND}: holds 1 numbers, not 2",
        ),
        ([modifier("shapesys", "s", [1.0])], [], f"data of shapesys 's' {ON_BACKGROUND}: holds 1 numbers, not 2"),
        (
            [modifier("shapesys", "s", [1.0, -1.0])],
            [],
            f"data of shapesys 's' {ON_BACKGROUND}: -1: an error is not negative",
        ),
        (
            [modifier("staterror", "s", [1.0, "a"])],
            [],
            f"data of staterror 's' {ON_BACKGROUND}: 'a' is no finite number",
        ),
        ([modifier("normfactor", "k")] * 2, [], f"normfactor 'k' {ON_BACKGROUND}: stands twice"),
        (
            [modifier("normsys", "mu", {"lo": 0.9, "hi": 1.1})],
            [],
            f"normsys 'mu' {ON_BACKGROUND}: shares its name with normfactor 'mu' of sample 'signal'",
        ),
        (
            [modifier("normfactor", "k")],
            [{"name": "k", "sigmas": [0.1]}],
            "sigmas of k: the parameter of a normfactor has none",
        ),
        ([modifier("normfactor", "k")], [{"name": "k", "bounds": [[2, 1]]}], "bounds of k: 2 is not below 1"),
        (
            [modifier("normfactor", "k")],
            [{"name": "k", "bounds": [[0, 1], [0, 1]]}],
            "bounds of k: holds 2 pairs, not 1",
        ),
        (
            [modifier("staterror", "s", [1.0, 1.0])],
            [{"name": "s", "auxdata": [1.0]}],
            "auxdata of s: holds 1 numbers, not 2",
        ),
    ],
)
def test_modifiers_with_something_wrong_are_refused(wrong, parameters, message):
    told = changed((*BACKGROUND, "modifiers"), wrong)
    told["measurements"][0]["config"]["parameters"] = parameters
    with pytest.raises(ObservationError) as refused:
        workspace_of(told)
    assert message in str(refused.value)


def test_names_that_parameters_cannot_share_are_refused():
    shapes = [modifier("shapesys", "s", [1.0, 1.0])]
    told = changed((*BACKGROUND, "modifiers"), shapes)
    told["channels"][0]["samples"][0]["modifiers"] += shapes
    with pytest.raises(ObservationError, match="which no shapesys may do"):
        workspace_of(told)
    told = changed(
        (*CONFIG, "poi"), "n", changed((*BACKGROUND, "modifiers"), [modifier("normsys", "n", {"lo": 0.9, "hi": 1.1})])
    )
    with pytest.raises(ObservationError, match="is the parameter of interest, which must be a normfactor"):
        workspace_of(told)


def test_a_parameter_with_the_name_of_that_of_a_bin_is_refused():
    modifiers = [modifier("staterror", "s", [1.0, 1.0]), modifier("normsys", "s[1]", {"lo": 0.9, "hi": 1.1})]
    with pytest.raises(ObservationError, match=r"normsys 's\[1\]' of .* has the name s\[1\] of another"):
        workspace_of(changed((*BACKGROUND, "modifiers"), modifiers))


def test_an_observation_is_needed_of_every_channel():
    told = copy.deepcopy(TWO_CHANNELS)
    del told["observations"][0]
    with pytest.raises(ObservationError, match=r"^observations: holds none of channel 'CR'$"):
        workspace_of(told)
