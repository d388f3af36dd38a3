"""What pydantic says of a value, in words that a user knows."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from goclaw_events.plain_words import kind_of, plain_message


class Everything(BaseModel):
    """A field of each kind."""

    several: Annotated[tuple[str, ...], Field(min_length=1)] = ("a",)
    text: Annotated[str, Field(min_length=2)] = "ab"
    whole: int = 0
    share: float = 0.0
    yes: bool = False
    map: dict[str, int] = {}
    one_of: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("key", "given", "says"),
    [
        ("several", "a", "'several' should be a list"),
        ("several", [], "'several' should have at least 1 item, not 0"),
        ("text", "a", "'text' should have at least 2 characters"),
        ("text", 1, "'text' should be text"),
        ("whole", [], "'whole' should be a whole number"),
        ("share", {}, "'share' should be a number"),
        ("yes", [], "'yes' should be true or false"),
        ("map", 1, "'map' should be a mapping"),
        ("one_of", 1, "'one_of' should be a list"),
    ],
)
def test_values_are_named_and_kinds_are_those_of_yaml(key: str, given: Any, says: str) -> None:
    """Not `Input`, `Tuple` or `valid dictionary`, which are words of Python."""
    with pytest.raises(ValidationError) as caught:
        Everything.model_validate({key: given}, strict=key in {"text", "yes"})
    assert [plain_message(fault["msg"], repr(key)) for fault in caught.value.errors()] == [says]


@pytest.mark.parametrize(
    ("value", "kind"),
    [(None, "null"), (True, "a boolean"), (1, "a number"), ("", "text"), ([], "a list"),
     ({}, "a mapping"), (b"", "a bytes")],
)  # fmt: skip
def test_a_value_is_of_a_kind_that_yaml_has(value: object, kind: str) -> None:
    """With its article."""
    assert kind_of(value) == kind


def test_what_is_said_in_own_words_stays() -> None:
    """Names with signs that mean something to a pattern as well."""
    assert plain_message("Value error, a lane id is short") == "a lane id is short"
    assert plain_message("Input should be 1", r"'\g<0>'") == r"'\g<0>' should be 1"
    assert plain_message("Input should be 1") == "Input should be 1"
    model = "Input should be a valid dictionary or instance of WaitForSignal"
    assert plain_message(model, "'x'") == "'x' should be a mapping"
