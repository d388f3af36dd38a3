"""The model of a definition: fields, durations, defaults, schema."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from goclaw_events.definition import KINDS, TaskDefinition, WorkflowDefinition
from goclaw_events.durations import (
    DURATION_S_MAX,
    BadDuration,
    format_duration,
    parse_duration,
)
from goclaw_events.faults import InvalidDefinition, Suggester, path_text
from goclaw_events.loading import definition_from


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("200ms", 0.2),
        ("30s", 30),
        ("1.5s", 1.5),
        ("5m", 300),
        ("1h30m", 5_400),
        ("2d", 172_800),
        ("1d2h3m4s5ms", 93_784.005),
        ("0s", 0),
        (30, 30),
        (0.25, 0.25),
    ],
)
def test_a_duration_is_seconds(written: object, seconds: float) -> None:
    """Units go from large to small; a number is seconds."""
    assert parse_duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written",
    [
        *(
            "",
            "30",
            "s",
            "30 s",
            "-1s",
            "1m2h",
            "1s1s",
            "1e3s",
            ".5s",
            "1w",
            "5M",
            "1h ",
            "\u0661s",
        ),
        *(-1, True, None, [], float("nan"), float("inf"), "9999999999d", "3661d", "s" * 99),
        pytest.param(10**400, id="too large for a float"),
        pytest.param(-(10**400), id="too small for a float"),
    ],
)
def test_what_is_no_duration_is_refused(written: object) -> None:
    """No unit, a wrong order, below zero, not finite, or beyond ten years."""
    with pytest.raises(BadDuration):
        parse_duration(written)


@given(st.integers(0, int(DURATION_S_MAX) * 1000))
def test_a_formatted_duration_reads_back(milliseconds: int) -> None:
    """What is printed can be pasted into a definition."""
    assert round(parse_duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds


def test_defaults_are_those_that_are_documented() -> None:
    """What is left out has the values that the design names."""
    definition = definition_from(
        {"name": "d", "lanes": {"io": {}}, "tasks": {"a": {"agent": "x", "retry": {}}}}
    )
    lane, task = definition.lanes["io"], definition.tasks["a"]
    assert (lane.concurrency, lane.capacity, lane.overflow, lane.rate) == (
        16,
        100_000,
        "reject",
        None,
    )
    assert (task.priority, task.timeout, task.needs, task.with_) == (0, None, (), {})
    assert task.retry is not None
    assert (task.retry.attempts, task.retry.backoff, task.retry.jitter) == (
        1,
        "exponential",
        "full",
    )
    assert definition.on_failure == "fail_fast"


def test_a_definition_survives_its_own_json() -> None:
    """Dumped by alias and loaded again, a definition is equal."""
    definition = definition_from(
        {
            "name": "d",
            "version": "1",
            "labels": {"team": "a"},
            "metadata": {"x": [1, None]},
            "input": {"n": {"type": "integer", "default": 1}},
            "lanes": {"io": {"rate": {"per_second": 2.5}, "overflow": "block"}},
            "tasks": {
                "a": {"agent": "x", "with": {"n": "${input.n}"}, "timeout": "1m", "lane": "io"},
                "b": {"wait": "2s", "needs": ["a"]},
                "u": {"wait": {"until": "2026-12-01T09:00:00+01:00"}},
                "s": {"wait_for": {"signal": "go", "deadline": {"until": "${input.n}"}}},
                "p": {"approval": {"who": ["me"], "deadline": "1h"}},
                "c": {
                    "http": {"url": "http://x", "expect": [200]},
                    "lane": {"name": "io", "key": "${input.n}"},
                },
            },
            "output": {"r": "${tasks.a.result}"},
        }
    )
    text = definition.model_dump_json(by_alias=True, exclude_unset=True)
    assert definition_from(json.loads(text)) == definition


@pytest.mark.parametrize(
    ("wait", "path", "message"),
    [
        ({"until": "2026-12-01T09:00:00"}, "until", "does not say in which time zone"),
        ({"until": "tomorrow"}, "until", "is not a point in time"),
        ({"until": "1969-12-01T09:00:00Z"}, "until", "is before 1970"),
        ({"until": 5}, "until", "not a number"),
        ({"til": "2026-12-01T09:00:00Z"}, "til", "is not a key"),
    ],
)
def test_a_wait_ends_at_a_time_that_is_one(wait: Any, path: str, message: str) -> None:
    """A time without its zone is not known, only guessed; the fault names its place."""
    raw = {"name": "d", "tasks": {"w": {"wait": wait}}}
    with pytest.raises(InvalidDefinition) as caught:
        definition_from(raw)
    faults = {fault.path: fault.message for fault in caught.value.faults}
    assert message in faults[f"tasks.w.wait.{path}"]


@pytest.mark.parametrize(
    ("deadline", "path", "message"),
    [
        ({"until": "2026-12-01T09:00:00"}, ".until", "does not say in which time zone"),
        ({"until": 5}, ".until", "not a number"),
        ({"til": "2026-12-01T09:00:00Z"}, ".til", "is not a key"),
        ({}, ".until", "is missing"),
        ("soon", "", "is not a duration"),
        (0, "", "a duration of 0 ends at once"),
        ("${tasks.later.result}", "", "does not need"),
        ({"until": "${secret.WHEN}"}, ".until", "secret"),
    ],
)
@pytest.mark.parametrize("kind", ["wait_for", "approval"])
def test_a_deadline_is_a_duration_or_a_time(
    kind: str, deadline: Any, path: str, message: str
) -> None:
    """As a wait says them, templates and all; the fault names its place."""
    said = {"signal": "go"} if kind == "wait_for" else {"who": ["me"]}
    tasks = {"w": {kind: {**said, "deadline": deadline}}, "later": {"wait": 1}}
    with pytest.raises(InvalidDefinition) as caught:
        definition_from({"name": "d", "tasks": tasks})
    faults = {fault.path: fault.message for fault in caught.value.faults}
    assert message in faults[f"tasks.w.{kind}.deadline{path}"]


@pytest.mark.parametrize(
    ("task", "path", "message"),
    [
        ({"foreach": 3, "agent": "a"}, "foreach",
         "'foreach' should be text or a list, not a number"),
        ({"wait_for": "go"}, "wait_for", "'wait_for' should be a mapping, not text"),
        ({"approval": {"who": ["me", ""]}}, "approval.who[1]",
         "'who[1]' should have at least 1 character"),
        ({"approval": {"who": ["uid:ann"]}}, "approval.who[0]", "'uid:ann' is nobody"),
        ({"approval": {"who": ["uid:-1"]}}, "approval.who[0]", "'uid:-1' is nobody"),
        ({"approval": {"who": ["user:"]}}, "approval.who[0]", "'user:' is nobody"),
    ],
)  # fmt: skip
def test_a_fault_is_told_once_in_the_words_of_who_wrote_it(
    task: dict[str, Any], path: str, message: str
) -> None:
    """What may be of several types is one fault; who can never decide is one, too."""
    with pytest.raises(InvalidDefinition) as caught:
        definition_from({"name": "d", "tasks": {"t": task}})
    assert [(fault.path, fault.message) for fault in caught.value.faults] == [
        (f"tasks.t.{path}", message)
    ]


def test_names_of_people_may_be_templates_or_claimed() -> None:
    """Only what can never be proved is refused."""
    who = ["uid:0", "uid:${input.n}", "user:ann", "user:${input.s}", "ann", "anyone"]
    said = {"n": {"type": "integer"}, "s": {"type": "string"}}
    definition_from({"name": "d", "input": said, "tasks": {"t": {"approval": {"who": who}}}})


def test_the_model_is_frozen_and_does_not_convert() -> None:
    """A field cannot be set, and a number is no text."""
    task = TaskDefinition(agent="a")
    with pytest.raises(ValidationError):
        task.priority = 3  # type: ignore[misc] # that it is refused is the point
    with pytest.raises(ValidationError):
        TaskDefinition.model_validate({"agent": "a", "priority": "3"})
    with pytest.raises(ValidationError):
        TaskDefinition.model_validate({"agent": "a", "priority": True})


def test_the_schema_describes_files() -> None:
    """JSON Schema speaks of `with`, refuses unknown keys and asks for exactly one kind."""
    schema = WorkflowDefinition.model_json_schema(by_alias=True)
    task: dict[str, Any] = schema["$defs"]["TaskDefinition"]
    assert "with" in task["properties"]
    assert "with_" not in task["properties"]
    assert task["additionalProperties"] is False
    assert [choice["required"] for choice in task["oneOf"]] == [[kind] for kind in KINDS]
    assert schema["required"] == ["name", "tasks"]


def test_a_path_reads_like_a_template() -> None:
    """An id with a dot is quoted, an index stands in brackets."""
    assert path_text(("tasks", "a.b", "needs", 0)) == 'tasks["a.b"].needs[0]'


def test_suggestions_have_a_budget() -> None:
    """A hostile text with many slips does not cost time without end."""
    suggest = Suggester(comparisons_max=3)
    assert suggest.hint("scn", ["scan", "other"]) == "did you mean 'scan'?"
    assert suggest.nearest("scn", ["scan", "other"]) == ""
