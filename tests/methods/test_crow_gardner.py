import numpy as np
import pytest
from reference import coverage, crow_gardner_accepts_exactly, crow_gardner_belt, within

from covsvc.contracts import Counts, Status
from covsvc.methods.crow_gardner import CrowGardner


# Crow and Gardner, Biometrika 46 (1959) 441, 95 %, n = 0 ... 9
def test_agrees_with_the_table_of_1959_at_95_percent():
    limits = CrowGardner().limits(Counts(np.arange(10)), 0.95)
    assert limits.lower == pytest.approx([0, 0.051, 0.355, 0.818, 1.366, 1.970, 2.613, 3.285, 3.285, 4.460], abs=5e-4)
    assert limits.upper == pytest.approx(
        [3.285, 5.323, 6.686, 8.102, 9.598, 11.177, 12.817, 13.765, 14.921, 16.768], abs=5e-4
    )


@pytest.mark.parametrize("cl", [0.5, 0.6827, 0.9, 0.95, 0.99, 0.999])
def test_agrees_with_looking_for_the_shortest_run_at_every_mean(cl):
    lower, upper = crow_gardner_belt(30, cl)
    limits = CrowGardner().limits(Counts(np.arange(31)), cl)
    assert (limits.status == Status.OK).all()
    assert within(limits.lower, lower, upper).all()
    assert within(limits.upper, upper, upper).all()


@pytest.mark.parametrize(("b", "cl"), [(1e-300, 0.9), (1e-12, 0.9), (3.0, 0.68), (15.0, 0.9)])
def test_background_shifts_the_interval_of_the_mean(b, cl):
    lower, upper = (end - b for end in crow_gardner_belt(30, cl))
    limits = CrowGardner().limits(Counts(np.arange(31), b), cl)
    empty = upper < 0
    assert np.array_equal(limits.status, np.where(empty, Status.EMPTY, Status.OK))
    assert (limits.upper[empty] == 0).all()
    assert within(limits.lower[~empty], np.maximum(lower, 0)[~empty], upper[~empty] + b).all()
    assert within(limits.upper[~empty], upper[~empty], upper[~empty] + b).all()


@pytest.mark.parametrize(
    ("n", "b", "cl"),
    [(950, 900.0, 0.68), (1000, 980.0, 0.95), (1100, 0.0, 0.99), (10_000, 9500.0, 0.9), (100_000, 1e4, 0.9)],
)
def test_large_counts_enter_and_leave_the_shortest_run_at_the_ends(n, b, cl):
    limits = CrowGardner().limits(Counts([n], b), cl)
    lower, upper = limits.lower[0] + b, limits.upper[0] + b
    assert crow_gardner_accepts_exactly(n, upper * (1 - 1e-9), cl)
    assert not crow_gardner_accepts_exactly(n, upper * (1 + 1e-9), cl)
    assert not any(crow_gardner_accepts_exactly(n, upper + further, cl) for further in (0.01, 0.1, 0.7, 1.9))
    if lower > b:
        assert crow_gardner_accepts_exactly(n, lower * (1 + 1e-9), cl)
        assert not crow_gardner_accepts_exactly(n, lower * (1 - 1e-9), cl)
        assert not any(crow_gardner_accepts_exactly(n, lower - further, cl) for further in (0.01, 0.1, 0.7, 1.9))


# nu2(0) = 3.285 at 95 %
@pytest.mark.parametrize(("b", "status"), [(3.28, Status.OK), (3.29, Status.EMPTY), (1e4, Status.EMPTY)])
def test_is_empty_where_the_background_alone_is_excluded(b, status):
    assert CrowGardner().limits(Counts([0], b), 0.95).status[0] == status


@pytest.mark.parametrize("b", [0.0, 0.3, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("cl", [0.5, 0.68, 0.9, 0.95, 0.99])
def test_covers_at_least(b, cl):
    covers = coverage(CrowGardner().limits(Counts(np.arange(90), b), cl), b, np.linspace(0.003, 15, 400))
    assert np.nanmin(covers) >= cl - 1e-12
