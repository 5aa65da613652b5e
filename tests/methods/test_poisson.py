import numpy as np
import pytest
from reference import HARD_COUNTS, coverage, mean_upper, random_counts, within

from covsvc.contracts import Counts, Status
from covsvc.methods.poisson import Poisson


# Particle Data Group, Review, Statistics: Table of one-sided limits for the mean of a Poisson variable
@pytest.mark.parametrize(
    ("cl", "published"),
    [
        (0.90, [2.30, 3.89, 5.32, 6.68, 7.99, 9.27, 10.53, 11.77, 12.99, 14.21, 15.41]),
        (0.95, [3.00, 4.74, 6.30, 7.75, 9.15, 10.51, 11.84, 13.15, 14.43, 15.71, 16.96]),
    ],
)
def test_agrees_with_pdg_table(cl, published):
    assert Poisson().limits(Counts(np.arange(11)), cl).upper == pytest.approx(published, abs=5e-3)


@pytest.mark.parametrize(("n", "b", "cl"), [*HARD_COUNTS, *random_counts(20)])
def test_agrees_with_40_digits_whatever_the_background(n, b, cl):
    exact = float(mean_upper(n, 1 - cl))
    limits = Poisson().limits(Counts([n], b), cl)
    assert limits.status[0] == Status.OK
    assert within(limits.upper[0], exact, exact)


def test_ignores_the_background():
    n = np.arange(50)
    without = Poisson().limits(Counts(n), 0.9).upper
    assert np.array_equal(Poisson().limits(Counts(n, 5.5), 0.9).upper, without)
    assert np.array_equal(Poisson().limits(Counts(n, np.linspace(0, 1e4, 50)), 0.9).upper, without)


@pytest.mark.parametrize("b", [0.0, 3.0, 10.0])
def test_covers_at_least(b):
    covers = coverage(Poisson().limits(Counts(np.arange(120), b), 0.9), b, np.linspace(0.003, 15, 400))
    assert np.nanmin(covers) >= 0.9 - 1e-12
