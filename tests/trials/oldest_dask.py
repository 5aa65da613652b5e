"""Whether the map in Dask's dashboard works with the oldest versions of Dask and Bokeh that are supported.

    python tests/trials/oldest_dask.py --folder /tmp/oldest

makes an environment with them there, which takes minutes and the package index, and runs the tests of that page in it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
OLDEST = ["dask==2025.1.0", "distributed==2025.1.0", "bokeh==3.7.0"]
TEST = ["httpx", "playwright", "psutil", "pytest", "pytest-timeout"]

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--folder", type=Path, required=True)
folder = parser.parse_args().folder
if not (folder / "bin").exists():
    venv.create(folder, with_pip=True)
python = str(folder / "bin" / "python")
subprocess.run([python, "-m", "pip", "install", "-q", *OLDEST, *TEST, "-e", f"{ROOT}[dashboard]"], check=True)
subprocess.run([python, "-m", "pip", "list"], check=True)
sys.exit(subprocess.run([python, "-m", "pytest", "tests/dashboards/test_dask_page.py"], cwd=ROOT).returncode)
