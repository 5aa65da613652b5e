"""Cubes against cubes, bit for bit; toys against exact coverage, and against a Poisson distribution."""

import numpy as np
from numpy.testing import assert_array_equal
from scipy import stats

COUNTED = (
    "n_toys", "n_covered", "n_upper_covered", "n_empty", "n_unbounded", "n_failed",
    "limit_counts", "block_status", "limit_digest",
)  # fmt: skip


def assert_same(cube, fresh):
    """Compare what a study selects of a cube with a fresh run, bit for bit."""
    axes = {name: fresh[name].values for name in ("limit_method", "cl", "b", "s_true")}
    held = cube.load().sel(axes).isel(block=slice(fresh.sizes["block"]))
    for name in (*COUNTED, *(name for name in fresh.data_vars if name.startswith(("exact", "worst")))):
        assert_array_equal(held[name].values, fresh[name].values, err_msg=name)


def hold_toys_to_exact_values(*cubes):
    """Return the smallest exact two-sided p times the number of distinct comparisons, and a sentence.

    By chance the product is below 1e-3 once in 1000. Methods with the same limits on the same toys are one comparison.
    """
    smallest, chosen_in_all, cells_in_all, beyond, expected = 1.0, 0, 0, 0, 0.0
    for cube in cubes:
        x, n, p = (cube[name].values.ravel() for name in ("n_covered", "n_toys", "exact_coverage"))
        cells = np.broadcast_arrays(*np.ix_(*(np.arange(size) for size in cube["n_toys"].shape)))
        digests = cube["limit_digest"].values.sum(axis=-1)
        keys = zip(*(each.ravel().tolist() for each in (*cells[1:], digests)), strict=True)
        chosen = np.array(sorted({key: index for index, key in enumerate(keys)}.values()))
        sigma = np.sqrt(n * p * (1 - p))
        deviates = np.abs(x - n * p)[chosen] / np.maximum(sigma[chosen], 1e-300)
        doubtful = chosen[(deviates > 2.5) | (sigma[chosen] < 30)]
        found = (stats.binomtest(int(x[i]), int(n[i]), min(float(p[i]), 1.0)).pvalue for i in doubtful)
        smallest = min(smallest, *found)
        normal = sigma[chosen] >= 30
        chosen_in_all, cells_in_all = chosen_in_all + len(chosen), cells_in_all + len(x)
        beyond, expected = beyond + int((deviates[normal] > 3).sum()), expected + 2 * stats.norm.sf(3) * normal.sum()
    product = smallest * chosen_in_all
    return product, (
        f"{chosen_in_all} distinct of {cells_in_all}: {beyond} beyond 3 sigma, {expected:.1f} expected; "
        f"p x m = {product:.3g}"
    )


def check_numbers(n, mu):
    """Hold numbers of events to a Poisson distribution: the smallest exact p times their number."""
    counts = np.arange(n.max() + 1)
    chances = stats.poisson.pmf(counts, mu)
    kept = chances * len(n) > 0.1
    p = [
        stats.binomtest(int((n == count).sum()), len(n), chance).pvalue
        for count, chance in zip(counts[kept], chances[kept], strict=True)
    ]
    assert min(p) * len(p) > 1e-3
