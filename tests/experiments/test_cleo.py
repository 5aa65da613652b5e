"""Mass and energy of events: toys, what the analyst is told, and what is refused."""

from __future__ import annotations

import pickle
from itertools import product

import numpy as np
import pytest
from agreement import check_numbers
from numpy.testing import assert_array_equal
from scipy import integrate, stats

import covsvc
from covsvc.contracts import Counts, EventModel, ModelledEvents, OnOff, Sideband, UncertainCounts
from covsvc.errors import ObservationError
from covsvc.experiments.cleo import Cleo

SIZE = 20_000
SMALL = {  # a peak that the range cuts into, over a steep background
    "mass_range": [-50, 40],
    "energy_range": [-150, 60],
    "box_mass": [-20, 20],
    "box_energy": [-100, 50],
    "sideband_mass": [-30, 25],
    "peak": [5, 10],
    "widths": [25, 40],
    "correlation": -0.4,
    "core": 2.0,
    "tail": 3.0,
    "tail_shape": 1.5,
    "background_slope": 0.006,
}


def draw(s_true, b, size=SIZE, seed=1999, **options):
    return Cleo(**options).toys(s_true, b, size, np.random.default_rng(seed))


def over_grid(density, experiment, points=60):
    """Return the integral of a density over the range of the fit, and over the box, by Gauss-Legendre in pieces."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    totals = []
    for mass, energy in (
        (experiment.mass_range, experiment.energy_range),
        (experiment.box_mass, experiment.box_energy),
    ):
        cuts = [
            np.unique(np.clip([low, *np.linspace(low, high, 9), at, high], low, high))
            for (low, high), at in zip((mass, energy), experiment.peak, strict=True)
        ]
        total = 0.0
        for m1, m2 in zip(cuts[0], cuts[0][1:], strict=False):
            for e1, e2 in zip(cuts[1], cuts[1][1:], strict=False):
                m, E = (0.5 * (high - low) * nodes + 0.5 * (high + low) for low, high in ((m1, m2), (e1, e2)))
                at = [axis.ravel() for axis in np.meshgrid(m, E, indexing="ij")]
                total += 0.25 * (m2 - m1) * (e2 - e1) * weights @ density(*at).reshape(points, points) @ weights
        totals.append(total)
    return totals


@pytest.mark.parametrize("options", [{}, SMALL], ids=["default", "small"])
def test_both_densities_integrate_to_1_within_the_range(options):
    experiment = Cleo(**options)
    model = experiment.model(1.0)
    whole, _ = over_grid(model.signal_density, experiment)
    assert whole == pytest.approx(1.0, abs=1e-5 if options else 1e-7)  # the tail rises from E0 as a root there
    whole, box = over_grid(lambda m, E: model.background_density(E), experiment)
    assert (whole, box) == (pytest.approx(1.0, rel=1e-12), pytest.approx(experiment.zeta, rel=1e-12))


@pytest.mark.parametrize("options", [{}, SMALL], ids=["default", "small"])
@pytest.mark.parametrize(("s_true", "b"), [(0.0, 2.0), (4.0, 0.0), (5.0, 1.5)])
def test_regions_hold_signal_and_background_as_their_densities_say(options, s_true, b):
    experiment = Cleo(**options)
    modelled, sideband, on_off, _, counts = draw(s_true, b, **options)
    _, in_box = over_grid(experiment.model(b).signal_density, experiment)
    check_numbers(modelled.n, s_true + b / experiment.zeta)
    check_numbers(sideband.n, s_true * in_box + b)
    assert_array_equal(sideband.n + sideband.n_out, modelled.n)
    if not s_true:
        check_numbers(sideband.n_sb, b / experiment.zeta_sb)
    assert_array_equal(counts.n, sideband.n)
    assert_array_equal(on_off.n_off, sideband.n_sb)
    assert on_off.tau == 1 / experiment.zeta_sb


def test_the_regions_of_the_defaults_have_round_ratios():
    # 120 of 400 in mass and half of the energies; a sideband of 240 in mass at all energies
    assert (Cleo().zeta, Cleo().zeta_sb) == (0.15, 0.25)
    _, in_box = over_grid(Cleo().model(0.0).signal_density, Cleo())
    assert in_box == pytest.approx(0.957, abs=5e-4)


def test_ratios_are_those_of_the_densities_in_the_paper():
    # Narsky (2000), Eq. 45, 48 and 49, written out, with their integrals by quadrature
    model = Cleo().model(0.0)

    def signal(m, E):
        x, y, rho = m / 20, E / 50, 0.5
        core = np.exp(-(x**2 - 2 * rho * x * y + y**2) / 2 / (1 - rho**2)) / (2 * np.pi * 1000 * np.sqrt(1 - rho**2))
        below = np.maximum(-y, 0.0)
        tail = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi) / 20 * below * np.exp(-below / 1.5) / (50 * 1.5**2)
        return 0.7 * core + 0.3 * tail

    whole, _ = over_grid(signal, Cleo())
    flat = integrate.quad(lambda E: 1 - 0.001 * (E + 100), -500, 300)[0] * 400
    m, E = np.array([0.0, -30.0, 59.0, 150.0]), np.array([0.0, -200.0, 80.0, 299.0])
    expected = signal(m, E) / whole / ((1 - 0.001 * (E + 100)) / flat)
    assert model.ratios(m, E) == pytest.approx(expected, rel=1e-6)
    assert Cleo().observe({"m": m, "E": E})[0].density_ratio == pytest.approx(
        np.array(expected)[[1, 0, 2, 3]], rel=1e-6
    )


@pytest.mark.parametrize("options", [{}, SMALL], ids=["default", "small"])
def test_the_model_draws_as_the_toys_are_drawn(options):
    model = Cleo(**options).model(2.0)
    assert isinstance(model, EventModel)
    rng = np.random.default_rng(1999)
    signal, background = model.signal_ratios(50_000, rng), model.background_ratios(50_000, rng)
    assert stats.ks_2samp(draw(4.0, 0.0, **options)[0].density_ratio, signal).pvalue > 1e-3
    assert stats.ks_2samp(draw(0.0, 2.0, **options)[0].density_ratio, background).pvalue > 1e-3
    # the mean of S / B over background is 1, whatever the densities
    assert abs(background.mean() - 1) < 5 * background.std() / np.sqrt(len(background))


def test_the_key_of_the_model_changes_with_its_densities_only():
    base = Cleo().model(1.0).key
    same = [{"box_mass": [-50, 50]}, {"sideband_mass": [-90, 80]}, {"b_is": "known"}, {"core": 1.4, "tail": 0.6}]
    other = [
        {"mass_range": [-201, 200]},
        {"energy_range": [-500, 301]},
        {"peak": [1, 0]},
        {"widths": [20, 51]},
        {"correlation": 0.4},
        {"core": 0.8},
        {"tail": 0.4},
        {"tail_shape": 2.5},
        {"tail_scale": 1.0},
        {"background_slope": 0.0},
        {"background_level": 2.0},
        {"background_energy": -90.0},
    ]
    assert {Cleo(**options).model(b).key for options, b in product([{}, *same], (0.0, 1.0, 5.5))} == {base}
    assert len({base, *(Cleo(**options).model(1.0).key for options in other)}) == 13


def test_what_is_drawn_is_what_an_analyst_could_observe():
    for told in ({}, {"b_is": "known"}, {"b_is": "estimated", "relative_b_error": 0.3}):
        modelled, *_ = draw(3.0, 1.5, 200, **told)
        ModelledEvents(modelled.n, modelled.density_ratio, modelled.model, modelled.b, modelled.b_error)
        assert modelled.n.dtype == np.int64
        assert modelled.density_ratio.dtype == np.float64
    assert (draw(3.0, 1.5, 5, b_is="known")[0].b, draw(3.0, 1.5, 5)[0].b) == (10.0, None)
    assert draw(0.0, 0.0, 5)[0].n.sum() == 0


def test_an_experiment_travels_and_lists_become_tuples():
    experiment = Cleo(**SMALL)
    copy = pickle.loads(pickle.dumps(experiment))
    assert copy == experiment
    assert hash(copy) == hash(experiment)
    assert experiment.widths == (25.0, 40.0)
    assert set(experiment.plugs_in) == {Sideband, OnOff, UncertainCounts, Counts}


OBSERVED = {"m": [40.0, -45.0, 10.0, -150.0, 90.0, 70.0], "E": [-250.0, 80.0, -290.0, 0.0, -400.0, 50.0]}


def test_real_data_are_the_places_of_events():
    modelled, sideband, on_off, known, counts = Cleo().observe(OBSERVED)
    assert (modelled.n.tolist(), sideband.n.tolist()) == ([6], [3])
    assert (sideband.n_out.tolist(), sideband.n_sb.tolist()) == ([3], [2])
    assert (on_off.n_off.tolist(), counts.b.tolist(), known.b.tolist()) == ([2], [0.5], [0.75])
    assert Cleo().background(OBSERVED) == 0.5
    assert Cleo().background(OBSERVED, no_signal=True) == pytest.approx(0.9)
    assert Cleo(b_is="known").background(OBSERVED | {"b": 5.5}) == 5.5


def test_the_order_of_real_events_does_not_matter():
    back = {name: values[::-1] for name, values in OBSERVED.items()}
    assert pickle.dumps(Cleo().observe(OBSERVED)) == pickle.dumps(Cleo().observe(back))


def test_tables_of_the_paper_follow_from_its_counts():
    # Narsky (2000), Table 1: n = 3, b = 5.5, here 22 events in a sideband of four times the background
    seen = {"m": [50.0, -50.0, 55.0, *[150.0] * 22], "E": [-250.0, 90.0, -280.0, *[0.0] * 22]}
    counts = Cleo().observe(seen)[-1]
    assert (counts.n.tolist(), counts.b.tolist()) == ([3], [5.5])
    assert covsvc.limits("bayes_flat", counts, 0.9).upper == pytest.approx(3.57, abs=5e-3)
    assert covsvc.limits("classical", counts, 0.9).upper == pytest.approx(1.18, abs=5e-3)


@pytest.mark.parametrize(
    ("options", "data", "message"),
    [
        ({}, {}, "is given by m and E, not by nothing"),
        ({}, {"m": [1.0]}, "is given by m and E, not by m"),
        ({}, {"m": [201.0], "E": [0.0]}, "m = 201: outside of the range of the fit, [-200, 200]"),
        ({}, {"m": [1.0], "E": [-500.5]}, "E = -500.5: outside of the range of the fit, [-500, 300]"),
        ({}, {"m": [1.0, 2.0], "E": [0.0]}, "E holds 1 places, but m 2: give both of each event"),
        ({}, {"m": ["a"], "E": [0.0]}, "m = ['a']: the places of events are a row of numbers"),
        ({"b_is": "known"}, {"m": [1.0], "E": [0.0]}, "is given by m and E and by b"),
    ],
)
def test_impossible_data_are_refused(options, data, message):
    with pytest.raises(ObservationError) as refused:
        Cleo(**options).observe(data)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mass_range": [0.0]}, "mass_range = (0.0,): must be two finite numbers"),
        ({"mass_range": [-200, float("inf")]}, "mass_range = (-200.0, inf): must be two finite numbers"),
        ({"box_mass": [-90, 90]}, "box_mass = (-90.0, 90.0): must ascend within sideband_mass = (-80.0, 80.0)"),
        ({"box_energy": [100, -300]}, "box_energy = (100.0, -300.0): must ascend within energy_range"),
        ({"sideband_mass": [-200, 200]}, "sideband_mass = (-200.0, 200.0): leaves no sideband"),
        ({"background_slope": 0.01}, "is -3 at E = -500: a density lies above 0 in all of energy_range"),
        ({"background_slope": -0.0025}, "is 0 at E = 300: a density lies above 0"),
        ({"background_level": float("nan")}, "is nan at E = -500: a density"),
        ({"widths": [0.0, 50]}, "widths = (0.0, 50.0): must lie between"),
        ({"correlation": 1.0}, "correlation = 1.0: must lie in"),
        ({"core": -0.1}, "core = -0.1 and tail = 0.3: weights are finite, >= 0, and not both 0"),
        ({"core": 0, "tail": 0}, "core = 0 and tail = 0: weights"),
        ({"tail_shape": 0.5}, "tail_shape = 0.5"),
        ({"tail_scale": 0.0}, "tail_scale = 0.0"),
        (
            {"peak": [400, 0]},
            "peak = (400.0, 0.0): 4.94165e-24 of the signal is within the range of the fit, less than 0.01",
        ),
        ({"box_mass": [0, 1e-4], "box_energy": [0, 1]}, "box_mass = (0.0, 0.0001), box_energy = (0.0, 1.0) and"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError) as refused:
        Cleo(**options)
    assert message in str(refused.value)
