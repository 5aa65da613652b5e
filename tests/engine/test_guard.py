"""The guard: whatever a limit method of others does, all other limits are set, and it is said what happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from misbehaving import HARMLESS, ISOLATE, REASONS, install
from numpy.testing import assert_array_equal
from processes import bench, members, told

from covsvc import api, registry
from covsvc.contracts import Counts
from covsvc.engine.guard import giving_up, method_of
from covsvc.engine.work import MOST_UNANSWERED, Tables, run_task, tables_of, try_limits
from covsvc.study import Column, Isolation, MethodSpec, Row, Task, study_of
from covsvc.tally import DONE, FAILED

pytestmark = pytest.mark.system  # each method that misbehaves has a process, and so many seconds

OBSERVED = Counts(np.array([3, 0, 7, 1]), 2.0)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    install(folder)
    return folder


@pytest.fixture(autouse=True)
def misbehaving(site, monkeypatch):
    """Have the distribution installed."""
    monkeypatch.syspath_prepend(str(site))
    registry.installed.cache_clear()
    yield
    registry.installed.cache_clear()
    sys.modules.pop("misbehaving_plugin", None)


def column(way, name="misbehaving", isolation=None, **options):
    isolation = Isolation.model_validate({"methods": "all", **ISOLATE}) if isolation is None else isolation
    return Column(MethodSpec(name=name, options={"way": way} | options, label=way), 0.9, isolation)


def guarded():
    """Return the processes of guarded methods that this process has, those of other tests aside."""
    told_ = ["covsvc.engine.guarded", str(os.getpid()), str(ISOLATE["memory_mb"])]
    return [each for each in psutil.Process().children() if each.cmdline()[-3:] == told_]


@pytest.mark.parametrize("way", REASONS)
def test_each_misbehaviour_has_its_reason_and_the_next_is_served(way):
    reason = REASONS[way].format(n=4, last=3)
    assert try_limits(method_of(column(way)), OBSERVED, 0.9) == reason
    limits = try_limits(method_of(column("good")), OBSERVED, 0.9)
    assert limits.upper.tolist() == [2.0, 1.0, 6.0, 1.0]
    assert OBSERVED.n.tolist() == [3, 0, 7, 1]
    assert len(guarded()) == 1


@pytest.mark.parametrize("way", HARMLESS)
def test_what_is_harmless_sets_its_limits(way, capfd):
    for _ in range(2):
        limits = try_limits(method_of(column(way)), OBSERVED, 0.9)
        assert limits.upper.tolist() == [2.0, 1.0, 6.0, 1.0]
    assert capfd.readouterr() == ("", "")


def test_one_process_serves_until_it_ends():
    try_limits(method_of(column("good")), OBSERVED, 0.9)
    (first,) = guarded()
    try_limits(method_of(column("raise")), OBSERVED, 0.9)
    assert guarded() == [first]
    try_limits(method_of(column("abort")), OBSERVED, 0.9)
    try_limits(method_of(column("good")), OBSERVED, 0.9)
    (second,) = guarded()
    assert second != first


def test_memory_that_leaks_away_ends_in_a_fresh_process_and_not_in_a_failure():
    # 120 MB stay with each call, of 300
    for _ in range(6):
        assert try_limits(method_of(column("leak")), OBSERVED, 0.9).upper.tolist() == [2.0, 1.0, 6.0, 1.0]


def test_a_thread_that_ends_the_process_later_fails_no_other_block():
    try_limits(method_of(column("late")), OBSERVED, 0.9)
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        limits = try_limits(method_of(column("good")), OBSERVED, 0.9)
        assert not isinstance(limits, str), limits


def test_what_a_method_started_ends_with_it():
    assert try_limits(method_of(column("child")), OBSERVED, 0.9) == "killed by SIGABRT"
    deadline = time.monotonic() + 5
    mine = os.getsid(0)
    while any("sleep 1000" in " ".join(each.cmdline()) for each in members(mine)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [each for each in members(mine) if "sleep 1000" in " ".join(each.cmdline())]


def test_a_method_that_forks_and_comes_back_twice_gives_one_answer():
    for n in range(4):
        limits = try_limits(method_of(column("fork")), Counts(np.array([n, n + 3]), 0.0), 0.9)
        assert limits.upper.tolist() == [n + 1.0, n + 4.0]


def test_what_a_method_forked_ends_with_it_in_a_session_of_its_own_too():
    assert not isinstance(try_limits(method_of(column("daemon")), OBSERVED, 0.9), str)
    (process,) = guarded()
    forked = process.children()
    assert [each.status() for each in forked].count(psutil.STATUS_ZOMBIE) < len(forked)
    process.kill()
    assert not psutil.wait_procs(forked, timeout=5)[1]
    # its pipes are not held open: the next is served at once
    assert not isinstance(try_limits(method_of(column("good")), OBSERVED, 0.9), str)


def test_a_reason_is_one_short_line_that_can_be_printed_and_stored():
    told_ = try_limits(method_of(column("words")), OBSERVED, 0.9)
    assert told_.startswith("ValueError: a \\ud800\\x1b[31m bbb")
    assert len(told_) < 600
    assert told_.encode().decode().isprintable()


def test_whoever_gives_up_asks_no_column_again_that_took_its_process_along():
    def ask(way):
        return try_limits(method_of(column(way)), OBSERVED, 0.9)

    with giving_up({("raise", 0.9): "as is known"}):
        assert ask("raise") == "not asked again: as is known"
        assert [ask("abort") for _ in range(2)] == ["killed by SIGABRT", "not asked again: killed by SIGABRT"]
        begun = time.monotonic()
        assert ask("loop").startswith("no answer after 2 s")
        assert [ask("loop")[:31] for _ in range(20)] == ["not asked again: no answer afte"] * 20
        assert time.monotonic() - begun < 15
        assert not isinstance(ask("good"), str)
    assert ask("abort") == "killed by SIGABRT"


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("none", "TaskError: the toys are NoneType; they must be a tuple of Counts"),
        ("two", "TaskError: the toys are Counts, Counts; they must be a tuple of Counts"),
        ("other", "TaskError: the toys are str; they must be a tuple of Counts"),
        ("short", "TaskError: 9 toys were drawn, not 10"),
        ("exit", "SystemExit: 3"),
    ],
)
def test_toys_that_are_not_those_of_a_block_fail_it(way, reason):
    study = study_of(
        {
            "name": "toys", "experiment": {"name": "untold", "options": {"way": way}}, "methods": "classical",
            "cl": 0.9, "s_true": [1], "b": 1, "toys_per_block": 10, "n_toys": 20, "seed": 1,
        }
    )  # fmt: skip
    tally = run_task(Task(study.source, study.columns, 1.0, study.s_true, 0, 2), Tables(None, {}, 0.0))
    assert (tally.status == FAILED).all()
    assert {each.reason for each in tally.failures} == {reason}


def test_our_own_methods_work_where_they_are_asked(small_study):
    before = guarded()
    for each in small_study().columns:
        assert each.isolation is None
        assert type(method_of(each)).__module__.startswith("covsvc.methods.")
    study = small_study(methods=["classical", {"name": "misbehaving", "label": "theirs"}], cl=0.9)
    assert [each.isolation is None for each in study.columns] == [True, False]
    study = small_study(methods=["misbehaving"], cl=0.9, isolate=False)
    assert type(method_of(study.columns[0])).__module__ == "misbehaving_plugin"
    assert guarded() == before


@pytest.mark.parametrize(
    ("experiment", "methods"),
    [
        ("counting", ["feldman_cousins", "bayes_flat"]),
        ({"name": "on_off", "options": {"tau": 2.0}}, ["q_mu_tilde", "significance_sideband"]),
        ("spectrum", ["optimum_interval", "p_max", "max_gap"]),
    ],
)
def test_the_same_bits_in_a_process_of_their_own(experiment, methods):
    given = {
        "name": "bits", "experiment": experiment, "methods": methods, "cl": 0.9, "s_true": [0, 3], "b": [0.5],
        "toys_per_block": 500, "n_toys": 1000, "seed": 1999,
    }  # fmt: skip
    found = []
    for isolate in (False, True):
        study = study_of(given | {"isolate": isolate})
        task = Task(study.source, study.columns, 0.5, study.s_true, 0, 2)
        found.append(run_task(task, Tables(None, {}, 0.0)))
    assert (found[0].status == DONE).all()
    assert_array_equal(found[0].digest, found[1].digest)
    assert_array_equal(found[0].counts, found[1].counts)


def test_a_column_that_runs_out_of_time_again_and_again_is_left_alone_for_the_rest_of_a_cell():
    isolation = Isolation(methods="all", seconds=0.5)
    study = study_of(
        {
            "name": "slow", "experiment": "untold", "methods": "classical", "cl": 0.9, "s_true": [0, 1], "b": 1,
            "toys_per_block": 10, "n_toys": 100, "seed": 1,
        }
    )  # fmt: skip
    columns = (*study.columns, column("loop", isolation=isolation), column("good", isolation=isolation))
    tally = run_task(Task(study.source, columns, 1.0, study.s_true, 0, 10), Tables(None, {}, 0.0))
    assert (tally.status[[0, 2]] == DONE).all()
    assert (tally.status[1] == FAILED).all()
    failures = [(each.s_true, each.start, each.stop, each.reason.partition(",")[0]) for each in tally.failures]
    silent = "no answer after 0.5 s (isolate.seconds); the toys of a block that ran out of time are exempt from the "
    assert failures == [
        cell
        for s_true in (0.0, 1.0)
        for cell in (
            (s_true, 0, MOST_UNANSWERED, silent + "promise of equal bits"),
            (s_true, MOST_UNANSWERED, 10, "not asked"),
        )
    ]


def test_a_block_beyond_the_table_fails_alone(small_study):
    study = small_study(methods=["classical", "misbehaving"], cl=0.9, isolate=ISOLATE)
    columns = (study.columns[0], column("good"))
    from covsvc.engine.work import Table, make_tables
    from covsvc.tally import Told

    tables = make_tables(Row(study.source, columns, 3.0, study.s_true))
    largest = max(
        int(rng.poisson(6 + 3.0, 1000).max()) for rng in study.source.blocks(6.0, 3.0, 0, 5)
    )  # of the block that draws it, and no other
    told_ = tables.table.told.at(np.arange(largest - tables.table.first[0]))
    cut = Table(3.0, tables.table.first, (largest - tables.table.first[0],), columns, Told(*vars(told_).values()))
    task = Task(study.source, columns, 3.0, (6.0,), 0, 5)
    whole, beyond = run_task(task, tables), run_task(task, Tables(cut, {}, 0.0))
    assert_array_equal(whole.digest, beyond.digest)
    # now the second column misbehaves when it is asked again
    bad = (columns[0], column("abort"))
    cut_bad = Table(3.0, cut.first, cut.shape, (columns[0], column("abort")), cut.told)
    tally = run_task(Task(study.source, bad, 3.0, (6.0,), 0, 5), Tables(cut_bad, {}, 0.0))
    assert_array_equal(tally.digest[0], whole.digest[0])
    drew = [int(rng.poisson(6 + 3.0, 1000).max()) >= largest for rng in study.source.blocks(6.0, 3.0, 0, 5)]
    assert_array_equal(tally.status[1, 0] == FAILED, drew)
    assert not all(drew)
    assert {each.reason for each in tally.failures} == {"killed by SIGABRT"}


def test_whoever_explains_may_crash_too():
    study = study_of(
        {
            "name": "why", "experiment": "untold", "methods": "classical", "cl": 0.9, "s_true": [1], "b": 1,
            "toys_per_block": 10, "n_toys": 10, "seed": 1,
        }
    )  # fmt: skip
    tally = run_task(
        Task(study.source, (column("explain", "failing"),), 1.0, study.s_true, 0, 1), Tables(None, {}, 0.0)
    )
    assert (tally.status == DONE).all()
    assert tally.counts[0, 0, -1] == 10
    assert [each.reason for each in tally.reasons] == ["killed by SIGABRT"]


STUDY = {
    "name": "guarded",
    "experiment": "counting",
    "cl": [0.9],
    "s_true": [0, 2, 5],
    "b": [0, 3],
    "toys_per_block": 1000,
    "n_toys": 3000,
    "seed": 1999,
    "isolate": ISOLATE,
}
GOOD = ["classical", {"name": "misbehaving", "label": "good"}]
BAD = [
    {"name": "misbehaving", "options": {"way": way, "from_b": 3.0}, "label": way}
    for way in (*REASONS, *HARMLESS[1:])
    if way not in ("unspeakable", "sleep in C", "abort", "kill", "type", "upside down")
]


@pytest.fixture(scope="module")
def alone(site, tmp_path_factory):
    """Return the cube of the study without those that misbehave."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        registry.installed.cache_clear()
        cube = api.run(study_of(STUDY | {"methods": GOOD}), tmp_path_factory.mktemp("alone")).load()
    registry.installed.cache_clear()
    return cube


def hold_all_others_complete(cube, alone):
    """Hold that those which behave have the bits they have without the others, where these behave all have theirs."""
    names = [name for name in cube.data_vars if name.startswith(("n_", "limit_", "block", "exact", "worst"))]
    assert "limit_digest" in names
    for label in ("classical", "good", *HARMLESS[1:]):
        expected = alone.sel(limit_method=label if label == "classical" else "good")
        for name in names:
            assert_array_equal(cube[name].sel(limit_method=label), expected[name], err_msg=f"{name} of {label}")
    for label in (each["label"] for each in BAD if each["label"] not in HARMLESS):
        here = cube.sel(limit_method=label)
        assert_array_equal(here["limit_digest"].sel(b=0), alone["limit_digest"].sel(limit_method="good", b=0))
        assert (here["block_status"].sel(b=0) == DONE).all()
        assert (here["block_status"].sel(b=3) == FAILED).all()
        assert not here["n_toys"].sel(b=3).any()


def hold_the_reasons(where, store, number):
    """Hold that the status tells all reasons."""
    found = api.status(store, "guarded")
    assert found["blocks_failed"] == 9 * (len(BAD) - len(HARMLESS[1:]))
    told_ = {each["limit_method"]: each["reason"] for each in found["failures"]}
    assert told_ == {
        each["label"]: REASONS[each["label"]].format(n=number, last=number - 1)
        for each in BAD
        if each["label"] not in HARMLESS
    }, where


@pytest.fixture(scope="module")
def run_here(site, tmp_path_factory):
    """Return the store of a run without a cluster."""
    store = tmp_path_factory.mktemp("here")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        registry.installed.cache_clear()
        api.run(study_of(STUDY | {"methods": [*GOOD, *BAD]}), store)
    registry.installed.cache_clear()
    return store


def outcomes():
    return make_outcomes(study_of(STUDY | {"methods": GOOD}))


def make_outcomes(study):
    from covsvc.engine.work import box_of

    (number,) = box_of(study.experiment.build(), Row(study.source, study.columns, 3.0, study.s_true, (0.0, 5.0)))[1]
    return number


def test_all_others_complete_without_a_cluster(run_here, alone):
    hold_all_others_complete(api.open_cube(run_here, "guarded").load(), alone)
    hold_the_reasons("here", run_here, outcomes())


def test_maps_and_report_tell_the_failed_blocks_and_the_bounds_of_coverage(tmp_path):
    methods = ["classical", *(each for each in BAD if each["label"] in ("segfault", "write"))]
    study = study_of(STUDY | {"methods": methods, "s_true": [0, 2]})
    api.run(study, tmp_path / "store")
    cube = api.open_cube(tmp_path / "store", "guarded")
    maps = api.maps_of(cube)
    here = maps.sel(limit_method="segfault", b=3)
    assert (here["coverage"] == 0).all()
    assert (here["coverage_best"] == 1).all()
    assert (here["p_failed"] == 1).all()
    page = api.write_report(cube, tmp_path / "report", maps=maps).read_text()
    section = page.partition('<section aria-labelledby="failed-blocks">')[2].partition("</section>")[0]
    assert "--retry-failed" in section
    for way in ("segfault", "write"):
        row = next(row for row in section.split("</tr>") if REASONS[way] in row)
        cells = [cell.partition(">")[2].partition("<")[0] for cell in row.split("<td")[1:]]
        # of 2 cells 3 blocks each failed
        assert cells == ["0.9", REASONS[way], "6", "2", "0.0000", "1.0000"]


def test_a_report_and_the_limits_on_an_observation_do_not_ask_again_what_failed_in_the_cube(tmp_path):
    ways = [{"name": "misbehaving", "options": {"way": way}, "label": way} for way in ("loop", "segfault")]
    late = {"name": "misbehaving", "options": {"way": "loop", "from_b": 3.0}, "label": "late"}
    study = study_of(
        STUDY | {"methods": ["classical", *ways, late], "s_true": [0, 2], "observed": {"n": 3, "b": 1.0}}
    )  # fmt: skip
    cube = api.run(study, tmp_path / "store")
    maps = api.maps_of(cube)
    rows = {each["limit_method"]: each for each in api.observe(study, maps)}
    assert rows["segfault"]["reason"] == "not asked again: killed by SIGSEGV"
    assert rows["loop"]["reason"].startswith("not asked again: no answer after 2 s")
    assert (rows["late"]["upper"], rows["late"]["status"]) == (3.0, "ok")
    begun = time.monotonic()
    page = api.write_report(cube, tmp_path / "report", maps=maps).read_text()
    assert "was not asked for its limits there again" in page
    made = tables_of(study, {("late", 0.9, 3.0): "known", ("loop", 0.9, 0.0): "a", ("loop", 0.9, 3.0): "b"}
                     | {("segfault", 0.9, b): "killed" for b in study.b})  # fmt: skip
    assert made[0.0].failed == {("loop", 0.9): "a", ("segfault", 0.9): "killed"}
    assert made[3.0].failed == {("loop", 0.9): "b", ("segfault", 0.9): "killed", ("late", 0.9): "known"}
    assert [column.key[0] for column in made[0.0].table.columns] == ["classical", "late"]
    assert time.monotonic() - begun < 60


def run_command(folder, site, *arguments):
    """Run a command in a session of its own; return its exit code, what it printed, and who is left of the session."""
    environment = os.environ | {"PYTHONPATH": str(site), "NO_COLOR": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "covsvc", *arguments],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    out, err = process.communicate(timeout=280)
    deadline = time.monotonic() + 10
    while members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not members(process.pid), "left running"
    return process.returncode, out, err


def test_all_others_complete_on_two_workers(tmp_path, site, alone):
    (tmp_path / "study.yaml").write_text(json.dumps(STUDY | {"methods": [*GOOD, *BAD]}))
    code, out, err = run_command(tmp_path, site, "run", "study.yaml", "--workers", "2", "--json")
    assert code == 3, err
    assert json.loads(out)[0]["verdict"]["outcome"] == "undecided"
    assert "hello" not in err
    store = tmp_path / "coverage-cubes"
    hold_all_others_complete(api.open_cube(store, "guarded").load(), alone)
    hold_the_reasons("two workers", store, outcomes())
    code, out, err = run_command(tmp_path, site, "status", "guarded")
    assert code == 0, err
    assert "segfault at 0.9: killed by SIGSEGV (3 cells)" in out
    assert f"loop at 0.9: {REASONS['loop']} (3 cells)" in out


def test_all_others_complete_on_a_worker_started_by_hand_as_it_comes(tmp_path, site, alone):
    with bench(tmp_path) as held:
        held.environment["PYTHONPATH"] += os.pathsep + str(site)
        scheduler, address = held.scheduler()
        program = str(Path(sys.executable).parent / "dask")
        worker = held.start(program, "worker", address, "--local-directory", str(tmp_path / "scratch"))
        (tmp_path / "guarded.yaml").write_text(json.dumps(STUDY | {"methods": [*GOOD, *BAD]}))
        driver = held.start(
            sys.executable, "-m", "covsvc", "run", "guarded.yaml", "--cluster", address, "--store", str(held.store)
        )
        assert driver.wait(250) == 3, told(driver)
        hold_all_others_complete(api.open_cube(held.store, "guarded").load(), alone)
        hold_the_reasons("by hand", held.store, outcomes())
        # a worker that dies takes its guarded process along, and its supervisor starts another
        children = [each for each in members(worker.pid) if "covsvc.engine.guarded" in each.cmdline()]
        assert children
        parents = {each.ppid() for each in children}
        for parent in parents:
            os.kill(parent, signal.SIGKILL)
        _, alive = psutil.wait_procs(children, 10)
        assert not alive
        for process in (worker, scheduler):
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def test_failed_blocks_are_drawn_again_when_asked_for(tmp_path, site, alone):
    methods = ["classical", {"name": "misbehaving", "label": "good"}]
    (tmp_path / "study.yaml").write_text(json.dumps(STUDY | {"methods": methods}))
    plugin = site / "misbehaving_plugin.py"
    environment_says = 'case "good" if os.environ.get("MISBEHAVING"): os.abort()\n                case "raise"'
    source = plugin.read_text()
    plugin.write_text(source.replace('case "raise"', environment_says))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MISBEHAVING", "1")
            code, _, err = run_command(tmp_path, site, "run", "study.yaml", "--cluster", "none")
            assert code == 3, err
        code, out, _ = run_command(tmp_path, site, "status", "--json")
        (found,) = json.loads(out)
        assert found["blocks_failed"] == 18
        code, _, err = run_command(tmp_path, site, "run", "study.yaml", "--cluster", "none")
        assert code == 3, err
        code, _, err = run_command(tmp_path, site, "run", "study.yaml", "--cluster", "none", "--retry-failed")
        assert code == 0, err
    finally:
        plugin.write_text(source)
    cube = api.open_cube(tmp_path / "coverage-cubes", "guarded").load()
    for name in ("limit_digest", "block_status", "n_covered", "limit_counts", "exact_coverage", "worst_coverage"):
        assert_array_equal(cube[name], alone[name])
    assert np.isfinite(cube["exact_coverage"]).all()
    assert json.loads(cube.attrs["failures"]) == []


def test_a_limit_on_real_data_survives_too(tmp_path, site):
    code, out, err = run_command(
        tmp_path, site, "limit", "--n", "3", "--b", "2", "-m", "classical", "-m", "crashing", "--json"
    )
    assert code == 2, err  # as where any limit failed
    found = {each["limit_method"]: each for each in json.loads(out)}
    assert found["classical"]["status"] == "ok"
    assert found["crashing"]["status"] == "failed"
    assert found["crashing"]["reason"] == "killed by SIGSEGV"


@pytest.mark.parametrize(
    ("isolate", "told_"),
    [
        (5, "isolate: 5: give true (all methods), false (none) or a mapping of methods, seconds and memory_mb"),
        ({"seconds": 0}, "isolate.seconds: 0: input should be greater than 0"),
        ({"seconds": -1.5}, "isolate.seconds: -1.5: input should be greater than 0"),
        ({"memory_mb": 20}, "isolate.memory_mb: 20: input should be greater than or equal to 200"),
        ({"methods": "ours"}, "isolate.methods: 'ours': input should be 'others', 'all' or 'none'"),
        ({"memory": 300}, "memory: unknown key, did you mean 'memory_mb'?"),
    ],
)
def test_what_isolates_nobody_is_refused(small_study, isolate, told_):
    from covsvc.study import RefusedStudy

    with pytest.raises(RefusedStudy) as refused:
        small_study(isolate=isolate)
    assert str(refused.value) == told_
