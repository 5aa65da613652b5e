"""Quiet for the clusters that are started for a run: little talk of Dask, and no Ctrl-C for what they start."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

# tasks last about a second and tables are small: no need to look ten times a second, which costs some percent;
# only memory is looked at often, to end a worker before it takes what the others need
QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.scheduler.work-stealing-interval": "1s",
}


def variable_of(key: str) -> str:
    """Return the variable of the environment that sets a key of Dask's configuration."""
    return "DASK_" + key.replace(".", "__").replace("-", "_").upper()


@contextmanager
def silenced(*names: str) -> Iterator[None]:
    """Keep what some loggers are told to ourselves."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Hold SIGINT back. What is started meanwhile never gets it: Ctrl-C is for the driver, which ends its workers."""
    resource_tracker.ensure_running()  # multiprocessing, when it starts it later, lets SIGINT through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
