"""Whoever begins sagas beside the runs, the service that they use, and a person for them.

The service takes an effect when an attempt of an action completed, and perhaps when nobody knows:
when it timed out, was stopped, was given up, or died with its process.
"""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.compensating import CompensateSaga, ResolveSaga, RetrySaga
from goclaw_actors.decider import Refused
from goclaw_actors.lending import DeclareLane
from goclaw_actors.message import Message, Reply
from goclaw_actors.saga.decide import SAGAS
from goclaw_actors.saga.state import AWAITING, FAILED, FINAL
from goclaw_actors.task.doubt import UNKNOWN
from goclaw_events.ids import is_saga, lane_stream, plain_id, routing_key, saga_key, saga_stream
from goclaw_events.plan import unpack_plan
from tests.actors.sagas import submission
from tests.simulation.saga_author import UNDO, SagaPlan, write_saga
from tests.simulation.saga_rules import check_ledger, check_order

if TYPE_CHECKING:
    from goclaw_actors.work import Outcome, StartAttempt
    from goclaw_events.value import BlobRef
    from tests.simulation.world import World

SAGAS_MAX: Final = 2
DEPTH_MAX: Final = 3
WIDTH_MAX: Final = 3
WAITS: Final = frozenset({"saga.alarmed", "saga.compensation_awaited"})
EXPECTED: Final = frozenset({"saga_not_ready", "saga_finished", "saga_not_found"})


def travel(world: World) -> None:
    """Begin a saga, or the same one again, or have one called back, or looked after."""
    rng = world.rng
    saga_id = f"g{rng.randrange(SAGAS_MAX)}"
    if saga_id not in world.sagas or rng.random() < 0.3:
        begin(world, saga_id)
    elif rng.random() < 0.2:
        _say(world, saga_id, CompensateSaga("changed my mind", "sim"))
    else:
        look_after(world)


def begin(world: World, saga_id: str) -> None:
    """Submit a saga, or the same one again."""
    plan = world.sagas.get(saga_id)
    if plan is None:
        rng = random.Random(f"saga {world.seed} {saga_id}")
        plan = world.sagas[saga_id] = write_saga(rng, saga_id, DEPTH_MAX, WIDTH_MAX)
        limit = DeclareLane(rng.choice([1, 1, 100]), 1_000, "reject", "sim")
        world.node.accept(Message(lane_stream(SAGAS), limit))
    message = submission(plan.steps, saga_id, **plan.head)
    for ref, data in (message.blobs or {}).items():
        if ref == message.body.definition.sha256:
            world.contents.hold(message.body.definition, unpack_plan(data))
    message.reply_to = partial(_begun, world, saga_id)
    world.node.accept(message)


def scheduled_saga(world: World) -> tuple[BlobRef, bytes, str]:
    """Return the saga that schedules, and tasks, begin: its definition, as stored, and its name."""
    if world.scheduled_saga is None:
        rng = random.Random(f"scheduled saga {world.seed}")
        world.scheduled_saga = write_saga(rng, "", 2, 2)
    plan = world.scheduled_saga
    body = (message := submission(plan.steps, **plan.head)).body
    return body.definition, (message.blobs or {})[body.definition.sha256], body.name


def _adopt(world: World) -> None:
    """Know the sagas that schedules, and tasks, have begun."""
    for stream, entries in world.history.of_kind("saga"):
        said = entries[0].decoded
        if said.parent or said.submitted_by.startswith("schedule/"):
            saga_id = plain_id(routing_key(stream))
            assert world.scheduled_saga is not None, f"nobody scheduled {saga_id}"
            world.sagas[saga_id] = world.scheduled_saga._replace(saga_id=saga_id)
            world.sagas_begun.add(saga_id)


def look_after(world: World) -> None:
    """Be the person whom sagas wait for: retry compensations, have manual steps undone.

    What goes through a lane that was given up cannot be undone any more, and is seen to by hand.
    """
    if world.sagas or world.scheduled_saga:
        world.history.update(world.journal)
        _adopt(world)
    for saga_id in sorted(world.sagas):
        status = status_of(world, saga_id)
        if status == FAILED and world.history.poisoned:
            _say(world, saga_id, ResolveSaga("its lane was given up", "sim"))
        elif status == FAILED:
            _say(world, saga_id, RetrySaga("sim"))
        elif status == AWAITING:
            _say(world, saga_id, CompensateSaga("yes", "sim"))


def _say(world: World, saga_id: str, body: Any) -> None:
    message = Message(saga_stream(saga_id), body)
    message.reply_to = partial(_answered, world, saga_id, type(body).__name__)
    world.node.accept(message)


def _begun(world: World, saga_id: str, reply: Reply) -> None:
    world.points.hit("reply")
    if isinstance(reply.answer, Refused):
        world.clients.check_refused(reply.answer, saga_id)
        return
    assert reply.position is not None, f"{saga_id} was answered without a position"
    durable = world.journal.durable(reply.position.partition)
    assert reply.position.number <= durable, f"{saga_id} was answered before it is durable"
    world.note("saga begun", saga_id)
    world.sagas_begun.add(saga_id)


def _answered(world: World, saga_id: str, what: str, reply: Reply) -> None:
    world.points.hit("reply")
    if not isinstance(reply.answer, Refused):
        world.note(f"{what} accepted", saga_id)
    elif reply.answer.code not in EXPECTED:
        world.clients.check_refused(reply.answer, saga_id)


# -- the service ---------------------------------------------------------------------------------


def ended(world: World, attempt: StartAttempt, outcome: Outcome) -> None:
    """Let an attempt that ends have had its effect, as its outcome says or leaves open."""
    if not is_saga(attempt.run_id):
        return
    plan = world.sagas.get(plain_id(attempt.run_id)) or world.scheduled_saga
    assert plan is not None, f"nobody began {attempt.run_id}"
    step = attempt.task_id.removesuffix(UNDO)
    of_action = step == attempt.task_id
    open_ = outcome.abandoned or outcome.code in UNKNOWN or outcome.status == "cancelled"
    open_ = open_ or not of_action or plan.steps[step].get("in_doubt") == "failed"
    if outcome.status == "completed" or (open_ and world.rng.random() < 0.5):
        _take(world, attempt)


def maybe(world: World, attempt: StartAttempt) -> bool:
    """Let code that dies with its process, or that was given up, have had its effect, or not.

    Return whether it may have said that it completed: only if it had its effect.
    """
    if not is_saga(attempt.run_id):
        return True
    has_effect = world.rng.random() < 0.4
    if has_effect:
        _take(world, attempt)
    return has_effect


def _take(world: World, attempt: StartAttempt) -> None:
    own = attempt.idempotency_key
    if world.options.rate("bug"):
        return  # what a bug swallowed is taken as failed: then nothing is promised of effects
    if not attempt.task_id.endswith(UNDO):
        world.saga_ledger.take(own)
        return
    params: Any = attempt.params
    step = attempt.task_id.removesuffix(UNDO)
    assert params["key"] == f"{attempt.run_id}/{step}/0", "it undoes its own step"
    if params["in_doubt"]:
        world.note("saga: undone in doubt")
    else:
        assert params["key"] in world.saga_ledger.effects, f"{params['key']} had no effect"
    world.saga_ledger.undo(params["key"], own)


# -- what must hold ------------------------------------------------------------------------------


def status_of(world: World, saga_id: str) -> str:
    """Return in what state a saga is by its durable facts."""
    stream, decider = saga_stream(saga_id), world.kinds["saga"]
    saga = decider.initial(stream)
    for entry in world.history.streams.get(stream, ()):
        saga = decider.evolve(saga, entry.decoded)
    return str(saga.status)


def going(world: World) -> list[str]:
    """Return the sagas that were begun and have not ended; one that was given up has no end."""
    _adopt(world)
    given_up = {stream.partition("/")[2] for stream in world.history.poisoned}
    return [
        saga_id
        for saga_id in world.sagas
        if saga_id not in world.sagas_begun
        or (status_of(world, saga_id) not in FINAL and saga_key(saga_id) not in given_up)
    ]


def check_sagas(world: World) -> None:
    """Check every saga once nothing fails any more: its end, the ledger, and the order."""
    _adopt(world)
    for saga_id, plan in world.sagas.items():
        status = status_of(world, saga_id)
        world.note(f"saga {status}")
        if ":" in saga_id:
            world.note("saga begun by a schedule")
        entries = world.history.streams.get(saga_stream(saga_id), ())
        if entries and entries[0].decoded.parent:
            is_item = ":" in entries[0].decoded.parent
            world.note("saga begun by an item" if is_item else "saga begun by a task")
        for entry in entries:
            if entry.fact.type in WAITS:
                world.note(entry.fact.type)
        if world.options.rate("bug"):
            continue
        _check(world, plan, status)


def _check(world: World, plan: SagaPlan, status: str) -> None:
    streams = world.history.streams

    def has_begun(step: str) -> bool:
        own = streams.get(f"task/{saga_key(plan.saga_id)}/{step}", ())
        return any(entry.fact.type == "task.attempt_started" for entry in own)

    facts = [entry.decoded for entry in streams[saga_stream(plan.saga_id)]]
    check_ledger(plan, status, world.saga_ledger, has_begun)
    check_order(plan, world.saga_ledger, facts)
