"""The significance of a signal, by each of its definitions.

All are in standard deviations of a Gaussian: background alone exceeds a significance z with probability 1 - Phi(z), if
the definition holds what it says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from covsvc.contracts import (
    LARGEST_SCALE,
    MOST_EVENTS,
    MOST_OFF,
    SMALLEST_SCALE,
    Counts,
    FloatArray,
    IntArray,
    OnOff,
    Sideband,
    UncertainCounts,
)
from covsvc.errors import ObservationError
from covsvc.kernels.significance import chance_beyond, excess, root_of_deviance

KNOWN = "known background (Eq. 21)"
SIDEBAND = "sideband taken as known (Eq. 21, 23)"
INDEPENDENT = "independent sample (Eq. 28)"
WHOLE = "whole region (Eq. 29)"
LIKELIHOOD = "likelihood (Eq. 27)"

_RATIOS = 1.0 / LARGEST_SCALE, 1.0 / SMALLEST_SCALE


def of_known_background(n: ArrayLike, b: ArrayLike) -> FloatArray:
    """Return the significance of n events over a known background b: P(N >= n; b) = 1 - Phi(z).

    Parameters
    ----------
    n : array_like of int
        Observed events.
    b : array_like of float
        Expected background events.

    Returns
    -------
    ndarray of float
        Standard deviations, shape of n and b broadcast; -inf for n = 0, +inf for events where none are expected.

    Raises
    ------
    ObservationError
        If a count is negative or no whole number, b is negative or no number, or one is too large.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 21.

    Examples
    --------
    >>> float(of_known_background(3, 1.0).round(1))
    1.4
    """
    events, estimate = _together(n=_counts("n", n), b=_means("b", b))
    return _excess(events, estimate)


def of_independent_sample(n: ArrayLike, n_ind: ArrayLike, zeta_ind: ArrayLike) -> FloatArray:
    """Return the significance of n events over the background zeta_ind n_ind that other data gave.

    Parameters
    ----------
    n, n_ind : array_like of int
        Observed events in the signal region, and in the independent sample.
    zeta_ind : array_like of float
        Expected background of the signal region over that of the independent sample.

    Returns
    -------
    ndarray of float
        Standard deviations, shape of the arguments broadcast.

    Raises
    ------
    ObservationError
        If a count is negative, no whole number or too large, or the scale is out of range.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 22 and 28.

    Examples
    --------
    >>> of_independent_sample([0, 3], 10, 0.1).round(1)
    array([-inf,  1.4])
    """
    return _over_scaled(n, "n_ind", n_ind, "zeta_ind", zeta_ind)


def of_sideband(n: ArrayLike, n_sb: ArrayLike, zeta_sb: ArrayLike) -> FloatArray:
    """Return the significance of n events over zeta_sb n_sb, as if that were known.

    It overstates the significance of an excess, the more the smaller the sideband: n_sb fluctuates too. How much so
    is what `under_the_null` tells; `of_whole_region` asks the right question.

    Parameters
    ----------
    n, n_sb : array_like of int
        Observed events in the signal region and in the sideband.
    zeta_sb : array_like of float
        Expected background of the signal region over that of the sideband.

    Returns
    -------
    ndarray of float
        Standard deviations, shape of the arguments broadcast; +inf for any event beside an empty sideband.

    Raises
    ------
    ObservationError
        If a count is negative, no whole number or too large, or the scale is out of range.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 21 and 23.

    Examples
    --------
    >>> of_sideband(1, 0, 1.0)
    array(inf)
    """
    return _over_scaled(n, "n_sb", n_sb, "zeta_sb", zeta_sb)


def of_whole_region(n: ArrayLike, n_out: ArrayLike, zeta: ArrayLike) -> FloatArray:
    """Return the significance of n events over zeta (n + n_out): without a signal all events are background.

    Parameters
    ----------
    n, n_out : array_like of int
        Observed events in the signal region, and in all the rest.
    zeta : array_like of float
        Expected background of the signal region over that of the whole, below 1.

    Returns
    -------
    ndarray of float
        Standard deviations, shape of the arguments broadcast.

    Raises
    ------
    ObservationError
        If a count is negative, no whole number or too large, or the scale is out of range.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 25 and 29.

    Examples
    --------
    >>> float(of_whole_region(1, 0, 0.5).round(2))
    0.27
    """
    scale = _scales("zeta", zeta, 0.5 / LARGEST_SCALE, 1.0)
    if np.any(scale == 1.0):
        raise ObservationError("zeta = 1: nothing is left outside of the signal region; zeta lies below 1")
    events, others, scale = _together(n=_counts("n", n), n_out=_counts("n_out", n_out, MOST_OFF), zeta=scale)
    return _excess(events, scale * (events + others))


def of_likelihood(observed: Counts | OnOff) -> FloatArray:
    """Return sqrt(-2 ln L(0)/Lmax), the background profiled where it is not known.

    It is 0 where the best signal is not above 0: a deficit has no significance here, while the other definitions
    give it a negative one.

    Parameters
    ----------
    observed : Counts or OnOff
        Counts.

    Returns
    -------
    ndarray of float, shape (toy,)
        Standard deviations, >= 0, as far as the likelihood ratio is distributed as it is for many events.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 27.
    .. [2] T.-P. Li and Y.-Q. Ma, Astrophys. J. 272 (1983) 317, Eq. 17.

    Examples
    --------
    >>> of_likelihood(Counts([3, 0], 1.0)).round(2)
    array([1.61, 0.  ])
    """
    if isinstance(observed, Counts):
        b = np.broadcast_to(np.asarray(observed.b, np.float64), observed.n.shape)
        return np.asarray(root_of_deviance(observed.n, b, np.zeros_like(observed.n), np.zeros(b.shape)))
    b = (observed.n_on + observed.n_off) / (1.0 + observed.tau)
    return np.asarray(root_of_deviance(observed.n_on, b, observed.n_off, observed.tau * b))


def of(observed: Counts | UncertainCounts | OnOff | Sideband) -> dict[str, FloatArray]:
    """Return the significance by every definition that the observation allows, by name.

    Parameters
    ----------
    observed : Counts, UncertainCounts, OnOff or Sideband
        Observed events. Of an uncertain background b is taken as known.

    Returns
    -------
    dict of str to ndarray of float, shape (toy,)
        Standard deviations. Whether counts off source are a sideband or an independent sample is not known from them:
        they are taken as either.

    Examples
    --------
    >>> for name, z in of(OnOff([5], [3], tau=1.0)).items():
    ...     print(f"{name}: {z[0]:.2f}")
    sideband taken as known (Eq. 21, 23): 0.90
    independent sample (Eq. 28): 0.90
    whole region (Eq. 29): 0.33
    likelihood (Eq. 27): 0.71
    """
    if isinstance(observed, Counts):
        return {KNOWN: of_known_background(observed.n, observed.b), LIKELIHOOD: of_likelihood(observed)}
    if isinstance(observed, UncertainCounts):
        return {KNOWN: of_known_background(observed.n, observed.b)}
    if not isinstance(observed, Sideband | OnOff):
        raise ObservationError(f"{observed!r}: give Counts, UncertainCounts, OnOff or Sideband")
    if isinstance(observed, Sideband):
        return {
            SIDEBAND: of_sideband(observed.n, observed.n_sb, observed.zeta_sb),
            WHOLE: of_whole_region(observed.n, observed.n_out, observed.zeta),
        }
    ratio = 1.0 / observed.tau
    return {
        SIDEBAND: of_sideband(observed.n_on, observed.n_off, ratio),
        INDEPENDENT: of_independent_sample(observed.n_on, observed.n_off, ratio),
        WHOLE: of_whole_region(observed.n_on, observed.n_off, 1.0 / (1.0 + observed.tau)),
        LIKELIHOOD: of_likelihood(observed),
    }


@dataclass(frozen=True)
class UnderTheNull:
    """How often background alone passes for a signal, by two definitions of significance.

    Attributes
    ----------
    thresholds : ndarray of float, shape (threshold,)
        Standard deviations.
    b : ndarray of float, shape (b,)
        Expected background events of the signal region.
    tau : float
        Expected background of the sideband over that of the signal region.
    nominal : ndarray of float, shape (threshold,)
        1 - Phi(threshold), what a threshold promises.
    sideband : ndarray of float, shape (threshold, b)
        Probability that `of_sideband` exceeds the threshold.
    whole_region : ndarray of float, shape (threshold, b)
        Probability that `of_whole_region` does.
    """

    thresholds: FloatArray
    b: FloatArray
    tau: float
    nominal: FloatArray
    sideband: FloatArray
    whole_region: FloatArray


def under_the_null(b: ArrayLike, tau: float, thresholds: ArrayLike = (1.0, 2.0, 3.0)) -> UnderTheNull:
    """Return the exact probability that background alone exceeds each threshold.

    n ~ Pois(b) events in the signal region, n_sb ~ Pois(tau b) in a sideband that is all the rest.

    Parameters
    ----------
    b : array_like of float, shape (b,)
        Expected background events of the signal region.
    tau : float
        Expected background of the sideband over that of the signal region.
    thresholds : array_like of float, shape (threshold,)
        Standard deviations, >= 0.

    Raises
    ------
    ObservationError
        If b is negative or no number, tau is out of range, or a threshold is negative.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Section 3.1.

    Examples
    --------
    >>> null = under_the_null(2.0, tau=1.0, thresholds=[3.0])
    >>> print(f"promised {null.nominal[0]:.4f}, sideband {null.sideband[0, 0]:.4f}, {null.whole_region[0, 0]:.6f}")
    promised 0.0013, sideband 0.1218, 0.000000
    """
    means = np.atleast_1d(_means("b", b))
    z = np.atleast_1d(np.array(thresholds, np.float64))
    ratio = _scales("tau", tau, SMALLEST_SCALE, LARGEST_SCALE)
    if means.ndim > 1 or z.ndim > 1 or ratio.ndim:
        raise ObservationError(
            f"b has {means.ndim}, thresholds {z.ndim} and tau {ratio.ndim} dimensions: give a row of b, one of "
            "thresholds, and one tau"
        )
    if not np.all(z >= 0.0):
        raise ObservationError(f"threshold = {z[~(z >= 0.0)][0]:g}: a significance that tells of a signal is >= 0")
    nominal, scale = special.ndtr(-z), float(ratio)
    chances = np.empty((2, z.size, means.size))
    for i, mean in enumerate(means.tolist()):
        chances[0, :, i] = chance_beyond(mean, scale, 1.0 / scale, False, nominal)
        chances[1, :, i] = chance_beyond(mean, scale, 1.0 / (1.0 + scale), True, nominal)
    return UnderTheNull(z, means, scale, nominal, sideband=chances[0], whole_region=chances[1])


def _over_scaled(n: ArrayLike, name: str, others: ArrayLike, scale_name: str, scale: ArrayLike) -> FloatArray:
    """Return the significance of n events over others that are scaled to the signal region."""
    scales = _scales(scale_name, scale, *_RATIOS)
    given = {"n": _counts("n", n), name: _counts(name, others, MOST_OFF), scale_name: scales}
    events, counted, factor = _together(**given)
    return _excess(events, factor * counted)


def _excess(n: NDArray[Any], mu: NDArray[Any]) -> FloatArray:
    return excess(n.flatten(), mu.flatten()).reshape(n.shape)


def _together(**values: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    try:
        return np.broadcast_arrays(*values.values())
    except ValueError:
        shapes = ", ".join(f"{name} has shape {value.shape}" for name, value in values.items())
        raise ObservationError(f"{shapes}: give shapes that broadcast, one value for all or one for each") from None


def _counts(name: str, given: ArrayLike, most: int = MOST_EVENTS) -> IntArray:
    counts = np.asarray(given)
    if counts.dtype.kind not in "iuf":
        raise ObservationError(f"{name} = {given!r}: a count of events is a whole number >= 0")
    wrong = counts[~((counts >= 0) & (counts <= most) & (counts == np.floor(counts)))]
    if wrong.size:
        raise ObservationError(f"{name} = {wrong[0]:g}: a count of events is a whole number >= 0, at most {most:,}")
    return counts.astype(np.int64)


def _means(name: str, given: ArrayLike) -> FloatArray:
    means = _numbers(name, given, "an expected background is a number of events >= 0")
    wrong = means[~((means >= 0) & (means <= MOST_EVENTS))]
    if wrong.size:
        raise ObservationError(
            f"{name} = {wrong[0]:g}: an expected background is a number of events >= 0, at most {MOST_EVENTS:,}"
        )
    return means


def _scales(name: str, given: ArrayLike, smallest: float, largest: float) -> FloatArray:
    cure = f"a ratio of expected backgrounds in [{smallest:g}, {largest:g}]"
    scales = _numbers(name, given, cure)
    wrong = scales[~((scales >= smallest) & (scales <= largest))]
    if wrong.size:
        raise ObservationError(f"{name} = {wrong[0]:g}: {cure}")
    return scales


def _numbers(name: str, given: ArrayLike, cure: str) -> NDArray[np.float64]:
    numbers = np.asarray(given)
    if numbers.dtype.kind not in "iuf":
        raise ObservationError(f"{name} = {given!r}: {cure}")
    return numbers.astype(np.float64)
