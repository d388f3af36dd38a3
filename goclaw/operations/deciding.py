"""People: what they are asked, and what they decide."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from goclaw.asker import proved, signed
from goclaw.operations.operation import Params, act, read
from goclaw.run_records import time_text
from goclaw.task_places import recorded_place
from goclaw_actors.answering import APPROVED, REJECTED, DecideTask
from goclaw_actors.approval import may_decide
from goclaw_events.ids import check_id, workflow_stream
from goclaw_events.value import pack

if TYPE_CHECKING:
    from goclaw.engine import Engine
    from goclaw.operations.ground import Ground
    from goclaw_projections.inbox import InboxView

SENDER_CHARS_MAX: Final = 200
REASON_CHARS_MAX: Final = 2_000
LIST_MAX: Final = 1_000
_KINDS: Final = {"approval": False, "signal": True}


class Decision(Params):
    """What somebody decides about a task."""

    run_id: str
    """The id of the run."""
    task: str
    """The task that asks."""
    decision_id: str
    """The same decision again gives the first answer."""
    reason: Annotated[str, Field(max_length=REASON_CHARS_MAX)] = ""
    """Why; it is recorded."""
    sender: Annotated[str, Field(max_length=SENDER_CHARS_MAX)] = ""
    """Who decides, in their own words: recorded behind who the transport says it is."""


class Approval(Decision):
    """A yes."""

    edited: bool = False
    """Whether `arguments` take the place of those that were asked about."""
    arguments: Any = None
    """What is approved in their place."""

    @model_validator(mode="after")
    def _edited(self) -> Approval:
        if self.arguments is not None and not self.edited:
            raise ValueError("arguments are given, and not said to be edited")
        return self


class ListInbox(Params):
    """What waits for people, and for signals, the most urgent first."""

    mine: bool = False
    """Only what whoever asks may decide."""
    sender: Annotated[str, Field(max_length=SENDER_CHARS_MAX)] = ""
    """For `mine`: the name that they claim."""
    who: Annotated[str, Field(max_length=SENDER_CHARS_MAX)] = ""
    """Only what this name of `who` may decide, proved or claimed."""
    kind: Literal["approval", "signal"] | None = None
    """Only these."""
    limit: Annotated[int, Field(ge=1, le=LIST_MAX)] = 100
    """At most so many."""
    cursor: str | None = None
    """Where the last answer ended."""
    min_position: str | None = None
    """Answer once the view knows this position (`now`: all that is durable now)."""


async def _approve(engine: Engine, asked: Approval) -> dict[str, Any]:
    return await _decide(engine, asked, APPROVED, asked.arguments, edited=asked.edited)


async def _reject(engine: Engine, asked: Decision) -> dict[str, Any]:
    return await _decide(engine, asked, REJECTED, None, edited=False)


async def _decide(
    engine: Engine, asked: Decision, verdict: str, arguments: Any, *, edited: bool
) -> dict[str, Any]:
    check_id(asked.run_id, "run id")
    check_id(asked.decision_id, "decision id")
    run_id, task = await recorded_place(engine.parts, asked.run_id, asked.task)
    sender = signed(asked.sender)
    said = [task, verdict, arguments, edited, sender, asked.reason]
    body = DecideTask(
        task, asked.decision_id, verdict, arguments, edited, sender, proved(), asked.sender,
        asked.reason, blake2b(pack(said)).digest(),
    )  # fmt: skip
    accepted, _ = await engine.command(workflow_stream(run_id), body, asked.decision_id)
    return {
        "decision": asked.decision_id, "run_id": run_id, "task": task,
        "verdict": verdict, "by": sender, "repeated": accepted.repeated,
    }  # fmt: skip


def _list(ground: Ground, asked: ListInbox) -> dict[str, Any]:
    ground.wait_for(asked.min_position)
    names = proved()

    def wanted(item: InboxView) -> bool:
        is_kind = asked.kind is None or bool(item.signal) == _KINDS[asked.kind]
        is_theirs = not asked.who or may_decide(item.who, [asked.who], "")
        is_mine = not asked.mine or may_decide(item.who, names, asked.sender)
        return is_kind and is_theirs and is_mine

    page = ground.views.inbox.list(wanted=wanted, limit=asked.limit, cursor=asked.cursor)
    return {"items": [inbox_record(item) for item in page.items], "cursor": page.cursor}


def inbox_record(item: InboxView) -> dict[str, Any]:
    """Return what a task waits for; `state` is held where it stands still."""
    return {
        "kind": "signal" if item.signal else "approval",
        "run_id": item.run_id,
        "task": item.task,
        "state": "held" if item.is_held else "open",
        "signal": item.signal or None,
        "who": item.who,
        "message": item.message,
        "arguments": item.arguments,
        "schema": item.schema,
        "asked_at": time_text(item.asked_at_ns),
        "deadline": time_text(item.due_ns),
    }


_DECIDED: Final = "`{decision, run_id, task, verdict, by, repeated}`"
OPERATIONS: Final = (
    act("approval.approve", Approval, _approve, "Approve what a task asks.", _DECIDED, idle=True),
    act("approval.reject", Decision, _reject, "Reject what a task asks.", _DECIDED, idle=True),
    read("inbox.list", ListInbox, _list, "List what waits for people, and for signals, by urgency.",
         "`{items: [{kind, run_id, task, state, signal, who, message, arguments, schema, asked_at,"
         " deadline}], cursor}`"),
)  # fmt: skip
