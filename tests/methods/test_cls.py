"""CLs, and Zech's limit, which is the same number for another reason."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import HARD_COUNTS, bayes_upper, cls_upper, coverage, random_counts, within

from covsvc.contracts import Counts, Status
from covsvc.methods.bayes import BayesFlat
from covsvc.methods.cls import CLs
from covsvc.methods.zech import Zech

BOTH = pytest.mark.parametrize("method", [CLs(), Zech()], ids=["cls", "zech"])


def upper(method, n, b, cl):
    return method.limits(Counts([n], b), cl).upper[0]


# flat Bayes in Narsky, Nucl. Instrum. Meth. A 450 (2000) 444: Table 1 and Section 2.2; at 95 % exact CLs by hand
@BOTH
@pytest.mark.parametrize(
    ("n", "b", "cl", "published"),
    [(3, 5.5, 0.9, 3.57), (3, 6.5, 0.9, 3.39), (0, 0.3, 0.95, 2.996), (3, 3.0, 0.95, 5.395)],
)
def test_agrees_with_published_limits(method, n, b, cl, published):
    assert upper(method, n, b, cl) == pytest.approx(published, abs=5e-3)


@BOTH
@pytest.mark.parametrize(("n", "b", "cl"), [c for c in [*HARD_COUNTS, *random_counts(20)] if c[0] <= 2000])
def test_agrees_with_adding_up_probabilities_in_40_digits(method, n, b, cl):
    exact = float(cls_upper(n, b, cl))
    assert within(upper(method, n, b, cl), exact, exact + b)


@BOTH
@pytest.mark.parametrize(("n", "b", "cl"), [c for c in HARD_COUNTS if c[0] > 2000])
def test_agrees_with_40_digits_of_the_gamma_function(method, n, b, cl):
    exact = float(bayes_upper(n, b, cl, 0))
    assert within(upper(method, n, b, cl), exact, exact + b)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(n=st.integers(0, 5000), b=st.floats(0, 5000), cl=st.floats(0.5, 0.99999))
def test_cls_is_zech_is_the_flat_prior(n, b, cl):
    flat = upper(BayesFlat(), n, b, cl)
    assert within(upper(CLs(), n, b, cl), flat, flat + b)
    assert within(upper(Zech(), n, b, cl), flat, flat + b)


@BOTH
def test_is_never_empty_however_few_events_there_are(method):
    limits = method.limits(Counts([0, 0, 5, 100], [3.0, 1e4, 700.0, 1e4]), 0.9)
    assert (limits.status == Status.OK).all()
    assert (limits.upper > 2.3).all()


@BOTH
@pytest.mark.parametrize("b", [0.0, 0.3, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("cl", [0.68, 0.9, 0.95])
def test_covers_at_least(method, b, cl):
    covers = coverage(method.limits(Counts(np.arange(120), b), cl), b, np.linspace(0.003, 15, 400))
    assert np.nanmin(covers) >= cl - 1e-12
