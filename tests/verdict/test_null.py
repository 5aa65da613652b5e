"""False alarms of validations in which nothing is worse than it should be: the short form of the trial."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from scipy import stats

TRIAL = runpy.run_path(str(Path(__file__).parents[1] / "trials" / "validation_null.py"))


@pytest.mark.parametrize("kind", TRIAL["KINDS"])
def test_false_alarms_agree_with_the_stated_error(kind):
    selected, rejected, naive = TRIAL["false_alarms"](kind, 100, 0.01, 1999)
    assert stats.binom.sf(rejected - 1, 100, 0.01) >= 1e-3, rejected
    assert naive > 50  # a rule that takes stored toys at 5 % in each cell is wrong most of the time
    assert selected > 0  # and there was something to confirm
