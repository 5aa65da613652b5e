"""Binned likelihoods by their definition, slowly, and nothing of covsvc's numerics.

Models are read as `BinnedModel` says: samples, effects, constraints. Interpolation: K. Cranmer et al., HistFactory,
CERN-OPEN-2012-016, Section 4.1 (codes 0, 1 and 4), and the polynomial between lines that pyhf calls code 4p.
"""

import math

import numpy as np
from iminuit import Minuit
from scipy.special import xlogy


def polynomial(values, slopes, curvatures):
    """Return the coefficients of alpha ... alpha^6 with these values, slopes and curvatures at -1 and at 1."""
    powers = range(1, 7)
    rows = [[x**j for j in powers] for x in (-1.0, 1.0)]
    rows += [[j * x ** (j - 1) for j in powers] for x in (-1.0, 1.0)]
    rows += [[j * (j - 1) * x ** (j - 2) for j in powers] for x in (-1.0, 1.0)]
    return np.linalg.solve(rows, [*values, *slopes, *curvatures])


def factor(alpha, down, up, smooth):
    if not smooth or abs(alpha) >= 1:
        return up**alpha if alpha >= 0 else down**-alpha
    low, high = math.log(down), math.log(up)
    c = polynomial([down - 1, up - 1], [-low * down, high * up], [low * low * down, high * high * up])
    return 1 + sum(each * alpha ** (j + 1) for j, each in enumerate(c))


def shape(alpha, down, nominal, up, smooth):
    if not smooth or abs(alpha) >= 1:
        return alpha * (up - nominal) if alpha >= 0 else alpha * (nominal - down)
    c = polynomial([-1, 1], [1, 1], [0, 0]), polynomial([1, 1], [-1, 1], [0, 0])
    odd, even = (sum(each * alpha ** (j + 1) for j, each in enumerate(rows)) for rows in c)
    return 0.5 * (up - down) * odd + 0.5 * (up + down - 2 * nominal) * even


def expected(model, mu, theta):
    """Return the yields of the bins, of (nominal + shapes) x factors x multipliers."""
    total = np.zeros(len(model.nominal[0]))
    for index, nominal in enumerate(np.array(model.nominal)):
        template, multiplier = nominal.copy(), np.ones(len(nominal))
        for effect in model.effects:
            if effect.sample != index:
                continue
            value = theta[effect.parameter]
            if hasattr(effect, "first"):
                multiplier[effect.first : effect.last] *= value
            elif effect.kind == "factor":
                multiplier *= factor(value, effect.down[0], effect.up[0], effect.smooth)
            else:
                template += shape(value, np.array(effect.down), nominal, np.array(effect.up), effect.smooth)
        total += (mu if model.signal[index] else 1.0) * template * multiplier
    return total


def twice_nll(model, n, aux, mu, theta):
    """Return -2 ln L without the factorials; +inf where a yield is negative, or 0 with events."""
    nu = expected(model, mu, theta)
    if (nu < 0).any() or (nu[np.asarray(n) > 0] == 0).any():
        return math.inf
    total = 2 * (nu - xlogy(n, nu)).sum()
    for parameter, measured, value in zip(model.parameters, aux, theta, strict=True):
        if parameter.constraint == "gaussian":
            total += ((measured - value) / parameter.width) ** 2
        elif parameter.constraint == "poisson":
            if value < 0 or (value == 0 and measured > 0):
                return math.inf
            total += 2 * (parameter.tau * value - xlogy(measured, parameter.tau * value))
    return total


def saturated(model, n, aux):
    """Return the -2 ln L of a model that fits all counts exactly."""
    total = 2 * (np.asarray(n) - xlogy(n, n)).sum()
    for parameter, measured in zip(model.parameters, aux, strict=True):
        if parameter.constraint == "poisson":
            total += 2 * (measured - xlogy(measured, measured))
    return total


def minuit(model, n, aux, mu=None, lowest=0.0, start=None):
    """Return mu and -2 ln L at the maximum that MIGRAD finds from a start, else from the nominal parameters."""
    multiplies = {effect.parameter for effect in model.effects if hasattr(effect, "first")}

    def function(x):
        return min(twice_nll(model, n, aux, x[-1], x[:-1]), 1e9)

    begin = [parameter.value for parameter in model.parameters] if start is None else start
    fit = Minuit(function, np.array([*begin, 1.0 if mu is None else mu]))
    fit.tol, fit.strategy = 1e-6, 2
    for index, parameter in enumerate(model.parameters):
        fit.limits[index] = (max(parameter.low, 0.0) if index in multiplies else parameter.low, parameter.high)
    fit.limits[len(aux)] = (lowest, None)
    fit.fixed[len(aux)] = mu is not None
    for _ in range(3):
        fit.migrad(ncall=5000)
    return fit.values[len(aux)], fit.fval
