"""`covsvc tables`: list, build, interrupt, go on, and find again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from scipy import special

from covsvc.interval_tables import SHIPPED, file_name, interval_table, levels
from covsvc.version import __version__

CL, LARGEST = 0.68, 6.0
BUILD = ("tables", "build", "--cl", CL, "--toys", "1e4", "--largest-mu", LARGEST, "--cluster", "none")
LIMIT = ("limit", "--events", "events.csv", "--spectrum", "uniform:low=0,high=1", "-m", "optimum_interval", "--json")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Return the folder of the user's tables, which does not exist yet."""
    monkeypatch.delenv("COVSVC_TABLES", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "covsvc" / "tables"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build a small table; return its folder and what was said."""
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "covsvc", *map(str, BUILD), "--out", str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return folder, ended.stdout, ended.stderr


def tables_in(folder):
    """Return the names of the tables in a folder, in which nothing else is left but a lock."""
    assert not [path for path in folder.iterdir() if path.suffix not in (".npz", ".lock")]
    return sorted(path.name for path in folder.glob("*.npz"))


def same_content(one, other):
    with np.load(one) as a, np.load(other) as b:
        return a.files == b.files and all(np.array_equal(a[name], b[name]) for name in a.files)


def test_lists_the_tables_that_come_with_covsvc(covsvc):
    code, told, error = covsvc("tables", "list")
    assert (code, error) == (0, "")
    head, *rows = told.splitlines()
    assert " ".join(head.split()) == "cl to mu toys a mu error of coverage seed covsvc file"
    for row, cl in zip(rows, ("0.90", "0.95", "0.99"), strict=True):
        level, reach, toys, _, _, version, file = row.split()
        assert (level, reach, toys, version) == (cl, "120", "3,000,000", __version__)
        assert file == str(SHIPPED / file_name(float(cl)))


def test_lists_them_for_programs(covsvc):
    code, told, error = covsvc("tables", "list", "--json")
    assert (code, error) == (0, "")
    found = json.loads(told)
    assert [each["cl"] for each in found] == [0.90, 0.95, 0.99]
    for each in found:
        assert set(each) == {"cl", "largest_mu", "error", "toys", "seed", "version", "file"}
        # of toys alone, without what is known of them, it were sqrt(cl (1 - cl) / toys)
        assert 0 < each["error"] < np.sqrt(each["cl"] * (1 - each["cl"]) / each["toys"])


def test_builds_a_table_and_says_what_it_is(built):
    folder, told, error = built
    file = folder / file_name(CL)
    assert tables_in(folder) == [file.name]
    first, second = told.splitlines()
    assert first.startswith("0.68: to mu = 6, error of the coverage ")
    # that of so few toys, which is smaller for what is known of them
    assert 0 < float(first.split()[-1]) < np.sqrt(CL * (1 - CL) / 1e4)
    assert second.strip() == str(file)
    assert error.splitlines()[-1] == "final: 100 %"


def test_what_was_built_is_the_table_asked_for(built, monkeypatch):
    monkeypatch.setenv("COVSVC_TABLES", str(built[0]))
    table = interval_table(CL)
    assert (table.cl, table.largest_mu) == (CL, LARGEST)
    assert (table.made_by["toys"], table.made_by["seed"], table.made_by["version"]) == (10_000, 2002, __version__)
    # S. Yellin, Phys. Rev. D 66 (2002) 032005, Section III: one event decides from P(mu, 2) = cl on
    assert special.gammainc(2, table.c_max.thresholds[1]) == pytest.approx(CL, abs=1e-12)


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "COVSVC_TABLES"])
def test_limits_find_what_was_built(covsvc, cache, built, tmp_path, monkeypatch, variable):
    (tmp_path / "events.csv").write_text("0.3\n0.4\n")
    code, _, error = covsvc(*LIMIT, "--cl", CL)
    assert code == 2
    assert f"covsvc tables build --cl {CL}" in " ".join(error.split())
    if variable == "COVSVC_TABLES":
        monkeypatch.setenv(variable, str(built[0]))
    else:
        shutil.copytree(built[0], cache)
    code, told, error = covsvc(*LIMIT, "--cl", CL)
    assert (code, error) == (0, "")
    (row,) = json.loads(told)["limits"]
    # the table has it between the limits of an empty range and of two events wherever they are
    assert -np.log(1 - CL) < row["upper"] < special.gammaincinv(3, 0.9)
    code, told, error = covsvc("tables", "list", "--json")
    assert [each["cl"] for each in json.loads(told)] == [CL, 0.90, 0.95, 0.99]


def test_a_limit_beyond_the_table_is_unbounded(covsvc, cache, built, tmp_path):
    shutil.copytree(built[0], cache)
    (tmp_path / "events.csv").write_text("".join(f"{place}\n" for place in np.linspace(0.01, 0.99, 30)))
    code, told, _ = covsvc(*LIMIT, "--cl", CL)
    (row,) = json.loads(told)["limits"]
    assert (code, row["status"]) == (0, "unbounded")
    assert row["reason"] == "the limit lies beyond mu = 6, where the table ends"


def test_builds_into_the_cache_and_several_levels_at_once(covsvc, cache):
    code, told, _ = covsvc(*BUILD, "--cl", 0.6, "--seed", 7, "--json")
    assert code == 0
    found = json.loads(told)
    assert [(each["cl"], each["seed"], each["hidden_by"]) for each in found] == [(0.6, 7, None), (CL, 7, None)]
    assert tables_in(cache) == [file_name(0.6), file_name(CL)]
    assert levels() == [0.6, CL, 0.90, 0.95, 0.99]


def test_says_when_another_table_is_used_in_place_of_the_new_one(covsvc, cache, tmp_path):
    code, told, error = covsvc("tables", "build", "--cl", 0.9, *BUILD[4:])
    assert code == 0
    assert str(cache / file_name(0.9)) in told
    shipped = SHIPPED / file_name(0.9)
    assert error.splitlines()[-1] == f"0.90: {shipped} comes before it, unless COVSVC_TABLES names its folder"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--cl", 0.4), "cl = 0.4: a confidence level lies in [0.5, 1)"),
        (("--cl", 1), "cl = 1.0: a confidence level lies in [0.5, 1)"),
        (("--cl", "nan"), "cl = nan: a confidence level lies in [0.5, 1)"),
        (("--cl", 0.9995), "cl = 0.9995: tables are built up to 0.999: few toys exceed it"),
        (("--cl", CL, "--cl", 0.2), "cl = 0.2: a confidence level lies in [0.5, 1)"),
        ((), "Missing option '--cl'"),
        (("--cl", CL, "--toys", "many"), "--toys many: a number such as 1e6"),
        (("--cl", CL, "--toys", "20000.5"), "--toys 20000.5: a whole number"),
        (("--cl", CL, "--toys", "inf"), "--toys inf: a whole number"),
        (("--cl", CL, "--toys", "nan"), "--toys nan: a whole number"),
        (("--cl", CL, "--toys", "9999"), "toys = 9,999: 10,000 to 100,000,000 at each mu make a table"),
        (("--cl", CL, "--toys", "1e9"), "toys = 1,000,000,000: 10,000 to 100,000,000 at each mu make a table"),
        (("--cl", CL, "--toys=-1e6"), "toys = -1,000,000: 10,000 to 100,000,000 at each mu make a table"),
        # -2 ln(1 - cl) = 2.28
        (("--cl", CL, "--largest-mu", 2.2), "largest_mu = 2.2: expected events in [2.28, 140]"),
        (("--cl", CL, "--largest-mu", 141), "largest_mu = 141: expected events in [2.28, 140]"),
        (("--cl", CL, "--largest-mu", "nan"), "largest_mu = nan: expected events in [2.28, 140]"),
        (("--cl", CL, "--seed", -1), "Invalid value for '--seed': -1"),
        (("--cl", CL, "--workers", 0), "Invalid value for '--workers': 0"),
    ],
)
def test_what_cannot_be_built_is_refused_before_anything_is_written(covsvc, cache, arguments, told):
    code, _, error = covsvc("tables", "build", *arguments)
    assert code == 2
    assert told in " ".join(error.split())
    assert "Traceback" not in error
    assert not cache.exists()


def test_a_folder_that_cannot_be_written_is_refused(covsvc, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for folder, told in (
        (file, "is a file"),
        (file / "below", "Not a directory; choose another folder"),
        ("/proc", "/proc/"),
    ):
        code, _, error = covsvc(*BUILD, "--out", folder)
        assert (code, told in error) == (2, True), error
        assert "Traceback" not in error


@pytest.mark.system
def test_an_interrupted_build_goes_on(tmp_path):
    # of so many toys that a fast machine takes seconds for the last part
    of_many = [sys.executable, "-m", "covsvc", *map(str, BUILD[:-2]), "--toys", "1e5"]
    command = [*of_many, "--out", "tables"]
    driver = subprocess.Popen(
        [*command, "--workers", "1"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert driver.stderr is not None
    told = ""
    while "pilot: 100 %" not in told:
        line = driver.stderr.readline()
        assert line, told
        told += line
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: to the driver and its workers
    with driver.stderr:
        told += driver.stderr.read()
    assert driver.wait(60) == 130, told
    assert told.endswith("interrupted; what is stored stays, and the same command goes on from there\n")
    assert "Traceback" not in told, told
    folder = tmp_path / "tables"
    assert not list(folder.glob("*.npz"))
    assert list(folder.glob("building-*/pilot-*.npz"))
    # without a cluster: the toys are the same
    for out in ("tables", "whole"):
        again = [*of_many, "--out", out, "--cluster", "none"]
        ended = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert ended.returncode == 0, ended.stderr
    assert tables_in(folder) == [file_name(CL)]
    assert same_content(folder / file_name(CL), tmp_path / "whole" / file_name(CL))


@pytest.mark.parametrize("command", [(), ("list",), ("build",)])
def test_help_fits_and_is_not_cut(covsvc, command):
    code, told, error = covsvc("tables", *command, "--help")
    assert (code, error) == (0, "")
    assert max(map(len, told.splitlines())) <= 80
    assert "..." not in told.replace("[OPTIONS] COMMAND [ARGS]...", "")
