"""Speed of likelihood-ratio limits on counts on and off source, and on counts with known background.

    python benchmarks/on_off.py

Times are CPU seconds of the thread. Toys are drawn and judged a million at once; a cell's table holds every pair
of counts that matters, so that nothing needs to be drawn.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from covsvc.contracts import Counts, OnOff
from covsvc.kernels.poisson import support
from covsvc.kernels.profile import statistics_on_off
from covsvc.methods.profile_likelihood import ProfileLikelihood
from covsvc.methods.q_mu import QMu, QMuTilde

METHODS = (ProfileLikelihood(), ProfileLikelihood(bounded=False), QMu(), QMu("clsb"), QMuTilde(), QMuTilde("clsb"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7, help="runs a figure")
    runs = parser.parse_args().runs
    for s, b, tau in ((3.0, 3.0, 2.0), (0.0, 0.3, 1.0), (12.0, 100.0, 0.5), (30.0, 1e4, 10.0)):
        time_toys(s, b, tau, runs)
        time_limits(s, b, tau, runs)
    time_table(3.0, 3.0, 2.0, runs)


def time_toys(s: float, b: float, tau: float, runs: int, toys: int = 1_000_000) -> None:
    rng = np.random.default_rng(1)

    def draw() -> None:
        rng.poisson(s + b, toys)
        rng.poisson(tau * b, toys)

    def judge() -> None:
        statistics_on_off(rng.poisson(s + b, toys), rng.poisson(tau * b, toys), tau, s, True)

    bare, whole = median(draw, runs) / toys * 1e9, median(judge, runs) / toys * 1e9
    print(
        f"toys, s = {s:g}, b = {b:g}, tau = {tau:g}: {whole:.0f} ns with q_mu_tilde at the true s, {bare:.0f} ns drawn"
    )


def time_limits(s: float, b: float, tau: float, runs: int, toys: int = 100_000) -> None:
    rng = np.random.default_rng(1)
    n, n_off = rng.poisson(s + b, toys), rng.poisson(tau * b, toys)
    for method in METHODS:
        on_off, known = (
            median(lambda method=method, observed=observed: method.limits(observed, 0.9), runs) / toys * 1e9
            for observed in (OnOff(n, n_off, tau), Counts(n, b))
        )
        print(f"  {method}: {on_off:.0f} ns on/off, {known:.0f} ns with known background")


def time_table(s: float, b: float, tau: float, runs: int) -> None:
    on, off = support(s + b, 1e-14), support(tau * b, 1e-14)
    pairs = np.meshgrid(np.arange(on[0], on[1] + 1), np.arange(off[0], off[1] + 1), indexing="ij")
    n_on, n_off = (part.ravel() for part in pairs)
    statistic = median(lambda: statistics_on_off(n_on, n_off, tau, s, True), runs)
    limits = median(lambda: QMuTilde().limits(OnOff(n_on, n_off, tau), 0.9), runs)
    print(
        f"table of {n_on.size:,} pairs, s = {s:g}, b = {b:g}, tau = {tau:g}: statistic {statistic * 1e3:.3f} ms, "
        f"CLs limits by q_mu_tilde {limits * 1e3:.3f} ms"
    )


def median(work: Callable[[], object], runs: int) -> float:
    work()
    return statistics.median(cpu(work) for _ in range(runs))


def cpu(work: Callable[[], object]) -> float:
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


if __name__ == "__main__":
    main()
