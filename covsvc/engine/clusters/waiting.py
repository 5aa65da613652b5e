"""Patience with what has to come, and the news of it."""

from __future__ import annotations

import time
from collections.abc import Callable

_OFTEN, _SELDOM = 30.0, 3600.0
"""Seconds after which it is told what is waited for; each time it is twice as long, up to this."""

FIRST = "the first worker"


class Waiting:
    """Counts the time that something is waited for, and tells of it, less often the longer it takes.

    Parameters
    ----------
    what : str
        That has to come.
    patience : float
        Seconds in which it has to.
    tell : callable, optional
        Is told in a sentence.
    """

    def __init__(self, what: str, patience: float, tell: Callable[[str], None] | None = None) -> None:
        self.patience = patience
        self._what, self._tell = what, tell
        self._begun = time.monotonic()
        self._pause = self._due = _OFTEN

    @property
    def left(self) -> float:
        """Seconds that are left, below 0 if it took too long."""
        return self.patience - (time.monotonic() - self._begun)

    def say(self, why: str = "") -> None:
        """Tell, if it is time to, and why it takes long, if that is known."""
        waited = self.patience - self.left
        if waited > self._due:
            self._pause = min(2 * self._pause, _SELDOM)
            self._due += self._pause
            if self._tell is not None:
                more = f": {why}" if why else ""
                self._tell(f"waiting for {self._what} since {waited:.0f} s, for at most {self.patience:.0f} s{more}")
