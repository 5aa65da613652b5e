"""Tables of what is seen: what the command line prints of it."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pandas as pd
import pytest
from dashboard_store import HARMFUL

from covsvc import api
from covsvc.errors import CovsvcError
from covsvc_dashboards.held import Held
from covsvc_dashboards.tables import csv_of
from covsvc_dashboards.view import View

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def csv(store):
    """Return what a view has as CSV."""
    with asyncio.Runner() as runner:
        held = Held(store)
        yield lambda **view: runner.run(csv_of(held, View(**view))).decode()
        held.close()


@pytest.mark.parametrize(
    ("view", "command"),
    [
        ({"limit_method": "f, c", "cl": 0.9}, ["--limit-method", "f, c", "--cl", "0.9"]),
        (
            {"limit_method": HARMFUL, "cl": 0.95, "at": "first", "b": 3.0, "s_true": 4.0, "s_low": 1.0, "s_high": 2.5},
            ["--limit-method", HARMFUL, "--cl", "0.95", "--at", "first", "--s-true", "1:2.5"],
        ),
        ({"page": "methods", "limit_method": "mine", "cl": 0.9, "s_low": 2.0}, ["--cl", "0.9", "--s-true", "2:"]),
        (
            {"page": "compare", "limit_method": "mine", "cl": 0.9, "other_at": "v1"},
            ["--limit-method", "mine", "--cl", "0.9", "--against", "v1"],
        ),
        (
            {"page": "compare", "limit_method": "mine", "cl": 0.9, "at": "first", "other": "classical"},
            ["--limit-method", "mine", "--cl", "0.9", "--at", "first", "--against-method", "classical"],
        ),
        (
            {"page": "compare", "limit_method": "mine", "cl": 0.9, "other": "f, c", "other_at": "first"},
            ["--limit-method", "mine", "--cl", "0.9", "--against", "first", "--against-method", "f, c"],
        ),
    ],
)
def test_it_is_what_a_query_prints(csv, covsvc, store, view, command):
    code, printed, _ = covsvc("query", "tiny", "--store", store, "--format", "csv", *command)
    assert code == 0
    assert csv(study="tiny", **view) == printed


def test_the_history_has_a_row_a_baseline_method_and_level(csv, store):
    table = pd.read_csv(io.StringIO(csv(study="tiny", page="history")), keep_default_na=False)
    found = api.trend("tiny", store)
    assert list(zip(table["name"], table["limit_method"], table["cl"], strict=True)) == [
        (name, label, cl)
        for name in ("v1", "v2")
        for label in ("classical", HARMFUL, "f, c", "bayes_jeffreys", "mine")
        for cl in (0.9, 0.95)
    ]
    np.testing.assert_array_equal(table["worst_coverage"], found["worst_coverage"].values.ravel())
    # over no background one event has to be seen where s is above the limit on none: 1 - exp(-1.353)
    mine = table[(table["limit_method"] == "bayes_jeffreys") & (table["cl"] == 0.9)]
    assert mine["worst_coverage"].tolist() == pytest.approx([0.7415] * 2, abs=1e-4)
    assert table["toys_per_second"].tolist() == [1e6] * 10 + [2e6] * 10


def test_a_study_that_was_never_accepted_has_heads_alone(csv):
    (heads,) = csv(study="events", page="history").splitlines()
    assert heads.startswith("limit_method,cl,worst_coverage,")


@pytest.mark.parametrize(
    ("view", "told"),
    [
        ({}, "name a study: study=NAME; there are events, tiny"),
        (
            {"study": "tiny", "limit_method": "clas"},
            "clas: unknown limit method of the study, did you mean 'classical'",
        ),
        ({"study": "tiny", "cl": 0.5}, "cl = 0.5: not on the grid; there are 0.9, 0.95"),
        ({"study": "tiny", "at": "nix"}, "no snapshot 'nix'"),
        ({"study": "tiny", "page": "compare", "other_at": "nix"}, "no snapshot 'nix'"),
        ({"study": "nix"}, "nix: unknown study"),
    ],
)
def test_what_is_not_there_is_said(csv, view, told):
    with pytest.raises(CovsvcError, match=told):
        csv(**view)
