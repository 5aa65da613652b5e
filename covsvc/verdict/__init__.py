"""Verdicts: whether methods keep what they promise, and whether a change broke their coverage."""

from covsvc.verdict.comparing import Comparison, compare
from covsvc.verdict.concluding import Studied, Validation, conclude
from covsvc.verdict.confirming import Confirmation, confirm, toys_to_draw
from covsvc.verdict.findings import Change, Discovery
from covsvc.verdict.hypotheses import FACTOR, MOST_CONFIRMED, Evidence, Hypothesis, screen
from covsvc.verdict.power import detectable, detectable_fall, power_sentence
from covsvc.verdict.promises import ALPHA, MARGIN, Finding, Verdict, judge, smallest_deficit
from covsvc.verdict.sides import Side

__all__ = [
    "ALPHA",
    "FACTOR",
    "MARGIN",
    "MOST_CONFIRMED",
    "Change",
    "Comparison",
    "Confirmation",
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
    "detectable",
    "detectable_fall",
    "judge",
    "power_sentence",
    "screen",
    "smallest_deficit",
    "toys_to_draw",
]
