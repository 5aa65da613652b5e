"""Coverage of the interval methods at the true signal without background.

The long form is tests/trials/interval_coverage.py.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from trials.interval_coverage import METHODS, NEAR, covered

from covsvc import registry
from covsvc.interval_tables import interval_table

TOYS, SEED = 50_000, 2002
LAST = [name for name in METHODS if "first" not in name]


def near_ends(table):
    """Return mu just below and above some thresholds and atom ends."""
    c_max, p_max = table.c_max, table.p_max
    k, other = [1, 2, 3, 6, 14, 30], [1, 2, 4, 20]
    ends = np.concatenate([c_max.thresholds[k], c_max.atom_ends[k], p_max.thresholds[other], p_max.atom_ends[other]])
    return np.concatenate([ends * (1 - NEAR), ends * (1 + NEAR)])


@pytest.mark.parametrize("cl", [0.90, 0.95, 0.99])
def test_is_at_least_cl_on_both_sides_of_thresholds_and_ends_of_atoms(cl):
    table = interval_table(cl)
    mu = np.concatenate([near_ends(table), [0.5, -math.log(1 - cl) * (1 + NEAR), 60.0]])
    found = [covered(each, cl, TOYS, SEED) for each in mu.tolist()]
    chances = []
    for name in LAST:
        method = registry.method(*METHODS[name])
        error = method.calibration_error(cl) if hasattr(method, "calibration_error") else 0.0
        chances.append(stats.binom.cdf([each[name] for each in found], TOYS, cl - 4 * error))
        assert found[len(mu) - 3][name] == TOYS  # of so few events no set of them excludes
    assert np.min(chances) * np.size(chances) > 1e-3, (LAST, mu, chances)


def test_of_c_max_is_largest_just_below_the_end_of_the_first_atom():
    """Up to there the whole range with one event has just the value that has to be exceeded: P(mu, 2)."""
    end = 4.345574
    found = covered(end * (1 - NEAR), 0.9, 4 * TOYS, SEED)["optimum_interval"]
    exact = 1 - math.exp(-end) * (1 + end)
    assert exact == pytest.approx(0.931, abs=5e-4)
    assert stats.binomtest(found, 4 * TOYS, exact).pvalue > 1e-3


def test_of_c_max_falls_below_cl_above_the_end_of_the_first_atom_if_the_first_crossing_is_taken():
    found = covered(4.345574 * (1 + NEAR), 0.9, 4 * TOYS, SEED)
    assert stats.binom.cdf(found["optimum_interval, first crossing"], 4 * TOYS, 0.9) < 1e-6
    assert found["optimum_interval, first crossing"] / (4 * TOYS) == pytest.approx(0.896, abs=3e-3)
    assert stats.binom.cdf(found["optimum_interval"], 4 * TOYS, 0.9) > 1e-3
