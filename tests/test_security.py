"""What a study file of somebody else can do: cost time that is told beforehand, and nothing else."""

from __future__ import annotations

import json
import time

import psutil
import pytest

from covsvc import api
from covsvc.errors import StudyError, printable
from covsvc.store.repository import open_ledger
from covsvc.study_file import read_studies

STUDY = """name: guest
experiment: counting
methods: [classical]
cl: 0.9
s_true: [1]
b: [1]
n_toys: 1000
toys_per_block: 1000
seed: 1
"""
SECRET = "never-to-be-seen"


@pytest.fixture
def refusal(tmp_path):
    """Return what is said of a study file, within seconds and with little memory."""

    def refuse(text):
        path = tmp_path / "guest.yaml"
        path.write_text(text)
        process = psutil.Process()
        before, begun = process.memory_info().rss, time.process_time()
        with pytest.raises(StudyError) as refused:
            read_studies(path)
        assert time.process_time() - begun < 10
        assert process.memory_info().rss - before < 5e8
        return str(refused.value).replace(str(tmp_path), ".")

    return refuse


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch executed']",
        "!!python/object/new:os.system ['touch executed']",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/object/apply:subprocess.run [[touch, executed]]",
    ],
)
@pytest.mark.parametrize("key", ["name", "experiment", "observed", "x"])
def test_no_tag_of_yaml_runs_code(refusal, value, key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "".join(line for line in STUDY.splitlines(True) if not line.startswith(f"{key}:"))
    assert "could not determine a constructor for the tag" in refusal(f"{text}{key}: {value}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["guest.yaml"]


def _tower(rung, last):
    return "".join(rung.format(this=number, below=", ".join([f"*r{number - 1}"] * 9)) for number in range(1, last + 1))


@pytest.mark.parametrize(
    "bomb",
    [
        "r0: &r0 [x]\n" + _tower("r{this}: &r{this} [{below}]\n", 11),
        "r0: &r0 {x: 1}\n" + _tower("r{this}: &r{this} {{<<: [{below}]}}\n", 11),
    ],
    ids=["aliases", "merges"],
)
def test_aliases_that_multiply_are_refused_with_their_number(refusal, bomb):
    told = refusal(STUDY + bomb)
    assert "values, those that aliases name counted each time, are more than 1,000,000; give a grid as" in told


def test_a_file_that_never_ends_is_refused_with_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr("covsvc.study_file._MOST_BYTES", 10_000)
    with pytest.raises(StudyError, match=r"/dev/zero: holds more than the 0\.01 MB that are read"):
        read_studies("/dev/zero")


@pytest.mark.parametrize("name", ["../x", "/etc/x", "..", "a/b", "a\\b", ".x", "x.lock", "calibrations", "x\0", "x\n"])
def test_the_name_of_a_study_leads_nowhere(refusal, name):
    assert ": name: " in refusal(STUDY.replace("guest", json.dumps(name)))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("s_true: [1]", "s_true: {start: 0, stop: 9, num: 1000000000000}", "less than or equal to 1000000"),
        ("seed: 1", "seed: " + "9" * 100_000, "Exceeds the limit"),
        ("s_true: [1]", "s_true: 1e999999999", "inf: expected events lie in [0, 100000]"),
        ("n_toys: 1000\n", "n_toys: 1e300\n", "less than or equal to 1000000000000"),
        (
            "s_true: [1]\nb: [1]",
            "s_true: {start: 0, stop: 9, num: 3000}\nb: {start: 0, stop: 9, num: 1000}",
            "s_true: 3,000,000 cells x 1 columns (method at cl) are 3,000,000, more than 2,000,000: name fewer values",
        ),
        (
            "s_true: [1]\nb: [1]\nn_toys: 1000\ntoys_per_block: 1000",
            "s_true: {start: 0, stop: 9, num: 600}\nb: [1]\nn_toys: 1000000\ntoys_per_block: 1",
            "n_toys: 600 cells x 1 columns (method at cl) x 1,000,000 blocks are 600,000,000, more than 500,000,000: "
            "raise toys_per_block",
        ),
    ],
)
def test_what_cannot_be_planned_is_refused_with_both_numbers_and_the_cure(refusal, old, new, told):
    assert told in refusal(STUDY.replace(old, new))


def test_what_a_study_says_does_nothing_to_a_terminal(refusal, covsvc, tmp_path):
    escape = "\\e]0;owned\\a\\e[2J\\u202e"
    for text in (
        f'{STUDY}"{escape}": 1\n',
        STUDY.replace("counting", f'"{escape}"'),
        STUDY.replace("[classical]", f'[{{name: classical, label: "{escape}"}}]'),
        STUDY.replace("guest", f'"{escape}"'),
    ):
        told = refusal(text)
        assert all(each.isprintable() for each in told.splitlines()), told
        assert "\\x1b]0;owned\\x07" in told
        code, out, err = covsvc("run", "guest.yaml")
        assert (code, out) == (2, "")
        assert printable(err) == err
    assert len(refusal(f'{STUDY}? "{"x" * 1_000_000}"\n: 1\n')) < 2000


def test_what_others_wrote_into_a_store_does_nothing_to_a_terminal(covsvc, small_study, tmp_path, plugins, monkeypatch):
    module = plugins / "strange_plugins.py"
    module.write_text(module.read_text().replace("no such luck", "\\x1b[2Jowned"))
    study = small_study(methods=["raising"], isolate=False)
    monkeypatch.setattr("covsvc.store.provenance._user", lambda: "\x1b[2Jowned")
    api.run(study, tmp_path / "store")
    with open_ledger(tmp_path / "store", study):
        for command in (("status",), ("history", "small")):
            code, out, _ = covsvc(*command, "--store", tmp_path / "store")
            assert code == 0
            assert printable(out) == out
            assert "owned" in out or command[0] == "history"


@pytest.mark.parametrize("content", [SECRET, json.dumps(SECRET), json.dumps([SECRET]), json.dumps({"key": SECRET})])
def test_a_file_that_a_study_names_is_read_as_what_it_should_be_and_not_told(refusal, tmp_path, content):
    (tmp_path / "secret").write_text(content)
    told = refusal(STUDY.replace("counting", "{name: binned, options: {workspace: secret}}"))
    assert "experiment.options.workspace: workspace: " in told
    assert SECRET not in told


def test_a_study_names_no_plug_in_by_its_module_and_none_that_is_not_installed(refusal, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    for name in ("evil", "evil:Method", "../evil", "evil.py"):
        assert "unknown method" in refusal(STUDY.replace("[classical]", json.dumps([name])))
        assert "unknown experiment" in refusal(STUDY.replace("counting", json.dumps(name)))
    assert not (tmp_path / "executed").exists()


def test_the_environment_is_not_put_into_a_study(tmp_path, monkeypatch):
    monkeypatch.setenv("COVSVC_SECRET", SECRET)
    path = tmp_path / "guest.yaml"
    path.write_text(STUDY.replace("[classical]", '[{name: classical, label: "${COVSVC_SECRET} ~ $HOME {SECRET} %s"}]'))
    (study,) = read_studies(path)
    assert study.methods[0].label == "${COVSVC_SECRET} ~ $HOME {SECRET} %s"
