"""The key `cluster` of a study and the option --cluster: what counts, what a study may name, and what is not stored."""

from __future__ import annotations

import pytest
import yaml

from covsvc import api
from covsvc.errors import StudyError
from covsvc.fingerprint import hash_of
from covsvc.study import study_of

TEXT = """\
name: small
experiment: counting
methods: [classical, garwood]
cl: 0.9
s_true: [0, 2]
b: [0, 3]
toys_per_block: 1000
n_toys: 2000
seed: 1999
"""


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch):
    for name in ("COVSVC_CLUSTER", "COVSVC_CLUSTERS", "COVSVC_TLS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def write(tmp_path):
    """Write a study file with a cluster; return its path."""

    def make(cluster, name="small"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(TEXT.replace("small", name) + (f"cluster: {cluster}\n" if cluster is not None else ""))
        return path

    return make


def test_a_study_names_a_cluster_a_scheduler_with_tls_or_its_file(write, tmp_path):
    for named in ("none", "local", "slurm", "tls://10.0.0.5:8786", "TLS://10.0.0.5:8786", "/shared/scheduler.json"):
        assert api.load_study(write(named)).cluster == named
    assert api.load_study(write("up/scheduler.json")).cluster == str(tmp_path / "up" / "scheduler.json")
    assert api.load_study(write(None)).cluster == ""


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("tcp://127.0.0.1:8786", "a study names schedulers with TLS only, tls://HOST:PORT; if you trust it, give --cluster"),
        ("tcp://evil.example.org:8786/x.json", "a study names schedulers with TLS only"),
        ("http://evil.example.org/scheduler.json", "a study names schedulers with TLS only"),
        ("inproc://10.0.0.5/17/1", "a study names schedulers with TLS only"),
        ("mine.yaml", "a study names no file of options, which may run commands; if you trust it, give --cluster mine.yaml"),
        ("MINE.YML", "a study names no file of options"),
        ("slrum", "slrum: unknown cluster, did you mean 'slurm'?"),
        ("{name: slurm, setup: [rm -r /]}", "input should be a valid string"),
        ("!!python/name:os.system", "could not determine a constructor"),
    ],
)  # fmt: skip
def test_a_study_names_nothing_that_could_run_code_of_whoever_wrote_it(write, named, told):
    path = write(named)
    with pytest.raises(StudyError) as error:
        api.load_study(path)
    assert str(error.value).startswith(f"{path}:10:")
    assert told in str(error.value)


def test_what_a_study_is_known_by_does_not_depend_on_its_cluster():
    plain = yaml.safe_load(TEXT)
    study, named = study_of(plain), study_of(plain | {"cluster": "slurm"})
    assert "cluster" not in named.model_dump()
    assert named.model_dump(mode="json") == study.model_dump(mode="json")
    assert named.model_dump_json() == study.model_dump_json()
    assert hash_of(named.model_dump(mode="json")) == hash_of(study.model_dump(mode="json"))
    assert [*study.model_dump()] == [
        "name", "experiment", "methods", "cl", "s_true", "b", "toys_per_block", "n_toys", "seed", "observed", "isolate"
    ]  # fmt: skip


def test_a_store_does_not_hold_the_cluster_and_a_candidate_has_the_same_name(write, tmp_path):
    told = []
    for cluster in (None, "slurm"):
        store = tmp_path / f"store of {cluster}"
        found = api.validate(write(cluster), store, "none").validation.as_dict()
        candidate = found["studies"][0]["candidate"]
        told.append((candidate, api.open_cube(store, "small", candidate).attrs["study"]))
    assert told[0] == told[1]


def test_nothing_is_missing_of_a_study_that_names_another_cluster(write, tmp_path):
    cube = api.run(api.load_study(write("none")), tmp_path / "store")
    again = api.run(api.load_study(write("slurm")), tmp_path / "store")
    assert again.attrs["snapshot"] == cube.attrs["snapshot"]
    assert again.attrs["study"] == cube.attrs["study"]


@pytest.mark.parametrize("command", ["run", "validate"])
def test_the_command_line_comes_before_the_environment_and_that_before_the_study(covsvc, write, monkeypatch, command):
    path = write("tls://127.0.0.1:9")
    code, _, error = covsvc(command, path)
    assert (code, "TLS needs certificates, and none are named" in error) == (2, True)
    monkeypatch.setenv("COVSVC_CLUSTER", "frobnicate")
    code, _, error = covsvc(command, path)
    assert (code, "frobnicate: unknown cluster" in error) == (2, True)
    assert covsvc(command, path, "--cluster", "none")[0] == 0


def test_in_python_none_is_what_the_study_names_and_the_word_none_this_process(write, tmp_path):
    study = api.load_study(write("tls://127.0.0.1:9"))
    with pytest.raises(StudyError, match="TLS needs certificates"):
        api.run(study, tmp_path / "store")
    assert api.run(study, tmp_path / "store", "none").sizes["b"] == 2


def test_what_is_refused_is_a_matter_of_usage_and_touches_no_store(covsvc, write, tmp_path):
    study = write(None)
    for command in (("run", study), ("validate", study), ("tables", "build", "--cl", "0.68", "--out", "tables")):
        code, _, error = covsvc(*command, "--cluster", "tcp://10.0.0.5:8786")
        assert (code, "plain text beyond this machine is refused" in error) == (2, True)
        code, _, error = covsvc(*command, "--cluster", "")
        assert (code, "cluster '': names none" in error) == (2, True)
    assert not (tmp_path / "coverage-cubes").exists()
    assert not (tmp_path / "tables").exists()


def test_studies_of_one_verdict_share_a_cluster(covsvc, write):
    one, two, any_ = write("none", "one"), write("slurm", "two"), write(None, "any")
    code, _, error = covsvc("validate", one, two)
    assert code == 2
    assert "the studies name several clusters: one none, two slurm; give one of them with --cluster" in error
    code, _, error = covsvc("validate", one, any_)
    assert code == 0


def test_the_help_tells_what_a_cluster_may_be(covsvc):
    for command in (("run",), ("validate",), ("tables", "build")):
        told = " ".join(covsvc(*command, "--help")[1].split())
        for word in (
            "COVSVC_CLUSTER;",
            "default: (local)",
            "COVSVC_CLUSTERS",
            "COVSVC_TLS",
            "kubernetes",
            "--scheduler-file",
        ):
            assert word in told
