"""Child processes: what they return, raise, and what ends them."""

from __future__ import annotations

import os
import time

import psutil
import pytest

from covsvc.errors import StudyError, UnknownName
from covsvc.registry import OptionError
from covsvc.service.workers import Workers

pytestmark = pytest.mark.system


def double(number):
    return 2 * number


def sleep(seconds):
    time.sleep(seconds)


def refuse(error):
    raise error


def refuse_option():
    raise OptionError("tau", "tau = 0: too small")


def hold(size):
    return len(bytearray(size))


def end(code):
    os._exit(code)


def who():
    return os.getpid()


@pytest.fixture(scope="module")
def workers():
    held = Workers(1, seconds=1.0, memory=2**30)
    yield held
    held.close()


def test_jobs_return_what_they_return(workers):
    assert workers.run(double, 21) == 42
    assert workers.run(who) == workers.run(who) != os.getpid()


def test_errors_of_covsvc_come_back_with_their_message(workers):
    with pytest.raises(UnknownName, match="x: unknown"):
        workers.run(refuse, UnknownName("x: unknown"))
    with pytest.raises(StudyError, match="tau = 0: too small"):
        workers.run(refuse_option)  # its class takes more than a message, and travels as what it is derived from


def test_what_else_is_raised_comes_back_as_one_kind(workers):
    with pytest.raises(ChildProcessError, match="ZeroDivisionError: no"):
        workers.run(refuse, ZeroDivisionError("no"))


def test_a_job_that_takes_too_long_is_ended_and_the_next_one_done(workers):
    child = workers.run(who)
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        workers.run(sleep, 60)
    assert time.monotonic() - begun < 20
    assert not psutil.pid_exists(child)
    assert workers.run(double, 1) == 2


def test_a_job_gets_no_more_memory_than_it_may(workers):
    assert workers.run(hold, 2**20) == 2**20
    with pytest.raises(MemoryError):
        workers.run(hold, 2**31)
    assert workers.run(double, 1) == 2


def test_a_child_that_breaks_off_is_replaced(workers):
    with pytest.raises(ChildProcessError, match="ended with 7"):
        workers.run(end, 7)
    assert workers.run(double, 1) == 2


def test_children_end_with_those_who_hold_them(workers):
    child = workers.run(who)
    workers.close()
    assert not psutil.pid_exists(child)
    assert workers.run(double, 1) == 2
