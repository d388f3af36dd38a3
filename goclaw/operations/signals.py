"""What is said to work that goes on."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from dataclasses import asdict, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import Field, model_validator

from goclaw.asker import signed
from goclaw.errors import SignalNotFound, UsageInvalid
from goclaw.following import follow_log
from goclaw.operations import named
from goclaw.operations.levels import told_at
from goclaw.operations.operation import IfVersion, Params, act
from goclaw.signals import ACCEPTED, Level, NamedStory, Signalled, Story
from goclaw.task_places import Place, planned_task, recorded_place, state_at
from goclaw_actors.signalling import HoldWork, ResumeWork, SendSignal, WithdrawSignal
from goclaw_actors.statuses import ACTIVE
from goclaw_actors.task.hold import INTERRUPTED, PAUSED
from goclaw_actors.task.state import ATTEMPTED, CHILD, FINAL, RETRYING, SCHEDULED, WAITING
from goclaw_events.ids import check_id, task_stream, workflow_stream
from goclaw_events.value import pack

if TYPE_CHECKING:
    from collections.abc import Collection

    from goclaw.engine import Engine
    from goclaw.parts import Parts

SENDER_CHARS_MAX: Final = 200
REASON_CHARS_MAX: Final = 2_000
_MOVING: Final = ATTEMPTED | {SCHEDULED, RETRYING, WAITING, CHILD}
"""States of a task that will hear that its run stands still."""


class NameTask(Params):
    """Which task of which run."""

    run_id: str
    """The id of the run."""
    task: str | None = None
    """The task; may be left out where the run has only one."""


class Signal(NameTask):
    """A signal: its id makes a repeat harmless."""

    signal_id: str
    """The same signal again gives the first answer."""
    sender: Annotated[str, Field(max_length=SENDER_CHARS_MAX)] = ""
    """Who says it, in their own words: recorded behind who the transport says it is."""


class Steer(Signal):
    """A patch of parameters."""

    params: dict[str, Any]
    """The new values by name."""


class Say(Signal):
    """A message to the agent."""

    body: Any
    """What is said."""
    mode: Literal["steer", "followup", "coalesce", "reject"] = "steer"
    """When the agent gets it."""
    quiet_s: Annotated[float, Field(ge=0, le=3600)] | None = None
    """The window of `coalesce`; None: as the settings say."""
    deadline_s: Annotated[float, Field(gt=0)] | None = None
    """It expires after so many seconds, unless it was taken."""
    wait: Level = "accepted"
    """Answer when it has come so far, or will not."""
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Wait at most so long."""


class Hold(Signal):
    """A task, or (without `task`) a run, that is to stand still, or to go on."""

    if_version: IfVersion = None
    """Only if the run still has this version; not for a task."""

    @model_validator(mode="after")
    def _versions_are_of_runs(self) -> Self:
        if self.task is not None and self.if_version is not None:
            raise ValueError("a task has no version: leave out `task` or `if_version`")
        return self


class Pause(Hold):
    """A task, or a run, that is to stand still."""

    reason: Annotated[str, Field(max_length=REASON_CHARS_MAX)] = ""
    """Why; it is recorded."""


class Interrupt(Pause):
    """A task, or a run, that is to stop."""

    graceful: bool = True
    """Let it stop by itself first."""
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """For so long; None: as the settings say."""
    wait_s: Annotated[float, Field(gt=0)] | None = None
    """Answer when the task, or every one of the run, has stopped, or after so long."""


class Withdraw(NameTask):
    """A signal to take back that a run keeps, or (with `task`) a message to a task."""

    signal_id: str
    """Its id."""
    reason: str = ""
    """Why; it is recorded."""


class AwaitSignal(NameTask):
    """A signal to look at, or to wait for."""

    signal_id: str
    """Its id."""
    wait: Level = "accepted"
    """Answer when it has come so far, or will not."""
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Wait at most so long."""


H = TypeVar("H", bound=Hold)


async def _steer(engine: Engine, asked: Steer) -> dict[str, Any]:
    return await _send(engine, asked, "params", "steer", asked.params)


async def _say(engine: Engine, asked: Say) -> dict[str, Any]:
    found = await _send(engine, asked, "message", asked.mode, asked.body, asked)
    if asked.wait == ACCEPTED:
        return found
    told = await told_at(engine, Story(_named(found)), asked.wait, asked.timeout_s)
    return asdict(replace(told, repeated=found["repeated"]))


async def _send(
    engine: Engine, asked: Signal, kind: str, mode: str, body: Any, more: Say | None = None
) -> dict[str, Any]:
    parts = engine.parts
    check_id(asked.signal_id, "signal id")
    run_id, task = place = await placed(parts, asked)
    settings = parts.settings.signals
    quiet_s = settings.quiet_s if more is None or more.quiet_s is None else more.quiet_s
    deadline_s = None if more is None else more.deadline_s
    sender = signed(asked.sender)
    digest = blake2b(pack([kind, mode, body, sender, deadline_s])).digest()
    deadline_ns = 0 if deadline_s is None else parts.clock.now_ns() + int(deadline_s * 1e9)
    names = await _names(parts, place) if kind == "params" else None
    send = SendSignal(
        task, asked.signal_id, kind, mode, body, sender, digest, deadline_ns, quiet_s,
        settings.waiting_max, names,
    )  # fmt: skip
    accepted, _ = await engine.command(workflow_stream(run_id), send, asked.signal_id)
    state = "consumed" if kind == "params" else ACCEPTED
    return asdict(Signalled(asked.signal_id, run_id, task, state, repeated=accepted.repeated))


async def placed(parts: Parts, asked: NameTask) -> Place:
    """Return which task of which run is meant; raises `RunNotFound`, `UsageInvalid`."""
    check_id(asked.run_id, "run id")
    plan = parts.plan_of(asked.run_id)
    if asked.task is not None:
        return await recorded_place(parts, asked.run_id, asked.task)
    if len(plan.tasks) != 1:
        names = ", ".join(task.id for task in plan.tasks[:10])
        msg = f"run {asked.run_id} has {len(plan.tasks)} tasks; say which"
        raise UsageInvalid(msg, hint=f"its tasks: {names}")
    return Place(asked.run_id, plan.tasks[0].id)


async def _names(parts: Parts, place: Place) -> list[str] | None:
    """Return the parameters that the task's agent takes by name; None: that is not known."""
    planned = await planned_task(parts, place)
    agent = None if planned is None else parts.agents.get(planned.agent)
    allowed = None if agent is None else agent.signature.allowed
    return None if allowed is None else sorted(allowed)


async def _pause(engine: Engine, asked: Pause) -> dict[str, Any]:
    return await _hold(engine, await _meant(engine.parts, asked), PAUSED, 0.0)


async def _interrupt(engine: Engine, asked: Interrupt) -> dict[str, Any]:
    asked = await _meant(engine.parts, asked)
    timeout_s = asked.timeout_s or engine.settings.signals.interrupt_timeout_s
    found = await _hold(engine, asked, INTERRUPTED, timeout_s if asked.graceful else 0.0)
    if asked.wait_s is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(asked.wait_s):
                await _stopped(engine, asked.run_id, asked.task)
        found["state"] = await _state_of(engine.parts, asked)
    return found


async def _hold(engine: Engine, asked: Pause, how: str, timeout_s: float) -> dict[str, Any]:
    body = HoldWork(
        asked.task or "", how, asked.reason, signed(asked.sender), timeout_s, asked.signal_id,
        _digest(how, asked),
    )  # fmt: skip
    return await _command(engine, asked, body)


async def _resume(engine: Engine, asked: Hold) -> dict[str, Any]:
    asked = await _meant(engine.parts, asked)
    digest = _digest("resumed", asked)
    body = ResumeWork(asked.task or "", signed(asked.sender), asked.signal_id, digest)
    return await _command(engine, asked, body)


async def _meant(parts: Parts, asked: H) -> H:
    """Return what is asked, of the run that the task is of."""
    check_id(asked.run_id, "run id")
    if asked.task is None:
        return asked
    place = await recorded_place(parts, asked.run_id, asked.task)
    return asked.model_copy(update=place._asdict())


async def _command(engine: Engine, asked: Hold, body: Any) -> dict[str, Any]:
    check_id(asked.signal_id, "signal id")
    accepted, _ = await engine.command(
        workflow_stream(asked.run_id), body, asked.signal_id, if_version=asked.if_version
    )
    state = await _state_of(engine.parts, asked)
    return {
        "signal": asked.signal_id, "run_id": asked.run_id, "task": asked.task, "state": state,
        "repeated": accepted.repeated,
    }  # fmt: skip


def _digest(what: str, asked: Signal) -> bytes:
    said = asked.model_dump(exclude={"signal_id", "wait_s", "if_version"})
    said["sender"] = signed(asked.sender)
    return blake2b(pack([what, sorted(said.items())])).digest()


async def _state_of(parts: Parts, asked: NameTask) -> str:
    """Return the state that a task or a run is in, as its facts have it."""
    return await asyncio.to_thread(_read_state, parts, asked.run_id, asked.task)


def _read_state(parts: Parts, run_id: str, task: str | None) -> str:
    stream = workflow_stream(run_id) if task is None else task_stream(run_id, task)
    state = state_at(parts, stream)
    return str(getattr(state, "held", "") or state.status)


async def _stopped(engine: Engine, run_id: str, task: str | None) -> None:
    """Return when no attempt of a task runs; of all tasks of a run, and of runs below it."""
    for name in [task] if task is not None else await asyncio.to_thread(_active, engine, run_id):
        await _task_stopped(engine, run_id, name, ATTEMPTED if task is not None else _MOVING)
        child = await asyncio.to_thread(_child_of, engine.parts, run_id, name)
        if child:
            await _stopped(engine, child, None)


async def _task_stopped(engine: Engine, run_id: str, task: str, moving: Collection[str]) -> None:
    parts, end = engine.parts, engine.parts.tail.end()
    found = follow_log(parts.tail, engine.bridge, end, run_id=run_id, at_once=64)
    async with aclosing(found) as coming:
        while await asyncio.to_thread(_read_state, parts, run_id, task) in moving:
            await anext(coming)


def _active(engine: Engine, run_id: str) -> list[str]:
    """Return the tasks of a run that are ready, or more, and have not ended."""
    run = state_at(engine.parts, workflow_stream(run_id))
    return [task.id for task in run.plan.tasks if run.statuses[task.index] == ACTIVE]


def _child_of(parts: Parts, run_id: str, task: str) -> str:
    """Return the run that a task stands for and that is not over; '': there is none."""
    found = state_at(parts, task_stream(run_id, task))
    return "" if found.status in FINAL else str(found.child_run)


async def _withdraw(engine: Engine, asked: Withdraw) -> dict[str, Any]:
    check_id(asked.signal_id, "signal id")
    for run_id in await named.hearers(engine.parts, asked.run_id) if asked.task is None else ():
        if await named.withdraw(engine, run_id, asked.signal_id, asked.reason):
            return {"signal_id": asked.signal_id}
    run_id, task = await _told(engine.parts, asked)
    body = WithdrawSignal(task, asked.signal_id, asked.reason)
    await engine.command(workflow_stream(run_id), body)
    return {"signal_id": asked.signal_id}


async def _state(engine: Engine, asked: AwaitSignal) -> dict[str, Any]:
    check_id(asked.signal_id, "signal id")
    for run_id in await named.hearers(engine.parts, asked.run_id) if asked.task is None else ():
        sent = Signalled(asked.signal_id, run_id, "", "")
        with suppress(SignalNotFound):
            return asdict(await told_at(engine, NamedStory(sent), asked.wait, asked.timeout_s))
    run_id, task = await _told(engine.parts, asked)
    story = Story(Signalled(asked.signal_id, run_id, task, ""))
    return asdict(await told_at(engine, story, asked.wait, asked.timeout_s))


async def _told(parts: Parts, asked: Withdraw | AwaitSignal) -> Place:
    """Return which task a signal was said to that was not sent to the run itself by a name."""
    try:
        return await placed(parts, asked)
    except UsageInvalid as error:
        msg = f"run {asked.run_id} was sent no signal {asked.signal_id} by a name"
        hint = f"if it was said to a task, say which: {error.hint}"
        raise SignalNotFound(msg, hint=hint) from None


def _named(found: dict[str, Any]) -> Signalled:
    return Signalled(**found)


ANSWER: Final = "`{signal, run_id, task, state, attempt, reason, repeated}`"
_STATE: Final = "`{signal, run_id, task, state, repeated}`"
OPERATIONS: Final = (
    act("signal.steer", Steer, _steer, "Change parameters of a task.", ANSWER, idle=True),
    act("signal.message", Say, _say, "Say something to the agent of a task.", ANSWER, idle=True),
    act("signal.withdraw", Withdraw, _withdraw, "Take back what nobody took.",
        "`{signal_id}`", idle=True),
    act("signal.interrupt", Interrupt, _interrupt, "Stop a task or a run, keeping its state.",
        _STATE, idle=True),
    act("signal.pause", Pause, _pause, "Let nothing of a task or a run start.", _STATE, idle=True),
    act("signal.resume", Hold, _resume, "Let a task or a run go on.", _STATE, idle=True),
    act("signal.state", AwaitSignal, _state, "Tell what became of a signal.", ANSWER, idle=True),
)  # fmt: skip
