"""Workers that are refused: what a driver hears of them, and says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

BITS = "the bits of toys and limits"
"""What differs where nothing else does that had to be alike."""

PLAIN = "its address"
"""What differs where a worker talks in plain text beyond its machine."""


class Refusals:
    """The workers that came later and were refused.

    Parameters
    ----------
    tell : callable, optional
        Is told in a sentence of the first one that is refused for the same.

    Attributes
    ----------
    last : str
        The last one, and why; empty if there was none.
    cure : str
        What to do about it.
    """

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self._tell = tell
        self._told: set[str] = set()
        self._heard: list[tuple[str, str]] = []
        self.last = self.cure = ""

    def hear(self, refusal: Mapping[str, Any]) -> None:
        """Take down what a worker said when it left."""
        why = told(refusal["differs"])
        self.last, self.cure = f"{refusal['worker']} on {refusal['host']}: {why}", cure_of(refusal["differs"])
        self._heard.append((why, f"a worker that joined is refused, {self.last}; {self.cure}"))

    def say(self) -> None:
        """Tell what is new."""
        while self._heard:
            why, sentence = self._heard.pop(0)
            if why not in self._told and self._tell is not None:
                self._tell(sentence)
            self._told.add(why)


_KEPT: WeakKeyDictionary[Any, Refusals] = WeakKeyDictionary()


def keep(client: Any, refusals: Refusals) -> None:
    """Keep what a client hears."""
    _KEPT[client] = refusals


def refusals_of(client: Any) -> Refusals:
    """Return what a client heard."""
    return _KEPT.setdefault(client, Refusals())


def told(differs: Iterable[Sequence[str]]) -> str:
    """Say what a worker has, and what the driver has."""
    return "; ".join(f"{what} {there}, {here} here" for what, there, here in differs)


def cure_of(differs: Iterable[Sequence[str]]) -> str:
    """Say what to do about a worker that differs so."""
    named = [what for what, _, _ in differs]
    if BITS in named:
        return "run the driver on a machine such as theirs, or take workers such as its own"
    if PLAIN in named:
        return "start it with TLS (deploy/tls says how), or on this machine with --host 127.0.0.1"
    return "install there what is here, and restart the workers"
