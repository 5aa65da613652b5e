"""Speed of binned fits, as ratios of paired and interleaved runs in one process.

    python benchmarks/likelihood_binned.py

A toy is what q_mu_tilde needs: counts and auxiliary measurements are drawn, the likelihood is maximised freely and at
the signal under test. pyhf is what its toy calculator does with a toy, with its default backend and optimizer: a draw
from the model and `qmu_tilde`. Times are CPU seconds of the thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np

from covsvc.binned_model import BinnedModel, Interpolation, Parameter
from covsvc.kernels.binned import draw, fit, fit_at

TOYS, THEIR_TOYS = 50_000, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=11, help="pairs of runs a figure")
    pairs = parser.parse_args().pairs
    for bins, nuisances in ((20, 1), (50, 5)):
        compare(bins, nuisances, pairs)


def templates(bins: int, nuisances: int) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Return a peak, what falls under it, and the latter with each parameter at -1 and at 1; the first one a factor."""
    x = (np.arange(bins) + 0.5) / bins
    signal = 20.0 * np.exp(-0.5 * ((x - 0.4) / 0.1) ** 2) / (0.25 * bins)
    background = 1000.0 / bins * np.exp(-x)
    shapes = [0.1 * np.ones(bins), *(0.05 * np.cos(np.pi * k * x) for k in range(1, nuisances))]
    return signal, background, [(background * (1 - each), background * (1 + each)) for each in shapes]


def model_of(bins: int, nuisances: int) -> BinnedModel:
    signal, background, varied = templates(bins, nuisances)
    effects = [Interpolation(0, 1, "factor", (0.9,), (1.1,))]
    effects += [
        Interpolation(k, 1, "shape", tuple(low.tolist()), tuple(high.tolist()))
        for k, (low, high) in enumerate(varied[1:], 1)
    ]
    return BinnedModel(
        ("signal", "background"),
        (tuple(signal.tolist()), tuple(background.tolist())),
        (True, False),
        tuple(Parameter(f"alpha{k}") for k in range(nuisances)),
        tuple(effects),
    )


def theirs_of(bins: int, nuisances: int) -> Callable[[], None]:
    import pyhf

    signal, background, varied = templates(bins, nuisances)
    modifiers = [{"name": "alpha0", "type": "normsys", "data": {"lo": 0.9, "hi": 1.1}}]
    modifiers += [
        {"name": f"alpha{k}", "type": "histosys", "data": {"lo_data": low.tolist(), "hi_data": high.tolist()}}
        for k, (low, high) in enumerate(varied[1:], 1)
    ]
    mu = [{"name": "mu", "type": "normfactor", "data": None}]
    samples = [
        {"name": "signal", "data": signal.tolist(), "modifiers": mu},
        {"name": "background", "data": background.tolist(), "modifiers": modifiers},
    ]
    model = pyhf.Model({"channels": [{"name": "one", "samples": samples}]})
    start, bounds, fixed = (
        model.config.suggested_init(),
        model.config.suggested_bounds(),
        model.config.suggested_fixed(),
    )
    truth = np.array(start)
    truth[model.config.poi_index] = 1.0

    def run() -> None:
        for toy in model.make_pdf(truth).sample((THEIR_TOYS,)):
            pyhf.infer.test_statistics.qmu_tilde(1.0, toy, model, start, bounds, fixed)

    return run


def compare(bins: int, nuisances: int, pairs: int) -> None:
    model = model_of(bins, nuisances)
    theirs = theirs_of(bins, nuisances)
    rng = np.random.default_rng(1)
    parts: dict[str, list[float]] = {"draw": [], "free fit": [], "fixed fit": []}
    failures = 0

    def ours() -> None:
        nonlocal failures
        begun = time.thread_time()
        counts, auxiliary = draw(model, 1.0, np.zeros(nuisances), TOYS, rng)
        drawn = time.thread_time()
        free = fit(model, counts, auxiliary)
        fitted = time.thread_time()
        held = fit_at(model, counts, auxiliary, 1.0)
        for name, seconds in zip(parts, (drawn - begun, fitted - drawn, time.thread_time() - fitted), strict=True):
            parts[name].append(seconds / TOYS)
        failures += int((~free.ok | ~held.ok).sum())

    ratios, mine, other = [], [], []
    for pair in range(pairs + 1):
        order = (ours, theirs) if pair % 2 else (theirs, ours)
        seconds = {each: cpu(each) for each in order}
        if pair:  # the first pair warms up
            mine.append(seconds[ours] / TOYS)
            other.append(seconds[theirs] / THEIR_TOYS)
            ratios.append(other[-1] / mine[-1])
    split = ", ".join(f"{name} {statistics.median(times) * 1e6:.2f}" for name, times in parts.items())
    print(
        f"{bins} bins, {nuisances} nuisances: {statistics.median(mine) * 1e6:.2f} us a toy ({split}), "
        f"{failures} failed; pyhf {statistics.median(other) * 1e3:.2f} ms, "
        f"{statistics.median(ratios):,.0f} times as long "
        f"({min(ratios):,.0f} to {max(ratios):,.0f})"
    )


def cpu(work: Callable[[], None]) -> float:
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main()
