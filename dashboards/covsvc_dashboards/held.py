"""What the pages ask for: studies, their commits and the maps of those."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar

import xarray as xr

from covsvc import api
from covsvc.errors import CovsvcError, StoreError
from covsvc.service.answers import Refusal
from covsvc.service.lanes import Busy
from covsvc.service.state import State

LOG = logging.getLogger("covsvc.dashboard")

SECONDS = 60.0
"""Time that what a reader asks to be computed may take."""

LAST = 20
"""Commits that are offered beside those that have a name."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Held:
    """The studies of a store, as the service holds them: read in threads, made in child processes, and kept.

    Its coroutines belong to one event loop, and raise a `CovsvcError` that says what is wrong in a sentence.

    Parameters
    ----------
    store : str
        Folder or URL.

    Attributes
    ----------
    store : str
    """

    def __init__(self, store: str) -> None:
        self.store = str(store)
        self._state = State(self.store, 100_000, SECONDS)

    async def names(self) -> list[str]:
        """Return the names of the studies."""
        return await self._told("the store", self._state.names())

    async def commits(self, study: str) -> list[tuple[str, str]]:
        """Return the commits to choose from: what names each, and what people read; ``main`` is the first.

        After it come the baselines, the tags, the candidates that wait, and the last commits.
        """
        await self._told(study, self._state.known(study))
        return await self.in_thread(_commits, study, self.store)

    async def newest(self, study: str) -> str:
        """Return the snapshot that main is answered from: the newest whose maps are ready."""
        return await self._commit(study, "main")

    async def maps(self, study: str, at: str) -> tuple[str, xr.Dataset]:
        """Return the snapshot of a commit and its maps, which may have to be made."""
        snapshot = await self._commit(study, at)
        return snapshot, await self._told(study, self._state.maps(study, snapshot))

    async def in_thread(self, work: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs) -> _T:
        """Do what takes some tens of milliseconds, such as reading from the store, beside the event loop."""
        return await self._told("", self._state.quick.run(None, work, *arguments, **options))

    async def in_child(self, job: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs) -> _T:
        """Do what takes longer, or much memory, in a child process; it is ended when it takes too long.

        The job is a function of a module; it, what it takes and what it returns are pickled.
        """
        return await self._told("", self._state.in_child(None, job, *arguments, **options))

    async def warm(self) -> None:
        """Let a child process import what it needs, which takes seconds: the next job finds it ready."""
        await self.in_child(api.stored_studies, self.store)

    def close(self) -> None:
        """End all children."""
        self._state.close()

    async def _commit(self, study: str, at: str) -> str:
        return await self._told(study, self._state.commit(study, at))

    async def _told(self, name: str, asked: Awaitable[_T]) -> _T:
        """Return what was asked for; whatever goes wrong is told in a sentence."""
        try:
            return await asked
        except Refusal as error:
            raise StoreError(error.sentence) from None
        except CovsvcError as error:
            raise type(error)(self._state.told(name, error) if name else str(error)) from None
        except Busy:
            raise StoreError("too many readers wait already; try again in a moment") from None
        except TimeoutError:
            raise StoreError(f"this takes more than {SECONDS:g} s; use the command line for it") from None
        except MemoryError:
            raise StoreError("this takes more memory than a reader may use; use the command line for it") from None
        except ChildProcessError as error:
            raise StoreError(f"a part of the server broke off: {error}; its log tells why") from None
        except Exception as error:
            LOG.exception("%s: asked in vain", name or self.store)
            raise StoreError("the server has made a mistake, which its log tells; try again") from error


def _commits(study: str, store: str) -> list[tuple[str, str]]:
    known = api.history(study, store)
    (found,) = api.baselines([study], store)
    accepted = {each["tag"]: each for each in found["baselines"]}
    told = [("main", f"main, {_when(known[0]['written_at'])}" if known else "main")]
    told += [(tag, f"baseline {each['name']}, {_when(each['accepted_at'])}") for tag, each in accepted.items()]
    for commit in known:
        when = _when(commit["written_at"])
        told += [(tag, f"tag {tag}, {when}") for tag in commit["tags"] if tag not in accepted]
    told += [
        (each["candidate"], f"{each['candidate']}, {each['state']}, {_when(each['written_at'])}")
        for each in found["candidates"]
    ]
    return told + [(each["snapshot"], _about(each)) for each in known[:LAST]]


def _about(commit: dict[str, Any]) -> str:
    toys = commit.get("all", {}).get("toys")
    drawn = f", {toys:,} toys" if toys else ""
    return f"{commit['short']}, {_when(commit['written_at'])}{drawn}"


def _when(told: Any) -> str:
    """Return a time to the minute; all are UTC."""
    return f"{str(told)[:16].replace('T', ' ')} UTC"
