"""Signals by their names: sent to a run, for whichever of its tasks waits."""

from __future__ import annotations

from dataclasses import asdict, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field

from goclaw.asker import signed
from goclaw.operations.levels import told_at
from goclaw.operations.operation import Params, act
from goclaw.signals import ACCEPTED, Level, NamedStory, Signalled
from goclaw_actors.answering import SendNamed
from goclaw_events.ids import check_id, workflow_stream
from goclaw_events.value import pack

if TYPE_CHECKING:
    from goclaw.engine import Engine

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
        told = await told_at(engine, NamedStory(sent), asked.wait, asked.timeout_s)
        sent = replace(told, repeated=accepted.repeated)
    return asdict(sent)


ANSWER: Final = "`{signal, run_id, task, state, attempt, reason, repeated}`"
OPERATIONS: Final = (
    act("signal.send", SendSignal, _send, "Send a run a signal by its name.", ANSWER, idle=True),
)
