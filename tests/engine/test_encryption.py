"""TLS with real schedulers: who is let in, what is refused and in which words, and that bits are the same."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import socket
import stat
import sys
import time
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from queue import Queue
from threading import Event, Thread

import pytest
from agreement import assert_same
from certificates import Authority
from distributed import Client, Scheduler, Security, Worker
from ports import free_ports
from processes import bench

from covsvc import api
from covsvc.engine.clusters import connect
from covsvc.engine.clusters.encryption import (
    Certificates,
    certificates,
    hold_safe,
    scheduler_command,
    security,
    worker_command,
)
from covsvc.engine.clusters.handshake import shake_hands
from covsvc.engine.gathering import ALONE, be_patient, patience_of
from covsvc.errors import ClusterError, StudyError


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return folders of certificates by name: of one authority, over, and of another."""
    made, ours, other = tmp_path_factory.mktemp("tls"), Authority(), Authority("other")
    return {
        "ours": ours.issue(made / "ours"),
        "over": ours.issue(made / "over", days=-1),
        "others": other.issue(made / "others"),
        "locked": ours.issue(made / "locked", password=b"secret"),
    }


@pytest.fixture(autouse=True)
def use(monkeypatch, folders):
    """Have COVSVC_TLS name a folder; none at first, nor does Dask's configuration."""
    monkeypatch.delenv("COVSVC_TLS", raising=False)
    return lambda name: monkeypatch.setenv("COVSVC_TLS", str(folders.get(name, name)))


def of(folder):
    return Certificates(*(folder / name for name in ("ca.pem", "cert.pem", "key.pem"))).security()


@contextmanager
def scheduler(protocol, security=None, worker=None):
    """Start a scheduler in this process, and a worker if it has options; yield the address."""
    told, ended = Queue(), Event()

    async def serve():
        where = {"protocol": protocol, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
        async with AsyncExitStack() as running:
            started = await running.enter_async_context(Scheduler(**where, security=security or Security()))
            if worker:
                await running.enter_async_context(Worker(started.address, nthreads=1, host="127.0.0.1", **worker))
            told.put(started.address)
            await asyncio.to_thread(ended.wait)

    serving = Thread(target=asyncio.run, args=(serve(),))
    serving.start()
    try:
        yield told.get(timeout=30)
    finally:
        ended.set()
        serving.join()


@pytest.fixture(scope="module")
def encrypted(folders):
    """Yield the address of a scheduler with TLS."""
    with scheduler("tls://", security=of(folders["ours"])) as address:
        yield address


def refused(address, seconds=5.0):
    """Return why a handshake is refused, which is told soon."""
    begun = time.monotonic()
    with pytest.raises(ClusterError) as error:
        shake_hands(address, seconds)
    assert time.monotonic() - begun < seconds + 3
    return str(error.value)


def test_certificates_are_those_of_the_folder_that_is_named(use, folders):
    assert certificates() is None
    use("ours")
    folder = folders["ours"]
    assert certificates() == Certificates(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    told = security()
    assert told.require_encryption
    assert {told.get_tls_config_for_role(role)["key"] for role in ("client", "scheduler", "worker")} == {
        str(folder / "key.pem")
    }


def test_without_a_folder_they_are_those_of_dasks_configuration(folders):
    import dask

    with pytest.raises(StudyError, match=r"none are named; deploy/tls/make-certificates.sh makes such a folder, and "):
        security()
    names = {"ca-file": "ca.pem", "client.cert": "cert.pem", "client.key": "key.pem"}
    files = {f"distributed.comm.tls.{name}": str(folders["ours"] / file) for name, file in names.items()}
    with dask.config.set(files):
        assert security().require_encryption
        assert security().tls_client_key == files["distributed.comm.tls.client.key"]
    others = files | {"distributed.comm.tls.client.key": str(folders["others"] / "key.pem")}
    refusal = pytest.raises(StudyError, match=r"/others/key.pem: the key is of another certificate")
    with dask.config.set(others), refusal:
        security()
    made = Security.temporary()  # PEM in the place of names of files
    inline = {"ca-file": made.tls_ca_file, "client.cert": made.tls_client_cert, "client.key": made.tls_client_key}
    with dask.config.set({f"distributed.comm.tls.{name}": text for name, text in inline.items()}):
        assert security().tls_client_key == made.tls_client_key


def _everybody_reads(folder):
    (folder / "key.pem").chmod(0o644)


def _is_gone(folder):
    (folder / "cert.pem").unlink()


def _is_a_folder(folder):
    (folder / "key.pem").unlink()
    (folder / "key.pem").mkdir()


def _ca_is_a_key(folder):
    (folder / "ca.pem").write_bytes((folder / "key.pem").read_bytes())


def _certificate_is_a_key(folder):
    (folder / "cert.pem").write_bytes((folder / "key.pem").read_bytes())


def _key_is_cut(folder):
    text = (folder / "key.pem").read_bytes()
    (folder / "key.pem").write_bytes(text[: len(text) // 2])


def _key_is_of_another(folder):
    (folder / "key.pem").write_bytes((folder.parent / "another" / "key.pem").read_bytes())


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_everybody_reads, "key.pem: everybody may read the key; chmod 600 "),
        (_is_gone, "cert.pem: No such file or directory; "),
        (_is_a_folder, "key.pem: Is a directory; "),
        (_ca_is_a_key, "ca.pem: holds no certificate; "),
        (_certificate_is_a_key, "key.pem: hold no certificate and its key; "),
        (_key_is_cut, "key.pem: hold no certificate and its key; "),
        (_key_is_of_another, "key.pem: the key is of another certificate; "),
    ],
)
def test_files_that_cannot_be_used_are_refused_and_their_content_is_not_told(use, tmp_path, spoil, told):
    authority = Authority()
    folder, another = authority.issue(tmp_path / "spoilt"), authority.issue(tmp_path / "another")
    held = [line for each in (folder, another) for file in each.iterdir() for line in file.read_text().splitlines()]
    spoil(folder)
    use(folder)
    with pytest.raises(StudyError) as error:
        certificates()
    assert told in str(error.value)
    assert not [line for line in held if line in str(error.value)]
    assert error.value.__cause__ is None


def test_a_key_that_a_group_may_read_will_do(use, tmp_path):
    folder = Authority().issue(tmp_path / "of-a-group")
    (folder / "key.pem").chmod(stat.S_IRUSR | stat.S_IRGRP)
    use(folder)
    assert certificates() is not None


def test_a_key_with_a_password_is_refused_as_nobody_is_there_to_give_it(use):
    use("locked")
    with pytest.raises(StudyError, match=r"key.pem: is locked with a password, which nobody is there to give"):
        certificates()


def test_a_folder_that_is_not_there_is_refused_by_the_name_of_the_variable(use, tmp_path):
    use(tmp_path / "none")
    with pytest.raises(StudyError, match=r"^COVSVC_TLS=.*/none: no such folder; deploy/tls/make-certificates.sh makes"):
        certificates()


@pytest.mark.parametrize("address", ["tls://10.0.0.5:8786", "tcp://[::1]:8786", "inproc://10.0.0.5/17/1"])
def test_tls_this_machine_and_this_process_are_safe(address):
    hold_safe(address)


def test_who_has_a_certificate_of_the_same_authority_is_let_in(use, encrypted):
    use("ours")
    shake_hands(encrypted, 5)


@pytest.mark.parametrize(
    ("mine", "told"),
    [
        ("others", "its certificate is refused (self-signed certificate in certificate chain); those of all have to be"),
        ("over", "refuses our certificate (certificate expired); take a valid one of its CA"),
    ],
)  # fmt: skip
def test_who_has_none_that_is_valid_is_told_why(use, encrypted, mine, told):
    use(mine)
    assert refused(encrypted).startswith(f"{encrypted}: {told}")


def test_who_trusts_a_scheduler_that_does_not_trust_him_is_told_so(use, encrypted, tmp_path, folders):
    folder = Authority("third").issue(tmp_path / "third")
    (folder / "ca.pem").write_bytes((folders["ours"] / "ca.pem").read_bytes())
    use(folder)
    assert "refuses our certificate (unknown ca); take a valid one of its CA" in refused(encrypted)


def test_plain_text_to_a_scheduler_with_tls_is_told_the_address(encrypted):
    plain = encrypted.replace("tls", "tcp")
    assert refused(plain) == f"{plain}: speaks TLS, and no plain text; give {encrypted}"


def test_a_scheduler_whose_certificate_is_over_is_told_so(use, folders):
    use("ours")
    with scheduler("tls://", security=of(folders["over"])) as address:
        assert refused(address).startswith(f"{address}: its certificate has expired; give it a new one")


def test_tls_to_a_scheduler_in_plain_text_is_told_how_to_start_it(use):
    use("ours")
    with scheduler("tcp://") as plain:
        address = plain.replace("tcp", "tls")
        told = (
            f'{address}: speaks no TLS; start it with `dask scheduler --protocol tls --tls-ca-file "$COVSVC_TLS/ca.pem"'
        )
        assert refused(address).startswith(told)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the connection that Dask gives up
def test_who_listens_and_says_nothing_is_not_waited_for_long(use):
    use("ours")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"tls://127.0.0.1:{silent.getsockname()[1]}"
        assert "no scheduler answers there" in refused(address, 0.5)
    gc.collect()


def test_no_certificate_is_a_matter_of_usage(encrypted):
    with pytest.raises(StudyError, match="TLS needs certificates, and none are named"), connect(encrypted):
        pass


def test_a_client_that_talks_in_plain_text_beyond_this_machine_is_refused():
    with scheduler("tcp://") as address:
        everywhere = address.replace("127.0.0.1", "0.0.0.0")
        refusal = pytest.raises(StudyError, match=re.escape(f"{everywhere}: plain text beyond this machine is refused"))
        with Client(everywhere, set_as_default=False) as client, refusal, connect(client):
            pass


def test_a_worker_that_talks_in_plain_text_beyond_this_machine_is_refused():
    (port,) = free_ports(1)
    everywhere = {"port": port, "contact_address": f"tcp://0.0.0.0:{port}"}
    started = scheduler("tcp://", worker=everywhere | {"dashboard_address": "127.0.0.1:0"})
    with started as address, pytest.raises(StudyError) as error, connect(address):
        pass
    told = str(error.value)
    assert told.startswith(f"worker tcp://0.0.0.0:{port}: plain text beyond this machine is refused")
    assert told.endswith(f"`dask worker {address}` starts one")


def test_who_said_nothing_of_patience_has_that_of_all(encrypted, folders):
    with Client(encrypted, security=of(folders["ours"]), set_as_default=False) as client:
        assert (patience_of(client), patience_of(client, 30.0)) == (ALONE, 30.0)
        be_patient(client, 86400.0)
        assert (patience_of(client), patience_of(client, 30.0)) == (86400.0, 86400.0)


@pytest.mark.system
def test_a_study_over_tls_has_the_bits_of_a_local_one(use, folders, tmp_path, small_study):
    """Start scheduler and worker with the commands that errors and the doctor tell."""
    use("ours")
    study = json.loads(small_study().model_dump_json())
    (tmp_path / "mine.yaml").write_text(json.dumps(study | {"cluster": "scheduler.json"}))
    with bench(tmp_path) as started:
        programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        named = {"env": {"COVSVC_TLS": os.environ["COVSVC_TLS"], "PATH": programs}}
        here = " --host 127.0.0.1 --dashboard-address 127.0.0.1:0 --port 0 --scheduler-file scheduler.json"
        address = started.address_of(started.start("sh", "-c", f"exec {scheduler_command('tls://')}{here}", **named))
        started.start("sh", "-c", f"exec {worker_command(address)} --nthreads 1 --no-nanny --no-dashboard", **named)
        (named_by_file,) = api.load_studies(tmp_path / "mine.yaml")
        there = api.run(named_by_file, tmp_path / "there", task_toys=1e4)
        told = {each.name: each for each in api.doctor(tmp_path / "there", address)}
        started.close()
    assert address.startswith("tls://127.0.0.1:")
    assert (told["cluster"].state, told["scheduler"].state) == ("ok", "ok")
    assert [each.value for name, each in told.items() if name.startswith("worker tls://")] == ["runs what runs here"]
    assert_same(there, api.run(small_study(), tmp_path / "here"))
