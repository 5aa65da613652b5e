"""What answers look like, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

Value = str | int | float | None
"""Of a column: NaN is null, infinity the word inf."""

_COMMIT = {"snapshot": "9QH1RBX5QBQ0C8M3V7T0", "written_at": "2026-11-21T10:30:00+00:00"}


class Failure(BaseModel):
    """What is wrong."""

    error: str = Field(examples=["s_true = 1:x: give a number (2.5), numbers (1,2,3) or a range (0:5, :5, 0:)"])


class _OfCommit(BaseModel):
    """An answer from one commit."""

    model_config = ConfigDict(extra="allow")

    study: str = Field(examples=["cleo-tau-mu-gamma"])
    snapshot: str = Field(description="Id of the commit that was read.", examples=[_COMMIT["snapshot"]])
    written_at: str = Field(examples=[_COMMIT["written_at"]])


class Studies(BaseModel):
    """The stored studies."""

    studies: list[_OfCommit]


class Status(_OfCommit):
    """How complete a study is, as `covsvc status --json` tells it."""

    complete: bool
    blocks: int
    blocks_done: int
    blocks_failed: int
    toys: int
    driver: str = Field(description="Who works on it, empty if nobody does.")


class Rows(_OfCommit):
    """Rows of coverage and median limits, as `covsvc query --format json` tells them."""

    at: str = Field(examples=["main"])
    columns: list[str]
    units: dict[str, str]
    rows: list[dict[str, Value]] = Field(
        examples=[
            [
                {
                    "limit_method": "cls",
                    "cl": 0.9,
                    "b": 3.0,
                    "s_true": 2.5,
                    "verdict": "over",
                    "coverage": 0.9585,
                    "coverage_low": 0.9571,
                    "coverage_high": 0.9599,
                    "exact_coverage": 0.9592,
                }
            ]
        ]
    )
    notes: list[str] = Field(description="What a reader must know, for example that a point is off the grid.")


class Worst(_OfCommit):
    """The worst cell of each column, the largest deficit first."""

    at: str
    cells: list[dict[str, Value]]


class Commits(_OfCommit):
    """The commits of a study, newest first."""

    commits: list[dict[str, Any]]


class Progress(_OfCommit):
    """How far a run is."""

    complete: bool
    fraction: float = Field(ge=0, le=1)
    blocks: int
    blocks_done: int
    blocks_failed: int
    at_most: bool = Field(description="A budget decides how many of the blocks are drawn.")
    toys: int
    toys_per_second: float | None
    seconds_left: float | None
    driver: str


class Limits(BaseModel):
    """The limits on an observation."""

    experiment: str
    options: dict[str, Any]
    observed: dict[str, Any]
    limits: list[dict[str, Any]] = Field(
        description="One a method and cl, as `covsvc limit --json` tells it.",
        examples=[[{"limit_method": "cls", "cl": 0.9, "lower": 0.0, "upper": 4.19, "status": "ok"}]],
    )
