"""Studies: what to do, from a YAML file to tasks."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from numbers import Real
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    SkipValidation,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from covsvc import registry
from covsvc.contracts import Enumerable, Experiment, LimitMethod
from covsvc.errors import CovsvcError, StudyError, UnknownName, unknown

HIGHEST = 1e5
"""Largest s_true or b of a study, expected events; the limits are verified to b = 1e4 and n = 1e5."""

MOST_BLOCKS = 1_000_000
"""Blocks of a cell, at most."""

MOST_RESULTS, MOST_BLOCK_RESULTS = 2_000_000, 500_000_000
"""Columns of all cells of a study, and blocks of all these, at most: what a driver can plan, and a reader open."""

RESERVED = ("calibrations",)
"""Folders of a store that are no studies."""

MOST_TOYS = 10**12
"""Toys of a cell, at most."""

LEAST_MEMORY_MB = 200
"""Memory with which a method of another distribution can be imported and sent a block."""

BLOCKS_PER_TILE = 128
"""Blocks of a task at most: what one chunk of the store holds."""


def confidence_level(cl: Any) -> float:
    """Return `cl` if it is one.

    Raises
    ------
    StudyError
        If it is no number in [0.5, 1).
    """
    if isinstance(cl, bool) or not isinstance(cl, Real):
        raise StudyError(f"cl = {cl!r}: a confidence level is a number such as 0.90")
    if not (float(cl) >= 0.5 and rounded(float(cl)) < 1):
        raise StudyError(f"cl = {cl!r}: a confidence level lies in [0.5, 1), for example 0.90")
    return float(cl)


def rounded(value: float) -> float:
    """Return `value` to 12 significant digits, which is what cells are known by."""
    return float(f"{value:.12g}") + 0.0


def _refuse(message: str, *at: str | int) -> PydanticCustomError:
    return PydanticCustomError("refused", "{message}", {"message": message, "at": at})


def _axis(given: Any) -> Any:
    """Unroll {start, stop, num, spacing} or one number to a list."""
    if isinstance(given, Mapping):
        grid = _Grid.model_validate(given)
        space = np.geomspace if grid.spacing == "log" else np.linspace
        return [rounded(value) for value in space(grid.start, grid.stop, grid.num).tolist()]
    if isinstance(given, int | float):
        return [given]
    return list(given) if isinstance(given, tuple) else given


def _axis_of_names(given: Any) -> Any:
    return [given] if isinstance(given, str | Mapping) else given


def _events(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refuse(f"{value!r} is no number of expected events")
    if not 0 <= value <= HIGHEST:
        raise _refuse(f"{value!r}: expected events lie in [0, {HIGHEST:g}]")
    return rounded(value)


def _level(value: Any) -> float:
    try:
        return rounded(confidence_level(value))
    except StudyError as error:
        raise _refuse(str(error).removeprefix("cl = ")) from None


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


Whole = Annotated[int, Field(strict=True), BeforeValidator(_whole)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Grid(_Model):
    start: float = Field(strict=True)
    stop: float = Field(strict=True)
    num: Whole = Field(ge=1, le=1_000_000)
    spacing: str = "linear"

    @model_validator(mode="after")
    def _possible(self) -> _Grid:
        if self.spacing not in ("linear", "log"):
            raise _refuse(f"spacing {self.spacing!r} is neither linear nor log", "spacing")
        if self.spacing == "log" and min(self.start, self.stop) <= 0:
            raise _refuse("a log spacing needs start > 0 and stop > 0; name 0 in a list instead", "spacing")
        if not (math.isfinite(self.start) and math.isfinite(self.stop)):
            raise _refuse("start and stop are finite", "start")
        return self


class ExperimentSpec(_Model):
    """An experiment by name and options; options that are at their default are left out."""

    name: str
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        return _by_name(given, "an experiment")

    @model_validator(mode="after")
    def _buildable(self) -> ExperimentSpec:
        self.__dict__["options"] = _told_options(self.build)
        return self

    def build(self) -> Experiment:
        """Return the experiment."""
        return registry.experiment(self.name, self.options)


class MethodSpec(_Model):
    """A limit method by name and options, and its label in the cube; options at their default are left out.

    `view` names what it reads of an experiment that gives several views, instead of the richest that it can.
    """

    name: str
    options: dict[str, Any] = {}
    view: str = ""
    label: str = Field(default="", max_length=100)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        return _by_name(given, "a limit method")

    @model_validator(mode="after")
    def _buildable(self) -> MethodSpec:
        self.__dict__["options"] = options = _told_options(self.build)
        if not self.label:
            told = ", ".join([*(f"{key}={value}" for key, value in options.items()), *filter(None, [self.view])])
            self.__dict__["label"] = self.name + (f"({told})" if told else "")
        if not self.label.isprintable() or not self.label.strip():
            raise _refuse(f"{self.label!r}: a label is printable text", "label")
        return self

    def build(self) -> LimitMethod:
        """Return the limit method."""
        return registry.method(self.name, self.options)

    def view_of(self, experiment: Experiment) -> int:
        """Return which view of an experiment the method reads.

        Raises
        ------
        StudyError
            If there is none.
        """
        reads, gives = self.build().reads, experiment.gives
        if self.view:
            names = [each.__name__ for each in gives]
            if self.view not in names:
                raise UnknownName.of(f"view of {type(experiment).__name__}", self.view, names)
            gives = tuple(each if each.__name__ == self.view else type(None) for each in gives)
        view = registry.view_for(reads, gives)
        if view is None:
            told = self.view or _names(experiment.gives)
            raise StudyError(f"{self.label} reads {_names(reads)} but not {told}, which the experiment gives")
        return view

    def promise_on(self, experiment: Experiment) -> str:
        """Return what the method promises there.

        Nothing where an estimated background is passed off as known, nor of an interval with two ends where background
        is hidden, which it takes for signal.
        """
        view, method = experiment.gives[self.view_of(experiment)], self.build()
        plugged_in = view in getattr(experiment, "plugs_in", ())
        misled = getattr(experiment, "hides_background", False) and method.sided == "two"
        return "nothing" if plugged_in or misled else method.promises


def _by_name(given: Any, what: str) -> Any:
    if isinstance(given, str):
        return {"name": given}
    if not isinstance(given, Mapping | _Model):
        raise _refuse(f"{given!r}: {what} is given by its name, or by a mapping of name and options")
    return given


def _told_options(build: Callable[[], Any]) -> dict[str, Any]:
    """Return the options of what `build` makes that are not at their default, as it holds them."""
    try:
        built = build()
    except registry.OptionError as error:
        raise _refuse(str(error), "options", error.option) from None
    except StudyError as error:
        raise _refuse(str(error), "name") from None
    values = {field.name: (getattr(built, field.name), field.default) for field in dataclasses.fields(built)}
    return {name: value for name, (value, default) in values.items() if value != default}


class Isolation(_Model):
    """Which limit methods work in a process of their own, and what they may use there.

    In a study: true guards all methods, false none.
    """

    methods: Literal["others", "all", "none"] = "others"
    """Those of other distributions, all, or none."""
    seconds: float = Field(default=60.0, gt=0, le=1e6, strict=True, allow_inf_nan=False)
    """In which a method answers for a block, or makes a calibration."""
    memory_mb: Whole = Field(default=2000, ge=LEAST_MEMORY_MB, le=10_000_000)
    """Address space beyond that of the process at its start."""

    @model_validator(mode="before")
    @classmethod
    def _switched(cls, given: Any) -> Any:
        if isinstance(given, bool):
            return {"methods": "all" if given else "none"}
        if not isinstance(given, Mapping | _Model):
            raise _refuse(
                f"{given!r}: give true (all methods), false (none) or a mapping of methods, seconds and memory_mb"
            )
        return given

    def of(self, limit_method: str) -> Isolation | None:
        """Return this for a limit method that is guarded, None for one that is not."""
        others = self.methods == "others" and not registry.is_ours("methods", limit_method)
        return self if others or self.methods == "all" else None


class Resolution(_Model):
    """What is to be known of the coverage of a cell: that it is below cl, or above cl - margin."""

    margin: float = Field(default=0.005, gt=0, lt=0.5, strict=True)
    """The deficit of coverage that does not matter."""
    error: float = Field(default=0.01, gt=0, lt=0.5, strict=True)
    """Probability, at most, that any cell of any column is wrongly called below cl; and the same for above."""


class Budget(_Model):
    """Toys of a cell: at least `min`, then twice as many and so on until all columns are resolved, at most `max`."""

    min: Whole = Field(ge=1, le=MOST_TOYS)
    max: Whole = Field(ge=1, le=MOST_TOYS)
    resolved: Resolution = Resolution()

    @model_validator(mode="after")
    def _ordered(self) -> Budget:
        if self.min > self.max:
            raise _refuse(f"{self.min} is more than max = {self.max}", "min")
        return self


_NUMBER: TypeAdapter[int] = TypeAdapter(Annotated[Whole, Field(ge=1, le=MOST_TOYS)])


def _number_or_budget(given: Any) -> int | Budget:
    return Budget.model_validate(given) if isinstance(given, Mapping | Budget) else _NUMBER.validate_python(given)


class Study(_Model):
    """What to find out: toys of an experiment on a grid, and the limit methods which they are put through."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    """Name of the study and of its folder in a store."""
    experiment: ExperimentSpec
    methods: Annotated[tuple[MethodSpec, ...], BeforeValidator(_axis_of_names)]
    cl: Annotated[tuple[Annotated[float, BeforeValidator(_level)], ...], BeforeValidator(_axis)]
    """Confidence levels, in [0.5, 1)."""
    s_true: Annotated[tuple[Annotated[float, BeforeValidator(_events)], ...], BeforeValidator(_axis)]
    """True signals, expected events."""
    b: Annotated[tuple[Annotated[float, BeforeValidator(_events)], ...], BeforeValidator(_axis)]
    """True backgrounds, expected events."""
    toys_per_block: Whole = Field(default=10_000, ge=1, le=10_000_000)
    """Toys of a block; with the seed it is what the toys are known by."""
    n_toys: Annotated[SkipValidation[int | Budget], BeforeValidator(_number_or_budget)]
    """Toys in each cell, a multiple of toys_per_block; or a budget, of which each cell takes what it needs."""
    seed: Whole = Field(ge=0, lt=2**64)
    observed: dict[str, Any] | None = None
    """Real data, whose limits are shown with their coverage."""
    isolate: Isolation = Isolation()
    """Which limit methods work in a process of their own, so that none takes another down."""
    keep: Literal["counts", "toys"] = "counts"
    """What is stored of limits that are set toy by toy: counts alone, or the bin of each toy, too."""
    cluster: str = Field(default="", exclude=True)
    """Where the study is computed unless told otherwise; nothing of it is stored, and no result depends on it."""

    @model_serializer(mode="wrap")
    def _told(self, tell: SerializerFunctionWrapHandler) -> dict[str, Any]:
        told: dict[str, Any] = tell(self)
        if told.get("keep") == "counts":  # versions that do not know the key read the study then
            del told["keep"]
        return told

    @field_validator("name")
    @classmethod
    def _no_lock(cls, name: str) -> str:
        if name.endswith(".lock") or name in RESERVED:
            kept = "names that end in .lock are those of locks" if name.endswith(".lock") else "kept for its own use"
            raise _refuse(f"{name!r}: {kept}")
        return name

    @field_validator("methods", "cl", "s_true", "b")
    @classmethod
    def _distinct(cls, values: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        if not values:
            raise _refuse("the grid is empty: name at least one value")
        seen: dict[Any, int] = {}
        for index, value in enumerate(values):
            name = value.label if isinstance(value, MethodSpec) else value
            if name in seen:
                cure = "; give one of them another label" if isinstance(value, MethodSpec) else ""
                raise _refuse(f"{name!r} stands twice{cure}", index)
            seen[name] = index
        return values if info.field_name == "methods" else tuple(sorted(values))

    @field_validator("methods")
    @classmethod
    def _readable(cls, methods: tuple[MethodSpec, ...], info: ValidationInfo) -> tuple[MethodSpec, ...]:
        if "experiment" in info.data:
            experiment = info.data["experiment"].build()
            for index, spec in enumerate(methods):
                try:
                    spec.view_of(experiment)
                except UnknownName as error:
                    raise _refuse(str(error), index, "view") from None
                except StudyError as error:
                    raise _refuse(str(error), index) from None
        return methods

    @field_validator("cl")
    @classmethod
    def _with_tables(cls, levels: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        built = [spec.build() for spec in info.data.get("methods", ())]
        for index, level in enumerate(levels):
            needs = (method.missing(level) for method in built if hasattr(method, "missing"))
            if missing := next(filter(None, needs), None):
                raise _refuse(missing.removeprefix("cl = "), index)
        return levels

    @field_validator("n_toys")
    @classmethod
    def _whole_blocks(cls, n_toys: int | Budget, info: ValidationInfo) -> int | Budget:
        block = info.data.get("toys_per_block")
        ends = {"min": n_toys.min, "max": n_toys.max} if isinstance(n_toys, Budget) else {"": n_toys}
        for end, toys in ends.items():
            at = [end] if end else []
            if block and toys > block * MOST_BLOCKS:
                raise _refuse(f"{toys} makes more than {MOST_BLOCKS:,} blocks of {block}: raise toys_per_block", *at)
            if block and toys % block:
                cure = f"take {math.ceil(toys / block) * block}"
                raise _refuse(f"{toys} is no multiple of toys_per_block = {block}: {cure}", *at)
        return n_toys

    @field_validator("observed")
    @classmethod
    def _observable(cls, observed: dict[str, Any] | None, info: ValidationInfo) -> dict[str, Any] | None:
        if observed is not None and "experiment" in info.data:
            try:
                views = info.data["experiment"].build().observe(observed)
            except CovsvcError as error:
                raise _refuse(str(error)) from None
            if any(len(view) != 1 for view in views):
                raise _refuse(f"{observed}: give one observation")
        return observed

    @field_validator("cluster")
    @classmethod
    def _harmless(cls, cluster: str) -> str:
        """Refuse what would run code of whoever wrote the study: options run commands, and plain text is anybody's."""
        cure = f"if you trust it, give --cluster {cluster}"
        if "://" in cluster:
            if not cluster.lower().startswith("tls://"):
                raise _refuse(f"{cluster!r}: a study names schedulers with TLS only, tls://HOST:PORT; {cure}")
        elif cluster.lower().endswith((".yaml", ".yml")):
            raise _refuse(f"{cluster!r}: a study names no file of options, which may run commands; {cure}")
        elif cluster and not cluster.lower().endswith(".json"):
            known = [*registry.installed("clusters"), "none"]
            if cluster not in known:
                raise _refuse(str(UnknownName.of("cluster", cluster, known)))
        return cluster

    @model_validator(mode="after")
    def _plannable(self) -> Study:
        columns = len(self.methods) * len(self.cl)
        results = self.cells * columns
        told = f"{self.cells:,} cells x {columns:,} columns (method at cl)"
        if results > MOST_RESULTS:
            raise _refuse(
                f"{told} are {results:,}, more than {MOST_RESULTS:,}: name fewer values, or several studies", "s_true"
            )
        if results * self.n_blocks > MOST_BLOCK_RESULTS:
            raise _refuse(
                f"{told} x {self.n_blocks:,} blocks are {results * self.n_blocks:,}, more than "
                f"{MOST_BLOCK_RESULTS:,}: raise toys_per_block, or name fewer values",
                "n_toys",
            )
        return self

    @property
    def budget(self) -> Budget | None:
        """How the number of toys is found; None where it is given."""
        return self.n_toys if isinstance(self.n_toys, Budget) else None

    @property
    def most_toys(self) -> int:
        """Toys in each cell, at most."""
        return self.n_toys.max if isinstance(self.n_toys, Budget) else self.n_toys

    @property
    def n_blocks(self) -> int:
        """Blocks in each cell, at most."""
        return self.most_toys // self.toys_per_block

    @property
    def cells(self) -> int:
        """Cells (s_true, b) of the grid."""
        return len(self.s_true) * len(self.b)

    @property
    def axes(self) -> dict[str, list[Any]]:
        """The values of the grid and the labels of the limit methods, by dimension of the cube."""
        labels = [spec.label for spec in self.methods]
        return {"limit_method": labels, "cl": list(self.cl), "b": list(self.b), "s_true": list(self.s_true)}

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every limit method at every cl."""
        return tuple(self.column(spec, cl) for spec in self.methods for cl in self.cl)

    def column(self, spec: MethodSpec, cl: float) -> Column:
        """Return a limit method at one cl, guarded as the study says."""
        return Column(spec, cl, self.isolate.of(spec.name))

    @property
    def is_enumerable(self) -> bool:
        """Whether the outcomes of the experiment can be enumerated, if there are not too many."""
        experiment = self.experiment.build()
        return isinstance(experiment, Enumerable) and experiment.counts(self.s_true[-1], self.b[-1]) is not None

    @property
    def source(self) -> ToySource:
        """What the toys of the study are known by, cells left out."""
        return ToySource(self.experiment, self.seed, self.toys_per_block)


def _names(types: Sequence[type]) -> str:
    return ", ".join(each.__name__ for each in types)


@dataclass(frozen=True)
class Column:
    """A limit method at one confidence level.

    Attributes
    ----------
    isolation : Isolation, or None
        None: it works in the process that asks.
    code : str
        Folder that holds another version of covsvc, whose limits these are; a process of its own sets them. Empty: of
        this one.
    """

    spec: MethodSpec
    cl: float
    isolation: Isolation | None = None
    code: str = ""

    @property
    def key(self) -> tuple[str, float]:
        """Label of the limit method, and cl."""
        return self.spec.label, self.cl


@dataclass(frozen=True)
class ToySource:
    """What all toys of a study share: the experiment, the seed and the size of a block."""

    experiment: ExperimentSpec
    seed: int
    toys_per_block: int

    def blocks(self, s_true: float, b: float, start: int, stop: int) -> Iterator[np.random.Generator]:
        """Yield the generator of each block start..stop-1 of a cell.

        A cell has one SeedSequence, keyed by experiment, options, s_true and b, never by grid indices; block i is the
        PCG64 of the cell jumped i times. The generator yielded last is taken back by the next.
        """
        told = json.dumps(
            [self.experiment.name, self.experiment.options, f"{s_true:.12g}", f"{b:.12g}"], sort_keys=True
        )
        words = np.frombuffer(hashlib.sha256(told.encode()).digest(), "<u4").tolist()
        bits = np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=words))
        first = bits.state
        generator = np.random.Generator(bits)
        for block in range(start, stop):
            bits.state = first
            bits.advance(block * _JUMP)
            yield generator


_JUMP = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""Step of PCG64.jumped(): (golden ratio - 1) 2^128, as numpy documents it."""


@dataclass(frozen=True)
class Task:
    """Some blocks of some cells at one b, and the columns which their toys go through: names and numbers only."""

    source: ToySource
    columns: tuple[Column, ...]
    b: float
    s_true: tuple[float, ...]
    start: int
    stop: int
    keep: bool = False
    """Whether the limits that are set toy by toy are kept one by one."""

    @property
    def toys(self) -> int:
        """Toys that the task draws."""
        return len(self.s_true) * (self.stop - self.start) * self.source.toys_per_block


@dataclass(frozen=True)
class Row:
    """All that is missing at one b: the exact cells, and the tasks of toys.

    Attributes
    ----------
    reach : tuple of float, or None
        The range of s, all s_true in it, in which the worst exact coverage is searched; None if nothing exact is
        missing.
    """

    source: ToySource
    columns: tuple[Column, ...]
    b: float
    s_true: tuple[float, ...]
    reach: tuple[float, float] | None = None
    tasks: tuple[Task, ...] = ()


def tile_size(study: Study, task_toys: float) -> int:
    """Return how many values of s_true a task takes, for about `task_toys` toys a task."""
    cell = min(study.n_blocks, BLOCKS_PER_TILE) * study.toys_per_block
    tiles = math.ceil(len(study.s_true) / max(1, min(task_toys // cell, len(study.s_true))))
    return math.ceil(len(study.s_true) / tiles)


Missing = Callable[[float], tuple[NDArray[np.bool_], tuple[float, float] | None]]


def rows(study: Study, missing: Missing, task_toys: float) -> Iterator[Row]:
    """Unroll a study into what is missing of it, one b at a time.

    Parameters
    ----------
    study : Study
    missing : callable
        Takes b; returns an array of bool, shape (column, s_true, block), of the blocks to draw, and the reach of the
        exact values that are missing, or None.
    task_toys : float
        Toys of a task, about.
    """
    tile, step = tile_size(study, task_toys), _blocks_of_task(study, task_toys)
    for b in study.b:
        wanted, reach = missing(b)
        tasks: list[Task] = []
        for s_start in range(0, len(study.s_true), tile):
            cells = range(s_start, min(s_start + tile, len(study.s_true)))
            for start in range(0, study.n_blocks, step):
                tasks += _tasks(study, b, wanted, cells, range(start, min(start + step, study.n_blocks)))
        if reach or tasks:
            yield Row(study.source, study.columns, b, study.s_true, reach, tuple(tasks))


def _blocks_of_task(study: Study, task_toys: float) -> int:
    """Return how many blocks a task takes at most: fewer where it sends back a number for each toy of every column."""
    most = task_toys // study.toys_per_block if study.keep == "toys" else BLOCKS_PER_TILE
    return 1 << int(math.log2(min(max(most, 1), BLOCKS_PER_TILE)))  # so that none lies in two chunks of the store


def _tasks(study: Study, b: float, wanted: NDArray[np.bool_], cells: range, blocks: range) -> Iterator[Task]:
    """Cut the missing part of a tile into boxes of columns x cells x blocks."""
    by_cell = {cell: wanted[:, cell, blocks.start : blocks.stop] for cell in cells}
    for _, alike in groupby(cells, key=lambda cell: by_cell[cell].tobytes()):
        group = list(alike)
        pattern = by_cell[group[0]]
        for mask, run in groupby(range(len(blocks)), key=lambda block: pattern[:, block].tobytes()):
            run_of_blocks = list(run)
            columns = tuple(
                column for column, want in zip(study.columns, np.frombuffer(mask, bool), strict=True) if want
            )
            if columns:
                yield Task(
                    study.source,
                    columns,
                    b,
                    tuple(study.s_true[cell] for cell in group),
                    blocks[run_of_blocks[0]],
                    blocks[run_of_blocks[-1]] + 1,
                    study.keep == "toys",
                )


class RefusedStudy(StudyError):
    """A study that is refused; `reasons` holds the path of keys and indices to each offending value, and why."""

    def __init__(self, reasons: list[tuple[tuple[str | int, ...], str]]) -> None:
        super().__init__("\n".join(message for _, message in reasons))
        self.reasons = reasons


def study_of(given: Any) -> Study:
    """Return the study that a mapping describes.

    Raises
    ------
    StudyError
        With all reasons at once.
    """
    if not isinstance(given, Mapping):
        raise RefusedStudy([((), f"a study is a mapping of keys to values, not {given!r}")])
    try:
        return Study.model_validate(dict(given))
    except ValidationError as error:
        raise RefusedStudy([_reason(each) for each in error.errors()]) from None


def _reason(error: Any) -> tuple[tuple[str | int, ...], str]:
    at = tuple(part for part in error["loc"] if not (isinstance(part, str) and part.startswith("function-")))
    at += tuple(error.get("ctx", {}).get("at", ()))
    name = ".".join(str(part) for part in at)
    if error["type"] == "extra_forbidden":
        inner: dict[str | int, type[BaseModel]] = {
            "experiment": ExperimentSpec,
            "methods": MethodSpec,
            "isolate": Isolation,
            "n_toys": Budget,
            "resolved": Resolution,
        }
        model = Study if len(at) == 1 else inner.get(at[-2], inner.get(at[0], _Grid))
        return at, unknown("key", str(at[-1]), model.model_fields)
    if error["type"] == "missing":
        return at, f"{name}: missing"
    if error["type"] == "refused":
        return at, f"{name}: {error['msg']}"
    if error["type"] == "string_pattern_mismatch":
        return at, f"{name}: {error['input']!r}: letters, digits, '.', '_' and '-' only, a letter or a digit first"
    message = error["msg"]
    return at, f"{name}: {error['input']!r}: {message[0].lower()}{message[1:]}"
