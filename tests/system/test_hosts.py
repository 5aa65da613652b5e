"""Several hosts, which talk TLS: the cube of one machine, whoever is refused, and links that are cut."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import subprocess
import sys
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from agreement import assert_same
from hosts import end_left, needs_hosts, neighbour
from object_store import BUCKET, served
from processes import SILENCE, bench, members, told
from tls_cluster import tls_cluster

from covsvc.store.repository import open_cube

STORE = f"s3://{BUCKET}/hosts"
SMALL = {"b": [0.0, 1.0, 2.0, 3.0]}

TESTS = Path(__file__).parents[1]

KILLED = """
import os, signal, subprocess
from hosts import network
with network("one") as (host,):
    worker = subprocess.Popen(host.inside("sleep", "infinity"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while open(f"/proc/{worker.pid}/comm").read() != "sleep\\n":
        pass
    print(host.holder, host.switch, worker.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
"""A test run that is killed while somebody works on its host."""

pytestmark = [pytest.mark.system, needs_hosts()]


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Return the cube that this machine makes by itself."""
    with bench(tmp_path_factory.mktemp("local"), seconds=0.0) as made:
        driver = made.run("--cluster", "none")
        assert driver.wait(60) == 0, told(driver)
        return open_cube(made.store, "faults").load()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with tls_cluster(tmp_path_factory.mktemp("hosts")) as cluster:
        yield cluster


def hold_complete(cluster, driver, local, study="faults"):
    """Hold that a service completed its study, and that its cube is that of this machine."""
    assert driver.wait(60) == 0, told(driver)
    assert_same(open_cube(cluster.store(), study), local)


def test_nothing_listens_beyond_loopback_but_tls_with_certificates(cluster):
    cluster.wait_for(cluster.scheduler, "Starting worker compute stream", times=2)
    for host, number in [(cluster.scheduler_host, 1), *((host, 2) for host in cluster.worker_hosts)]:
        listening = open_ports(host)
        assert len(listening) == number  # a worker and its nanny
        for port in listening:
            assert "certificate required" in host.do(partial(greeting, host.address, port))
    assert not open_ports(cluster.driver_host)


def open_ports(host):
    """Return the ports of a host that others reach."""
    command = host.inside("ss", "--no-header", "--listening", "--tcp", "--udp", "--numeric")
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    places = [line.split()[4].rsplit(":", 1) for line in told.splitlines()]
    return {int(port) for address, port in places if not address.startswith("127.")}


def greeting(address, port):
    """Return how who listens at a port answers a guest without a certificate, and in TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((address, port), 10) as plain, context.wrap_socket(plain) as tls:
        try:
            return str(tls.recv(100))
        except ssl.SSLError as error:
            return str(error)


CLIENTS = """
import sys
from distributed import Client, Security
address, folder = sys.argv[1:]
files = {f"tls_{each}": f"{folder}/{file}.pem" for each, file in
         (("ca_file", "ca"), ("client_cert", "cert"), ("client_key", "key"))}
for address, security in ((address.replace("tls:", "tcp:"), None), (address, Security(**files))):
    try:
        Client(address, security=security, timeout=2)
    except OSError as error:
        print("refused:", address, error)
"""


def test_who_speaks_plain_text_or_has_a_certificate_of_another_ca_is_refused(cluster):
    others, plain = str(cluster.others()), cluster.address.replace("tls://", "tcp://")
    run = ("-m", "covsvc", "run", "study.yaml", "--store", "refused", "--cluster", plain)
    worker = ("-m", "dask", "worker", cluster.address, *flags(others), "--no-dashboard", "--death-timeout", "5")
    refusals = [
        (cluster.call(*run, COVSVC_TLS=others), 2, f"{plain}: plain text beyond this machine is refused"),
        (cluster.call("-c", CLIENTS, cluster.address, others), 0, f"refused: {plain} "),
        (cluster.call(*worker), 1, "TLS certificate does not match"),
    ]
    for process, code, sentence in refusals:
        assert process.wait(60) == code, told(process)
        assert sentence in told(process)
    assert f"refused: {cluster.address} TLS certificate does not match" in told(refusals[1][0])
    assert "Receive client connection" not in told(cluster.scheduler)


def flags(folder):
    """Return the options of Dask's programs for the certificates in a folder."""
    files = {"ca-file": "ca", "cert": "cert", "key": "key"}
    return [each for name, file in files.items() for each in (f"--tls-{name}", f"{folder}/{file}.pem")]


@pytest.fixture
def bucket(cluster):
    """Serve a bucket on a host that the driver's host alone reaches, for its units; return what tells the way there."""
    with neighbour(cluster.driver_host, "store") as host, served(host) as environment:
        way = {name: value for name, value in environment.items() if name.startswith("AWS_")}
        cluster.set_environment(cluster.driver_host, "run", COVSVC_STORE=STORE, **way)
        yield way
    cluster.set_environment(cluster.driver_host, "run")


def test_two_drivers_fill_a_bucket_that_workers_do_not_reach_while_the_link_of_a_worker_is_cut(cluster, local, bucket):
    cluster.name_study("faults")
    cluster.name_study("small", **SMALL)
    one, other, small = (cluster.run(name) for name in ("faults", "faults", "small"))
    _, far = cluster.worker_hosts
    cluster.made.wait_for_blocks(40, small)
    far.cut()
    cluster.wait_for(cluster.scheduler, "Remove worker")
    hold_without_way(cluster, bucket)
    far.heal()
    assert [small.wait(60), *sorted([one.wait(60), other.wait(60)])] == [0, 0, 2], told(small) + told(one) + told(other)
    refused = told(one if one.returncode else other)
    assert re.search(rf"{STORE}/faults: another driver has this study: pid \d+ on driver since ", refused), refused
    made, made_small = cluster.read(STORE, "faults", "small", **bucket)
    assert_same(made, local)
    assert_same(made_small, local.sel(SMALL))
    cluster.wait_for(cluster.workers[1], "covsvc-worker@1 ended with 0")
    cluster.wait_for(cluster.workers[1], "Registered to:", times=2)


def hold_without_way(cluster, way):
    """Hold that no worker, and not the scheduler, reaches a bucket or knows how."""
    place = urlsplit(way["AWS_ENDPOINT_URL"])
    for service in (cluster.scheduler, *cluster.workers):
        known = [value for each in members(service.pid) for value in each.environ().values()]
        assert known
        assert not {way["AWS_ENDPOINT_URL"], way["AWS_SECRET_ACCESS_KEY"]} & {*known}
        assert way["AWS_SECRET_ACCESS_KEY"] not in told(service)
    for host in (cluster.scheduler_host, *cluster.worker_hosts):
        with pytest.raises(OSError, match="unreachable"):
            host.do(partial(socket.create_connection, (place.hostname, place.port), 5))


def test_a_driver_whose_link_is_cut_ends_with_exit_4_and_its_service_goes_on(cluster, local):
    cluster.name_study("other")
    drawn = cluster.made.blocks
    driver = cluster.run("other")
    cluster.made.wait_for_blocks(drawn + 40, driver)
    cluster.driver_host.cut()
    cluster.wait_for(driver, "covsvc-run@other ended with 4", seconds=SILENCE + 20)
    assert "; what is done is stored; see to the scheduler, and the same command goes on from there" in told(driver)
    cluster.driver_host.heal()
    hold_complete(cluster, driver, local, "other")


def test_what_a_killed_test_run_leaves_is_ended_by_the_next_one():
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=TESTS, stdout=subprocess.PIPE, text=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    left = {int(pid) for pid in killed.stdout.split()}
    assert len(left) == 3
    assert left <= {*end_left()}
    assert not left & {each.pid for each in psutil.process_iter(["status"]) if each.info["status"] != "zombie"}
