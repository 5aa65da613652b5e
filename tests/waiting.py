"""Candidates with a verdict, as a validation leaves them."""

from __future__ import annotations

from contextlib import nullcontext

from covsvc.api.running import fill, trust
from covsvc.store.repository import open_ledger

CODE = {"covsvc": "1.2.3", "git_revision": "0" * 40, "git_changed": False}


def verdict(study, branch, outcome="passed"):
    """Return the verdict on a candidate, which another study shares that failed."""
    told = {"outcome": outcome, "sentence": f"It {outcome}."}
    mine, other = {"study": study, "candidate": branch} | told, {"study": "z", "outcome": "failed"}
    return {"schema": 1, "outcome": "failed", "sentence": "Some failed.", **CODE, "studies": [other, mine]}


def make_candidate(store, study, identity, outcome="passed", **options):
    """Compute a candidate of a study, with a verdict unless it is None, and return its name."""
    branch = f"candidate.{identity}"
    with open_ledger(store, study, replace=True, branch=branch, **options) as ledger:
        trust(ledger, study, replace=True)
        fill(study, ledger, store, nullcontext)
        if outcome is not None:
            ledger.tell("validation", verdict(study.name, branch, outcome))
    return branch
