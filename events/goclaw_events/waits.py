"""What tasks wait for without a slot, as users write it: a time, a signal, the word of a person."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    PlainValidator,
    StringConstraints,
    Tag,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from goclaw_events.instants import BadInstant, parse_instant
from goclaw_events.part import ID_PATTERN, Label, Part, duration, positive_duration


def _wait(value: object) -> float | str:
    return value if isinstance(value, str) and "${" in value else duration(value)


def _deadline(value: object) -> float | str:
    return value if isinstance(value, str) and "${" in value else positive_duration(value)


def _instant(value: str) -> str:
    if "${" not in value:
        try:
            parse_instant(value)
        except BadInstant as error:
            said = {"said": error.message, "hint": error.hint}
            raise PydanticCustomError("bad_instant", "{said}", said) from error
    return value


def _wait_form(value: object) -> str:
    return "until" if isinstance(value, dict | WaitUntil) else "lasting"


class WaitUntil(Part):
    """A point in time at which a wait, or a deadline, is over."""

    until: Annotated[str, AfterValidator(_instant)] = Field(
        description="such as 2026-12-01T09:00:00+01:00, or a template that yields one"
    )


_LASTING: Final = WithJsonSchema(
    {"anyOf": [{"type": "string"}, {"type": "number", "minimum": 0}]}
    | {"description": "a duration, or a template that yields one"}
)
Wait: TypeAlias = Annotated[
    Annotated[float | str, PlainValidator(_wait), _LASTING, Tag("lasting")]
    | Annotated[WaitUntil, Tag("until")],
    Discriminator(_wait_form),
]
Deadline: TypeAlias = Annotated[
    Annotated[float | str, PlainValidator(_deadline), _LASTING, Tag("lasting")]
    | Annotated[WaitUntil, Tag("until")],
    Discriminator(_wait_form),
]

SIGNAL_PATTERN: Final = rf"{ID_PATTERN}|\$\{{"
"""An id, or a text with a template in it."""


class WaitForSignal(Part):
    """A signal by its name; its payload is the task's result, and the task holds no slot."""

    signal: Annotated[str, StringConstraints(pattern=SIGNAL_PATTERN)] = Field(
        description="its name; a template in a task with `foreach`, for each item its own"
    )
    schema_: dict[str, Any] | None = Field(
        default=None, alias="schema", description="what its payload has to be: JSON Schema, in part"
    )
    deadline: Deadline | None = Field(
        default=None, description="from when all that the task needs has ended, or until a time"
    )
    on_deadline: Literal["fail", "skip", "continue"] = Field(
        default="fail", description="continue: the task completes with the result null"
    )


class ApprovalRequest(Part):
    """A question to a person; the task waits for the answer and holds no slot."""

    who: tuple[Label, ...] = Field(
        strict=False,
        min_length=1,
        description="who may decide: `uid:1000` and `user:ann` are proved, `anyone`, or a name that"
        " whoever decides claims; templates",
    )
    message: str = Field(default="", description="what is asked; a template")
    arguments: Any = Field(
        default=None, description="what it is about, which who approves may edit; templates"
    )
    schema_: dict[str, Any] | None = Field(
        default=None, alias="schema", description="what is approved has to be: JSON Schema, in part"
    )
    deadline: Deadline | None = Field(
        default=None, description="from when all that the task needs has ended, or until a time"
    )
    on_deadline: Literal["fail", "approve", "reject", "skip"] = Field(
        default="fail", description="what happens if nobody has decided by then"
    )
    on_reject: Literal["fail", "skip", "continue"] = Field(
        default="fail", description="continue: the task completes with `approved: false`"
    )
