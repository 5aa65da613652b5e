"""What is installed is told, and what is broken does not keep anybody from the others."""

from __future__ import annotations

import json

import pytest
from distribution import install

from covsvc import api, registry
from covsvc.cli import cli


@pytest.fixture(autouse=True)
def broken(tmp_path, monkeypatch):
    """Have a distribution installed that cannot be imported."""
    points = "[covsvc.methods]\nleaver = leaver:Leaver\n[covsvc.experiments]\nnowhere = no_such_module:Nowhere\n"
    install(tmp_path / "site", "broken", points, "2.0", leaver="raise SystemExit('no licence')\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    registry.installed.cache_clear()
    yield
    registry.installed.cache_clear()


REASON = {
    "methods": (
        "leaver: leaver:Leaver of broken 2.0 cannot be imported: SystemExit: no licence; repair it or uninstall it"
    ),
    "experiments": "nowhere: no_such_module:Nowhere of broken 2.0 cannot be imported: "
    "ModuleNotFoundError: No module named 'no_such_module'; repair it or uninstall it",
}


@pytest.mark.parametrize(("kind", "name", "other"), [("methods", "leaver", "cls"), ("experiments", "nowhere", "cleo")])
def test_a_broken_plug_in_is_listed_with_its_reason_beside_the_others(kind, name, other, capsys):
    found = {each["name"]: each for each in api.describe(kind)}
    assert found[name] == {"name": name, "origin": "broken 2.0", "ours": False, "broken": REASON[kind]}
    assert "broken" not in found[other]
    cli.main([kind], standalone_mode=False)
    out = capsys.readouterr().out
    assert f"{name}: broken, of broken 2.0\n    {REASON[kind]}\n" in out
    assert f"\n{other}: " in out
    cli.main([kind, "--json"], standalone_mode=False)
    assert {each["name"] for each in json.loads(capsys.readouterr().out)} == set(found)


def test_limits_are_set_without_a_broken_method(capsys):
    assert {"name": "leaver"} not in api.readers_of("counting")
    cli.main(["limit", "--n", "3", "--b", "2"], standalone_mode=False)
    assert "classical" in capsys.readouterr().out
