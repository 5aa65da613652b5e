"""Programs that find what is wrong in what is shipped: shellcheck, systemd-analyze."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile

import pytest


def needs(program):
    """Skip a test where a program is missing, but not where everything is to be tested."""
    missing = shutil.which(program) is None and os.environ.get("CI") != "true"
    return pytest.mark.skipif(missing, reason=f"{program} is not installed")


def hold_sound(shell):
    """Hold that shellcheck finds nothing in a text for a shell."""
    command = ["shellcheck", "--shell=sh", "-"]
    ended = subprocess.run(command, input=shell, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout


def verified(*units, user):
    """Return what systemd has to say of units."""
    command = ["systemd-analyze", *(["--user"] if user else []), "verify", "--man=no", *map(str, units)]
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # names of sockets go into it
        environment = os.environ | {"XDG_RUNTIME_DIR": short, "SYSTEMD_LOG_LEVEL": "warning"}
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    return ended.returncode, ended.stdout + ended.stderr


def hold_little(unit, most):
    """Hold that a service may do little: its exposure, as systemd counts it, is ten times less than `most`."""
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={most}"]
    ended = subprocess.run([*command, str(unit)], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout[-200:]
