"""Speed of the service under load, asked by wrk over loopback, while a run commits.

    python benchmarks/service.py STORE STUDY.yaml       a store, which is copied, and the file of a study in it

Says requests/s and the median and 99th percentile of the latency of a point query, at 1 and 8 connections: the same
point again and again, points that differ, and points that differ of a study whose run commits every two seconds.
Every answer is read: errors, and answers that mix commits, are counted. Needs wrk (Debian: apt-get install wrk).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import yaml

from covsvc import api

MOST = 20_000
"""Points that wrk chooses from; Lua holds no more."""

SCRIPT = """
local points = {POINTS}
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init() math.randomseed(SEED) wrong = 0 swapped = 0 seen = {} commits = {} end
function request() return wrk.format("GET", points[math.random(#points)]) end
function response(status, headers, body)
  local snapshot = body:match('"snapshot": "(%w+)"')
  local cell, n = body:match('"rows": %[{("limit_method".-"s_true": [%d.]+).-"n_toys": (%d+)')
  if status ~= 200 or not snapshot or not n then wrong = wrong + 1 return end
  local key = snapshot .. cell
  if seen[key] and seen[key] ~= n then wrong = wrong + 1 end
  if not commits[snapshot] then swapped = swapped + 1 end
  seen[key] = n
  commits[snapshot] = true
end
function done(summary, latency, requests)
  local bad, commits = 0, 0
  for _, thread in ipairs(threads) do
    bad = bad + thread:get("wrong")
    commits = math.max(commits, thread:get("swapped"))
  end
  local errors = summary.errors
  bad = bad + errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("RESULT %f %f %f %f %d %d %d\\n",
    summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency.max / 1e3, summary.requests, bad, commits))
end
"""

RUN = """
import sys
from covsvc import api
if __name__ == "__main__":
    api.run(api.load_study(sys.argv[1]), sys.argv[2], None, commit_seconds=2.0)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("study")
    parser.add_argument("--seconds", type=int, default=10, help="of each figure")
    parser.add_argument("--port", type=int, default=8996)
    arguments = parser.parse_args()
    study = api.load_study(arguments.study)
    with tempfile.TemporaryDirectory() as scratch:
        store = Path(scratch) / "store"
        shutil.copytree(arguments.store, store)
        os.environ["XDG_CACHE_HOME"] = scratch
        server = started("-m", "covsvc", "serve", "--store", store, "--port", arguments.port, "--log-level", "warning")
        try:
            base = f"http://localhost:{arguments.port}"
            wait_for(base, study.name)
            at = f"/studies/{study.name}/coverage"
            points = [
                f"{at}?limit_method={label.name}&cl={cl:g}&b={b:g}&s_true={s_true:g}"
                for label in study.methods
                if label.label == label.name
                for cl in study.cl
                for b in study.b
                for s_true in study.s_true
            ]
            for connections in (1, 8):
                ask(base, points[:1], connections, arguments.seconds, scratch, "the same point")
                ask(base, points, connections, arguments.seconds, scratch, "other points")
            told = yaml.safe_load(Path(arguments.study).read_text())
            told |= {"name": "growing", "methods": told["methods"][:4], "n_toys": 100 * told["n_toys"]}
            (Path(scratch) / "growing.yaml").write_text(json.dumps(told))
            (Path(scratch) / "run.py").write_text(RUN)
            driver = started(Path(scratch) / "run.py", Path(scratch) / "growing.yaml", store)
            try:
                wait_for(base, "growing")
                growing = [each.replace(f"/{study.name}/", "/growing/") for each in points]
                known = [each for each in growing if any(f"={name}&" in each for name in told["methods"])]
                for connections in (1, 8):
                    ask(base, known, connections, 3 * arguments.seconds, scratch, "while a run commits")
                commits = len(api.history("growing", store))
                print(f"the run made {commits} commits, and {'goes on' if driver.poll() is None else 'has ended'}")
            finally:
                end(driver)
        finally:
            end(server)


def ask(base: str, points: list[str], connections: int, seconds: int, scratch: str, what: str) -> None:
    script = Path(scratch) / "ask.lua"
    listed = ", ".join(json.dumps(point) for point in random.Random(1999).sample(points, min(len(points), MOST)))  # noqa: S311
    script.write_text(SCRIPT.replace("POINTS", listed).replace("SEED", "1999"))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script), base]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    numbers = next(line for line in told.splitlines() if line.startswith("RESULT")).split()[1:]
    rate, median, p99, longest, answers, wrong, commits = map(float, numbers)
    print(
        f"{what:20} {connections} connections: {rate:7.1f} requests/s, median {median:.1f} ms, p99 {p99:.1f} ms, "
        f"longest {longest:.0f} ms, {answers:,.0f} answers, {wrong:.0f} wrong, from {commits:.0f} commits",
        flush=True,
    )


def started(*arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, *map(str, arguments)])  # noqa: S603


def wait_for(base: str, study: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{base}/studies/{study}/coverage?most=1", timeout=120):  # noqa: S310
                return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("the service does not answer")


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
