import numpy as np
import pytest
from reference import HARD_COUNTS, coverage, mean_lower, mean_upper, random_counts, within

from covsvc.contracts import Counts, Status
from covsvc.methods.garwood import Garwood


# Particle Data Group, Review, Statistics: Table of one-sided limits for the mean of a Poisson variable; its 90 % (95 %)
# lower and upper limits are the ends of the central 80 % (90 %) interval
@pytest.mark.parametrize(
    ("cl", "lower", "upper"),
    [
        (0.8, [0, 0.105, 0.532, 1.10, 1.74, 2.43, 3.15], [2.30, 3.89, 5.32, 6.68, 7.99, 9.27, 10.53]),
        (0.9, [0, 0.051, 0.355, 0.818, 1.37, 1.97, 2.61], [3.00, 4.74, 6.30, 7.75, 9.15, 10.51, 11.84]),
    ],
)
def test_agrees_with_pdg_table_without_background(cl, lower, upper):
    limits = Garwood().limits(Counts(np.arange(7)), cl)
    assert limits.lower == pytest.approx(lower, abs=5e-3)
    assert limits.upper == pytest.approx(upper, abs=5e-3)


@pytest.mark.parametrize(("n", "b", "cl"), [*HARD_COUNTS, *random_counts(20)])
def test_agrees_with_40_digits(n, b, cl):
    outside = (1 - cl) / 2
    lower, upper = mean_lower(n, outside) - b, mean_upper(n, outside) - b
    limits = Garwood().limits(Counts([n], b), cl)
    if upper < 0:
        assert (limits.upper[0], limits.status[0]) == (0.0, Status.EMPTY)
    else:
        assert limits.status[0] == Status.OK
        assert within(limits.lower[0], max(float(lower), 0.0), float(upper) + b)
        assert within(limits.upper[0], float(upper), float(upper) + b)


# nu2(0) = -ln 0.05 = 2.995732
@pytest.mark.parametrize(("b", "status"), [(2.9957, Status.OK), (2.9958, Status.EMPTY), (3.0, Status.EMPTY)])
def test_is_empty_where_the_background_alone_is_excluded(b, status):
    assert Garwood().limits(Counts([0], b), 0.9).status[0] == status


@pytest.mark.parametrize("b", [0.0, 0.3, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("cl", [0.5, 0.68, 0.9, 0.95, 0.99])
def test_covers_at_least(b, cl):
    covers = coverage(Garwood().limits(Counts(np.arange(120), b), cl), b, np.linspace(0.003, 15, 400))
    assert np.nanmin(covers) >= cl - 1e-12
