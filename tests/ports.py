"""Ports for what a test starts."""

from __future__ import annotations

import random
import socket
from contextlib import suppress


def free_ports(number: int, address: str = "127.0.0.1") -> list[int]:
    """Return ports on which nobody listens, below those that the kernel gives to who asks for any."""
    chosen: list[int] = []
    while len(chosen) < number:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as tried, suppress(OSError):
            tried.bind((address, port))
            chosen.append(port)
    return chosen
