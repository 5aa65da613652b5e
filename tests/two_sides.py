"""Cubes of made-up limits, as `open_cube` gives them."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from covsvc.contracts import Limits, Status
from covsvc.maps import CELLS, summarize
from covsvc.tally import COUNTS, EXACT, N_BINS, WORST, bin_of, codes_of, digest_of
from covsvc.verdict import Side

BLOCK = 500


def limits(upper, status=None):
    """Return limits [0, upper], or those of another status."""
    upper = np.asarray(upper, float)
    return Limits(np.zeros(len(upper)), upper, np.zeros(len(upper), np.int8) if status is None else status)


def with_status(plain, where, status):
    """Return limits some of which are empty, unbounded or failed."""
    ends = {Status.EMPTY: (0.0, 0.0), Status.UNBOUNDED: (0.0, np.inf), Status.FAILED: (np.nan, np.nan)}[status]
    return Limits(
        np.where(where, ends[0], plain.lower),
        np.where(where, ends[1], plain.upper),
        np.where(where, status, plain.status),
    )


def hits(covered, s_true=1.0):
    """Return limits of which those cover that are to."""
    return limits(np.where(covered, 2.0 * s_true, 0.5 * s_true))


def first(count, n=10 * BLOCK):
    """Return n flags, the first of which are set."""
    return np.arange(n) < count


def side(
    columns,
    *,
    cl=(0.9,),
    b=(0.0,),
    s_true=(1.0,),
    keep=True,
    failed_blocks=(),
    environment=None,
    n_toys=None,
    errors=None,
):
    """Return one side of a comparison.

    `columns` maps a label to a dict: ``promises``, ``code`` (its fingerprint), and ``toys``, called with (cl, b, s_true)
    for the limits, or None for no toys; or ``exact``, called likewise for a dict of exact values (those that are not
    named are 0), and ``worst``, called with (cl, b) for the smallest coverage and where.
    """
    shape = (len(columns), len(cl), len(b), len(s_true))
    made = {label: dict.fromkeys(np.ndindex(*shape[1:])) for label in columns}
    for label, told in columns.items():
        for place in made[label]:
            if "toys" in told:
                made[label][place] = told["toys"](cl[place[0]], b[place[1]], s_true[place[2]])
    most = max((len(each) for cells in made.values() for each in cells.values() if each is not None), default=BLOCK)
    counts, bins = np.zeros((*shape, len(COUNTS)), np.int64), np.zeros((*shape, N_BINS), np.int64)
    status, digest = np.zeros((*shape, most // BLOCK), np.int8), np.zeros((*shape, most // BLOCK), np.uint64)
    codes = np.full((*shape, most), -2, np.int16)
    exact, worst = np.full((*shape, len(EXACT)), np.nan), np.full((*shape[:3], len(WORST)), np.nan)
    failures = []
    for row, (label, told) in enumerate(columns.items()):
        for place, given in made[label].items():
            at, signal = (row, *place), s_true[place[2]]
            if given is not None:
                for block in range(len(given) // BLOCK):
                    part = slice(block * BLOCK, (block + 1) * BLOCK)
                    here = Limits(given.lower[part], given.upper[part], given.status[part])
                    if (label, block) in failed_blocks:
                        status[*at, block] = 2
                        where = {"b": b[place[1]], "s_true": signal, "start": block, "stop": block + 1}
                        failures.append({"limit_method": label, "cl": cl[place[0]], **where, "reason": "no luck"})
                        continue
                    status[*at, block], digest[*at, block] = 1, digest_of(here).sum(dtype=np.uint64)
                    codes[*at, part] = codes_of(here, signal)
                    held = bin_of(here)
                    np.add.at(bins[at], held[held >= 0], 1)
                    flags = [here.status == state for state in (Status.EMPTY, Status.UNBOUNDED, Status.FAILED)]
                    counts[at] += [
                        BLOCK,
                        here.cover(signal).sum(),
                        here.upper_covers(signal).sum(),
                        *(f.sum() for f in flags),
                    ]
            if "exact" in told:
                values = told["exact"](cl[place[0]], b[place[1]], signal)
                exact[at] = [values.get(name.removeprefix("exact_"), 0.0) for name in EXACT]
                found = told["worst"](cl[place[0]], b[place[1]])
                worst[at[:3]] = [*found, s_true[0], s_true[-1]]
    variables = {name: (CELLS, counts[..., index]) for index, name in enumerate(COUNTS)}
    variables |= {name: (CELLS, exact[..., index]) for index, name in enumerate(EXACT)}
    variables |= {name: (CELLS[:3], worst[..., index]) for index, name in enumerate(WORST)}
    variables |= {"limit_counts": ((*CELLS, "limit_bin"), bins)}
    variables |= {"block_status": ((*CELLS, "block"), status), "limit_digest": ((*CELLS, "block"), digest)}
    if keep:
        variables["toy_bins"] = (*CELLS, "toy"), codes
    methods = {
        label: {
            "promises": told.get("promises", "at_least"),
            "sided": "upper",
            "fingerprint": told.get("code", "1"),
            "tables": {f"{each:.12g}": {"digest": "t", "error": told["error"]} for each in cl}
            if "error" in told
            else {},
        }
        for label, told in columns.items()
    }
    grid = {"methods": [{"label": label} for label in columns], "cl": list(cl), "b": list(b), "s_true": list(s_true)}
    study = {"name": "made-up", "n_toys": most if n_toys is None else n_toys, "toys_per_block": BLOCK, **grid}
    attrs = {
        "source": json.dumps({"toys_per_block": BLOCK, "seed": 1}),
        "methods": json.dumps(methods),
        "study": json.dumps(study),
        "failures": json.dumps(failures),
        "environment": json.dumps(environment or {}),
    }
    coordinates = {"limit_method": list(columns), "cl": list(cl), "b": list(b), "s_true": list(s_true)}
    cube = xr.Dataset(variables, coordinates, attrs)
    return Side(summarize(cube), cube)
