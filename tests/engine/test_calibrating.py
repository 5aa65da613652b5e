"""Calibrations: made once for an analysis, kept, shared, and known by nothing but what they depend on."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from covsvc import api
from covsvc.contracts import calibrated, calibration_of
from covsvc.engine import calibrating
from covsvc.engine.calibrating import calibrate_all, calibrations_at, key_of, needs_of
from covsvc.engine.clusters import connect
from covsvc.errors import StoreError, StudyError
from covsvc.store.calibrations import find_calibration, keep_calibration
from covsvc.store.repository import stored_studies
from covsvc.study import Row, Task, study_of

FEW = {"n_toys": 400, "largest_s": 12.0, "largest_b": 24.0}


def study(**changes):
    """Return a study of toys with two methods that calibrate."""
    given = {
        "name": "events",
        "experiment": "gaussian_flat",
        "methods": ["likelihood_integration", {"name": "mc_likelihood", "options": FEW}],
        "cl": [0.90],
        "s_true": [0, 1.5],
        "b": [0, 1],
        "n_toys": 600,
        "toys_per_block": 200,
        "seed": 1999,
    }
    return study_of(given | changes)


def row_of(study, b=1.0):
    task = Task(study.source, study.columns, b, study.s_true, 0, 1)
    return Row(study.source, study.columns, b, study.s_true, None, (task,))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    told = []
    cube = api.run(study(), store, progress=told.append).load()
    return store, cube, told


def test_one_calibration_serves_all_backgrounds_and_is_told_as_progress(stored):
    _, _, told = stored
    assert [(at.calibrations, at.all_calibrations) for at in told if at.all_calibrations] == [(0, 1), (1, 1)]


def test_a_store_of_calibrations_is_no_study(stored):
    store, *_ = stored
    assert (store / "calibrations").is_dir()
    assert stored_studies(store) == ["events"]
    with pytest.raises(StudyError, match=r"calibrations.*kept for its own use"):
        study(name="calibrations")


def test_more_toys_need_no_new_calibration(stored):
    store, *_ = stored
    told = []
    api.run(study(n_toys=800), store, progress=told.append)
    assert told
    assert not any(at.all_calibrations for at in told)


def test_another_study_of_the_same_analysis_needs_no_new_calibration(stored):
    store, *_ = stored
    told = []
    api.run(study(name="other", seed=5, s_true=[3.0], b=[2.0]), store, progress=told.append)
    assert not any(at.all_calibrations for at in told)


def test_the_limits_are_those_of_a_method_that_calibrates_itself(stored):
    source = study().source
    rng = next(source.blocks(1.5, 1.0, 0, 1))
    views = source.experiment.build().toys(1.5, 1.0, 200, rng)
    column = study().columns[1]
    limits = column.spec.build().limits(views[0], column.cl)
    covered = limits.cover(1.5).sum()
    found = api.run(study(name="one", n_toys=200, s_true=[1.5], b=[1]), stored[0]).sel(limit_method=column.key[0])
    assert int(found["n_covered"].sum()) == covered


def test_two_workers_give_the_bits_of_none(stored, tmp_path):
    _, cube, _ = stored
    with connect("local", 2) as client:
        found = api.run(study(), tmp_path, client).load()
    for name in ("n_toys", "n_covered", "n_failed", "limit_digest", "limit_counts"):
        assert_array_equal(found[name].values, cube[name].values, err_msg=name)


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"name": "other"}, True),
        ({"seed": 3}, True),
        ({"n_toys": 400}, True),
        ({"s_true": [0, 4]}, True),
        ({"b": [0, 1, 3]}, True),
        ({"methods": [{"name": "mc_likelihood", "options": FEW, "label": "mine"}]}, True),
        ({"cl": [0.95]}, False),
        ({"methods": [{"name": "mc_likelihood", "options": FEW | {"n_toys": 500}}]}, False),
        ({"methods": [{"name": "mc_likelihood", "options": FEW | {"seed": 7}}]}, False),
        ({"experiment": {"name": "gaussian_flat", "options": {"half_width": 8.0}}}, False),
    ],
)
def test_the_key_holds_what_the_calibration_depends_on_and_nothing_else(changes, same):
    before, after = ({need.key for need in needs_of([row_of(each)])} for each in (study(), study(**changes)))
    assert (before == after) is same


def test_a_change_of_the_code_calibrates_anew(monkeypatch):
    column, known = study().columns[1], study().experiment.build().model(1.0)
    before = key_of(column, known)
    monkeypatch.setattr(calibrating, "code_of", lambda *modules: "other code")
    assert key_of(column, known) != before


def test_the_errors_of_calibrations_stand_in_the_cube(stored):
    _, cube, _ = stored
    methods = json.loads(cube.attrs["methods"])
    (label,) = [name for name in methods if name.startswith("mc_likelihood")]
    assert 0 < methods[label]["calibrations"]["0.9"] < 0.1
    assert not methods["likelihood_integration"].get("calibrations")


def test_a_stored_calibration_comes_back_with_the_same_bits(tmp_path):
    column, known = study().columns[1], study().experiment.build().model(1.0)
    made = column.spec.build().calibrate(known, 0.9)
    assert find_calibration(tmp_path, "key") is None
    keep_calibration(tmp_path, "key", made, {"limit_method": "mc_likelihood"}, 1.0)
    keep_calibration(tmp_path, "key", made, {"limit_method": "mc_likelihood"}, 1.0)
    held = find_calibration(tmp_path, "key")
    assert held.error == made.error
    assert set(held.arrays) == set(made.arrays)
    for name, array in made.arrays.items():
        assert held.arrays[name].dtype == np.asarray(array).dtype
        assert_array_equal(held.arrays[name], array)
    assert find_calibration(tmp_path, "other") is None


def test_a_calibrated_method_equals_the_bare_one_and_uses_what_it_has():
    method, known = study().columns[1].spec.build(), study().experiment.build().model(1.0)
    made = method.calibrate(known, 0.9)
    held = calibrated(method, made)
    assert held == method
    assert calibration_of(held, known, 0.9) is made
    assert calibration_of(method, known, 0.9) is not made


def test_a_calibration_that_fails_is_told_as_the_reason_of_the_blocks(stored, tmp_path, monkeypatch):
    def fail(*_):
        raise ArithmeticError("no such luck")

    monkeypatch.setattr("covsvc.methods.mc_likelihood.MCLikelihood.calibrate", fail)
    api.run(study(), tmp_path)
    status = api.status(tmp_path, "events")
    (failure,) = status["failures"]
    assert failure["reason"] == "its calibration failed: ArithmeticError: no such luck"
    assert failure["cells"] == 4
    maps = api.maps_of(api.open_cube(tmp_path, "events"))
    verdict = api.judge(maps)
    assert verdict.outcome == "undecided"
    (finding,) = [each for each in verdict.findings if each.limit_method.startswith("mc_likelihood")]
    assert "no such luck" in finding.sentence
    assert "--retry-failed" in finding.sentence
    monkeypatch.undo()
    found = api.run(study(), tmp_path, retry_failed=True).load()
    assert_array_equal(found["limit_digest"].values, stored[1]["limit_digest"].values)


def test_what_is_missing_is_made_by_the_method_itself():
    row = row_of(study())
    assert calibrations_at(row, {}) == {}
    ((need, made, _),) = calibrate_all(needs_of([row]))
    (held,) = calibrations_at(row, {need.key: made}).values()
    assert held is made


def test_a_damaged_store_of_calibrations_is_a_plain_error_for_a_run_and_no_obstacle_to_a_limit(stored, tmp_path):
    shutil.copytree(stored[0] / "calibrations", tmp_path / "calibrations")
    for each in (tmp_path / "calibrations" / "manifests").iterdir():
        each.unlink()
    with pytest.raises(StoreError, match=r"cannot be read, it is damaged .*move it away"):
        api.run(study(), tmp_path)
    told = []
    seen = study().experiment.build().observe({"x": [0.3, 7.7]})[0]
    (row,) = api.limits_on_view(seen, [{"name": "mc_likelihood", "options": FEW}], store=tmp_path, tell=told.append)
    assert row["status"] == "ok"
    assert any("damaged" in line for line in told)


def test_a_file_in_the_place_of_the_store_of_calibrations_is_a_plain_error(tmp_path):
    (tmp_path / "calibrations").write_text("no store")
    with pytest.raises(StoreError, match="is no store of calibrations"):
        api.run(study(), tmp_path)
