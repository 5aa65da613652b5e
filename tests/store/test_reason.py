"""Reasons of errors, in a line."""

from __future__ import annotations

import pytest

from covsvc.store.reason import reason_of


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("  x error reading: /a/b: Permission denied (os error 13)", "Permission denied (os error 13)"),
        # as Icechunk prints it where the path is long
        (
            "  x storage error: /a/long/path/repo: No such file or directory\n  |   (os error 2)\n  |\n",
            "No such file or directory (os error 2)",
        ),
        ("  x repository error\n  |-> object store error: bucket is gone\n", "bucket is gone"),
        ("", "Exception"),
    ],
)
def test_a_reason_is_the_innermost_one_in_a_line(told, reason):
    assert reason_of(Exception(told)) == reason
