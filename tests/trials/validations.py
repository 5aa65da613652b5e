"""How often a validation fails although nothing is wrong: whole validations, from the store to the verdict.

Each makes a baseline, which is a validation of promises alone, accepts it, and validates a state whose limits are others
on every toy and whose coverage is the same: exactly cl. Two studies have one verdict: one of methods that cover with
probability cl whatever the toy, with and without a promise; and one of the maximum gap where its coverage is cl exactly,
on other toys than before. Nothing is summed exactly.

    python tests/trials/validations.py --validations 50 --error 0.01

prints how many failed, and the probability of as many or more at the stated rate.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1]))

from distribution import install

SOURCE = '''
from dataclasses import dataclass
import numpy as np
from covsvc.contracts import Counts, one_sided

@dataclass(frozen=True)
class Coin:
    """Cover with probability cl, whatever the signal."""
    reads = (Counts,)
    sided = "upper"
    promises = "nothing"
    salt: int = 0
    def limits(self, observed, cl):
        bits = observed.n.astype(np.uint64) + np.uint64(self.salt * 0x9E3779B97F4A7C15 % 2**64)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
        covers = (bits >> np.uint64(11)) < cl * 2.0**53
        return one_sided(np.where(covers, 1e6, -1.0))

@dataclass(frozen=True)
class PromisingCoin(Coin):
    """Promise what it just keeps."""
    promises = "at_least"

@dataclass(frozen=True)
class Tickets:
    """A number for each toy, in the place of a count."""
    gives = (Counts,)
    def toys(self, s_true, b, size, rng):
        return (Counts(rng.integers(0, 10**6, size), b),)
    def observe(self, data):
        return (Counts(data["n"], data["b"]),)
'''

ENTRY_POINTS = """
[covsvc.methods]
coin = coins:Coin
promising_coin = coins:PromisingCoin

[covsvc.experiments]
tickets = coins:Tickets
"""


def studies(seed: int, salt: int) -> list:
    from covsvc.study import study_of

    shared = {"n_toys": 1000, "toys_per_block": 500, "seed": seed, "keep": "toys", "isolate": False}
    coins = [
        {"name": name, "options": {"salt": 10 * salt + number}, "label": f"{name} {number}"}
        for name in ("coin", "promising_coin")
        for number in (1, 2)
    ]
    grid = {"s_true": [1, 2, 3, 4, 5], "b": [0, 1, 2, 3], "cl": [0.9, 0.95]}
    tickets = shared | grid | {"name": "coins", "experiment": "tickets", "methods": coins}
    gaps = shared | {"name": "gaps", "experiment": "spectrum", "methods": ["max_gap", "optimum_interval"], "cl": [0.9]}
    # without background its limit covers with probability cl exactly
    return [study_of(tickets), study_of(gaps | {"s_true": [3, 5, 8, 12], "b": [0], "seed": seed + salt})]


def outcomes(seed: int, error: float) -> list[str]:
    """Return what two validations of nothing wrong came to: without and with a baseline."""
    from covsvc import api

    with tempfile.TemporaryDirectory() as store:
        first = api.validate(studies(seed, 1), store, error=error)
        api.accept([each.name for each in studies(seed, 1)], store, tag="v1", reason="to begin with", despite=True)
        second = api.validate(studies(seed, 2), store, error=error)
        return [each.validation.outcome for each in (first, second)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--validations", type=int, default=50)
    parser.add_argument("--error", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1999)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder), "coins", ENTRY_POINTS, coins=SOURCE)
        sys.path.insert(0, folder)
        os.environ["PYTHONPATH"] = folder
        begun, found = time.monotonic(), []
        for number in range(asked.validations):
            found.append(outcomes(asked.seed + 1000 * number, asked.error))
            print(f"{number + 1}: {', '.join(found[-1])}", file=sys.stderr)
        for what, of_these in zip(("without", "with"), zip(*found, strict=True), strict=True):
            failed, undecided = of_these.count("failed"), of_these.count("undecided")
            chance = stats.binom.sf(failed - 1, len(of_these), asked.error)
            print(
                f"{what} a baseline {failed} of {len(of_these)} failed, {undecided} were undecided; at a rate of "
                f"{asked.error:g} as many failures or more have probability {chance:.3g}"
            )
        print(f"{(time.monotonic() - begun) / asked.validations:.1f} s each")


if __name__ == "__main__":
    main()
