"""Options of clusters: what is taken, and what is told of what is not."""

from __future__ import annotations

import sys

import pytest

from covsvc.engine.clusters.options import (
    HTCondorCluster,
    PBSCluster,
    SlurmCluster,
    StartedCluster,
    read_options,
    seconds_of,
)
from covsvc.errors import StudyError


def refusal(model=SlurmCluster, **options):
    with pytest.raises(StudyError) as refused:
        read_options(model, "slurm", options)
    return str(refused.value)


@pytest.mark.parametrize("model", [SlurmCluster, PBSCluster, HTCondorCluster, StartedCluster])
def test_nothing_has_to_be_told(model):
    options = read_options(model, "any", {})
    assert (options.workers.minimum, options.workers.maximum) == (1, 16)


def test_queues_are_waited_for_a_day():
    assert read_options(SlurmCluster, "slurm", {}).patience == 86400


def test_workers_are_of_the_python_that_drives_and_certificates_in_the_cache_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    options = read_options(SlurmCluster, "slurm", {})
    assert (options.python, options.shared_folder) == (sys.executable, str(tmp_path / "covsvc" / "clusters"))


def test_without_a_home_a_shared_folder_has_to_be_named(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("covsvc.engine.clusters.options.user_cache", no_home)
    assert refusal() == "shared_folder: there is no home for it; name one that the nodes see"


def test_a_number_of_workers_is_held_and_bounds_are_kept():
    for told, bounds in ((4, (4, 4)), ({"minimum": 2, "maximum": 5}, (2, 5))):
        workers = read_options(StartedCluster, "any", {"workers": told}).workers
        assert (workers.minimum, workers.maximum) == bounds


@pytest.mark.parametrize("told", [0, -1, True, "four", 2.5, None])
def test_what_is_no_number_of_workers_is_refused_with_an_example(told):
    assert refusal(workers=told) == (
        f"slurm: workers: {told!r}: a number of workers, or their bounds {{minimum: 1, maximum: 16}}"
    )


def test_bounds_the_wrong_way_round_are_refused_with_both():
    assert "the minimum of 5 is above the maximum of 2" in refusal(workers={"minimum": 5, "maximum": 2})


def test_a_cluster_without_any_worker_is_refused():
    assert refusal(workers={"minimum": 0, "maximum": 2}).startswith("slurm: workers.minimum: 0:")


def test_all_reasons_are_told_at_once_with_the_nearest_names():
    told = refusal(partiton="long", workers={"minimum": 1, "maximum": 2, "maxmum": 2}, memory="2")
    assert sorted(told.splitlines()) == [
        "slurm: memory: '2': a size with its unit, such as 2 GB",
        "slurm: partiton: unknown option, did you mean 'partition'?",
        "slurm: workers.maxmum: unknown option, did you mean 'workers.maximum'?",
    ]


@pytest.mark.parametrize("told", ["2", "GB", "2 XB", "1 kB", ""])
def test_a_size_needs_a_unit_that_is_known_and_room_for_something(told):
    assert "a size with its unit, such as 2 GB" in refusal(memory=told)


@pytest.mark.parametrize("told", ["2 GB", "500MB", "1.5 GiB"])
def test_sizes_are_taken_as_they_are_written(told):
    assert read_options(SlurmCluster, "slurm", {"memory": told}).memory == told


@pytest.mark.parametrize(("told", "taken"), [("04:00:00", "04:00:00"), ("72:30:00", "72:30:00"), (45296, "12:34:56")])
def test_a_walltime_is_taken_as_a_clock_also_where_yaml_read_it_to_the_base_of_60(told, taken):
    assert read_options(SlurmCluster, "slurm", {"walltime": told}).walltime == taken


@pytest.mark.parametrize("told", ["4h", "04:00", "00:00:59", "1-00:00:00", "04:60:00", True])
def test_what_is_no_walltime_is_refused(told):
    assert refusal(walltime=told).startswith(f"slurm: walltime: {told!r}: ")


def test_a_walltime_has_seconds():
    assert seconds_of("26:03:04") == 26 * 3600 + 3 * 60 + 4


@pytest.mark.parametrize("name", ["partition", "account", "host", "interface", "python", "log_folder", "local_folder"])
def test_what_goes_into_a_line_of_a_script_is_one_line(name):
    assert refusal(**{name: "a\n#SBATCH --wrap=b"}).endswith("one line of text")


def test_each_line_of_the_set_up_is_one():
    assert refusal(setup=["module load python", "a\nb"]).startswith("slurm: setup.1: ")


def test_a_folder_may_be_of_the_home_but_scratch_is_of_the_node(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    options = read_options(SlurmCluster, "slurm", {"log_folder": "~/logs", "local_folder": "$TMPDIR"})
    assert (options.log_folder, options.local_folder) == (str(tmp_path / "logs"), "$TMPDIR")


def test_scratch_with_quotation_marks_is_refused():
    assert refusal(local_folder='a"b').endswith("a folder without quotation marks in its name")


@pytest.mark.parametrize("told", ["8787", ":8787", "localhost:", "localhost:99999"])
def test_a_dashboard_has_a_host_and_a_port(told):
    assert refusal(dashboard=told) == f"slurm: dashboard: {told!r}: host:port, such as 127.0.0.1:8787"


@pytest.mark.parametrize("told", [0, -5, float("inf")])
def test_patience_is_some_seconds(told):
    assert refusal(patience=told).startswith(f"slurm: patience: {told!r}: ")


def test_commands_of_a_submit_description_are_words():
    told = refusal(HTCondorCluster, directives={"+JobFlavour": 3})
    assert told == "slurm: directives.+JobFlavour: input should be a valid string"


def test_lines_of_shell_are_told_to_nobody_where_they_are_refused():
    told = refusal(SlurmCluster, setup="export TOKEN=never-to-be-seen")
    assert told == "slurm: setup: a list, of one line each"
    assert "never" not in refusal(SlurmCluster, directives=["--comment=never\x07"])


@pytest.mark.parametrize("workers", [10**6, {"minimum": 1, "maximum": 10**20}])
def test_a_slip_of_the_pen_is_no_number_of_workers(workers):
    assert "less than or equal to 100000" in refusal(SlurmCluster, workers=workers)


def test_a_size_has_a_unit():
    assert refusal(SlurmCluster, memory=2) == "slurm: memory: 2: a size with its unit, such as 2 GB"
