"""False alarms of validations in which nothing is worse than it should be.

    python tests/trials/validation_null.py [--validations 10000] [--kinds mixed ...] [--error 0.01] [--seed 2026]

Each validation has columns whose coverage is cl in every cell, where a promise is just kept, and whose toys are shared:
half of the columns see nearly the same ones. It goes through both stages, `suspicions` and `screen` on stored toys and
`confirm` on fresh ones, as a real one does. Of kind

    promise   there is no baseline
    paired    limits of now and of the baseline differ on 4 % of the toys, as often up as down; fresh toys are paired
    unpaired  the same, but the code of the baseline is not there to set limits on fresh toys
    other     toys are others than those of the baseline
    mixed     as paired, with one column broken, so that many hypotheses are selected; its rejections are no false alarms

Prints in how many validations anything that can fail was rejected although it is true, and whether so many are
compatible with the stated error; the same among those in which anything true was selected at all; and how many would be
failed by stored toys alone, at 5 % in each cell and by the screen: the trial sees a rule that is not valid. The short form
in the test suite is in tests/verdict/test_null.py.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from scipy import stats

from covsvc.tally import INDICATORS
from covsvc.verdict.column import Column
from covsvc.verdict.confirming import REJECTED, confirm
from covsvc.verdict.hypotheses import Evidence, screen
from covsvc.verdict.pairs import Pairs
from covsvc.verdict.sides import Grid
from covsvc.verdict.suspicions import number_of_tests, suspicions

KINDS = ("promise", "paired", "unpaired", "other", "mixed")
CL, DISCORDANCE, COLUMNS, CELLS, TOYS, MARGIN = 0.9, 0.04, 4, 20, 1000, 0.005
BROKEN = 0
"""The column that covers less than the baseline, where one does."""


def drawn(n, rng, *, mixed):
    """Return counts of toys covered by both, lost, gained and by neither, shape (column, cell, 4)."""
    change = 0.5 * DISCORDANCE
    shares = np.array([CL - change, change, change, 1.0 - CL - change])
    shared = rng.multinomial(n - n // 8, shares, CELLS)
    counts = np.empty((COLUMNS, CELLS, 4), np.int64)
    for column in range(COLUMNS):
        most = shared if column < COLUMNS // 2 else rng.multinomial(n - n // 8, shares, CELLS)
        counts[column] = most + rng.multinomial(n // 8, shares, CELLS)
    if mixed:
        counts[BROKEN] = rng.multinomial(n, shares + np.array([-0.03, 0.03, 0.0, 0.0]), CELLS)
    return counts


def apart(rng):
    """Return what `drawn` does where both sides have toys of their own, of which only the numbers covered mean anything."""
    now, before = rng.binomial(TOYS, CL, (2, COLUMNS, CELLS))
    both = np.minimum(now, before)
    return np.stack([both, before - both, now - both, TOYS - np.maximum(now, before)], axis=-1)


def grid(covered, n):
    """Return what one side has of a column that is known from toys alone."""
    none = np.zeros((1, CELLS), np.int64)
    counts = {"n_toys": none + n, "n_covered": covered[None], **{f"n_{name}": none for name in INDICATORS[1:]}}
    digest = covered[None, :, None].astype(np.uint64)
    return Grid(
        counts, np.full((7, 1, CELLS), np.nan), np.full((4, 1), np.nan), np.ones((1, CELLS, 1), np.int8), digest
    )


def column_of(kind, index, counts):
    """Return a column as `compare` makes it."""
    both, lost, gained, _ = np.moveaxis(counts, -1, 0)
    now, before = grid(both + gained, TOYS), grid(both + lost, TOYS)
    before = now.nothing() if kind == "promise" else before
    before.digest[...] += np.uint64(1)
    pairs = Pairs.nothing((1, CELLS))
    if kind not in ("promise", "other"):
        pairs.n[...] = TOYS
        for held, values in (
            (pairs.has, both + gained),
            (pairs.had, both + lost),
            (pairs.gained, gained),
            (pairs.lost, lost),
        ):
            held["covered"][...] = values
    return Column(
        study="null",
        label=f"method_{index}",
        cl=CL,
        b=(0.0,),
        s_true=tuple(float(cell) for cell in range(CELLS)),
        method={"promises": "at_least" if kind == "promise" else "nothing"},
        least=CL,
        same_code=False,
        same_toys=kind not in ("promise", "other"),
        now=now,
        before=before,
        pairs=pairs,
        near_end=np.zeros((1, CELLS), bool),
        toys_per_block=TOYS,
        adaptive=False,
        at="",
        store="",
    )


def validated(kind, error, rng):
    """Carry out one validation; return whether true hypotheses were selected, rejected, and rejected by lesser rules."""
    mixed = kind == "mixed"
    counts = apart(rng) if kind == "other" else drawn(TOYS, rng, mixed=mixed)
    columns = [column_of(kind, index, counts[index]) for index in range(COLUMNS)]
    tests = sum(number_of_tests(column) for column in columns)
    asked = [each for column in columns for each in suspicions(column)]
    selected = screen(asked, tests)
    evidence = {}
    for n in {each.fresh_toys for each in selected}:
        fresh = drawn(n, rng, mixed=mixed)
        for each in selected:
            if each.fresh_toys == n:
                cells = [int(s_true) for _, s_true in each.cells]
                both, lost, gained, _ = fresh[int(each.limit_method[-1]), cells].sum(axis=0).tolist()
                paired = (gained, lost) if kind in ("paired", "mixed") else (None, None)
                evidence[each] = Evidence(n * len(cells), both + gained, *paired)
    found = confirm(
        selected, evidence, tests=tests, error=error, margin=MARGIN, paired=kind not in ("unpaired", "other")
    )
    broken = f"method_{BROKEN}" if mixed else ""
    true = [each for each in selected if each.limit_method != broken]
    rejected = [each.hypothesis for each in found if each.outcome == REJECTED]
    naive = any(each.p <= 0.05 for each in asked if each.b is not None and each.limit_method != broken)
    return bool(true), any(each in true for each in rejected), naive


def false_alarms(kind, validations, error, seed):
    """Return in how many validations true hypotheses were selected, were rejected, and look bad in some cell."""
    rngs = (np.random.default_rng([seed, KINDS.index(kind), each]) for each in range(validations))
    return np.sum([validated(kind, error, rng) for rng in rngs], axis=0).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--validations", type=int, default=10_000)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--error", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=2026)
    arguments = parser.parse_args()
    for kind in arguments.kinds:
        begun = time.monotonic()
        selected, rejected, naive = false_alarms(kind, arguments.validations, arguments.error, arguments.seed)
        told = {
            "kind": kind,
            "validations": arguments.validations,
            "stated_error": arguments.error,
            "false_alarms": rejected,
            "chance_of_as_many": float(stats.binom.sf(rejected - 1, arguments.validations, arguments.error)),
            "with_true_ones_selected": selected,
            "chance_of_as_many_among_these": float(stats.binom.sf(rejected - 1, selected, arguments.error)),
            "failed_by_stored_toys_at_5_percent_a_cell": naive,
            "failed_by_the_screen_alone": selected,
            "seconds": round(time.monotonic() - begun, 1),
        }
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
