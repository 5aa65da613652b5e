"""Confirmation of hypotheses on fresh toys."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import stats

from covsvc.kernels.binomial import chance_of_at_least, chance_of_at_most, lower_end, upper_end
from covsvc.verdict.hypotheses import Evidence, Hypothesis
from covsvc.verdict.promises import ALPHA, MARGIN

REJECTED, CLEARED, UNDECIDED = "rejected", "cleared", "undecided"

MOST_TIMES = 100
"""Fresh toys of a cell over those that made it suspicious, at most."""

_POWER, _SURE = 0.8, 0.99
"""With these probabilities a number of toys is to decide: one that is told, and one that is drawn."""


@dataclass(frozen=True)
class Confirmation:
    """What fresh toys decide about a hypothesis.

    Attributes
    ----------
    outcome : str
        ``"rejected"``: it is not so; ``"cleared"``: nothing is off by the margin; ``"undecided"``.
    p : float, or None
        Chance of what was seen or more, if it is so; None without toys.
    change, low, high : float, or None
        By how much the share of toys differs from the reference, and the ends of its interval.
    toys : int, or None
        Fresh toys that would decide, if nothing is off; None if no number would, or it is decided.
    """

    hypothesis: Hypothesis
    evidence: Evidence | None
    outcome: str
    p: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    toys: int | None = None


@dataclass(frozen=True)
class _Looked:
    """A hypothesis with what fresh toys say.

    Attributes
    ----------
    change, low, high : float
        Of the share, and the ends of its interval.
    variance, room, tail : float
        Of one toy, what there is between the reference and what is too much, and the probability beyond an end.
    """

    hypothesis: Hypothesis
    evidence: Evidence
    p: float
    change: float
    low: float
    high: float
    variance: float
    room: float
    tail: float


def confirm(
    selected: Sequence[Hypothesis],
    evidence: Mapping[Hypothesis, Evidence],
    *,
    tests: int,
    error: float = ALPHA,
    margin: float = MARGIN,
    paired: bool,
) -> tuple[Confirmation, ...]:
    """Decide hypotheses by fresh toys, which had no part in their selection.

    Holm's procedure at level `error`, so that with a probability of at most `error` any is rejected which is true,
    however their toys depend on each other. One-sided, in the direction that the stored toys have shown: of a promise
    by the binomial distribution; of limits that the code of the baseline has set on the same fresh toys, by those that
    changed.

    Where that code cannot be run, the baseline is known by its stored toys only, and these took part in the selection.
    Half of `error` is then spent on their intervals, at the tail `error` / (2 `tests`) each, and the new share is held
    against the nearer end.

    What is not rejected is cleared if its interval, at level / (number selected), leaves no room for `margin`.

    Parameters
    ----------
    selected : sequence of Hypothesis
        From `screen`.
    evidence : mapping of Hypothesis to Evidence
        What has none is undecided.
    tests : int
        All hypotheses that there were, selected or not.
    error : float
    margin : float
    paired : bool
        Whether the code of the baseline sets limits on the fresh toys wherever there is a baseline.

    References
    ----------
    .. [1] S. Holm, Scand. J. Stat. 6 (1979) 65.
    .. [2] C. J. Clopper and E. S. Pearson, Biometrika 26 (1934) 404.
    .. [3] W. Hoeffding, Ann. Math. Stat. 27 (1956) 713: sums over cells with different probabilities are no wider.
    """
    if not selected:
        return ()
    level = error if paired else 0.5 * error
    tail = level / len(selected)
    looked = {
        each: _look(each, evidence[each], tail, 0.5 * error / tests, margin, paired)
        for each in selected
        if each in evidence and evidence[each].n > 0
    }
    rejected = set[Hypothesis]()
    for rank, each in enumerate(sorted(looked.values(), key=lambda each: each.p)):
        # those without evidence count: their number was fixed before
        if each.p > level / (len(selected) - rank):
            break
        rejected.add(each.hypothesis)
    return tuple(
        _decided(looked[each], each in rejected, margin) if each in looked else Confirmation(each, None, UNDECIDED)
        for each in selected
    )


def _look(
    hypothesis: Hypothesis, evidence: Evidence, tail: float, old_tail: float, margin: float, paired: bool
) -> _Looked:
    if not hypothesis.is_about_baseline:
        return _against(hypothesis, evidence, tail, hypothesis.reference, hypothesis.reference, margin)
    if evidence.gained is not None and evidence.lost is not None:
        return _by_pairs(hypothesis, evidence, tail, margin)
    if paired:
        raise ValueError(f"{hypothesis}: its toys are not paired; give paired=False")
    x_old, n_old = hypothesis.x_old or 0, hypothesis.n_old or 0
    low, high = float(lower_end(x_old, n_old, old_tail)), float(upper_end(x_old, n_old, old_tail))
    return _against(hypothesis, evidence, tail, low, high, margin)


def _against(
    hypothesis: Hypothesis, evidence: Evidence, tail: float, low: float, high: float, margin: float
) -> _Looked:
    """Hold a share against a reference that is known to lie between `low` and `high`."""
    n, x = evidence.n, evidence.x
    ends = float(lower_end(x, n, tail)), float(upper_end(x, n, tail))
    falls, share = hypothesis.direction == "fell", hypothesis.reference
    p = float(chance_of_at_most(x, n, low) if falls else chance_of_at_least(x, n, high))
    room = margin - (high - share if falls else share - low)
    changes = x / n - share, ends[0] - high, ends[1] - low
    return _Looked(hypothesis, evidence, p, *changes, share * (1.0 - share), room, tail)


def _by_pairs(hypothesis: Hypothesis, evidence: Evidence, tail: float, margin: float) -> _Looked:
    n, gained, lost = evidence.n, evidence.gained or 0, evidence.lost or 0
    falls, changed = hypothesis.direction == "fell", gained + lost
    p = float(chance_of_at_least(lost if falls else gained, changed, 0.5))
    # how many toys change, and how many of these gain: each end is one of the share that changes, or of the other
    shares = [float(end(changed, n, 0.5 * tail)) for end in (lower_end, upper_end)]
    gains = [
        float(end(gained, changed, 0.5 * tail)) if changed else each
        for end, each in ((lower_end, 0.0), (upper_end, 1.0))
    ]
    low, high = (
        bound(share * (2.0 * gain - 1.0) for share in shares) for bound, gain in ((min, gains[0]), (max, gains[1]))
    )
    change = (gained - lost) / n
    return _Looked(hypothesis, evidence, p, change, low, high, changed / n, margin, 0.5 * tail)


def _decided(looked: _Looked, is_rejected: bool, margin: float) -> Confirmation:
    falls = looked.hypothesis.direction == "fell"
    is_clear = looked.low > -margin if falls else looked.high < margin
    outcome = REJECTED if is_rejected else CLEARED if is_clear else UNDECIDED
    toys = None
    if outcome == UNDECIDED and looked.room > 0.0:
        toys = toys_to_decide(looked.variance, looked.room, looked.tail)
    told = looked.p, looked.change, looked.low, looked.high
    return Confirmation(looked.hypothesis, looked.evidence, outcome, *told, toys)


def toys_to_draw(hypothesis: Hypothesis, selected: int, *, error: float = ALPHA, margin: float = MARGIN) -> int:
    """Return how many fresh toys to draw in each cell of a hypothesis: as many as decide it, within bounds.

    Parameters
    ----------
    hypothesis : Hypothesis
    selected : int
        Hypotheses that are looked at again.
    error, margin : float
        Those of the confirmation.
    """
    if hypothesis.b is None:
        return hypothesis.fresh_toys
    share = hypothesis.reference
    # of pairs the largest that there can be: all toys change that can
    variance = 2.0 * min(share, 1.0 - share) if hypothesis.is_about_baseline else share * (1.0 - share)
    needed = toys_to_decide(variance, margin, error / selected, _SURE)
    return max(hypothesis.fresh_toys, min(needed, MOST_TIMES * hypothesis.n))


def toys_to_decide(variance: float, room: float, tail: float, power: float = _POWER) -> int:
    """Return how many toys show that a share is not off by `room`, with a probability, if it is not off at all.

    Parameters
    ----------
    variance : float
        Of what is counted on one toy.
    room : float
    tail : float
        The level of the test.
    power : float
        That probability.
    """
    z = float(stats.norm.isf(tail) + stats.norm.ppf(power))
    return math.ceil(z * z * variance / (room * room))
