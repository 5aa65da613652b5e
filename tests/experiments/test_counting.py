import mpmath
import numpy as np
import pytest
from scipy import stats

from covsvc.contracts import Counts
from covsvc.errors import ObservationError
from covsvc.experiments.counting import Counting


@pytest.mark.parametrize(
    ("s_true", "b"), [(0.0, 1e-300), (1e-12, 0.0), (0.5, 0.0), (3.0, 5.5), (0.0, 700.0), (50.0, 1e4), (9e4, 1e4)]
)
def test_outcomes_have_poisson_probabilities(s_true, b):
    (counts,), probability = Counting().outcomes(s_true, b)
    with mpmath.workdps(30):
        mean = mpmath.mpf(s_true) + mpmath.mpf(b)
        some = range(0, len(counts), max(1, len(counts) // 200))
        exact = [
            float(mpmath.exp(-mean + int(counts.n[i]) * mpmath.log(mean) - mpmath.loggamma(int(counts.n[i]) + 1)))
            for i in some
        ]
    assert probability[:: some.step] == pytest.approx(exact, rel=1e-12, abs=1e-300)
    assert probability.sum() == pytest.approx(1, abs=1e-12)


def test_nothing_expected_means_nothing_observed():
    (counts,), probability = Counting().outcomes(0.0, 0.0)
    assert probability[counts.n == 0] == pytest.approx([1.0])
    assert probability[counts.n > 0].sum() == 0
    (toys,) = Counting().toys(0.0, 0.0, 100, np.random.default_rng(1999))
    assert (toys.n == 0).all()


def test_outcomes_are_all_different():
    (counts,), _ = Counting().outcomes(3.0, 5.5)
    assert len(set(counts.n.tolist())) == len(counts)


# the smallest exact binomial p of all outcomes times their number: by chance below 1e-3 once in 1000
@pytest.mark.parametrize(("s_true", "b"), [(0.5, 0.0), (3.0, 5.5), (10.0, 30.0)])
def test_toys_are_distributed_as_the_outcomes(s_true, b):
    size = 100_000
    (toys,) = Counting().toys(s_true, b, size, np.random.default_rng(1999))
    (counts,), probability = Counting().outcomes(s_true, b)
    seen = np.bincount(toys.n, minlength=counts.n.max() + 1)
    assert seen.sum() == seen[counts.n].sum()
    p = [stats.binomtest(int(seen[n]), size, chance).pvalue for n, chance in zip(counts.n, probability, strict=True)]
    assert min(p) * len(p) > 1e-3


@pytest.mark.parametrize("assumed_over_true", [1.0, 0.8, 1.2])
def test_the_analyst_assumes_a_background_that_may_be_wrong(assumed_over_true):
    experiment = Counting(assumed_over_true=assumed_over_true)
    (toys,) = experiment.toys(3.0, 5.5, 10, np.random.default_rng(1999))
    (counts,), probability = experiment.outcomes(3.0, 5.5)
    assert np.unique(toys.b) == pytest.approx([assumed_over_true * 5.5], rel=1e-15)
    assert np.unique(counts.b) == pytest.approx([assumed_over_true * 5.5], rel=1e-15)
    # the truth stays where it was
    assert np.array_equal(toys.n, Counting().toys(3.0, 5.5, 10, np.random.default_rng(1999))[0].n)
    assert np.array_equal(probability, Counting().outcomes(3.0, 5.5)[1])


@pytest.mark.parametrize("assumed_over_true", [1.0, 1.2])
def test_real_data_are_taken_as_the_analyst_gives_them(assumed_over_true):
    (counts,) = Counting(assumed_over_true=assumed_over_true).observe({"n": 3, "b": 5.5})
    assert isinstance(counts, Counts)
    assert counts.n.tolist() == [3]
    assert np.unique(counts.b).tolist() == [5.5]


@pytest.mark.parametrize("data", [{"n": -1, "b": 5.5}, {"n": 3, "b": -1.0}, {"n": 2.5, "b": 1.0}])
def test_impossible_data_are_refused(data):
    with pytest.raises(ObservationError):
        Counting().observe(data)
