"""What a worker does when it joins: it tells what it is, warms up, or leaves."""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin

REFUSED = "covsvc-refused"
"""Topic of the events by which drivers get to know whom they cannot use."""

_log = logging.getLogger("distributed.covsvc")


def name_of(client: str) -> str:
    """Return the name of the plug-in of a driver, by the id of its client."""
    return f"covsvc-warm-up-{client}"


class Joining(WorkerPlugin):  # type: ignore[misc]
    """Answers the question of a driver, and takes a worker away from it that has something else.

    It brings its own code along: a worker may have another covsvc, or none. That is why this file imports nothing of
    covsvc before it is asked.

    Parameters
    ----------
    question : dict
        Of `sameness.question_of`, with the id of the client that asks.
    """

    def __init__(self, question: dict[str, Any]) -> None:
        self._question = question
        self.name = name_of(question["client"])

    def __reduce__(self) -> Any:
        room = {"__name__": __name__, "code": Path(__file__).read_text(encoding="utf-8"), "question": self._question}
        return eval, ("exec(code, globals()) or Joining(question)", room)

    def __call__(self) -> dict[str, Any]:
        """Return the answer of this process."""
        try:
            from covsvc.engine.clusters.sameness import answer_to
        except ImportError as error:
            try:
                there = importlib.metadata.version("covsvc")
            except importlib.metadata.PackageNotFoundError:
                there = "none"
            differs = [("covsvc", f"{there} ({error})", self._question["versions"]["covsvc"])]
            return {"differs": differs, "machine": {}, "digest": "", "host": socket.gethostname()}
        return answer_to(self._question)

    async def setup(self, worker: Any) -> None:
        """Warm up; whoever differs leaves, before it has worked, and is heard of."""
        if not await self._is_awaited(worker):
            worker.loop.add_callback(self._forget, worker)
            return
        answer = self()
        answer["differs"] = answer["differs"] or _plain(worker.address)
        if not answer["differs"]:
            return
        told = "; ".join(f"{what}: {there} here, {here} at the driver" for what, there, here in answer["differs"])
        _log.error("This worker does not work for a driver of covsvc that has something else: %s", told)
        refusal = {"client": self._question["client"], "worker": worker.address, **answer}
        worker.log_event(REFUSED, refusal)
        while worker.address not in [event["worker"] for _, event in await worker.scheduler.events(topic=REFUSED)]:
            await asyncio.sleep(0.02)
        # here, not by what closes: until this returns no task is read, and afterwards no result is taken
        await worker.scheduler.retire_workers(
            workers=[worker.address], close_workers=False, remove=True, stimulus_id=f"covsvc-refused-{worker.address}"
        )
        worker.loop.add_callback(worker.close, reason="covsvc-refused")

    async def _is_awaited(self, worker: Any) -> bool:
        """Tell whether the driver is still there: what a killed one registered stays."""
        known = [event for _, event in await worker.scheduler.events(topic=self._question["client"])]
        here = [event["action"] for event in known if event["action"] in ("add-client", "remove-client")]
        return bool(known) and here[-1:] != ["remove-client"]

    async def _forget(self, worker: Any) -> None:
        """Have no other worker asked; one of those that join at the same time comes first."""
        with suppress(Exception):
            await worker.scheduler.unregister_worker_plugin(name=self.name)


def _plain(address: str) -> list[tuple[str, str, str]]:
    """Return what differs of a worker, which has our covsvc, if it talks in plain text beyond its machine."""
    from covsvc.engine.clusters.encryption import hold_safe
    from covsvc.engine.refusals import PLAIN
    from covsvc.errors import StudyError

    try:
        hold_safe(address)
    except StudyError:
        return [(PLAIN, f"{address} (plain text)", "TLS, or 127.0.0.1,")]
    return []
