"""The README and the page on operations: their Python and commands print what they say, their studies are some."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from covsvc.study import study_of

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def blocks(language, page=README):
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def commands(block):
    """Return the commands of a console, each with what it prints."""
    return [(each.partition("\n")[0], each.partition("\n")[2]) for each in re.split(r"^\$ ", block, flags=re.M)[1:]]


def comparable(told):
    """Return what is printed without what differs from run to run: snapshots, commits, times, rates; and line ends."""
    told = re.sub(r"\b[0-9A-HJKMNP-TV-Z]{20}\b", "SNAPSHOT", told)
    told = re.sub(r"\d{4}-\d\d-\d\dT[\d:+]+", "TIME", told)
    told = re.sub(
        r"toys drawn in .*? of CPU|\d+ of \d+ commits|[\d,]+ files, [\d.,]+ \w*|time: .*? on|memory: .*", "COST", told
    )
    return told.split()


def test_the_python_prints_what_the_readme_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,), (told,) = blocks("python"), blocks("text")
    exec(compile(code, "README.md", "exec"), {})
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert printed == told.splitlines()


def test_the_study_is_one():
    (text,) = blocks("yaml")
    assert study_of(yaml.safe_load(text)).name == "example"


def test_the_commands_of_operations_print_what_the_page_says(covsvc, tmp_path):
    small, *_ = blocks("yaml", OPERATIONS)
    (tmp_path / "small.yaml").write_text(small)
    path = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    followed = [each for block in blocks("console", OPERATIONS) for each in commands(block)]
    assert len(followed) > 20
    for command, told in followed:
        program, *arguments = shlex.split(command)
        if program == "covsvc" and "|" not in arguments:
            here = ["--cluster", "none"] if arguments[0] == "run" else []  # has the same bits, and is there at once
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
