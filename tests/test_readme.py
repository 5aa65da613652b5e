"""The README: its Python prints what it says, its study is one."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from covsvc.study import study_of

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_prints_what_the_readme_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,), (told,) = blocks("python"), blocks("text")
    exec(compile(code, "README.md", "exec"), {})
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert printed == told.splitlines()


def test_the_study_is_one():
    (text,) = blocks("yaml")
    assert study_of(yaml.safe_load(text)).name == "example"


def test_every_installed_method_and_picture_is_there():
    from covsvc import registry

    ours = [name for name, entry in registry.installed("methods").items() if entry.value.startswith("covsvc.")]
    assert all(f"`{name}`" in README for name in ours)
    for picture in re.findall(r"\]\((docs/[^)]+)\)", README):
        assert (Path(__file__).parents[1] / picture).exists()
