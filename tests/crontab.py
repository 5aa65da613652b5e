"""The lines of crontabs and scrontabs."""

from __future__ import annotations

import re
from collections.abc import Iterator

FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def command_of(line: str) -> str:
    """Return the command of a line of a crontab.

    Of the syntax only what cron and Slurm both know: five fields of numbers, ranges, lists, steps or a star.
    """
    *fields, command = line.split(None, 5)
    assert len(fields) == 5
    for field, (low, high) in zip(fields, FIELDS, strict=True):
        for part in field.split(","):
            told = re.fullmatch(r"(?:\*|(\d+)(?:-(\d+))?)(?:/(\d+))?", part)
            assert told, part
            first, last, step = (int(each) if each else None for each in told.groups())
            assert all(low <= each <= high for each in (first, last) if each is not None), part
            assert last is None or (first is not None and first < last), part
            assert step is None or 1 < step <= high, part
    assert "%" not in command  # cron's line end
    return command.rstrip("\n")


def slurm_jobs(tab: str) -> Iterator[tuple[list[str], str]]:
    """Yield options and command of each job of a scrontab, whose options hold for the next line only."""
    options: list[str] = []
    for line in tab.splitlines():
        if line.startswith("#SCRON"):
            options += line.removeprefix("#SCRON").split()
        elif line.strip() and not line.startswith("#"):
            yield options, command_of(line)
            options = []
