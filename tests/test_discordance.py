"""Toys that only one of two sides covers, against counts by hand and closed forms."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace

import distribution
import numpy as np
import pytest
from scipy import stats

from covsvc import api, registry
from covsvc.api.discordance import _bounds, discordant, mcnemar
from covsvc.errors import StoreError, StudyError, UnknownName
from covsvc.study import study_of

STUDY = {
    "name": "tiny",
    "experiment": "counting",
    "methods": ["classical", "cls", "garwood"],
    "cl": [0.90],
    "s_true": [1, 2.5],
    "b": [3],
    "toys_per_block": 500,
    "n_toys": 1500,
    "seed": 1999,
}

MOODY = """
import os
from dataclasses import dataclass
import numpy as np
from covsvc.contracts import Counts, one_sided

@dataclass(frozen=True)
class Moody:
    reads = (Counts,)
    sided = "upper"
    promises = "nothing"
    def limits(self, observed, cl):
        return one_sided(np.maximum(observed.n - observed.b, 0.0) + float(os.environ.get("MOOD", 0)))
"""


@pytest.fixture
def moody(tmp_path, monkeypatch):
    """Install a method that sets the limits max(n - b, 0), and others where the environment says so."""
    distribution.install(
        tmp_path / "site", "moody", "[covsvc.methods]\nmoody = moody_plugin:Moody\n", moody_plugin=MOODY
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    registry.installed.cache_clear()
    yield
    registry.installed.cache_clear()


def stored(folder, **changes):
    api.run(study_of(STUDY | changes), folder, replace=True)
    return folder


def counts_drawn(b, s_true, blocks):
    """Return the observed counts of the toys of some blocks, from the generators that a cell has."""
    source, size = study_of(STUDY).source, STUDY["toys_per_block"]
    return np.concatenate([rng.poisson(s_true + b, size) for rng in source.blocks(s_true, b, *blocks)])


def classical_covers(n, b, s_true):
    # F(n; s + b) falls with s, and is 1 - cl at the upper limit
    return stats.poisson.cdf(n, s_true + b) >= 0.10


def cls_covers(n, b, s_true):
    return stats.poisson.cdf(n, s_true + b) / stats.poisson.cdf(n, b) >= 0.10


def garwood_covers(n, b, s_true):
    mean = s_true + b
    return (stats.poisson.cdf(n, mean) >= 0.05) & (stats.poisson.sf(n - 1, mean) >= 0.05)


def table(one, other):
    return {
        "both": (one & other).sum(),
        "only_one": (one & ~other).sum(),
        "only_other": (other & ~one).sum(),
        "neither": (~one & ~other).sum(),
    }


def part(found, *names):
    return {name: found[name] for name in names}


TABLE = ("both", "only_one", "only_other", "neither")


@pytest.mark.parametrize(("label", "covers"), [("cls", cls_covers), ("garwood", garwood_covers)])
@pytest.mark.parametrize("s_true", [1, 2.5])
def test_two_methods_are_counted_as_by_hand(tmp_path, label, covers, s_true):
    store = stored(tmp_path)
    found = discordant(store, "tiny", ("classical", "main"), (label, "main"), cl=0.9, b=3, s_true=s_true)
    n = counts_drawn(3, s_true, (0, 3))
    wanted = table(classical_covers(n, 3, s_true), covers(n, 3, s_true))
    assert part(found, *TABLE) == wanted
    changed = wanted["only_one"] + wanted["only_other"]
    assert part(found, "source", "shared_toys", "n_toys", "least", "most", "why") == {
        "source": "replayed",
        "shared_toys": 1500,
        "n_toys": 1500,
        "least": changed,
        "most": changed,
        "why": "",
    }
    expected = stats.binomtest(int(wanted["only_one"]), int(changed), 0.5).pvalue if changed else 1.0
    assert found["p"] == pytest.approx(expected, rel=1e-12)
    assert found["one"]["n_covered"] == wanted["both"] + wanted["only_one"]
    assert found["other"]["n_covered"] == wanted["both"] + wanted["only_other"]


def test_both_kinds_of_discordant_toys_are_seen():
    # or the test above would not see them exchanged
    n = counts_drawn(3, 1, (0, 3))
    here = table(classical_covers(n, 3, 1), garwood_covers(n, 3, 1))
    assert here["only_one"] > 0 < here["only_other"] != here["only_one"]


@pytest.mark.parametrize("counts", [(0, 0), (0, 1), (5, 5), (3, 12), (12, 3), (110, 90)])
def test_p_is_that_of_the_exact_binomial_test(counts):
    expected = stats.binomtest(counts[0], sum(counts), 0.5).pvalue if sum(counts) else 1.0
    assert mcnemar(*counts) == pytest.approx(expected, rel=1e-12)


def test_drawing_again_is_bounded_and_says_of_how_many_toys(tmp_path):
    store = stored(tmp_path)
    sides = ("classical", "main"), ("garwood", "main")
    cell = {"cl": 0.9, "b": 3, "s_true": 1}
    n = counts_drawn(3, 1, (0, 1))
    wanted = table(classical_covers(n, 3, 1), garwood_covers(n, 3, 1))
    whole = discordant(store, "tiny", *sides, **cell)
    for bound in ({"most_blocks": 1}, {"seconds": 0}):
        found = discordant(store, "tiny", *sides, **cell, **bound)
        assert part(found, *TABLE) == wanted
        assert (found["n_toys"], found["shared_toys"]) == (500, 1500)
        assert found["least"] <= whole["least"] <= whole["most"] <= found["most"]
    assert found["why"] == "it takes more than 0 s to set the limits of all"


def test_limits_that_are_kept_are_looked_up(tmp_path, plugins):
    # n - b as an upper limit covers where n >= s + b
    store = stored(tmp_path / "store", experiment="drawn", methods=["classical", "too_low"], keep="toys")
    name = study_of(STUDY | {"experiment": "drawn"}).source
    n = np.concatenate([rng.poisson(4.0, 500) for rng in name.blocks(1.0, 3.0, 0, 3)])
    found = discordant(store, "tiny", ("too_low", "main"), ("classical", "main"), cl=0.9, b=3, s_true=1)
    assert part(found, *TABLE) == table(n >= 4, classical_covers(n, 3, 1))
    assert (found["source"], found["n_toys"], found["least"]) == ("kept", 1500, found["only_other"])


def test_blocks_of_the_same_bits_are_concordant(tmp_path):
    store = stored(tmp_path)
    api.set_tag("tiny", "first", store)
    stored(tmp_path, n_toys=2500)
    found = discordant(store, "tiny", ("cls", "main"), ("cls", "first"), cl=0.9, b=3, s_true=2.5)
    covered = int(cls_covers(counts_drawn(3, 2.5, (0, 3)), 3, 2.5).sum())
    assert part(found, *TABLE) == {"both": covered, "only_one": 0, "only_other": 0, "neither": 1500 - covered}
    assert part(found, "source", "n_toys", "least", "most", "p") == {
        "source": "identical",
        "n_toys": 1500,
        "least": 0,
        "most": 0,
        "p": 1.0,
    }
    assert (found["one"]["n_toys"], found["other"]["n_toys"]) == (2500, 1500)


def test_a_label_whose_method_was_exchanged_is_drawn_again_with_both(tmp_path):
    store = stored(tmp_path, methods=[{"name": "garwood", "label": "m"}])
    api.set_tag("tiny", "before", store)
    stored(tmp_path, methods=[{"name": "classical", "label": "m"}])
    found = discordant(store, "tiny", ("m", "main"), ("m", "before"), cl=0.9, b=3, s_true=1)
    n = counts_drawn(3, 1, (0, 3))
    assert found["source"] == "replayed"
    assert part(found, *TABLE) == table(classical_covers(n, 3, 1), garwood_covers(n, 3, 1))


def test_limits_that_the_installed_code_does_not_set_leave_bounds(tmp_path, moody, monkeypatch):
    store = stored(tmp_path / "store", methods=["moody", "classical"], isolate=False)
    api.set_tag("tiny", "first", store)
    stored(store, methods=["moody", "classical"], isolate=False, n_toys=2500)
    monkeypatch.setenv("MOOD", "0.5")
    n = counts_drawn(3, 1, (0, 5))
    truth = np.stack([n >= 4, classical_covers(n, 3, 1)])
    for at, blocks in (("main", 5), ("first", 3)):
        found = discordant(store, "tiny", ("moody", "main"), ("classical", at), cl=0.9, b=3, s_true=1)
        assert found["why"] == "the installed code of moody sets other limits on block 0 than are stored"
        assert (found["source"], found["p"], found["both"], found["n_toys"]) == ("counts", None, None, 0)
        shared = blocks * 500
        covered, theirs = truth[0].sum(), truth[1][:shared].sum()
        # what the side with more toys covers of the shared ones is in a range; then |k1 - k2| and what room leaves
        first = range(max(0, covered - (2500 - shared)), min(covered, shared) + 1)
        assert found["least"] == min(abs(each - theirs) for each in first)
        assert found["most"] == max(min(each + theirs, 2 * shared - each - theirs) for each in first)
        assert found["least"] <= (truth[0] != truth[1])[:shared].sum() <= found["most"]


def test_bounds_hold_for_every_table_of_few_toys():
    for both, one, other, neither in itertools.product(range(4), repeat=4):
        n = both + one + other + neither
        sides = [SimpleNamespace(n_toys=n, n_covered=each) for each in (both + one, both + other)]
        least, most = _bounds(sides, n)
        assert least <= one + other <= most
        possible = [
            a + b
            for a, b, c in itertools.product(range(n + 1), repeat=3)
            if a + c == both + one and b + c == both + other and a + b + c <= n
        ]
        assert (least, most) == (min(possible), max(possible))


def test_other_toys_are_not_compared(tmp_path):
    store = stored(tmp_path)
    api.set_tag("tiny", "before", store)
    stored(tmp_path, seed=2000)
    found = discordant(store, "tiny", ("cls", "main"), ("cls", "before"), cl=0.9, b=3, s_true=1)
    assert part(found, "source", "shared_toys", "least", "most", "p", *TABLE) == {
        "source": "none",
        "shared_toys": 0,
        **dict.fromkeys(("least", "most", "p", *TABLE)),
    }
    assert found["why"] == "the toys of the two commits are others: they cannot be compared one by one"


def test_toys_whose_number_a_budget_chose_give_no_p(tmp_path):
    store = stored(tmp_path, n_toys={"min": 500, "max": 1500})
    found = discordant(store, "tiny", ("classical", "main"), ("garwood", "main"), cl=0.9, b=3, s_true=1)
    assert found["p"] is None
    assert "a budget chose the number of toys" in found["why"]
    assert found["both"] > 0


def test_what_is_not_there_is_named(tmp_path):
    store, here = stored(tmp_path), ("cls", "main")
    with pytest.raises(UnknownName, match="did you mean 'cls'"):
        discordant(store, "tiny", ("clss", "main"), here, cl=0.9, b=3, s_true=1)
    with pytest.raises(StudyError, match=r"s_true = 1\.7: not on the grid"):
        discordant(store, "tiny", here, here, cl=0.9, b=3, s_true=1.7)
    with pytest.raises(StoreError):
        discordant(store, "tiny", here, ("cls", "yesterday"), cl=0.9, b=3, s_true=1)


def test_the_answer_is_json(tmp_path):
    store = stored(tmp_path)
    found = discordant(store, "tiny", ("classical", "main"), ("cls", "main"), cl=0.9, b=3, s_true=1)
    assert json.loads(json.dumps(found)) == found
