"""Certificates that the script makes: whom they let in, what stays secret, what is refused."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import time
from pathlib import Path

import pytest
from checkers import hold_sound, needs
from distributed import Security
from distributed.comm import connect, listen
from pages import blocks

FOLDER = Path(__file__).parents[1] / "deploy" / "tls"
SCRIPT = FOLDER / "make-certificates.sh"
LINES = [block.strip() for block in blocks("sh", (FOLDER / "README.md").read_text())]


def make(*arguments, folder, code=0):
    """Give the script a command in a folder; return what it says."""
    ended = subprocess.run([SCRIPT, *arguments], cwd=folder, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (code, ""), ended.stderr
    return ended.stderr


def openssl(*arguments):
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a folder with two CAs, one of which has two certificates, and the other one."""
    folder = tmp_path_factory.mktemp("tls")
    make("ca", "ca", folder=folder)
    make("issue", "--ca", "ca", "--out", "out", "scheduler,10.0.0.1,s.example.org,fe80::1", "driver", folder=folder)
    make("ca", "other", folder=folder)
    make("issue", "--ca", "other", "--out", "others", "driver", folder=folder)
    return folder


def security(folder):
    """Return what Dask makes of a folder."""
    files = {"cert": str(folder / "cert.pem"), "key": str(folder / "key.pem")}
    roles = {f"tls_{role}_{what}": file for role in ("scheduler", "client") for what, file in files.items()}
    return Security(require_encryption=True, tls_ca_file=str(folder / "ca.pem"), **roles)


async def greet(host, guest):
    """Return what a guest hears from a host, both with certificates in folders."""

    async def answer(comm):
        await comm.write(await comm.read())
        await comm.close()

    of_host, of_guest = security(host).get_listen_args("scheduler"), security(guest).get_connection_args("client")
    async with listen("tls://127.0.0.1:0", answer, **of_host) as door:
        comm = await connect(door.contact_address, timeout=10, **of_guest)
        await comm.write({"said": "hello"})
        heard = await comm.read()
        await comm.close()
        return heard


def test_dask_shakes_hands_with_certificates_of_one_ca(made):
    assert asyncio.run(greet(made / "out/scheduler", made / "out/driver")) == {"said": "hello"}
    assert asyncio.run(greet(made / "out/driver", made / "out/scheduler")) == {"said": "hello"}


def test_dask_refuses_a_certificate_of_another_ca(made):
    with pytest.raises(OSError, match="TLS certificate does not match"):
        asyncio.run(greet(made / "out/scheduler", made / "others/driver"))


def test_a_renewed_certificate_and_the_old_one_know_each_other(made):
    make("issue", "--ca", "ca", "--out", "renewed", "driver", folder=made)
    old = (made / "renewed/driver/cert.pem").read_text(), (made / "renewed/driver/key.pem").read_text()
    said = make("issue", "--ca", "ca", "--out", "renewed", "--days", "30", "driver", folder=made)
    assert "renewed renewed/driver for driver, until " in said
    assert not {*old} & {(made / f"renewed/driver/{name}.pem").read_text() for name in ("cert", "key")}
    assert asyncio.run(greet(made / "out/scheduler", made / "renewed/driver")) == {"said": "hello"}


def test_hosts_that_trust_two_cas_know_the_certificates_of_both(made):
    for name, ours in (("scheduler", "out/scheduler"), ("driver", "others/driver")):
        (made / "both" / name).mkdir(parents=True)
        for file in ("cert.pem", "key.pem"):
            (made / "both" / name / file).write_bytes((made / ours / file).read_bytes())
        both = (made / "ca/ca.pem").read_bytes() + (made / "other/ca.pem").read_bytes()
        (made / "both" / name / "ca.pem").write_bytes(both)
    assert asyncio.run(greet(made / "both/scheduler", made / "both/driver")) == {"said": "hello"}


def test_openssl_takes_a_certificate_for_both_sides_as_long_as_it_was_asked_for(made):
    make("issue", "--ca", "ca", "--out", "short", "--days", "30", "driver", folder=made)
    certificate, now = made / "short/driver/cert.pem", int(time.time())
    verify = ["verify", "-x509_strict", "-CAfile", made / "short/driver/ca.pem"]
    for purpose in ("sslserver", "sslclient"):
        for days, code in ((29.9, 0), (30.1, 2)):
            at = ["-purpose", purpose, "-attime", str(now + int(days * 86400))]
            assert openssl(*verify, *at, certificate).returncode == code
    assert openssl("verify", "-CAfile", made / "other/ca.pem", certificate).returncode == 2


def test_a_certificate_names_its_hosts_and_signs_no_others(made):
    told = openssl("x509", "-noout", "-text", "-in", made / "out/scheduler/cert.pem").stdout
    assert "DNS:scheduler, IP Address:10.0.0.1, DNS:s.example.org, IP Address:FE80:0:0:0:0:0:0:1" in told
    assert "CA:FALSE" in told
    assert "Certificate Sign" not in told


def test_keys_are_for_their_owner_and_that_of_the_ca_is_not_handed_out(made):
    modes = {path.relative_to(made / "out"): stat.S_IMODE(path.stat().st_mode) for path in (made / "out").rglob("*.*")}
    each = {"ca.pem": 0o644, "cert.pem": 0o644, "key.pem": 0o600}
    assert modes == {Path(name) / file: mode for name in ("scheduler", "driver") for file, mode in each.items()}
    assert sorted(path.name for path in (made / "ca").iterdir()) == ["ca-key.pem", "ca.pem"]
    assert stat.S_IMODE((made / "ca/ca-key.pem").stat().st_mode) == 0o600
    secret = (made / "ca/ca-key.pem").read_bytes()
    assert not any(secret in path.read_bytes() for path in (made / "out").rglob("*.pem"))


@pytest.mark.parametrize("left", ["ca.pem", "ca-key.pem"])
def test_a_ca_is_not_made_over_another_one(tmp_path, left):
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca" / left).write_text("mine")
    assert f"ca/{left}: is there already" in make("ca", "ca", folder=tmp_path, code=2)
    assert [(path.name, path.read_text()) for path in (tmp_path / "ca").iterdir()] == [(left, "mine")]


ISSUE = ("issue", "--ca", "ca", "--out", "refused")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "usage: "),
        (("revoke",), "unknown argument: revoke"),
        (("ca",), "ca takes one FOLDER, but got: none"),
        (("ca", "--days", "1.5", "new"), "--days 1.5: not a number of days, such as 365"),
        (("issue", "--out", "refused", "x"), "--ca is missing"),
        (("issue", "--ca", "ca", "x"), "--out is missing"),
        (("issue", "--out"), "--out: its value is missing"),
        (
            ("issue", "--ca", "none", "--out", "refused", "x"),
            "none/ca.pem: cannot be read; `make-certificates.sh ca none`",
        ),
        (ISSUE, "no NAME"),
        ((*ISSUE, "../x"), "../x: a NAME, and HOSTs after commas, have letters"),
        ((*ISSUE, "x,y\nIP.7=1.2.3.4"), "have letters"),
        ((*ISSUE, "::1"), "::1: the first is a NAME, such as scheduler"),
        ((*ISSUE, "--days", "4000", "x"), ", before 4000 days: take fewer --days, or make a new CA"),
        (("issue", "--ca", "ca", "--out", ".", "ca"), "./ca: holds the key of a CA, which is for no host"),
    ],
)
def test_what_is_refused_is_said_with_the_cure_and_leaves_nothing_behind(made, arguments, sentence):
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    assert sentence in make(*arguments, folder=made, code=2)
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before
    assert not (made / "refused").exists()


def test_what_openssl_does_not_take_leaves_nothing_behind(made, tmp_path):
    said = make("issue", "--ca", made / "ca", "--out", tmp_path, "x,300.0.0.1", folder=tmp_path, code=2)
    assert "bad ip address" in said
    assert not [*tmp_path.iterdir()]


@needs("shellcheck")
def test_every_line_of_the_page_is_sound():
    for line in LINES:
        hold_sound(line)


def test_the_lines_of_the_page_make_what_they_say(tmp_path):
    (tmp_path / "deploy").symlink_to(FOLDER.parent)
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    for line in LINES[:2]:
        subprocess.run(["sh", "-euc", line], cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=60)
    made = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.pem")}
    hosts = {
        f"covsvc-tls/{name}/{file}.pem" for name in ("scheduler", "worker1", "driver") for file in ("ca", "cert", "key")
    }
    assert made == hosts | {"covsvc-ca/ca.pem", "covsvc-ca/ca-key.pem"}
