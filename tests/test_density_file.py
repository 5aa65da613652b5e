"""Densities of signal and background, and real events at which they are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from covsvc.contracts import EventModel
from covsvc.density_file import DensityModel, quantile, read_densities, read_events_on, read_told_densities
from covsvc.errors import ObservationError
from covsvc.event_file import Table, read_spectrum

GAUSSIAN, FLAT = "gaussian:mean=1,width=2,low=-5,high=9", "uniform:low=-5,high=9"
P = np.concatenate([[0.0, 1e-9], np.linspace(0.01, 0.99, 99), [1 - 1e-9]])


def table(nodes, values):
    return Table.of(np.array(nodes, np.float64), np.array(values, np.float64))


@pytest.mark.parametrize(
    "told",
    [
        FLAT,
        GAUSSIAN,
        "gaussian:mean=-20,width=2,low=-5,high=9",
        "gaussian:mean=30,width=3,low=-5,high=9",
        "exponential:scale=0.5,low=-5,high=9",
        "exponential:scale=5000,low=-5,high=9",
    ],
)
def test_quantiles_of_named_densities_undo_the_cdf(told):
    density = read_spectrum(told)
    x = quantile(density, P)
    assert ((x >= -5) & (x <= 9)).all()
    np.testing.assert_allclose(density.cdf(x), P, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("nodes", "values"),
    [
        ([0, 1, 2, 5], [0.0, 0.5, 0.25, 0.0]),
        ([0, 1, 2, 3, 4], [0.0, 0.0, 1.0, 0.0, 0.0]),
        ([0, 1, 1.001, 7], [5.0, 5.0, 1e-12, 3.0]),
        ([-3, -1], [0.5, 0.5 + 1e-13]),
    ],
)
def test_quantiles_of_a_table_undo_the_cdf(nodes, values):
    density = table(nodes, values)
    np.testing.assert_allclose(density.cdf(quantile(density, P)), P, rtol=1e-9, atol=1e-12)


def test_drawn_ratios_are_those_of_the_densities():
    # E(r) of background events is the integral of the signal density, 1
    model, shares = read_densities(GAUSSIAN, FLAT)
    assert isinstance(model, EventModel)
    assert shares == (1, 1)
    rng = np.random.default_rng(7)
    found = model.background_ratios(200_000, rng)
    assert found.mean() == pytest.approx(1.0, abs=5 * found.std() / len(found) ** 0.5)
    # the signal is within +-1 width, as the Gaussian cut off at -3 and 4 widths has it
    highest = model.ratios(np.array([1.0]))[0]
    above = stats.norm.pdf(1) / stats.norm.pdf(0) * highest
    inside = (stats.norm.cdf(1) - stats.norm.cdf(-1)) / (stats.norm.cdf(4) - stats.norm.cdf(-3))
    share = (model.signal_ratios(200_000, rng) > above).mean()
    assert share == pytest.approx(inside, abs=5 * (inside * (1 - inside) / 200_000) ** 0.5)


def test_a_range_cuts_both_and_tells_what_is_left(tmp_path):
    (tmp_path / "e.csv").write_text("x\n0\n1\n2\n-4\n")
    model, shares = read_densities(GAUSSIAN, FLAT, (-1, 3))
    whole = stats.norm.cdf(4) - stats.norm.cdf(-3)
    assert shares == pytest.approx(((stats.norm.cdf(1) - stats.norm.cdf(-1)) / whole, 4 / 14), rel=1e-12)
    seen = read_events_on(tmp_path / "e.csv", model, shares, cut=True, b=3.0)
    assert (seen.n, seen.left_out, seen.ends, seen.name, seen.view.b) == (3, 1, (-1, 3), "x", 3.0)
    inside = stats.norm.cdf(1) - stats.norm.cdf(-1)
    expected = stats.norm.pdf([0, 1, 2], 1, 2) / inside * 4
    np.testing.assert_allclose(seen.view.density_ratio, expected, rtol=1e-12)


def test_a_table_off_by_less_than_a_percent_is_normalised(tmp_path):
    (tmp_path / "s.csv").write_text("0,1.009\n1,1.009\n")
    model, _ = read_densities(tmp_path / "s.csv", "uniform:low=0,high=1")
    np.testing.assert_allclose(model.ratios(np.array([0.2, 0.9])), 1.0, rtol=1e-15)


def test_the_key_tells_densities_from_others():
    def key(*told):
        return read_densities(*told)[0].key

    assert key(GAUSSIAN, FLAT) == key(GAUSSIAN, FLAT)
    others = [
        (FLAT, GAUSSIAN),
        (FLAT, FLAT),
        ("gaussian:mean=1,width=2.000001,low=-5,high=9", FLAT),
    ]
    assert len({key(*each) for each in [(GAUSSIAN, FLAT), *others]}) == 4
    assert len({DensityModel(table([0, 1], [1, 1]), table([0, 1], [a, 2 - a])).key for a in (0.5, 0.6, 1.0)}) == 3


def test_no_background_where_there_is_signal_is_an_infinite_ratio(tmp_path):
    model = DensityModel(table([0, 2], [0.5, 0.5]), table([0, 1, 1.0001, 2], [1, 1, 0, 0]))
    assert model.ratios(np.array([1.5]))[0] == np.inf
    (tmp_path / "d.csv").write_text("signal_density;x;background_density\n0.5;a;0\n0;b;0.25\n1;c;0.25\n")
    assert read_told_densities(tmp_path / "d.csv").view.density_ratio.tolist() == [np.inf, 0, 4]


REFUSED = [
    (
        "signal_density,background_density\n1,1\n-0.5,1\n",
        r"d\.csv:3: signal_density = -0\.5: a density is not negative",
    ),
    ("signal_density,background_density\n1,-1\n", r"d\.csv:2: background_density = -1: a density is not negative"),
    ("signal_density,background_density\n1,1\n0,0\n", r"d\.csv:3: both densities are 0, so that no event can be there"),
    ("signal_density,background_density\n1,nan\n", r"d\.csv:2: background_density = nan: must be finite"),
    ("signal_density,background_density\n1\n", r"d\.csv:2: 1 values under 2 names"),
    ("signal_density,x\n1,1\n", r"d\.csv:1: has no column background_density"),
    ("signal_density,background_density,signal_density\n1,1,1\n", r"d\.csv:1: has more than one column signal_density"),
]


@pytest.mark.parametrize(("text", "told"), REFUSED)
def test_a_file_with_wrong_densities_is_refused_with_its_line(tmp_path, text, told):
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(ObservationError, match=told):
        read_told_densities(tmp_path / "d.csv")


def test_nothing_seen_is_an_observation(tmp_path):
    (tmp_path / "d.csv").write_text("signal_density,background_density\n")
    assert read_told_densities(tmp_path / "d.csv").n == 0
