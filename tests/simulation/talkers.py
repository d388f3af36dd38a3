"""Whoever talks to tasks, and handlers that listen; and that nothing was lost or came twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.adjusting import AdjustTask
from goclaw_actors.decider import Refused
from goclaw_actors.message import Message, Reply
from goclaw_actors.signalling import HoldWork, ResumeWork, SendSignal, WithdrawSignal
from goclaw_actors.work import Consumed, Interrupt, Offer, Outcome, Retract, Saved, Signal
from goclaw_events.ids import is_saga, is_spawned, workflow_stream
from tests.simulation.pathways import generations

if TYPE_CHECKING:
    from goclaw_actors.work import AttemptToken
    from tests.simulation.history import Entry
    from tests.simulation.world import World

KNOB: Final = "knob"
"""The parameter that is steered; no workload reads it."""
SIGNALS_PER_TASK: Final = 12
BELOW: Final = 0.3
"""So often one that was spawned, or an item of a list, is talked to, where there is one."""
ENDS: Final = frozenset({"completed", "failed", "cancelled", "dropped"})


def talk(world: World) -> None:
    """Let somebody say something, or take it back, or a handler listen."""
    drawn = world.rng.random()
    if drawn < 0.4:
        say(world)
    elif drawn < 0.45:
        withdraw(world)
    else:
        listen(world)


def say(world: World) -> None:
    """Say something to some task of some run; often what was said before, now and then else."""
    rng = world.rng
    run_id, task = some_task(world)
    number = rng.randrange(SIGNALS_PER_TASK)
    signal = f"{task}-{number}"
    body: Any = f"body {number}"
    kind, mode = ("params", "steer") if number % 4 == 0 else ("message", "steer")
    if kind == "params":
        body = {KNOB: number}
    elif number % 4 == 3:
        mode = ("followup", "coalesce", "reject")[number // 4]
    digest = signal.encode()
    if rng.random() < 0.05:
        digest, body = b"other", {KNOB: -1} if kind == "params" else "other"
    deadline_ns = 0
    if number == 5:
        deadline_ns = world.clock.now_ns() + rng.choice([1, 10**9, 10**11])
    said = SendSignal(
        task, signal, kind, mode, body, "sim", digest, deadline_ns, 0.5, 4, [KNOB]
    )  # fmt: skip
    _send(world, run_id, said, signal, digest)


def withdraw(world: World) -> None:
    """Take some message back."""
    run_id, task = some_task(world)
    signal = f"{task}-{world.rng.randrange(SIGNALS_PER_TASK)}"
    _send(world, run_id, WithdrawSignal(task, signal, "sim"), "", b"")


def hold(world: World) -> None:
    """Let a task, or a run, stand still, or go on."""
    rng = world.rng
    run_id, task = some_task(world)
    task = rng.choice([task, task, ""])
    how = rng.choice(["interrupted", "paused", "on", "on"])
    command = rng.choice(["", f"{how}-{task}"])
    digest = command.encode()
    body: Any = ResumeWork(task, "sim", command, digest)
    if how != "on":
        body = HoldWork(task, how, "sim", "sim", rng.choice([0.0, 5.0]), command, digest)
    _send(world, run_id, body, command, digest)


def resume_all(world: World) -> None:
    """Let everything go on that stands still."""
    for kind in ("workflow", "task"):
        for stream, entries in world.history.of_kind(kind):
            _, run_id, *task = stream.split("/", 2)
            if run_id in world.history.ended:
                continue
            if _stands_still([entry.fact.type for entry in generations(entries)[-1]]):
                _send(world, run_id, ResumeWork("".join(task), "sim"), "", b"")


def _stands_still(types: list[str]) -> bool:
    """Tell whether somebody stopped it and nobody resumed it, and it has not ended."""
    said = [name.partition(".")[2] for name in types]
    held = [name for name in said if name in ("interrupted", "paused", "resumed")]
    return bool(held) and held[-1] != "resumed" and not ENDS & set(said)


def some_task(world: World) -> tuple[str, str]:
    """Return a run and a task; now and then one that there is not, or one of no client's plan."""
    rng = world.rng
    below = _below(world)
    if below and rng.random() < BELOW:
        spawned = [place for place in below if is_spawned(place[1])]
        return rng.choice(spawned or below)
    known = sorted(world.clients.submitted)
    run_id = rng.choice(known) if known and rng.random() < 0.95 else "r99"
    tasks = ["t0", "t1", "t2", "t3", "none"]
    if run_id in world.clients.submitted:
        plan = world.clients.submitted[run_id][0].plan
        tasks += [task.id for task in plan.tasks] * 3
    return run_id, rng.choice(tasks)


def _below(world: World) -> list[tuple[str, str]]:
    """Return the tasks that were spawned, and those of runs that tasks stand for."""
    named = (stream.split("/", 2)[1:] for stream, _ in world.history.of_kind("task"))
    submitted = world.clients.submitted
    return [
        (run_id, task)
        for run_id, task in named
        if not is_saga(run_id) and (is_spawned(task) or run_id not in submitted)
    ]


def _send(world: World, run_id: str, body: Any, command: str, digest: bytes) -> None:
    message = Message(workflow_stream(run_id), body)
    if command:
        message.command_id, message.digest = command, digest
    message.reply_to = lambda reply: answered(world, run_id, body, reply)
    world.node.accept(message)


def answered(world: World, run_id: str, body: Any, reply: Reply) -> None:
    """Take an answer in: what was accepted is durable by then."""
    world.points.hit("reply")
    name = type(body).__name__
    answer = reply.answer
    if isinstance(answer, Refused):
        if answer.code not in EXPECTED:
            world.clients.check_refused(answer, run_id)
        world.note(f"{name} refused: {answer.code}", run_id)
        return
    world.note(f"{name} accepted", run_id)
    if is_spawned(getattr(body, "task", "")):
        world.note("spawned task talked to", run_id)
    elif "task" in body._fields and run_id not in world.clients.submitted:
        world.note("task of a run below talked to", run_id)
    if isinstance(body, AdjustTask):
        world.adjusted.add((run_id, body.task, body.signal))
    if isinstance(body, SendSignal):
        durable = world.journal.durable(reply.position.partition) if reply.position else 0
        assert reply.position is not None
        assert reply.position.number <= durable, f"{body.signal} was answered before it is durable"
        known = world.told.setdefault((run_id, body.task, body.signal), body.digest)
        assert known == body.digest, f"{body.signal} was accepted with two bodies"


EXPECTED: Final = frozenset(
    {
        "command_conflict", "params_undeclared", "path_busy", "run_finished", "run_not_found",
        "signal_consumed",
        "signal_invalid", "signal_not_found", "signal_unsupported", "signals_full", "task_busy",
        "task_finished", "task_not_found", "task_not_held",
    }
)  # fmt: skip
"""What may be answered at any time."""


# -- handlers -------------------------------------------------------------------------------------


def listen(world: World) -> None:
    """Let a handler look at what came: it takes the first, saves its state, or obeys."""
    executor, rng = world.executor, world.rng
    if not executor.held:
        return
    hearing = [token for token in executor.held if _waiting(world, token)]
    token = rng.choice(sorted(hearing or executor.held))
    attempt = executor.held[token]
    words = executor.mail.get(token, [])
    if any(isinstance(word, Interrupt) for word in words) and rng.random() < 0.5:
        _obey(world, token)
        return
    waiting = _waiting(world, token)
    if waiting and rng.random() < 0.7:
        taken = waiting[: rng.choice([1, 1, 3])]
        executor.taken.setdefault(token, set()).update(taken)
        report = Consumed(attempt.stream, token, taken)
        world.node.accept_outcomes([report] * rng.choice([1, 1, 2]))
        world.note("signal taken", taken)
    elif rng.random() < 0.4:
        number = executor.saves.get(token, 0) + 1
        executor.saves[token] = number
        world.node.accept_outcomes([Saved(attempt.stream, token, number, {"at": number})])
        world.note("state saved")


def _waiting(world: World, token: AttemptToken) -> list[str]:
    """Return the messages that a handler has and did not take, in the order in which they came."""
    attempt, taken = world.executor.held[token], world.executor.taken.get(token, set())
    found: dict[str, Signal] = {one.id: one for one in attempt.signals}
    for word in world.executor.mail.get(token, []):
        if isinstance(word, Offer):
            found.update((one.id, one) for one in word.signals if one.id not in found)
        elif isinstance(word, Retract):
            found.pop(word.signal, None)
    return [name for name, one in found.items() if one.kind == "message" and name not in taken]


def _obey(world: World, token: AttemptToken) -> None:
    """Let an attempt that is interrupted save its state, or not, and leave."""
    attempt = world.executor.held.pop(token)
    world.note("interrupted attempt ended")
    said: list[Any] = []
    if world.rng.random() < 0.5:
        said.append(Saved(attempt.stream, token, world.executor.saves.get(token, 0) + 1, "bye"))
    said.append(Outcome(attempt.stream, token, "cancelled", code="interrupted"))
    world.handed_over[token] = world.node_name
    world.node.accept_outcomes(said)


# -- what must hold -------------------------------------------------------------------------------


def check_signals(stream: str, entries: list[Entry]) -> None:
    """Check that a signal is accepted once, taken once by an attempt, and in order."""
    accepted: list[str] = []
    steering: dict[str, int] = {}
    taken: set[tuple[str, int]] = set()
    last: dict[int, int] = {}
    for entry in entries:
        name, fact = entry.fact.type, entry.decoded
        if name == "task.signal_accepted":
            assert fact.signal not in accepted, f"{stream} accepts {fact.signal} twice"
            accepted.append(fact.signal)
            if fact.mode == "steer":
                steering[fact.signal] = len(accepted)
        elif name == "task.signal_consumed":
            assert fact.signal in accepted, f"{stream} consumes {fact.signal}, which nobody sent"
            assert (fact.signal, fact.token) not in taken, f"{fact.signal} is taken twice"
            taken.add((fact.signal, fact.token))
            if fact.signal in steering:
                place = steering[fact.signal]
                assert last.get(fact.token, 0) < place, f"{stream} takes {fact.signal} out of order"
                last[fact.token] = place


def check_none_lost(world: World) -> None:
    """Check, once all is over, that each signal that was answered was taken, or said to be over."""
    for (run_id, task, signal), _ in sorted(world.told.items()):
        entries = world.history.streams.get(f"task/{run_id}/{task}", [])
        facts = [entry.decoded for entry in entries]
        accepted = [
            fact for entry, fact in zip(entries, facts, strict=True)
            if entry.fact.type == "task.signal_accepted" and fact.signal == signal
        ]  # fmt: skip
        assert accepted, f"{signal} to {task} of {run_id} was answered and is lost"
        over = any(
            entry.fact.type in ("task.signal_consumed", "task.signal_ended")
            and entry.decoded.signal == signal
            for entry in entries
        )
        is_over = over or accepted[0].kind == "params"
        assert is_over, f"{signal} to {task} of {run_id} waits for ever"
