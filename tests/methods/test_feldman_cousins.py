import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import (
    coverage,
    feldman_cousins_accepts_exactly,
    feldman_cousins_belt,
    feldman_cousins_upper_for_this_or_more_background,
    within,
)

from covsvc.contracts import Counts, Status
from covsvc.methods.feldman_cousins import FeldmanCousins

PUBLISHED = FeldmanCousins(monotone_in_b=True)
TO_TWO_DECIMALS = 5e-3


def interval(method, n, b, cl):
    limits = method.limits(Counts([n], b), cl)
    return limits.lower[0], limits.upper[0]


# Feldman and Cousins, Phys. Rev. D 57 (1998) 3873, Tables II-IX: cl, n, b, lower, upper (None where left out here)
@pytest.mark.parametrize(
    ("cl", "n", "b", "lower", "upper"),
    [
        (0.90, 0, 0.0, 0.00, 2.44),
        (0.90, 1, 0.0, 0.11, 4.36),
        (0.90, 10, 0.0, 5.50, 16.50),
        (0.90, 3, 1.0, 0.10, 6.42),
        (0.90, 6, 3.0, 0.15, 8.47),
        (0.90, 0, 3.0, 0.00, 1.08),
        (0.90, 0, 5.0, 0.00, 0.98),
        (0.90, 5, 8.0, 0.00, 2.60),
        (0.90, 20, 12.0, 2.23, None),
        (0.6827, 3, 1.0, 0.54, 4.30),
        (0.6827, 1, 4.0, None, 0.36),
        (0.6827, 10, 15.0, None, 0.84),
        (0.95, 15, 7.0, 2.11, None),
        (0.95, 20, 14.0, 0.00, None),
        (0.99, 10, 3.5, 0.63, None),
        (0.99, 20, 10.0, 1.08, None),
    ],
)
def test_agrees_with_the_published_tables(cl, n, b, lower, upper):
    found = interval(PUBLISHED, n, b, cl)
    if lower is not None:
        assert found[0] == pytest.approx(lower, abs=TO_TWO_DECIMALS)
    if upper is not None:
        assert found[1] == pytest.approx(upper, abs=TO_TWO_DECIMALS)


# Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Table 1, prints ~2.5
def test_agrees_with_narsky_at_90_percent():
    assert interval(FeldmanCousins(), 3, 5.5, 0.9) == pytest.approx((0, 2.45), abs=TO_TWO_DECIMALS)


@pytest.mark.parametrize(("b", "raw", "monotone"), [(3.0, 0.953, 1.078), (5.0, 0.771, 0.984)])
def test_the_published_upper_end_is_lengthened_where_more_background_would_raise_it(b, raw, monotone):
    assert interval(FeldmanCousins(), 0, b, 0.9)[1] == pytest.approx(raw, abs=5e-4)
    assert interval(PUBLISHED, 0, b, 0.9)[1] == pytest.approx(monotone, abs=5e-4)


@pytest.mark.parametrize(
    ("b", "cl"),
    [
        (0.0, 0.5),
        (0.0, 0.9),
        (1e-12, 0.95),
        (1e-300, 0.68),
        (0.3, 0.999),
        (1.0, 0.6827),
        (2.0, 0.5),
        (2.5, 0.9),
        (3.0, 0.95),
        (7.7, 0.99),
        (15.0, 0.5),
        (15.0, 0.9),
    ],
)
def test_agrees_with_ordering_the_counts_at_every_signal(b, cl):
    lower, upper = feldman_cousins_belt(30, b, cl)
    limits = FeldmanCousins().limits(Counts(np.arange(31), b), cl)
    empty = np.isnan(upper)
    assert np.array_equal(limits.status, np.where(empty, Status.EMPTY, Status.OK))
    assert (limits.upper[empty] == 0).all()
    assert within(limits.lower[~empty], lower[~empty], upper[~empty] + b).all()
    assert within(limits.upper[~empty], upper[~empty], upper[~empty] + b).all()


def test_is_empty_where_other_counts_alone_make_up_the_confidence_level():
    assert FeldmanCousins().limits(Counts([0], 2.0), 0.5).status[0] == Status.EMPTY


@pytest.mark.parametrize(
    ("n", "b", "cl"),
    [
        (5, 700.0, 0.9),
        (0, 1e4, 0.9),
        (950, 1000.0, 0.68),
        (1000, 1000.0, 0.95),
        (1100, 1000.0, 0.99),
        (1500, 3.0, 0.9),
        (10_150, 1e4, 0.9),
        (100_000, 1e4, 0.9),
    ],
)
def test_large_counts_enter_and_leave_the_accepted_set_at_the_ends(n, b, cl):
    lower, upper = interval(FeldmanCousins(), n, b, cl)

    def accepted(s):
        return feldman_cousins_accepts_exactly(n, s, b, cl)

    # doubles hold s = nu - b to a few eps of nu
    def step(s):
        return 1e-9 * s + 16 * np.finfo(float).eps * (s + b)

    assert accepted(upper - step(upper))
    assert not accepted(upper + step(upper))
    assert not any(accepted(upper + further) for further in (0.01, 0.1, 0.7, 1.9))
    if lower > 0:
        assert accepted(lower + step(lower))
        assert not accepted(lower - step(lower))
        assert not any(accepted(lower - further) for further in (0.01, 0.1, 0.7, 1.9) if further < lower)
    else:
        assert accepted(1e-9 * upper)


# the supremum over b' is a limit at a jump, which the reference finds to about 1e-9 of the mean
@pytest.mark.parametrize(
    ("n", "b", "cl"), [(0, 3.0, 0.9), (0, 5.0, 0.9), (1, 4.0, 0.6827), (2, 6.3, 0.95), (1, 0.5, 0.9)]
)
def test_monotone_upper_end_is_the_largest_for_this_or_more_background(n, b, cl):
    largest = feldman_cousins_upper_for_this_or_more_background(n, b, cl)
    assert interval(PUBLISHED, n, b, cl)[1] == pytest.approx(largest, abs=1e-8)


def test_monotone_upper_end_never_rises_with_the_background():
    b = np.linspace(0, 12, 97)
    for n in (0, 1, 4):
        upper = PUBLISHED.limits(Counts(np.full(97, n), b), 0.9).upper
        assert (np.diff(upper) <= 1e-6).all()


@settings(derandomize=True, max_examples=15, deadline=None)
@given(n=st.integers(0, 20), b=st.floats(0, 15), cl=st.sampled_from([0.6827, 0.9, 0.95]))
def test_monotone_interval_holds_the_raw_one(n, b, cl):
    raw, monotone = interval(FeldmanCousins(), n, b, cl), interval(PUBLISHED, n, b, cl)
    assert monotone[0] == raw[0]
    assert monotone[1] >= raw[1]


@pytest.mark.parametrize("b", [0.0, 0.3, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("cl", [0.5, 0.68, 0.9, 0.95, 0.99])
def test_covers_at_least(b, cl):
    covers = coverage(FeldmanCousins().limits(Counts(np.arange(90), b), cl), b, np.linspace(0.003, 15, 400))
    assert np.nanmin(covers) >= cl - 1e-12
