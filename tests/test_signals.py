"""Requests to end: none is lost."""

from __future__ import annotations

import ctypes
import signal
import sys
import time

import pytest

from covsvc.signals import interruptible

ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def as_at_start():
    """Give signals the handlers that a program starts with, and return the hook of what Python drops."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ENDING}
    yield sys.unraisablehook
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDING)
def test_a_request_in_a_callback_from_c_which_python_drops_is_made_again(as_at_start, capsys, number):
    @ctypes.CFUNCTYPE(None)
    def callback():
        signal.raise_signal(number)

    def compile_as_llvm_does():
        callback()  # nothing is raised here
        time.sleep(30)

    with interruptible() as came:
        with pytest.raises(KeyboardInterrupt):
            compile_as_llvm_does()
        assert came == [number, number]
    assert sys.unraisablehook is as_at_start
    assert signal.getsignal(number) is signal.SIG_DFL
    assert "Traceback" not in capsys.readouterr().err


def test_a_request_that_is_dropped_at_the_end_does_not_kill(as_at_start):
    @ctypes.CFUNCTYPE(None)
    def callback():
        signal.raise_signal(signal.SIGTERM)

    with interruptible() as came:
        callback()
    time.sleep(0.3)
    assert came == [signal.SIGTERM]


def test_what_else_python_drops_is_told_as_before(as_at_start, monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)

    @ctypes.CFUNCTYPE(None)
    def callback():
        raise ZeroDivisionError

    with interruptible():
        callback()
    assert [each.exc_type for each in told] == [ZeroDivisionError]


def test_a_handler_of_somebody_else_stays(as_at_start):
    came = []
    signal.signal(signal.SIGHUP, lambda number, _: came.append(number))
    with interruptible() as ours:
        signal.raise_signal(signal.SIGHUP)
    assert (came, ours) == ([signal.SIGHUP], [])
