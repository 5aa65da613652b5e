"""Verdicts: whether methods keep what they promise, and whether a change broke their coverage."""

from covsvc.verdict.comparing import Comparison, compare
from covsvc.verdict.concluding import Studied, Validation, conclude
from covsvc.verdict.confirming import confirm, toys_to_draw
from covsvc.verdict.findings import Discovery
from covsvc.verdict.hypotheses import Evidence, Hypothesis, screen
from covsvc.verdict.promises import ALPHA, MARGIN, Finding, Verdict, judge, smallest_deficit
from covsvc.verdict.sides import Side

__all__ = [
    "ALPHA",
    "MARGIN",
    "Comparison",
    "Discovery",
    "Evidence",
    "Finding",
    "Hypothesis",
    "Side",
    "Studied",
    "Validation",
    "Verdict",
    "compare",
    "conclude",
    "confirm",
    "judge",
    "screen",
    "smallest_deficit",
    "toys_to_draw",
]
