"""The acceptance of candidates, by which they become main, and a baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import icechunk
import zarr

from covsvc.errors import StoreError
from covsvc.store.candidates import ACCEPTED, Baseline, Candidate, baselines, candidates, finish_acceptance
from covsvc.store.history import MAIN, SHORT, baseline_tags, candidate_named, check_name
from covsvc.store.place import Place, place_of
from covsvc.store.provenance import Provenance, this_user
from covsvc.store.reason import unwritable
from covsvc.store.repository import makers, open_existing


def accept(
    store: str | Path, chosen: Mapping[str, str | None], *, tag: str, reason: str, despite: bool = False
) -> dict[str, Baseline]:
    """Make candidates the newest baselines of their studies: all of them, or none.

    Cut short at any moment, even killed, the same call ends it.

    Parameters
    ----------
    store : str or Path
        Folder or URL of the store.
    chosen : dict
        The studies, and the candidate of each or a beginning of its name; None: the newest.
    tag : str
        Name of the baseline.
    reason : str
    despite : bool
        Accept what did not pass, too.

    Returns
    -------
    dict of Baseline
        By study.

    Raises
    ------
    StoreError
        If a study has no such candidate, or one that did not pass or was made from an older state of main; all reasons
        stand in the message. Also if another process works on a study, or it cannot be written.
    """
    place, reason = place_of(store), " ".join(reason.split())
    if not reason:
        raise StoreError("the reason is empty; say why later changes are to be compared with this")
    for study in chosen:
        open_existing(place, study)  # before a lock is made for what does not exist
    with ExitStack() as stack:
        # in one order, whoever asks: two that want the same studies do not wait for each other
        held = {study: _Held(place, study, stack.enter_context(place.lock(study))) for study in sorted(chosen)}
        found: dict[str, Candidate | None] = {}
        refused = []
        for study, beginning in chosen.items():
            try:
                held[study].finish()
                found[study] = held[study].choose(beginning, tag, despite=despite)
            except StoreError as error:
                refused.append(str(error))
        if refused:
            raise StoreError("\n".join(dict.fromkeys(refused)))
        at = max(each.not_before for each in held.values())
        for study, candidate in found.items():
            if candidate is not None:
                held[study].move(candidate, tag, reason, at)
        return {study: held[study].baselines[0] for study in chosen}


class _Held:
    """A study whose lock is held."""

    def __init__(self, place: Place, name: str, still_held: Callable[[], None]) -> None:
        self._place, self._name, self._still_held = place, name, still_held
        self._where = place.study(name)
        self._repository = open_existing(place, name)

    @property
    def baselines(self) -> list[Baseline]:
        """The baselines, newest first."""
        return baselines(self._repository)

    @property
    def not_before(self) -> datetime:
        """When the next baseline may be accepted: after the newest, whatever the clocks of machines say."""
        newest = [time + timedelta(seconds=1) for *_, time in baseline_tags(self._repository)[:1]]
        return max([datetime.now(UTC).replace(microsecond=0), *newest])

    def choose(self, beginning: str | None, tag: str, *, despite: bool) -> Candidate | None:
        """Return the candidate that is to be accepted; None if that has been done.

        Raises
        ------
        StoreError
            If there is none, or it cannot be accepted.
        """
        check_name(self._repository, tag, self._where)
        known, tip = candidates(self._repository), self._repository.lookup_branch(MAIN)
        current = [each for each in known if each.base == tip]
        for each in self.baselines[:1]:
            is_meant = not current if beginning is None else str(each.candidate).startswith(beginning)
            if is_meant and (each.snapshot, each.name) == (tip, tag):
                return None
        if beginning is not None:
            branch = candidate_named(self._repository, beginning, self._where)
            found = next(each for each in known if each.branch == branch)
        elif known:
            found = (current or known)[0]
        else:
            newest = next((f"; the newest baseline is {each.tag}" for each in self.baselines), "")
            raise StoreError(f"{self._where}: no candidate waits{newest}; `covsvc validate {self._name}` makes one")
        if found.base != tip:
            raise StoreError(
                f"{self._where}: {found.branch} was made from {found.base[:SHORT]}, but main is at {tip[:SHORT]} now, "
                "and what was stored since would be lost; `covsvc validate` again makes a candidate from there"
            )
        if found.outcome is None:
            raise StoreError(
                f"{self._where}: {found.branch} has no verdict yet, its validation was cut short; "
                "the same `covsvc validate` goes on with it"
            )
        if found.outcome != "passed" and not despite:
            raise StoreError(
                f"{self._where}: {found.branch} is {found.outcome}: {found.sentence} Mend what is named there and "
                "validate again; or accept it with --despite, and say why in --reason"
            )
        return found

    def move(self, candidate: Candidate, tag: str, reason: str, at: datetime) -> None:
        """Move main to a candidate, and make that a baseline.

        Raises
        ------
        StoreError
            If it cannot be written.
        """
        record = {
            "tag": f"{tag}@{at:%Y%m%dT%H%M%SZ}",
            "name": tag,
            "candidate": candidate.branch,
            "accepted_at": at.isoformat(),
            "who": this_user(),
            "reason": reason,
            "outcome": candidate.outcome,
            "sentence": candidate.sentence,
            **candidate.code,
        }
        before = next(iter(self._repository.ancestry(snapshot_id=candidate.snapshot))).metadata
        told = Provenance(before, *makers()).close("accept")
        told |= {"candidate": candidate.branch, "base": candidate.base, ACCEPTED: record}
        try:
            session = self._repository.writable_session(candidate.branch)
            zarr.open_group(session.store, mode="a").attrs[ACCEPTED] = record
            self._still_held()
            snapshot = session.commit(f"{self._name}: accept as {record['tag']}", metadata=told)
            self._place.settle()  # or main might come to what a loss of power has taken
            self._repository.reset_branch(MAIN, snapshot, from_snapshot_id=candidate.base)
            self.finish()
        except (icechunk.IcechunkError, OSError) as error:
            raise unwritable(self._where, error) from error

    def finish(self) -> None:
        """Do what is left to do of an acceptance that was cut short.

        Raises
        ------
        StoreError
            If it cannot be written.
        """
        try:
            self._still_held()
            finish_acceptance(self._repository, self._place)
        except (icechunk.IcechunkError, OSError) as error:
            raise unwritable(self._where, error) from error
