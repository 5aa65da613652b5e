"""Toys and limits that are compared with stored ones, and signals that lie on an end of an interval."""

from __future__ import annotations

import json

import numpy as np
import pytest

from covsvc import api
from covsvc.engine.likewise import has_its_bits, has_its_toys, near_ends, toys_digest, toys_digests

POISSON_90 = 2.302585092994046
"""-ln 0.1: the classical limit on no event without background."""


def test_toys_are_known_by_seed_cell_and_block(small_study):
    study = small_study()
    one = toys_digest(study, 2.5, 3.0, 1)
    assert one == toys_digest(small_study(n_toys=10_000, cl=[0.9], s_true=[2.5]), 2.5, 3.0, 1)
    others = (study, 2.5, 3.0, 0), (small_study(seed=1), 2.5, 3.0, 1), (study, 1.0, 3.0, 1)
    assert len({one, *(toys_digest(*other) for other in others)}) == 4


@pytest.mark.parametrize("experiment", ["gaussian_flat", "spectrum", "cleo"])
def test_toys_of_events_are_known_by_every_number(small_study, experiment):
    study, other = (small_study(experiment=experiment, methods=["classical"], seed=seed) for seed in (1, 2))
    assert toys_digest(study, 2.5, 3.0, 0) == toys_digest(study, 2.5, 3.0, 0) != toys_digest(other, 2.5, 3.0, 0)


def test_a_cube_that_tells_no_toys_has_others(small_study, tmp_path):
    study = small_study()
    cube = api.run(study, tmp_path)
    assert not has_its_toys(cube, study)
    cube.attrs["toys"] = json.dumps(toys_digests(study))
    assert has_its_toys(cube, study)
    assert has_its_toys(cube, small_study(n_toys=1000))
    assert not has_its_toys(cube, small_study(seed=3))


def test_a_column_has_its_own_bits_and_not_those_of_another(small_study, tmp_path):
    def called_ours(name):
        return small_study(methods=[{"name": name, "label": "ours"}])

    cubes = [api.run(called_ours(name), tmp_path / name) for name in ("classical", "bayes_flat")]
    for at, name in enumerate(("classical", "bayes_flat")):
        for column in called_ours(name).columns:
            assert has_its_bits(cubes[at], called_ours(name), column, cubes[1 - at])
            assert not has_its_bits(cubes[1 - at], called_ours(name), column, cubes[at])
            # where nothing differs nothing tells whose limits these are
            assert not has_its_bits(cubes[at], called_ours(name), column, cubes[at])


@pytest.mark.parametrize(
    ("s_true", "near"), [(0.0, False), (POISSON_90, True), (2.3025, False), (POISSON_90 + 5e-7, True)]
)
def test_an_end_of_an_interval_is_near_a_signal_on_it(small_study, s_true, near):
    study = small_study(methods=["classical", "cls"], cl=[0.9], s_true=[s_true, 9.9], b=[0, 3])
    found = near_ends(study, ["classical"])
    assert found.sel(limit_method="classical", cl=0.9, b=0).isel(s_true=0) == near
    assert not found.sel(limit_method="cls").any()


def test_no_end_is_near_where_outcomes_are_not_enumerable(small_study):
    study = small_study(experiment="gaussian_flat", methods=["classical"])
    assert not np.any(near_ends(study, ["classical"]))
