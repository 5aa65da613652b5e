"""Speed of likelihood methods on events with densities, as ratios of paired and interleaved runs in one process.

    python benchmarks/likelihood.py

Times are CPU seconds of the thread, of blocks of 10,000 toys of the experiment gaussian_flat: drawing them, with the
fit of s and b, with the profile-likelihood limit (which fits, too) and with the integrated limit. Bare is drawing
alone. iminuit does the same fits (MIGRAD) and limits (MIGRAD and MINOS) of a few toys of each block, each from the true
values on, with a likelihood in NumPy, with and without its gradient; MINOS finds both ends.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from iminuit import Minuit
from numpy.typing import NDArray
from scipy import special

from covsvc.contracts import ModelledEvents
from covsvc.experiments.gaussian_flat import GaussianFlat
from covsvc.kernels.unbinned import fit_events
from covsvc.methods.likelihood_integration import LikelihoodIntegration
from covsvc.methods.profile_likelihood import ProfileLikelihood

TRUTHS = ((10.0, 20.0), (3.0, 20.0), (0.0, 4.0), (10.0, 80.0))
"""Signal, and background in the whole range, four times that of the axis."""
BLOCK = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15, help="pairs of runs a figure")
    parser.add_argument("--minos", type=int, default=20, help="toys of each block that iminuit has")
    parser.add_argument("--cl", type=float, default=0.90)
    arguments = parser.parse_args()
    for s_true, b_true in TRUTHS:
        compare(s_true, b_true, arguments.cl, arguments.pairs, arguments.minos)


def compare(s_true: float, b_true: float, cl: float, pairs: int, few: int) -> None:
    profile, integration = ProfileLikelihood(), LikelihoodIntegration()
    experiment = GaussianFlat()

    def draw(seed: int) -> ModelledEvents:
        events: ModelledEvents = experiment.toys(s_true, b_true / 4, BLOCK, np.random.default_rng(seed))[0]
        return events

    def fit(seed: int) -> None:
        events = draw(seed)
        fit_events(events.starts, events.density_ratio)

    def limit(seed: int) -> None:
        profile.limits(draw(seed), cl)

    def integrate(seed: int) -> None:
        integration.limits(draw(seed), cl)

    works = {"bare": draw, "+ fit": fit, "+ profile limit": limit, "+ integrated limit": integrate}
    theirs = {"MIGRAD": (False, False), "MIGRAD + MINOS": (True, False), "MIGRAD + MINOS with gradient": (True, True)}
    seconds: dict[str, list[float]] = {name: [] for name in (*works, *theirs)}
    for pair in range(pairs + 1):
        told = {name: cpu(lambda work=work, pair=pair: work(pair)) for name, work in ordered(works, pair)}
        toys = split(draw(pair))[:few]
        for name, (minos, gradient) in theirs.items():
            spent = cpu(
                lambda toys=toys, minos=minos, gradient=gradient: minimise(toys, s_true, b_true, cl, minos, gradient)
            )
            told[name] = spent / len(toys) * BLOCK
        if pair:  # the first pair warms up
            for name, spent in told.items():
                seconds[name].append(spent)
    print(f"s = {s_true:g}, b = {b_true:g} in all, ns a toy:")
    for name, spent in seconds.items():
        print(f"  {name:<30} {statistics.median(spent) / BLOCK * 1e9:>11,.0f}")
    for name in ("+ profile limit", "+ integrated limit"):
        report(f"{name} / bare", seconds[name], seconds["bare"])
    for name in ("MIGRAD + MINOS", "MIGRAD + MINOS with gradient"):
        alone = [limit - bare for limit, bare in zip(seconds["+ profile limit"], seconds["bare"], strict=True)]
        report(f"{name} / profile limit", seconds[name], alone)


def minimise(toys: list[NDArray[np.float64]], s_true: float, b_true: float, cl: float, minos: bool, grad: bool) -> None:
    z = -float(special.ndtri(1.0 - cl))
    for ratio in toys:

        def function(s: float, b: float, ratio: NDArray[np.float64] = ratio) -> float:
            return 2.0 * (s + b - float(np.log(s * ratio + b).sum()))

        def gradient(s: float, b: float, ratio: NDArray[np.float64] = ratio) -> tuple[float, float]:
            a = 1.0 / (s * ratio + b)
            return 2.0 - 2.0 * float((ratio * a).sum()), 2.0 - 2.0 * float(a.sum())

        minuit = Minuit(function, max(s_true, 0.5), b_true, grad=gradient if grad else None, name=("s", "b"))
        minuit.limits = [(0, None), (1e-9, None)]
        minuit.errordef = z * z
        minuit.migrad()
        if minos and minuit.valid:
            minuit.minos("s")


def split(events: ModelledEvents) -> list[NDArray[np.float64]]:
    return [toy for toy in np.split(events.density_ratio, events.starts[1:-1]) if len(toy)]


def ordered(works: dict[str, Callable[[int], object]], pair: int) -> list[tuple[str, Callable[[int], object]]]:
    items = list(works.items())
    return items[::-1] if pair % 2 else items


def report(name: str, spent: list[float], other: list[float]) -> None:
    ratios = [one / two for one, two in zip(spent, other, strict=True)]
    print(f"  {name}: median {statistics.median(ratios):,.2f} ({min(ratios):,.2f} to {max(ratios):,.2f})")


def cpu(work: Callable[[], object]) -> float:
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


if __name__ == "__main__":
    main()
