"""Whoever collects how tasks and runs end: at random, and members that come later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.collecting import (
    AddMembers,
    CancelCollector,
    CloseCollector,
    OpenCollector,
)
from goclaw_actors.decider import Refused
from goclaw_actors.message import Message, Reply
from goclaw_events.ids import collector_stream
from tests.simulation.collector_model import waiting

if TYPE_CHECKING:
    from tests.simulation.world import World

COLLECTORS: Final = 8
EXPECTED: Final = frozenset({"collector_not_found", "collector_ended", "command_conflict"})
_RULES: Final = ("all", "all", "any", "first_n", "quorum", "majority", "majority")


def gather(world: World) -> None:
    """Open some collector, again or anew; add members to one that takes them; end one."""
    rng = world.rng
    name = f"c{rng.randrange(COLLECTORS)}"
    drawn = rng.random()
    if drawn < 0.6:
        _open(world, name)
    elif drawn < 0.85:
        _add(world, rng.choice(_taking(world) or [name]))
    elif drawn < 0.93:
        _send(world, rng.choice(_taking(world) or [name]), CloseCollector())
    else:
        _send(world, name, CancelCollector("sim"))


def close_all(world: World) -> None:
    """Let no collector wait for members that nobody brings any more."""
    world.history.update(world.journal)
    for name in _taking(world):
        _send(world, name, CloseCollector())


def collecting(world: World) -> set[str]:
    """Return the collectors that should have ended by now, once nothing fails any more."""
    if world.history.poisoned:
        return set()  # a run that was given up may never say how its tasks end
    return {
        stream
        for stream, entries in world.history.of_kind("collector")
        if entries[-1].fact.type != "collector.ended"
    }


def _taking(world: World) -> list[str]:
    """Return the collectors that take members, as the log has them: own ones of tasks, too."""
    return [
        stream.partition("/")[2]
        for stream, entries in world.history.of_kind("collector")
        if waiting(entries)
    ]


def _open(world: World, name: str) -> None:
    rng = world.rng
    known = world.collectors.get(name)
    if known is not None and rng.random() < 0.8:
        body = known if rng.random() < 0.9 else known._replace(digest=b"other")
        _send(world, name, body)
        return
    if known is not None:
        return
    members = _members(world, 4)
    rule, live = rng.choice(_RULES), rng.random() < 0.3
    count = sum(len(tasks) for _, tasks in members)
    wanted = {"all": 0, "any": 1}.get(rule, rng.choice([-1, 1, 2]))
    if not live:
        wanted = min(wanted, max(count, 1))
    due_ns = world.clock.now_ns() + rng.choice([10**9, 10**12]) if rng.random() < 0.2 else 0
    places: list[list[str | int]] = [["n"], []]
    by = rng.choice(places) if rule == "majority" else None
    failures_max = rng.choice([None, None, None, 0, 1])
    body = OpenCollector(
        rule, wanted, by, failures_max, due_ns, members, name.encode(), "sim",
        select={"labels": {}} if live else None, live=live, members_count=count,
    )  # fmt: skip
    world.collectors[name] = body
    _send(world, name, body)


def _add(world: World, name: str) -> None:
    _send(world, name, AddMembers(_members(world, 3), world.rng.random() < 0.1))


def _members(world: World, most: int) -> list[list[Any]]:
    """Return some members of some runs, that may not be there, or not yet."""
    rng = world.rng
    found: dict[str, dict[str, None]] = {}
    for _ in range(rng.randint(1, most)):
        run_id = rng.choice([*sorted(world.clients.submitted), "r99"])
        tasks = ["", "none", "t0"]
        if run_id in world.clients.submitted:
            tasks += [task.id for task in world.clients.submitted[run_id][0].plan.tasks] * 3
        found.setdefault(run_id, {})[rng.choice(tasks)] = None
    return [[run_id, list(tasks)] for run_id, tasks in found.items()]


def _send(world: World, name: str, body: Any) -> None:
    message = Message(collector_stream(name), body)
    message.reply_to = lambda reply: _answered(world, name, body, reply)
    world.node.accept(message)


def _answered(world: World, name: str, body: Any, reply: Reply) -> None:
    world.points.hit("reply")
    kind = type(body).__name__
    if isinstance(reply.answer, Refused):
        if reply.answer.code not in EXPECTED:
            world.clients.check_refused(reply.answer, name)
        world.note(f"{kind} refused: {reply.answer.code}", name)
        return
    world.note(f"{kind} accepted", name)
    if isinstance(body, OpenCollector):
        assert reply.position is not None, f"{name} was answered without a position"
        durable = world.journal.durable(reply.position.partition)
        assert reply.position.number <= durable, f"{name} was answered before it is durable"
        world.collecting.setdefault(name, body.digest)
        assert world.collecting[name] == body.digest, f"{name} was opened by two requests"
