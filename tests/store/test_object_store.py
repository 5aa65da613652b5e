"""Stores in a bucket: the same cubes as on disk, one driver at a time, and nothing counted twice."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import obstore
import pytest
from numpy.testing import assert_array_equal
from object_store import BUCKET, served

from covsvc import api
from covsvc.contracts import Calibration
from covsvc.engine.work import make_tables, run_task
from covsvc.errors import StoreError
from covsvc.store import lease
from covsvc.store.calibrations import find_calibration, keep_calibration
from covsvc.store.place import place_of
from covsvc.store.repository import Ledger, create_repository, open_cube, open_ledger
from covsvc.study import Row, rows

pytestmark = pytest.mark.system

DRIVER = """
import sys
from covsvc import api
from covsvc.cli import main
from covsvc.store import lease
if __name__ == "__main__":
    lease.BEAT, lease.EXPIRY = 0.2, 2.0
    study = api.load_study(sys.argv[1])
    try:
        tell = lambda at: print(at.toys, flush=True)
        api.run(study, sys.argv[2], progress=tell, task_toys=1e4, commit_seconds=0.0)
    except Exception as error:
        sys.exit(str(error))
"""
"""A driver whose lease is short, and which commits every task."""


@pytest.fixture(scope="module")
def service():
    """Serve a bucket for all tests."""
    with served() as environment:
        yield environment


@pytest.fixture
def store(service, monkeypatch, request):
    """Return the URL of an empty store."""
    for name, value in service.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{request.node.name}"


@pytest.fixture
def short_leases(monkeypatch):
    """Have leases expire after two seconds."""
    monkeypatch.setattr(lease, "BEAT", 0.2)
    monkeypatch.setattr(lease, "EXPIRY", 2.0)


@pytest.fixture
def start_driver(tmp_path):
    """Return what starts a driver of a study; whichever is left is killed."""
    (tmp_path / "driver.py").write_text(DRIVER)
    started = []

    def start(study, store):
        file = tmp_path / f"{study.name}.yaml"
        file.write_text(json.dumps(study.model_dump(mode="json")))
        command = [sys.executable, str(tmp_path / "driver.py"), str(file), store]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, text=True, start_new_session=True, **pipes))
        return started[-1]

    yield start
    for driver in started:
        if driver.poll() is None:
            os.killpg(driver.pid, signal.SIGKILL)
        driver.communicate()


def assert_same(one, other):
    """Compare two cubes bit for bit."""
    assert set(one.data_vars) == set(other.data_vars)
    for name in one.data_vars:
        assert_array_equal(one[name].values, other[name].values, err_msg=str(name))


def wait_until_drawn(driver, toys):
    while int(driver.stdout.readline() or toys) < toys:
        pass


def test_a_bucket_holds_the_same_cube_as_a_folder_and_grows_as_one(small_study, store, tmp_path):
    assert api.stored_studies(store) == []
    assert api.driver_of(store, "small") == ""
    with pytest.raises(StoreError, match=f"{store}/small: no such study in the store; stored are: none"):
        open_cube(store, "small")
    for study in (small_study(), small_study(cl=[0.9, 0.92, 0.95], n_toys=8000)):
        assert not api.remainder(study, store).nothing
        assert_same(api.run(study, store), api.run(study, tmp_path))
        assert api.remainder(study, store).nothing
    assert api.stored_studies(store) == ["small"]
    assert api.run(study, store).attrs["store"] == store
    told = api.status(store, "small")
    assert (told["blocks"], told["blocks_done"], told["driver"]) == (12 * 9 * 8, 12 * 9 * 8, "")


def test_run_status_and_report_take_a_url_from_the_option_and_the_environment(covsvc, small_study, store, monkeypatch):
    study = small_study(b=[0, 3], methods=["classical"])
    Path("study.yaml").write_text(json.dumps(study.model_dump(mode="json")))
    code, out, err = covsvc("run", "study.yaml", "--store", store, "--workers", "2", "--json")
    assert (code, "Traceback" in err) == (0, False), err
    monkeypatch.setenv("COVSVC_STORE", store)
    code, out, err = covsvc("status", "--json")
    assert [each["study"] for each in json.loads(out)] == ["small"]
    code, out, err = covsvc("report", "small", "--out", "drawn")
    assert code == 0, err
    assert Path("drawn/index.html").exists()
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["drawn", "study.yaml"]
    assert_same(open_cube(store, "small"), api.run(study, "local"))
    objects = place_of(store).objects
    contents = [path.read_bytes() for path in Path("drawn").rglob("*") if path.is_file()]
    contents += [objects.read(each["path"]).content for each in obstore.list(objects._service()).collect()]
    assert len(contents) > 20
    assert not any(os.environ["AWS_SECRET_ACCESS_KEY"].encode() in each for each in contents)


def test_a_bucket_that_is_not_there_and_a_prefix_of_others_are_refused(small_study, store):
    with pytest.raises(StoreError, match="s3://none: there is no such bucket; make it, or choose another --store"):
        api.run(small_study(), "s3://none/x")
    place_of(store).objects.write(f"{store.rpartition('/')[2]}/small/thesis.tex", b"x", over={})
    assert api.stored_studies(store) == []
    with pytest.raises(StoreError, match=f"{store}/small: is not a store of covsvc"):
        api.run(small_study(), store)
    assert place_of(store).holder("small") == ""


def test_wrong_credentials_are_refused_and_not_repeated(small_study, monkeypatch, covsvc):
    with served(INITIAL_NO_AUTH_ACTION_COUNT="1") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        begun = time.monotonic()
        code, out, err = covsvc("status", "--store", f"s3://{BUCKET}/x")
    assert time.monotonic() - begun < 20
    assert (code, out) == (2, "")
    assert err.startswith(f"covsvc: s3://{BUCKET}: access is denied; see AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY")
    assert environment["AWS_SECRET_ACCESS_KEY"] not in err


def test_a_second_driver_is_refused_with_the_first_ones_name_however_long_that_takes(small_study, store, short_leases):
    who = rf"pid {os.getpid()} on .+ since 20"
    with open_ledger(store, small_study()):
        time.sleep(2.5)  # longer than a lease lasts
        assert api.driver_of(store, "small").startswith(f"pid {os.getpid()} on ")
        with (
            pytest.raises(StoreError, match=f"{store}/small: another driver has this study: {who}"),
            open_ledger(store, small_study()),
        ):
            pass
        api.run(small_study(name="other"), store)
    assert api.driver_of(store, "small") == ""
    begun = time.monotonic()
    api.run(small_study(), store)
    assert api.stored_studies(store) == ["other", "small"]
    assert time.monotonic() - begun < 20


def test_two_drivers_of_two_studies_both_complete(small_study, store, tmp_path, start_driver):
    studies = [small_study(name=name, seed=seed) for name, seed in (("one", 1), ("two", 2))]
    for driver in [start_driver(study, store) for study in studies]:
        _, told = driver.communicate(timeout=120)
        assert driver.returncode == 0, told
    for study in studies:
        assert_same(open_cube(store, study.name), api.run(study, tmp_path))


def test_kill_9_of_a_driver_is_gone_on_from_when_its_lease_has_expired(
    small_study, store, tmp_path, start_driver, short_leases, caplog
):
    study = small_study()
    driver = start_driver(study, store)
    wait_until_drawn(driver, 20_000)  # of 60,000
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait(30)
    killed = time.monotonic()
    assert f"pid {driver.pid} on " in api.driver_of(store, "small")
    left = api.remainder(study, store).toys
    assert 0 < left <= 50_000
    seen = []
    resumed = api.run(study, store, progress=seen.append)
    assert time.monotonic() - killed >= 2.0
    assert f"{store}/small: no sign of pid {driver.pid} on " in caplog.text
    assert seen[-1].all_toys == left
    assert_same(resumed, api.run(study, tmp_path))


def test_a_driver_that_slept_while_another_took_over_stops_and_counts_nothing_twice(
    small_study, store, tmp_path, start_driver, short_leases
):
    study = small_study()
    driver = start_driver(study, store)
    wait_until_drawn(driver, 20_000)
    os.killpg(driver.pid, signal.SIGSTOP)
    taken_over = api.run(study, store)
    os.killpg(driver.pid, signal.SIGCONT)
    _, told = driver.communicate(timeout=60)
    assert driver.returncode == 1
    assert re.match(  # by its lease, or, stopped since it asked for that, by its commit
        f"{store}/small: (lost the lease to another driver, which is done: it was not renewed for 2 s|"
        r"another driver has committed meanwhile, and this one stops)\. .* goes on from there\n$",
        told,
    )
    assert open_cube(store, "small").attrs["snapshot"] == taken_over.attrs["snapshot"]
    assert_same(open_cube(store, "small"), api.run(study, tmp_path))


@pytest.mark.parametrize("over", ["bucket", "folder"])
def test_a_repository_whose_making_was_interrupted_is_made_anew(small_study, store, tmp_path, over):
    where = store if over == "bucket" else tmp_path / "folder"
    place = place_of(where)
    repository = create_repository(place, "small")
    first = repository.lookup_branch("main")
    if over == "bucket":
        made = place.objects.below(f"{place.prefix}/small/")
        place.objects.remove([each for each in made if first not in each])
    else:
        for path in [each for each in (tmp_path / "folder").rglob("*") if each.is_file() and first not in each.name]:
            path.unlink()
    assert place.is_foreign("small")
    assert_same(api.run(small_study(), where), api.run(small_study(), tmp_path / "fresh"))


@pytest.mark.parametrize("over", ["bucket", "folder"])
def test_a_driver_that_does_not_know_of_its_loss_is_refused_by_its_commit(small_study, store, tmp_path, over):
    study = small_study()
    where = store if over == "bucket" else tmp_path / "folder"

    def ledger_of(repository):
        unaware = {"still_held": lambda: None, "replace": False, "s_tile": 1, "commit_seconds": 1e9}
        ledger = Ledger(repository, study, place_of(where), **unaware)
        ledger.trust_engine()
        return ledger

    def draw(ledger):
        task = next(rows(study, ledger.missing, 1e4)).tasks[0]
        ledger.add(run_task(task, make_tables(Row(study.source, task.columns, task.b, task.s_true))))

    repository = create_repository(place_of(where), "small")
    first, second = ledger_of(repository), ledger_of(repository)
    draw(first)
    draw(second)  # the same toys
    first.commit()
    held = open_cube(where, "small").load()
    with pytest.raises(StoreError, match="another driver has committed meanwhile, and this one stops"):
        second.commit()
    second.commit()  # as on the way out
    assert_same(open_cube(where, "small"), held)
    assert_same(api.run(study, where), api.run(study, tmp_path / "fresh"))


def test_the_loss_of_a_lease_names_who_has_it_now(small_study, store, monkeypatch):
    monkeypatch.setattr(lease, "BEAT", 1e6)  # as if this process were stopped
    place = place_of(store)
    with place.lock("small") as still_held:
        still_held()
        monkeypatch.setattr(lease, "BEAT", 0.2)
        monkeypatch.setattr(lease, "EXPIRY", 0.5)
        with place.lock("small") as held_now:
            with pytest.raises(StoreError, match=rf"lost the lease to pid {os.getpid()} on .* since 20.*goes on from"):
                still_held()
            held_now()
    assert place.holder("small") == ""


@pytest.mark.parametrize("for_good", [False, True])
def test_a_service_that_goes_away_is_waited_for_a_while(small_study, tmp_path, start_driver, monkeypatch, for_good):
    study, store = small_study(), f"s3://{BUCKET}/x"
    with served() as environment:
        for name in environment:
            monkeypatch.setenv(name, environment[name])
        group = int(environment["MOTO_GROUP"])
        driver = start_driver(study, store)
        wait_until_drawn(driver, 20_000)
        os.killpg(group, signal.SIGSTOP)
        time.sleep(1)
        if for_good:
            os.killpg(group, signal.SIGKILL)
        else:
            os.killpg(group, signal.SIGCONT)
            driver.stdout.read()
            assert driver.wait(60) == 0
            assert_same(open_cube(store, "small"), api.run(study, tmp_path))
            return
        begun = time.monotonic()
        _, told = driver.communicate(timeout=60)
    assert driver.returncode == 1
    assert time.monotonic() - begun < 30
    assert told == f"s3://{BUCKET}: cannot be reached; see AWS_ENDPOINT_URL (unset for AWS itself) and AWS_REGION\n"


def test_what_is_no_lease_is_refused(store):
    place = place_of(store)
    place.objects.write(f"{place.prefix}/small.lock", b"thesis", over={})
    with pytest.raises(StoreError, match=f"{store}/small.lock: is no lease of covsvc; remove this object"):
        place.holder("small")


def test_calibrations_of_many_writers_are_all_kept(store, monkeypatch):
    monkeypatch.setattr(lease, "BEAT", 1.0)
    kept = {f"key{at}": Calibration({"x": np.arange(at + 1.0)}, 0.1 * at) for at in range(4)}
    assert find_calibration(store, "key0") is None
    with ThreadPoolExecutor(4) as writers:
        jobs = [writers.submit(keep_calibration, store, key, each, {}, 1.0) for key, each in [*kept.items()] * 2]
        for job in jobs:
            job.result()
    for key, each in kept.items():
        found = find_calibration(store, key)
        assert found.error == each.error
        assert_array_equal(found.arrays["x"], each.arrays["x"])
    assert api.stored_studies(store) == []


class Careless(BaseHTTPRequestHandler):
    """Pass requests on without their conditions, as some servers would."""

    server: ThreadingHTTPServer
    protocol_version = "HTTP/1.1"

    def pass_on(self):
        to = http.client.HTTPConnection(self.server.to, timeout=30)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if not name.lower().startswith("if-")}
        to.request(self.command, self.path, body, headers)
        answer = to.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "server", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        to.close()

    do_GET = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815 - the server looks for these

    def log_message(self, *_):
        """Say nothing."""


def test_a_service_that_ignores_conditions_is_refused(small_study, store, service, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Careless)
    server.daemon_threads = True
    server.to = urlsplit(service["AWS_ENDPOINT_URL"]).netloc
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(StoreError, match="ignores the conditions of conditional writes"):
            api.run(small_study(), store)
        assert api.driver_of(store, "small") == ""
        assert api.stored_studies(store) == []
    finally:
        server.shutdown()
        server.server_close()
