"""Several hosts on this machine: network namespaces joined by a bridge, which end with those who work in them.

The bridge, too, is in a namespace of its own: nothing is made in that of the machine, no name or address can be taken,
and nothing is mounted. A namespace is there as long as a process is in it; the processes of a test run that was killed
are found by a mark in their environment, and ended when the next one begins.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

MARK = "COVSVC_TEST_HOSTS"
"""In the environment of what works on a host: the process of the test run, and when that was started."""

CLONE_NEWNET = 0x40000000

HOLDER = """
hostname "$0"
ip link set dev lo up
echo ready
exec sleep infinity
"""


@dataclass(frozen=True)
class Host:
    """A host with an address in its network; what is started with `inside` in front works there.

    Attributes
    ----------
    name, address : str
    holder : int
        Process that holds its namespace; 0 for the machine itself.
    switch : int
        That of the network's bridge.
    """

    name: str
    address: str
    holder: int
    switch: int

    def inside(self, *command: str) -> list[str]:
        """Return the command that carries out a command on this host, as the same process."""
        return [*_enter(self.holder), *command] if self.holder else [*command]

    def cut(self) -> None:
        """Pull its cable out."""
        _do(self.switch, f"ip link set dev {self.name} down")

    def heal(self) -> None:
        """Put its cable in again."""
        _do(self.switch, f"ip link set dev {self.name} up")

    def do(self, call: Callable[[], Any]) -> Any:
        """Return what a function returns whose sockets are on this host."""
        if not self.holder:
            return call()

        def there() -> Any:
            with Path(f"/proc/{self.holder}/ns/net").open() as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"cannot enter {self.name}")
            return call()

        with ThreadPoolExecutor(1) as entering:  # a thread has a namespace of its own, which it leaves by its end
            return entering.submit(there).result()


HERE = Host("here", "127.0.0.1", 0, 0)
"""This machine, as a host that only it reaches."""


def needs_hosts() -> Any:
    """Skip a test where no hosts can be made, but not where everything is to be tested."""
    able = os.geteuid() == 0 and all(map(shutil.which, ("ip", "unshare", "nsenter", "hostname")))
    return pytest.mark.skipif(not able and os.environ.get("CI") != "true", reason="hosts need root and iproute2")


def mark() -> str:
    """Return what marks the processes of this test run."""
    return _mark_of(os.getpid())


@contextmanager
def network(*names: str, subnet: str = "10.83.0") -> Iterator[list[Host]]:
    """Yield hosts of these names that reach each other, and nobody else."""
    end_left()
    with ExitStack() as held:
        switch = held.enter_context(_held("switch"))
        _do(switch, "ip link add dev bridge type bridge\nip link set dev bridge up")
        hosts = []
        for number, name in enumerate(names, 1):
            host = Host(name, f"{subnet}.{number}", held.enter_context(_held(name)), switch)
            _do(switch, f"ip link add dev {name} type veth peer name eth0 netns {host.holder}")
            _do(switch, f"ip link set dev {name} master bridge up")
            _do(host.holder, f"ip address add {host.address}/24 dev eth0\nip link set dev eth0 up")
            hosts.append(host)
        yield hosts


@contextmanager
def neighbour(host: Host, name: str, subnet: str = "10.84.0") -> Iterator[Host]:
    """Yield a host that one host alone reaches, by a cable between the two."""
    with _held(name) as holder:
        _do(host.holder, f"ip link add dev {name} type veth peer name eth0 netns {holder}")
        _do(host.holder, f"ip address add {subnet}.1/24 dev {name}\nip link set dev {name} up")
        _do(holder, f"ip address add {subnet}.2/24 dev eth0\nip link set dev eth0 up")
        yield Host(name, f"{subnet}.2", holder, host.holder)


def end_left() -> list[int]:
    """End the processes of test runs that are no more; return which they were."""
    living = {_mark_of(pid) for pid in psutil.pids()}
    left = [each for each in psutil.process_iter() if _marked(each) not in living | {""}]
    for each in left:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    deadline = time.monotonic() + 30
    while any(map(_is_at_work, left)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return [each.pid for each in left]


@contextmanager
def _held(name: str) -> Iterator[int]:
    """Yield a process in a namespace of its own, which ends."""
    holder = subprocess.Popen(
        ["unshare", "--net", "--uts", "sh", "-ec", HOLDER, name],
        env=os.environ | {MARK: mark()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert holder.stdout
    try:
        assert holder.stdout.readline() == "ready\n", f"{name}: no namespace could be made"
        yield holder.pid
    finally:
        holder.kill()
        holder.wait(30)
        holder.stdout.close()


def _enter(holder: int) -> list[str]:
    return ["nsenter", f"--net=/proc/{holder}/ns/net", f"--uts=/proc/{holder}/ns/uts", "--", "env", f"{MARK}={mark()}"]


def _do(holder: int, lines: str) -> None:
    subprocess.run([*_enter(holder), "sh", "-ec", lines], check=True, timeout=30)


def _mark_of(pid: int) -> str:
    """Return the number of a process with the tick of its start, which together come once."""
    with suppress(OSError):
        return f"{pid}@{Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"
    return ""


def _is_at_work(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD))
    return False


def _marked(process: psutil.Process) -> str:
    """Return the mark in the environment of a process, or nothing."""
    with suppress(psutil.Error):
        return process.environ().get(MARK, "")
    return ""
