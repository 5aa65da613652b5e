"""The page on adding a method, followed to the letter in a fresh environment."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest

import covsvc

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

PAGE = (Path(__file__).parents[2] / "docs" / "add-your-method.md").read_text()
PROGRAMS = ("pip", "pytest", "covsvc")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Make an environment in which covsvc is installed; packages come without a network."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python, here = folder / "bin" / "python", sysconfig.get_path("purelib")
    where = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    Path(where, "beside.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    for program in PROGRAMS:
        installed = Path(sysconfig.get_path("scripts"), program).read_text().splitlines()
        (folder / "bin" / program).write_text("\n".join([f"#!{python}", *installed[1:], ""]))
        (folder / "bin" / program).chmod(0o755)
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    path = {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": str(folder), "NO_COLOR": "1"}
    left_out = ("PYTHONPATH", "PYTHONHOME")
    return {name: value for name, value in os.environ.items() if name not in left_out} | path | offline


@pytest.fixture(scope="module")
def followed(environment, tmp_path_factory):
    """Write the files of the page and carry its commands out; return the folder and what each printed."""
    folder = tmp_path_factory.mktemp("empty")
    for name, text in re.findall(r"^`([\w.]+)`.*?\n\n```\w+\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE):
        (folder / name).write_text(text)
    for name, text in re.findall(r"To `([\w.]+)` add:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL):
        with (folder / name).open("a") as file:
            file.write(f"\n\n{text}")
    told = {}
    for line in "".join(blocks("sh")).splitlines():
        ended = subprocess.run(
            line, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
        )
        assert ended.returncode == 0, f"{line}\n{ended.stdout}{ended.stderr}"
        told[line] = ended.stdout
    return folder, told


def test_its_files_are_all_that_is_there(followed):
    folder, _ = followed
    written = {path.name for path in folder.iterdir() if path.is_file()}
    assert written == {"pyproject.toml", "my_limits.py", "test_my_limits.py", "study.yaml"}


def test_the_contract_is_kept(followed):
    _, told = followed
    assert re.fullmatch(r"[.\s]*\[100%\]\s*\d+ passed in \S+\s*", told["pytest -q"])


def test_the_run_prints_what_the_page_says(followed):
    _, told = followed
    (said,) = blocks("text")
    lines = told["covsvc run study.yaml --report report"].splitlines()
    assert [line.rstrip() for line in lines] == said.splitlines()


def test_its_worst_coverage_is_the_closed_form(followed):
    folder, _ = followed
    cube = covsvc.open_cube(folder / "coverage-cubes", "score")
    worst = covsvc.summarize(cube)["worst_coverage"].sel(limit_method="score", cl=0.9, b=0.0)
    # n = 0 has the limit z^2, so that just above it only n >= 1 covers; z = 1.2815516 at 90 %
    assert worst.item() == pytest.approx(1 - np.exp(-(1.2815516**2)), abs=1e-6)
    assert (cube["n_toys"] == 10_000).all()


def test_the_report_holds_the_method(followed):
    folder, _ = followed
    page = (folder / "report" / "index.html").read_text()
    assert 'id="method-score"' in page
    assert (folder / "report" / "figures" / "coverage-score-0.9.png").exists()


def test_the_report_shows_the_figure(followed):
    folder, _ = followed
    page = (folder / "report" / "index.html").read_text()
    (shown,) = re.findall(r'<section aria-labelledby="plugged">.*?</section>', page, re.DOTALL)
    assert '<h3 id="plugged-medians">Limits without a signal</h3>' in shown
    assert "Median upper limits against background. medians, of my-limits 1.0." in shown
    assert "Left out" not in shown
    (medians,) = re.findall(r'<th scope="row">classical(?:</th>)?<td>([\d.]+)(?:</td>)?<td>([\d.]+)', shown)
    # the median count is 0 at b = 0 and 3 at b = 3: 90 % upper limits 2.303 and 6.681 - 3 (PDG), in bins of 0.5 %
    assert [float(median) for median in medians] == pytest.approx([2.303, 3.681], rel=5e-3)
    assert (folder / "report" / "figures" / "plugged-medians.pdf").exists()
