"""Checking of an installation, its machine, a store and a cluster: what is well, what is not, and what to do."""

from __future__ import annotations

import importlib.util
import locale
import os
import platform
import queue
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import TypeVar

from packaging.requirements import Requirement
from packaging.version import Version

from covsvc import registry
from covsvc.api.building import STORE
from covsvc.api.interval_tables import tables
from covsvc.api.stored import status
from covsvc.engine.clusters.choosing import choose
from covsvc.engine.clusters.encryption import worker_command
from covsvc.engine.reaching import reach, software
from covsvc.errors import ClusterError, CovsvcError, StoreError, StudyError
from covsvc.fingerprint import environment, git_is_changed, git_revision, versions
from covsvc.store.calibrations import NAME as CALIBRATIONS
from covsvc.store.candidates import candidates
from covsvc.store.consistency import check
from covsvc.store.folder import Folder
from covsvc.store.history import commits
from covsvc.store.place import Place, place_of
from covsvc.store.repository import open_cube, open_existing
from covsvc.study import RESERVED
from covsvc.version import __version__

OK, WARN, BAD = "ok", "warn", "bad"
"""States of a finding: nothing to do, something to look at, something that will fail or is wrong."""

ANSWER, WORKERS, PLACE = 5.0, 20.0, 20.0
"""Seconds in which a scheduler answers, its workers do, and a store lists its studies."""

_FULL, _NEARLY_FULL = 100e6, 1e9
"""Free bytes of a disk, below which commits fail soon."""

_AHEAD = timedelta(minutes=1)
"""How far in the future a commit may be, before clocks are taken to differ."""

_EXTRAS = {"s3": ("obstore",), "export": ("h5netcdf", "pyarrow")}

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, what was seen, and what to do."""

    name: str
    state: str
    value: str
    cure: str = ""


def doctor(
    store: str | Path = STORE, cluster: str | None = None, *, progress: Callable[[str], None] | None = None
) -> list[Finding]:
    """Look at the installation, the machine, a store and a cluster.

    Parameters
    ----------
    store : str or Path
        Folder or URL of the store.
    cluster : str, optional
        Address of a scheduler, or the file that it writes.
    progress : callable, optional
        Is told what is being looked at.
    """
    parts: dict[str, Callable[[], Iterator[Finding]]] = {
        "software": _software,
        "machine": _machine,
        "plug-ins": _plug_ins,
        "interval tables": _tables,
        "store": lambda: _store(store, progress or (lambda _: None)),
    }
    if cluster is not None:
        parts["cluster"] = lambda: _cluster(cluster)
    found: list[Finding] = []
    for name, look in parts.items():
        if progress is not None:
            progress(name)
        found += look()
    return found


def _software() -> Iterator[Finding]:
    revision, changed = git_revision()[:10], git_is_changed()
    told = f", git {revision}" + (" with changes" if changed else "") if revision else ""
    yield Finding("covsvc", OK, f"{__version__}{told}")
    yield Finding("python", OK, f"{platform.python_version()} on {platform.platform()}")
    try:
        needed = [Requirement(each) for each in requires("covsvc") or ()]
    except PackageNotFoundError:
        yield Finding("packages", BAD, "covsvc is not installed, only its source is found", "pip install .")
        return
    needed = [each for each in needed if each.marker is None]
    held = versions(each.name for each in needed)
    wrong = [
        f"{each.name} {held[each.name]}, {each.specifier} is needed"
        for each in needed
        if held[each.name] == "none" or not each.specifier.contains(Version(held[each.name]), prereleases=True)
    ]
    told = ", ".join(f"{name} {number}" for name, number in held.items())
    yield (
        Finding("packages", BAD, "; ".join(wrong), "pip install --upgrade covsvc")
        if wrong
        else Finding("packages", OK, told)
    )
    for extra, names in _EXTRAS.items():
        missing = [name for name in names if importlib.util.find_spec(name) is None]
        told = f"not installed; pip install 'covsvc[{extra}]' adds it" if missing else "installed"
        yield Finding(f"extra {extra}", OK, told)


def _machine() -> Iterator[Finding]:
    cores, features = len(os.sched_getaffinity(0)), environment()["cpu_features"]
    yield Finding("processor", OK, f"{cores} cores of {platform.machine()}, features {features}")
    memory = _memory()
    if memory is not None:
        enough = memory > cores * 0.5e9
        told = f"{memory / 1e9:.1f} GB available"
        yield (
            Finding("memory", OK, told)
            if enough
            else Finding(
                "memory",
                WARN,
                told,
                f"a worker needs about 0.5 GB: give `covsvc run --workers {max(1, int(memory / 5e8))}`",
            )
        )
    yield _kernel_cache()
    threads = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS") if name in os.environ}
    several = {name: value for name, value in threads.items() if value != "1"}
    told = ", ".join(f"{name}={value}" for name, value in (several or threads).items())
    yield Finding(
        "BLAS threads",
        WARN if several else OK,
        told or "one a worker, Dask sees to it",
        "unset it, or set it to 1: workers are processes of one thread" if several else "",
    )
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
        yield Finding("ports", OK, "a port of the loopback interface can be bound")
    except OSError as error:
        told = f"no port of the loopback interface can be bound: {error.strerror}"
        yield Finding("ports", BAD, told, "run with --cluster none, or allow sockets on 127.0.0.1")
    encoding = locale.getpreferredencoding(do_setlocale=False)
    utf8 = encoding.lower().replace("-", "") == "utf8"
    yield (
        Finding("locale", OK, encoding)
        if utf8
        else Finding(
            "locale", WARN, f"{encoding} cannot write every name of a study or a method", "export LC_ALL=C.UTF-8"
        )
    )


def _memory() -> float | None:
    """Return the memory that is available, bytes; None where the system does not say."""
    try:
        told = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return None
    return float(told[1]) * 1024 if told else None


def _kernel_cache() -> Finding:
    from covsvc.kernels import poisson
    from covsvc.kernels.compilation import folder_of

    folder = folder_of(Path(poisson.__file__))
    if folder is None:
        told = "no folder can be written that would keep them; every process compiles for some seconds"
        return Finding("compiled kernels", WARN, told, "set NUMBA_CACHE_DIR to a folder that can be written")
    compiled = len(list(folder.parent.glob("*/*/*.nbi")))
    return Finding("compiled kernels", OK, f"{compiled} kept in {folder.parent}; the first run adds to them")


def _plug_ins() -> Iterator[Finding]:
    for kind in ("methods", "experiments", "clusters", "figures"):
        try:
            known = registry.installed(kind)
        except CovsvcError as error:
            yield Finding(kind, BAD, str(error), "uninstall one of them")
            continue
        others: dict[str, list[str]] = {}
        for name, entry in known.items():
            whose = entry.dist.name if entry.dist is not None else "unknown"
            try:
                entry.load()
            except Exception as error:  # a plug-in may raise anything
                told = f"{entry.value} of {whose} cannot be loaded: {type(error).__name__}: {error}"
                yield Finding(f"{kind}: {name}", BAD, told, f"mend or uninstall {whose}")
            if whose != "covsvc":
                others.setdefault(whose, []).append(name)
        told = "".join(f"; of {whose}: {', '.join(names)}" for whose, names in sorted(others.items()))
        yield Finding(kind, OK, f"{len(known)} installed{told}")


def _tables() -> Iterator[Finding]:
    found = tables()
    for each in found:
        if "reason" in each:
            cure = f"delete {each['file']}, and build it again with `covsvc tables build --cl {each['cl']:g}`"
            yield Finding(f"interval table {each['cl']:g}", BAD, each["reason"], cure)
    levels = ", ".join(f"{each['cl']:g}" for each in found if "reason" not in each)
    yield Finding("interval tables", OK, f"at cl {levels}")


def _store(store: str | Path, tell: Callable[[str], None]) -> Iterator[Finding]:
    try:
        place = place_of(store)
        names = _within(PLACE, place.names)
    except TimeoutError:
        cure = "look at the network, the endpoint and the region, and ask again"
        yield Finding("store", BAD, f"{store}: does not answer within {PLACE:g} s", cure)
        return
    except StoreError as error:
        yield Finding("store", BAD, str(error), "mend what it names, or choose another --store")
        return
    yield from _room(place)
    names = [name for name in names if name not in RESERVED or name == CALIBRATIONS]
    yield Finding("store", OK, f"{place.where}: {', '.join(names) if names else 'nothing is stored yet'}")
    for name in names:
        tell(f"store: {name}")
        yield from _calibrations(place) if name == CALIBRATIONS else _study(place, store, name)


def _room(place: Place) -> Iterator[Finding]:
    """Look whether a folder can be written, and how much room its disk has."""
    if not isinstance(place, Folder):
        return
    folder = next(each for each in (place.path.absolute(), *place.path.absolute().parents) if each.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        yield Finding("store", BAD, f"{folder}: cannot be written", "choose another --store, or mend its permissions")
    free = shutil.disk_usage(folder).free
    state = BAD if free < _FULL else WARN if free < _NEARLY_FULL else OK
    cure = "make room: `covsvc gc` forgets old commits; or choose another --store" if state != OK else ""
    yield Finding("disk of the store", state, f"{free / 1e9:.1f} GB free", cure)


def _study(place: Place, store: str | Path, name: str) -> Iterator[Finding]:
    try:
        repository = open_existing(place, name)
        known, waiting = commits(repository), candidates(repository)
        if waiting and not known:
            yield Finding(name, OK, f"never accepted; {len(waiting):,} candidate{'s' * (len(waiting) > 1)}")
            return
        if not known:
            stopped = "its driver was stopped before the first commit"
            yield Finding(name, WARN, stopped, "`covsvc run` with its study goes on; or delete it")
            return
        told, problems = status(store, name), check(open_cube(store, name))
    except CovsvcError as error:
        yield Finding(name, BAD, str(error), "do what it says; or restore the study from an export")
        return
    except Exception as error:  # of a damaged file the libraries may raise anything
        yield Finding(
            name, BAD, f"cannot be read: {_first_line(error)}", f"an older commit may be whole: {_older(name)}"
        )
        return
    number = f"{len(known):,} commit{'s' * (len(known) > 1)}"
    number += f", {len(waiting):,} candidate{'s' * (len(waiting) > 1)}" if waiting else ""
    done = f"{told['blocks_done']:,} of {told['blocks']:,} blocks done, {number}{_size(place, name)}"
    if problems:
        yield Finding(
            name, BAD, "; ".join(problems), f"do not use it: run it into another --store, or take {_older(name)}"
        )
    elif told["blocks_failed"]:
        failed = f"{done}; {told['blocks_failed']:,} failed"
        yield Finding(name, WARN, failed, f"`covsvc status {name}` says why; `covsvc run --retry-failed` tries again")
    elif half := [each.branch for each in waiting if each.state == "half accepted"]:
        cure = "give the same `covsvc accept` again"
        yield Finding(name, WARN, f"{done}; the acceptance of {half[0]} was cut short", cure)
    elif told["driver"]:
        yield Finding(name, OK, f"{done}; a driver works on it: {told['driver']}")
    elif told["blocks_done"] < told["blocks"]:
        yield Finding(name, WARN, f"{done}; nobody works on it", "`covsvc run` with its study goes on")
    else:
        yield Finding(name, OK, f"{done}, counts consistent")
    ahead = known[0].written_at - datetime.now(UTC)
    if ahead > _AHEAD:
        late = f"the newest commit of {name} is {ahead.total_seconds():,.0f} s in the future"
        yield Finding("clock", WARN, late, "set the clock of this machine, or of the one that wrote it")


def _older(name: str) -> str:
    return f"an older commit of `covsvc history {name}`"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _size(place: Place, name: str) -> str:
    if not isinstance(place, Folder):
        return ""
    size = sum(each.stat().st_size for each in (place.path / name).rglob("*") if each.is_file())
    return f", {size / 1e6:,.1f} MB"


def _calibrations(place: Place) -> Iterator[Finding]:
    import zarr

    try:
        session = open_existing(place, CALIBRATIONS).readonly_session("main")
        number = len(list(zarr.open_group(session.store, mode="r").groups()))
    except Exception as error:  # of a damaged file the libraries may raise anything
        cure = f"move {place.study(CALIBRATIONS)} away: calibrations are made again"
        yield Finding(CALIBRATIONS, BAD, f"cannot be read: {_first_line(error)}", cure)
        return
    yield Finding(CALIBRATIONS, OK, f"{number} kept{_size(place, CALIBRATIONS)}")


def _cluster(given: str) -> Iterator[Finding]:
    running = "give a scheduler that runs: tls://HOST:8786, tcp://127.0.0.1:8786 or the file that it wrote"
    try:
        choice = choose(given)
        address = "" if choice is None else choice.address
        if not address:
            yield Finding("cluster", BAD, f"{given}: nothing runs there before a study does", running)
            return
        reached = _within(ANSWER + WORKERS, lambda: reach(address, ANSWER))
    except TimeoutError:
        told = f"{address}: the scheduler answers, but not all of its workers within {WORKERS:g} s"
        yield Finding("cluster", BAD, told, "look at its dashboard; restart the workers that hang")
        return
    except StudyError as error:
        yield Finding("cluster", BAD, str(error), running)
        return
    except ClusterError as error:
        yield Finding("cluster", BAD, str(error), "look at its address, the firewall and the log of the scheduler")
        return
    ours = software()
    told = f"{address}: dask {reached.scheduler.get('distributed', '?')}, {len(reached.workers)} workers"
    if reached.workers:
        yield Finding("cluster", OK, f"{told}, {reached.threads} threads")
    else:
        yield Finding("cluster", WARN, f"{told}: nothing can run", f"start one with `{worker_command(address)}`")
    yield from _alike("scheduler", reached.scheduler, ours)
    for worker, found in reached.workers.items():
        if isinstance(found, str):
            cure = "install the same covsvc there as here"
            yield Finding(f"worker {worker}", BAD, f"cannot say what it runs: {found}", cure)
        else:
            yield from _alike(f"worker {worker}", found, ours)


def _alike(who: str, found: Mapping[str, str], ours: Mapping[str, str]) -> Iterator[Finding]:
    other = [f"{name} {value}, {ours[name]} here" for name, value in found.items() if ours.get(name, value) != value]
    if other:
        cure = "install the same versions there as here: limits of other code or libraries may have other bits"
        yield Finding(who, BAD if "covsvc" in " ".join(other) else WARN, "; ".join(other), cure)
    else:
        yield Finding(who, OK, "runs what runs here")


def _within(seconds: float, ask: Callable[[], _Answer]) -> _Answer:
    """Return an answer, or raise TimeoutError; what never answers is left behind and ends with the process."""
    answers: queue.Queue[tuple[_Answer | None, BaseException | None]] = queue.Queue()

    def answer() -> None:
        try:
            answers.put((ask(), None))
        except BaseException as error:  # handed on to whoever asked
            answers.put((None, error))

    threading.Thread(target=answer, daemon=True).start()
    try:
        found, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    return found  # type: ignore[return-value]
