"""Commands that are copied into a shell."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest

from covsvc.binned_model import BinnedModel
from covsvc.commands import limit_commands, replay_command
from covsvc.contracts import Binned, Counts, Events, ModelledEvents, OnOff, Sideband, UncertainCounts
from covsvc.study import Column, MethodSpec

OBSERVATIONS = {
    "counts": (Counts([3], 0.1 + 0.2), ["classical", "feldman_cousins"]),
    "no background": (Counts([0], 0.0), ["garwood"]),
    "gamma": (UncertainCounts([3], [5.5], [1.25]), ["bayes_uncertain_background"]),
    "gaussian": (UncertainCounts([3], 5.5, 1.25, "truncated_gaussian"), ["bayes_uncertain_background"]),
    "on and off": (OnOff([3], [11], 2.5), ["profile_likelihood", "q_mu_tilde"]),
    "a view of several": (OnOff([3], [11], 2.5), ["significance_sideband"]),
    "sideband": (Sideband([3], [30], [20], 0.1, 0.25), ["significance_sideband"]),
    "events": (Events.of([[0.1, 0.7, 1 / 3]]), ["max_gap", "poisson"]),
    "no events": (Events.of([[]]), ["max_gap"]),
    "densities": (ModelledEvents.of([[0.3, 4.0, np.inf]]), ["profile_likelihood", "likelihood_integration"]),
    "densities over a background": (
        ModelledEvents.of([[0.3, 4.0]], b=2.0, b_error=0.5, shape="truncated_gaussian"),
        ["profile_likelihood"],
    ),
}


def columns(names, cl=0.9, **options):
    return [Column(MethodSpec(name=name, options=options), cl) for name in names]


@pytest.mark.parametrize("kind", OBSERVATIONS)
def test_a_command_sets_the_limits_of_the_observation_it_was_made_of(covsvc, tmp_path, kind):
    view, methods = OBSERVATIONS[kind]
    asked = columns(methods)
    (command,) = limit_commands((view,), asked, [0] * len(asked))
    before, found, rest = command.rpartition("covsvc limit ")
    assert found
    if before:
        rows = shlex.split(before.removesuffix(" && "))
        assert (rows[:2], rows[-2:]) == (["printf", "%s\\n"], [">", "toy.csv"])
        (tmp_path / "toy.csv").write_text("\n".join(rows[2:-2]) + "\n")
    code, told, _ = covsvc("limit", *shlex.split(rest), "--json")
    assert code == 0
    answer = json.loads(told)
    rows = answer if isinstance(answer, list) else answer["limits"]
    expected = [column.spec.build().limits(view, 0.9) for column in asked]
    assert [row["limit_method"].partition("(")[0] for row in rows] == methods
    assert [row["upper"] for row in rows] == pytest.approx([limits.upper[0] for limits in expected], rel=1e-9)


def test_methods_that_read_different_views_have_commands_of_their_own():
    views = OnOff([3], [11], 2.0), UncertainCounts([3], [6.0], [1.5]), Counts([3], 5.5)
    asked = [*columns(["q_mu_tilde"], procedure="clsb"), *columns(["classical", "cls"], 0.95)]
    assert limit_commands(views, asked, [0, 2, 2]) == [
        "covsvc limit --n-on 3 --n-off 11 --tau 2 -m q_mu_tilde,procedure=clsb --cl 0.9",
        "covsvc limit --n 3 --b 5.5 -m classical -m cls --cl 0.95",
    ]


def test_a_view_is_named_where_another_would_be_read():
    (command,) = limit_commands((OnOff([3], [11], 2.0),), columns(["significance_sideband"]), [0])
    assert command.endswith("-m significance_sideband,view=OnOff --cl 0.9")


def test_what_a_command_cannot_tell_has_none():
    model = BinnedModel(("signal", "background"), ((1.0,), (2.0,)), (True, False), (), ())
    binned = Binned([[3]], np.zeros((1, 0)), model)
    assert limit_commands((binned,), columns(["q_mu_tilde"]), [0]) == []
    known = Events.of([[0.1]], b=1.0, v=[[0.3]])
    assert limit_commands((known,), columns(["max_gap"]), [0]) == []
    many = Events.of([np.linspace(0, 1, 51)])
    assert limit_commands((many,), columns(["max_gap"]), [0]) == []
    modelled = ModelledEvents.of([[2.0]])
    assert limit_commands((modelled,), columns(["mc_likelihood"]), [0]) == []


def test_a_replay_command_is_quoted_for_a_shell():
    command = replay_command("small", 0.3, 3.0, limit_method="fc98 (it's $raw)", cl=0.9, store="my cubes", at="ABC")
    assert shlex.split(command) == [
        "covsvc", "replay", "small", "--s-true", "0.3", "--b", "3", "--limit-method", "fc98 (it's $raw)", "--cl", "0.9",
        "--missed", "--store", "my cubes", "--at", "ABC",
    ]  # fmt: skip
