"""The cells in which limits cover least."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from covsvc.worst_cells import worst_cells


def maps_of(covered, exact, n_toys=1000, study=None):
    """Return maps of two methods at cl 0.9 on two s_true and one b."""
    dims = ("limit_method", "cl", "b", "s_true")
    covered, exact = np.reshape(covered, (2, 1, 1, 2)), np.reshape(exact, (2, 1, 1, 2)).astype(float)
    toys = np.broadcast_to(n_toys, covered.shape)
    rate = np.divide(covered, toys, out=np.full(covered.shape, np.nan), where=toys > 0)
    values = {"n_toys": toys, "n_covered": covered, "coverage": rate, "coverage_low": rate, "coverage_high": rate}
    return xr.Dataset(
        {name: (dims, value) for name, value in (values | {"exact_coverage": exact}).items()},
        coords={"limit_method": ["a", "b b"], "cl": [0.9], "b": [3.0], "s_true": [0.3, 2.0]},
        attrs={"study": json.dumps({"name": "small", "n_toys": 1000} | (study or {})), "store": "s", "snapshot": "X"},
    )


NO = np.nan


def test_the_worst_cell_of_each_column_stands_with_the_largest_deficit_first():
    first, second = worst_cells(maps_of([[950, 920], [850, 870]], [[0.91, 0.93], [NO, NO]]))
    assert (first.limit_method, first.s_true, first.n_covered, first.n_toys) == ("b b", 0.3, 850, 1000)
    assert first.deficit == pytest.approx(0.05)
    # exact where it is known: 0.91 at s_true = 0.3, though the toys are lower elsewhere
    assert (second.limit_method, second.s_true, second.exact_coverage) == ("a", 0.3, 0.91)
    assert second.deficit == pytest.approx(-0.01)
    assert (
        first.command
        == "covsvc replay small --s-true 0.3 --b 3 --limit-method 'b b' --cl 0.9 --missed --store s --at X"
    )


def test_p_values_are_those_of_the_binomial_with_holms_correction():
    found = {cell.limit_method: cell for cell in worst_cells(maps_of([[880, 870], [860, 905]], [[NO, NO], [NO, NO]]))}
    raw = {k: stats.binom.cdf(k, 1000, 0.9) for k in (860, 870)}
    assert found["b b"].p == pytest.approx(raw[860], rel=1e-9)
    assert found["a"].p == pytest.approx(raw[870], rel=1e-9)
    # four tests: the smallest p times 4, the next times 3
    assert found["b b"].p_adjusted == pytest.approx(4 * raw[860], rel=1e-9)
    assert found["a"].p_adjusted == pytest.approx(3 * raw[870], rel=1e-9)


def test_exact_cells_and_adaptive_numbers_of_toys_have_no_p():
    exact = worst_cells(maps_of([[880, 870], [860, 905]], [[0.9, 0.9], [0.9, 0.9]]))
    budget = {"n_toys": {"min": 1000, "max": 2000}}
    adaptive = worst_cells(maps_of([[880, 870], [860, 905]], [[NO, NO], [NO, NO]], study=budget))
    assert all(np.isnan([cell.p, cell.p_adjusted]).all() for cell in exact + adaptive)


def test_cells_without_toys_are_left_out():
    toys = np.array([[0, 1000], [0, 0]]).reshape(2, 1, 1, 2)
    (only,) = worst_cells(maps_of([[0, 950], [0, 0]], [[0.8, 0.95], [0.9, 0.9]], toys))
    assert (only.limit_method, only.s_true) == ("a", 2.0)
