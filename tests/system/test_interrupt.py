"""Ctrl-C in mid-run: nothing lost, nobody left, and how to go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from covsvc import api

pytestmark = pytest.mark.system

STUDY = """\
name: interrupted
experiment: counting
methods: [classical, garwood]
cl: 0.9
s_true: {start: 0, stop: 12, num: 13}
b: {start: 0, stop: 3, num: 40}   # a task is of one b: some are stored long before all are done
n_toys: 300000
seed: 1999
"""


def is_alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_ctrl_c_keeps_what_is_done_tells_how_to_go_on_and_exits_130(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    study = api.load_study(tmp_path / "study.yaml")
    whole = api.remainder(study, tmp_path / "coverage-cubes").toys
    command = [sys.executable, "-m", "covsvc", "run", "study.yaml", "--workers", "2"]
    driver = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # what runs in the background of a script has SIGINT ignored, and hands that on
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert driver.stderr is not None
    told = ""
    while " 0 toys " not in told:  # the cluster has started
        told += driver.stderr.readline()
    while api.remainder(study, tmp_path / "coverage-cubes").toys == whole and driver.poll() is None:
        time.sleep(0.05)
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: to the driver and its workers
    with driver.stderr:
        told += driver.stderr.read()
    assert driver.wait(60) == 130
    assert told.endswith("interrupted. What is done is stored; the same command goes on from there.\n")
    assert "Traceback" not in told, told
    deadline = time.monotonic() + 20
    while is_alive(driver.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_alive(driver.pid), "processes outlived their driver"
    assert 0 < api.remainder(study, tmp_path / "coverage-cubes").toys < whole
    resumed, fresh = (api.run(study, tmp_path / store) for store in ("coverage-cubes", "fresh"))
    for name in ("n_covered", "limit_digest", "block_status", "limit_counts"):
        np.testing.assert_array_equal(resumed[name].values, fresh[name].values)
