"""The contracts that authors of plug-ins subclass: what is right passes, what is wrong fails and says why."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

HEAD = '''
import dataclasses
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
from scipy import stats
from covsvc.contracts import Counts, Limits, Run, Status, one_sided, outcomes_of, two_sided
from covsvc.testing import ExperimentContract, MethodContract

@dataclass(frozen=True)
class Score:
    """Return the largest signal that is z standard deviations from the count."""
    shift: float = 0.0
    reads: ClassVar = (Counts,)
    sided: ClassVar = "upper"
    promises: ClassVar = "asymptotic"
    def limits(self, observed, cl):
        z = stats.norm.ppf(cl)
        return one_sided(observed.n + z * z / 2 + z * np.sqrt(observed.n + z * z / 4) - observed.b + self.shift)

@dataclass(frozen=True)
class Half:
    """Draw counts of which half are seen."""
    gives: ClassVar = (Counts,)
    def counts(self, s_true, b):
        mean = s_true + b / 2
        return (Run(0, stats.poisson.pmf(np.arange(400), mean), mean),)
    def draw(self, s_true, b, size, rng):
        return (rng.poisson(s_true + b / 2, size),)
    def views(self, counts, b):
        return (Counts(counts[0], b / 2),)
    def toys(self, s_true, b, size, rng):
        return self.views(self.draw(s_true, b, size, rng), b)
    def outcomes(self, s_true, b):
        return outcomes_of(self, s_true, b)
    def observe(self, data):
        return (Counts(data["n"], data["b"]),)
    def background(self, data, *, no_signal=False):
        return 2 * data["b"]

'''

RIGHT = """
class TestScore(MethodContract):
    method = Score()
    more = {"many": [Counts(10_000, 3.0), Counts(500_000, 490_000.0)]}
class TestShifted(MethodContract):
    method = Score(shift=1.0)
    levels = [0.95, 0.99]
class TestHalf(ExperimentContract):
    experiment = Half()
    data = {"n": 3, "b": 1.5}
"""

WRONG_METHODS = {
    "batch": (
        "limits = super().limits(observed, cl); return one_sided(limits.upper + observed.n.mean())",
        "test_limits_do_not_depend_on_the_batch",
        "upper depends on the batch: Counts(n=array([",
    ),
    "last_bit": (
        "limits = super().limits(observed, cl); return one_sided(limits.upper * (1 + 2.3e-16 * (len(observed) > 1)))",
        "test_limits_do_not_depend_on_the_batch",
        "upper depends on the batch: ",
    ),
    "writes": (
        "observed.n[observed.n < 1] = 1; return super().limits(observed, cl)",
        "test_the_observation_is_left_as_it_was",
        "limits writes into the observation: all methods read the same toys",
    ),
    "puts_aside": (
        "object.__setattr__(observed, 'b', observed.b * 1.0); return super().limits(observed, cl)",
        "test_the_observation_is_left_as_it_was",
        "b of the observation was changed: all methods read the same toys",
    ),
    "nan": (
        "limits = super().limits(observed, cl); limits.upper[observed.n == 0] = np.nan; return limits",
        "test_status_and_ends_agree",
        "NaN, but the status is not failed: Counts(n=array([0]), b=array([0.])) has [0.0, nan], ok at cl = 0.5",
    ),
    "infinite": (
        "limits = super().limits(observed, cl); limits.upper[observed.n > 500] = np.inf; return limits",
        "test_status_and_ends_agree",
        "an infinite end, but the status is ok: Counts(n=array([1000]), b=array([900.]))",
    ),
    "negative": (
        "u = super().limits(observed, cl).upper - 1; return Limits(np.minimum(u, 0.), u, np.zeros(u.shape, np.int8))",
        "test_status_and_ends_agree",
        "a lower end below 0: ",
    ),
    "two_ends": (
        "u = super().limits(observed, cl).upper; return two_sided(u / 2, u)",
        "test_status_and_ends_agree",
        "an upper limit with a lower end: ",
    ),
    "status": (
        "limits = super().limits(observed, cl); limits.status[:] = 7; return limits",
        "test_status_and_ends_agree",
        "no such status: Counts(n=array([0]), b=array([0.])) has ",
    ),
    "tightens": (
        "return super().limits(observed, 0.9 if cl > 0.98 else cl)",
        "test_higher_confidence_never_tightens",
        "the upper end falls towards cl = 0.99: ",
    ),
    "empties": (
        "u = super().limits(observed, cl).upper; return one_sided(np.where(cl > 0.98, -1.0, u))",
        "test_higher_confidence_never_tightens",
        "the interval becomes empty towards cl = 0.99: ",
    ),
    "chance": (
        "return one_sided(super().limits(observed, cl).upper + np.random.default_rng().random(len(observed)))",
        "test_limits_are_the_same_every_time",
        "the same observations have other limits the second time: group Counts, cl = 0.9",
    ),
    "no_toys": (
        "return one_sided(super().limits(observed, cl).upper + observed.n.max() * 0)",
        "test_an_empty_batch_has_no_limits",
        "zero-size array to reduction operation maximum",
    ),
    "whole_numbers": (
        "u = super().limits(observed, cl).upper.astype(int); return Limits(0 * u, u, np.zeros(u.shape, np.int8))",
        "test_limits_are_arrays_over_toys",
        "lower is of int64, not of float64",
    ),
    "bare_uppers": ("return super().limits(observed, cl).upper", "test_limits_are_arrays_over_toys", "not Limits: take one_sided(upper)"),
    "one_for_all": ("return one_sided(np.array([1.0]))", "test_limits_are_arrays_over_toys", "lower has shape (1,) for 13 toys"),
    "shared_b": (
        "return one_sided(super().limits(observed, cl).upper + isinstance(observed.b, float))",
        "test_one_background_for_all_is_the_same_background_for_each",
        "b = 0 for all toys has other limits than for each",
    ),
}  # fmt: skip
"""What `limits` does, the test that fails and what it says."""

WRONG_TRAITS = {
    "sided": ('sided: ClassVar = "lower"', "test_method_describes_itself", "sided = 'lower': 'upper' or 'two'"),
    "promises": ('promises: ClassVar = "much"', "test_method_describes_itself", "promises = 'much': one of at_least, asymptotic, nothing"),
    "option": ("shift: dict[float, float] = dataclasses.field(default_factory=lambda: {1.0: 2.0})", "test_its_options_are_those_that_a_study_can_give", "should be a valid number"),
    "unsaid": ("def explain(self, observed, cl): return ['because'] * len(observed)", "test_it_says_why_there_is_no_limit", "explains a limit that there is: Counts(n=array([0]), b=array([0.]))"),
    "few_words": ("def explain(self, observed, cl): return []", "test_it_says_why_there_is_no_limit", "explain returned 0 texts for 13 toys"),
    "lost": ("def __reduce__(self): return Score, (3.0,)", "test_method_is_a_frozen_dataclass_that_travels", "comes back as another one when it was sent"),
}  # fmt: skip
"""Another line of the class, the test that fails and what it says."""

WRONG_EXPERIMENTS = {
    "views": ("def views(self, counts, b): return (Counts(counts[0], b / 2),) * 2", "test_toys_come_as_the_views_it_gives", "the views are Counts, Counts, but it gives Counts"),
    "drawn": ("def draw(self, s_true, b, size, rng): return (rng.poisson(1.1 * s_true + b / 2, size),)", "test_counts_that_are_drawn_are_distributed_as_it_says", "toys, but with probability "),
    "seedless": ("def toys(self, s_true, b, size, rng): return super().toys(s_true, b, size, np.random.default_rng())", "test_the_same_generator_draws_the_same_toys", "the same generator draws other toys: draw from `rng` only"),
    "stubborn": ("def toys(self, s_true, b, size, rng): return super().toys(s_true, b, size, np.random.default_rng(1))", "test_the_same_generator_draws_the_same_toys", "another generator draws the same toys: draw from `rng`"),
    "cut": ("def counts(self, s_true, b): r, = super().counts(s_true, b); return (Run(0, r.probability[:5], r.mean),)", "test_counts_have_outcomes_whose_probabilities_add_up_to_one", "the probabilities add up to 0."),
    "size": ("def toys(self, s_true, b, size, rng): return super().toys(s_true, b, size + 1, rng)", "test_toys_come_as_the_views_it_gives", "views of 0 toys have other lengths"),
    "other_toys": ("def toys(self, s_true, b, size, rng): rng.random(); return super().toys(s_true, b, size, rng)", "test_counts_that_are_drawn_are_those_that_toys_consist_of", "views of the counts that draw gives differ from toys of the same generator"),
    "mean_of_all": ("def views(self, counts, b): return (Counts(counts[0], counts[0] * 0.0 + np.append(counts[0], 0).mean()),)", "test_counts_tell_of_an_outcome_what_does_not_depend_on_the_others", "b of Counts depends on the other outcomes"),
    "background": ("def background(self, data, *, no_signal=False): return -1.0", "test_real_data_come_as_the_views_it_gives", "background(no_signal=False) of the real data is -1.0"),
    "deaf": ("def counts(self, s_true, b): return super().counts(2.0, b)", "test_counts_depend_on_the_signal_in_the_first_only", "count 0 does not depend on the signal"),
}  # fmt: skip
"""A method of the class, the test that fails and what it says."""

WRONG = {
    **{f"method_{name}": told[1:] for name, told in (WRONG_METHODS | {f"is_{key}": told for key, told in WRONG_TRAITS.items()}).items()},
    **{f"experiment_{name}": told[1:] for name, told in WRONG_EXPERIMENTS.items()},
    "soft_method": ("test_method_is_a_frozen_dataclass_that_travels", "shift can be set: write @dataclass(frozen=True) over SoftScore"),
    "soft_experiment": ("test_experiment_is_a_frozen_dataclass_that_travels", "anything can be set: write @dataclass(frozen=True) over SoftHalf"),
    "given_class": ("test_method_describes_itself", "method = Score: give an instance, Score()"),
    "unknown_kind": ("test_there_are_observations_of_each_type_that_it_reads", "Own: no observations of it are known here, add some in `more`"),
    "two_in_one": ("test_there_are_observations_of_each_type_that_it_reads", "pairs: give each observation by itself, len = 1"),
}  # fmt: skip


def code_of_the_wrong():
    yield HEAD + RIGHT
    bodies = {name: f"def limits(self, observed, cl): {told[0]}" for name, told in WRONG_METHODS.items()}
    for name, body in (bodies | {f"is_{name}": told[0] for name, told in WRONG_TRAITS.items()}).items():
        kind = f"@dataclass(frozen=True)\nclass method_{name}(Score):\n    'Wrong.'\n    {body}\n"
        yield f"{kind}class Test_method_{name}(MethodContract): method = method_{name}()\n"
    for name, told in WRONG_EXPERIMENTS.items():
        kind = f"@dataclass(frozen=True)\nclass experiment_{name}(Half):\n    'Wrong.'\n    {told[0]}\n"
        data = f"experiment, data = experiment_{name}(), {{'n': 3, 'b': 1.5}}"
        yield f"{kind}class Test_experiment_{name}(ExperimentContract): {data}\n"
    yield '''
class Own(Counts): pass
@dataclass(frozen=True)
class ReadsOwn(Score):
    """Read what nobody else knows."""
    reads: ClassVar = (Own,)
@dataclass(unsafe_hash=True)
class SoftScore:
    """Be changed."""
    shift: float = 0.0
    reads, sided, promises, limits = Score.reads, Score.sided, Score.promises, Score.limits
@dataclass
class SoftHalf:
    """Be changed."""
    gives, toys, counts, draw, views = Half.gives, Half.toys, Half.counts, Half.draw, Half.views
    outcomes, observe, background = Half.outcomes, Half.observe, Half.background
class Test_soft_method(MethodContract): method = SoftScore()
class Test_soft_experiment(ExperimentContract): experiment, data = SoftHalf(), {"n": 3, "b": 1.5}
class Test_given_class(MethodContract): method = Score
class Test_unknown_kind(MethodContract): method = ReadsOwn()
class Test_known_kind(MethodContract): method, more = ReadsOwn(), {"own": [Own(3, 1.0), Own(7, 2.0)]}
class Test_two_in_one(MethodContract): method, more = Score(), {"pairs": [Counts([1, 2], 3.0)]}
'''


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Run the contracts of all of them as an author does; return what failed and why, by class and test."""
    folder = tmp_path_factory.mktemp("plug-in")
    (folder / "test_plugin.py").write_text("\n".join(code_of_the_wrong()))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=told.xml", "test_plugin.py"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert (folder / "told.xml").exists(), ended.stdout + ended.stderr
    found = {}
    for case in ET.parse(folder / "told.xml").iter("testcase"):
        tests = found.setdefault(case.get("classname").rpartition(".")[2].removeprefix("Test").removeprefix("_"), {})
        problem = case.find("failure")
        assert case.find("error") is None, case.find("error").get("message")
        said = tests.setdefault(case.get("name").partition("[")[0], [])
        if problem is not None:
            said.append(problem.get("message"))
    return found


@pytest.mark.parametrize("name", ["Score", "Shifted", "Half", "known_kind"])
def test_what_is_right_passes(outcomes, name):
    assert {test: said for test, said in outcomes[name].items() if said} == {}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_fails_and_says_why(outcomes, name):
    test, message = WRONG[name]
    assert [said for said in outcomes[name][test] if message in said], outcomes[name][test]


def test_observations_of_the_author_are_tried_beside_the_known_ones(tmp_path, outcomes):
    (tmp_path / "test_more.py").write_text(HEAD + RIGHT)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--collect-only", "test_more.py"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60).stdout
    for group in ("Counts", "many"):
        assert f"TestScore::test_limits_do_not_depend_on_the_batch[{group}]" in told
    assert "TestShifted::test_status_and_ends_agree[Counts-0.95]" in told
    assert "TestShifted::test_status_and_ends_agree[Counts-0.9]" not in told


def test_what_does_not_apply_is_not_there(outcomes):
    assert "test_it_says_why_there_is_no_limit" not in outcomes["Score"]
    assert "test_it_says_why_there_is_no_limit" in outcomes["method_is_few_words"]
    assert any(test.startswith("test_counts_") for test in outcomes["Half"])
    assert "test_one_background_for_all_is_the_same_background_for_each" not in outcomes["known_kind"]


def test_without_pytest_it_says_what_to_install(tmp_path):
    code = "import sys; sys.modules['pytest'] = None; import covsvc.testing"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.stderr.rstrip().endswith("ImportError: covsvc.testing needs pytest: pip install pytest")
