"""The faults: each a step that the simulation takes now and then, by the rate of its kind."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from goclaw_actors.work import AttemptToken, Outcome
from goclaw_events.frame import message_record
from goclaw_events.value import unpack
from tests.simulation.adjusters import adjust
from tests.simulation.answerers import answer
from tests.simulation.damage import flip_a_bit
from tests.simulation.disk import broken, full
from tests.simulation.failpoints import FAILPOINTS
from tests.simulation.gatherers import gather
from tests.simulation.letters import decide
from tests.simulation.operators import control
from tests.simulation.pathways import change
from tests.simulation.schedulers import schedule
from tests.simulation.spawners import spawn
from tests.simulation.steppers import step
from tests.simulation.talkers import hold, talk
from tests.simulation.travellers import travel

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.world import World

SECOND_NS = 10**9
COMMAND_IDS = 3


def crash(world: World) -> None:
    """Kill the process between two steps."""
    world.restart()


def failpoint(world: World) -> None:
    """Let the process die at a named point, soon."""
    name = world.rng.choice(FAILPOINTS)
    world.points.arm(name, world.rng.choice([1, 1, 2, 3, 10]))
    if name == "open":
        crash(world)


def power(world: World) -> None:
    """Cut the power."""
    world.restart(power=True)


def stop(world: World) -> None:
    """Stop the process as asked, and start it again."""
    world.stop()


def full_disk(world: World) -> None:
    """Let the disk be full for a while: the commit fails, written or not, and so do reopenings."""
    disk = world.journal
    if world.node.failure is not None or not disk.waiting:
        return
    world.commits_failed += 1
    disk.write(world.rng.randint(0, disk.waiting))
    disk.full_reopens = world.rng.choice([0, 0, 1, 3])
    if disk.full_reopens:
        world.note("disk still full when reopened")
    _fail(world, "disk full")


def failing_flush(world: World) -> None:
    """Let a flush fail after a good write: some, all or none of it is there afterwards."""
    disk = world.journal
    if world.node.failure is None and disk.waiting:
        world.commits_failed += 1
        disk.write()
        _fail(world, "failed flush")


def _fail(world: World, what: str) -> None:
    disk = world.journal
    lost = world.rng.randint(0, disk.unflushed)
    world.note(f"{what}: written" if lost < disk.unflushed else f"{what}: not written", lost)
    disk.fail(full(), lost)


def input_output_error(world: World) -> None:
    """Let the disk report an error at one of the next calls, whatever it is."""
    world.journal.fail_at(world.rng.choice([0, 1, 2, 5, 20]), broken())


def jump(world: World) -> None:
    """Set the wall clock, up to an hour forward or back."""
    ns = world.rng.choice([-3600, -61, -5, 1, 61, 3600]) * SECOND_NS
    world.time.jump(ns)
    world.note("clock set forward" if ns > 0 else "clock set back", ns)


def suspend(world: World) -> None:
    """Let the machine sleep, for up to an hour."""
    world.time.suspend(world.rng.choice([30, 600, 3600]) * SECOND_NS)
    world.note("machine suspended")


def drift(world: World) -> None:
    """Let the wall clock run faster or slower."""
    world.time.drift_ppm = world.rng.choice([-500, -50, 0, 50, 500])
    world.note("clock drifts", world.time.drift_ppm)


def _some_run(world: World) -> str:
    known = sorted(world.clients.submitted)
    if known and world.rng.random() < 0.9:
        return world.rng.choice(known)
    return f"r{world.rng.randrange(world.options.runs)}"


def repeat(world: World) -> None:
    """Submit a run again."""
    run_id = _some_run(world)
    if run_id in world.clients.submitted:
        world.clients.submit(run_id)


def conflict(world: World) -> None:
    """Submit another run under the id of one, perhaps before it; or reuse a command's id."""
    if world.rng.random() < 0.3:
        world.clients.cancel(_some_run(world), 0, b"another body")
    else:
        world.clients.submit(_some_run(world), 1)


def cancel(world: World) -> None:
    """Ask for a run to be cancelled."""
    world.clients.cancel(_some_run(world), world.rng.randrange(COMMAND_IDS))


def attend(world: World) -> None:
    """Cancel a run by a process that is there for that only."""
    world.note("cancelled by a process that begins nothing")
    world.attend(lambda: cancel(world))


def storm(world: World) -> None:
    """Ask for every run to be cancelled, several times each."""
    world.note("cancel storm")
    for number in range(world.options.runs):
        for which in range(COMMAND_IDS):
            world.clients.cancel(f"r{number}", which)


def late(world: World) -> None:
    """Deliver an outcome once more, long after it was handled or its attempt was lost."""
    if world.late:
        outcome = world.late.pop(world.rng.randrange(len(world.late)))
        world.note("late outcome delivered again")
        world.node.accept_outcomes([outcome])


def forged(world: World) -> None:
    """Deliver an outcome under a token that the task never had, or has no more."""
    started = sorted(world.ever_started)
    if not started:
        return
    attempt = world.ever_started[world.rng.choice(started)]
    world.history.update(world.journal)
    tokens = [
        entry.decoded.token
        for entry in world.history.streams[attempt.stream]
        if entry.fact.type == "task.attempt_started"
    ]
    number = world.rng.randint(0, world.journal.durable(attempt.token.partition))
    if number not in tokens:
        world.note("outcome under a forged token")
        token = AttemptToken(attempt.token.partition, attempt.token.era, number)
        world.node.accept_outcomes([Outcome(attempt.stream, token, "completed", {"n": 666})])


def redeliver(world: World) -> None:
    """Deliver messages between two partitions once more, as a network may."""
    if not world.journal.at_rest or world.node.failure is not None:
        return
    prefix = world.rng.choice(world.node.dispatchers).partition.to_bytes(2, "big")
    rows = list(world.journal._rows.scan("outbox", prefix, None))
    rows = [row for row in rows if row[0].startswith(prefix)]
    if not rows:
        return
    at = world.rng.randrange(len(rows))
    source, peer, counter = struct.unpack(">HHQ", rows[at][0])
    some = [row for row in rows[at : at + world.rng.randint(1, 4)] if row[0][:4] == rows[at][0][:4]]
    exchange = world.node.dispatchers[peer].exchange
    if counter <= exchange.taken_from(source) + 1:
        world.note("message of another partition delivered twice", counter)
        exchange.receive(source, counter, [message_record(unpack(value)) for _, value in some])


FAULTS: dict[str, Callable[[World], None]] = {
    "crash": crash,
    "failpoint": failpoint,
    "power": power,
    "stop": stop,
    "full": full_disk,
    "flush": failing_flush,
    "eio": input_output_error,
    "flip": flip_a_bit,
    "jump": jump,
    "suspend": suspend,
    "drift": drift,
    "repeat": repeat,
    "conflict": conflict,
    "cancel": cancel,
    "storm": storm,
    "attend": attend,
    "late": late,
    "forged": forged,
    "redeliver": redeliver,
    "control": control,
    "signal": talk,
    "hold": hold,
    "collect": gather,
    "adjust": adjust,
    "answer": answer,
    "path": change,
    "saga": travel,
    "dead": decide,
    "step": step,
    "schedule": schedule,
    "spawn": spawn,
}
"""The kinds that are steps; the others (`fail`, `large`, `bug`...) color steps of every day."""
