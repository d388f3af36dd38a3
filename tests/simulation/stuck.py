"""Lose a message, which no engine should ever do, and let everything else happen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.auditor import Auditor
from goclaw_actors.lending import Enqueue, Release
from goclaw_actors.message import Message
from goclaw_actors.messages import (
    ChildEnded,
    JudgeRun,
    ScheduleTask,
    SlotLeased,
    TaskReported,
    TimerFired,
)
from goclaw_actors.why.live import LiveSight
from goclaw_actors.work import Outcome
from goclaw_events.ids import owner_stream
from tests.simulation.run import heal_round

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.why import Sight
    from goclaw_actors.why.passive import Passive
    from tests.simulation.world import World

LOSABLE = (
    ScheduleTask, SlotLeased, Enqueue, Release, TaskReported, ChildEnded, TimerFired, Outcome,
)  # fmt: skip
QUIET_ROUNDS = 60


def auditor_of(world: World) -> Auditor:
    """Return an auditor of the node of the moment."""

    def look(at: Callable[[Sight], Any], passive: Passive) -> Any:
        dispatchers = world.node.dispatchers
        now_ns = max(dispatcher._last_ns for dispatcher in dispatchers)
        return at(LiveSight(dispatchers, passive, place_of, now_ns, brief=True))

    def place_of(token: Any) -> str:
        return "here" if world.executor.holds(token) else ""

    def judge(run_id: str, evidence: list[list[str]]) -> None:
        world.node.accept(Message(owner_stream(run_id), JudgeRun(evidence)))

    return Auditor(world.journal, world.kinds, look, judge, lambda _: False)


def lose_a_message(world: World) -> None:
    """Let the next message of some kind never reach its inbox."""
    kind = world.rng.choice(LOSABLE)
    for dispatcher in world.node.dispatchers:
        _lose(dispatcher.turns, kind)


def _lose(turns: Any, kind: type) -> None:
    deliver = turns.deliver

    def but_one(message: Message) -> None:
        if type(message.body) is kind:
            turns.deliver = deliver
        else:
            deliver(message)

    turns.deliver = but_one


def come_to_rest(world: World) -> None:
    """Let everything happen that can, until nothing has happened for long."""
    world.calm = True
    quiet = 0
    while quiet < QUIET_ROUNDS:
        quiet = 0 if heal_round(world) else quiet + 1
        wake_ns = world.node.wake_ns()
        world.time.advance(max(wake_ns - world.clock.now_ns(), 10**6))
