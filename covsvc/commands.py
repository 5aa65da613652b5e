"""Commands of covsvc, to be copied."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import yaml

from covsvc import registry
from covsvc.contracts import Counts, Events, FloatArray, LimitMethod, ModelledEvents, OnOff, Sideband, UncertainCounts
from covsvc.data_file import observation_of
from covsvc.errors import CovsvcError
from covsvc.study import Column, MethodSpec

MOST_TOLD = 50
"""Events that a command holds at most."""

_NUMBERS: Mapping[type, tuple[str, ...]] = {
    Counts: ("n", "b"),
    UncertainCounts: ("n", "b", "b_error"),
    OnOff: ("n_on", "n_off", "tau"),
    Sideband: ("n", "n_out", "n_sb", "zeta", "zeta_sb"),
}
"""What `covsvc limit` asks of the observations that are numbers."""


def replay_command(
    study: str, s_true: float, b: float, *, limit_method: str, cl: float, store: str = "", at: str = ""
) -> str:
    """Return the command that shows toys which a column missed in a cell, for a shell."""
    words = ["covsvc", "replay", study, "--s-true", f"{s_true:.12g}", "--b", f"{b:.12g}"]
    words += ["--limit-method", limit_method, "--cl", f"{cl:.12g}", "--missed"]
    return shlex.join([*words, *(["--store", store] if store else []), *(["--at", at] if at else [])])


def limit_commands(views: Sequence[Any], columns: Iterable[Column], reads: Iterable[int]) -> list[str]:
    """Return the commands that set the limits of columns on the data of one toy by themselves, for a shell.

    Columns whose data or options a command cannot tell are left out.

    Parameters
    ----------
    views : sequence
        Observations of one toy.
    columns : iterable of Column
    reads : iterable of int
        Which view each column reads.
    """
    found: dict[tuple[str, ...], tuple[dict[str, None], dict[str, None]]] = {}
    for column, view in zip(columns, reads, strict=True):
        told = _limit_on(views[view], column.spec)
        if told is not None:
            data, method = told
            methods, levels = found.setdefault(data, ({}, {}))
            methods[method] = None
            levels[f"{column.cl:.12g}"] = None
    commands = []
    for data, (methods, levels) in found.items():
        asked = [("-m", each) for each in methods] + [("--cl", cl) for cl in levels]
        words = ["covsvc", "limit", *data[1:], *itertools.chain.from_iterable(asked)]
        commands.append(data[0] + shlex.join(words))
    return commands


def _limit_on(view: Any, spec: MethodSpec) -> tuple[tuple[str, ...], str] | None:
    """Return what a command does before, its data, and the method as it is named there; None if it cannot."""
    method = spec.build()
    if type(view) in (Events, ModelledEvents):
        data, named = _events(view, method), _named(spec, "")
    else:
        data, named = _numbers(view), _named(spec, _view_there(view, spec))
    return None if data is None or named is None else (data, named)


def _numbers(view: Any) -> tuple[str, ...] | None:
    names = _NUMBERS.get(type(view))
    given = {name: float(np.asarray(getattr(view, name)).flat[0]) for name in names or ()}
    if given.get("b_error") == 0:
        del given["b_error"]
    try:
        seen = observation_of(given, getattr(view, "shape", "gamma")) if given else None
    except CovsvcError:
        return None
    if seen is None:
        return None
    there = registry.experiment(seen.experiment, seen.options).observe(dict(seen.data))
    same = next(each for each in there if type(each) is type(view))
    if not all(np.allclose(getattr(same, name), value, rtol=1e-12, atol=0) for name, value in given.items()):
        return None
    words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", _number(value))]
    return "", *words, *(["--shape", view.shape] if "b_error" in given and view.shape != "gamma" else [])


def _view_there(view: Any, spec: MethodSpec) -> str | None:
    """Return which view `covsvc limit` has to be told that the method reads; nothing where it reads that anyhow."""
    experiment = registry.experiment("on_off" if type(view) in (OnOff, Sideband) else "counting", {})
    gives = type(view).__name__
    for name in ("", gives):
        try:
            told = MethodSpec(name=spec.name, options=spec.options, view=name)
            if experiment.gives[told.view_of(experiment)].__name__ == gives:
                return name
        except (CovsvcError, ValueError):
            continue
    return None


def _events(view: Any, method: LimitMethod) -> tuple[str, ...] | None:
    """Return what writes a file of events, and its name with what else is told of them."""
    if int(view.n[0]) > MOST_TOLD:
        return None
    if isinstance(view, Events):
        if view.b:
            return None
        rows = ["u", *map(_number, view.u.tolist())]
        return _file(rows), "--events", "toy.csv", "--spectrum", "uniform:low=0,high=1,events=1"
    if type(view) in (*getattr(method, "calibrates", ()), *getattr(method, "draws", ())):
        return None  # the densities elsewhere are not told by those at the events
    rows = ["signal_density,background_density", *map(_densities, view.density_ratio.tolist())]
    known = {} if view.b is None else {"b": _one(view.b), "b-error": _one(view.b_error)}
    words = [word for name, value in known.items() if value or name == "b" for word in (f"--{name}", _number(value))]
    words += ["--shape", view.shape] if known.get("b-error") and view.shape != "gamma" else []
    return _file(rows), "--events", "toy.csv", *words


def _file(rows: Sequence[str]) -> str:
    return f"printf '%s\\n' {' '.join(rows)} > toy.csv && "


def _densities(ratio: float) -> str:
    return f"{_number(ratio)},1" if np.isfinite(ratio) else "1,0"


def _one(value: float | FloatArray) -> float:
    return float(np.asarray(value).flat[0])


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else repr(value)


def _named(spec: MethodSpec, view: str | None) -> str | None:
    """Return a method with its options as `covsvc limit -m` takes it; None where it cannot be told so."""
    if view is None or any(isinstance(value, Mapping) for value in spec.options.values()):
        return None
    options = [f"{name}={_option(value)}" for name, value in spec.options.items()]
    return ",".join([spec.name, *options, *([f"view={view}"] if view else [])])


def _option(value: Any) -> str:
    plain = isinstance(value, str) and value.isidentifier() and yaml.safe_load(value) == value
    return str(value) if plain else json.dumps(value)
