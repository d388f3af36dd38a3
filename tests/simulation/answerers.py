"""Whoever sends signals by their names, and people who are asked; each taken once, none lost."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.answering import DecideTask, SendNamed, WithdrawNamed
from goclaw_actors.decider import Refused
from goclaw_actors.message import Message, Reply
from goclaw_events.ids import workflow_stream
from tests.simulation.pathways import ENDS, generations
from tests.simulation.talkers import some_task

if TYPE_CHECKING:
    from tests.simulation.history import Entry
    from tests.simulation.world import World

NAMES: Final = ("go", "stop")
SIGNALS: Final = 5
KEPT_MAX: Final = 4
DEADLINES_NS: Final = {"2": 10**8, "3": 10**11}
"""By the number of a signal."""
EXPECTED: Final = frozenset(
    {
        "approval_decided", "approval_forbidden", "approval_not_open", "command_conflict",
        "run_finished", "run_not_found", "signal_invalid", "signal_not_found", "signal_unknown",
        "signals_full", "task_finished", "task_not_found",
    }
)  # fmt: skip
"""What may be answered at any time."""
_HELD: Final = frozenset({"task.paused", "task.interrupted"})
_ANSWERED: Final = ENDS | {"task.answered"}


def answer(world: World) -> None:
    """Send some run a signal, take it back, or decide about some task; often as before."""
    rng = world.rng
    run_id, task = some_task(world)
    number = rng.randrange(SIGNALS)
    drawn = rng.random()
    if drawn < 0.1:
        _tell(world, run_id, WithdrawNamed(f"{rng.choice(NAMES)}-{number}", "sim", "sim"), "", b"")
        return
    if drawn < 0.6:
        name = rng.choice(NAMES) + rng.choice(["", "", "-0", "-1"])
        digest = b"other" if rng.random() < 0.05 else f"{name}-{number}".encode()
        send(world, run_id, name, f"{name}-{number}", digest)
        return
    asked = [place for place in _open(world) if not place[2]]
    if asked and rng.random() < 0.8:
        run_id, task, _ = rng.choice(asked)
    verdict, uid = rng.choice(["approved", "rejected"]), rng.choice([1, 1, 2])
    decide(world, (run_id, task), verdict, f"{task}-{verdict}-{number}", uid)


def send(world: World, run_id: str, name: str, signal: str, digest: bytes) -> None:
    """Send a run a signal; some have a deadline."""
    late_ns = DEADLINES_NS.get(signal.rpartition("-")[2], 0)
    deadline_ns = world.clock.now_ns() + late_ns if late_ns else 0
    body = SendNamed(name, signal, {"n": len(digest)}, "sim", digest, KEPT_MAX, deadline_ns)
    _tell(world, run_id, body, signal, digest)


def decide(world: World, place: tuple[str, str], verdict: str, command: str, uid: int) -> None:
    """Decide about a task as a user of a number, of whom only the first may."""
    run_id, task = place
    digest = f"{command} {uid}".encode()
    body = DecideTask(
        task, command, verdict, None, False, f"uid:{uid}", [f"uid:{uid}"], "", "sim", digest
    )
    _tell(world, run_id, body, command, digest)


def answer_all(world: World) -> None:
    """Let nothing wait for an answer that nobody gives any more."""
    world.history.update(world.journal)
    for run_id, task, signal in _open(world):
        command = f"last-{len(world.answered)}-{task}"
        world.answered.append(command)
        if signal:
            send(world, run_id, signal, command, command.encode())
        else:
            decide(world, (run_id, task), "approved", command, 1)


def _open(world: World) -> list[tuple[str, str, str]]:
    """Return the tasks that wait for an answer, each with its signal, '' where people are asked."""
    found = []
    for stream, entries in world.history.of_kind("task"):
        _, run_id, task = stream.split("/", 2)
        facts = generations(entries)[-1]
        awaits = [entry.decoded for entry in facts if entry.fact.type == "task.awaiting"]
        types = [entry.fact.type for entry in facts]
        is_over = run_id in world.history.ended or _ANSWERED & set(types)
        if awaits and not is_over and types[-1] not in _HELD:
            found.append((run_id, task, awaits[-1].signal))
    return found


def _tell(world: World, run_id: str, body: Any, command: str, digest: bytes) -> None:
    message = Message(workflow_stream(run_id), body)
    if command:
        message.command_id, message.digest = command, digest
    message.reply_to = lambda reply: _answered(world, run_id, body, reply)
    world.node.accept(message)


def _answered(world: World, run_id: str, body: Any, reply: Reply) -> None:
    """Take an answer in: what was accepted is durable by then."""
    world.points.hit("reply")
    name, refused = type(body).__name__, reply.answer
    if isinstance(refused, Refused):
        if refused.code not in EXPECTED:
            world.clients.check_refused(refused, run_id)
        world.note(f"{name} refused: {refused.code}", run_id)
        return
    assert reply.position is not None, f"{refused.id} was answered without a position"
    durable = world.journal.durable(reply.position.partition)
    assert reply.position.number <= durable, f"{refused.id} was answered before it is durable"
    world.note(f"{name} accepted", run_id)
    if isinstance(body, WithdrawNamed):
        return
    task = body.task if isinstance(body, DecideTask) else ""
    known = world.answers.setdefault((run_id, refused.id), (task, body.digest))
    assert known == (task, body.digest), f"{refused.id} was accepted with two bodies"


# -- what must hold -------------------------------------------------------------------------------


def check_answers(world: World) -> None:
    """Check signals in each run, answers in each task, and that what was accepted is there."""
    received: dict[tuple[str, str], str] = {}
    given: dict[tuple[str, str], list[str]] = {}
    for stream, entries in world.history.of_kind("workflow"):
        run_id = stream.partition("/")[2]
        _check_run(world, run_id, entries, received, given)
    taken: set[tuple[str, str]] = set()
    for stream, entries in world.history.of_kind("task"):
        _, run_id, task = stream.split("/", 2)
        for facts in generations(entries):
            answered = [e.decoded for e in facts if e.fact.type == "task.answered"]
            assert len(answered) <= 1, f"{stream} was answered {len(answered)} times"
            for fact in answered:
                place = (run_id, fact.answer)
                if fact.verdict != "signal":
                    assert fact.sender in ("uid:1", ""), f"{fact.sender} decided about {stream}"
                    continue
                assert task in given.get(place, ()), f"{stream} took {fact.answer}, not given to it"
                assert place not in taken, f"{fact.answer} was taken twice in {run_id}"
                taken.add(place)
    for (run_id, said), (task, _) in sorted(world.answers.items()):
        if not task:
            assert (run_id, said) in received, f"{said} to {run_id} was answered and is lost"
            continue
        own = world.history.streams.get(f"task/{run_id}/{task}", [])
        found = [e for e in own if e.fact.type == "task.answered" and e.decoded.answer == said]
        assert len(found) == 1, f"{said} about {run_id}/{task} was answered and is lost"


def _check_run(
    world: World,
    run_id: str,
    entries: list[Entry],
    received: dict[tuple[str, str], str],
    given: dict[tuple[str, str], list[str]],
) -> None:
    """Follow the signals of a run: kept in order, given from the oldest on, left at its end."""
    kept: dict[str, list[str]] = defaultdict(list)
    deadlines: dict[str, int] = {}
    for entry in entries:
        fact, kind = entry.decoded, entry.fact.type
        if kind == "run.signal_received":
            assert (run_id, fact.signal) not in received, f"{fact.signal} came twice to {run_id}"
            received[run_id, fact.signal] = fact.name
            kept[fact.name].append(fact.signal)
            deadlines[fact.signal] = fact.deadline_ns
        elif kind == "run.signal_returned":
            kept[fact.name].insert(0, fact.signal)
        elif kind == "run.signal_awaited":
            assert not kept[fact.name], f"{run_id}/{fact.task} waits beside {kept[fact.name]}"
        elif kind == "run.signal_given":
            assert kept[fact.name].pop(0) == fact.signal, f"{fact.signal} overtakes in {run_id}"
            given.setdefault((run_id, fact.signal), []).append(fact.task)
        elif kind == "run.signal_ended":
            kept[fact.name].remove(fact.signal)
            due_ns = deadlines[fact.signal]
            assert fact.state != "expired" or 0 < due_ns <= entry.time_ns, f"{fact.signal} too soon"
        elif kind == "run.signals_left":
            left = [signal for signals in kept.values() for signal in signals]
            assert sorted(fact.signals) == sorted(left), f"{run_id} leaves {fact.signals}"
            kept.clear()
    if run_id in world.history.ended:
        assert not any(kept.values()), f"{run_id} ended beside {kept}"
