"""What makes runs begin and end, and the facts that follow."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from goclaw.asker import asker
from goclaw.following import follow_log
from goclaw.operations.operation import IfVersion, NoParams, Params, act, follow, read
from goclaw_events.codec import FACTS
from goclaw_events.envelope import Cursor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from goclaw.engine import Engine
    from goclaw.operations.ground import Ground
    from goclaw.results import RunResult, Submitted
    from goclaw_projections.subscription import Recorded

FACTS_AT_ONCE: Final = 64
"""Facts of one part: of 64 KiB at most each, so that a part stays small."""
END: Final = "end"


class Document(Params):
    """A definition as text."""

    text: str
    """The document."""
    format: Literal["yaml", "json"] = "yaml"
    """What it is written in."""
    source: str = "definition"
    """What errors call it."""


class Submit(Params):
    """A run to begin: of a definition, or of a registered name."""

    definition: Document | None = None
    """The definition itself."""
    name: str | None = None
    """Or the `NAME` or `NAME@VERSION` under which it is registered."""
    input: Annotated[dict[str, Any], Field(default_factory=dict)]
    """The input by name."""
    run_id: str | None = None
    """The run's id; the same request again gives the same run."""
    idempotency_key: str | None = None
    """Or what the id follows from."""
    labels: Annotated[dict[str, str], Field(default_factory=dict)]
    """Labels, besides those of the definition."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Submit:
        if (self.definition is None) == (self.name is None):
            raise ValueError("give either `definition` or `name`")
        return self


class AwaitResult(Params):
    """A run to wait for."""

    run_id: str
    """Its id."""
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Wait at most so long (None: for ever)."""


class Cancel(Params):
    """A run to cancel."""

    run_id: str
    """Its id."""
    reason: str = ""
    """Why; it is recorded."""
    command_id: str | None = None
    """The same command again gives the same answer."""
    if_version: IfVersion = None
    """Only if the run still has this version."""


class Subscribe(Params):
    """Where to begin, and what to leave out."""

    after: str | None = None
    """A cursor, or `end`; None: from the start of the log."""
    run_id: str | None = None
    """Only facts of this run and its tasks."""
    follow: bool = True
    """Go on with what comes; otherwise end where the log ends now."""


async def _submit(engine: Engine, asked: Submit) -> dict[str, Any]:
    workflow: Any = asked.name
    if asked.definition is not None:
        said = asked.definition
        workflow = await engine.document(said.text, said.format, said.source)
    submitted = await engine.submit(
        workflow,
        input=asked.input,
        run_id=asked.run_id,
        idempotency_key=asked.idempotency_key,
        labels=asked.labels,
        submitted_by=asker(),
    )
    return submitted_data(submitted, "run_id")


async def _result(engine: Engine, asked: AwaitResult) -> dict[str, Any]:
    return ended_data(await engine.result(asked.run_id, timeout_s=asked.timeout_s), "run_id")


def submitted_data(submitted: Submitted, named: str) -> dict[str, Any]:
    """Return the answer to who submitted; `named` is the key under which its id stands."""
    position = None if submitted.position is None else str(submitted.position)
    return {named: submitted.run_id, "position": position, "repeated": submitted.repeated}


def ended_data(ended: RunResult, named: str) -> dict[str, Any]:
    """Return the answer to who waits for an end; `named` is the key under which its id stands."""
    error = ended.error
    return {
        named: ended.run_id,
        "status": ended.status,
        "result": ended.result,
        "error": None if error is None else [error.code, error.message, error.task],
        "position": None if ended.position is None else str(ended.position),
    }


async def _cancel(engine: Engine, asked: Cancel) -> dict[str, Any]:
    await engine.cancel(
        asked.run_id,
        reason=asked.reason,
        command_id=asked.command_id,
        if_version=asked.if_version,
    )
    return {"run_id": asked.run_id}


async def _subscribe(ground: Ground, asked: Subscribe) -> AsyncGenerator[dict[str, Any], None]:
    after = ground.tail.end() if asked.after == END else None
    if asked.after is not None and after is None:
        after = Cursor.parse(asked.after)
    bridge = ground.bridge if asked.follow else None
    parts = follow_log(ground.tail, bridge, after, run_id=asked.run_id, at_once=FACTS_AT_ONCE)
    async with aclosing(parts):
        async for recorded, cursor in parts:
            yield {"facts": [_fact(item) for item in recorded], "cursor": str(cursor)}


def _fact(recorded: Recorded) -> list[Any]:
    name, version = FACTS.names[type(recorded.fact)]
    return [
        list(recorded.position), recorded.time_ns, recorded.stream, recorded.seq, name, version,
        list(recorded.fact), list(recorded.cause),
    ]  # fmt: skip


def _end(ground: Ground, _: NoParams) -> dict[str, Any]:
    return {"cursor": str(ground.tail.end())}


OPERATIONS: Final = (
    act("submit", Submit, _submit, "Begin a run; answers once that is durable.",
        "`{run_id, position, repeated}`", safe=False),
    act("result", AwaitResult, _result, "Wait for the end of a run.",
        "`{run_id, status, result, error: [code, message, task], position}`"),
    act("cancel", Cancel, _cancel, "Cancel a run; answers once that is durable.", "`{run_id}`",
        idle=True),
    follow("subscribe", Subscribe, _subscribe, "Give durable facts, each once, in order.",
           "parts `{facts: [[[partition, number], time_ns, stream, seq, type, version, fields, "
           "cause]], cursor}`"),
    read("log.end", NoParams, _end, "Give the cursor behind all that is durable.", "`{cursor}`"),
)  # fmt: skip
