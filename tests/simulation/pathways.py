"""Whoever changes the path of runs, and a second, plain model of what may come of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.decider import Refused
from goclaw_actors.errors import PathRefused
from goclaw_actors.message import Message, Reply
from goclaw_actors.path_order import Choice, Wanted, order_change
from goclaw_events.faults import InvalidDefinition
from goclaw_events.ids import task_stream, workflow_stream
from goclaw_events.plan.fragment import fragment_from

if TYPE_CHECKING:
    from goclaw_actors.workflow.state import Run
    from goclaw_events.plan import Plan
    from goclaw_events.value import BlobRef
    from tests.simulation.history import Entry
    from tests.simulation.world import World

CHANGES: Final = frozenset(
    {"run.path_change_asked", "run.path_changed", "run.path_kept", "run.letter_redriven"}
)
BEGINS: Final = frozenset({"task.scheduled", "task.waiting", "task.awaiting"})
ENDS: Final = frozenset({"task.completed", "task.failed", "task.cancelled", "task.dropped"})
EXPECTED: Final = frozenset(
    {
        "command_conflict", "path_busy", "path_refused", "plan_changed", "run_finished",
        "run_not_found",
    }
)  # fmt: skip


def change(world: World) -> None:
    """Ask for some change of some run as its durable facts have it; now and then twice."""
    rng = world.rng
    known = sorted(world.clients.acknowledged)
    if not known:
        return
    world.history.update(world.journal)
    run_id = rng.choice(known)
    run = _run_of(world, run_id)
    if run is None or run.plan is None:
        return
    name = f"change-{rng.randrange(12)}"
    try:
        order = order_change(
            run,
            _wanted(world, run, run.plan, name),
            name,
            lambda ref: _blob(world, ref),
            lambda task: _has_begun(world, run_id, task),
            sender="sim",
        )
    except (InvalidDefinition, PathRefused):
        world.note("change cannot be made", run_id)
        return
    if order.plan is not None and order.command.definition is not None:
        world.clients.plans[order.command.definition.sha256] = order.plan
        world.contents.hold(order.command.definition, order.plan)
    world.path_blobs.update(order.blobs)
    for _ in range(rng.choice([1, 1, 2])):
        message = Message(workflow_stream(run_id), order.command)
        message.blobs = order.blobs
        message.command_id, message.digest = name, order.command.digest
        message.reply_to = lambda reply: _answered(world, run_id, name, reply)
        world.node.accept(message)


def _run_of(world: World, run_id: str) -> Run | None:
    stream = workflow_stream(run_id)
    entries = world.history.streams.get(stream)
    if not entries or stream in world.history.poisoned:
        return None
    decider = world.kinds["workflow"]
    run: Run = decider.initial(stream)
    for entry in entries:
        ref = getattr(entry.decoded, "definition", None)
        if ref is not None:
            world.contents.hold(ref, world.clients.plans[ref.sha256])
        run = decider.evolve(run, entry.decoded)
    return run


def _blob(world: World, ref: BlobRef) -> bytes:
    for known in world.clients.submitted.values():
        for one in known:
            if one.body.definition.sha256 == ref.sha256:
                return one.packed
    return world.path_blobs[ref.sha256]


def _has_begun(world: World, run_id: str, task: str) -> bool:
    own = world.history.streams.get(task_stream(run_id, task), [])
    return any(entry.fact.type in ("task.attempt_started", "task.child_started") for entry in own)


def _wanted(world: World, run: Run, plan: Plan, name: str) -> Wanted:
    rng = world.rng
    tasks = [task.id for task in plan.tasks if task.index not in plan.removed]
    some = rng.sample(tasks, min(len(tasks), rng.choice([1, 1, 2])))
    kind = rng.choice(["skip", "skip", "choose", "rerun", "rerun", "add", "add", "replace"])
    said = [kind, *some]
    if kind == "skip":
        return Wanted(skip={task: {"n": 3} for task in some}, said=said)
    if kind == "choose":
        after = plan.tasks[plan.index[some[0]]]
        branches = [plan.tasks[index].id for index in after.dependents]
        taken = tuple(rng.sample(branches, min(len(branches), 1)))
        return Wanted(choose=Choice(after.id, taken), said=said)
    if kind == "rerun":
        return Wanted(rerun=tuple(some), said=said)
    new = f"{name}-{len(plan.tasks)}"
    task: dict[str, Any] = {"agent": "sim.agent", "needs": some}
    if rng.random() < 0.5:
        task["with"] = {"got": f"${{tasks.{some[0]}.result}}"}
    raw: dict[str, Any] = {"tasks": {new: task}}
    if kind == "add" and rng.random() < 0.5:
        raw["needs"] = {rng.choice(tasks): [new]}
    return Wanted(fragment=fragment_from(raw), replace=kind == "replace", said=[*said, raw])


def _answered(world: World, run_id: str, name: str, reply: Reply) -> None:
    world.points.hit("reply")
    answer = reply.answer
    if isinstance(answer, Refused):
        if answer.code not in EXPECTED:
            world.clients.check_refused(answer, run_id)
        world.note(f"change refused: {answer.code}", run_id)
        return
    world.clients.check_durable(workflow_stream(run_id), reply)
    world.note("change of a path accepted", name)


# -- what must hold -------------------------------------------------------------------------------


def is_changed(entries: list[Entry]) -> bool:
    """Tell whether somebody changed the path of a run, or was about to."""
    return any(entry.fact.type in CHANGES for entry in entries)


def generations(entries: list[Entry]) -> list[list[Entry]]:
    """Return the facts of a task, generation by generation.

    What an abandoned attempt of an earlier one does later belongs to none.
    """
    found: list[list[Entry]] = [[]]
    generation = 0
    for entry in entries:
        if entry.fact.type in BEGINS and entry.decoded.generation != generation:
            assert entry.decoded.generation > generation, f"{entry.fact.stream} goes back"
            generation = entry.decoded.generation
            found.append([])
        found[-1].append(entry)
    return found


class _Path:
    """A run by its own facts: which tasks ended in their generation, under which plan."""

    def __init__(self, world: World, run_id: str, entries: list[Entry]) -> None:
        self.world = world
        self.run_id = run_id
        self.plan: Plan = world.clients.plan_of(entries[0].decoded.definition)
        self.version = 1
        self.ended: dict[str, Entry] = {}
        self.status: dict[str, str] = {}
        self.generation: dict[str, int] = {}
        self.waits = ""
        self.told: set[str] = set()
        for entry in entries:
            self.apply(entry)

    def apply(self, entry: Entry) -> None:
        """Apply a fact of the run."""
        kind, fact = entry.fact.type, entry.decoded
        if kind == "run.task_ended":
            generation = self.generation.get(fact.task, 0)
            assert fact.generation == generation, f"{fact.task} ended in {fact.generation}"
            self._end(fact.task, fact.status, entry)
        elif kind == "run.tasks_skipped":
            for task in fact.tasks:
                self._end(task, fact.reason, entry)
        elif kind == "run.path_change_asked":
            assert not self.waits, f"{fact.change} is asked while {self.waits} waits"
            self.waits = fact.change
        elif kind == "run.path_kept":
            assert self.waits == fact.change, f"{fact.change} was not asked"
            self.waits = ""
        elif kind == "run.path_changed":
            self._change(fact, entry)
        elif kind == "run.letter_redriven":
            assert fact.task not in self.ended, f"{fact.task} is redriven after its end"
            self.generation[fact.task] = self.generation.get(fact.task, 0) + 1
            assert fact.generation == self.generation[fact.task], f"{fact} skips a generation"

    def _end(self, task: str, status: str, entry: Entry) -> None:
        assert task in self.plan.index, f"{task} is not in the plan of {self.run_id}"
        assert task not in self.ended, f"{task} ended twice in {self.run_id}"
        self.ended[task] = entry
        self.status[task] = status

    def _change(self, fact: Any, entry: Entry) -> None:
        assert self.waits in ("", fact.change), f"{fact.change} while {self.waits} waits"
        assert fact.version == self.version + 1
        self.waits, self.version = "", fact.version
        plan = self.world.clients.plan_of(fact.definition)
        before = [task.id for task in self.plan.tasks]
        assert [task.id for task in plan.tasks][: len(before)] == before, "a task lost its index"
        self.plan = plan
        for task in fact.altered:
            assert task not in self.ended, f"{task} was altered after its end"
        undone: dict[str, int] = {}
        for task in fact.reopened:
            self.generation[task] = self.generation.get(task, 0) + 1
            if self.ended.pop(task, None) is not None:
                how = self.status.pop(task)
                how = how if how in ("completed", "failed", "cancelled") else "skipped"
                undone[how] = undone.get(how, 0) + 1
        assert undone == fact.undone, f"{fact.undone} are not {undone}"
        self.told |= {*fact.told, *fact.reopened}
        how_of = {task: how for task, how, _ in fact.skips}
        for task in fact.skipped:
            self._end(task, how_of[task], entry)


def check_path(world: World, run_id: str, entries: list[Entry]) -> None:
    """Check a run whose path was changed: order, generations, and that all of it ended once."""
    path = _Path(world, run_id, entries)
    for task in path.plan.tasks:
        own = world.history.streams.get(task_stream(run_id, task.id), [])
        last = generations(own)[-1]
        begun = [entry for entry in last if entry.fact.type in BEGINS]
        generation = begun[0].decoded.generation if begun else 0
        assert generation <= path.generation.get(task.id, 0), f"{run_id}/{task.id} is ahead"
        if not begun or generation < path.generation.get(task.id, 0):
            continue
        assert len(begun) == 1, f"{run_id}/{task.id} was scheduled twice"
        for need in task.needs:
            name = path.plan.tasks[need].id
            assert name in path.ended, f"{task.id} of {run_id} began before {name} ended"
            assert path.ended[name].number < begun[0].number, f"{task.id} before {name}"
    if run_id in world.history.ended:
        _check_end(world, path, entries)


def _is_redriven(facts: list[Entry]) -> bool:
    """Tell whether a generation that is not the last was a dead letter at its end."""
    types = {entry.fact.type for entry in facts}
    return "task.died" in types and not types & ENDS


def _check_end(world: World, path: _Path, entries: list[Entry]) -> None:
    last = entries[-1]
    if last.fact.type == "run.failed" and last.decoded.code == "internal_bug":
        return
    assert not path.waits, f"{path.run_id} ended while {path.waits} waits"
    status = world.history.ended[path.run_id]
    for task in path.plan.tasks:
        stream = task_stream(path.run_id, task.id)
        if "task.drop" in world.history.failed.get(stream, ()):
            continue  # a bug kept it from hearing that it is dropped, and its run had ended then
        *earlier, last_facts = generations(world.history.streams.get(stream, []))
        alive = [facts for facts in earlier if not _is_redriven(facts)]
        for facts in (*alive, last_facts):
            begun = any(entry.fact.type in BEGINS for entry in facts)
            over = [entry.fact.type for entry in facts if entry.fact.type in ENDS]
            is_told = task.id in path.told and not over and not world.calm
            begun = begun and not is_told  # that it is dropped is on its way
            assert len(over) == 1 or not begun, f"{path.run_id}/{task.id} ended as {over}"
        if status == "completed":
            assert task.id in path.ended, f"{path.run_id} completed without {task.id}"
    if status == "completed":
        may_fail = path.plan.mapped is not None  # items of a list: see `foreach_model`
        assert may_fail or "failed" not in path.status.values(), path.status
