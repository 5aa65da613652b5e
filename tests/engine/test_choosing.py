"""Which cluster is meant by what is given, and what is refused."""

from __future__ import annotations

import json

import pytest

from covsvc.engine.clusters import connect
from covsvc.engine.clusters.choosing import Choice, choose, chosen
from covsvc.errors import StudyError, UnknownName


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch):
    monkeypatch.delenv("COVSVC_CLUSTERS", raising=False)


def refused(given):
    with pytest.raises(StudyError) as error:
        choose(str(given))
    return str(error.value)


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("tls://scheduler.example.org:8786", "tls://scheduler.example.org:8786"),
        ("TLS://Scheduler:8786", "tls://scheduler:8786"),
        ("tls://[2001:db8::1]:8786", "tls://[2001:db8::1]:8786"),
        ("tcp://127.0.0.1:8786", "tcp://127.0.0.1:8786"),
        ("tcp://127.9.8.7:1/", "tcp://127.9.8.7:1"),
        ("TCP://LocalHost:8786", "tcp://localhost:8786"),
        ("tcp://[::1]:8786", "tcp://[::1]:8786"),
    ],
)
def test_an_address_is_a_scheduler(given, address):
    assert choose(given) == Choice(address=address, told=given)


@pytest.mark.parametrize(
    "host",
    [
        "10.0.0.5",
        "scheduler",
        "0.0.0.0",
        "[::]",
        "[2001:db8::1]",
        "127.0.0.1.example.org",
        "localhost.example.org",
        "ip6-localhost",  # which /etc/hosts may take for ::1, or for anything else
        "0177.0.0.1",
        "2130706433",
    ],
)
def test_plain_text_beyond_this_machine_is_refused_with_the_cure(host):
    told = refused(f"tcp://{host}:8786")
    assert told.startswith(f"tcp://{host}:8786: plain text beyond this machine is refused: ")
    assert f"give tls://{host}:8786" in told
    assert "tcp://127.0.0.1:8786" in told


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("", "cluster '': names none; give local, none, slurm, tls://HOST:8786, "),
        (" ", "cluster ' ': names none"),
        ("http://127.0.0.1:8787", "http is not spoken here; tls://127.0.0.1:8787, or tcp://127.0.0.1:8787"),
        ("inproc://10.0.0.5/17/1", "inproc://10.0.0.5/17/1: no address; one is tls://HOST:PORT"),
        ("tls://scheduler", "tls://scheduler: no port; that of a scheduler is 8786"),
        ("tls://scheduler:port", "tls://scheduler:port: no address; one is tls://HOST:PORT, or tls://[::1]:PORT"),
        ("tls://scheduler:99999", "no address"),
        ("tls://::1:8786", "no address"),
        ("tls://[::1:8786", "no address"),
        ("tls://:8786", "no address"),
        ("tls://scheduler:8786/status", "no address"),
        ("127.0.0.1:8786", "127.0.0.1:8786: an address begins with tls://, or with tcp:// if it is one of this machine"),
        ("slrum", "slrum: unknown cluster, did you mean 'slurm'?; known are htcondor, kubernetes, local, none, pbs, slurm"),
        ("SLURM", "SLURM: unknown cluster"),
    ],
)  # fmt: skip
def test_what_is_no_cluster_is_refused_with_the_cure(given, told):
    assert told in refused(given)


def test_a_password_in_an_address_is_refused_and_not_told():
    told = refused("tls://user:secret@scheduler:8786")
    assert told == "tls://: an address of a scheduler holds no user and no password"


def test_none_is_this_process_and_a_name_is_a_cluster_with_its_defaults():
    assert choose("none") is None
    assert choose("slurm") == Choice("slurm", told="slurm")


def test_a_scheduler_file_gives_its_address(tmp_path):
    path = tmp_path / "scheduler.json"
    path.write_text(json.dumps({"type": "Scheduler", "address": "tls://10.0.0.5:8786", "workers": {}}))
    assert choose(str(path)) == Choice(address="tls://10.0.0.5:8786", told=str(path))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "No such file or directory; `dask scheduler --scheduler-file` writes one when it is up"),
        ("{", "no JSON; `dask scheduler --scheduler-file` writes what is meant"),
        ("\0\xff", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "no scheduler file: it has no address"),
        ('{"address": 8786}', "no scheduler file: it has no address"),
        ('{"name": "binned", "bins": []}', "no scheduler file: it has no address"),
        ('{"address": "tcp://10.0.0.5:8786"}', "tcp://10.0.0.5:8786: plain text beyond this machine is refused"),
        ('{"address": "10.0.0.5:8786"}', "10.0.0.5:8786: no address"),
    ],
    ids=["missing", "cut", "binary", "deep", "list", "number", "model", "plain", "bare"],
)
def test_what_is_no_scheduler_file_is_refused_by_its_name(tmp_path, text, told):
    path = tmp_path / "scheduler.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    assert refused(path).startswith(f"{path}: {told}")


def test_a_file_of_options_names_its_cluster(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: slurm\nwalltime: 02:00:00\nworkers: {minimum: 1, maximum: 20}\n")
    options = {"walltime": "02:00:00", "workers": {"minimum": 1, "maximum": 20}}
    assert choose(str(path)) == Choice("slurm", options=options, told=str(path))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, ": no such file; one to begin with is in deploy/clusters"),
        ("name: [", ":1:8: no YAML: "),
        ("name: slurm\nname: pbs\n", ":2:1: name: the key stands twice"),
        ("name: !!python/object/apply:os.system [true]\n", ":1:7: could not determine a constructor"),
        ("slurm", ": one mapping of keys to values is expected"),
        ("", ": one mapping of keys to values is expected"),
        ("name: slurm\n---\nname: pbs\n", ": one mapping of keys to values is expected"),
        ("workers: 3\n", ": names no cluster; its first line is such as `name: slurm`"),
        ("name: slrum\n", ": name: slrum: unknown cluster, did you mean 'slurm'?"),
        ("name: example\nexperiment: counting\n", ": a study, not the options of a cluster"),
    ],
    ids=["missing", "cut", "twice", "code", "word", "empty", "two", "nameless", "unknown", "study"],
)
def test_what_is_no_file_of_options_is_refused_by_its_name(tmp_path, text, told):
    path = tmp_path / "mine.yml"
    if text is not None:
        path.write_text(text)
    assert refused(path).startswith(f"{path}{told}")


def test_a_name_takes_its_options_from_the_folder_of_options(tmp_path, monkeypatch):
    monkeypatch.setenv("COVSVC_CLUSTERS", str(tmp_path))
    (tmp_path / "slurm.yaml").write_text("name: slurm\npartition: long\n")
    assert choose("slurm") == Choice("slurm", options={"partition": "long"}, told=str(tmp_path / "slurm.yaml"))
    assert choose("local") == Choice("local", told="local")
    (tmp_path / "local.yaml").write_text("name: pbs\n")
    assert "holds the options of pbs, not of local; rename it" in refused("local")
    monkeypatch.setenv("COVSVC_CLUSTERS", str(tmp_path / "none"))
    assert refused("local").endswith("/none: no such folder; it holds the options of clusters, such as slurm.yaml")


def test_what_is_given_comes_before_what_studies_name(small_study):
    studies = [small_study(cluster="slurm"), small_study(name="other")]
    assert chosen("pbs", *studies) == Choice("pbs", told="pbs")
    assert chosen("none", *studies) is None
    assert chosen(None, *studies) == Choice("slurm", told="slurm")
    assert chosen(None, small_study(cluster="none")) is None
    assert chosen(None, small_study()) is None
    assert chosen(client := object(), *studies) is client


def test_studies_that_name_several_clusters_are_refused(small_study):
    with pytest.raises(StudyError) as error:
        chosen(None, small_study(cluster="slurm"), small_study(name="other", cluster="pbs"))
    told = "the studies name several clusters: small slurm, other pbs; give one of them with --cluster"
    assert str(error.value) == told


def test_a_scheduler_file_that_a_study_names_leads_to_tls_alone(small_study, tmp_path):
    path = tmp_path / "scheduler.json"
    study = small_study(cluster=str(path))
    path.write_text('{"address": "tls://10.0.0.5:8786"}')
    assert chosen(None, study).address == "tls://10.0.0.5:8786"
    path.write_text('{"address": "tcp://127.0.0.1:8786"}')
    with pytest.raises(StudyError, match="a study names schedulers with TLS only; if you trust it, give --cluster /"):
        chosen(None, study)
    assert chosen(str(path), study).address == "tcp://127.0.0.1:8786"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: local\nnamespace: coverage\n", "local: namespace: unknown option"),
        ("name: local\nworker: 3\n", "local: worker: unknown option, did you mean 'workers'?"),
        ("name: local\nworkers: 0\n", "local: workers: 0: "),
        ("name: local\nworkers: {minimum: 1, maximum: 3}\n", "local: workers: {'minimum': 1, 'maximum': 3}: "),
        ("name: slurm\nnamespace: coverage\n", "slurm: namespace: unknown option"),
    ],
)
def test_options_of_another_cluster_are_refused_by_the_name_of_the_file(tmp_path, text, told):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(StudyError) as error, connect(str(path)):
        pass
    assert str(error.value).startswith(f"{path}: {told}")


def test_a_scheduler_that_runs_has_its_workers_already():
    told = "tcp://127.0.0.1:9: has the workers that others start; leave out that they are 3"
    with pytest.raises(StudyError) as error, connect("tcp://127.0.0.1:9", 3):
        pass
    assert str(error.value) == told


def test_a_name_nobody_has_is_an_unknown_name():
    with pytest.raises(UnknownName):
        choose("slrum")
