"""Likeness: identities of methods that are proven elsewhere, and limits that pass for others."""

from __future__ import annotations

import pytest

from covsvc.engine.likeness import likenesses

ONE_SIDED_IN_DISGUISE = '''

@dataclass(frozen=True)
class Disguised:
    """Answer at cl what the classical limit is at (1 + cl)/2."""
    reads = (Counts,)
    sided = "upper"
    promises = "at_least"
    def limits(self, observed, cl):
        from covsvc.methods.classical import Classical
        return Classical().limits(observed, (1 + cl) / 2)

@dataclass(frozen=True)
class Nearly:
    """Answer with classical limits that are larger by `by`."""
    by: float = 0.0
    reads = (Counts,)
    sided = "upper"
    promises = "at_least"
    def limits(self, observed, cl):
        from covsvc.methods.classical import Classical
        from covsvc.contracts import Limits
        limits = Classical().limits(observed, cl)
        return Limits(limits.lower, limits.upper + self.by, limits.status)
'''


@pytest.fixture
def disguised(plugins):
    file = plugins / "strange_plugins.py"
    file.write_text(file.read_text() + ONE_SIDED_IN_DISGUISE)
    points = plugins / "strange-1.0.dist-info" / "entry_points.txt"
    named = "disguised = strange_plugins:Disguised\nnearly = strange_plugins:Nearly\ntoo_low ="
    points.write_text(points.read_text().replace("too_low =", named))


def notes(study, label):
    return [note["note"] for note in likenesses(study) if note["limit_method"] == label]


def test_zech_is_cls_is_bayes_with_a_flat_prior(small_study):
    # F(n; s+b)/F(n; b) is CLs, Zech's probability and the posterior's tail: Narsky (2000), Eq. 9 and 14
    study = small_study(methods=["zech", "classical", "cls", "bayes_flat"], cl=0.9)
    assert notes(study, "zech") == ["sets the limits of cls, bayes_flat"]
    assert notes(study, "cls") == notes(study, "bayes_flat") == notes(study, "classical") == []


def test_a_likeness_at_one_background_only_is_none(small_study):
    # at b = 0 the classical limit is that of CLs; at 5.5 it is not
    methods = ["classical", "cls"]
    assert notes(small_study(methods=methods, cl=0.9, b=[0]), "classical") == ["sets the limits of cls"]
    assert notes(small_study(methods=methods, cl=0.9, b=[0, 5.5]), "classical") == []
    assert notes(small_study(methods=methods, cl=0.9, b=[5.5, 0]), "classical") == []


def test_the_upper_end_of_a_central_interval_is_a_limit_at_higher_cl(small_study):
    # Garwood (1936): 5 % lie beyond each end of the 90 % interval
    study = small_study(methods=["garwood", "classical"], cl=0.9)
    assert notes(study, "garwood") == [
        "its upper end is that of classical at 0.95: this 90 % two-sided interval covers like a one-sided 95 % limit"
    ]
    assert notes(study, "classical") == []


def test_each_cl_is_told_on_its_own(small_study):
    study = small_study(methods=["garwood", "classical"], cl=[0.8, 0.9])
    found = [(note["cl"], note["note"].split(": ")[0]) for note in likenesses(study)]
    assert found == [
        (0.8, "its upper end is that of classical at 0.9"),
        (0.9, "its upper end is that of classical at 0.95"),
    ]


def test_a_limit_of_another_cl_is_found_out(small_study, disguised):
    study = small_study(methods=["disguised", "classical"], cl=0.9)
    assert notes(study, "disguised") == [
        "its limit is that of classical at 0.95: this 90 % upper limit covers like a one-sided 95 % limit"
    ]


def test_limits_that_differ_by_more_than_rounding_are_not_alike(small_study, disguised):
    options = [
        {"name": "nearly", "options": {"by": by}, "label": label} for by, label in ((1e-9, "same"), (1e-3, "other"))
    ]
    study = small_study(methods=["classical", *options], cl=0.9)
    assert notes(study, "classical") == ["sets the limits of same"]
    assert notes(study, "other") == []


def test_of_many_methods_that_agree_one_stands_for_a_confused_cl(small_study):
    # at b = 0 all of these are the classical limit
    study = small_study(methods=["garwood", "classical", "zech", "cls", "poisson"], cl=0.9, b=[0])
    assert [note.split(": ")[0] for note in notes(study, "garwood")] == ["its upper end is that of classical at 0.95"]
    assert notes(study, "classical") == ["sets the limits of zech, cls, poisson"]


def test_on_and_off_source_the_asymptotic_p_value_is_the_unbounded_likelihood_limit(small_study):
    # Cowan et al. (2011), Section 3.6: q_mu has half a chi-square, so that p = 1 - cl is q_mu = z^2
    methods = [
        {"name": "profile_likelihood", "options": {"bounded": False}},
        {"name": "q_mu", "options": {"procedure": "clsb"}},
    ]
    study = small_study(
        experiment={"name": "on_off", "options": {"tau": 2.0}}, methods=[*methods, "q_mu", "cls"], cl=0.9
    )
    assert notes(study, "q_mu(procedure=clsb)") == []
    assert notes(study, "profile_likelihood(bounded=False)") == ["sets the limits of q_mu(procedure=clsb)"]
    assert notes(study, "q_mu") == notes(study, "cls") == []


def test_nothing_is_compared_where_outcomes_are_too_many(small_study):
    experiment = {"name": "on_off", "options": {"tau": 1e6}}
    study = small_study(experiment=experiment, methods=["cls", "zech"], cl=0.9, b=[91234.5, 1e5], s_true=[0, 99999])
    assert likenesses(study) == []


def test_methods_are_compared_at_counts_that_occur(small_study):
    # at b = 60 few counts below 20 are seen, where these differ most
    study = small_study(methods=["zech", "cls", "classical", "bayes_jeffreys"], cl=0.9, b=[60], s_true=[0, 5])
    assert notes(study, "zech") == ["sets the limits of cls"]
    assert notes(study, "classical") == notes(study, "bayes_jeffreys") == []


def test_without_outcomes_nothing_is_compared(small_study, plugins):
    assert likenesses(small_study(experiment="drawn", methods=["cls", "zech"])) == []
    experiment = {"name": "counting", "options": {"relative_b_error": 1.0, "fluctuates": "b"}}
    assert likenesses(small_study(experiment=experiment, methods=["cls", "zech"], b=[1e5])) == []


def test_a_method_that_raises_is_like_no_other(small_study, plugins):
    study = small_study(methods=["raising", "classical"], cl=0.9)
    assert likenesses(study) == []
