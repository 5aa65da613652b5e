"""Upper limit from an unbinned likelihood of events, integrated over the background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from covsvc.contracts import FloatArray, IntArray, Limits, ModelledEvents, Status, one_sided
from covsvc.kernels.symmetric import KNOWN, MOST_PRODUCTS, integrated_upper, knowledge_of


@dataclass(frozen=True)
class LikelihoodIntegration:
    """Return the signal below which the integrated likelihood holds cl of its integral over s >= 0.

    The likelihood exp(-s - b) prod(s r_i + b) is averaged over what is known of b: nothing, a distribution that is flat
    in b >= 0; b itself; or its gamma distribution or Gaussian cut off below 0. No integral is left: the posterior of s
    is a mixture of gamma distributions.

    Notes
    -----
    Does not cover everywhere: a Bayesian limit, its prior flat in s. Without an event where there can be signal it is
    -ln(1 - cl), whatever is known of b. There is none where an event lies at no signal and b is known to be 0.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 15-17 and 19.
    """

    reads: ClassVar = (ModelledEvents,)
    sided: ClassVar = "upper"
    promises: ClassVar = "nothing"

    def limits(self, observed: ModelledEvents, cl: float) -> Limits:
        """Return the limits of each toy, expected signal events of the whole range."""
        return one_sided(integrated_upper(observed.starts, observed.density_ratio, *_told(observed), cl))

    def explain(self, observed: ModelledEvents, cl: float) -> list[str]:
        """Return why each toy has no limit, in words, empty where it has one."""
        status = self.limits(observed, cl).status.tolist()
        starts = observed.starts.tolist()
        b, _, knowledge = _told(observed)
        return [
            _reason(observed.density_ratio[starts[i] : starts[i + 1]], bool(knowledge[i] == KNOWN and b[i] == 0))
            if status[i] == Status.FAILED
            else ""
            for i in range(len(status))
        ]


def _told(observed: ModelledEvents) -> tuple[FloatArray, FloatArray, IntArray]:
    return knowledge_of(len(observed), observed.b, observed.b_error, observed.shape)


def _reason(ratio: FloatArray, nowhere: bool) -> str:
    if nowhere and (ratio == 0).any():
        return (
            "an event lies where there is no signal, and the background is known to be 0: no s explains it; "
            "give b > 0, or none"
        )
    return (
        f"{len(ratio):,} events, too many of which may be signal: the sum over how many takes more than "
        f"{MOST_PRODUCTS:,} products; put them into bins"
    )
