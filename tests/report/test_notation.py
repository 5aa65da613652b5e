"""Numbers as text, and labels as file names."""

from __future__ import annotations

import numpy as np
import pytest

from covsvc.report.notation import number, percent, probability, rate
from covsvc.report.stems import unique_stems


@pytest.mark.parametrize(
    ("value", "said"), [(0.89999, "0.89999"), (0.9, "0.9000"), (0.8999999999999, "0.9000"), (0.85, "0.8500")]
)
def test_coverage_below_cl_never_reads_as_cl(value, said):
    assert probability(value, 0.9) == said


def test_missing_numbers_are_dashes():
    assert {number(None), number(np.nan), probability(None), probability(np.nan, 0.9), rate(np.nan)} == {"–"}


def test_infinity_is_a_sign():
    assert number(np.inf) == "∞"


def test_small_rates_do_not_read_as_zero():
    assert rate(0.0) == "0"
    assert rate(2e-5) == "2.0e−05"
    assert rate(0.0916) == "0.0916"


def test_shares_near_the_ends_do_not_read_as_the_ends():
    assert percent(1, 10_000) == "< 0.1 %"
    assert percent(9_999, 10_000) == "> 99.9 %"
    assert percent(0, 392) == "0 %"
    assert percent(0, 0) == "–"


def test_stems_are_plain_and_differ_whatever_the_case():
    stems = unique_stems(["fc", "FC", "a/b", "a:b", "../..", "", "feldman_cousins(monotone_in_b=True)"])
    assert len({stem.casefold() for stem in stems.values()}) == len(stems)
    assert all(stem and not set(stem) & set("/\\:<>?* ()=") and stem[0] not in ".-" for stem in stems.values())
    assert stems["feldman_cousins(monotone_in_b=True)"] == "feldman_cousins-monotone_in_b-True"
