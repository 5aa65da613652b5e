"""Studies and plug-ins that tests share."""

from __future__ import annotations

import os
import signal
import sys
from collections import defaultdict

import pytest
from distribution import install

from covsvc import registry
from covsvc.study import study_of

collect_ignore = ["stranger"]
"""A package of somebody else, which has its own tests."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a script, which hands that on
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Return one more than there are cores: tests wait for processes, servers and pages as much as they compute."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_ignore_collect(collection_path, config):
    """Read only the files that name the mark where the heavy tests are all that is asked for."""
    if config.option.markexpr.split(" and ")[0] != "heavy" or collection_path.suffix != ".py":
        return None
    return True if "mark.heavy" not in collection_path.read_text() else None


def pytest_collection_modifyitems(config, items):
    """Begin with the files that take long, where they are done at the same time: nobody waits for them in the end."""
    if not hasattr(config, "workerinput"):
        return
    files = defaultdict(list)
    for item in items:
        files[item.path].append(item)

    def urgency(path):
        limits = [float(each.args[0]) for item in files[path] for each in item.iter_markers("timeout")]
        marks = [all(item.get_closest_marker(name) for item in files[path]) for name in ("system", "browser")]
        return max([float(config.getini("timeout")), *limits]), *marks, len(files[path])

    items[:] = [item for path in sorted(files, key=urgency, reverse=True) for item in files[path]]


PLUGINS = '''
import os
from dataclasses import dataclass
import numpy as np
from covsvc.contracts import Counts, one_sided

@dataclass(frozen=True)
class Raising:
    """Raise."""
    reads = (Counts,)
    sided = "upper"
    promises = "at_least"
    def limits(self, observed, cl):
        raise ZeroDivisionError("no such luck")

@dataclass(frozen=True)
class Misshapen:
    """Answer with one limit for all toys."""
    reads = (Counts,)
    sided = "upper"
    promises = "nothing"
    def limits(self, observed, cl):
        return one_sided(np.array([1.0]))

@dataclass(frozen=True)
class TooLow:
    """Promise what an upper limit at n - b cannot keep."""
    reads = (Counts,)
    sided = "upper"
    promises = "at_least"
    def limits(self, observed, cl):
        return one_sided(np.maximum(observed.n - observed.b, 0.0))

@dataclass(frozen=True)
class Drawn:
    """Counts whose sample space is not told."""
    gives = (Counts,)
    def toys(self, s_true, b, size, rng):
        return (Counts(rng.poisson(s_true + b, size), b),)
    def observe(self, data):
        return (Counts(data["n"], data["b"]),)

@dataclass(frozen=True)
class Broken(Drawn):
    """Raise where there is more signal than the environment allows."""
    def toys(self, s_true, b, size, rng):
        if s_true > float(os.environ.get("STRANGE_SIGNAL", 0)):
            raise RuntimeError("the source is empty")
        return super().toys(s_true, b, size, rng)
'''

ENTRY_POINTS = """
[covsvc.methods]
raising = strange_plugins:Raising
misshapen = strange_plugins:Misshapen
too_low = strange_plugins:TooLow

[covsvc.experiments]
drawn = strange_plugins:Drawn
broken = strange_plugins:Broken
"""


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """Install a distribution with methods and experiments of somebody else."""
    folder = tmp_path / "site"
    install(folder, "strange", ENTRY_POINTS, strange_plugins=PLUGINS)
    monkeypatch.syspath_prepend(str(folder))
    registry.installed.cache_clear()
    yield folder
    registry.installed.cache_clear()
    sys.modules.pop("strange_plugins", None)


@pytest.fixture
def small_study():
    """Return what makes a study of 12 cells, with changes."""

    def make(**changes):
        return study_of(
            {
                "name": "small",
                "experiment": "counting",
                "methods": ["classical", "bayes_flat", "feldman_cousins"],
                "cl": [0.90, 0.95],
                "s_true": [0, 1, 2.5, 6],
                "b": [0, 3, 5.5],
                "toys_per_block": 1000,
                "n_toys": 5000,
                "seed": 1999,
            }
            | changes
        )

    return make


@pytest.fixture
def covsvc(tmp_path, capsys, monkeypatch):
    """Run a command in an empty folder; return exit code, stdout and stderr."""
    from covsvc.cli import main

    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        told = capsys.readouterr()
        return ended.value.code or 0, told.out, told.err

    return call
