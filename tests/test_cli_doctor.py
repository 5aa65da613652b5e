"""`covsvc doctor`: what it finds well, what not, and what it says to do."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import numpy as np
import pytest
from object_store import wait_for
from ports import free_ports

from covsvc import api, registry
from covsvc.api import checking
from covsvc.store.repository import open_ledger
from covsvc.version import __version__

STORE = "coverage-cubes"


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch):
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "COVSVC_STORE",
        "COVSVC_TABLES",
        "COVSVC_TLS",
        "COVSVC_CLUSTERS",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def found(covsvc):
    """Run the doctor; return the exit code, and what it found by name."""

    def look(*arguments):
        code, out, _ = covsvc("doctor", "--json", *arguments)
        told = json.loads(out)
        return code, {each["name"]: each for each in told}, [each["name"] for each in told if each["state"] != "ok"]

    return look


def test_all_is_well_with_a_finished_study(found, small_study, tmp_path):
    api.run(small_study(), tmp_path / STORE)
    code, told, ill = found()
    assert (code, ill) == (0, [])
    assert told["covsvc"]["value"].startswith(__version__)
    assert f"numpy {np.__version__}" in told["packages"]["value"]
    assert told["small"]["value"].startswith("360 of 360 blocks done, 2 commits, ")
    assert told["small"]["value"].endswith("counts consistent")
    assert {each["cure"] for each in told.values()} == {""}
    assert {"python", "processor", "memory", "compiled kernels", "BLAS threads", "ports", "locale"} < set(told)


def test_the_list_has_a_line_for_each_and_the_cure_below(covsvc, small_study, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    code, out, err = covsvc("doctor")
    lines = out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("warn  BLAS threads"))
    assert lines[at].endswith("OMP_NUM_THREADS=4")
    assert lines[at + 1].strip() == "-> unset it, or set it to 1: workers are processes of one thread"
    assert all(line.startswith(("ok    ", "warn  ", "      ")) for line in lines)
    assert "nothing is stored yet" in out
    assert (code, err.splitlines()[-1].endswith("need attention")) == (3, True)
    assert not (tmp_path / STORE).exists()


def test_an_unfinished_study_needs_attention_unless_a_driver_works_on_it(found, small_study, tmp_path):
    from covsvc.errors import ClusterError

    with pytest.raises(ClusterError):
        api.run(small_study(), tmp_path / STORE, cluster=3)
    code, told, ill = found()
    assert (code, ill) == (3, ["small"])
    assert told["small"]["state"] == "warn"
    assert told["small"]["value"].startswith("0 of 360 blocks done, 1 commit")
    assert told["small"]["value"].endswith("nobody works on it")
    assert told["small"]["cure"] == "`covsvc run` with its study goes on"
    with open_ledger(tmp_path / STORE, small_study()):
        code, told, ill = found()
    assert (code, ill) == (0, [])
    assert f"a driver works on it: pid {os.getpid()} on" in told["small"]["value"]


def test_failed_blocks_need_attention(found, small_study, tmp_path, plugins):
    api.run(small_study(experiment="broken", methods="classical"), tmp_path / STORE)
    code, told, ill = found()
    assert (code, ill) == (3, ["small"])
    assert "90 failed" in told["small"]["value"]
    assert "`covsvc run --retry-failed` tries again" in told["small"]["cure"]
    assert told["methods"]["value"].endswith("of strange: misshapen, raising, too_low")


def test_counts_that_do_not_add_up_are_bad(found, small_study, tmp_path):
    api.run(small_study(), tmp_path / STORE)
    with open_ledger(tmp_path / STORE, small_study()) as ledger:
        ledger._trusted = True
        ledger._array("counts")[0, 0, 0, 0, 0] = 4999
    code, told, ill = found()
    assert (code, ill) == (3, ["small"])
    assert told["small"]["state"] == "bad"
    assert "n_toys is not toys_per_block x blocks done (4,999 against 5,000)" in told["small"]["value"]


def test_a_damaged_study_is_bad_and_the_others_are_looked_at(found, small_study, tmp_path):
    for name in ("broken", "fine"):
        api.run(small_study(name=name), tmp_path / STORE)
    for chunk in (tmp_path / STORE / "broken" / "chunks").iterdir():
        chunk.write_bytes(b"")
    code, told, ill = found()
    assert (code, ill) == (3, ["broken"])
    assert (told["broken"]["state"], told["fine"]["state"]) == ("bad", "ok")
    for manifest in (tmp_path / STORE / "broken" / "snapshots").iterdir():
        manifest.write_bytes(b"nothing")
    code, told, ill = found()
    assert (code, ill) == (3, ["broken"])


def test_a_driver_that_was_killed_before_its_first_commit_is_told_of(found, tmp_path):
    import icechunk

    (tmp_path / STORE / "small").mkdir(parents=True)
    icechunk.Repository.create(icechunk.local_filesystem_storage(str(tmp_path / STORE / "small")))
    code, told, ill = found()
    assert (code, ill) == (3, ["small"])
    assert told["small"]["value"] == "its driver was stopped before the first commit"


def test_damaged_calibrations_are_bad_with_the_cure(found, tmp_path):
    from covsvc.contracts import Calibration
    from covsvc.store.calibrations import keep_calibration

    keep_calibration(tmp_path / STORE, "key", Calibration({"x": np.zeros(2)}, 0.0), {}, 1.0)
    code, told, _ = found()
    assert (code, told["calibrations"]["value"].partition(",")[0]) == (0, "1 kept")
    for snapshot in (tmp_path / STORE / "calibrations" / "snapshots").iterdir():
        snapshot.write_bytes(b"nothing")
    code, told, ill = found()
    assert (code, ill) == (3, ["calibrations"])
    assert told["calibrations"]["cure"].endswith("away: calibrations are made again")


def test_a_store_where_nothing_can_be_written_and_a_full_disk_are_bad(found, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    code, told, ill = found("--store", "file/cubes")
    assert (code, ill) == (3, ["store"])
    monkeypatch.setattr(checking, "_NEARLY_FULL", 1e18)
    assert found()[1]["disk of the store"]["state"] == "warn"
    monkeypatch.setattr(checking, "_FULL", 1e18)
    code, told, ill = found()
    assert (code, ill) == (3, ["disk of the store"])
    assert "`covsvc gc` forgets old commits" in told["disk of the store"]["cure"]


def test_a_store_that_is_none_is_bad(found):
    code, told, ill = found("--store", "gopher://cubes")
    assert (code, ill) == (3, ["store"])
    assert told["store"]["state"] == "bad"


def test_commits_from_the_future_tell_of_clocks_that_differ(found, small_study, tmp_path, monkeypatch):
    api.run(small_study(), tmp_path / STORE)
    monkeypatch.setattr(checking, "_AHEAD", -timedelta(days=1))
    code, told, ill = found()
    assert (code, ill) == (3, ["clock"])
    assert told["clock"]["cure"].startswith("set the clock")


def test_a_plug_in_that_cannot_be_loaded_is_bad_and_names_whose_it_is(found, plugins):
    entries = plugins / "strange-1.0.dist-info" / "entry_points.txt"
    entries.write_text(entries.read_text() + "\n[covsvc.figures]\nlost = strange_plugins:Lost\n")
    registry.installed.cache_clear()
    code, told, ill = found()
    assert (code, ill) == (3, ["figures: lost"])
    assert "strange_plugins:Lost of strange cannot be loaded: AttributeError" in told["figures: lost"]["value"]
    assert told["figures: lost"]["cure"] == "mend or uninstall strange"


def test_a_study_whose_plug_in_is_gone_is_told_of_with_the_cure_and_hides_no_other(
    found, covsvc, small_study, tmp_path, plugins, monkeypatch
):
    api.run(small_study(name="strange", methods=["too_low", "classical"]), tmp_path / STORE)
    api.run(small_study(), tmp_path / STORE)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(plugins)])
    registry.installed.cache_clear()
    told = "strange: install the plug-ins that it was made with; what is stored is whole"
    code, seen, ill = found()
    assert (code, ill) == (3, ["strange"])
    assert told in seen["strange"]["value"]
    code, out, err = covsvc("status")
    assert (code, out.splitlines()[0]) == (0, "small: 360 of 360 blocks done, 60,000 toys")
    assert told in err
    for command in (
        ("status", "strange"),
        ("report", "strange"),
        ("export", "strange", "x.csv"),
        ("replay", "strange", "--s-true", "1", "--b", "3"),
    ):
        code, out, err = covsvc(*command)
        assert (code, out) == (2, "")
        assert "its study cannot be read here: methods.0.name: too_low: unknown method" in err
        assert told in err
    for command in (("export", "strange", "x.nc"), ("tag", "strange", "x"), ("history", "strange"), ("gc", "strange")):
        assert covsvc(*command)[0] == 0


def test_an_interval_table_that_cannot_be_read_is_bad(found, tmp_path, monkeypatch):
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "intervals-0.91.npz").write_bytes(b"no table")
    monkeypatch.setenv("COVSVC_TABLES", str(folder))
    code, told, ill = found()
    assert (code, ill) == (3, ["interval table 0.91"])
    assert "`covsvc tables build --cl 0.91`" in told["interval table 0.91"]["cure"]
    assert told["interval tables"]["value"] == "at cl 0.9, 0.95, 0.99"


def test_a_scheduler_that_takes_connections_and_says_nothing_costs_a_few_seconds(found):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()
        found()
        without = time.monotonic() - begun
        code, told, ill = found("--cluster", address)
        assert time.monotonic() - begun < 2 * without + 3 * checking.ANSWER
    assert (code, ill) == (3, ["cluster"])
    assert told["cluster"]["value"].startswith(f"{address}: no scheduler answers there (silence for 5 s)")


@pytest.mark.parametrize(
    ("given", "told_of_it"),
    [
        ("tcp://127.0.0.1:9", "no scheduler answers there"),
        ("nonsense", "nonsense: unknown cluster"),
        ("local", "local: nothing runs there before a study does"),
        ("tcp://no-such-host.invalid:8786", "plain text beyond this machine is refused"),
        ("tls://no-such-host.invalid:8786", "TLS needs certificates, and none are named"),
    ],
)
def test_a_scheduler_that_is_not_there_or_not_safe_is_bad(found, given, told_of_it):
    code, told, ill = found("--cluster", given)
    assert (code, ill) == (3, ["cluster"])
    assert told_of_it in told["cluster"]["value"]


@contextmanager
def started(*arguments, **environment):
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


@pytest.mark.system
def test_workers_that_run_something_else_are_named_with_what_differs(found, tmp_path):
    other, bare = tmp_path / "other", tmp_path / "bare"
    other.mkdir()
    (other / "sitecustomize.py").write_text('import covsvc.version\ncovsvc.version.__version__ = "0.0.1"\n')
    (bare / "covsvc").mkdir(parents=True)
    (bare / "covsvc" / "__init__.py").write_text('raise ImportError("no covsvc here")\n')
    (port,) = free_ports(1)
    address = f"tcp://127.0.0.1:{port}"
    scheduler = ("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    worker = ("distributed.cli.dask_worker", address, "--no-nanny", "--nthreads", "1", "--no-dashboard")
    with ExitStack() as running:
        running.enter_context(started(*scheduler))
        wait_for(port)
        code, told, ill = found("--cluster", address)
        assert (code, ill) == (3, ["cluster"])
        assert told["cluster"]["cure"] == f"start one with `dask worker {address}`"
        assert told["scheduler"]["value"] == "runs what runs here"

        for name, path in (("same", ""), ("other", str(other)), ("bare", str(bare))):
            folder = ("--local-directory", str(tmp_path), "--name", name)
            running.enter_context(started(*worker, *folder, PYTHONPATH=path))
        deadline = time.monotonic() + 60
        while "3 workers" not in told["cluster"]["value"]:
            assert time.monotonic() < deadline
            code, told, ill = found("--cluster", address)
    assert code == 3
    workers = [each for name, each in told.items() if name.startswith("worker")]
    assert sorted(each["state"] for each in workers) == ["bad", "bad", "ok"]
    assert any("no covsvc here" in each["value"] for each in workers)
    assert any(f"covsvc 0.0.1, {__version__} here" in each["value"] for each in workers)
