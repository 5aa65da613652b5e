"""False calls of the budget of toys, in synthetic studies whose coverage is known.

    python tests/trials/adaptive_null.py [--studies 1000] [--error 0.01] [--seed 2026]

In each study of kind ``below`` coverage is cl in every cell of every column: a call of below cl is wrong. In each of
kind ``above`` it is cl - margin, so that a call of above cl - margin is wrong. The columns of a cell share their toys:
half of them see nearly the same ones. The rounds are those of `Rule.next_blocks`, as in a run. Prints how many studies
hold a wrong call at any look, though a later one took it back, and whether so many are compatible with the stated
error; then in how many cells with p = cl a plain 95 % interval is wrong somewhere in eight looks: the trial sees a rule
that is not valid. The short form in the test suite is in tests/test_budget.py.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from scipy import stats

from covsvc.budget import OK, UNDER, Drawn, Rule, looks_of
from covsvc.kernels.binomial import clopper_pearson
from covsvc.study import Budget
from covsvc.tally import DONE, MISSING

KINDS = ("below", "above")
CL, MARGIN, COLUMNS, CELLS, BLOCK = 0.9, 0.02, 4, 20, 500


def studied(kind, error, rng):
    """Carry out one study; return whether it ever holds a wrong call, and whether plain intervals would have."""
    budget = Budget.model_validate({"min": BLOCK, "max": 64 * BLOCK, "resolved": {"margin": MARGIN, "error": error}})
    rule = Rule(looks_of(budget), MARGIN, error, COLUMNS * CELLS)
    p = CL if kind == "below" else CL - MARGIN
    shared = rng.binomial(BLOCK, p, (1, CELLS, 64))
    own = rng.binomial(BLOCK, p, (COLUMNS, CELLS, 64))
    # column 0 and 1 have the same toys but for one block in eight
    hits = np.where((np.arange(64) % 8 > 0) & (np.arange(COLUMNS) < 2)[:, None, None], shared, own)
    status = np.full(hits.shape, MISSING, np.int8)
    cl = np.full((COLUMNS, 1), CL)
    wrong = naive = False
    while True:
        x = (hits * (status == DONE)).sum(axis=-1)
        drawn = Drawn(status, x, np.zeros_like(x), np.zeros(x.shape, bool), BLOCK)
        low, high = clopper_pearson(x, drawn.n_toys)
        wrong |= bool((rule.states(drawn, cl) == (UNDER if kind == "below" else OK)).any())
        naive |= bool((high < CL).any() if kind == "below" else (low > CL - MARGIN).any())
        now = rule.next_blocks(drawn, cl, status == MISSING, may_go_on=True)
        if not now.any():
            return wrong, naive
        status[now] = DONE


def wrong_studies(kind, studies, error, seed):
    """Return how many studies hold a wrong call, and how many of a plain 95 % interval at each look would."""
    found = [studied(kind, error, np.random.default_rng([seed, KINDS.index(kind), each])) for each in range(studies)]
    return sum(wrong for wrong, _ in found), sum(naive for _, naive in found)


def naive_alarms(cells, seed, looks=8, first=10_000):
    """Return in which share of cells with p = cl a plain 95 % interval is somewhere not around p in so many looks."""
    rng = np.random.default_rng(seed)
    n = first * 2 ** np.arange(looks)
    x = np.cumsum(rng.binomial(np.diff(n, prepend=0), CL, (cells, looks)), axis=1)
    low, high = clopper_pearson(x, n)
    return float(((low > CL) | (high < CL)).any(axis=1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--error", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=2026)
    arguments = parser.parse_args()
    for kind in KINDS:
        begun = time.monotonic()
        wrong, naive = wrong_studies(kind, arguments.studies, arguments.error, arguments.seed)
        chance = float(stats.binom.sf(wrong - 1, arguments.studies, arguments.error))
        told = {
            "wrong calls of": kind,
            "studies": arguments.studies,
            "wrong": wrong,
            "error": arguments.error,
            "P(so many or more)": round(chance, 4),
            "compatible": chance >= 0.01,
            "wrong with plain 95 % intervals": naive,
            "seconds": round(time.monotonic() - begun, 1),
        }
        print(json.dumps(told))
    share = naive_alarms(20_000, arguments.seed)
    print(json.dumps({"plain 95 % intervals, 8 looks at a cell": f"{share:.3f} of cells with a false alarm"}))


if __name__ == "__main__":
    main()
