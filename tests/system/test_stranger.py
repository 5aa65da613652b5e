"""A package of somebody else: installed, held to the contracts, put through a study by the command line, and reported."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from distribution import install
from processes import members
from scipy import special, stats

import covsvc

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

PACKAGE = Path(__file__).parents[1] / "stranger"

STUDIES = """\
name: fluctuating
experiment: {name: fluctuating_efficiency, options: {relative_error: 0.3}}
methods: [classical, power_prior, {name: power_prior, options: {m: 0.0}, label: flat}]
cl: 0.9
s_true: [0, 2, 8]
b: [0, 3]
toys_per_block: 5000
n_toys: 20000
seed: 1999
observed: {n: 3, b: 1.5}
---
name: known
experiment: counting
methods: [classical, power_prior]
cl: 0.9
s_true: [0.5, 2, 8]
b: [0, 3]
n_toys: 10000
seed: 1999
"""

MUTANTS = {
    "batch": (
        "one_sided(np.array(",
        "one_sided(observed.n.std() + np.array(",
        r"upper depends on the batch: Counts\(n=array\(\[\d+\]\), b=array\(\[[\d.e-]+\]\)\) alone has",
    ),
    "writes": (
        "        pairs = ",
        "        observed.n.sort()\n        pairs = ",
        "limits writes into the observation: all methods read the same toys",
    ),
    "nan": (
        "return one_sided(np.array([found[pair] for pair in pairs], np.float64))",
        "limits = one_sided(np.array([found[pair] for pair in pairs], np.float64))\n"
        "        limits.upper[observed.n > 50] = np.nan\n        return limits",
        r"NaN, but the status is not failed: Counts\(n=array\(\[120\]\)",
    ),
    "tightens": (
        "self.m, cl)",
        "self.m, min(cl, 0.9) - max(cl - 0.9, 0))",
        "the upper end falls towards cl = 0.95",
    ),
}
"""A line of the stranger's method, what stands there instead, and what the contract says of it."""


def call(*command, site, folder, code=0):
    """Run a command while a folder with distributions is on the path; hold that it ends so and leaves nobody."""
    process = subprocess.Popen(
        [sys.executable, "-m", *map(str, command)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(site), "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    told, said = process.communicate(timeout=300)
    assert process.returncode == code, told + said
    left, deadline = members(process.pid), time.monotonic() + 30
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        left = members(process.pid)
    assert not left
    return told, said


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Install the package as pip does, in a folder."""
    source = shutil.copytree(PACKAGE, tmp_path_factory.mktemp("source") / "covsvc-stranger")
    folder = tmp_path_factory.mktemp("site")
    options = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", folder)
    call("pip", "install", *options, source, site="", folder=source)
    return folder


@pytest.fixture(scope="module")
def ran(site, tmp_path_factory):
    """Run two studies on a local cluster, with their reports; return the folder."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "studies.yaml").write_text(STUDIES)
    told, _ = call("covsvc", "run", "studies.yaml", "--workers", 2, "--report", "report", site=site, folder=folder)
    assert "fluctuating: failed. Broken promises: classical at 0.9." in told  # it takes the efficiency as known
    assert "known: passed." in told
    return folder


def contracts(site, folder, code=0):
    """Run the package's own tests."""
    shutil.copytree(PACKAGE / "tests", folder / "tests")
    shutil.copy(PACKAGE / "pyproject.toml", folder)
    return call("pytest", "-q", "-x", "-p", "no:cacheprovider", site=site, folder=folder, code=code)[0]


def change(site, folder, module, old, new):
    """Return a copy of the site with another text in a module."""
    other = shutil.copytree(site, folder / "site", ignore=shutil.ignore_patterns("__pycache__"))
    file = other / "stranger" / f"{module}.py"
    assert file.read_text().count(old) == 1
    file.write_text(file.read_text().replace(old, new))
    return other


def test_its_own_tests_pass(site, tmp_path):
    told = contracts(site, tmp_path)
    assert int(re.search(r"(\d+) passed", told)[1]) >= 70
    assert "failed" not in told


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_method_fails_the_contract_with_the_reason(mutant, site, tmp_path):
    old, new, message = MUTANTS[mutant]
    told = contracts(change(site, tmp_path, "limits", old, new), tmp_path, code=1)
    assert re.search(rf"AssertionError: {message}", told), told


def test_what_is_installed_is_listed_with_its_distribution(site, tmp_path):
    told, _ = call("covsvc", "methods", site=site, folder=tmp_path)
    assert "power_prior: upper limit, promises nothing, reads Counts; options m=0.5; of covsvc-stranger 1.0\n" in told
    assert re.search(r"^classical: .*reads Counts$", told, re.MULTILINE)
    told, _ = call("covsvc", "experiments", site=site, folder=tmp_path)
    assert "fluctuating_efficiency: gives Counts, coverage is known from toys" in told
    assert "; of covsvc-stranger 1.0\n" in told
    known = {
        each["name"]: each for each in json.loads(call("covsvc", "methods", "--json", site=site, folder=tmp_path)[0])
    }
    assert (known["power_prior"]["origin"], known["power_prior"]["ours"]) == ("covsvc-stranger 1.0", False)
    assert (known["classical"]["origin"], known["classical"]["ours"]) == (f"covsvc {covsvc.__version__}", True)


def test_its_coverage_in_the_cube_is_that_of_its_closed_form(ran):
    cube = covsvc.open_cube(ran / "coverage-cubes", "known").sel(limit_method="power_prior", cl=0.9, b=0.0)
    n = np.arange(60)
    upper = special.gammaincinv(n + 0.5, 0.9)  # without background, s ~ Gamma(n + 1/2)
    for s_true in (0.5, 2.0, 8.0):
        covered = stats.poisson.pmf(n, s_true)[upper >= s_true].sum()
        assert cube["exact_coverage"].sel(s_true=s_true).item() == pytest.approx(covered, abs=1e-9)


def test_its_toys_in_the_cube_are_those_of_its_experiment(ran):
    cube = covsvc.open_cube(ran / "coverage-cubes", "fluctuating").sel(cl=0.9, b=0.0)
    assert set(cube["limit_method"].values.tolist()) == {"classical", "power_prior", "flat"}
    assert (cube["n_toys"] == 20_000).all()
    n, shape = np.arange(200), 1 / 0.3**2
    uppers = {
        name: special.gammaincinv(n + k, 0.9) for name, k in (("classical", 1), ("power_prior", 0.5), ("flat", 1))
    }
    chances = []
    for s_true in (2.0, 8.0):
        pmf = stats.nbinom.pmf(n, shape, shape / (shape + s_true))
        for name, upper in uppers.items():
            hit = int(cube["n_covered"].sel(limit_method=name, s_true=s_true))
            chances.append(stats.binomtest(hit, 20_000, pmf[upper >= s_true].sum()).pvalue)
    assert min(chances) * len(chances) > 1e-3


def test_its_figure_stands_in_the_report(ran):
    for study in ("fluctuating", "known"):
        page = (ran / "report" / study / "index.html").read_text()
        section = re.search(r'<section aria-labelledby="plugged">.*?</section>', page, re.DOTALL)[0]
        assert "Mean coverage over the grid minus cl, by method. excess_coverage, of covsvc-stranger 1.0." in section
        assert section.count("<svg") == 1
        assert (
            "A bar to the right covers more than it needs to"
            in re.search(r'role="img" aria-label="([^"]*)"', section)[1]
        )
        assert "Left out" not in section
        for kind in (b"\x89PNG", b"<?xml"):
            suffix = "png" if kind == b"\x89PNG" else "svg"
            file = ran / "report" / study / "figures" / f"plugged-excess_coverage.{suffix}"
            assert file.read_bytes().startswith(kind)


def test_a_change_of_its_code_is_refused_but_not_of_its_comments(site, ran, tmp_path):
    same = change(site, tmp_path / "same", "mixtures", "# the last of them lies highest", "# as it should")
    _, said = call("covsvc", "run", "studies.yaml", "--cluster", "none", site=same, folder=ran)
    assert "known: complete already, nothing to compute" in said
    other = change(site, tmp_path / "other", "mixtures", "NEGLIGIBLE = -50.0", "NEGLIGIBLE = -60.0")
    _, said = call("covsvc", "run", "studies.yaml", "--cluster", "none", site=other, folder=ran, code=2)
    assert "power_prior" in said
    assert "--replace" in said


def test_a_second_distribution_with_its_name_is_refused(site, tmp_path):
    install(tmp_path / "rival", "rival", "[covsvc.methods]\npower_prior = rival:Rival\n", "3.0")
    both = os.pathsep.join([str(site), str(tmp_path / "rival")])
    _, said = call("covsvc", "methods", site=both, folder=tmp_path, code=2)
    assert said == (
        "covsvc: power_prior: two installed methods have this name, rival:Rival of rival 3.0 and "
        "stranger.limits:PowerPrior of covsvc-stranger 1.0; uninstall one of them\n"
    )
