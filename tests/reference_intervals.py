"""Limits from intervals between events by their definition: every interval, every expectation where one crosses.

Paper: Yellin, Phys. Rev. D 66 (2002) 032005. Nothing of covsvc is used.
"""

import numpy as np
from scipy import special


def largest(u, k):
    """Return the largest part of the range in an interval with k or fewer events inside, end points included."""
    ends = [0.0, *u, 1.0]
    pairs = [(i, j) for i in range(len(ends)) for j in range(i + 1, len(ends)) if j - i - 1 <= k]
    return max(ends[j] - ends[i] for i, j in pairs)


def limit(mu, g, u, *, first=0, b=0.0, v=None, last=True):
    """Return the largest allowed signal, or the smallest excluded one, where b of mu = s + b is known background.

    Whether mu is excluded changes only where a node is or where one interval holds just mu g_k(mu): between two such
    neighbours the point halfway tells. Points that are no such places do no harm.
    """
    v = u if v is None else v
    points = _changes(mu, g, u, first, b, v)
    points = points[(points >= max(mu[0], b)) & (points <= mu[-1])]
    points = np.unique(np.concatenate([points, [max(mu[0], b)]]))
    if not points[0] <= mu[-1]:
        return np.inf
    halves = 0.5 * (points[1:] + points[:-1])
    between = _excluded(halves, mu, g, u, first, b, v)
    # a point that is no node but a crossing is excluded or not by rounding: it is counted with its neighbours
    sharp = np.isin(points, mu) | (points == b)
    at = _excluded(points, mu, g, u, first, b, v)
    if last:
        if not at[-1]:
            return np.inf
        allowed = [*points[1:][~between], *points[sharp & ~at]]
        if allowed:
            return max(allowed) - b
        return mu[0] - b if b < mu[0] else -1.0
    if at[0] and b >= mu[0]:
        return -1.0
    excluded = [*points[:-1][between], *points[sharp & at]]
    return min(excluded) - b if excluded else np.inf


def _intervals(u, first, columns):
    """Yield the column, and the two edges, of every interval that a column looks at."""
    edges = len(u) + 2
    for i in range(edges):
        for j in range(i + 1, edges):
            for column in range(max(j - i - 1 - first, 0), columns):
                yield column, i, j


def _excluded(points, mu, g, u, first, b, v):
    ends, others = np.array([0.0, *u, 1.0]), np.array([0.0, *v, 1.0])
    # the part of mu times mu, expected events, is linear between nodes
    boundary = [np.interp(points, mu, mu * column) / points for column in g.T]
    found = np.zeros(points.shape, bool)
    for column, i, j in _intervals(u, first, g.shape[1]):
        part = (ends[j] - ends[i]) + (b / points) * ((others[j] - others[i]) - (ends[j] - ends[i]))
        found |= part > boundary[column]
    return found


def _changes(mu, g, u, first, b, v):
    ends, others = np.array([0.0, *u, 1.0]), np.array([0.0, *v, 1.0])
    found = [mu]
    for column, i, j in _intervals(u, first, g.shape[1]):
        du, dv = ends[j] - ends[i], others[j] - others[i]
        # left + slope (mu - low) = mu du + b (dv - du), where left = low g
        slope = np.diff(mu * g[:, column]) / np.diff(mu)
        with np.errstate(divide="ignore", invalid="ignore"):
            at = (b * (dv - du) - mu[:-1] * (g[:-1, column] - slope)) / (slope - du)
        found.append(at[(at >= mu[:-1]) & (at <= mu[1:])])
    return np.concatenate(found)


def poisson_like(cl, columns, largest_mu=120.0, step=0.01):
    """Return nodes mu and g of the shape that tables have: P(Poisson(mu g_k) <= k) = a small probability.

    No column excludes below the mu at which its k events are a fluctuation of probability 1 - cl.
    """
    mu = -np.log(1 - cl) * np.exp(np.arange(0, np.log(largest_mu / -np.log(1 - cl)) + step, step))
    k = np.arange(columns)
    x = special.gammaincinv(k + 1, 1 - (1 - cl) / 6)
    g = np.minimum(x / mu[:, None], 1.0)
    return mu, g
