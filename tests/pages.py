"""Blocks of code on the pages of the documentation, and what they print."""

from __future__ import annotations

import re


def blocks(language, page):
    """Return the blocks of a language, in their order."""
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def commands(block):
    """Return the commands of a console, each with what it prints."""
    return [(each.partition("\n")[0], each.partition("\n")[2]) for each in re.split(r"^\$ ", block, flags=re.M)[1:]]


def comparable(told):
    """Return what is printed without what differs from run to run: snapshots, commits, times, rates; and line ends."""
    told = re.sub(r"\b[0-9A-HJKMNP-TV-Z]{20}\b", "SNAPSHOT", told)
    told = re.sub(r"\d{4}-\d\d-\d\dT[\d:+]+|\d{8}T\d{6}Z|\d{4}-\d\d-\d\d( \d\d:\d\d(:\d\d)?)?", "TIME", told)
    told = re.sub(r"candidate\.[0-9a-f]{10}", "CANDIDATE", told)
    told = re.sub(r"\b[\w.-]+@[\w.-]+\b(?= )|\d+(,\d{3})+ *$", "WHO", told, flags=re.M)
    told = re.sub(
        r"toys drawn in .*? of CPU|\d+ of \d+ commits|[\d,]+ files, [\d.,]+ \w*|time: .*? on|memory: .*", "COST", told
    )
    return told.split()
