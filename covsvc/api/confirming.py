"""Fresh toys for what a validation looks at again: limits of now, and of the baseline's code on the same toys."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import xarray as xr

from covsvc.api.running import Progress, calibrate, task_toys_of
from covsvc.engine.calibrating import ColumnKey, needs_of
from covsvc.engine.fresh import Cell, as_older, count_fresh, fresh_rows
from covsvc.engine.likewise import has_its_bits
from covsvc.engine.older_code import code_of_revision
from covsvc.errors import CovsvcError
from covsvc.store.candidates import Baseline
from covsvc.store.repository import Ledger
from covsvc.study import Column, MethodSpec, Study, ToySource
from covsvc.verdict import Evidence, Hypothesis

_COMMIT_SECONDS = 10.0
"""Time between commits."""

Counts = dict[tuple[Cell, ColumnKey], dict[str, int]]
"""What fresh toys told of a column in a cell."""


@dataclass
class Confirming:
    """What draws fresh toys for a candidate, and keeps what they tell in its ledger.

    Attributes
    ----------
    states : str
        A hash of what is compared, the candidate and the baseline, by which fresh toys are known.
    cube : xarray.Dataset
        That of the candidate.
    stored : xarray.Dataset, or None
        That of the baseline.
    code : str, Path or None
        A folder that holds the baseline's code; the git revision of the baseline is looked for unless it is given.
    older : dict
        The columns of the baseline that set its limits, bit for bit.
    unpaired_why : str
        Why there is none of a column that needs one.
    fresh_toys : int
        Toys that were drawn, now or before an interruption.
    """

    study: Study
    store: str | Path
    ledger: Ledger
    states: str
    baseline: Baseline | None
    cube: xr.Dataset
    stored: xr.Dataset | None
    same_toys: bool
    code: str | Path | None = None
    older: dict[ColumnKey, Column] = field(default_factory=dict)
    unpaired_why: str = ""
    fresh_toys: int = 0

    def pair(self, changed: Iterable[ColumnKey]) -> None:
        """Find what sets the limits of the baseline, for the columns that are compared with it."""
        columns = {column.key: column for column in self.study.columns}
        for key in changed:
            found = self._older(columns[key])
            if isinstance(found, str):
                self.unpaired_why = self.unpaired_why or f"{key[0]}: {found}"
            else:
                self.older[key] = found

    def draw(
        self,
        asked: Mapping[Hypothesis, int],
        connecting: Callable[[Study], AbstractContextManager[Any]],
        show: Callable[[Progress], None] | None,
    ) -> dict[Hypothesis, Evidence]:
        """Return what so many fresh toys tell of each test; what is drawn already is not drawn again."""
        found: dict[Hypothesis, Evidence] = {}
        number = {each: math.ceil(toys / self.study.toys_per_block) for each, toys in asked.items()}
        for blocks, group in groupby(sorted(number, key=lambda each: number[each]), key=lambda each: number[each]):
            alike = list(group)
            counts = self._counts(alike, blocks, connecting, show)
            for each in alike:
                key = each.limit_method, each.cl
                found[each] = Evidence.of(each, [counts[cell, key] for cell in each.cells])
        return found

    def _counts(
        self,
        asked: Sequence[Hypothesis],
        blocks: int,
        connecting: Callable[[Study], AbstractContextManager[Any]],
        show: Callable[[Progress], None] | None,
    ) -> Counts:
        """Return the counts of tests that take the same number of blocks, from toys of their own seed."""
        told = f"{self.states} {blocks}"
        seed = int.from_bytes(hashlib.sha256(told.encode()).digest()[:8], "big") // 2
        source = ToySource(self.study.experiment, seed, self.study.toys_per_block)
        columns = {column.key: column for column in self.study.columns}
        wanted: dict[Cell, dict[ColumnKey, Column]] = {}
        for each in asked:
            for cell in each.cells:
                wanted.setdefault(cell, {})[each.limit_method, each.cl] = columns[each.limit_method, each.cl]
        self.fresh_toys += len(wanted) * blocks * source.toys_per_block
        known = self._stored_counts(seed)
        # what was drawn while the baseline's code was not at hand is drawn again when it is
        enough = {place for place, counts in known.items() if "n_both" in counts or place[1] not in self.older}
        missing = {
            cell: tuple(held.values())
            for cell, held in wanted.items()
            if not all((cell, key) in enough for key in held)
        }
        if not missing:
            return known
        rows = fresh_rows(source, missing, self.older, blocks, task_toys_of(self.study))
        begun = kept = time.monotonic()
        with connecting(self.study) as client:
            calibrations = calibrate(needs_of(rows), {}, self.store, client, show)
            for done, (cell, counts) in enumerate(count_fresh(rows, client, calibrations), 1):
                known |= {(cell, key): dict(each) for key, each in counts.items()}
                now, toys = time.monotonic(), blocks * source.toys_per_block
                if show is not None:
                    show(Progress(done, len(missing), done * toys, len(missing) * toys, now - begun))
                if now - kept > _COMMIT_SECONDS or done == len(missing):
                    self._keep(seed, known)
                    kept = now
        return known

    def _stored_counts(self, seed: int) -> Counts:
        told = (self.ledger.told("confirmation") or {}).get(str(seed), [])
        return {((b, s_true), (label, cl)): counts for b, s_true, label, cl, counts in told}

    def _keep(self, seed: int, known: Counts) -> None:
        told = [[*cell, *key, counts] for (cell, key), counts in sorted(known.items(), key=lambda each: each[0])]
        self.ledger.tell("confirmation", (self.ledger.told("confirmation") or {}) | {str(seed): told})

    def _older(self, column: Column) -> Column | str:
        """Return the column that sets the limits of the baseline, bit for bit, or why there is none."""
        if self.stored is None or self.baseline is None:
            return "there is no baseline"
        if not self.same_toys:
            return "the toys of the baseline are others"
        label = column.key[0]
        told = json.loads(self.stored.attrs["methods"])[label]
        try:
            spec = MethodSpec(name=told["name"], options=told["options"], view=told["view"], label=label)
        except ValueError:
            return "the options of the baseline are not known here"
        as_now = as_older(column, spec)
        if spec != column.spec and has_its_bits(self.stored, self.study, as_now, self.cube):
            return as_now
        try:
            code = Path(self.code).resolve() if self.code else code_of_revision(self.baseline.git_revision or "")
        except CovsvcError as error:
            return str(error)
        as_then = as_older(column, spec, str(code))
        if has_its_bits(self.stored, self.study, as_then, self.cube):
            return as_then
        return f"the code in {code} does not set the limits of the baseline, bit for bit"
