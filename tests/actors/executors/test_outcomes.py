"""Outcomes: what is stored of a result, and what is said of an error, within bounds."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from goclaw_actors.executors.agents import AgentOptions, AgentRegistry
from goclaw_actors.executors.errors import BadParams, Fail
from goclaw_actors.executors.outcomes import bounded, completed, failed, timed_out
from goclaw_actors.work import AttemptToken, StartAttempt
from goclaw_events.errors import BlobMissing
from goclaw_events.value import BlobRef, pack, unpack

ATTEMPT = StartAttempt("task/r/t", "r", "t", 0, 1, AttemptToken(0, 1, 9), "a", None, 1.5)
AGENT = AgentRegistry().register("a", lambda ctx: ctx)


@dataclasses.dataclass
class Finding:
    """A result as users write one."""

    path: str
    lines: tuple[int, ...]


class Report(BaseModel):
    """A model as users write one."""

    title: str
    tags: set[str] = {"x"}


class Unreadable(Exception):
    """An error whose text cannot be read."""

    def __str__(self) -> str:
        msg = "no text"
        raise RuntimeError(msg)


class HalfBroken(BaseModel):
    """A model that cannot be written."""

    value: Any

    def model_dump(self, **_: Any) -> dict[str, Any]:
        """Fail as a serializer of a user may."""
        msg = "serializer broke"
        raise RuntimeError(msg)


def test_a_result_is_kept_as_plain_data() -> None:
    """Tuples become lists; nothing of the agent's own objects is kept."""
    result = {"a": (1, 2), "b": [{"c": None}]}
    outcome = completed(ATTEMPT, result)
    assert outcome.status == "completed"
    assert outcome.result == {"a": [1, 2], "b": [{"c": None}]}
    assert outcome.blobs is None
    assert (outcome.stream, outcome.token) == (ATTEMPT.stream, ATTEMPT.token)


def test_a_large_result_becomes_a_blob() -> None:
    """Over 64 KiB the outcome holds a reference and the bytes beside it."""
    text = "x" * 100_000
    outcome = completed(ATTEMPT, text)
    assert isinstance(outcome.result, BlobRef)
    assert outcome.blobs is not None
    assert unpack(outcome.blobs[outcome.result.sha256]) == text


def test_dataclasses_and_models_become_dicts() -> None:
    """Also inside lists and dicts."""
    outcome = completed(ATTEMPT, {"all": [Finding("a.py", (1, 2)), Report(title="t")], "n": 1})
    assert outcome.result == {
        "all": [{"path": "a.py", "lines": [1, 2]}, {"title": "t", "tags": ["x"]}],
        "n": 1,
    }
    assert completed(ATTEMPT, Finding("b", ())).result == {"path": "b", "lines": []}


def _cycle() -> list[Any]:
    box: list[Any] = []
    box.append(box)
    return box


@pytest.mark.parametrize(
    ("result", "word"),
    [
        (object(), "object"),
        ({1: "a"}, "str"),
        (1 << 80, ""),
        ("\ud800", ""),
        (_cycle(), ""),
        ([Finding("a", (1,)), object()], "object"),
        (HalfBroken(value=1), "serializer broke"),
        (Finding, "type"),
    ],
)
def test_what_cannot_be_stored_fails_without_a_retry(result: object, word: str) -> None:
    """The code is `value_not_storable`, the message can be stored."""
    outcome = completed(ATTEMPT, result)
    assert (outcome.status, outcome.code) == ("failed", "value_not_storable")
    assert not outcome.retryable
    assert outcome.result is None
    assert word in outcome.message
    pack(outcome.message)


def test_a_call_that_nobody_awaits_is_named() -> None:
    """An agent that forgot an `await` reads where, and no warning comes from elsewhere."""

    async def charge() -> int:
        return 1

    outcome = completed(ATTEMPT, charge())
    assert (outcome.code, outcome.retryable) == ("value_not_storable", False)
    assert "charge" in outcome.message
    assert "`await`" in outcome.message


def test_a_result_beyond_the_limit_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code is `value_too_large`, not retried."""
    monkeypatch.setattr("goclaw_events.value.VALUE_BYTES_MAX", 100_000)
    outcome = completed(ATTEMPT, b"x" * 100_001)
    assert (outcome.status, outcome.code, outcome.retryable) == ("failed", "value_too_large", False)


def _raised(error: BaseException) -> BaseException:
    try:
        raise error  # noqa: TRY301 - a traceback is wanted
    except BaseException as caught:  # noqa: BLE001 - any error is the subject
        return caught


@pytest.mark.parametrize(
    ("error", "code", "retryable", "message"),
    [
        (ValueError("no such file"), "agent_error", True, "ValueError: no such file"),
        (SystemExit(3), "agent_error", True, "SystemExit: 3"),
        (KeyboardInterrupt(), "agent_error", True, "KeyboardInterrupt"),
        (Unreadable(), "agent_error", True, "Unreadable: (its text cannot be read: RuntimeError)"),
        (Fail("no key"), "agent_error", False, "no key"),
        (Fail("busy", code="api.busy", retryable=True), "api.busy", True, "busy"),
        (BlobMissing("gone", hint="restore it"), "blob_missing", True, "gone (restore it)"),
        (BadParams("x is missing"), "bad_params", False, "x is missing"),
    ],
)
def test_an_error_is_told_by_code_and_text(
    error: BaseException, code: str, message: str, *, retryable: bool
) -> None:
    """Coded errors and `Fail` keep their code; all else is `agent_error` with its type."""
    outcome = failed(AGENT, ATTEMPT, _raised(error))
    assert (outcome.status, outcome.code) == ("failed", code)
    assert (outcome.message, outcome.retryable) == (message, retryable)


def test_an_agent_names_errors_that_are_never_retried() -> None:
    """`never_retry` counts for subclasses, too."""
    options = AgentOptions(never_retry=(LookupError,))
    agent = AgentRegistry().register("a", lambda ctx: ctx, options=options)
    assert not failed(agent, ATTEMPT, _raised(KeyError("k"))).retryable
    assert failed(agent, ATTEMPT, _raised(ValueError("v"))).retryable


def test_texts_are_bounded_and_can_be_stored() -> None:
    """2 KiB of message, the last 4 KiB of the traceback, no lone surrogates."""

    def deep(level: int) -> None:
        if level:
            deep(level - 1)
        raise ValueError("\udcff" + "ä" * 5_000)

    try:
        deep(60)
    except ValueError as caught:
        outcome = failed(AGENT, ATTEMPT, caught)
    assert len(outcome.message.encode()) <= 2048
    assert len(outcome.trace.encode()) <= 4096
    assert outcome.message.startswith("ValueError: \\udcff")
    assert outcome.message.endswith("...")
    pack([outcome.message, outcome.trace])


def test_a_trace_shows_where_the_agent_failed() -> None:
    """The traceback names the function that raised."""

    def broken() -> None:
        msg = "here"
        raise ValueError(msg)

    try:
        broken()
    except ValueError as caught:
        outcome = failed(AGENT, ATTEMPT, caught)
    assert "in broken" in outcome.trace


@given(st.text(st.characters(codec=None), max_size=50), st.integers(3, 60))
def test_bounded_text_fits_and_can_be_packed(text: str, bytes_max: int) -> None:
    """Whatever the text is, the bound holds and msgpack takes it."""
    short = bounded(text, bytes_max)
    assert len(short.encode()) <= bytes_max
    pack(short)


@pytest.mark.parametrize("code", ["", "Has Space", "x" * 65, "ä"])
def test_a_code_of_an_agent_is_checked(code: str) -> None:
    """`Fail` takes only codes that can be looked up and written anywhere."""
    with pytest.raises(ValueError, match="is not a code"):
        Fail("m", code=code)


def test_a_timeout_says_its_length() -> None:
    """The message names agent and timeout."""
    outcome = timed_out(ATTEMPT)
    assert (outcome.status, outcome.code, outcome.retryable) == ("failed", "timeout", True)
    assert "'a'" in outcome.message
    assert "1.5 s" in outcome.message
