"""Options of the clusters that are started for a run."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from covsvc.errors import StudyError, unknown
from covsvc.files import user_cache

Model = TypeVar("Model", bound=BaseModel)

MOST_WORKERS = 100_000
"""Of a cluster: more is a slip of the pen."""


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Bounds(_Options):
    """Fewest and most workers; between them as many as there are tasks to do."""

    minimum: PositiveInt
    maximum: int = Field(gt=0, le=MOST_WORKERS)

    @model_validator(mode="after")
    def _hold_order(self) -> Bounds:
        if self.minimum > self.maximum:
            raise ValueError(f"the minimum of {self.minimum} is above the maximum of {self.maximum}")
        return self


def _bounds(given: Any) -> Any:
    if isinstance(given, Mapping | Bounds):
        return given
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise ValueError("a number of workers, or their bounds {minimum: 1, maximum: 16}")
    return {"minimum": given, "maximum": given}


class StartedCluster(_Options):
    """Options of every cluster that is started for a run.

    Attributes
    ----------
    workers : Bounds
        A number, too: it is held by starting another worker for each that ends.
    patience : float
        Seconds in which the first worker, or another one after all were lost, has to come.
    """

    workers: Annotated[Bounds, BeforeValidator(_bounds)] = Bounds(minimum=1, maximum=16)
    patience: PositiveFloat = 600


def _line(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("one line of text")
    return text


def _size(text: Any) -> Any:
    from dask.utils import parse_bytes

    try:
        enough = isinstance(text, str) and re.fullmatch(r"[0-9.]+ *[a-zA-Z]+", text) and parse_bytes(text) >= 1e6
    except ValueError:
        enough = False
    if not enough:
        raise ValueError("a size with its unit, such as 2 GB")
    return text


def _clock(given: Any) -> Any:
    """Return hours:minutes:seconds of what YAML 1.1 has read as a number to the base of 60, too."""
    if isinstance(given, int) and not isinstance(given, bool):
        return f"{given // 3600:02}:{given // 60 % 60:02}:{given % 60:02}"
    return given


def _walltime(text: str) -> str:
    if not re.fullmatch(r"\d+:[0-5]\d:[0-5]\d", text) or seconds_of(text) < _SHORTEST:
        raise ValueError(f"hours:minutes:seconds, such as 04:00:00, and at least {_SHORTEST} s")
    return text


def seconds_of(walltime: str) -> int:
    """Return the seconds of hours:minutes:seconds."""
    hours, minutes, seconds = map(int, walltime.split(":"))
    return 3600 * hours + 60 * minutes + seconds


def _dashboard(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) < 65536):
        raise ValueError("host:port, such as 127.0.0.1:8787")
    return text


def _folder(text: str) -> str:
    _line(text)
    return str(Path(text).expanduser().absolute())


def _in_cache() -> str:
    try:
        return str((user_cache() / "clusters").absolute())
    except RuntimeError:
        raise StudyError("shared_folder: there is no home for it; name one that the nodes see") from None


def _scratch(text: str) -> str:
    if '"' in _line(text):
        raise ValueError("a folder without quotation marks in its name")
    return text


_SHORTEST = 60
"""Seconds that a job has to have, to end before its end."""

Line = Annotated[str, AfterValidator(_line)]
Size = Annotated[str, BeforeValidator(_size)]
Walltime = Annotated[str, BeforeValidator(_clock), AfterValidator(_walltime)]
Folder = Annotated[str, AfterValidator(_folder)]


class QueuedCluster(StartedCluster):
    """Options of every cluster whose workers are jobs of a batch system.

    Attributes
    ----------
    patience : float
        Queues are long.
    workers_per_job : int
        Single-threaded processes, each with a core.
    memory : str
        Of each worker.
    walltime : str, optional
        Of a job, hours:minutes:seconds; its workers hand their tasks back some minutes before.
    account : str, optional
        Who pays.
    setup : tuple of str
        Lines of shell before the worker.
    log_folder : str, optional
        Where jobs write what they print, nowhere without it.
    local_folder : str, optional
        Scratch on the nodes; variables are those of the node.
    shared_folder : str
        Where the certificates of a run are kept while it lasts; the nodes have to see it.
    host, interface : str, optional
        Address of this machine, and name of the network interface here and on the nodes, where there are several.
    port : int
        Of the scheduler; 0 is any.
    dashboard : str
        Address of the scheduler's own pages, on this machine only unless told.
    python : str
        On the nodes, with the same covsvc.
    """

    patience: PositiveFloat = 86400
    workers_per_job: PositiveInt = 1
    memory: Size = "2 GB"
    walltime: Walltime | None = "04:00:00"
    account: Line | None = None
    setup: tuple[Line, ...] = ()
    log_folder: Folder | None = None
    local_folder: Annotated[str, AfterValidator(_scratch)] | None = None
    shared_folder: Folder = Field(default_factory=_in_cache)
    host: Line | None = None
    interface: Line | None = None
    port: int = Field(default=0, ge=0, le=65535)
    dashboard: Annotated[str, AfterValidator(_dashboard)] = "127.0.0.1:0"
    python: Line = sys.executable


class SlurmCluster(QueuedCluster):
    """Options of a cluster of SLURM jobs.

    Attributes
    ----------
    partition : str, optional
    directives : tuple of str
        What else stands behind ``#SBATCH``.
    """

    partition: Line | None = None
    directives: tuple[Line, ...] = ()


class PBSCluster(QueuedCluster):
    """Options of a cluster of PBS jobs.

    Attributes
    ----------
    queue : str, optional
    resources : str, optional
        What stands behind ``#PBS -l`` instead of ``select=1:ncpus=...:mem=...``.
    directives : tuple of str
        What else stands behind ``#PBS``.
    """

    queue: Line | None = None
    resources: Line | None = None
    directives: tuple[Line, ...] = ()


class HTCondorCluster(QueuedCluster):
    """Options of a cluster of HTCondor jobs.

    Attributes
    ----------
    walltime : str, optional
        Pools seldom have one.
    disk : str
        Of a job.
    requirements : str, optional
        Which machines will do: an expression of ClassAds.
    directives : mapping of str to str
        What else stands in the submit description.
    """

    walltime: Walltime | None = None
    disk: Size = "1 GB"
    requirements: Line | None = None
    directives: Mapping[Line, Line] = Field(default_factory=dict)


def with_workers(options: Mapping[str, Any], n_workers: int | None) -> Mapping[str, Any]:
    """Return options with a number of workers in the place of theirs, if one is given."""
    return options if n_workers is None else {**options, "workers": n_workers}


def read_options(model: type[Model], told: str, options: Mapping[str, Any]) -> Model:
    """Return the options of a cluster.

    Parameters
    ----------
    model : type
        Which options there are.
    told : str
        Whose they are, for the reasons.
    options : mapping

    Raises
    ------
    StudyError
        With all reasons at once.
    """
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        raise StudyError("\n".join(f"{told}: {_reason(model, each)}" for each in error.errors())) from None


def _reason(model: type[BaseModel], error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"] if part != "[key]")
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return unknown("option", name, _known(model, error["loc"]))
    if error["type"] == "missing":
        return f"{name}: missing"
    if error["type"] == "tuple_type":
        message = "a list, of one line each"
    told = message[0].lower() + message[1:]
    if error["loc"][0] in ("setup", "directives"):  # which may hold what is nobody's business
        return f"{name}: {told}"
    return f"{name}: {error['input']!r}: {told}"


def _known(model: type[BaseModel], at: tuple[str | int, ...]) -> list[str]:
    """Return the names of the options beside the one at a path, led to as it is."""
    for part in at[:-1]:
        held = model.model_fields[str(part)].annotation
        model = next(each for each in (held, *get_args(held)) if isinstance(each, type) and issubclass(each, BaseModel))
    beside = ".".join(str(part) for part in at[:-1])
    return [f"{beside}.{name}" if beside else name for name in model.model_fields]
