"""The README and the pages of docs: their Python and commands print what they say, their studies are some."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pages import blocks, commands, comparable

from covsvc.study import study_of

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
OPERATIONS, VALIDATION = ((ROOT / "docs" / f"{page}.md").read_text() for page in ("operations", "validation"))


def test_the_python_prints_what_the_readme_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    session = {}
    for code, told in zip(blocks("python", README), blocks("text", README), strict=True):
        exec(compile(code, "README.md", "exec"), session)
        printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
        assert printed == told.splitlines()


def test_the_study_is_one():
    (text,) = blocks("yaml", README)
    assert study_of(yaml.safe_load(text)).name == "example"


@pytest.mark.parametrize(("page", "study"), [(OPERATIONS, "small"), (VALIDATION, "limits")])
def test_the_commands_of_a_page_print_what_it_says(covsvc, tmp_path, page, study):
    text, *_ = blocks("yaml", page)
    (tmp_path / f"{study}.yaml").write_text(text)
    path = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    followed = [each for block in blocks("console", page) for each in commands(block)]
    assert len(followed) > 7
    for command, told in followed:
        program, *arguments = shlex.split(command)
        if program == "covsvc" and "|" not in arguments:
            works = arguments[0] in ("run", "validate")
            here = ["--cluster", "none"] if works else []  # has the same bits, and is there at once
            _, printed, said = covsvc(*arguments, *here)
            printed = printed or said
        else:
            ended = subprocess.run(command, shell=True, cwd=tmp_path, env=path, capture_output=True, text=True)
            printed = ended.stdout
        if "--part" not in command:
            assert comparable(printed) == comparable(told), command


@pytest.mark.parametrize("change", [line for block in blocks("yaml", OPERATIONS)[1:] for line in block.splitlines()])
def test_the_keys_of_operations_are_keys_of_studies(change):
    small, *_ = blocks("yaml", OPERATIONS)
    study = study_of(yaml.safe_load(small) | yaml.safe_load(change))
    assert study.budget if "n_toys" in change else study.isolate


def test_every_installed_method_command_and_picture_is_there():
    from covsvc import registry
    from covsvc.cli import cli

    ours = [name for name, entry in registry.installed("methods").items() if entry.value.startswith("covsvc.")]
    assert all(f"`{name}`" in README for name in ours)
    assert all(f"`covsvc {name}" in README for name in cli.commands)
    for picture in re.findall(r"\]\((docs/[^)]+)\)", README):
        assert (ROOT / picture).exists()
