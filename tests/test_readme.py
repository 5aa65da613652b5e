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

from covsvc.study import study_of

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
OPERATIONS, VALIDATION = ((ROOT / "docs" / f"{page}.md").read_text() for page in ("operations", "validation"))


def blocks(language, page=README):
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def commands(block):
    """Return the commands of a console, each with what it prints."""
    return [(each.partition("\n")[0], each.partition("\n")[2]) for each in re.split(r"^\$ ", block, flags=re.M)[1:]]


def comparable(told):
    """Return what is printed without what differs from run to run: snapshots, commits, times, rates; and line ends."""
    told = re.sub(r"\b[0-9A-HJKMNP-TV-Z]{20}\b", "SNAPSHOT", told)
    told = re.sub(r"\d{4}-\d\d-\d\dT[\d:+]+|\d{8}T\d{6}Z|\d{4}-\d\d-\d\d( \d\d:\d\d(:\d\d)?)?", "TIME", told)
    told = re.sub(r"candidate\.[0-9a-f]{10}", "CANDIDATE", told)
    told = re.sub(r"\b[\w.-]+@[\w.-]+\b(?= )|\d+,\d{3},\d{3} *$", "WHO", told, flags=re.M)
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
