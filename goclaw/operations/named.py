"""Signals by their names: sent to a run, for whichever of its tasks waits."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import asdict, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field

from goclaw.asker import signed
from goclaw.errors import SignalNotFound, TimedOut
from goclaw.following import follow_log
from goclaw.operations.operation import Params, act
from goclaw.signals import ACCEPTED, Level, NamedStory, Signalled
from goclaw_actors.answering import SendNamed
from goclaw_events.codec import FACTS
from goclaw_events.ids import check_id, task_stream, workflow_stream
from goclaw_events.replay import stream_turns
from goclaw_events.value import pack

if TYPE_CHECKING:
    from goclaw.engine import Engine
    from goclaw.parts import Parts

SENDER_CHARS_MAX: Final = 200


class SendSignal(Params):
    """A signal by its name."""

    run_id: str
    """The id of the run."""
    name: str
    """The name of the signal, as `wait_for` has it."""
    signal_id: str
    """The same signal again gives the first answer."""
    body: Any = None
    """Its payload: the result of the task that waits for it."""
    sender: Annotated[str, Field(max_length=SENDER_CHARS_MAX)] = ""
    """Who says it, in their own words: recorded behind who the transport says it is."""
    wait: Level = "accepted"
    """Answer when it has come so far, or will not: `offered` to a task, `consumed` by it."""
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Wait at most so long."""


async def _send(engine: Engine, asked: SendSignal) -> dict[str, Any]:
    check_id(asked.signal_id, "signal id")
    check_id(asked.run_id, "run id")
    sender = signed(asked.sender)
    digest = blake2b(pack([asked.name, asked.body, sender])).digest()
    kept_max = engine.settings.signals.waiting_max
    send = SendNamed(asked.name, asked.signal_id, asked.body, sender, digest, kept_max)
    stream = workflow_stream(asked.run_id)
    accepted, _ = await engine.command(stream, send, asked.signal_id)
    sent = Signalled(asked.signal_id, asked.run_id, "", ACCEPTED, repeated=accepted.repeated)
    if asked.wait != ACCEPTED:
        told = await named_told(engine, sent, asked.wait, asked.timeout_s)
        sent = replace(told, repeated=accepted.repeated)
    return asdict(sent)


async def named_told(
    engine: Engine, sent: Signalled, level: str, timeout_s: float | None
) -> Signalled:
    """Return what became of a named signal once it has reached a level.

    Raises `TimedOut`, and `SignalNotFound` where the run was sent no signal of that id.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _reached(engine, sent, level)
    except TimeoutError:
        msg = f"signal {sent.signal} was not {level} within {timeout_s} s"
        raise TimedOut(msg, hint="it is there all the same: goclaw signal state") from None


async def _reached(engine: Engine, sent: Signalled, level: str) -> Signalled:
    parts, story = engine.parts, NamedStory(sent.signal)
    end = parts.tail.end()
    # the end of the log first: what comes between is told twice, and not missed
    await asyncio.to_thread(_tell, story, parts, sent.run_id)
    if not story.state:
        msg = f"no signal {sent.signal} was sent to run {sent.run_id}"
        raise SignalNotFound(msg, hint="name the task if it was sent to one", signal=sent.signal)
    coming = follow_log(parts.tail, engine.bridge, end, run_id=sent.run_id, at_once=64)
    async with aclosing(coming) as found:
        while True:
            now = replace(sent, task=story.task, state=story.state, reason=story.reason)
            if now.has_reached(level):
                return now
            items, _ = await anext(found)
            story.tell(item.fact for item in items)


def _tell(story: NamedStory, parts: Parts, run_id: str) -> None:
    _tell_stream(story, parts, workflow_stream(run_id))
    if story.task:
        _tell_stream(story, parts, task_stream(run_id, story.task))


def _tell_stream(story: NamedStory, parts: Parts, stream: str) -> None:
    for turn in stream_turns(parts.journal, stream):
        story.tell(FACTS.decode(fact.type, fact.version, fact.data) for fact in turn.facts)


ANSWER: Final = "`{signal, run_id, task, state, attempt, reason, repeated}`"
OPERATIONS: Final = (
    act("signal.send", SendSignal, _send, "Send a run a signal by its name.", ANSWER, idle=True),
)
