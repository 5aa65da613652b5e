"""Option files of batch clusters, and their drivers: what they say is what holds, and batch systems take them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from checkers import hold_sound, needs
from condor import ask
from pages import blocks

from covsvc.engine.clusters.choosing import choose
from covsvc.engine.clusters.options import HTCondorCluster, PBSCluster, SlurmCluster, read_options

DEPLOY = Path(__file__).parents[1] / "deploy"
MODELS = {"slurm": SlurmCluster, "pbs": PBSCluster, "htcondor": HTCondorCluster}
SUBMIT = DEPLOY / "htcondor" / "covsvc-run.sub"
SCRIPT = DEPLOY / "pbs" / "covsvc-run.pbs"
EXAMPLE = re.compile(r"^# (?=[a-z_]+: |- |  \S+: )", re.M)


def text_of(name):
    return (DEPLOY / "clusters" / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", MODELS)
def test_what_stands_in_an_option_file_is_what_holds_without_it(name):
    choice = choose(str(DEPLOY / "clusters" / f"{name}.yaml"))
    assert choice.name == name
    assert read_options(MODELS[name], name, choice.options) == read_options(MODELS[name], name, {})


@pytest.mark.parametrize("name", MODELS)
def test_an_option_file_has_every_option_and_its_examples_are_taken(name, tmp_path):
    examples = EXAMPLE.sub("", re.sub(r": (\[\]|\{\})$", ":", text_of(name), flags=re.M))
    (tmp_path / "all.yaml").write_text(examples)
    choice = choose(str(tmp_path / "all.yaml"))
    assert set(choice.options) == set(MODELS[name].model_fields)
    given = read_options(MODELS[name], name, choice.options)
    assert given.setup
    assert given.directives


@pytest.mark.parametrize("name", MODELS)
def test_what_a_file_leaves_open_is_open(name):
    """An option that is an example only has no default that would differ from what the file says."""
    left = set(MODELS[name].model_fields) - set(yaml.safe_load(text_of(name)))
    of_the_machine = {"python", "shared_folder"}
    assert all(MODELS[name].model_fields[each].default is None for each in left - of_the_machine)
    assert of_the_machine <= left


POLICY = """
import json, sys
import classad, htcondor
submit = htcondor.Submit(sys.stdin.read())
(ad,) = submit.jobs(clusterid=7)
told = {"ad": {name: str(value) for name, value in ad.items()}, "after": []}
for ended in json.loads(sys.argv[1]):
    undefined = classad.Value.Undefined
    ad.update({"ExitBySignal": False, "ExitCode": undefined, "ExitSignal": undefined} | ended)
    held = ad.eval("OnExitHold")
    code = ad.eval("OnExitHoldSubCode")
    reason = ad.eval("OnExitHoldReason")
    ad.update({"HoldReasonCode": 3, "HoldReasonSubCode": code, "NumHolds": 1})
    released = []
    for passed in (100, 400):
        ad["EnteredCurrentStatus"] = classad.ExprTree(f"time() - {passed}")
        released.append(ad.eval("PeriodicRelease"))
    ad["NumHolds"] = 100
    told["after"].append([held, reason, *released, ad.eval("PeriodicRelease")])
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def driver_of_htcondor():
    """Return what HTCondor makes of the description of the driver, and does when it ends."""
    ended = [{"ExitCode": code} for code in (0, 1, 2, 3, 4)] + [{"ExitBySignal": True, "ExitSignal": 9}]
    return ask(POLICY, SUBMIT.read_text(), json.dumps(ended), HOME="/home/ana")


def test_htcondor_runs_the_driver_on_the_submit_machine_where_it_can_submit(driver_of_htcondor):
    ad = driver_of_htcondor["ad"]
    local = "12"  # CONDOR_UNIVERSE_LOCAL
    assert (ad["JobUniverse"], ad["ShouldTransferFiles"], ad["JobBatchName"]) == (local, "NO", "covsvc-run")
    assert ad["Cmd"] == "/home/ana/covsvc-env/bin/covsvc"
    assert ad["Arguments"] == "run study.yaml --cluster htcondor.yaml --store coverage"


def test_htcondor_goes_on_after_a_lost_cluster_and_holds_what_has_to_be_mended(driver_of_htcondor):
    in_words = "covsvc run ended with {}; its last words are in covsvc-run.err"
    done, *others, lost, killed = driver_of_htcondor["after"]
    assert done[0] is False
    for code, after in zip((1, 2, 3), others, strict=True):
        assert after == [True, in_words.format(code), False, False, False]
    # goes on after five minutes, but not for ever
    assert lost == [True, in_words.format(4), False, True, False]
    assert killed == [True, "covsvc run was ended by signal 9", False, True, False]


@needs("shellcheck")
def test_the_driver_of_pbs_is_sound():
    ended = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout


def test_every_line_for_pbs_is_one_of_its_manual():
    """Of qsub(1B) of OpenPBS: -A, -j, -l, -N, -q, -r, -S take what is here, and end where commands begin."""
    known = {
        "-A": r"\w+",
        "-j": r"oe|eo|n",
        "-l": r"select=\d+:ncpus=\d+:mem=\d+(kb|mb|gb)|walltime=\d+:[0-5]\d:[0-5]\d",
        "-N": r"[A-Za-z][\w.+-]{0,229}",
        "-q": r"\w+",
        "-r": r"y|n",
        "-S": r"/\S+",
    }
    lines = SCRIPT.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    told = [line.removeprefix("#").split(" ", 2) for line in lines if line.startswith(("#PBS", "##PBS"))]
    assert len(told) == 8
    for prefix, option, value in told:
        assert prefix == "#PBS" or prefix == "PBS"
        assert re.fullmatch(known[option], value), (option, value)
    assert not any(line.startswith("#PBS") for line in lines[first:])


@pytest.fixture
def site(tmp_path):
    """Return a folder where a job of PBS runs: with the script, covsvc, and a qsub that keeps what it is told."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "covsvc").symlink_to(Path(sys.executable).parent / "covsvc")
    (programs / "qsub").write_text('#!/bin/sh\necho "$@" >>told\n')
    (programs / "qsub").chmod(0o755)
    shutil.copy(SCRIPT, tmp_path)
    return tmp_path


def run_script(site, study, changes=()):
    (site / "study.yaml").write_text(study)
    script = (site / SCRIPT.name).read_text().replace("--cluster pbs.yaml", "--cluster none")
    for before, after in changes:
        assert before in script
        script = script.replace(before, after)
    (site / "as_spooled").write_text(script)
    ended = subprocess.run(
        ["bash", str(site / "as_spooled")],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PATH": f"{site / 'bin'}:{os.environ['PATH']}", "PBS_O_WORKDIR": str(site)},
    )
    told = site / "told"
    return ended.returncode, ended.stderr, told.read_text() if told.exists() else ""


STUDY = """\
name: small
experiment: counting
methods: [classical]
cl: 0.9
s_true: [0, 1]
b: [1]
n_toys: {n_toys}
toys_per_block: 1000000
seed: 1
"""


@pytest.mark.system
def test_the_driver_of_pbs_ends_with_the_code_of_covsvc(site):
    code, told, submitted = run_script(site, "name: small\n")
    assert (code, submitted) == (2, ""), told
    assert "covsvc run ended with 2" in told


@pytest.mark.system
def test_the_driver_of_pbs_submits_itself_again_before_its_time_is_over(site):
    changes = [("seconds=$((24 * 3600 - 900))", "seconds=3")]
    code, told, submitted = run_script(site, STUDY.replace("{n_toys}", "20000000000"), changes)
    assert code == 130, told
    assert submitted == "-v COVSVC_ROUND=2,COVSVC_SCRIPT=covsvc-run.pbs covsvc-run.pbs\n"
    assert "its time is over; submitted again, to go on from what is stored" in told


@needs("shellcheck")
@pytest.mark.parametrize("name", ["clusters", "htcondor", "pbs"])
def test_every_line_of_the_pages_is_sound(name):
    page = (DEPLOY / name / "README.md").read_text()
    for block in blocks("sh", page):
        hold_sound(block)
    for path in re.findall(r"deploy/\S+\.(?:yaml|sub|pbs)", page):
        assert (DEPLOY.parent / path).exists(), path
