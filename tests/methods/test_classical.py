import numpy as np
import pytest
from reference import HARD_COUNTS, coverage, mean_upper, random_counts, within

from covsvc.contracts import Counts, Status
from covsvc.methods.classical import Classical


def limit(n, b, cl):
    limits = Classical().limits(Counts([n], b), cl)
    return limits.upper[0], limits.status[0]


# Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Table 1 and Section 2.2
@pytest.mark.parametrize(("n", "b", "published"), [(3, 5.5, 1.18), (3, 6.5, 0.18)])
def test_agrees_with_narsky_at_90_percent(n, b, published):
    assert limit(n, b, 0.9)[0] == pytest.approx(published, abs=5e-3)


# Particle Data Group, Review, Statistics: Table of one-sided limits for the mean of a Poisson variable
@pytest.mark.parametrize(
    ("cl", "published"),
    [
        (0.90, [2.30, 3.89, 5.32, 6.68, 7.99, 9.27, 10.53, 11.77, 12.99, 14.21, 15.41]),
        (0.95, [3.00, 4.74, 6.30, 7.75, 9.15, 10.51, 11.84, 13.15, 14.43, 15.71, 16.96]),
    ],
)
def test_agrees_with_pdg_table_without_background(cl, published):
    limits = Classical().limits(Counts(np.arange(11)), cl)
    assert limits.upper == pytest.approx(published, abs=5e-3)


@pytest.mark.parametrize(("n", "b", "cl"), [*HARD_COUNTS, *random_counts(20)])
def test_agrees_with_40_digits(n, b, cl):
    exact = mean_upper(n, 1 - cl) - b
    upper, status = limit(n, b, cl)
    if exact < 0:
        assert (upper, status) == (0.0, Status.EMPTY)
    else:
        assert status == Status.OK
        assert within(upper, float(exact), float(exact) + b)


# nu_up(0) = -ln 0.1 = 2.302585
@pytest.mark.parametrize(("b", "status"), [(2.3025, Status.OK), (2.3026, Status.EMPTY), (3.0, Status.EMPTY)])
def test_is_empty_where_the_background_alone_is_excluded(b, status):
    assert limit(0, b, 0.9)[1] == status


@pytest.mark.parametrize("b", [0.0, 0.3, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("cl", [0.5, 0.68, 0.9, 0.95, 0.99])
def test_covers_at_least(b, cl):
    covers = coverage(Classical().limits(Counts(np.arange(120), b), cl), b, np.linspace(0.003, 15, 400))
    assert np.nanmin(covers) >= cl - 1e-12


def test_an_empty_interval_is_a_miss_even_without_signal():
    # at s = 0, b = 3 only n = 0 is missed: 1 - exp(-3) = 0.9502, and 1 if empty were taken for [0, 0]
    limits = Classical().limits(Counts(np.arange(60), 3.0), 0.9)
    assert coverage(limits, 3.0, [0.0]) == pytest.approx(1 - np.exp(-3), rel=1e-12)
