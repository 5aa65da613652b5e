"""Questions while a run commits."""

from __future__ import annotations

import threading

import pytest
from service_store import STUDY, running

from covsvc import api
from covsvc.api.plain import plain
from covsvc.service import make_app
from covsvc.study import study_of

pytestmark = pytest.mark.system

ASKED = "limit_method=cls&cl=0.9&s_true=2.5"


def test_every_answer_is_that_of_one_commit_and_none_fails_while_a_run_commits(tmp_path, cached, monkeypatch):
    monkeypatch.setattr("covsvc.service.snapshots.FRESH", 0.0)
    store, failed = str(tmp_path / "store"), []
    study = STUDY | {"methods": ["cls"], "cl": [0.9]}
    api.run(study_of(study | {"n_toys": 500}), store)

    def grow():
        try:
            for blocks in range(2, 6):
                api.run(study_of(study | {"n_toys": 500 * blocks}), store)
        except BaseException as error:
            failed.append(error)

    driver = threading.Thread(target=grow)
    told = []
    with running(make_app(store)) as client:
        assert client.get(f"/studies/tiny/coverage?{ASKED}").status_code == 200
        driver.start()
        while driver.is_alive():
            told.append(client.get(f"/studies/tiny/coverage?{ASKED}"))
        driver.join()
    assert not failed
    assert {each.status_code for each in told} == {200}
    answers = {each.json()["snapshot"]: each.json() for each in told}
    assert len(answers) > 1
    assert all(each.json() == answers[each.json()["snapshot"]] for each in told)
    toys = []
    for each in told:
        toys += [row["n_toys"] for row in each.json()["rows"]]
    assert toys == sorted(toys)  # never back to an older one
    for snapshot, answer in answers.items():
        known = api.query("tiny", store, at=snapshot, limit_method=["cls"], cl="0.9", s_true="2.5").as_dict()
        assert answer == plain(known | {"at": "main"})
