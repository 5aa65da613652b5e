"""An S3 service of our own, on loopback or a host of a test, and its bucket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hosts import HERE, Host
from ports import free_ports

BUCKET = "cubes"


@contextmanager
def served(host: Host = HERE, **environment: str) -> Iterator[dict[str, str]]:
    """Serve an empty bucket on a host, and yield the environment by which to reach it; MOTO_GROUP is its process group."""
    (port,) = host.do(lambda: free_ports(1, host.address))
    server = subprocess.Popen(
        host.inside(sys.executable, "-m", "moto.server", "-H", host.address, "-p", str(port)),
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://{host.address}:{port}"
    try:
        host.do(lambda: make_bucket(host.address, port))
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "never-to-be-seen",
            "AWS_REGION": "us-east-1",
            "MOTO_GROUP": str(server.pid),
        }
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait(30)


def make_bucket(address: str, port: int) -> None:
    """Make the bucket as soon as the service takes connections."""
    wait_for(port, address)
    asked = urllib.request.Request(f"http://{address}:{port}/{BUCKET}", method="PUT")
    with urllib.request.urlopen(asked, timeout=10):
        pass


def wait_for(port: int, address: str = "127.0.0.1", seconds: float = 60.0) -> None:
    """Return when a port takes connections."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection((address, port), timeout=1):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
