"""Sameness of a driver and its workers: what they compute a study with, and the bits that come out."""

from __future__ import annotations

import platform
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from covsvc import registry
from covsvc.engine.refusals import BITS
from covsvc.engine.warm_up import run_kernels
from covsvc.errors import StudyError
from covsvc.fingerprint import LIBRARIES, code_of, environment, source_now, source_of, sources_of, versions
from covsvc.study import Study, study_of
from covsvc.version import __version__

_ENGINE = "covsvc.engine.work", "covsvc.tally"
_WITHOUT_STUDY = (*_ENGINE, "covsvc.engine.table_building")
"""Where the code begins that workers run; without a study they build interval tables."""

_FEW = 3
"""Modules that are named of those that differ."""

_NONE = "none"

Difference = tuple[str, str, str]
"""What differs, the worker's, and the driver's."""


def question_of(study: Study | None) -> dict[str, Any]:
    """Return what a driver asks its workers: whether they have the same, and which bits they compute.

    Plain values, which every version of covsvc can read.
    """
    plugins = _plugins_of(study)
    modules = {what: (registry.find(kind, name).__module__,) for what, (kind, name) in plugins.items()}
    roots = {"the engine": _ENGINE if study else _WITHOUT_STUDY, **modules}
    return {
        "token": uuid.uuid4().hex,
        "study": study and study.model_dump(mode="json"),
        "versions": _versions(),
        "machine": machine(),
        "plugins": {what: (kind, name, registry.origin(kind, name)) for what, (kind, name) in plugins.items()},
        "roots": roots,
        "codes": {what: code_of(*each) for what, each in roots.items()},
        "sources": sources_of(*(module for each in roots.values() for module in each)),
        "tables": _tables_of(study),
        "digest": "",
    }


def answer_to(question: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a worker answers: what it has that differs, its machine, and the bits that it computes.

    The kernels of the study are compiled then, or read from their cache, unless something differs.
    """
    differs = [*_compared(question["versions"], _versions()), *_other_plugins(question)]
    study, digest = None, ""
    if question["study"] and not differs:
        try:
            study = study_of(question["study"])
            differs += _compared(question["tables"], _tables_of(study))
        except StudyError as error:
            differs.append(("the study", f"refused ({' '.join(str(error).split())})", "accepted"))
    if study is not None and not differs:
        digest = _digest_of(question["token"], study)
    if question["digest"] and digest not in ("", question["digest"]):
        differs += other_bits(digest, question["digest"], machine(), question["machine"])
    return {"differs": differs, "machine": machine(), "digest": digest, "host": socket.gethostname()}


def other_bits(
    there: str, here: str, machine_there: Mapping[str, str], machine_here: Mapping[str, str]
) -> list[Difference]:
    """Say that a worker computes other bits than a driver, and on what machines."""
    return [(BITS, there, here), *_compared(machine_here, machine_there)]


def machine() -> dict[str, str]:
    """Return what may differ without any effect on a bit."""
    found = environment()
    return {"python": found["python"], "platform": found["platform"], "processor": found["cpu_features"]}


def _versions() -> dict[str, str]:
    python = ".".join(platform.python_version_tuple()[:2])
    return {"covsvc": __version__, "python": python, **versions((*LIBRARIES, "dask", "distributed"))}


def _plugins_of(study: Study | None) -> dict[str, tuple[str, str]]:
    """Return kind and name of what makes the toys and of what sets the limits, by what people call it."""
    if study is None:
        return {}
    methods = {f"method {spec.name}": ("methods", spec.name) for spec in study.methods}
    return {f"experiment {study.experiment.name}": ("experiments", study.experiment.name), **methods}


def _tables_of(study: Study | None) -> dict[str, str]:
    """Return the digests of the tables that limit methods read."""
    built = [(spec.name, spec.build()) for spec in study.methods] if study else []
    return {
        f"the table of {name} at {cl:.12g}": method.calibration(cl)
        for name, method in built
        if hasattr(method, "calibration")
        for cl in study.cl  # type: ignore[union-attr]
    }


def _compared(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[Difference]:
    there = {what: found.get(what, _NONE) for what in wanted}
    return [(what, there[what], here) for what, here in wanted.items() if there[what] != here]


def _other_plugins(question: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield what is not installed, and whose code is other; files that differ in comments alone are alike."""
    missing = set()
    for what, (kind, name, origin) in question["plugins"].items():
        if name not in registry.installed(kind):
            missing.add(what)
            yield what, "not installed", f"that of {origin}"
    other = {module for module, source in question["sources"].items() if source_of(module) != source}
    for what, roots in question["roots"].items():
        if other and what not in missing:
            there, here = _code_of(roots), question["codes"][what]
            its = other & {*roots, *(sources_of(*roots) if there != _NONE else ())}
            if any(source_now(module) != source_of(module) for module in its):
                yield _code_in(what, its), "changed on its disk since it was loaded", here
            elif there != here:
                yield _code_in(what, its), there, here


def _code_of(roots: Sequence[str]) -> str:
    return _NONE if any(source_of(module) == _NONE for module in roots) else code_of(*roots)


def _code_in(what: str, modules: set[str]) -> str:
    named = sorted(modules)[:_FEW]
    more = len(modules) - len(named)
    return f"the code of {what} ({', '.join([*named, *([f'{more} more'] if more else [])])})"


_computed: dict[str, str] = {}
"""The digest of the question that was answered last, by its token."""


def _digest_of(token: str, study: Study) -> str:
    if token not in _computed:
        digest = run_kernels(study)
        _computed.clear()
        _computed[token] = digest
    return _computed[token]
