"""Observations: what no experiment can have seen is refused."""

from __future__ import annotations

import numpy as np
import pytest

from covsvc.contracts import Counts
from covsvc.errors import ObservationError


@pytest.mark.parametrize("n", [-1, 2.5, np.nan, np.inf, 1e20, 2**63, True, "3", [[1, 2], [3, 4]], None])
def test_impossible_counts_are_refused(n):
    with pytest.raises(ObservationError, match=r"^n "):
        Counts(n)


@pytest.mark.parametrize("b", [-1e-9, np.nan, np.inf, 1e7, "5", True, None, [1.0, 2.0]])
def test_impossible_backgrounds_are_refused(b):
    with pytest.raises(ObservationError, match=r"^b "):
        Counts(3, b)


def test_whole_numbers_of_any_type_are_counts():
    for n in (3, 3.0, np.uint8(3), [3], (3.0,), np.array([3], np.int16)):
        assert Counts(n).n.tolist() == [3]
        assert Counts(n).n.dtype == np.int64
