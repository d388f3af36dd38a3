"""How an attempt ended, said in bounded, storable words."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import traceback
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from goclaw_actors.errors import HistoryFull
from goclaw_actors.executors.errors import (
    AGENT_ERROR,
    CANCELLED,
    INTERRUPTED,
    RATE_LIMITED,
    TIMEOUT,
    AddressForbidden,
    Asleep,
    BadParams,
    CollectUnmet,
    ExecNotAllowed,
    Fail,
    Interrupted,
    ProgramNotFound,
    RateLimited,
    ResponseTooLarge,
    RetryAfter,
    SpawnFailed,
    StepChanged,
    StepInvalid,
    StepRepeated,
    StepSecret,
)
from goclaw_actors.executors.redaction import CUT
from goclaw_actors.executors.secrets import SecretMissing, SecretUnfit
from goclaw_actors.work import SLEPT, Outcome
from goclaw_events.errors import CodedError, ValueNotStorable, ValueTooLarge
from goclaw_events.value import INLINE_BYTES_MAX, BlobRef, pack, store

if TYPE_CHECKING:
    from types import TracebackType

    from goclaw_actors.executors.agents import Agent
    from goclaw_actors.work import StartAttempt
    from goclaw_events.value import Value

MESSAGE_BYTES_MAX: Final = 2 * 1024
TRACE_BYTES_MAX: Final = 4 * 1024
TRACE_FRAMES_MAX: Final = 20
_AWAIT: Final = "write `await`, in an agent that is `async def`"
_OWN_FRAMES: Final = 1
_CUT: Final = CUT.encode()
_NEVER_RETRY: Final = (
    AddressForbidden, BadParams, CollectUnmet, ExecNotAllowed, HistoryFull, ProgramNotFound,
    ResponseTooLarge, SecretMissing, SecretUnfit, SpawnFailed, StepChanged, StepInvalid,
    StepRepeated, StepSecret, ValueNotStorable, ValueTooLarge,
)  # fmt: skip


def completed(attempt: StartAttempt, result: object) -> Outcome:
    """Make the outcome of a call that returned, its result stored as a private, normal copy.

    Dataclasses become dicts of their fields and pydantic models what `model_dump(mode="json")`
    gives, also inside lists, tuples and dicts. What cannot be stored is a failed outcome
    (`value_not_storable`, `value_too_large`) that is not retried: it would be the same again.
    """
    if result is None:
        return Outcome(attempt.stream, attempt.token, "completed")
    blobs: dict[bytes, bytes] = {}
    try:
        kept = stored(result, blobs)
    except (ValueNotStorable, ValueTooLarge) as error:
        text = f"the result of the agent: {error}"
        if inspect.iscoroutine(result):
            result.close()  # it would warn that it was never awaited, far from here
            text = f"the agent returned a call that nobody awaits: {result.__qualname__} ({_AWAIT})"
        return Outcome(
            attempt.stream,
            attempt.token,
            "failed",
            code=error.code,
            message=bounded(text, MESSAGE_BYTES_MAX),
            retryable=False,
        )
    return Outcome(attempt.stream, attempt.token, "completed", kept, blobs or None)


def failed(agent: Agent, attempt: StartAttempt, error: BaseException) -> Outcome:
    """Make the outcome of a call that raised: code, type and text, the end of the traceback.

    The code is that of a `CodedError`, `Fail` or `RetryAfter`, else `agent_error`.
    """
    if isinstance(error, RateLimited):
        return limited(attempt, error)
    if isinstance(error, Interrupted):
        return cancelled(attempt, str(error), INTERRUPTED)
    if isinstance(error, Asleep):
        until = [error.due_ns, *error.awaited] if error.awaited else error.due_ns
        return Outcome(attempt.stream, attempt.token, SLEPT, until)
    code, retryable, retry_after_s = AGENT_ERROR, True, None
    if isinstance(error, Fail):
        code, retryable = error.code, error.retryable
    elif isinstance(error, RetryAfter):
        code, retry_after_s = error.code, error.seconds
    elif isinstance(error, CodedError):
        code, retryable = error.code, not isinstance(error, _NEVER_RETRY)
    if isinstance(error, agent.options.never_retry):
        retryable = False
    return Outcome(
        attempt.stream,
        attempt.token,
        "failed",
        code=code,
        message=_message(error),
        trace="" if isinstance(error, (BadParams, CollectUnmet)) else _trace(error),
        retryable=retryable,
        retry_after_s=retry_after_s,
    )


def limited(attempt: StartAttempt, error: RateLimited) -> Outcome:
    """Make the outcome of an attempt that is to be made again when it may be served."""
    return Outcome(
        attempt.stream,
        attempt.token,
        "failed",
        code=RATE_LIMITED,
        message=_message(error),
        retry_after_s=error.retry_after,
        limited=True,
    )


def refused(attempt: StartAttempt, error: CodedError, *, retryable: bool = True) -> Outcome:
    """Make the outcome of an attempt that was not begun; it may be tried again by default."""
    return Outcome(
        attempt.stream,
        attempt.token,
        "failed",
        code=error.code,
        message=bounded(str(error), MESSAGE_BYTES_MAX),
        retryable=retryable,
    )


def not_begun(attempt: StartAttempt, error: Exception) -> Outcome:
    """Make the outcome of an attempt whose parameters could not be read or used."""
    if isinstance(error, CodedError):
        return refused(attempt, error, retryable=not isinstance(error, _NEVER_RETRY))
    text = bounded(f"the parameters cannot be read: {_message(error)}", MESSAGE_BYTES_MAX)
    return Outcome(attempt.stream, attempt.token, "failed", code=AGENT_ERROR, message=text)


def timed_out(attempt: StartAttempt) -> Outcome:
    """Make the outcome of an attempt that took longer than its timeout."""
    what = f"agent {attempt.agent!r}" if attempt.agent else f"task {attempt.task_id!r}"
    limit = f"its timeout of {attempt.timeout_s:g} s"
    if attempt.timeout_of != "timeout":
        left_s = round(attempt.timeout_s or 0.0, 3)
        limit = f"the {left_s:g} s that were left of the {attempt.timeout_of}"
    text = f"{what} took longer than {limit}"
    return Outcome(attempt.stream, attempt.token, "failed", code=TIMEOUT, message=text)


def silent(attempt: StartAttempt) -> Outcome:
    """Make the outcome of an attempt that gave no sign of life for too long."""
    limit = f"its heartbeat_timeout of {attempt.heartbeat_s:g} s"
    text = f"agent {attempt.agent!r} gave no sign of life within {limit}"
    return Outcome(attempt.stream, attempt.token, "failed", code=TIMEOUT, message=text)


def cancelled(attempt: StartAttempt, reason: str, code: str = CANCELLED) -> Outcome:
    """Make the outcome of an attempt that was stopped; `reason` is the message."""
    text = bounded(reason, MESSAGE_BYTES_MAX)
    return Outcome(attempt.stream, attempt.token, "cancelled", code=code, message=text)


def bounded(text: str, bytes_max: int) -> str:
    """Return text that can be stored: no lone surrogates, at most `bytes_max` bytes of UTF-8."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > bytes_max:
        data = data[: bytes_max - len(_CUT)] + _CUT
    return data.decode("utf-8", "ignore")


def stored(result: object, blobs: dict[bytes, bytes]) -> Value:
    """Return a private, normal copy as it is kept; raises `ValueNotStorable`, `ValueTooLarge`."""
    try:
        try:
            return store(result, blobs)
        except ValueNotStorable:
            # rare, so the walk costs only those who need it
            plain = _plain(result)
            if plain is result:
                raise
        return store(plain, blobs)
    except CodedError:
        raise
    except Exception as error:  # a model's serializer, a cycle, an attribute that raises
        msg = f"a value cannot be stored: {_message(error)}"
        raise ValueNotStorable(msg, hint="return plain data") from error


def chunk_of(chunk: object) -> tuple[Value, int]:
    """Return a chunk of output as it is kept, and how many bytes it takes; raises as `stored`."""
    blobs: dict[bytes, bytes] = {}
    value = stored(chunk, blobs)
    size = len(pack(value))
    if blobs:
        msg = f"a chunk of output takes at most {INLINE_BYTES_MAX} bytes"
        raise ValueTooLarge(msg, hint="emit it in parts, or return it as the result")
    return value, size


def _plain(value: Any) -> Any:
    """Return `value` with dataclasses and models as dicts; the same object when there are none."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, (type, BlobRef)):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        changed = {key: _plain(item) for key, item in value.items()}
        return changed if any(changed[key] is not value[key] for key in value) else value
    if isinstance(value, (list, tuple)):
        items = [_plain(item) for item in value]
        same = all(new is old for new, old in zip(items, value, strict=True))
        return value if same else items
    return value


def _message(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "CancelledError: the agent cancelled itself"
    try:
        text = str(error)
    except Exception as fault:  # noqa: BLE001 - the text is the user's code
        text = f"(its text cannot be read: {type(fault).__name__})"
    if isinstance(error, (CodedError, Fail)):
        return bounded(text, MESSAGE_BYTES_MAX)
    name = type(error).__qualname__
    return bounded(f"{name}: {text}" if text else name, MESSAGE_BYTES_MAX)


def _trace(error: BaseException) -> str:
    """Return the end of the traceback: the last frames say where it happened."""
    try:
        told = traceback.TracebackException(
            type(error), error, _below(error.__traceback__), limit=-TRACE_FRAMES_MAX, compact=True
        )
        _leave_out_columns(told)
        lines = list(told.format())
    except Exception:  # noqa: BLE001 - formatting calls the user's __str__
        return ""
    data = "".join(lines).encode("utf-8", "backslashreplace")
    if len(data) > TRACE_BYTES_MAX:
        data = _CUT + data[len(_CUT) - TRACE_BYTES_MAX :]
    return data.decode("utf-8", "ignore")


def _leave_out_columns(told: traceback.TracebackException) -> None:
    """Say lines only: the carets are found by `ast`, which in CPython 3.11 is not thread-safe.

    Two threads in it at once may both get a SystemError, also one that is an agent's own.
    """
    waiting = [told]
    while waiting:
        item = waiting.pop()
        for frame in item.stack:
            frame.colno = frame.end_colno = None
        linked = (item.__cause__, item.__context__, *(item.exceptions or ()))
        waiting.extend(other for other in linked if other is not None)


def _below(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the frames of the executor itself."""
    for _ in range(_OWN_FRAMES):
        if trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
    return trace
