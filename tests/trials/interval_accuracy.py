"""Limits from two folders of tables on the same toys: what the toys of a table leave uncertain in a limit.

    python tests/trials/interval_accuracy.py TABLES_A TABLES_B [--toys 100000] [--cl 0.9] [--seed 2002]

Prints, for each method and mu, the median and the 99 % quantile of the difference, absolute and over the limit, the
share of toys above 5e-3 of each, and the share of flips: limits more than 0.05 mu apart, which cross the boundary
elsewhere. Without background.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from covsvc import registry
from covsvc.interval_tables import interval_table

SIGNALS = (3.0, 10.0, 30.0, 54.0)
METHODS = ("optimum_interval", "p_max")
LARGE, FLIP = 5e-3, 0.05


def upper(folder, name, events, cl):
    """Return the limits from the tables of a folder."""
    os.environ["COVSVC_TABLES"] = str(folder)
    return registry.method(name).limits(events, cl).upper


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path, nargs=2)
    parser.add_argument("--toys", type=int, default=100_000, help="at each mu")
    parser.add_argument("--cl", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=2002)
    arguments = parser.parse_args()
    for folder in arguments.tables:
        os.environ["COVSVC_TABLES"] = str(folder)
        print(f"{folder}: {interval_table(arguments.cl).made_by}")
    print(
        f"{'method':<18}{'mu':>5}{'median':>10}{'99 %':>10}{'> 5e-3':>9}{'rel. median':>13}{'99 %':>10}{'> 5e-3':>9}{'flips':>9}"
    )
    for mu in SIGNALS:
        (events,) = registry.experiment("spectrum").toys(mu, 0.0, arguments.toys, np.random.default_rng(arguments.seed))
        for name in METHODS:
            one, other = (upper(folder, name, events, arguments.cl) for folder in arguments.tables)
            bounded = np.isfinite(one) & np.isfinite(other)
            off = abs(one[bounded] - other[bounded])
            columns = []
            for each in (off, off / other[bounded]):
                columns += [np.median(each), np.quantile(each, 0.99), (each > LARGE).mean()]
            told = "".join(f"{value:>{width}.2g}" for value, width in zip(columns, (10, 10, 9, 13, 10, 9), strict=True))
            print(f"{name:<18}{mu:>5g}{told}{(off > FLIP * mu).mean():>9.2g}")


if __name__ == "__main__":
    main()
