"""What C_Max has to exceed, against the tables that come with Yellin's programs.

    python tests/trials/interval_values.py barCMax.csv

The file holds mu and the columns barCMax_CL0.90, barCMax_CL0.95, barCMax_CL0.99 (1 where no value is attainable). Prints
the largest differences for 2.3 < mu < 99: of all mu, and of those more than half a per cent away from thresholds and
ends of atoms; and the root of the mean square over what either table is known to be uncertain by.

Where they differ most, at cl = 0.9 and mu = 4.572 and 4.618, theirs lie 6e-4 below ours. Of 4e6 independent toys with
the exact C_n, C_Max exceeded ours with probability 0.1001 +- 0.00015 and theirs with 0.1009.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from covsvc.interval_tables import interval_table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    table = np.genfromtxt(parser.parse_args().file, delimiter=",", names=True, deletechars="")
    for cl in (0.90, 0.95, 0.99):
        part = interval_table(cl).c_max
        theirs = table[f"barCMax_CL{cl:.2f}"]
        used = (table["mu"] > 2.3) & (table["mu"] < 99) & (theirs < 1)
        mu, theirs = table["mu"][used], theirs[used]
        off = np.interp(mu, part.mu, part.value) - theirs
        ends = np.concatenate([part.thresholds[1:], part.atom_ends])
        away = abs(ends[:, None] / mu - 1).min(axis=0) > 5e-3
        # below the first threshold the value is cl: what theirs scatter by
        scatter = np.sqrt(np.mean((theirs[mu < part.thresholds[1]] - cl) ** 2))
        ours = np.interp(mu, part.mu, part.error) * (1 - theirs) / (1 - cl)
        deviates = off / np.hypot(ours, scatter)
        print(f"cl = {cl:g}: {used.sum()} mu; {away.sum()} of them away from thresholds and ends of atoms")
        for name, which in (("all", away | ~away), ("away", away), ("near", ~away)):
            worst = np.flatnonzero(which)[abs(off[which]).argmax()]
            print(
                f"  {name:<5} largest {off[worst]:+.1e} at mu = {mu[worst]:.5g}; 99 % {np.quantile(abs(off[which]), 0.99):.1e}, "
                f"root mean square {np.sqrt(np.mean(off[which] ** 2)):.1e}, of deviates {np.sqrt(np.mean(deviates[which] ** 2)):.2f}"
            )


if __name__ == "__main__":
    main()
