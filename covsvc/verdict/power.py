"""What a validation can see."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import optimize, stats

from covsvc.kernels.binomial import lower_end
from covsvc.verdict.comparing import Comparison
from covsvc.verdict.hypotheses import FACTOR, FALSE_SHARE, MOST_CONFIRMED
from covsvc.verdict.promises import ALPHA

POWER = 0.8

_TYPICAL = 0.9
"""A coverage from which falls are told where no method promises any."""

DISCORDANCES = (0.005, 0.02, 0.05)
"""Shares of toys whose coverage changes at which the power of paired toys is told."""


def detectable(n: int, tests: int, cl: float, error: float = ALPHA) -> float | None:
    """Return the smallest deficit of a promised coverage in a cell that is confirmed with 80 % probability.

    Both stages at their worst: selected by the threshold for a single hypothesis of `tests`, confirmed as one of the
    most that there can be.

    Parameters
    ----------
    n : int
        Stored toys of the cell.
    tests : int
        All hypotheses.
    cl : float
    error : float
        Probability of a false alarm.

    Returns
    -------
    float, or None
        None if there are too few toys to show anything.
    """
    return _smallest(n, 1.0 - cl, lambda deficit: 1.0 - cl + deficit, cl, tests, error)


def detectable_fall(n: int, tests: int, discordance: float, error: float = ALPHA) -> float | None:
    """Return what `detectable` does, of a fall of coverage on paired toys, of which so large a share changes."""
    changed = round(n * discordance)
    return _smallest(changed, 0.5, lambda fall: 0.5 * (1.0 + fall / discordance), discordance, tests, error)


def detectable_unpaired(n: int, tests: int, share: float, error: float = ALPHA) -> float:
    """Return the smallest fall of a coverage in a cell that is confirmed likewise where the baseline has only its toys.

    Parameters
    ----------
    n : int
        Stored toys of the cell.
    tests : int
        All hypotheses.
    share : float
        The coverage of the baseline.
    error : float
        Probability of a false alarm.
    """
    low, size = float(lower_end(round(share * n), n, 0.5 * error / tests)), FACTOR * n
    most = int(stats.binom.ppf(0.5 * error / MOST_CONFIRMED, size, low)) - 1
    return share - (float(stats.beta.ppf(1.0 - POWER, most + 1, size - most)) if most >= 0 else 0.0)


def _smallest(
    n: int, chance: float, chance_if: Callable[[float], float], largest: float, tests: int, error: float
) -> float | None:
    """Return the smallest deficit by which too many of n toys, and of `FACTOR` times as many, are lost."""
    sizes, levels = np.array([n, FACTOR * n]), np.array([FALSE_SHARE / tests, error / MOST_CONFIRMED])
    too_many = stats.binom.isf(levels, sizes, chance) + 1.0

    def lacks(deficit: float) -> float:
        return POWER - float(np.prod(stats.binom.sf(too_many - 1.0, sizes, min(chance_if(deficit), 1.0))))

    return None if lacks(largest) > 0.0 else float(optimize.brentq(lacks, 0.0, largest, xtol=1e-9))


def power_sentence(comparisons: Sequence[Comparison], error: float = ALPHA, *, paired: bool = True) -> str:
    """Say which deficits of coverage would have been found; `paired` where the baseline's code took part."""
    tests, tested = sum(each.tests for each in comparisons), [each for each in comparisons if each.tests]
    if not tested:
        known = all(column.exact for each in comparisons for column in each.columns)
        return "Nothing had to be tested by toys" + ("; exact values show any difference." if known else ".")
    n = min(each.n_toys for each in tested)
    said = [f"{tests:,} hypotheses were tested on {n:,} or more toys each, and the suspicious ones on fresh toys."]
    levels = sorted({cl for each in tested for cl in each.levels})
    if levels:
        found = detectable(n, tests, cl=levels[0], error=error)
        said.append(
            f"Coverage below a promised {levels[0]:g} in a single cell is found with {100 * POWER:g} % probability "
            + (
                f"if it is too small by {found:.2g} or more."
                if found is not None
                else "in no case: there are too few toys."
            )
        )
    compared = any(each.is_compared for each in tested)
    if compared and not paired:
        share = levels[0] if levels else _TYPICAL
        fall = detectable_unpaired(n, tests, share, error)
        said.append(
            "The code of the baseline was not at hand, so that counts alone are compared with it: a fall of coverage "
            f"in a single cell, from {share:g}, is found likewise if it is {fall:.2g} or more."
        )
    elif compared:
        falls = {share: detectable_fall(n, tests, share, error) for share in DISCORDANCES}
        told = [f"{fall:.2g} ({100 * share:g} %)" for share, fall in falls.items() if fall is not None]
        if told:
            said.append(
                "A fall of coverage in a single cell, by how many of its toys change, is found likewise if it is "
                f"{', '.join(told)} or more."
            )
        changed = max((each.discordance for each in tested if each.discordance is not None), default=None)
        if changed is not None:
            said.append(f"It changed on {100 * changed:.3g} % of the toys at most, in any column.")
    said.append(f"The probability of failing where nothing is wrong is at most {100 * error:g} %.")
    return " ".join(said)
