"""Compiled code that is kept on disk, and when it is not used again."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

import covsvc.kernels
from covsvc import fingerprint
from covsvc.kernels import compilation, poisson
from covsvc.kernels.compilation import compiled, folder_of, version_of, with_imports

KERNELS = Path(covsvc.kernels.__file__).parent
MODULES = sorted(path.stem for path in KERNELS.glob("*.py") if path.stem != "__init__")
FIXED = 1580601600
"""The time that all files of a wheel have, a day in 2020."""

CALLEE = """
from covsvc.kernels.compilation import compiled

@compiled
def rate(s):
    return 2.0 * s
"""

BETWEEN = """
from covsvc.kernels.callee import rate
from covsvc.kernels.compilation import compiled

@compiled(error_model="numpy")
def expected(s, b):
    return rate(s) + b
"""

CALLER = """
from covsvc.kernels.between import expected
from covsvc.kernels.compilation import compiled

@compiled
def answer(s):
    return expected(s, 0.5)
"""

ALONE = """
from covsvc.kernels.compilation import compiled

@compiled
def answer(s):
    return -s
"""

ASK = """
import json, sys
from importlib import import_module
from numba import config
asked = {}
for name in sys.argv[1:]:
    kernel = import_module("covsvc.kernels." + name).answer
    asked[name] = {
        "answer": kernel(3.0),
        "loaded": sum(kernel.stats.cache_hits.values()),
        "compiled": sum(kernel.stats.cache_misses.values()),
        "folder": str(getattr(kernel._cache, "cache_path", None)),
    }
print(json.dumps(asked | {"setting": config.CACHE_DIR}))
"""

NUMBA_ALONE = "from numba import njit\n\ndef compiled(function=None, /, **options):\n    return njit(cache=True, **options)(function) if function else lambda each: compiled(each, **options)\n"


@pytest.fixture
def site(tmp_path):
    """A package of kernels with the decorator of ours."""
    folder = tmp_path / "site" / "covsvc" / "kernels"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "__init__.py").touch()
    shutil.copy(compilation.__file__, folder)
    for name, text in (("callee", CALLEE), ("between", BETWEEN), ("caller", CALLER), ("alone", ALONE)):
        write(folder / f"{name}.py", text)
    return tmp_path / "site"


def write(path, text):
    path.write_text(text)
    os.utime(path, (FIXED, FIXED))


def change(site, old, new, module="callee"):
    path = site / "covsvc" / "kernels" / f"{module}.py"
    assert old in path.read_text()
    write(path, path.read_text().replace(old, new))


def ask(site, *modules, **environment):
    """Return what a new process gets from the kernels named answer."""
    known = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    told = subprocess.run(
        [sys.executable, "-B", "-c", ASK, *modules],
        env=known | {"PYTHONPATH": str(site), "HOME": str(site.parent / "home")} | environment,
        cwd=site.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)


def test_numba_alone_goes_on_with_the_old_code_of_what_a_kernel_calls(site):
    """Why there is a decorator of our own: where this fails, numba has learnt it."""
    write(site / "covsvc" / "kernels" / "compilation.py", NUMBA_ALONE)
    assert ask(site, "caller")["caller"]["answer"] == 6.5
    change(site, "2.0 * s", "4.0 * s")
    assert ask(site, "caller")["caller"]["answer"] == 6.5


def test_a_change_of_what_a_kernel_calls_is_seen_even_through_others_and_in_a_wheel(site):
    before = ask(site, "caller", "alone")
    assert [before[name]["answer"] for name in ("caller", "alone")] == [6.5, -3.0]
    change(site, "2.0 * s", "4.0 * s")  # neither length nor time of the file tells
    after = ask(site, "caller", "alone")
    assert after["caller"]["answer"] == 12.5
    assert (after["caller"]["loaded"], after["caller"]["compiled"]) == (0, 1)
    assert (after["alone"]["loaded"], after["alone"]["compiled"]) == (1, 0), "it calls nothing that has changed"


def test_a_change_of_an_option_in_what_a_kernel_calls_is_seen(site):
    assert ask(site, "caller")["caller"]["compiled"] == 1
    change(site, '@compiled(error_model="numpy")', "@compiled", "between")
    assert ask(site, "caller")["caller"]["compiled"] == 1


def test_what_one_process_compiled_the_next_ones_load(site):
    first, second = ask(site, "caller"), ask(site, "caller")
    assert (first["caller"]["loaded"], first["caller"]["compiled"]) == (0, 1)
    assert (second["caller"]["loaded"], second["caller"]["compiled"]) == (1, 0)
    assert first["caller"]["folder"] == second["caller"]["folder"]
    assert str(site / "covsvc" / "kernels" / "__pycache__") in first["caller"]["folder"]
    assert first["setting"] == second["setting"] == ""


def test_whoever_goes_back_to_an_older_version_finds_it_compiled(site):
    ask(site, "caller")
    change(site, "2.0 * s", "4.0 * s")
    ask(site, "caller")
    change(site, "4.0 * s", "2.0 * s")
    again = ask(site, "caller")["caller"]
    assert (again["answer"], again["loaded"], again["compiled"]) == (6.5, 1, 0)


def test_the_three_versions_used_last_are_kept(site):
    folder = site / "covsvc" / "kernels" / "__pycache__"

    def use(factor):
        text = re.sub(r"-[\d.]* ?\*? ?s\n", f"-{factor} * s\n", ALONE)
        write(site / "covsvc" / "kernels" / "alone.py", text)
        told = ask(site, "alone")["alone"]
        assert told["answer"] == -3.0 * factor
        return Path(told["folder"]).parent.name

    names = [use(factor) for factor in (1.0, 2.0, 3.0)]
    assert use(1.0) == names[0]
    newest = use(4.0)
    assert {each.name for each in folder.glob("alone-*")} == {names[0], names[2], newest}
    assert len(list(folder.glob("compilation-*"))) == 0


def test_where_the_package_cannot_be_written_the_cache_of_the_user_serves(site):
    (site / "covsvc" / "kernels" / "__pycache__").touch()  # no folder can be made there, not even by root
    home = site.parent / "home"
    assert str(home / ".cache" / "covsvc" / "kernels") in ask(site, "alone")["alone"]["folder"]
    assert ask(site, "alone")["alone"]["loaded"] == 1
    elsewhere = site.parent / "elsewhere"
    told = ask(site, "alone", XDG_CACHE_HOME=str(elsewhere))["alone"]
    assert str(elsewhere / "covsvc" / "kernels") in told["folder"]


def test_where_nothing_can_be_written_every_process_compiles_for_itself(site):
    (site / "covsvc" / "kernels" / "__pycache__").touch()
    (site.parent / "home").touch()
    for _ in range(2):
        told = ask(site, "caller")
        assert (told["caller"]["answer"], told["caller"]["loaded"], told["caller"]["folder"]) == (6.5, 0, "None")
        assert told["setting"] == ""


def test_the_setting_of_numba_comes_first_and_stays_as_it_is(site):
    wanted = site.parent / "wanted"
    told = ask(site, "caller", "alone", NUMBA_CACHE_DIR=str(wanted))
    assert told["caller"]["folder"].startswith(str(wanted))
    assert told["setting"] == str(wanted)
    assert not (site / "covsvc" / "kernels" / "__pycache__").exists()


@pytest.mark.parametrize("library", ["np", "scipy"])
def test_other_libraries_behind_the_constants_are_another_version(library, monkeypatch):
    known = version_of(KERNELS / "significance.py")
    assert re.fullmatch("[0-9a-f]{16}", known)
    monkeypatch.setattr(getattr(compilation, library), "__version__", "0.0")
    assert version_of(KERNELS / "significance.py") != known


@pytest.mark.parametrize("name", MODULES)
def test_the_imports_are_those_that_python_sees(name):
    """The search of the text against the syntax tree, by which methods have their fingerprints."""
    told = {each.rpartition(".")[2] for each in fingerprint._with_imports([f"covsvc.kernels.{name}"])}
    assert {path.stem for path in with_imports(KERNELS / f"{name}.py")} == told & set(MODULES)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "compilation"])
def test_every_kernel_is_kept_by_the_version_of_its_module(name):
    assert "njit" not in (KERNELS / f"{name}.py").read_text()
    module = __import__(f"covsvc.kernels.{name}", fromlist=[name])
    kernels = [each for each in vars(module).values() if isinstance(each, Dispatcher)]
    own = [each for each in kernels if each.py_func.__module__ == module.__name__]
    assert all(Path(each.stats.cache_path).parent == folder_of(KERNELS / f"{name}.py") for each in own)


def test_no_other_part_of_covsvc_compiles_by_itself():
    package = KERNELS.parent
    users = {path.relative_to(package).as_posix() for path in package.rglob("*.py") if "njit" in path.read_text()}
    assert users == {"kernels/compilation.py"}


def test_a_kernel_that_was_pickled_gives_the_same_numbers():
    sent = cloudpickle.loads(cloudpickle.dumps(poisson.deviance))
    assert sent(3.0, 2.0) == poisson.deviance(3.0, 2.0) == pytest.approx(2.0 - 3.0 + 3.0 * np.log(1.5), rel=1e-15)


def test_options_reach_numba():
    @compiled(error_model="numpy")
    def share(a, b):
        return a / b

    assert share(1.0, 0.0) == np.inf
