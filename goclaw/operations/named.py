"""Signals by their names: sent to a run, for whichever of its tasks waits; and taken back."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field

from goclaw.asker import signed
from goclaw.errors import ItemsUnknown, RunNotFound, SignalNotFound, UsageInvalid
from goclaw.operations.levels import told_at
from goclaw.operations.operation import Params, act
from goclaw.results import CommandRefused
from goclaw.signals import ACCEPTED, CONSUMED, OFFERED, WITHDRAWN, Level, NamedStory, Signalled
from goclaw.task_places import state_at
from goclaw_actors.answering import SendNamed, WithdrawNamed
from goclaw_actors.decider import Refused
from goclaw_actors.task.state import FINAL
from goclaw_events.ids import check_id, task_stream, workflow_stream
from goclaw_events.plan import awaited_by, lists_awaiting
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
    deadline_s: Annotated[float, Field(gt=0)] | None = None
    """It expires after so many seconds, unless a task was given it."""
    wait: Level = "accepted"
    """Answer when it has come so far, or will not: `offered` to a task, `consumed` by it."""
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Wait at most so long."""


async def _send(engine: Engine, asked: SendSignal) -> dict[str, Any]:
    check_id(asked.signal_id, "signal id")
    check_id(asked.run_id, "run id")
    sender = signed(asked.sender)
    until_s = asked.deadline_s
    said = [asked.name, asked.body, sender, *(() if until_s is None else (until_s,))]
    deadline_ns = 0 if until_s is None else engine.parts.clock.now_ns() + int(until_s * 1e9)
    send = SendNamed(
        asked.name, asked.signal_id, asked.body, sender, blake2b(pack(said)).digest(),
        engine.settings.signals.waiting_max, deadline_ns,
    )  # fmt: skip
    run_id = await _hearer(engine.parts, asked.run_id, asked.name)
    accepted, _ = await engine.command(workflow_stream(run_id), send, asked.signal_id)
    sent = Signalled(asked.signal_id, run_id, "", ACCEPTED, repeated=accepted.repeated)
    if asked.wait != ACCEPTED:
        told = await told_at(engine, NamedStory(sent), asked.wait, asked.timeout_s)
        sent = replace(told, repeated=accepted.repeated)
    return asdict(sent)


async def _hearer(parts: Parts, run_id: str, name: str) -> str:
    """Return the run that hears a signal: that of the items of a list, where only they wait for it.

    Lists that are at work come first. Raises `ItemsUnknown` where one has yet to begin, and none is
    at work, `UsageInvalid` where several are.
    """
    try:
        plan = parts.plan_of(run_id)
    except RunNotFound:
        return run_id  # it is asked, and says so
    lists = [] if awaited_by(plan, name) else lists_awaiting(plan, name)
    if not lists:
        return run_id
    states = [await asyncio.to_thread(state_at, parts, task_stream(run_id, task)) for task in lists]
    going = [state for state in states if state.status not in FINAL]
    runs = [str(state.child_run) for state in going if state.child_run]
    what = f"items of {', '.join(lists)} of run {run_id} wait for {name!r}"
    if len(runs) > 1:
        raise UsageInvalid(what, hint=f"send it to one of the runs {', '.join(runs)}")
    if going and not runs:
        msg = f"{what}, and none is known yet"
        raise ItemsUnknown(msg, hint="send it again when the task has begun", run_id=run_id)
    return runs[0] if runs else str(states[-1].child_run or run_id)


async def hearers(parts: Parts, run_id: str) -> list[str]:
    """Return the runs that may have been sent a signal by its name: a run, and those of its items.

    Raises `RunNotFound`.
    """
    check_id(run_id, "run id")
    lists = lists_awaiting(parts.plan_of(run_id))
    states = [await asyncio.to_thread(state_at, parts, task_stream(run_id, task)) for task in lists]
    return [run_id, *(str(state.child_run) for state in states if state.child_run)]


async def withdraw(engine: Engine, run_id: str, signal: str, reason: str) -> bool:
    """Take a signal back that the run keeps; False: the run was not sent it.

    To take it back again changes nothing. Raises `CommandRefused` where it came too late.
    """
    body = WithdrawNamed(signal, reason, signed(""))
    try:
        await engine.command(workflow_stream(run_id), body)
    except CommandRefused as refused:
        if refused.code not in _NOT_KEPT:
            raise
        return await _was_withdrawn(engine, Signalled(signal, run_id, "", ""))
    return True


async def _was_withdrawn(engine: Engine, named: Signalled) -> bool:
    """Tell whether a signal that is not kept was taken back before; raises what it came to."""
    try:
        now = await told_at(engine, NamedStory(named), ACCEPTED, None)
    except SignalNotFound:
        return False
    if now.state in (OFFERED, CONSUMED):
        text = f"signal {named.signal} was given to task {now.task} of run {named.run_id}"
        raise CommandRefused(Refused("signal_consumed", text))
    if now.state != WITHDRAWN:
        text = f"signal {named.signal} to run {named.run_id} is {now.state} already: {now.reason}"
        raise CommandRefused(Refused("signal_not_found", text))
    return True


_NOT_KEPT: Final = ("signal_not_found", "run_finished", "run_not_found")
ANSWER: Final = "`{signal, run_id, task, state, attempt, reason, repeated}`"
OPERATIONS: Final = (
    act("signal.send", SendSignal, _send, "Send a run a signal by its name.", ANSWER, idle=True),
)
