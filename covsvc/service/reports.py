"""Reports, drawn once a commit."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from covsvc.files import user_cache
from covsvc.service.answers import Refusal, code
from covsvc.service.lanes import Lane

LOG = logging.getLogger("covsvc.service")

SECONDS = 900
"""Time that a report may take."""

MOST_KEPT = 20
"""Reports that are kept; those that were read last stay."""


class Reports:
    """Draws the reports of commits, one at a time, by a command of its own, and keeps them in the user's cache.

    Parameters
    ----------
    store : str
    """

    def __init__(self, store: str) -> None:
        self._store = store
        self._folder = user_cache() / "reports"
        self._lane = Lane(1, 16)
        self._drawing: dict[str, asyncio.Task[Path]] = {}
        self._child: subprocess.Popen[bytes] | None = None

    async def of(self, name: str, snapshot: str, patience: float) -> Path | None:
        """Return the folder of a report; None if it is not drawn after `patience` seconds, while that goes on.

        Raises
        ------
        Refusal
            If it cannot be drawn.
        """
        folder = self._folder / f"{name}-{snapshot}-{code()}"
        if (folder / "index.html").is_file():
            os.utime(folder)
            return folder
        key = folder.name
        if key not in self._drawing:
            self._drawing[key] = asyncio.create_task(self._lane.run(None, self._draw, name, snapshot, folder))
            self._drawing[key].add_done_callback(lambda task: self._end(key, task))
        task = self._drawing[key]
        done, _ = await asyncio.wait({task}, timeout=patience)
        return task.result() if done else None

    def close(self) -> None:
        """End the child that draws, if there is one."""
        if self._child is not None:
            self._child.kill()

    def _end(self, key: str, task: asyncio.Task[Path]) -> None:
        self._drawing.pop(key, None)
        if not task.cancelled() and task.exception() is not None:
            LOG.warning("report %s: %s", key, task.exception())

    def _draw(self, name: str, snapshot: str, folder: Path) -> Path:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Refusal(503, f"{name}: its report has no place: {error.strerror}; set XDG_CACHE_HOME") from None
        with tempfile.TemporaryDirectory(dir=self._folder, prefix="unfinished-") as scratch:
            out = Path(scratch) / "report"
            command = [sys.executable, "-m", "covsvc", "report", name, "--store", self._store, "--at", snapshot]
            self._child = subprocess.Popen(  # noqa: S603 - the name is that of a stored study
                [*command, "--out", str(out)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            try:
                _, told = self._child.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.communicate()
                raise Refusal(422, f"{name}: its report took more than {SECONDS} s; `covsvc report` draws it") from None
            if self._child.returncode != 0:
                LOG.error("report of %s at %s: %s", name, snapshot, told.decode(errors="replace")[-2000:])
                raise Refusal(503, f"{name}: its report could not be drawn; the log of the service says why")
            out.replace(folder)
        self._prune()
        return folder

    def _prune(self) -> None:
        kept = [each for each in self._folder.iterdir() if not each.name.startswith("unfinished-")]
        for each in sorted(kept, key=lambda folder: folder.stat().st_mtime, reverse=True)[MOST_KEPT:]:
            shutil.rmtree(each, ignore_errors=True)


def file_of(folder: Path, name: str) -> Path | None:
    """Return a file of a report: the one whose path is that, to the letter; no path is put together."""
    return next((each for each in folder.rglob("*") if each.is_file() and str(each.relative_to(folder)) == name), None)
