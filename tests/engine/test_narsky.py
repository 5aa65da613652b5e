"""Limits on the toy model of a paper, from a study."""

import numpy as np
import pytest
from scipy import special

from covsvc.contracts import ModelledEvents, Status
from covsvc.engine.narsky import toy_model
from covsvc.study import study_of


def study(**changes):
    return study_of(
        {
            "name": "toy",
            "experiment": "gaussian_flat",
            "methods": ["classical", "likelihood_integration", "feldman_cousins", "significance_sideband"],
            "cl": [0.9, 0.95],
            "s_true": [0, 3],
            "b": [0, 0.25, 1, 3],
            "toys_per_block": 100,
            "n_toys": 100,
            "seed": 1999,
        }
        | changes
    )


@pytest.fixture(scope="module")
def limits():
    return toy_model(study())


def test_backgrounds_are_those_that_make_whole_numbers_of_events(limits):
    assert limits["b"].values.tolist() == [0, 1, 3]
    assert limits["n"].values.tolist() == list(range(7))
    assert limits.attrs["cl"] == 0.9


def test_counts_are_those_of_the_regions(limits):
    # Gamma(n + 1, s + b) = 0.1, b = n_sb / 2
    expected = special.gammainccinv(np.arange(7) + 1.0, 0.1) - np.array([[0], [1], [3]])
    here = limits.sel(limit_method="classical")
    assert here["upper"].where(here["status"] == Status.OK, expected).values == pytest.approx(expected, rel=1e-12)
    assert np.argwhere(here["status"].values == Status.EMPTY).tolist() == [[2, 0]]
    assert limits["sided"].values.tolist() == ["upper", "upper", "two", "upper"]
    # Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Section 2.2: [0.10, 6.42]
    fc = limits.sel(limit_method="feldman_cousins", b=1, n=3)
    assert [fc["lower"].item(), fc["upper"].item()] == pytest.approx([0.10, 6.42], abs=0.01)


def test_all_events_count_where_the_densities_are_read(limits):
    # integrals of the likelihood over s and b to 30 digits
    integrated = limits.sel(limit_method="likelihood_integration", b=0)["upper"]
    assert integrated.sel(n=[1, 3]).values == pytest.approx([3.774, 6.543], abs=5e-4)


def test_other_regions_have_other_places():
    # three times the background between the regions as in the sidebands, and as in the signal region
    options = {"half_width": 5.0, "signal_region": 1.0, "sideband_start": 4.0, "signal_mean": 0.5}
    seen = []

    def build(column, observed):
        seen.append(observed)
        return column.spec.build()

    made = study(experiment={"name": "gaussian_flat", "options": options}, methods=["likelihood_integration"], b=[1.0])
    found = toy_model(made, build)
    (first,) = seen
    assert isinstance(first, ModelledEvents)
    x = np.array([1.5, -2.5, 3.5, -4.5])
    signal = np.exp(-((x - 0.5) ** 2) / 2) / np.sqrt(2 * np.pi) / (special.ndtr(4.5) - special.ndtr(-5.5))
    assert np.sort(first.density_ratio) == pytest.approx(np.sort(10 * signal), rel=1e-9)
    assert (found["status"] == Status.OK).all()


@pytest.mark.parametrize("told", ["known", "estimated"])
def test_the_background_is_told_where_the_experiment_tells_it(told):
    options = {"b_is": told} | ({"relative_b_error": 0.1} if told == "estimated" else {})
    found = toy_model(
        study(experiment={"name": "gaussian_flat", "options": options}, methods=["likelihood_integration"])
    )
    assert (found["status"] == Status.OK).all()


def test_other_experiments_have_no_toy_model():
    assert toy_model(study(experiment="counting", methods=["classical"])) is None
    assert toy_model(study(b=[0.25])) is None
