"""What must hold of the log after anything that happened."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

from goclaw_actors.rebuild import fold
from goclaw_events.ids import kind_of, partition_of
from goclaw_events.replay import stream_turns
from goclaw_events.value import BlobRef, follow, unpack
from goclaw_events.verify import verify
from tests.simulation.adjusters import adjusted, check_adjusted, check_attempts, priorities_of
from tests.simulation.answerers import check_answers
from tests.simulation.collector_model import check_collector
from tests.simulation.foreach_model import check_items
from tests.simulation.history import lane_taken
from tests.simulation.lane_model import check_lane
from tests.simulation.letters import check_death, check_letters
from tests.simulation.menders import check_settled
from tests.simulation.pathways import BEGINS, ENDS, check_path, generations, is_changed
from tests.simulation.schedule_model import check_schedule
from tests.simulation.spawners import check_spawned
from tests.simulation.steppers import check_steps
from tests.simulation.talkers import KNOB, check_signals
from tests.simulation.task_rules import check_slots, check_task
from tests.simulation.unique_model import check_unique, keys_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw_events.plan import Plan
    from tests.simulation.history import Entry
    from tests.simulation.world import World

CANNOT_FIND_OUT = ("internal_bug", "stream_poisoned")


def check_log(world: World) -> None:
    """Check everything that the log alone shows, and what clients and executor were told."""
    world.history.update(world.journal)
    if world.journal.at_rest:  # else there are rows of frames that are not durable yet
        report = verify(world.journal)
        assert report.whole, report.problems
    _time_never_goes_back(world)
    _nothing_is_handled_twice(world)
    _acknowledged_is_in_the_log(world)
    _no_outcome_is_lost(world)
    for stream, entries in world.history.of_kind("task"):
        check_slots(stream, entries)
        for facts in generations(entries):
            check_task(stream, facts)
            check_death(stream, facts)
            check_steps(world, stream, facts)
            check_spawned(world, stream, facts)
        check_signals(stream, entries)
    priorities = {
        stream: priorities_of(entries) for stream, entries in world.history.of_kind("task")
    }
    for kind in ("saga", "workflow"):  # one that waits for its turn, or has letters run again
        priorities |= {stream: {0} for stream, _ in world.history.of_kind(kind)}
    check_adjusted(world)
    check_answers(world)
    for stream, entries in world.history.of_kind("lane"):
        check_lane(stream, entries, priorities)
    for stream, entries in world.history.of_kind("unique"):
        check_unique(stream, entries, dict(world.history.of_kind("task")))
    for stream, entries in world.history.of_kind("workflow"):
        _run(world, stream, entries)
        check_letters(world, stream.partition("/")[2], entries)
    for stream, entries in world.history.of_kind("collector"):
        check_collector(world, stream, entries, _resolved)
    for stream, entries in world.history.of_kind("schedule"):
        check_schedule(world, stream, entries)
    check_settled(world)
    if not world.options.rate("bug"):
        found = [e.fact for e in world.history.entries if e.fact.type == "partition.message_failed"]
        assert not found, found


def _time_never_goes_back(world: World) -> None:
    for partition, frames in enumerate(world.history.frames):
        times = [frame.header.time_ns for frame in frames]
        assert times == sorted(times), f"time goes back in partition {partition}"


def _nothing_is_handled_twice(world: World) -> None:
    """Check that a message, and a command under its id, caused one turn of a stream at most."""
    seen: set[Any] = set()
    for frame in (frame for frames in world.history.frames for frame in frames):
        for cause, facts in frame.body.turns:
            if not facts:
                continue
            names = [
                ("message", frame.header.partition, cause.message),
                ("command", facts[0].stream, cause.command_id),
            ]
            for name in names:
                if name[2] is not None:
                    assert name not in seen, f"{name} was handled twice"
                    seen.add(name)


def _acknowledged_is_in_the_log(world: World) -> None:
    streams = world.history.streams
    for run_id, digest in world.clients.acknowledged.items():
        entries = streams.get(f"workflow/{run_id}")
        assert entries, f"{run_id} was acknowledged and is lost"
        submitted = entries[0].decoded
        assert submitted.digest == digest, f"{run_id} is another run than was acknowledged"
    for stream, command_id in sorted(world.clients.cancelled):
        found = {entry.cause.command_id for entry in streams[stream]}
        assert command_id in found, f"{command_id} of {stream} was acknowledged and is lost"
    for run_id, status in world.ended.items():
        if f"workflow/{run_id}" not in world.history.poisoned:
            assert world.history.ended.get(run_id) == status, f"{run_id} was said to be {status}"


def _no_outcome_is_lost(world: World) -> None:
    """Check that an attempt is lost only with its process: its outcome survives a full disk."""
    if world.options.rate("bug"):
        return  # a bug may strike while it is handled
    for partition, frames in enumerate(world.history.frames):
        boot = ""
        for number, _, fact in (found for frame in frames for found in frame.facts()):
            if fact.type == "partition.opened":
                boot = fact.data[1]
            elif fact.type == "task.attempt_lost":
                handed = world.handed_over.get((partition, 1, fact.data[1]))
                assert handed != boot, f"{fact.stream} lost an outcome at {partition}:{number}"


def _run(world: World, stream: str, entries: list[Entry]) -> None:
    run_id = stream.partition("/")[2]
    if is_changed(entries):
        check_path(world, run_id, entries)
        return
    plan = world.clients.plan_of(entries[0].decoded.definition)
    ended: dict[str, Entry] = {}
    statuses: dict[str, str] = {}
    for entry in entries:
        assert entry.fact.type != "run.submitted" or entry is entries[0]
        if entry.fact.type == "run.task_ended":
            task = entry.decoded.task
            assert task not in ended, f"{task} ended twice in {run_id}"
            ended[task] = entry
            statuses[task] = entry.decoded.status
        elif entry.fact.type == "run.tasks_skipped":
            for task in entry.decoded.tasks:
                assert task not in ended, f"{task} ended twice in {run_id}"
                ended[task] = entry
                statuses[task] = entry.decoded.reason
    if entries[0].decoded.parent:
        _is_the_child_of(world, run_id, entries[0].decoded)
    if plan.mapped is not None:
        check_items(world, run_id, plan, entries, _resolved)
    _dependencies(world, run_id, plan, ended)
    _conditions(world, run_id, plan, ended, statuses)
    _data_flow(world, run_id, plan, ended)
    status = world.history.ended.get(run_id)
    if status is not None:
        _end_of_run(world, run_id, plan, entries, statuses)


def _is_the_child_of(world: World, run_id: str, submitted: Any) -> None:
    """Check that a task recorded that it begins this run, once, and handed its deadline on."""
    own = world.history.streams.get(submitted.parent, [])
    begun = [e for e in own if e.fact.type == "task.child_started"]
    assert [e.decoded.run_id for e in begun].count(run_id) == 1, f"{run_id} is nobody's child"
    _, parent, _ = submitted.parent.split("/", 2)
    above = world.history.streams[f"workflow/{parent}"][0].decoded
    assert submitted.depth == above.depth + 1
    if above.deadline_ns:
        assert 0 < submitted.deadline_ns <= above.deadline_ns, f"{run_id} outlives {parent}"


def _dependencies(world: World, run_id: str, plan: Plan, ended: dict[str, Entry]) -> None:
    """Check that a task is scheduled after all that it needs ended, and the run knew it.

    Positions of two partitions are not ordered; those of one are.
    """
    for task in plan.tasks:
        own = world.history.streams.get(f"task/{run_id}/{task.id}", [])
        scheduled = [e for e in own if e.fact.type in BEGINS]
        assert len(scheduled) <= 1, f"{run_id}/{task.id} was scheduled twice"
        if task.wait is not None and scheduled and isinstance(task.wait.body, dict):
            at_ns = int(datetime.fromisoformat(task.wait.body["until"]).timestamp()) * 10**9
            due_ns = scheduled[0].decoded.due_ns
            is_past = at_ns < due_ns <= scheduled[0].time_ns
            assert due_ns == at_ns or is_past, f"{run_id}/{task.id} ends elsewhen"
        for need in task.needs:
            name = plan.tasks[need].id
            if scheduled:
                assert name in ended, f"{task.id} of {run_id} began before {name} ended"
                if scheduled[0].partition == ended[name].partition:
                    assert ended[name].number < scheduled[0].number


def _conditions(
    world: World, run_id: str, plan: Plan, ended: dict[str, Entry], statuses: dict[str, str]
) -> None:
    for task, (source, than) in plan.metadata.get("conditions", {}).items():
        entry = ended.get(source)
        result = _resolved(world, getattr(entry.decoded, "result", None)) if entry else None
        n = result.get("n") if isinstance(result, dict) else None
        if not isinstance(n, int):
            continue
        if statuses.get(task) == "condition":
            assert n <= than, f"{run_id}/{task} was skipped though {n} > {than}"
            continue
        own = world.history.streams.get(f"task/{run_id}/{task}", [])
        if any(entry.fact.type in BEGINS for entry in own):
            assert n > than, f"{run_id}/{task} runs though {n} <= {than}"


def _data_flow(world: World, run_id: str, plan: Plan, ended: dict[str, Entry]) -> None:
    """Check that a task is given what the tasks that it reads returned."""
    for task in plan.tasks:
        own = world.history.streams.get(f"task/{run_id}/{task.id}", [])
        first = scheduled_in(own)
        if first is None:
            continue
        scheduled = first.decoded
        before = adjusted(own[: own.index(first)])
        wanted = (before.get("lane", task.lane), before.get("priority", task.priority))
        assert (scheduled.lane, scheduled.priority) == wanted, f"{run_id}/{task.id}"
        check_attempts(f"{run_id}/{task.id}", own, task.retry.attempts_max)
        params = _resolved(world, scheduled.params)
        for entry in own:
            start = world.ever_started.get(entry_token(entry)) if _starts(entry) else None
            if start is not None:
                given = _resolved(world, start.params) or {}
                given.pop(KNOB, None)
                assert given == (params or {}), f"{start.token} was given other"
        if "from" not in params or plan.mapped is not None:
            continue  # what items read is not of their run
        result = _returned(world, run_id, params["from"], ended)
        assert params["read"] == result, f"{run_id}/{task.id} read something else"
        assert params["n"] == follow(result, ("n",)), f"{run_id}/{task.id} read another n"
        for need in task.needs:
            name = plan.tasks[need].id
            assert params["all"][name] == _returned(world, run_id, name, ended)


def _returned(world: World, run_id: str, task: str, ended: dict[str, Entry]) -> Any:
    """Return a task's result as its own stream has it, after comparing with what the run heard."""
    own = world.history.streams.get(f"task/{run_id}/{task}", [])
    found = [e.decoded.result for e in own if e.fact.type == "task.completed"]
    result = _resolved(world, found[0]) if found else None
    heard = getattr(ended[task].decoded, "result", None)
    assert _resolved(world, heard) == result, f"{run_id} heard another result of {task}"
    return result


def scheduled_in(entries: list[Entry]) -> Entry | None:
    """Return the fact that scheduled a task; something may have been said to it before."""
    found = (entry for entry in entries if entry.fact.type == "task.scheduled")
    return next(found, None)


def lane_of_task(world: World, stream: str) -> str:
    """Return the lane that a task was scheduled in."""
    first = scheduled_in(world.history.streams[stream])
    assert first is not None, f"{stream} runs, and was never scheduled"
    lane: str = first.decoded.lane
    return lane


def _starts(entry: Entry) -> bool:
    return entry.fact.type == "task.attempt_started"


def entry_token(entry: Entry) -> Any:
    """Return the token under which the attempt of an `AttemptStarted` ran."""
    return (entry.partition, 1, entry.decoded.token)


def _resolved(world: World, value: Any) -> Any:
    """Return a value with large values in place of the references to them."""
    if isinstance(value, BlobRef):
        data = world.journal._rows.get("blobs", value.sha256)
        assert data is not None
        return _resolved(world, follow(unpack(data), value.path))
    if isinstance(value, dict):
        return {key: _resolved(world, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(world, item) for item in value]
    return value


def _end_of_run(
    world: World, run_id: str, plan: Plan, entries: list[Entry], statuses: dict[str, str]
) -> None:
    """Check that a run that ended is over, and that its status follows from its tasks'."""
    last = entries[-1]
    types = [entry.fact.type for entry in entries]
    if last.fact.type == "run.failed" and last.decoded.code == "internal_bug":
        return
    assert last.fact.type in ("run.completed", "run.failed", "run.cancelled"), types
    for task in plan.tasks:
        own = world.history.streams.get(f"task/{run_id}/{task.id}", [])
        over = [e for e in own if e.fact.type in ENDS]
        begun = any(e.fact.type in BEGINS for e in own)
        assert over or not begun, f"{run_id} ended before {task.id}"
        if own and own[-1].fact.type == "task.child_started":
            msg = f"{run_id} ended while {own[-1].decoded.run_id} goes on"
            raise AssertionError(msg)
        if begun and over and task.id in statuses:
            how = {"skipped": "dropped"}.get(statuses[task.id], statuses[task.id])
            assert over[0].fact.type == f"task.{how}", f"{run_id}/{task.id}"
    if last.fact.type == "run.cancelled":
        assert "run.cancel_requested" in types
    elif last.fact.type == "run.completed":
        assert "failed" not in statuses.values() or plan.mapped is not None
        assert "run.cancel_requested" not in types
        assert len(statuses) == len(plan.tasks), f"{run_id} completed without some of its tasks"
    else:
        assert "failed" in statuses.values() or last.decoded.task == ""


def check_executor(world: World) -> None:
    """Check that what runs is running by the log, and holds a slot of its lane."""
    if world.options.rate("bug"):
        return
    leased = {stream: lane_of(world, stream).leased for stream, _ in world.history.of_kind("lane")}
    for token, attempt in world.executor.held.items():
        own = world.history.streams[attempt.stream]
        started = [e.decoded.token for e in own if e.fact.type == "task.attempt_started"]
        assert started[-1] == token.number, f"{attempt.stream} runs under an old token"
        lane = lane_taken(own)
        assert attempt.stream in leased[lane], f"{attempt.stream} runs without a slot of {lane}"
    _slots_suffice(world, leased)


def _slots_suffice(world: World, leased: Mapping[str, Any]) -> None:
    """Check that lanes lend no more slots than there are, those of abandoned attempts counted."""
    running = Counter(
        f"lane/{attempt.lane}"
        for attempt in (*world.executor.held.values(), *world.executor.kept.values())
    )
    for lane, count in running.items():
        assert count <= len(leased[lane]), f"{count} attempts run in {lane} on {leased[lane]}"


def check_live_is_replayed(world: World) -> None:
    """Compare every live actor with what its durable facts fold to."""
    world.history.update(world.journal)
    for entity in world.entities():
        partition = partition_of(entity.stream, world.options.partitions)
        if entity.number > world.journal.durable(partition):
            continue  # on its way to the disk
        decider = world.kinds[kind_of(entity.stream)]
        state = decider.initial(entity.stream)
        for entry in world.history.streams.get(entity.stream, []):
            state = decider.evolve(state, entry.decoded)
        assert decider.encode(entity.state) == decider.encode(state), entity.stream


def check_replay_reads_the_same(world: World) -> None:
    """Fold every stream as the journal hands it out: the same as from the frames."""
    for kind in ("workflow", "task", "lane", "unique", "collector", "schedule", "saga"):
        decider = world.kinds[kind]
        for stream, entries in world.history.of_kind(kind):
            state = decider.initial(stream)
            for entry in entries:
                state = decider.evolve(state, entry.decoded)
            replayed = fold(decider, stream, stream_turns(world.journal, stream))
            assert decider.encode(state) == decider.encode(replayed), stream


def unfinished(world: World) -> set[str]:
    """Return the runs that should have ended by now, once nothing fails any more.

    A run that was given up has no end.
    """
    history = world.history
    runs = {stream.partition("/")[2] for stream, _ in history.of_kind("workflow")}
    runs -= set(history.ended)
    runs -= {stream.partition("/")[2] for stream in history.poisoned}
    above = {
        stream.partition("/")[2]: entries[0].decoded.parent.split("/")[1]
        for stream, entries in history.of_kind("workflow")
        if entries[0].decoded.parent
    }
    given_up = {stream.partition("/")[2] for stream, _ in history.of_kind("workflow")}
    given_up -= runs | set(history.ended)
    while given_up:  # who waits for one of these waits on
        given_up = {above[run] for run in given_up if run in above} & runs
        runs -= given_up
    return runs


def lane_of(world: World, stream: str) -> Any:
    """Return a lane as its durable facts have it."""
    lane = world.kinds["lane"].initial(stream)
    for entry in world.history.streams[stream]:
        lane = world.kinds["lane"].evolve(lane, entry.decoded)
    return lane


def check_all_ended(world: World) -> None:
    """Once nothing fails any more every run ends, no slot stays taken and no row stays behind."""
    world.history.update(world.journal)
    runs = {stream.partition("/")[2] for stream, _ in world.history.of_kind("workflow")}
    for run_id in world.clients.submitted:
        assert run_id in world.clients.answered, f"{run_id} was never answered"
        assert run_id in runs, f"{run_id} was answered and is not there"
    assert not unfinished(world), f"{unfinished(world)} never ended"
    if world.history.poisoned:
        return  # what waits for a stream that was given up waits on
    for stream, _ in world.history.of_kind("lane"):
        lane = lane_of(world, stream)
        assert not lane.leased, f"{stream} still lends slots to {list(lane.leased)}"
        assert not lane.queued, f"{stream} still queues {list(lane.queued)}"
        assert not lane.room.waiters, f"{list(lane.room.waiters)} still wait for room in {stream}"
        assert not lane.room.places, f"{stream} still keeps room for {lane.room.kept}"
    for stream, entries in world.history.of_kind("unique"):
        keys = keys_of(stream, entries)
        left_over = [*keys.holders.values(), *keys.joined, *keys.next]
        assert not left_over, f"{stream} still keeps {left_over}"
    for table in ("inbox", "outbox", "attempts", "timers", "open"):
        left = list(world.journal._rows.scan(table, b"", None))
        assert not left, f"rows are left in {table}: {left[:3]}"
