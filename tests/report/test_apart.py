"""Parts that several processes do: in order, once, and lost by nobody."""

from __future__ import annotations

import os

import parts
import psutil
import pytest

from covsvc.report.apart import do_parts

pytestmark = pytest.mark.system

EIGHT = [(number,) for number in range(8)]


def children():
    return [each for each in psutil.Process().children() if "report.apart" in " ".join(each.cmdline())]


def test_many_parts_are_done_by_several_processes_in_order():
    done = list(do_parts(parts.place, EIGHT, n_cores=2))
    assert [number for number, _ in done] == list(range(8))
    assert os.getpid() not in {process for _, process in done}
    assert not children()


@pytest.mark.parametrize("few", [{"n_cores": 1}, {"n_cores": 8, "parts": EIGHT[:7]}])
def test_few_parts_and_one_core_need_no_process(few):
    done = list(do_parts(parts.place, few.get("parts", EIGHT), n_cores=few["n_cores"]))
    assert {process for _, process in done} == {os.getpid()}


def test_what_a_killed_process_had_is_done_here():
    here = [(os.getpid(), number) for number in range(8)]
    assert list(do_parts(parts.only_in, here, n_cores=2)) == list(range(8))


def test_an_error_is_that_of_the_part_and_ends_all():
    with pytest.raises(ValueError, match="no 0"):
        list(do_parts(parts.refuse, EIGHT, n_cores=2))
    assert not children()


def test_whoever_leaves_early_leaves_nobody_behind_and_prints_do_no_harm():
    done = do_parts(parts.print_and_wait, EIGHT, n_cores=2)
    assert next(done) == 0
    assert len(children()) == 2
    done.close()
    assert not children()
