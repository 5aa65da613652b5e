"""`covsvc status`: what is shown while a study is worked on."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from covsvc import api, registry
from covsvc.store.place import place_of

COMMAND = [sys.executable, "-m", "covsvc", "status", "--watch"]
PATIENCE = 60


def test_watching_ends_at_once_when_all_is_complete(covsvc, small_study, tmp_path):
    api.run(small_study(n_toys=1000), tmp_path / "store")
    code, out, err = covsvc("status", "--watch", "--store", "store")
    assert (code, err) == (0, "")
    assert out == "small: complete  72 of 72 blocks  12,000 toys\n"


def test_watching_tells_json_what_python_is_told_a_line_each(covsvc, small_study, tmp_path):
    api.run(small_study(n_toys=1000), tmp_path / "store")
    api.run(small_study(name="other", n_toys=1000, methods=["classical"]), tmp_path / "store")
    code, out, _ = covsvc("status", "--watch", "--json", "--store", "store")
    assert code == 0
    assert [json.loads(line) for line in out.splitlines()] == [
        api.progress_of("store", name) for name in ("other", "small")
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--at", "v1"), "--watch --at v1: a commit does not change"),
        (("none",), "none"),
    ],
)
def test_what_cannot_be_watched_is_refused(covsvc, tmp_path, arguments, told):
    code, out, err = covsvc("status", "--watch", *arguments)
    assert (code, out) == (2, "")
    assert told in err


def test_a_store_of_studies_that_cannot_be_read_is_not_said_to_be_empty(
    covsvc, small_study, plugins, tmp_path, monkeypatch
):
    api.run(small_study(methods=["raising"], s_true=[1], b=[0], n_toys=1000), tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(plugins)])
    registry.installed.cache_clear()
    for watch in ([], ["--watch"]):
        code, out, err = covsvc("status", *watch, "--store", tmp_path)
        assert (code, out) == (0, "")
        assert "raising: unknown method" in err
        assert "no studies stored" not in err


def test_an_empty_store_is_said_to_be_empty(covsvc):
    code, out, err = covsvc("status", "--watch")
    assert (code, out) == (0, "")
    assert err == "coverage-cubes: no studies stored yet; `covsvc run` stores them\n"


@pytest.mark.system
def test_on_a_terminal_the_line_is_redrawn_until_the_study_is_complete(small_study, tmp_path):
    api.run(small_study(methods=["classical"]), tmp_path, part=(1, 5))
    try:
        ours, theirs = pty.openpty()
    except OSError as error:
        pytest.skip(f"no terminal can be made here: {error}")
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "160"}
    watcher = subprocess.Popen([*COMMAND, "--store", tmp_path], stdout=theirs, env=environment)
    os.close(theirs)
    try:
        shown = read_until(ours, "% ")
        # 24 of 120 blocks and all of 3 rows of exact values
        assert "21 %  24 of 120 blocks  12,000 toys  nobody works on it" in shown
        api.run(small_study(methods=["classical"]), tmp_path)
        shown = read_until(ours, "complete")
        assert watcher.wait(PATIENCE) == 0
        assert "complete  120 of 120 blocks  60,000 toys" in shown
        assert "\x1b[2K" in shown  # the line before is erased
    finally:
        watcher.kill()
        watcher.wait()
        os.close(ours)


def read_until(terminal, word):
    """Return what a terminal shows until a line with a word is whole."""
    shown, end = "", time.monotonic() + PATIENCE
    while word not in shown or not shown.rpartition(word)[2]:
        assert time.monotonic() < end, shown
        try:
            shown += os.read(terminal, 10_000).decode()
        except OSError:  # its other end is closed
            break
    return shown


def test_interrupted_it_exits_with_130_and_has_told_who_works(covsvc, small_study, tmp_path):
    api.run(small_study(methods=["classical"]), tmp_path / "store", part=(1, 5))
    interrupt = threading.Timer(5.0, os.kill, (os.getpid(), signal.SIGINT))
    with place_of(tmp_path / "store").lock("small"):
        interrupt.start()
        code, out, err = covsvc("status", "small", "--watch", "--store", "store")
    interrupt.join()
    assert code == 130
    (line,) = out.splitlines()  # nothing changes: nothing is told again
    assert re.fullmatch(
        rf"small: 21 %  24 of 120 blocks  12,000 toys  .* toys/s  .* left  pid {os.getpid()} on .*", line
    )
    assert "interrupted; what is stored stays" in err
