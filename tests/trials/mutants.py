"""Mistakes put into the limit methods one by one: what each does, and what notices it.

    python tests/trials/mutants.py effect|tests|validate|table [--only WORDS] [--tree FOLDER] [--toys 100000]
                                   [--results mutants.json]

Each of tests/mistakes.py is made in a copy of the sources. `effect` sets limits there and in an unchanged copy, on all
outcomes or on the same toys, and compares coverage and medians, summed here with scipy; `tests` runs the tests which
may notice it; `validate` runs `covsvc validate` there, against an accepted baseline of the unchanged copy and without
one; there, mistakes of different methods are made at once. What is found is kept in a file, from which `table` prints a line a mistake; what is there already is not done
again. The short form is tests/system/test_mutants.py.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1]))

from mistakes import MUTANTS, REFACTORINGS, ROOT, STUDIES, Change, copy_of, run_in

CHANGES = (*MUTANTS, *REFACTORINGS)
OK, EMPTY, UNBOUNDED, FAILED = range(4)

_KEPT = tempfile.TemporaryDirectory()
"""Unchanged copies and the stores in which they are baselines."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["effect", "tests", "validate", "table", "limits"])
    parser.add_argument("given", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--only", default="", help="mistakes whose name holds these words")
    parser.add_argument("--tree", type=Path, default=ROOT, help="sources to copy")
    parser.add_argument("--toys", type=int, default=100_000, help="in a cell, where outcomes cannot be enumerated")
    parser.add_argument("--results", type=Path, default=Path("mutants.json"))
    arguments = parser.parse_args()
    if arguments.what == "limits":
        set_limits(Path(arguments.given[0]), Path(arguments.given[1]))
        return
    known = json.loads(arguments.results.read_text()) if arguments.results.exists() else {}
    wanted = [each for each in CHANGES if arguments.only in each.name]
    for several in rounds(wanted) if arguments.what == "validate" else [[each] for each in wanted]:
        if arguments.what == "table" or all(arguments.what in known.get(each.name, {}) for each in several):
            continue
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            found = DO[arguments.what](several, Path(folder), arguments)
        for change in several:
            known.setdefault(change.name, {})[arguments.what] = found[change.name]
            print(f"{change.name}: {json.dumps(found[change.name])}", flush=True)
        print(f"{time.monotonic() - begun:.0f} s", flush=True)
        arguments.results.write_text(json.dumps(known, indent=1))
    print_table(known)


def rounds(changes: Sequence[Change]) -> list[list[Change]]:
    """Return the changes in groups of a study each, in which no two concern the same limit method."""
    groups: list[list[Change]] = []
    for change in changes:
        for group in groups:
            if group[0].study == change.study and (group[0] in MUTANTS) == (change in MUTANTS):
                taken = {label for each in group for label in each.labels}
                if not taken & set(change.labels):
                    group.append(change)
                    break
        else:
            groups.append([change])
    return groups


# What a mistake does


def set_limits(asked: Path, found: Path) -> None:
    """Set the limits of some columns of a study on all outcomes, or on toys; run with the sources of a copy."""
    from covsvc.contracts import Enumerable, grid_of
    from covsvc.fingerprint import code_of
    from covsvc.study import study_of

    told = json.loads(asked.read_text())
    study = study_of(told["study"])
    experiment = study.experiment.build()
    arrays: dict[str, Any] = {}
    for spec in (each for each in study.methods if each.label in told["labels"]):
        method, view = spec.build(), spec.view_of(experiment)
        code = code_of(type(method).__module__, type(experiment).__module__)
        arrays[f"{spec.label}|code"] = np.array([code, code_of("covsvc.engine.work", "covsvc.tally")])
        arrays[f"{spec.label}|promises"] = np.array(spec.promise_on(experiment))
        for (j, b), cl in product(enumerate(study.b), study.cl):
            if isinstance(experiment, Enumerable):
                shape = [int(stats.poisson.isf(1e-15, mean)) + 2 for mean in _means(told["study"], study.s_true[-1], b)]
                batches = [experiment.views(grid_of([0] * len(shape), shape), b)]
                arrays[f"shape|{j}"] = np.array(shape)
            else:
                batches = [
                    experiment.toys(s, b, told["toys"], np.random.default_rng([study.seed, i, j]))
                    for i, s in enumerate(study.s_true)
                ]
            limits = [method.limits(views[view], cl) for views in batches]
            for name in ("lower", "upper", "status"):
                arrays[f"{spec.label}|{cl:g}|{j}|{name}"] = np.array([getattr(each, name) for each in limits])
    np.savez(found, **arrays)


def _means(study: Mapping[str, Any], s: float, b: float) -> list[float]:
    experiment = study["experiment"]
    return [s + b] if experiment == "counting" else [s + b, experiment["options"]["tau"] * b]


def effect_of(several: list[Change], folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare coverage and medians of the changed limits with those of the unchanged ones."""
    (change,) = several
    return {change.name: _effect_of(change, folder, arguments)}


def _effect_of(change: Change, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    study = {key: value for key, value in STUDIES[change.study].items() if key != "keep"}
    copy = copy_of(arguments.tree, folder / "copy", change)
    before = _limits_before(change.study, arguments.tree, arguments.toys)
    after = _limits_in(copy, study, change.labels, arguments.toys, folder)
    if isinstance(after, str):
        return {"broken": after}
    columns = {}
    for label, cl in product(change.labels, study["cl"]):
        old, new = (_maps(given, label, cl, study) for given in (before, after))
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.where((old["median"] > 0) & np.isfinite(old["median"]), new["median"] / old["median"] - 1.0, 0.0)
        columns[f"{label} {cl:g}"] = {
            "promises": str(before[f"{label}|promises"]),
            "fall": float((old["coverage"] - new["coverage"]).max()),
            "rise": float((new["coverage"] - old["coverage"]).max()),
            "below": float(cl - new["worst"]),
            "below_before": float(cl - old["worst"]),
            "median": float(ratio.flat[np.nanargmax(np.abs(ratio))]),
            "empty": float((new["empty"] - old["empty"]).flat[np.argmax(np.abs(new["empty"] - old["empty"]))]),
            "other_bits": bool(
                any(
                    before[key].tobytes() != after[key].tobytes()
                    for key in after
                    if key.startswith(f"{label}|{cl:g}|") and key.endswith(("lower", "upper", "status"))
                )
            ),
            "code_changed": bool(before[f"{label}|code"][0] != after[f"{label}|code"][0]),
            "engine_changed": bool(before[f"{label}|code"][1] != after[f"{label}|code"][1]),
        }
    each = columns.values()
    return {
        "fall": max(one["fall"] for one in each),
        "below": max(one["below"] for one in each),
        "median": max((one["median"] for one in each), key=abs),
        "other_bits": any(one["other_bits"] for one in each),
        "code_changed": all(one["code_changed"] for one in each),
        "engine_changed": any(one["engine_changed"] for one in each),
        "columns": columns,
    }


def _limits_in(
    copy: Path, study: Mapping[str, Any], labels: tuple[str, ...], toys: int, folder: Path
) -> dict[str, Any] | str:
    asked, found = folder / "asked.json", folder / "limits.npz"
    asked.write_text(json.dumps({"study": study, "labels": labels, "toys": toys}))
    done = run_in(copy, __file__, "limits", str(asked), str(found))
    if done.returncode:
        return done.stderr.strip().splitlines()[-1]
    with np.load(found) as arrays:
        return dict(arrays)


@cache
def _limits_before(name: str, tree: Path, toys: int) -> dict[str, Any]:
    study = {key: value for key, value in STUDIES[name].items() if key != "keep"}
    labels = tuple(_label(each) for each in study["methods"])
    with tempfile.TemporaryDirectory() as folder:
        found = _limits_in(copy_of(tree, Path(folder) / "copy"), study, labels, toys, Path(folder))
    if isinstance(found, str):
        raise RuntimeError(found)
    return found


def _maps(limits: Mapping[str, Any], label: str, cl: float, study: Mapping[str, Any]) -> dict[str, Any]:
    """Return coverage, median and share of empty limits, shape (b, s_true), and the smallest coverage of all s_true."""
    maps: dict[str, Any] = {name: [] for name in ("coverage", "median", "empty")}
    worst = 1.0
    for j, b in enumerate(study["b"]):
        lower, upper, status = (limits[f"{label}|{cl:g}|{j}|{name}"] for name in ("lower", "upper", "status"))
        if f"shape|{j}" not in limits:
            covered = [
                _cover(*row, s) for s, row in zip(study["s_true"], zip(lower, upper, status, strict=True), strict=True)
            ]
            maps["coverage"].append([row.mean() for row in covered])
            maps["median"].append(np.median(np.where(status == FAILED, np.inf, upper), axis=1))
            maps["empty"].append((status == EMPTY).mean(axis=1))
            worst = min(worst, *maps["coverage"][-1])
            continue
        box = limits[f"shape|{j}"]
        one = lower[0], upper[0], status[0]

        def chances(s: float, b: float = b, box: Any = box) -> Any:
            p = [stats.poisson.pmf(np.arange(size), m) for size, m in zip(box, _means(study, s, b), strict=True)]
            return p[0] if len(p) == 1 else np.multiply.outer(p[0], p[1]).ravel()

        order = np.argsort(np.where(one[2] == FAILED, np.inf, one[1]), kind="stable")
        rows = [chances(s) for s in study["s_true"]]
        maps["coverage"].append([p @ _cover(*one, s) for s, p in zip(study["s_true"], rows, strict=True)])
        at = [order[np.searchsorted(np.cumsum(p[order]), 0.5)] for p in rows]
        maps["median"].append(np.where(one[2][at] == FAILED, np.nan, one[1][at]))
        maps["empty"].append([p @ (one[2] == EMPTY) for p in rows])
        worst = min(worst, *maps["coverage"][-1])
        if len(box) == 1:
            worst = min(worst, *(_at_jump(one, s, chances(s)) for s in _jumps(one, study["s_true"][-1])))
    return {**{name: np.array(rows) for name, rows in maps.items()}, "worst": worst}


def _cover(lower: Any, upper: Any, status: Any, s: float) -> Any:
    return (status != EMPTY) & (status != FAILED) & (lower <= s) & (s <= upper)


def _jumps(one: tuple[Any, Any, Any], end: float) -> list[float]:
    ends = np.concatenate([one[0][one[2] != FAILED], one[1][one[2] == OK]])
    return np.unique(ends[(ends > 0) & (ends < end)]).tolist()


def _at_jump(one: tuple[Any, Any, Any], s: float, p: Any) -> float:
    """Return the smaller coverage of just below and just above `s`, where some intervals begin or end."""
    lower, upper, status = one
    valid = (status == OK) | (status == UNBOUNDED)
    return min(p @ (valid & (lower <= s) & (s < upper)), p @ (valid & (lower < s) & (s <= upper)))


# What notices it


def tests_on(several: list[Change], folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the tests that may notice the mistake, up to the first that does."""
    (change,) = several
    return {change.name: _tests_on(change, folder, arguments)}


def _tests_on(change: Change, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    if not change.tests:
        return {"outcome": "none asked"}
    copy = copy_of(arguments.tree, folder / "copy", change)
    files = [f"tests/{name}" for name in change.tests]
    done = run_in(copy, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", "--tb=no", *files)
    if done.returncode == 1:
        failed = re.findall(r"^(?:FAILED|ERROR) tests/(\S+)", done.stdout, re.MULTILINE)
        return {"outcome": "killed", "by": failed[0] if failed else "?"}
    return {"outcome": "survived" if done.returncode == 0 else "broken", "told": done.stdout.strip().splitlines()[-1]}


def validated(several: list[Change], folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Validate the changed sources against a baseline of the unchanged ones, and without a baseline."""
    name = several[0].study
    unchanged, accepted = _accepted(name, arguments.tree)
    copy = copy_of(arguments.tree, folder / "copy", *several)
    shutil.copytree(accepted, folder / "store")
    compared = _validate(copy, STUDIES[name], folder, folder / "store", "--baseline-code", str(unchanged))
    labels = [label for change in several for label in change.labels]
    concerned = [each for each in STUDIES[name]["methods"] if _label(each) in labels]
    alone = _validate(copy, {**STUDIES[name], "methods": concerned}, folder, folder / "new store")
    others = [each for each in STUDIES[name]["methods"] if _label(each) not in labels]
    flagged = _findings(compared, tuple(map(_label, others)))
    if any(flagged[severity] for severity in ("failure", "undecided", "warning")):
        print(f"said of others: {flagged}", flush=True)
    return {
        change.name: {"baseline": _findings(compared, change.labels), "alone": _findings(alone, change.labels)}
        for change in several
    }


@cache
def _accepted(name: str, tree: Path) -> tuple[Path, Path]:
    """Return unchanged sources and a store in which they are the baseline of a study."""
    folder = Path(_KEPT.name) / name
    copy = copy_of(tree, folder / "copy")
    found = _validate(copy, STUDIES[name], folder, folder / "store")
    if found["outcome"] != "passed":
        raise RuntimeError(f"{name}: {found}")
    given = ("-m", "covsvc", "accept", STUDIES[name]["name"], "--store", str(folder / "store"))
    done = run_in(copy, *given, "--tag", "unchanged", "--reason", "before the mistakes")
    if done.returncode:
        raise RuntimeError(done.stderr)
    return copy, folder / "store"


def _validate(copy: Path, study: Mapping[str, Any], folder: Path, store: Path, *options: str) -> dict[str, Any]:
    (folder / "study.yaml").write_text(json.dumps(study))
    given = ("-m", "covsvc", "validate", str(folder / "study.yaml"), "--store", str(store), "--cluster", "none")
    done = run_in(copy, *given, "--json", "--out", str(folder / "page"), *options)
    if done.returncode not in (0, 1, 3):
        return {"outcome": f"exit {done.returncode}", "told": done.stderr.strip().splitlines()[-8:], "studies": []}
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _findings(told: Mapping[str, Any], labels: tuple[str, ...]) -> dict[str, Any]:
    """Return what is said of some columns: their states, and the kinds of findings by severity."""
    if not told["studies"]:
        return {"broken": told["told"], "states": [], "failure": [], "undecided": [], "warning": [], "note": []}
    (study,) = told["studies"]
    found: dict[str, Any] = {
        "states": sorted({each["state"] for each in study["columns"] if each["limit_method"] in labels}),
        "paired": study["work"]["paired"],
    }
    for severity in ("failure", "undecided", "warning", "note"):
        mine = [each for each in study["findings"] if each["limit_method"] in labels and each["severity"] == severity]
        found[severity] = sorted({f"{each['kind']}: {each['limit_method']}" for each in mine})
    return found


def _label(method: str | Mapping[str, Any]) -> str:
    return method if isinstance(method, str) else str(method["label"])


def print_table(known: Mapping[str, Any]) -> None:
    """Print a line a mistake."""
    print(
        f"{'':<46}{'code':>6}{'bits':>6}{'fall':>8}{'broken':>8}{'median':>8}  "
        f"{'seen as':<10}{'baseline':<10}{'alone':<10}{'tests':<10}"
    )
    for change in CHANGES:
        found = known.get(change.name, {})
        effect, validation = found.get("effect", {}), found.get("validate", {})
        told = [_worst_of(validation.get(key)) for key in ("baseline", "alone")]
        states = ", ".join(validation.get("baseline", {}).get("states", []))
        tests = found.get("tests", {}).get("outcome", "")
        print(f"{change.name:<46}{_numbers(effect)}  {states:<10}{told[0]:<10}{told[1]:<10}{tests:<10}")


def _numbers(effect: Mapping[str, Any]) -> str:
    if "fall" not in effect:
        return f"{effect.get('broken', ''):>36}"
    code = "yes" if effect["code_changed"] else "engine" if effect["engine_changed"] else "no"
    # of toys, the smallest of many coverages is below cl by chance already
    promised = [
        one["below"]
        for one in effect["columns"].values()
        if one["promises"] == "at_least" and one["below"] > max(one["below_before"], 0.0) + 3e-4
    ]
    broken = f"{max(promised):.4f}" if promised else "-"
    bits = "other" if effect["other_bits"] else "same"
    return f"{code:>6}{bits:>6}{effect['fall']:>8.4f}{broken:>8}{effect['median']:>+8.1%}"


def _worst_of(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    return next((each for each in ("broken", "failure", "undecided", "warning", "note") if found.get(each)), "-")


DO: dict[str, Callable[[list[Change], Path, argparse.Namespace], dict[str, Any]]] = {
    "effect": effect_of,
    "tests": tests_on,
    "validate": validated,
}


if __name__ == "__main__":
    main()
