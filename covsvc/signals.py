"""Requests to end: heard wherever they come, held back while what belongs together is done."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What Ctrl-C, a service manager and a closed terminal send: all are answered alike."""

_AGAIN = 0.1
"""Seconds until a request is made again that Python dropped."""


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """Raise KeyboardInterrupt for each request to end that nobody else handles; yield those that came so far.

    Python drops what is raised in a finalizer or in a callback from C, and LLVM calls one whenever it has compiled:
    such a request is made again until it is heard.
    """
    came: list[int] = []
    timers: list[threading.Timer] = []
    others_hook = sys.unraisablehook

    def interrupt(number: int, _: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    def dropped(what: sys.UnraisableHookArgs) -> None:
        if came and issubclass(what.exc_type, KeyboardInterrupt):
            timers.append(threading.Timer(_AGAIN, signal.pthread_kill, [threading.get_ident(), came[-1]]))
            timers[-1].start()
        else:
            others_hook(what)

    before = {number: signal.getsignal(number) for number in _ENDING}
    for number, handler in before.items():
        if handler in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, interrupt)
    sys.unraisablehook = dropped
    try:
        yield came
    finally:
        sys.unraisablehook = others_hook
        for each in timers:
            each.cancel()
            each.join()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C and requests to end wait until the block is left.

    An exception in its middle would leave counts without the status of their blocks, which would count twice.
    """
    if threading.current_thread() is not threading.main_thread():  # handlers run in the main thread only
        yield
        return
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in _ENDING}
    held = {number: handler for number, handler in handlers.items() if callable(handler)}  # they raise; others do not
    for number in held:
        signal.signal(number, lambda sent, _: came.append(sent))
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
        for sent in came:
            signal.raise_signal(sent)
