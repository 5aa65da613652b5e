"""HTCondor's own library, which makes of a submit description the ads of its jobs."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from typing import Any

import pytest


def ask(program: str, description: str, *arguments: str, **environment: str) -> Any:
    """Return what a program prints as JSON, which reads a submit description from its standard input."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("HTCondor's library is for Linux on x86_64")
    told = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        input=description,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=os.environ | {"CONDOR_CONFIG": "ONLY_ENV"} | environment,
    )
    return json.loads(told.stdout)
