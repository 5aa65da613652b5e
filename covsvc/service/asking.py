"""What may be asked."""

from __future__ import annotations

import difflib
import math
from typing import Annotated, Any, Literal, get_origin

from fastapi import Path, Query, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from covsvc.service.answers import Refusal

MOST_VALUES = 1000
"""Values of an axis that a request may name."""

LONGEST = 8000
"""Letters of a list of values."""

Name = Annotated[str, Path(description="Name of a study, as /studies lists it.", examples=["cleo-tau-mu-gamma"])]

Labels = Annotated[
    list[str],
    Query(description="Label of a limit method, or several; all unless given.", examples=[["cls"]], max_length=100),
]

_VALUES = "numbers (2.5 or 1,2) or a closed range (0:5, :5, 0:); all unless given"

Levels = Annotated[str | None, Query(description=f"Levels: {_VALUES}.", max_length=LONGEST, examples=["0.9"])]

Backgrounds = Annotated[str | None, Query(description=f"Backgrounds: {_VALUES}.", max_length=LONGEST, examples=["0:3"])]

Signals = Annotated[str | None, Query(description=f"True signals: {_VALUES}.", max_length=LONGEST, examples=["2.5"])]

At = Annotated[
    str,
    Query(
        description="The commit: main, a tag, a baseline, a snapshot or its beginning, a time (UTC). An explicit one "
        "is waited for; main is answered from the newest whose maps are ready.",
        max_length=100,
        examples=["main"],
    ),
]

Before = Annotated[str, Query(description="The commit to compare with; as at.", max_length=100, examples=["thesis"])]

Against = Annotated[
    str | None, Query(description="Add the numbers of this commit, and the changes since.", max_length=100)
]

Verdicts = Annotated[
    list[Literal["under", "ok", "over", "unknown"]],
    Query(description="What is known of coverage there; may be repeated; all unless given.", max_length=4),
]

Sort = Annotated[
    str | None,
    Query(description="Columns, the most important first; -NAME descends.", max_length=500, examples=["coverage,-b"]),
]

Columns = Annotated[
    str | None,
    Query(description="Columns, in this order; all unless given.", max_length=1000, examples=["b,s_true,coverage"]),
]

Most = Annotated[int | None, Query(description="At most so many rows.", ge=1, le=10_000_000, examples=[10])]

Level = Annotated[
    float | None, Query(description="Confidence level; may be left out where there is one.", allow_inf_nan=False)
]

Background = Annotated[
    list[Annotated[float, Field(allow_inf_nan=False)]],
    Query(description="Background; of figures against s_true, may be repeated, a panel each.", max_length=4),
]

Label = Annotated[
    str | None, Query(description="Label of a limit method; may be left out where there is one.", max_length=100)
]


def _finite(value: Any, depth: int = 0) -> Any:
    if depth > 20:
        raise ValueError("nested more than 20 deep")
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            _finite(each, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("holds a number that is not finite")
    elif isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError("holds a whole number of more than 18 digits")
    return value


Told = Annotated[dict[str, JsonValue], AfterValidator(_finite)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Method(_Strict):
    """A limit method."""

    name: str = Field(max_length=100, examples=["feldman_cousins"])
    options: Told = Field(default={}, examples=[{"monotone_in_b": True}])
    label: str = Field(default="", min_length=1, max_length=100)
    view: str = Field(default="", max_length=100, description="What it reads, if not the first that it can.")


class Observation(_Strict):
    """Real data, and what is wanted of it."""

    model_config = ConfigDict(
        extra="forbid",
        allow_inf_nan=False,
        json_schema_extra={
            "examples": [
                {"experiment": "counting", "observed": {"n": 3, "b": 5.5}, "cl": [0.9], "s_max": 12},
                {
                    "experiment": "on_off",
                    "options": {"tau": 2.0},
                    "observed": {"n_on": 3, "n_off": 11},
                    "limit_method": ["q_mu_tilde", "profile_likelihood"],
                },
            ]
        },
    )

    experiment: str = Field(max_length=100, description="Name of an installed experiment.")
    options: Told = Field(default={}, description="Of the experiment.")
    observed: Told = Field(description="The data, by the names that the experiment has for them.")
    limit_method: list[Annotated[str, Field(max_length=100)] | Method] | None = Field(
        default=None, max_length=100, description="Limit methods; all that read such data unless given."
    )
    cl: list[Annotated[float, Field(ge=0.5, lt=1)]] = Field(default=[0.9], min_length=1, max_length=10)
    s_max: Annotated[float, Field(ge=0, le=1000)] | None = Field(
        default=None, description="Add exact coverage, its worst case searched for signals up to here."
    )


def known_only(request: Request) -> None:
    """Refuse a parameter that nothing is done with, or that is given twice: a typing error would widen the answer."""
    parameters = {each.alias: each for each in request.scope["route"].dependant.query_params}
    given = request.query_params
    for name in given:
        if name not in parameters:
            nearest = difflib.get_close_matches(name, parameters, n=1, cutoff=0.5)
            hint = f", did you mean {nearest[0]!r}?" if nearest else ""
            raise Refusal(422, f"{name[:40]}: no parameter{hint}; there are {', '.join(parameters) or 'none'}")
        if get_origin(parameters[name].field_info.annotation) is not list and len(given.getlist(name)) > 1:
            raise Refusal(422, f"{name}: is given {len(given.getlist(name))} times; give it once")


def listed(told: str | None) -> tuple[str, ...] | None:
    """Return the parts of a list with commas."""
    return None if told is None else tuple(part.strip() for part in told.split(","))
