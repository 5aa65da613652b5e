"""Code of another revision of a checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from covsvc.contracts import Counts
from covsvc.engine import older_code
from covsvc.engine.answers import MethodFailed
from covsvc.engine.fresh import as_older
from covsvc.engine.guard import method_of
from covsvc.errors import StoreError

pytestmark = pytest.mark.system


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Return a repository with a package of two revisions, and their names."""
    root = tmp_path / "checkout"
    (root / "covsvc").mkdir(parents=True)
    here = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "HOME": str(tmp_path)}

    def git(*arguments):
        who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
        command = ["git", *who, "-C", root, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | here).stdout.strip()

    git("init", "--quiet")
    revisions = []
    for number in (1, 2):
        (root / "covsvc" / "__init__.py").write_text(f"number = {number}\n")
        (root / "notes.txt").write_text("not code")
        git("add", ".")
        git("commit", "--quiet", "-m", str(number))
        revisions.append(git("rev-parse", "HEAD"))
    monkeypatch.setattr(older_code, "_ROOT", root)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return revisions


def test_a_revision_is_unpacked_once(checkout):
    folders = [older_code.code_of_revision(revision) for revision in checkout]
    assert [(folder / "covsvc" / "__init__.py").read_text() for folder in folders] == ["number = 1\n", "number = 2\n"]
    assert not (folders[0] / "notes.txt").exists()
    (folders[0] / "covsvc" / "mark").touch()
    assert (older_code.code_of_revision(checkout[0]) / "covsvc" / "mark").exists()
    assert {path.name for path in folders[0].parent.iterdir()} == set(checkout)


@pytest.mark.parametrize("revision", ["", "--output=x", "HEAD", "a" * 40])
def test_what_is_no_revision_here_is_refused(checkout, revision, tmp_path):
    with pytest.raises(StoreError, match="baseline's code"):
        older_code.code_of_revision(revision)


def test_outside_a_checkout_there_is_no_older_code(tmp_path, monkeypatch):
    monkeypatch.setattr(older_code, "_ROOT", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(StoreError, match="no git checkout"):
        older_code.code_of_revision("a" * 40)


def test_a_column_of_older_code_sets_the_limits_of_that_code(small_study, tmp_path):
    package = Path(sys.modules["covsvc"].__file__).parent
    copy = tmp_path / "older" / "covsvc"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__", "tables"))
    classical = copy / "methods" / "classical.py"
    text = classical.read_text()
    assert text.count("- observed.b") == 1
    classical.write_text(text.replace("- observed.b", "- 2 * observed.b"))
    column = small_study(methods=["classical"], cl=[0.9]).columns[0]
    observed = Counts(np.array([4, 7]), 1.5)
    now = method_of(column).limits(observed, 0.9).upper
    then = method_of(as_older(column, column.spec, str(tmp_path / "older"))).limits(observed, 0.9).upper
    assert then == pytest.approx(now - 1.5, rel=1e-12)


def test_a_folder_without_covsvc_sets_no_limits(small_study, tmp_path):
    column = small_study(methods=["classical"], cl=[0.9]).columns[0]
    method = method_of(as_older(column, column.spec, str(tmp_path)))
    with pytest.raises(MethodFailed, match="holds no covsvc"):
        method.limits(Counts(np.array([4]), 1.5), 0.9)
