"""Coverage of the interval methods at the true signal without background: at least cl wherever it is looked.

    python tests/trials/interval_coverage.py [--toys 1000000] [--points 340] [--cl 0.9 0.95 0.99] [--seed 2002]

Looks at mu spread evenly in its logarithm and at points just below and above each threshold and atom end, draws toys at
each and counts how often the limit is the true signal or more. Prints, for each method, the smallest and, where it is
not 1, largest coverage and where, and the smallest binomial probability of so few covered toys, were coverage cl less
four errors of the table, times the number of points. The short form in the test suite is
tests/methods/test_interval_coverage.py.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from scipy import stats

from covsvc import registry
from covsvc.interval_tables import interval_table

METHODS = {
    "max_gap": ("max_gap", {}),
    "p_max": ("p_max", {}),
    "optimum_interval": ("optimum_interval", {}),
    "fixed_interval_n 3": ("fixed_interval_n", {"n": 3}),
    "optimum_interval, first crossing": ("optimum_interval", {"crossing": "first"}),
    "p_max, first crossing": ("p_max", {"crossing": "first"}),
}
NEAR = 1e-6
BATCH = 100_000


def points(table, number):
    """Return mu up to the end of the table: spread evenly, and on both sides of each threshold and atom end."""
    ends = np.concatenate(
        [table.c_max.thresholds, table.c_max.atom_ends, table.p_max.thresholds, table.p_max.atom_ends]
    )
    ends = ends[(ends > 0) & (ends < 0.98 * table.largest_mu)]
    near = np.concatenate([ends * (1 - NEAR), ends * (1 + NEAR)])
    return near, np.geomspace(0.5, 0.98 * table.largest_mu, number)


def covered(mu, cl, toys, seed):
    """Return how many limits of each method are the true signal or more."""
    experiment = registry.experiment("spectrum")
    methods = {name: registry.method(*spec) for name, spec in METHODS.items()}
    counts = dict.fromkeys(METHODS, 0)
    rng = np.random.default_rng([seed, int(np.float64(mu).view(np.uint64))])
    left = toys
    while left:
        size = min(left, BATCH)
        (events,) = experiment.toys(mu, 0.0, size, rng)
        for name, method in methods.items():
            counts[name] += int((method.limits(events, cl).upper >= mu).sum())
        left -= size
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toys", type=int, default=1_000_000, help="at each mu")
    parser.add_argument("--points", type=int, default=340, help="of mu")
    parser.add_argument("--cl", type=float, nargs="+", default=[0.90, 0.95, 0.99])
    parser.add_argument("--seed", type=int, default=2002)
    arguments = parser.parse_args()
    for cl in arguments.cl:
        begun = time.perf_counter()
        table = interval_table(cl)
        near, spread = points(table, max(arguments.points // 4, 2))
        room = max(arguments.points - len(spread), 1)
        # all of the first thresholds, some of the many at large mu
        near = np.sort(near)
        chosen = np.unique(
            np.concatenate([np.arange(min(40, len(near))), np.linspace(0, len(near) - 1, room).astype(int)])
        )
        mu = np.unique(np.concatenate([near[chosen], spread]))
        found = [covered(each, cl, arguments.toys, arguments.seed) for each in mu.tolist()]
        print(f"cl = {cl:g}: {len(mu)} mu, {arguments.toys:,} toys each, {time.perf_counter() - begun:.0f} s")
        for name, spec in METHODS.items():
            method = registry.method(*spec)
            error = method.calibration_error(cl) if hasattr(method, "calibration_error") else 0.0
            x = np.array([each[name] for each in found])
            p = stats.binom.cdf(x, arguments.toys, cl - 4 * error)
            low, high = int(x.argmin()), int(np.where(x < arguments.toys, x, 0).argmax())
            told = {
                "smallest": x[low] / arguments.toys,
                "at": mu[low],
                "largest_below_1": x[high] / arguments.toys,
                "there": mu[high],
                "p_times_points": min(float(p.min()) * len(mu), 1.0),
            }
            print(f"  {name:<34}" + json.dumps(told))


if __name__ == "__main__":
    main()
