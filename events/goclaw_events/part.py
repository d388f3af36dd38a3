"""What definitions are made of: the base of their parts, and the scalars in them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, PlainValidator, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from goclaw_events.durations import BadDuration, parse_duration

ID_PATTERN: Final = r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,199}$"


def duration(value: object) -> float:
    """Return seconds; a fault of the definition says what is wrong with anything else."""
    try:
        return parse_duration(value)
    except BadDuration as error:
        raise PydanticCustomError(
            "bad_duration", "{said}", {"said": error.message, "hint": error.hint}
        ) from error


def positive_duration(value: object) -> float:
    """Return seconds, as `duration` does; none is a fault."""
    seconds = duration(value)
    if seconds == 0:
        raise PydanticCustomError(
            "bad_duration",
            "{said}",
            {"said": "a duration of 0 ends at once", "hint": "leave it out"},
        )
    return seconds


_DURATION_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [
        {
            "type": "string",
            "pattern": r"^(?=.)([0-9.]+d)?([0-9.]+h)?([0-9.]+m)?([0-9.]+s)?([0-9.]+ms)?$",
        },
        {"type": "number", "minimum": 0},
    ],
    "description": "200ms, 30s, 5m, 1h30m, 2d, or a number of seconds",
}

Id: TypeAlias = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
Label: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Code: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Duration: TypeAlias = Annotated[float, PlainValidator(duration), WithJsonSchema(_DURATION_SCHEMA)]
PositiveDuration: TypeAlias = Annotated[
    float, PlainValidator(positive_duration), WithJsonSchema(_DURATION_SCHEMA)
]


class Part(BaseModel):
    """A part of a definition: frozen, unknown keys refused, no silent conversions."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, populate_by_name=True, allow_inf_nan=False
    )
    elsewhere: ClassVar[dict[str, str]] = {}
    """What to do about keys that other parts have, and this one has not."""
