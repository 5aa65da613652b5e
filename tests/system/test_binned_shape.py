"""The studies of counts in bins, as a user runs them, with their workspace beside them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import covsvc

pytestmark = [pytest.mark.heavy, pytest.mark.system, pytest.mark.timeout(1800)]

STUDY = Path(__file__).parents[2] / "deploy" / "studies" / "binned-shape.yaml"
NOMINAL, PULLED = "binned-shape", "binned-shape-pulled"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Run the studies with their reports; return what was told, and the folder."""
    folder = tmp_path_factory.mktemp("binned")
    command = [sys.executable, "-m", "covsvc", "run", str(STUDY), "--workers", "2", "--report", "report", "--json"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1700, check=False)
    assert ended.returncode == 0, ended.stderr
    return {each["study"]: each for each in json.loads(ended.stdout)}, folder


def maps(folder, name):
    return covsvc.summarize(covsvc.open_cube(folder / "coverage-cubes", name)).load()


def test_the_observed_limit_is_that_of_pyhf(ran):
    told, _ = ran
    upper = {row["limit_method"]: row["upper"] for row in told[NOMINAL]["observed"]}
    # pyhf 0.7.6: its CLs of the workspace is 0.05 at mu = 2.507540 (scipy.optimize.brentq), of 10 events each
    assert upper["q_mu_tilde"] == pytest.approx(25.0754, abs=2e-4)


def test_calibrations_are_made_once_and_all_limits_are_set(ran):
    told, folder = ran
    assert (folder / "coverage-cubes" / "calibrations").is_dir()
    for name in (NOMINAL, PULLED):
        assert {row["status"] for row in told[name]["observed"]} == {"ok"}
        assert float(maps(folder, name)["p_failed"].max()) <= 0.02
    # the same analysis: what the second study observes it reads with the calibration of the first
    limits = [
        row["upper"]
        for name in (NOMINAL, PULLED)
        for row in told[name]["observed"]
        if row["limit_method"] == "unified interval"
    ]
    assert limits[0] == limits[1]


def test_cls_covers_at_the_nominal_parameters(ran):
    _, folder = ran
    found = maps(folder, NOMINAL).sel(limit_method=["q_mu", "q_mu_tilde"], cl=0.95)
    # CLs covers at least, but for the asymptotic formulae; every cell is held to 0.93, the smallest exact p times cells
    n, x = found["n_toys"].values, found["n_covered"].values
    assert (stats.binom.cdf(x, n, 0.93) * x.size > 1e-3).all()
    at_zero = found.sel(s_true=0)
    assert (at_zero["n_covered"].values == at_zero["n_toys"].values).all()


def test_a_background_that_is_not_as_expected_moves_the_limits(ran):
    _, folder = ran
    nominal, pulled = (
        maps(folder, name).sel(limit_method="q_mu_tilde", cl=0.95, b=109, s_true=[0, 10, 20])
        for name in (NOMINAL, PULLED)
    )
    assert (nominal["sigma_med"].values != pulled["sigma_med"].values).all()
    assert np.isfinite(pulled["sigma_med"].values).all()


def test_the_reports_hold_the_expected_limits(ran):
    _, folder = ran
    for name in (NOMINAL, PULLED):
        page = (folder / "report" / name / "index.html").read_text()
        assert "Expected limits" in page
        assert (folder / "report" / name / "figures" / "expected-q_mu_tilde.png").stat().st_size > 10_000
