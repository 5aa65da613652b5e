"""What a verdict could have seen, and what it could not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from covsvc.contracts import FloatArray
from covsvc.report.column import Column


def sight_sentences(columns: Sequence[Column], methods: Mapping[str, Mapping[str, Any]], by_toys: str) -> list[str]:
    """Say how small a deficit of coverage would have been seen where, and which cells nothing is known of.

    Parameters
    ----------
    columns : sequence of Column
    methods : mapping of str to mapping
        ``promises``, by label.
    by_toys : str
        The verdict's sentence on the smallest deficit that toys show.
    """
    every = len(columns)
    if not every:
        return []
    searched = sum(bool(np.isfinite(column.values("worst_coverage")).all()) for column in columns)
    nodes = sum(bool(column.exact.all()) for column in columns) - searched
    said = []
    if searched:
        said.append(
            f"{_columns(searched, every)} exact: coverage was summed over all outcomes, at every jump between the "
            "nodes of s_true, too. No deficit above rounding can hide at these backgrounds within the grid."
        )
    if nodes > 0:
        said.append(f"{_columns(nodes, every)} exact at the nodes of the grid only: a deficit can hide between them.")
    if searched + max(nodes, 0) < every:
        said.append(
            f"{_columns(every - searched - max(nodes, 0), every)} known from toys, at least in part: a deficit can "
            "hide in their noise and between the nodes."
        )
    if by_toys:
        said.append(by_toys)
    held = sum(methods.get(column.label, {}).get("promises") == "at_least" for column in columns)
    if not held:
        said.append("No column promises at least cl: coverage is reported, and none is judged.")
    elif held < every:
        said.append(
            f"{held} of {every} columns promise at least cl and were judged; coverage of the others is reported."
        )
    else:
        said.append("Every column promises at least cl and was judged.")
    unknown = sum(int((~column.known).sum()) for column in columns)
    if unknown:
        said.append(f"{unknown:,} of {sum(column.known.size for column in columns):,} tests have no value.")
    s, b = columns[0].s_true, columns[0].b
    said.append(
        f"Nothing was asked outside s_true = {_range(s)} and b = {_range(b)}{', between these b' * (len(b) > 1)}, or "
        "of data that are not as the study describes them."
    )
    return said


def _range(nodes: FloatArray) -> str:
    return f"{nodes[0]:g}" if nodes[0] == nodes[-1] else f"{nodes[0]:g} to {nodes[-1]:g}"


def _columns(count: int, every: int) -> str:
    """Say how many columns, as the subject of a sentence."""
    if every == 1:
        return "The only column is"
    return f"{'All' if count == every else f'{count} of'} {every} columns {'are' if count != 1 else 'is'}"
