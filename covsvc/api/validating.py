"""Validation of method changes: candidates computed, compared with their baselines, and confirmed on fresh toys."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from covsvc.api.building import STORE
from covsvc.api.confirming import Confirming
from covsvc.api.running import Progress, fill, task_toys_of, trust
from covsvc.api.stored import axes_told, part_of, speeds_told, stored_study
from covsvc.engine.clusters import connect
from covsvc.engine.clusters.choosing import chosen
from covsvc.engine.likewise import has_its_toys, near_ends, repeats_toys, toys_digests
from covsvc.engine.speed import speeds
from covsvc.errors import StudyError
from covsvc.fingerprint import git_is_changed, git_revision, hash_of
from covsvc.maps import summarize
from covsvc.store.calibrations import find_calibration
from covsvc.store.candidates import VALIDATION, Baseline, baseline_of
from covsvc.store.history import CANDIDATE, MAIN, commits
from covsvc.store.place import place_of
from covsvc.store.repository import Ledger, described, makers, open_cube, open_existing, open_ledger
from covsvc.study import Study, tile_size
from covsvc.study_file import given_studies
from covsvc.tally import ROUNDING
from covsvc.verdict import (
    ALPHA,
    MARGIN,
    Comparison,
    Discovery,
    Evidence,
    Hypothesis,
    Side,
    Studied,
    Validation,
    compare,
    conclude,
    confirm,
    screen,
    toys_to_draw,
)
from covsvc.version import __version__

Showing = Callable[[str], AbstractContextManager[Callable[[Progress], None] | None]]
"""Takes the name of a study; gives what is told how far it is."""


@dataclass(frozen=True)
class Validated:
    """What a validation found, and the maps of each study that it compared: those of now, and of the baseline."""

    validation: Validation
    maps: dict[str, tuple[xr.Dataset, xr.Dataset | None]]


def validate(
    studies: Study | str | Path | Sequence[Study | str | Path],
    store: str | Path = STORE,
    cluster: Any = None,
    *,
    against: str | None = None,
    everything: bool = False,
    margin: float = MARGIN,
    error: float = ALPHA,
    strict: bool = False,
    baseline_code: str | Path | None = None,
    n_workers: int | None = None,
    progress: Showing | None = None,
    tell: Callable[[str], None] | None = None,
) -> Validated:
    """Find out whether limit methods still do what the accepted baseline did, and what they promise.

    What changed is computed again, on the toys of the baseline, in a candidate beside it; the baseline and what
    `run` stores stay as they are. Interrupted, even killed, the same call goes on from there.

    Parameters
    ----------
    studies : Study, str or Path, or several
        Studies, files that hold some, or names of stored ones. They get one verdict.
    store : str or Path
        Folder or URL of the store.
    cluster : None, distributed.Client or str
        As `run` takes it; all studies share one.
    against : str, optional
        A baseline by name or tag, or another commit; the newest baseline unless given. Methods of a study without one
        are held to their promises alone.
    everything : bool
        Compute all columns again, not only those whose code, options, tables or libraries changed their limits.
    margin : float
        The deficit of coverage that does not matter.
    error : float
        Probability, at most, that anything fails although nothing is worse than it should be.
    strict : bool
        Warnings fail, too: limits that grew weaker, rates that changed.
    baseline_code : str or Path, optional
        Folder that holds the covsvc of the baseline; unless given its git revision, if this is a checkout that has it.
        Where there is none the limits of then are not set on fresh toys, and less can be seen.
    n_workers : int, optional
        Workers of a cluster that is started here.
    progress : callable, optional
        Shows how far the work on a study is.
    tell : callable, optional
        Is told what is being done.

    Raises
    ------
    StudyError
        If there is no study, two have the same name, or the cluster is refused, or they name several.
    StoreError
        If the store cannot be locked, read or extended, or there is no such baseline.
    ClusterError
        If the cluster cannot be reached, or is lost.
    """
    if not 1e-6 <= margin < 0.5 or not 0 < error < 0.5:
        raise StudyError(f"margin = {margin:g}, error = {error:g}: both lie between 0 and 0.5, the margin above 1e-6")
    known = _studies(studies, store)
    say = tell or (lambda _: None)
    with ExitStack() as stack:
        workers = _Workers(stack, chosen(cluster, *known), n_workers, tell)
        # all are opened before the work begins: one that another process has is told at once
        held = [stack.enter_context(_candidate(study, store, against, everything)) for study in known]
        for candidate in held:
            with candidate.timed():
                candidate.fill(everything, workers, progress)
                candidate.compare(margin, error)
        asked = [each for candidate in held for each in candidate.comparison.hypotheses]
        tests = sum(candidate.comparison.tests for candidate in held)
        selected = screen(asked, tests)
        if selected:
            say(f"{len(selected)} of {tests:,} tests are looked at again, on fresh toys")
        for candidate in held:
            with candidate.timed():
                candidate.find_older(baseline_code)  # before fresh toys tell anything
        paired = all(candidate.is_paired for candidate in held)
        toys = {each: toys_to_draw(each, len(selected), error=error, margin=margin) for each in selected}
        evidence: dict[Hypothesis, Evidence] = {}
        for candidate in held:
            with candidate.timed():
                evidence |= candidate.confirm(toys, workers, progress)
        confirmations = confirm(selected, evidence, tests=tests, error=error, margin=margin, paired=paired)
        validation = conclude(
            [candidate.studied() for candidate in held],
            confirmations,
            error=error,
            margin=margin,
            strict=strict,
            covsvc=__version__,
            git_revision=git_revision(),
            git_changed=git_is_changed(),
            written_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        told = validation.as_dict()
        for candidate, of_study in zip(held, told["studies"], strict=True):
            candidate.ledger.tell(VALIDATION, told | {"studies": [of_study]})
    return Validated(validation, {each.study.name: each.maps for each in held})


def write_validation(validated: Validated, folder: str | Path = "validation") -> Path:
    """Write a validation: its page with maps of difference, and what it told as Markdown, JSON and JUnit XML.

    Returns
    -------
    Path
        Of the page.
    """
    from covsvc.report import write_validation as write  # matplotlib takes its time

    return write(validated.validation.as_dict(), validated.maps, Path(folder))


def _studies(given: Study | str | Path | Sequence[Study | str | Path], store: str | Path) -> list[Study]:
    """Return the studies that are meant.

    Raises
    ------
    StudyError
        If there are none, or two have the same name.
    """
    found: list[Study] = []
    for each in [given] if isinstance(given, Study | str | Path) else given:
        found += given_studies(each) or [stored_study(open_cube(store, str(each)))]
    names = [study.name for study in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise StudyError(f"{', '.join(twice)}: stands twice among the studies; name each once")
    if not found:
        raise StudyError("no study: give a study file, or the name of a stored study")
    return found


class _Workers:
    """A cluster that starts when it is needed, and serves all studies."""

    def __init__(
        self, stack: ExitStack, cluster: Any, n_workers: int | None, tell: Callable[[str], None] | None
    ) -> None:
        self._stack, self._cluster, self._n_workers, self._tell = stack, cluster, n_workers, tell
        self._client: list[Any] = []

    @contextmanager
    def connected(self, study: Study) -> Iterator[Any]:
        """Yield a client whose workers have the kernels of a study compiled; None where there is no cluster."""
        if not self._client:
            self._client.append(self._stack.enter_context(connect(self._cluster, self._n_workers, tell=self._tell)))
        with connect(self._client[0], study=study, tell=self._tell) as client:
            yield client


@contextmanager
def _candidate(study: Study, store: str | Path, against: str | None, everything: bool) -> Iterator[_Candidate]:
    """Open the candidate of a study, which is made from where main is, as code and libraries are now.

    Raises
    ------
    StoreError
        If another process has the study, or there is no such baseline.
    """
    place = place_of(store)
    base, baseline, stored = None, None, None
    if place.exists(study.name) or against is not None:
        repository = open_existing(place, study.name)
        # a driver that was killed before its first commit leaves a repository that holds nothing
        base = str(repository.lookup_branch(MAIN)) if commits(repository) else None
        baseline = baseline_of(repository, against, place.study(study.name))
        stored = None if baseline is None else open_cube(store, study.name, baseline.snapshot)
    now = [study.model_dump(mode="json"), [described(spec, study) for spec in study.methods], makers()]
    branch = CANDIDATE + hash_of([now, base, baseline and baseline.snapshot, everything])[:10]
    # not by snapshots, which have other names in each store
    states = hash_of(
        [now, [] if stored is None else [stored.attrs[each] for each in ("study", "methods", "environment")]]
    )
    tile = tile_size(study, task_toys_of(study))
    with open_ledger(store, study, replace=True, s_tile=tile, branch=branch, base=base) as ledger:
        yield _Candidate(study, store, ledger, branch, states, base, baseline, stored)


@dataclass
class _Candidate:
    """A study on its way through a validation.

    Attributes
    ----------
    states : str
        A hash of what is compared, the candidate and the baseline.
    base : str, or None
        The snapshot of main that the candidate is made from; None where nothing was stored.
    baseline : Baseline, or None
    stored : xarray.Dataset, or None
        The cube of the baseline.
    """

    study: Study
    store: str | Path
    ledger: Ledger
    branch: str
    states: str
    base: str | None
    baseline: Baseline | None
    stored: xr.Dataset | None
    seconds: float = 0.0

    @property
    def maps(self) -> tuple[xr.Dataset, xr.Dataset | None]:
        """The maps of now, and of the baseline."""
        return self._now.maps, None if self._then is None else self._then.maps

    @property
    def is_paired(self) -> bool:
        """Whether all that is compared with the baseline on fresh toys is compared on the same ones."""
        return not self._confirming.unpaired_why

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the time that is spent on this study."""
        begun = time.monotonic()
        yield
        self.seconds += time.monotonic() - begun

    def fill(self, everything: bool, workers: _Workers, progress: Showing | None) -> None:
        """Compute what changed, and what else is missing."""
        counts_otherwise = self.ledger.is_of_another_engine
        trust(self.ledger, self.study, replace=True)
        begun = self.ledger.told("begun") or {}
        if begun.get("candidate") != self.branch:
            if everything or counts_otherwise:
                self.ledger.discard(spec.label for spec in self.study.methods)
            begun = {"candidate": self.branch, "recomputed": self._missing()}
            self.ledger.tell("confirmation", {})
            self.ledger.tell("begun", begun)
        self._recomputed = {(label, cl) for label, cl in begun["recomputed"]}
        with _shown(progress, self.study.name) as show:
            fill(self.study, self.ledger, self.store, lambda: workers.connected(self.study), show)
        self.ledger.tell("toys", toys_digests(self.study))

    def _missing(self) -> list[tuple[str, float]]:
        """Return the columns of which blocks are missing, and so are their exact values."""
        wanted = np.zeros(len(self.study.columns), bool)
        for b in self.study.b:
            blocks, _ = self.ledger.missing(b, retry_failed=True)
            wanted |= blocks.any(axis=(1, 2))
        return [column.key for column, missing in zip(self.study.columns, wanted, strict=True) if missing]

    def compare(self, margin: float, error: float) -> None:
        """Compare with the baseline."""
        self._cube = open_cube(self.store, self.study.name, self.branch)
        self._now = _side(self._cube, self.study.axes)
        self._then, self._same_toys = None, True
        if self.stored is not None:
            self._then = _side(self.stored, axes_told(self.stored))
            same_source = self.stored.attrs["source"] == self._cube.attrs["source"]
            self._same_toys = same_source and has_its_toys(self.stored, self.study)
        self.comparison: Comparison = compare(
            self.study.name,
            self._now,
            self._then,
            same_toys=self._same_toys,
            margin=margin,
            error=error,
            near_end=None if self._then is None else self._by_rounding(self._then),
            at=self.branch,
            store=str(self.store),
        )
        if repeats_toys(self.study):
            told = Discovery("failure", "toys", "the blocks of a cell hold the same toys, which count more than once")
            self.comparison = replace(self.comparison, findings=(*self.comparison.findings, told))

    def _by_rounding(self, then: Side) -> xr.DataArray:
        """Tell where rounding alone decides: s_true is on an end of an interval, and the limits are as before."""
        near = near_ends(self.study, {label for label, _ in self._recomputed})
        now, before = xr.align(self._now.maps, then.maps, join="left")
        for name in ("exact_mean_upper", "exact_median_upper", "exact_p_empty", "exact_p_unbounded", "exact_p_failed"):
            alike = np.isclose(
                now[name], before[name], rtol=ROUNDING, atol=ROUNDING, equal_nan=name == "exact_mean_upper"
            )
            near = near & now[name].copy(data=alike)
        return near

    def find_older(self, code: str | Path | None) -> None:
        """Find what sets the limits of the baseline, for the columns that toys compare with it."""
        known = self.study, self.store, self.ledger, self.states, self.baseline, self._cube, self.stored
        self._confirming = Confirming(*known, self._same_toys, code)
        tested = {(each.limit_method, each.cl) for each in self.comparison.hypotheses if each.is_about_baseline}
        self._confirming.pair(
            key
            for each in self.comparison.columns
            if (key := (each.limit_method, each.cl)) in tested or (each.state == "changed" and not each.exact)
        )

    def confirm(
        self, toys: Mapping[Hypothesis, int], workers: _Workers, progress: Showing | None
    ) -> dict[Hypothesis, Evidence]:
        """Return what fresh toys tell of the tests of this study that are looked at again, so many of each."""
        mine = {each: number for each, number in toys.items() if each.study == self.study.name}
        with _shown(progress, f"{self.study.name}, fresh toys") as show:
            return self._confirming.draw(mine, workers.connected, show)

    def studied(self) -> Studied:
        """Return what a verdict tells of this study."""
        labels = list(dict.fromkeys(label for label, _ in self._recomputed))
        drawn = self._now.maps["n_toys"].sel(limit_method=labels)
        return Studied(
            self.comparison,
            store=str(self.store),
            candidate=self.branch,
            snapshot=self._cube.attrs["snapshot"],
            base=self.base,
            baseline=None if self.baseline is None else self.baseline.as_dict(),
            same_toys=self._same_toys,
            work={
                "columns": len(self.study.columns),
                "recomputed": len(self._recomputed),
                "skipped": len(self.study.columns) - len(self._recomputed),
                "toys": int(drawn.max(["limit_method", "cl"]).sum()) if labels else 0,
                "fresh_toys": self._confirming.fresh_toys,
                "seconds": round(self.seconds, 1),
                "paired": self.is_paired,
                "unpaired_why": self._confirming.unpaired_why,
            },
            speeds=self._speeds(),
        )

    def _speeds(self) -> dict[tuple[str, float], float]:
        """Return the toys a second of all columns: timed now if they were computed, else as the baseline tells."""
        before = {} if self.stored is None else speeds_told(self.stored, self.study.name)
        timed = [column for column in self.study.columns if column.key in self._recomputed or column.key not in before]
        return before | speeds(self.study, timed, lambda key: find_calibration(self.store, key))


def _side(cube: xr.Dataset, axes: Mapping[str, list[Any]]) -> Side:
    here = part_of(cube, axes)
    return Side(summarize(here), here)


@contextmanager
def _shown(progress: Showing | None, what: str) -> Iterator[Callable[[Progress], None] | None]:
    """Yield what is told how far some work is, from the first time on that it is."""
    if progress is None:
        yield None
        return
    with ExitStack() as stack:
        shows: list[Callable[[Progress], None] | None] = []

        def tell(at: Progress) -> None:
            if not shows:
                shows.append(stack.enter_context(progress(what)))
            if shows[0] is not None:
                shows[0](at)

        yield tell
