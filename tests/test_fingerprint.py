"""Fingerprints: what changes them, and what does not."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import llvmlite
import numba
import numpy as np
import pytest
import scipy

import covsvc
from covsvc import fingerprint

METHOD = '''
"""A method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shop.tools import scaled


@dataclass(frozen=True)
class Method:
    """Set limits."""

    factor: float = 2.0
    """How much."""

    def limits(self, n):
        """Return limits."""
        # twice as many
        return scaled(n, self.factor) + np.sqrt(n)
'''

TOOLS = '''
"""Tools."""


def scaled(n, factor):
    """Return a multiple."""
    return factor * n + 1.0
'''

SAME_METHOD = {
    "a comment": METHOD.replace("# twice as many", "# three times, no: twice"),
    "no comment": METHOD.replace("        # twice as many\n", ""),
    "the docstring of a module": METHOD.replace("A method.", "Another text."),
    "the docstring of a class": METHOD.replace(
        '    """Set limits."""\n', '    """Set limits.\n\n    Longer.\n    """\n'
    ),
    "no docstring of a function": METHOD.replace('        """Return limits."""\n', ""),
    "the docstring of a field": METHOD.replace("How much.", "By how much."),
    "blank lines": METHOD.replace("\n\n", "\n\n\n").replace("    def", "\n\n    def"),
    "layout": METHOD.replace("scaled(n, self.factor) + np.sqrt(n)", "(\n  scaled( n,self.factor, )\n  +np.sqrt(n)\n)"),
    "quotes and the look of a number": METHOD.replace("2.0", "2.00"),
    "a trailing newline": METHOD + "\n\n# end\n",
}

OTHER_METHOD = {
    "a constant": METHOD.replace("2.0", "2.5"),
    "an operator": METHOD.replace("+ np.sqrt", "- np.sqrt"),
    "a name": METHOD.replace("factor", "scale"),
    "a function": METHOD + "\n\ndef more():\n    return 1\n",
    "a decorator": METHOD.replace("@dataclass(frozen=True)", "@dataclass"),
    "a string that is used": METHOD.replace("+ np.sqrt(n)", "+ len('twice')"),
}


def write(folder, **modules):
    """Write the package `shop`; two underscores in a name are a folder."""
    (folder / "shop").mkdir(parents=True)
    for name, text in ({"__init__": ""} | modules).items():
        path = folder / "shop" / f"{name}.py"
        path.write_text(text)
    return folder


def code_of(folder, *modules):
    """Return the fingerprint that a process of its own finds, as every run does."""
    told = "import sys; from covsvc.fingerprint import code_of; print(code_of(*sys.argv[1:]))"
    path = os.pathsep.join([str(folder), str(Path(covsvc.__file__).parent.parent)])
    done = subprocess.run(
        [sys.executable, "-c", told, *modules],
        env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    folder = write(tmp_path_factory.mktemp("known"), method=METHOD, tools=TOOLS)
    return code_of(folder, "shop.method")


@pytest.mark.parametrize("change", SAME_METHOD)
def test_comments_docstrings_and_layout_do_not_change_it(change, known, tmp_path):
    assert SAME_METHOD[change] != METHOD
    assert code_of(write(tmp_path, method=SAME_METHOD[change], tools=TOOLS), "shop.method") == known


@pytest.mark.parametrize("change", OTHER_METHOD)
def test_code_changes_it(change, known, tmp_path):
    assert OTHER_METHOD[change] != METHOD
    assert code_of(write(tmp_path, method=OTHER_METHOD[change], tools=TOOLS), "shop.method") != known


def test_the_code_of_an_imported_module_changes_it_but_its_comments_do_not(known, tmp_path):
    other = write(tmp_path / "other", method=METHOD, tools=TOOLS.replace("1.0", "1.5"))
    told = write(tmp_path / "told", method=METHOD, tools=TOOLS.replace("Return a multiple.", "Scale.") + "# end\n")
    beside = write(tmp_path / "beside", method=METHOD, tools=TOOLS, unused="x = 1\n")
    assert code_of(other, "shop.method") != known
    assert code_of(told, "shop.method") == known
    assert code_of(beside, "shop.method") == known


@pytest.mark.parametrize(
    "line",
    [
        "from shop.tools import scaled",
        "from shop import tools",
        "import shop.tools",
        "import shop.tools as other",
        "from .tools import scaled",
        "from . import tools",
        "from shop.between import scaled",
        "from .between import *",
        "def late():\n    from shop.tools import scaled\n    return scaled",
        "class Late:\n    def late(self):\n        import shop.tools",
    ],
)
def test_imports_of_the_own_package_are_followed_however_they_are_written(line, tmp_path):
    between = "from shop.tools import scaled\n"
    first = write(tmp_path / "1", method=line, between=between, tools=TOOLS)
    second = write(tmp_path / "2", method=line, between=between, tools=TOOLS.replace("1.0", "1.5"))
    assert code_of(first, "shop.method") != code_of(second, "shop.method")


def test_what_a_package_hands_on_is_followed(tmp_path):
    folders = [
        write(
            tmp_path / name, __init__="from shop.tools import scaled\n", method="from shop import scaled\n", tools=text
        )
        for name, text in (("1", TOOLS), ("2", TOOLS.replace("1.0", "1.5")))
    ]
    assert len({code_of(folder, "shop.method") for folder in folders}) == 2


def test_modules_that_import_each_other_are_taken_once(tmp_path):
    folder = write(tmp_path, method="import shop.tools\n", tools="import shop.method\n")
    assert (
        code_of(folder, "shop.method") == code_of(folder, "shop.tools") == code_of(folder, "shop.tools", "shop.method")
    )


def test_other_packages_are_known_by_version_not_by_code(tmp_path):
    for name, constant in (("1", 1), ("2", 2)):
        write(tmp_path / name, method="import neighbour\n")
        (tmp_path / name / "neighbour.py").write_text(f"X = {constant}\n")
    assert code_of(tmp_path / "1", "shop.method") == code_of(tmp_path / "2", "shop.method")


def test_a_package_without_init_file_has_a_fingerprint(tmp_path):
    folder = write(tmp_path, method="from shop import tools\n", tools=TOOLS)
    (folder / "shop" / "__init__.py").unlink()
    assert re.fullmatch("[0-9a-f]{16}", code_of(folder, "shop.method"))


def test_methods_depend_on_the_kernels_that_they_call_and_on_no_others(tmp_path):
    """A copy of covsvc under another name, then with changes in one kernel."""

    def copy(name, kernel, old, new):
        folder = tmp_path / name / "copied"
        shutil.copytree(Path(covsvc.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__", "*.nb?"))
        for path in folder.rglob("*.py"):
            path.write_text(re.sub(r"\bcovsvc\b", "copied", path.read_text()))
        changed = folder / "kernels" / kernel
        assert old in changed.read_text()
        changed.write_text(changed.read_text().replace(old, new, 1))
        methods = ("copied.methods.bayes", "copied.methods.feldman_cousins")
        return [code_of(folder.parent, method) for method in methods]

    known = copy("known", "poisson.py", "def ", "def ")
    assert copy("poisson", "poisson.py", "_TINY = 1e-280", "_TINY = 1e-270")[0] != known[0]
    assert (
        copy("comment", "poisson.py", "  # below it Q(a, x) nears underflow", "  # below it Q(a, x) is tiny") == known
    )
    belts = copy("belts", "belts.py", "\n\n@compiled", "\n\n_UNUSED = 1\n\n\n@compiled")
    assert (belts[0] == known[0], belts[1] == known[1]) == (True, False)


def test_order_and_repetition_do_not_matter_but_the_names_do():
    both = fingerprint.code_of("covsvc.methods.classical", "covsvc.experiments.counting")
    assert both == fingerprint.code_of("covsvc.experiments.counting", *["covsvc.methods.classical"] * 2)
    assert both != fingerprint.code_of("covsvc.methods.classical")
    assert re.fullmatch("[0-9a-f]{16}", both)


# libraries and processor


def test_the_environment_names_what_makes_numbers():
    found = fingerprint.environment()
    assert set(found) == {"python", "numpy", "scipy", "numba", "llvmlite", "platform", "cpu_features"}
    assert (found["numpy"], found["scipy"]) == (np.__version__, scipy.__version__)
    assert (found["numba"], found["llvmlite"]) == (numba.__version__, llvmlite.__version__)
    assert found["python"] == platform.python_version()
    assert found["platform"].startswith("Linux ")
    assert re.fullmatch("[0-9a-f]{16}", found["cpu_features"])
    assert found == fingerprint.environment() == json.loads(json.dumps(found))


def test_a_library_that_is_not_installed_has_no_version():
    assert fingerprint.versions(["numpy", "no-such-library"]) == {"numpy": np.__version__, "no-such-library": "none"}


def test_the_bytes_of_a_compiled_module_change_it(tmp_path):
    method = METHOD.replace("from shop.tools import scaled", "import shop._compiled as fast")
    found = []
    for name, code in (("one", b"\x7fELF one"), ("same", b"\x7fELF one"), ("other", b"\x7fELF other")):
        folder = write(tmp_path / name, method=method)
        (folder / "shop" / f"_compiled{EXTENSION_SUFFIXES[0]}").write_bytes(code)
        found.append(code_of(folder, "shop.method"))
    assert found[0] == found[1] != found[2]


# git: files as gitrepository-layout(5) describes them

REVISION = "0123456789abcdef0123456789abcdef01234567"


def revision_of(folder):
    """Return what the module tells when it lies in a package in `folder`."""
    (folder / "package").mkdir(parents=True, exist_ok=True)
    path = shutil.copy(fingerprint.__file__, folder / "package" / "fingerprint.py")
    spec = importlib.util.spec_from_file_location("fingerprint_elsewhere", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.git_revision()


def checkout(folder, **files):
    for name, text in files.items():
        path = folder / ".git" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return revision_of(folder)


def test_outside_a_checkout_there_is_no_revision(tmp_path):
    assert revision_of(tmp_path) == ""


def test_the_revision_is_that_of_the_branch_or_of_a_detached_head(tmp_path):
    branch = "ref: refs/heads/main\n"
    packed = (
        f"# pack-refs with: peeled fully-peeled sorted\n{'f' * 40} refs/heads/not-main\n{REVISION} refs/heads/main\n"
    )
    assert checkout(tmp_path / "loose", HEAD=branch, refs__heads__main=f"{REVISION}\n") == REVISION
    assert checkout(tmp_path / "packed", **{"HEAD": branch, "packed-refs": packed}) == REVISION
    newer = {"HEAD": branch, "packed-refs": packed, "refs__heads__main": "e" * 40}
    assert checkout(tmp_path / "both", **newer) == "e" * 40
    assert checkout(tmp_path / "detached", HEAD=f"{REVISION}\n") == REVISION


def test_a_branch_without_commit_and_a_folder_that_is_no_repository_have_no_revision(tmp_path):
    assert checkout(tmp_path / "unborn", HEAD="ref: refs/heads/main\n") == ""
    assert checkout(tmp_path / "empty", **{"HEAD": "ref: refs/heads/main\n", "packed-refs": "# nothing\n"}) == ""
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / ".git").write_text("gitdir: /nowhere\n")
    assert revision_of(tmp_path / "file") == ""


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_changes_of_a_checkout_are_told(tmp_path):
    def is_changed():
        path = tmp_path / "package" / "fingerprint.py"
        spec = importlib.util.spec_from_file_location("fingerprint_elsewhere", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.git_is_changed()

    revision_of(tmp_path)
    assert is_changed() is None  # no checkout
    (tmp_path / "covsvc").mkdir()
    code = tmp_path / "covsvc" / "code.py"
    code.write_text("one = 1\n")
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    for command in (("init", "--quiet"), ("add", "covsvc"), (*who, "commit", "--quiet", "-m", "one")):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    assert is_changed() is False
    code.write_text("one = 2\n")
    assert is_changed() is True
