"""What commands show of long work while it lasts."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from covsvc.cli.printing import say

if TYPE_CHECKING:
    from covsvc.api import Progress


@contextmanager
def progress(name: str) -> Iterator[Callable[[Progress], None]]:
    """Yield what shows progress: a live bar on a terminal, a plain line now and then elsewhere."""
    if on_terminal():
        from rich import progress as bar
        from rich.console import Console

        columns = (
            bar.TextColumn("{task.description}"),
            bar.BarColumn(),
            bar.TextColumn("{task.fields[told]}"),
        )
        with bar.Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as shown:
            task = shown.add_task(name, total=None, told="starting")
            yield lambda at: shown.update(task, total=at.all_toys or None, completed=at.toys, told=_told(at))
        return
    last = [-math.inf]

    def tell(at: Progress) -> None:
        if at.all_calibrations or at.toys == at.all_toys or time.monotonic() - last[0] > 5:
            last[0] = time.monotonic()
            say(_told(at))

    yield tell


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Yield what says how far some work is, where that can be overwritten."""
    if on_terminal():
        from rich.console import Console
        from rich.text import Text

        with Console(stderr=True).status(what) as shown:
            yield lambda line: shown.update(Text(f"{what}: {line}"))
    else:
        say(what)
        yield lambda _: None


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def on_terminal() -> bool:
    """Tell whether what is said can be overwritten."""
    return sys.stderr is not None and sys.stderr.isatty()  # None: closed by the caller


def _told(at: Progress) -> str:
    if at.all_calibrations:
        return f"{at.calibrations}/{at.all_calibrations} calibrations  {duration(at.seconds)}"
    rate = at.toys / at.seconds if at.seconds > 0 else 0.0
    left = duration((at.all_toys - at.toys) / rate) if rate else "?"
    if at.at_most and at.toys < at.all_toys:
        left = f"at most {left}"
    return f"{at.cells:.0f}/{at.all_cells} cells  {at.toys:,} toys  {rate:,.0f} toys/s  {left} left"
