"""How a task is run, changed while it is not over."""

from __future__ import annotations

from dataclasses import asdict
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from goclaw.adjustments import adjustments
from goclaw.asker import signed
from goclaw.operations.operation import act
from goclaw.operations.signals import ANSWER, Signal, placed
from goclaw.signals import CONSUMED, Signalled
from goclaw.task_places import definition_plan, planned_task
from goclaw_actors.adjusting import AdjustTask
from goclaw_events.ids import check_id, workflow_stream
from goclaw_events.value import pack

if TYPE_CHECKING:
    from goclaw.engine import Engine


class Adjust(Signal):
    """What is to be different."""

    changes: dict[str, Any]
    """`priority`, `lane`, `timeout`, `retry`, `deadline` (from now), as a definition writes them;
    null takes a timeout or a deadline back."""


async def _adjust(engine: Engine, asked: Adjust) -> dict[str, Any]:
    parts = engine.parts
    check_id(asked.signal_id, "signal id")
    run_id, task = place = await placed(parts, asked)
    planned = await planned_task(parts, place)
    plan = definition_plan(parts, run_id)
    changes = adjustments(asked.changes, planned, plan, parts.settings, parts.clock.now_ns())
    sender = signed(asked.sender)
    digest = blake2b(pack(["adjust", sorted(asked.changes.items()), sender])).digest()
    body = AdjustTask(task, asked.signal_id, changes, sender, digest)
    accepted, _ = await engine.command(workflow_stream(run_id), body, asked.signal_id)
    told = Signalled(asked.signal_id, run_id, task, CONSUMED, repeated=accepted.repeated)
    return asdict(told)


OPERATIONS: Final = (
    act("signal.adjust", Adjust, _adjust, "Change how a task is run.", ANSWER, idle=True),
)
