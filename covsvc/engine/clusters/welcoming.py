"""Welcome of the workers of a cluster: one is waited for, all have what the driver has, and warm up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from covsvc.engine.clusters.encryption import hold_safe, worker_command
from covsvc.engine.clusters.sameness import other_bits, question_of
from covsvc.engine.clusters.waiting import FIRST, Waiting
from covsvc.engine.gathering import ask, patience_of
from covsvc.engine.refusals import Refusals, cure_of, keep, told
from covsvc.engine.warm_up import run_kernels
from covsvc.errors import ClusterError, StudyError
from covsvc.study import Study

if TYPE_CHECKING:
    from covsvc.engine.clusters.joining import Joining

_PATIENCE = 30
"""Seconds in which a scheduler has to find a worker, where nobody said how long."""

_LOOK = 1.0
"""Seconds between two looks for the first worker."""

_GOODBYE = 5.0
"""Seconds in which workers are told that nobody is welcomed any more."""

_ATTEMPTS = 3
"""How often workers may be lost while they warm up."""

_FEW = 5
"""Kinds of workers that are told of one by one."""

_AGAIN = "run it again"

Answers = dict[str, Any]
"""What each worker answers, by its address."""


def welcome(client: Any, study: Study | None, tell: Callable[[str], None] | None = None) -> None:
    """Wait for a worker, hold that all have what is here, and have them warm up; those that come later, too.

    Parameters
    ----------
    client : distributed.Client
    study : Study, optional
        What is to be done.
    tell : callable, optional
        Is told in a sentence that the first worker is waited for, and once of each worker that comes later and is
        refused for another reason than those before.

    Raises
    ------
    ClusterError
        If no worker comes, one has something else than the driver, or they are lost while they warm up.
    StudyError
        If one talks in plain text beyond its machine, whatever the scheduler does.
    """
    from covsvc.engine.clusters.joining import REFUSED, Joining

    question = {**question_of(study), "client": client.id}
    refusals = Refusals(tell)
    keep(client, refusals)

    async def hear(event: tuple[float, Mapping[str, Any]]) -> None:
        if event[1]["client"] == client.id:
            refusals.hear(event[1])

    client.subscribe_topic(REFUSED, hear)
    is_awaited = not ask(client, lambda: client.scheduler.ncores(), _AGAIN)
    if is_awaited:
        # whoever comes is to know what it is held to; there is time for that
        question["digest"] = run_kernels(study) if study else ""
        ask(client, lambda: client.register_plugin(Joining(question)), _AGAIN)
    answers = _answers(client, Joining(question), refusals, tell)
    _hold_safe(client.scheduler.address, answers)
    question["digest"] = _hold_same(client.scheduler.address, answers, question, study)
    if not is_awaited:
        ask(client, lambda: client.register_plugin(Joining(question)), _AGAIN)


@contextmanager
def welcomed(client: Any, study: Study | None, tell: Callable[[str], None] | None = None) -> Iterator[None]:
    """Welcome workers as `welcome` does, as long as the context lasts.

    Where it ends in an error it is left to the next worker that joins to find that nobody waits for it.
    """
    from covsvc.engine.clusters.joining import name_of

    welcome(client, study, tell)
    yield
    if client.scheduler is None:  # it has closed itself
        return
    with suppress(OSError, ValueError):  # of a scheduler that is gone, and of one that forgot
        client.sync(lambda: client.unregister_worker_plugin(name_of(client.id)), callback_timeout=_GOODBYE)


def _answers(client: Any, question: Joining, refusals: Refusals, tell: Callable[[str], None] | None) -> Answers:
    """Return what the workers answer, at least one."""
    address = client.scheduler.address
    for attempt in range(1, _ATTEMPTS + 1):
        _wait(client, refusals, tell)
        answers: Answers = ask(client, lambda: client.run(question, on_error="return"), _AGAIN)
        lost = next((each for each in answers.values() if isinstance(each, OSError)), None)
        failed = [(worker, each) for worker, each in answers.items() if isinstance(each, Exception)]
        if answers and not failed:
            return answers
        if lost is None:
            for worker, error in failed:
                raise ClusterError(f"{address}: {worker} cannot warm up: {type(error).__name__}: {error}; see its log")
        elif attempt == _ATTEMPTS:
            raise ClusterError(f"{address}: workers are lost while they warm up ({lost}); {_AGAIN}")
    raise ClusterError(f"{address}: workers are lost while they warm up; see their logs, and {_AGAIN}")


def _wait(client: Any, refusals: Refusals, tell: Callable[[str], None] | None) -> None:
    """Wait for the first worker."""
    address, patience = client.scheduler.address, patience_of(client, _PATIENCE)
    waiting = Waiting(FIRST, patience, tell)
    while True:
        look = partial(client.wait_for_workers, 1, timeout=min(_LOOK, max(waiting.left, 0.1)))
        with suppress(TimeoutError):
            ask(client, look, _AGAIN)
            return
        if refusals.last:
            raise ClusterError(f"{address}: the first worker is refused, {refusals.last}; {refusals.cure}")
        if waiting.left < 0:
            if client.cluster is None:
                cure = f"start one with `{worker_command(address)}`"
                raise ClusterError(f"{address}: no worker joined within {patience:g} s; {cure}")
            raise ClusterError(f"{address}: no worker joined within {patience:g} s; see its queue and its logs")
        waiting.say()


def _hold_safe(address: str, workers: Iterable[str]) -> None:
    """Refuse workers that talk in plain text beyond their machine."""
    for worker in workers:
        try:
            hold_safe(worker)
        except StudyError as error:
            raise StudyError(f"worker {error}; `{worker_command(address)}` starts one") from None


def _hold_same(address: str, answers: Answers, question: Mapping[str, Any], study: Study | None) -> str:
    """Refuse workers that have something else, or compute other bits; return the bits that are right."""
    digests = {worker: each["digest"] for worker, each in answers.items() if each["digest"]}
    alike = {digest for worker, digest in digests.items() if answers[worker]["machine"] == question["machine"]}
    right = question["digest"] or (alike.pop() if len(alike) == 1 else "")
    if digests and not right and study:
        right = run_kernels(study)
    kinds: dict[str, list[str]] = {}
    cures: dict[str, None] = {}
    for worker, each in answers.items():
        differs = each["differs"]
        if not differs and each["digest"] not in ("", right):
            differs = other_bits(each["digest"], right, each["machine"], question["machine"])
        if differs:
            cures[cure_of(differs)] = None
            kinds.setdefault(told(differs), []).append(f"{worker} on {each['host']}")
    if kinds:
        number = sum(map(len, kinds.values()))
        lines = [f"  {_named(workers)}: {why}" for why, workers in list(kinds.items())[:_FEW]]
        head = f"{address}: {number} of {len(answers)} workers have something else than this driver"
        more = [f"  and {len(kinds) - _FEW} kinds more"] * (len(kinds) > _FEW)
        raise ClusterError("\n".join([head, *lines, *more, f"{'; '.join(cures)}; then {_AGAIN}"]))
    return right


def _named(workers: list[str]) -> str:
    more = len(workers) - 1
    return workers[0] + (f" and {more} more" if more else "")
