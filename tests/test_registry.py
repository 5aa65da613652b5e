"""Names of plug-ins: found, refused, and built with their options."""

from __future__ import annotations

import math

import pytest
from distribution import install

from covsvc import registry
from covsvc.contracts import Counts
from covsvc.errors import CovsvcError, StudyError, UnknownName

# names


def test_methods_experiments_and_clusters_are_found_by_name():
    from covsvc.experiments.counting import Counting
    from covsvc.methods.classical import Classical

    assert registry.find("methods", "classical") is Classical
    assert registry.find("experiments", "counting") is Counting
    assert callable(registry.find("clusters", "local"))
    assert registry.method("classical") == Classical()
    assert registry.experiment("counting") == Counting()


def test_what_another_distribution_installs_is_found_like_our_own(plugins):
    assert {"too_low", "classical"} <= set(registry.installed("methods"))
    assert registry.method("too_low").promises == "at_least"
    assert type(registry.experiment("drawn")).__module__ == "strange_plugins"


def test_it_is_known_which_distribution_a_plug_in_comes_with(plugins, tmp_path, monkeypatch):
    from covsvc import __version__

    alike = tmp_path / "alike"
    install(alike, "covsvc_alike", "[covsvc.methods]\nalike = covsvc_alike:Other\n", covsvc_alike="class Other: ...\n")
    monkeypatch.syspath_prepend(str(alike))
    registry.installed.cache_clear()
    assert registry.origin("methods", "too_low") == "strange 1.0"
    assert registry.origin("methods", "classical") == f"covsvc {__version__}"
    assert registry.is_ours("methods", "classical")
    assert registry.is_ours("experiments", "counting")
    assert not registry.is_ours("methods", "too_low")
    assert not registry.is_ours("methods", "alike")  # a name that begins like ours is not ours


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import nowhere_to_be_found\n", "cannot be imported: ModuleNotFoundError: No module named 'nowhere_to_be_found'; repair it or uninstall it"),
        ("1 / 0\n", "cannot be imported: ZeroDivisionError: division by zero; repair it or uninstall it"),
        ("class Other:\n    reads = sided = promises = ()\n", "lacks __dataclass_fields__, limits; repair it (covsvc.testing has the tests for it) or uninstall it"),
    ],
)  # fmt: skip
def test_a_plug_in_that_cannot_be_used_is_named_with_its_distribution(code, message, tmp_path, monkeypatch):
    site, name = tmp_path / "site", f"bad_plugin_{len(message)}"
    install(site, name, f"[covsvc.methods]\nbad = {name}:Other\n", **{name: code})
    monkeypatch.syspath_prepend(str(site))
    registry.installed.cache_clear()
    with pytest.raises(StudyError) as refused:
        registry.method("bad")
    assert str(refused.value) == f"bad: {name}:Other of {name} 1.0 {message}"
    monkeypatch.undo()
    registry.installed.cache_clear()


def test_an_unknown_name_is_refused_with_the_nearest_and_all_that_are_known(plugins):
    with pytest.raises(UnknownName) as refused:
        registry.find("methods", "clasical")
    nearest, _, known = str(refused.value).partition("; known are ")
    assert nearest == "clasical: unknown method, did you mean 'classical'?"
    assert known.split(", ") == sorted(registry.installed("methods"))
    assert "too_low" in known


def test_a_name_like_no_other_gets_no_guess():
    with pytest.raises(UnknownName, match=r"^zzz: unknown experiment; known are "):
        registry.experiment("zzz")


def test_a_kind_of_which_nothing_is_installed_knows_no_name():
    assert dict(registry.installed("nothings")) == {}
    with pytest.raises(UnknownName, match=r"^x: unknown nothing; known are none$"):
        registry.find("nothings", "x")


def test_refusals_are_errors_of_a_study():
    assert issubclass(registry.OptionError, StudyError)
    assert issubclass(UnknownName, StudyError)
    assert issubclass(StudyError, CovsvcError)


# the same name twice


def test_two_distributions_with_one_name_are_refused_by_name(plugins, tmp_path, monkeypatch):
    rival = tmp_path / "rival_site"
    points = "[covsvc.methods]\ntoo_low = rival:Other\nunrelated = rival:Other\n"
    install(rival, "rival", points, rival="class Other: ...\n")
    monkeypatch.syspath_prepend(str(rival))
    registry.installed.cache_clear()
    with pytest.raises(StudyError) as refused:
        registry.method("classical")  # a rival for any name is told at once, before it does harm
    assert str(refused.value) == (
        "too_low: two installed methods have this name, rival:Other of rival 1.0 and strange_plugins:TooLow of "
        "strange 1.0; uninstall one of them"
    )
    assert "drawn" in registry.installed("experiments")


def test_our_own_names_cannot_be_taken(plugins, tmp_path, monkeypatch):
    rival = tmp_path / "rival_site"
    install(rival, "rival", "[covsvc.experiments]\ncounting = rival:Other\n")
    monkeypatch.syspath_prepend(str(rival))
    registry.installed.cache_clear()
    with pytest.raises(StudyError, match=r"^counting: two installed experiments have this name"):
        registry.experiment("counting")


def test_a_distribution_that_stands_twice_on_the_path_is_no_rival(plugins, tmp_path, monkeypatch):
    again = tmp_path / "again"
    install(again, "strange_renamed", (plugins / "strange-1.0.dist-info" / "entry_points.txt").read_text())
    monkeypatch.syspath_prepend(str(again))
    registry.installed.cache_clear()
    assert registry.method("too_low").sided == "upper"


# options


def test_options_reach_the_plug_in():
    assert registry.method("bayes_jeffreys", {"prior_exponent": 0.25}).prior_exponent == 0.25
    assert registry.method("bayes_jeffreys", {"prior_exponent": 1}).prior_exponent == 1.0
    assert registry.method("feldman_cousins", {"monotone_in_b": True}).monotone_in_b is True
    assert registry.experiment("counting", {"assumed_over_true": 0.8}).assumed_over_true == 0.8


@pytest.mark.parametrize(
    ("name", "options", "option", "message"),
    [
        ("bayes_jeffreys", {"prior_exponant": 1.0}, "prior_exponant", "prior_exponant: unknown option of bayes_jeffreys, did you mean 'prior_exponent'?; known are prior_exponent"),
        ("classical", {"m": 1}, "m", "m: unknown option of classical; known are none"),
        ("bayes_jeffreys", {"prior_exponent": "0.5"}, "prior_exponent", "prior_exponent = '0.5': input should be a valid number"),
        ("bayes_jeffreys", {"prior_exponent": True}, "prior_exponent", "prior_exponent = True: input should be a valid number"),
        ("bayes_jeffreys", {"prior_exponent": None}, "prior_exponent", "prior_exponent = None: input should be a valid number"),
        ("feldman_cousins", {"monotone_in_b": 1}, "monotone_in_b", "monotone_in_b = 1: input should be a valid boolean"),
        ("feldman_cousins", {"monotone_in_b": "yes"}, "monotone_in_b", "monotone_in_b = 'yes': input should be a valid boolean"),
        ("bayes_jeffreys", {"prior_exponent": 1.5}, "prior_exponent", "prior_exponent = 1.5: must lie in [0, 1]"),
        ("bayes_jeffreys", {"prior_exponent": math.nan}, "prior_exponent", "prior_exponent = nan: must lie in [0, 1]"),
    ],
)  # fmt: skip
def test_an_option_of_a_wrong_name_type_or_value_is_refused(name, options, option, message):
    with pytest.raises(registry.OptionError) as refused:
        registry.method(name, options)
    assert (refused.value.option, str(refused.value)) == (option, message)


@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan])
def test_an_experiment_refuses_values_too(value):
    with pytest.raises(registry.OptionError, match=r"must be a finite number >= 0") as refused:
        registry.experiment("counting", {"assumed_over_true": value})
    assert refused.value.option == "assumed_over_true"


def test_an_option_that_a_method_cannot_have_is_refused_with_the_reason():
    # Narsky (2000), Section 2.1: the priors 1/(s+b)^m are not defined for an uncertain background
    with pytest.raises(registry.OptionError) as refused:
        registry.method("bayes_uncertain_background", {"prior_exponent": 0.5})
    assert refused.value.option == "prior_exponent"
    assert str(refused.value).startswith("prior_exponent = 0.5: the priors 1/(s+b)^m are not defined for an uncertain")
    assert "refuses" not in str(refused.value)
    with pytest.raises(registry.OptionError, match=r"prior_exponant: unknown option of bayes_uncertain_background"):
        registry.method("bayes_uncertain_background", {"prior_exponant": 0.5})


def test_another_distribution_may_give_reasons_too(plugins):
    file = plugins / "strange_plugins.py"
    file.write_text(
        file.read_text()
        + "\n\n@dataclass(frozen=True)\nclass Picky(TooLow):\n"
        + "    by: float = 0.0\n    refuses = {'by': 'it is what it is', 'gone': 'it is called by now'}\n"
    )
    points = plugins / "strange-1.0.dist-info" / "entry_points.txt"
    points.write_text(points.read_text().replace("too_low =", "picky = strange_plugins:Picky\ntoo_low ="))
    assert registry.method("picky").by == 0.0
    for option, reason in (("by", "it is what it is"), ("gone", "it is called by now")):
        with pytest.raises(registry.OptionError) as refused:
            registry.method("picky", {option: 2})
        assert (refused.value.option, str(refused.value)) == (option, f"{option} = 2: {reason}")


def test_what_the_contract_says_of_a_method_is_no_option():
    with pytest.raises(registry.OptionError, match="promises: unknown option of classical"):
        registry.method("classical", {"promises": "at_least"})


# views


class Rich(Counts):
    """A view from which counts follow."""


class Richer(Rich):
    """A view from which all follows."""


class Other:
    """A view of another kind."""


@pytest.mark.parametrize(
    ("reads", "gives", "view"),
    [
        ((Counts,), (Counts,), 0),
        ((Counts,), (Rich, Counts), 1),  # the very type goes before one that is richer, though that stands first
        ((Counts,), (Richer, Rich), 0),  # without it, the first that is richer
        ((Counts,), (Other, Richer, Rich), 1),
        ((Rich,), (Counts, Richer), 1),
        ((Rich,), (Richer, Rich, Rich), 1),
        ((Other, Counts), (Rich, Counts, Other), 1),  # the experiment's order decides: richest first
        ((Rich,), (Counts,), None),  # what a view lacks cannot be read from it
        ((Other,), (Counts, Rich), None),
        ((Counts,), (), None),
        ((), (Counts,), None),
    ],
)
def test_a_method_reads_the_very_type_else_the_first_that_is_one(reads, gives, view):
    assert registry.view_for(reads, gives) == view
