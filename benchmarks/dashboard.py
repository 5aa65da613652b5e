"""Memory of the dashboard's server: while 50 readers are there, and after they have gone.

::

    python benchmarks/dashboard.py STORE [--readers 50] [--address page=methods]

A real server of the store, and readers that open the page and its websocket and pull the document as a browser does,
without drawing it. Prints the resident memory of the server without its children: before, after readers came and went
one after the other, while as many are there at once, and after those have gone and what was made for them is dropped;
and once more, for what is needed once is no leak.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from bokeh.protocol import Protocol
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

FORGOTTEN = 25.0
"""Seconds after which the server has dropped what was made for readers who left."""


@contextmanager
def serving(store: str) -> Iterator[tuple[psutil.Process, str]]:
    """Start a server; yield its process and its address."""
    command = [sys.executable, "-m", "covsvc", "dashboard", "--store", store, "--port", "0", "--json"]
    command += ["--log-level", "error"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own command
        told = ""
        while not told.endswith("}\n"):
            told += process.stdout.readline() if process.stdout else "}\n"
        try:
            yield psutil.Process(process.pid), json.loads(told)["url"]
        finally:
            process.terminate()


async def come(url: str, address: str) -> tuple[WebSocketClientConnection, float]:
    """Open a page as a reader; return its websocket, and the seconds until its document was there."""
    begun = time.perf_counter()
    page = await AsyncHTTPClient().fetch(f"{url}/?{address}", request_timeout=120)
    told = re.search(r'"token":"([^"]+)"', page.body.decode())
    if told is None:
        raise SystemExit("the page has no session")
    place = f"{url.replace('http', 'ws', 1)}/ws"
    request = HTTPRequest(place, headers={"Origin": url}, connect_timeout=120, request_timeout=120)
    socket = await websocket_connect(request, subprotocols=["bokeh", told[1]], max_message_size=2**28)
    while "ACK" not in str(await socket.read_message()):
        pass
    asked = Protocol().create("PULL-DOC-REQ")
    for part in (asked.header_json, asked.metadata_json, asked.content_json):
        await socket.write_message(part)
    while "PULL-DOC-REPLY" not in str(await socket.read_message())[:200]:
        pass
    return socket, time.perf_counter() - begun


async def hear(socket: WebSocketClientConnection) -> None:
    """Take what the server sends, until the end."""
    while await socket.read_message() is not None:
        pass


async def measure(process: psutil.Process, url: str, readers: int, address: str) -> None:
    """Let readers come and go, and print what the server holds."""

    def tell(what: str) -> None:
        print(f"{what:<44}{process.memory_info().rss / 2**20:8.0f} MiB", flush=True)

    socket, _ = await come(url, address)
    await asyncio.sleep(FORGOTTEN)
    tell("one reader there")
    socket.close()
    for turn in (1, 2):
        took = []
        for _ in range(readers):
            socket, seconds = await come(url, address)
            took.append(seconds)
            heard = asyncio.create_task(hear(socket))
            await asyncio.sleep(0.3)
            socket.close()
            await heard
        await asyncio.sleep(FORGOTTEN)
        tell(f"round {turn}: {readers} came and went one after the other")
        print(f"    a page in {statistics.median(took):.2f} s (median)")
        there = [(await come(url, address))[0] for _ in range(readers)]
        heard = asyncio.gather(*map(hear, there))
        await asyncio.sleep(3)
        tell(f"round {turn}: {readers} there at once")
        for each in there:
            each.close()
        await heard
        await asyncio.sleep(FORGOTTEN)
        tell(f"round {turn}: all have gone")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store")
    parser.add_argument("--readers", type=int, default=50)
    parser.add_argument("--address", default="", help="query of the view")
    asked = parser.parse_args()
    with serving(asked.store) as (process, url):
        asyncio.run(measure(process, url, asked.readers, asked.address))


if __name__ == "__main__":
    main()
