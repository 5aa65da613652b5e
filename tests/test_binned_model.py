import math
import pickle

import numpy as np
import pytest

from covsvc.binned_model import BinnedModel, Interpolation, Parameter, Scale
from covsvc.errors import ObservationError
from covsvc.kernels.binned import expected

SHAPE = Interpolation(0, 1, "shape", (9.0, 21.0), (11.0, 18.0))
MODEL = BinnedModel(
    ("signal", "background"),
    ((1.0, 2.0), (10.0, 20.0)),
    (True, False),
    (Parameter("tilt"), Parameter("gamma", "poisson", 1.0, tau=4.0), Parameter("free", "none", 1.0)),
    (SHAPE, Scale(1, 1, 0, 1), Scale(2, 1, 0, 2)),
)


def changed(**parts):
    told = {name: getattr(MODEL, name) for name in ("samples", "nominal", "signal", "parameters", "effects")}
    return BinnedModel(**(told | parts))


def parameters(**options):
    return (*MODEL.parameters[:2], Parameter("wrong", **options))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"samples": ("signal",)}, "1 samples, 2 rows"),
        ({"nominal": ((1.0, 2.0), (10.0,))}, "have 1, 2 bins"),
        ({"nominal": ((), ())}, "have 0 bins"),
        ({"nominal": ((1.0, 2.0), (10.0, -1.0))}, "background, bin 1: -1 expected"),
        ({"nominal": ((1.0, math.nan), (10.0, 1.0))}, "signal, bin 1: nan expected"),
        ({"nominal": ((0.0, 0.0), (10.0, 1.0))}, "no signal"),
        ({"signal": (False, False)}, "no signal"),
        ({"parameters": parameters(width=0.0)}, "wrong: width 0"),
        ({"parameters": parameters(constraint="poisson", value=1.0)}, "wrong: tau 0"),
        ({"parameters": parameters(constraint="flat")}, "wrong: constraint flat"),
        ({"parameters": parameters(value=2.0, high=1.5)}, "wrong: nominal value 2"),
        ({"parameters": (*MODEL.parameters[:2], Parameter("tilt"))}, "tilt is given 2 times"),
        ({"effects": (Scale(3, 1, 0, 1),)}, "parameter 3, there are 3"),
        ({"effects": (Scale(1, -1, 0, 1),)}, "sample -1, there are 2"),
        ({"effects": (Scale(1, 1, 1, 3),)}, "gamma on background: bins 1 to 3"),
        ({"effects": (Scale(1, 1, 1, 1),)}, "gamma on background: bins 1 to 1"),
        ({"effects": (Interpolation(0, 1, "shape", (1.0,), (1.0, 2.0)),)}, "down has 1 numbers, a shape has 2"),
        ({"effects": (Interpolation(0, 1, "factor", (1.0,), (1.0, 2.0)),)}, "up has 2 numbers, a factor has 1"),
        ({"effects": (Interpolation(0, 1, "factor", (0.0,), (1.0,)),)}, "down = 0"),
        ({"effects": (Interpolation(0, 1, "shape", (0.0, math.inf), (1.0, 1.0)),)}, "down = inf"),
        ({"effects": (SHAPE, SHAPE)}, "two effects of tilt on background"),
        ({"effects": (Scale(1, 1, 0, 2), Scale(1, 1, 1, 2))}, "two effects of gamma on background"),
        ({"effects": (SHAPE, Scale(0, 0, 0, 1))}, "tilt multiplies and interpolates"),
    ],
)
def test_refuses_what_does_not_fit_together(parts, message):
    with pytest.raises(ObservationError, match=message):
        changed(**parts)


def test_background_may_be_missing():
    assert changed(nominal=((1.0, 0.0), (0.0, 0.0)), effects=()).background_events == 0.0


@pytest.mark.parametrize("b", [0.0, 1e-300, 3.0, 30.0, 1e6])
def test_background_and_its_shapes_are_scaled(b):
    scaled = MODEL.scaled_to(b)
    assert scaled.background_events == pytest.approx(b, rel=1e-15)
    assert scaled.signal_events == MODEL.signal_events
    theta = np.array([[0.7, 1.2, 0.9], [-2.0, 0.8, 1.0]])
    found, told = (expected(model.compiled, np.zeros(2), theta) for model in (scaled, MODEL))
    assert found == pytest.approx(told * b / 30, rel=1e-12)


def test_what_is_no_background_is_not_scaled_to():
    for b in (-1.0, math.nan, math.inf):
        with pytest.raises(ObservationError, match="cannot be scaled"):
            MODEL.scaled_to(b)
    with pytest.raises(ObservationError, match="background of 0 events"):
        changed(nominal=((1.0, 0.0), (0.0, 0.0)), effects=()).scaled_to(1.0)


def test_samples_with_the_same_effects_are_one():
    gathered = BinnedModel(
        ("s", "a", "b", "c"),
        ((1.0, 2.0), (3.0, 4.0), (5.0, 6.0), (7.0, 8.0)),
        (True, False, False, False),
        (Parameter("norm"),),
        (Interpolation(0, 1, "factor", (0.9,), (1.1,)), Interpolation(0, 3, "factor", (0.9,), (1.1,))),
    )
    assert gathered.compiled.layout[0, :2].tolist() == [3, 1]
    rows = expected(gathered.compiled, np.array([2.0]), np.array([[1.0]]))
    assert rows[0] == pytest.approx([2 + 1.1 * 10 + 5, 4 + 1.1 * 12 + 6])


def test_models_travel_and_keep_their_key():
    MODEL.compiled  # noqa: B018 - a model that was used before
    there = pickle.loads(pickle.dumps(MODEL))
    assert there == MODEL
    assert there.key == MODEL.key
    assert MODEL.scaled_to(3.0).key != MODEL.key


def test_auxiliary_measurements_are_checked():
    assert MODEL.nominal_auxiliary.tolist() == [0.0, 4.0, 0.0]
    MODEL.check_auxiliary(np.array([[0.3, 0.0, 0.0]]))
    for measured in ([0.0, -1.0, 0.0], [math.nan, 1.0, 0.0]):
        with pytest.raises(ObservationError, match="auxiliary of"):
            MODEL.check_auxiliary(np.array([measured]))
