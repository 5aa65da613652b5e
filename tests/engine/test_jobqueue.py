"""Clusters of batch jobs: what is submitted, and what becomes of jobs, on a batch system of processes."""

from __future__ import annotations

import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dask
import process_jobs
import psutil
import pytest
from condor import ask
from distributed import Client, wait
from ports import free_ports

from covsvc.engine.clusters import _silence, htcondor, jobqueue, pbs, slurm
from covsvc.engine.clusters.encryption import Certificates
from covsvc.engine.clusters.jobs import job_class
from covsvc.engine.clusters.options import read_options
from covsvc.engine.gathering import patience_of
from covsvc.errors import ClusterError, StudyError

FILES = Certificates(*(Path("/home/ana/run") / name for name in ("ca.pem", "cert.pem", "key.pem")))
PYTHON = {"python": "/opt/covsvc/bin/python"}
SYSTEMS = {system.name: system for system in (slurm.SLURM, pbs.PBS, htcondor.HTCONDOR)}


@pytest.fixture(scope="module", autouse=True)
def _library():
    """Import dask-jobqueue as a cluster does, which leaves Ctrl-C as it was."""
    jobqueue.with_library("slurm", "dask_jobqueue", "hpc")


# Written after sbatch(1) of Slurm, qsub(1B) of OpenPBS, condor_submit(1) of HTCondor and `dask worker --help`.
EXPORTS = """\
export DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False
export DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL=1s
export DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL=5s
export DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION=True
"""

SLURM_SCRIPT = f"""\
#!/usr/bin/env bash

#SBATCH -J covsvc
#SBATCH -e /data/logs/covsvc-%J.err
#SBATCH -o /data/logs/covsvc-%J.out
#SBATCH -p short
#SBATCH -A atlas
#SBATCH -n 1
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH -t 12:00:00
#SBATCH --export=NONE
#SBATCH --constraint=avx2
{EXPORTS}module load python/3.11
/opt/covsvc/bin/python -m distributed.cli.dask_worker tls://10.0.0.1:8786 --name covsvc-0 --nthreads 1 \
--memory-limit 2.00GiB --nworkers 4 --nanny --death-timeout 60 --local-directory "$TMPDIR" \
--no-dashboard --dashboard-address 127.0.0.1:0 \
--tls-ca-file /home/ana/run/ca.pem --tls-cert /home/ana/run/cert.pem --tls-key /home/ana/run/key.pem \
--lifetime 42600s --lifetime-stagger 300s --interface ib0 --protocol tls://
"""

PBS_SCRIPT = f"""\
#!/usr/bin/env bash

#PBS -N covsvc
#PBS -q short
#PBS -A atlas
#PBS -l select=1:ncpus=1:mem=2048MB
#PBS -l walltime=00:10:00
#PBS -S /bin/bash
#PBS -e /dev/null
#PBS -o /dev/null
#PBS -W group_list=atlas
{EXPORTS}/opt/covsvc/bin/python -m distributed.cli.dask_worker tls://10.0.0.1:8786 --name covsvc-0 --nthreads 1 \
--memory-limit 2.00GiB --nanny --death-timeout 60 \
--no-dashboard --dashboard-address 127.0.0.1:0 \
--tls-ca-file /home/ana/run/ca.pem --tls-cert /home/ana/run/cert.pem --tls-key /home/ana/run/key.pem \
--lifetime 480s --lifetime-stagger 60s --protocol tls://
"""

HTCONDOR_SCRIPT = """\
#!/usr/bin/env bash

MY.DaskWorkerName = "htcondor--$F(MY.JobId)--"
batch_name = covsvc
RequestCpus = MY.DaskWorkerCores
RequestMemory = floor(MY.DaskWorkerMemory / 1048576)
RequestDisk = floor(MY.DaskWorkerDisk / 1024)
MY.JobId = "$(ClusterId).$(ProcId)"
MY.DaskWorkerCores = 2
MY.DaskWorkerMemory = 4294967296
MY.DaskWorkerDisk = 1073741824
transfer_executable = False
should_transfer_files = YES
transfer_input_files = /home/ana/run/ca.pem, /home/ana/run/cert.pem, /home/ana/run/key.pem
encrypt_input_files = /home/ana/run/key.pem
transfer_output_files = ""
when_to_transfer_output = ON_EXIT
accounting_group = group_atlas
requirements = HasAVX2
allowed_execute_duration = 14400
+JobFlavour = "workday"

Arguments = "-c 'export DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False; \
export DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL=1s; export DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL=5s; \
export DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION=True; cd $(DOLLAR)(pwd); echo ""it''s""; \
/opt/covsvc/bin/python -m distributed.cli.dask_worker tls://10.0.0.1:8786 --name covsvc-0 --nthreads 1 \
--memory-limit 2.00GiB --nworkers 2 --nanny --death-timeout 60 --no-dashboard --dashboard-address 127.0.0.1:0 \
--tls-ca-file ca.pem --tls-cert cert.pem --tls-key key.pem \
--lifetime 13800s --lifetime-stagger 300s --protocol tls://'"
Executable = /bin/bash

Queue
"""

GOLDEN = {
    "slurm": (
        SLURM_SCRIPT,
        {
            "partition": "short",
            "account": "atlas",
            "workers_per_job": 4,
            "memory": "2 GiB",
            "walltime": "12:00:00",
            "setup": ["module load python/3.11"],
            "directives": ["--constraint=avx2"],
            "local_folder": "$TMPDIR",
            "interface": "ib0",
        },
    ),
    "pbs": (
        PBS_SCRIPT,
        {
            "queue": "short",
            "account": "atlas",
            "memory": "2 GiB",
            "walltime": "00:10:00",
            "directives": ["-W group_list=atlas"],
        },
    ),
    "htcondor": (
        HTCONDOR_SCRIPT,
        {
            "account": "group_atlas",
            "requirements": "HasAVX2",
            "workers_per_job": 2,
            "memory": "2 GiB",
            "disk": "1 GiB",
            "walltime": "04:00:00",
            "setup": ["cd $(pwd)", 'echo "it\'s"'],
            "directives": {"+JobFlavour": '"workday"'},
        },
    ),
}

ADS = """
import json, sys
import htcondor
ads = [dict(ad) for ad in htcondor.Submit(sys.stdin.read()).jobs(clusterid=7)]
print(json.dumps(ads, default=str))
"""


def script(name, log_folder=None, **options):
    """Return what is submitted for a job."""
    system = SYSTEMS[name]
    told = read_options(system.options, name, PYTHON | options | ({"log_folder": log_folder} if log_folder else {}))
    with dask.config.set(jobqueue.configuration()):
        job = job_class(system.job(), jobqueue.SECTION)
        settings = jobqueue.settings(system, told, FILES)
        made = job("tls://10.0.0.1:8786", name="covsvc-0", protocol="tls://", interface=told.interface, **settings)
        return made.job_script()


def golden(name, tmp_path):
    """Return what is submitted with the options of the golden text, and the text."""
    text, options = GOLDEN[name]
    if "/data/logs" in text:  # is made when it is not there
        options = options | {"log_folder": str(tmp_path)}
        text = text.replace("/data/logs", str(tmp_path))
    return script(name, **options), text


@pytest.mark.parametrize("name", GOLDEN)
def test_the_script_is_the_one_that_the_manuals_ask_for(name, tmp_path):
    assert golden(name, tmp_path) == (golden(name, tmp_path)[1],) * 2


@pytest.mark.parametrize("name", GOLDEN)
def test_a_jobqueue_yaml_of_the_user_changes_nothing(name, tmp_path):
    surprising = {"queue": "surprise", "job-extra-directives": ["--surprise"], "death-timeout": 1, "cores": 64}
    with dask.config.set({f"jobqueue.{name}": surprising}):
        made, text = golden(name, tmp_path)
    assert made == text


@pytest.mark.parametrize("name", ["slurm", "pbs"])
def test_the_script_is_one_of_bash(name, tmp_path):
    subprocess.run(["bash", "-n"], input=golden(name, tmp_path)[0], text=True, check=True, timeout=60)


@pytest.mark.parametrize("name", ["slurm", "pbs"])
def test_what_is_printed_goes_nowhere_unless_it_is_told_where(name, tmp_path):
    assert script(name).count("/dev/null") == 2
    assert "/dev/null" not in script(name, log_folder=str(tmp_path))
    assert str(tmp_path) in script(name, log_folder=str(tmp_path))
    assert str(tmp_path) in script("htcondor", log_folder=str(tmp_path))


def test_pbs_takes_resources_as_they_are_told():
    assert "#PBS -l nodes=1:ppn=1,mem=2gb\n" in script("pbs", resources="nodes=1:ppn=1,mem=2gb")


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_job_that_lasts_has_workers_that_last(name):
    assert "--lifetime" not in script(name, walltime=None)


def test_paths_with_spaces_stay_one_word():
    assert "'/opt/my covsvc/python' -m" in script("slurm", python="/opt/my covsvc/python")
    assert '--local-directory "/my scratch"' in script("slurm", local_folder="/my scratch")


def test_htcondor_makes_of_the_description_the_job_that_is_meant():
    made = script("htcondor", **GOLDEN["htcondor"][1])
    (ad,) = ask(ADS, made)
    assert (ad["Cmd"], ad["TransferExecutable"], ad["JobBatchName"]) == ("/bin/bash", False, "covsvc")
    assert ad["TransferInput"].split(",") == ["/home/ana/run/ca.pem", "/home/ana/run/cert.pem", "/home/ana/run/key.pem"]
    assert (ad["ShouldTransferFiles"], ad["EncryptInputFiles"]) == ("YES", "/home/ana/run/key.pem")
    assert (ad["AcctGroup"], ad["AllowedExecuteDuration"], ad["JobFlavour"]) == ("group_atlas", 14400, "workday")
    assert "HasAVX2" in ad["Requirements"]
    assert ad["DaskWorkerCores"] == 2
    assert ad["Environment"] == ""
    # blanks and quotes of an argument stand between ' there, a ' in it twice
    assert "cd' '$(pwd);" in ad["Arguments"]
    assert "\"it''''s\"" in ad["Arguments"]


def options(folder, **told):
    return {"shared_folder": str(folder / "shared"), "log_folder": str(folder), "interface": "lo"} | told


def until(happened: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"nothing for {seconds} s"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Yield client and folder of a cluster of one job of two workers, or of two where there is work."""
    folder = tmp_path_factory.mktemp("cluster")
    told = options(folder, workers={"minimum": 1, "maximum": 3}, workers_per_job=2, patience=500)
    with pytest.MonkeyPatch.context() as patch, _silence():
        process_jobs.looking_often(patch)
        scheduler, page = free_ports(2)
        told |= {"port": scheduler, "dashboard": f"127.0.0.1:{page}"}
        with jobqueue.start(process_jobs.system(), None, told) as client:
            assert client.scheduler.address == f"tls://127.0.0.1:{scheduler}"
            assert client.scheduler_info()["services"]["dashboard"] == page
            client.wait_for_workers(2, timeout=60)
            yield client, folder
            started = [job.job_id for job in client.cluster.workers.values()]
    until(lambda: not any(map(process_jobs.is_alive, started)))
    assert list((folder / "shared").iterdir()) == []


def jobs_of(client):
    return [job.job_id for job in client.cluster.workers.values()]


@pytest.mark.system
def test_all_talk_is_encrypted_both_ways(cluster):
    client, _ = cluster
    addresses = [client.scheduler.address, *client.scheduler_info(n_workers=-1)["workers"]]
    assert {address.partition("://")[0] for address in addresses} == {"tls"}
    host, port = client.scheduler.address.removeprefix("tls://").rsplit(":", 1)
    plain = ssl.create_default_context()
    plain.check_hostname, plain.verify_mode = False, ssl.CERT_NONE
    with (  # without a certificate of its own
        pytest.raises(ssl.SSLError),
        socket.create_connection((host, int(port)), timeout=10) as raw,
        plain.wrap_socket(raw) as wrapped,
    ):
        wrapped.recv(1)
    with pytest.raises((OSError, TimeoutError, RuntimeError, ValueError)):
        Client(f"tcp://{host}:{port}", timeout="2s")


@pytest.mark.system
def test_the_key_is_in_a_file_of_the_user_only_and_nowhere_else(cluster):
    client, folder = cluster
    (of_run,) = (folder / "shared").iterdir()
    assert of_run.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in of_run.iterdir()} == {0o600}
    key = (of_run / "key.pem").read_text().splitlines()[1]
    assert key not in client.cluster.job_script()
    assert key not in (folder / "log").read_text()
    (job,) = jobs_of(client)
    told = " ".join(psutil.Process(int(job)).cmdline())
    assert str(of_run / "key.pem") in told
    assert key not in told
    assert key not in str(psutil.Process(int(job)).environ())


@pytest.mark.system
def test_what_is_served_of_workers_and_scheduler_is_for_this_machine_only(cluster):
    client, _ = cluster
    told = client.scheduler_info(n_workers=-1)
    ports = [told["services"]["dashboard"], *(each["services"].get("dashboard") for each in told["workers"].values())]
    processes = [psutil.Process(), *psutil.Process(int(jobs_of(client)[0])).children(recursive=True)]
    listening = [
        each.laddr
        for process in processes
        for each in process.net_connections("inet")
        if each.status == psutil.CONN_LISTEN
    ]
    assert ports[0] in [port for _, port in listening]
    assert {host for host, _ in listening} <= {"127.0.0.1", "::1"}


@pytest.mark.system
def test_another_worker_is_waited_for_as_long_as_the_first_one(cluster):
    assert patience_of(cluster[0]) == 500


@pytest.mark.system
def test_workers_are_told_to_talk_little(cluster):
    client, _ = cluster

    def configuration():
        return dask.config.get("distributed.worker.profile.enabled"), dask.config.get("distributed.admin.tick.interval")

    assert set(client.run(configuration).values()) == {(False, "1s")}


@pytest.mark.system
def test_a_job_of_several_workers_that_is_ended_is_replaced(cluster):
    client, _ = cluster
    (job,) = jobs_of(client)
    process_jobs.end(job)
    until(lambda: jobs_of(client) != [job] and len(client.cluster.scheduler.workers) == 2)
    assert not process_jobs.is_alive(job)


@pytest.mark.system
def test_there_are_more_workers_where_there_is_more_work_but_no_more_than_wanted(cluster):
    client, _ = cluster
    tasks = [client.submit(time.sleep, 0.2, pure=False) for _ in range(20)]
    until(lambda: len(client.cluster.scheduler.workers) == 4)  # whole jobs: three are four
    more = [client.submit(time.sleep, 0.05, pure=False) for _ in range(100)]
    wait([*tasks, *more])
    assert len(jobs_of(client)) == 2


@pytest.fixture
def quick(monkeypatch):
    process_jobs.looking_often(monkeypatch)
    with _silence():
        yield


def refused(folder, system, **told):
    """Return why a cluster did not come up; none of its jobs is left, and no certificate."""
    before = time.monotonic()
    with pytest.raises(ClusterError) as lost, jobqueue.start(system, None, options(folder, **told)):
        pass
    assert time.monotonic() - before < 30
    assert list((folder / "shared").iterdir()) == []
    return str(lost.value)


@pytest.mark.system
def test_a_job_that_is_not_taken_is_told_in_the_words_of_the_batch_system(tmp_path, quick):
    def job():
        class Refused(process_jobs.job()):
            def __init__(self, *arguments, **given):
                super().__init__(*arguments, **given)
                self.submit_command = "sh -c 'echo no such partition: nope >&2; echo more words >&2; exit 1'"

        return Refused

    told = refused(tmp_path, process_jobs.system(job), workers=3)
    assert told == "processes: no job is taken: no such partition: nope"


@pytest.mark.system
def test_jobs_that_end_before_their_workers_joined_are_not_submitted_for_ever(tmp_path, quick):
    told = refused(tmp_path, process_jobs.system(), workers=1, python="echo", host="127.0.0.1", interface=None)
    assert re.fullmatch(rf"processes: [34] jobs ended before their workers joined; those in {tmp_path} say why", told)
    submitted = re.findall(r"^-m \S+ tls://127\.0\.0\.1:\d+ ", (tmp_path / "log").read_text(), re.M)
    assert len(submitted) in (3, 4, 5)


@pytest.mark.system
def test_patience_ends_and_the_jobs_with_it(tmp_path, quick):
    record = tmp_path / "jobs"
    told = refused(
        tmp_path, process_jobs.system(), workers=1, patience=0.5, setup=[f"echo $$ >{record}; exec sleep 600"]
    )
    assert told == "processes: no worker joined within 0 s; see to the queue, or raise patience"
    until(lambda: not record.exists() or not process_jobs.is_alive(record.read_text()))


def test_a_library_that_is_not_installed_is_named_with_the_cure():
    with pytest.raises(StudyError) as refused:
        jobqueue.with_library("slurm", "dask_nowhere.core", "hpc")
    assert str(refused.value) == "slurm: needs dask-nowhere, which is not installed; pip install 'covsvc[hpc]'"


def test_where_no_jobs_are_submitted_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, connect in (("sbatch", slurm.connect), ("qsub", pbs.connect), ("condor_submit", htcondor.connect)):
        with pytest.raises(StudyError, match=f"{name} is not found"), connect(None, {}):
            pass


@pytest.mark.system
def test_workers_end_after_a_driver_that_was_killed_and_the_next_one_clears_up(tmp_path):
    shared = tmp_path / "shared"
    command = [sys.executable, process_jobs.__file__, json.dumps(options(tmp_path, workers=3))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as driver:
        try:
            assert driver.stdout is not None
            (job,) = driver.stdout.readline().split()
            driver.send_signal(signal.SIGKILL)
            driver.wait(30)
            (left,) = shared.iterdir()
            assert (left / "key.pem").exists()
            until(lambda: not process_jobs.is_alive(job))
        finally:
            driver.kill()
            process_jobs.end(job)
    with jobqueue.certificates_of_run(shared) as certificates:
        assert [certificates.key.parent] == list(shared.iterdir())
        with jobqueue.certificates_of_run(shared):
            assert len(list(shared.iterdir())) == 2  # nobody clears up after who lives
    assert list(shared.iterdir()) == []


@pytest.mark.system
def test_ctrl_c_while_workers_are_awaited_removes_their_jobs(tmp_path):
    record = tmp_path / "job"
    told = options(tmp_path, workers=1, setup=[f"echo $$ >{record}; exec sleep 600"])
    with subprocess.Popen(
        [sys.executable, process_jobs.__file__, json.dumps(told)],
        start_new_session=True,
    ) as driver:
        try:
            until(lambda: record.exists() and record.read_text().strip())
            driver.send_signal(signal.SIGINT)
            assert driver.wait(30) == 130
            until(lambda: not process_jobs.is_alive(record.read_text()))
        finally:
            driver.kill()
            if record.exists():
                process_jobs.end(record.read_text())
    assert list((tmp_path / "shared").iterdir()) == []


def test_certificates_that_are_named_are_taken_and_none_are_written(tmp_path, monkeypatch):
    with jobqueue.certificates_of_run(tmp_path / "made") as made:
        monkeypatch.setenv("COVSVC_TLS", str(made.key.parent))
        with jobqueue.certificates_of_run(tmp_path / "other") as named:
            assert named == made
    assert not (tmp_path / "other").exists()


def test_certificates_are_not_put_where_others_may_replace_them(tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(StudyError, match="everybody may replace what is in it"), jobqueue.certificates_of_run(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StudyError, match="file/shared: Not a directory"):
        jobqueue.certificates_of_run(tmp_path / "file" / "shared").__enter__()
