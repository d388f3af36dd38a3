"""A saga's state and how facts change it: each costs as much as the steps it names have neighbours.

Forth, a step begins when all that it needs completed; back, it is undone when all that needs it is
`unwound`: undone, or never done.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, Final, NamedTuple, assert_never

from goclaw_actors.blocked import Blocked
from goclaw_actors.chunked import Chunked
from goclaw_actors.decider import SnapshotForm
from goclaw_actors.held_back import note, note_end
from goclaw_actors.statuses import ACTIVE, COMPLETED, ENDED_AS, STATUS_NAMES
from goclaw_events.facts import (
    CompensationApproved,
    CompensationAwaited,
    CompensationBegun,
    CompensationRetried,
    RetryPlanned,
    RunDeadlineSet,
    RunStuck,
    RunUnstuck,
    SagaAlarmed,
    SagaCompensated,
    SagaCompleted,
    SagaResolved,
    SagaStarted,
    SagaSubmitted,
    StepEnded,
    StepRested,
    StepsUnwound,
    TasksBlocked,
    TasksUnblocked,
    TasksUnwatched,
    TasksWatched,
)
from goclaw_events.facts.versions import SAGA_VERSIONED

if TYPE_CHECKING:
    from goclaw_actors.contents import Contents
    from goclaw_actors.decider import MapChunks
    from goclaw_events.facts import SagaFact
    from goclaw_events.plan import Plan, PlannedStep
    from goclaw_events.value import BlobRef, Value

UNKNOWN: Final = "unknown"
CREATED: Final = "created"
RUNNING: Final = "running"
COMPENSATING: Final = "compensating"
AWAITING: Final = "awaiting_compensation"
COMPENSATED: Final = "compensated"
FAILED: Final = "compensation_failed"
RESOLVED: Final = "resolved"
DONE: Final = "completed"
FINAL: Final = frozenset({DONE, COMPENSATED, RESOLVED})
"""What is left for nothing; `compensation_failed` is, by a person."""
ENDED: Final = FINAL | {FAILED}
CHUNK_BITS: Final = 6


class Shape(NamedTuple):
    """The graph of a plan's steps. `dependents` by step; `step_of` by the index of a task."""

    steps: tuple[PlannedStep, ...]
    dependents: list[list[int]]
    step_of: dict[int, int]


NO_SHAPE: Final = Shape((), [], {})


def shape_of(plan: Plan) -> Shape:
    """Return the graph of a plan's steps."""
    dependents: list[list[int]] = [[] for _ in plan.steps]
    step_of: dict[int, int] = {}
    for place, step in enumerate(plan.steps):
        step_of[step.action] = place
        if step.compensation >= 0:
            step_of[step.compensation] = place
        for need in step.needs:
            dependents[need].append(place)
    return Shape(plan.steps, dependents, step_of)


class Saga:
    """One saga; `run_id` is its key, as tasks name it.

    By plan index: `statuses`, `results`. By step: `unmet`, how many needs have not completed;
    `left`, how many dependents are not unwound; `unwound`. `in_doubt`: steps whose action did not
    complete and may have taken effect; `unrest`: tasks that ended and whose code may still run.
    `failures`: [code, message] of compensations that failed, by step. `cause`, `error` (code,
    message, step): why it goes back. `approved`: manual steps are undone, too. `holds`: it has a
    slot of `lane`. `planned`: [by, reason] of what is to be tried again when its lane lets it,
    None: nothing. `watchers` want to hear of its end. `version` counts what was decided about it.
    The rest is as in `SagaSubmitted`.
    """

    __slots__ = (
        "active", "approved", "blocked", "cause", "children", "deadline_ns", "definition", "depth",
        "digest", "ended", "error", "failures", "holds", "idempotency_key", "in_doubt", "input",
        "labels", "lane", "left", "name", "parent", "plan", "planned", "resolved", "result",
        "results", "run_id", "shape", "start_deadline_ns", "status", "statuses", "stuck", "unmet",
        "unrest", "unwound", "version", "watchers",
    )  # fmt: skip

    def __init__(self, stream: str) -> None:
        self.run_id = stream.partition("/")[2]
        self.status = UNKNOWN
        self.version = 0
        self.plan: Plan | None = None
        self.shape = NO_SHAPE
        self.definition: BlobRef | None = None
        self.digest = b""
        self.idempotency_key: str | None = None
        self.name = ""
        self.input: Value = None
        self.labels: dict[str, str] = {}
        self.parent = ""
        self.depth = 0
        self.start_deadline_ns = 0
        self.deadline_ns = 0
        self.children: dict[str, BlobRef] | None = None
        self.lane = ""
        self.holds = False
        self.statuses = bytearray()
        self.unmet = array("I")
        self.left = array("I")
        self.unwound = bytearray()
        self.active = 0
        self.ended = 0
        self.results: Chunked[Value] = Chunked(CHUNK_BITS)
        self.in_doubt: set[int] = set()
        self.unrest: set[int] = set()
        self.failures: dict[int, list[str]] = {}
        self.cause = ""
        self.error: tuple[str, str, str] | None = None
        self.approved = False
        self.result: Value = None
        self.resolved: list[str] | None = None
        self.planned: list[str] | None = None
        self.blocked: Blocked | None = None
        self.stuck: list[list[str]] = []
        self.watchers: list[str] = []

    @property
    def has_ended(self) -> bool:
        """Tell whether nothing of the saga runs any more, unless a person says so."""
        return self.status in ENDED or self.status == AWAITING

    def is_action(self, index: int) -> bool:
        """Tell whether a task is the action of its step."""
        return self.shape.steps[self.shape.step_of[index]].action == index


class Evolve:
    """Apply facts in place; a saga's plan is looked up by the hash that its first fact names."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents

    def __call__(self, saga: Saga, fact: SagaFact) -> Saga:  # noqa: C901, PLR0912, PLR0915 - a case a fact
        """Apply a fact."""
        match fact:
            case StepEnded():
                _step_ended(saga, fact)
            case SagaSubmitted():
                self._submitted(saga, fact)
            case SagaStarted(deadline_ns):
                _started(saga, deadline_ns)
            case StepRested(task):
                saga.unrest.discard(_index(saga, task))
            case CompensationBegun():
                saga.status = COMPENSATING
                saga.cause = fact.cause
                saga.error = (fact.code, fact.message, fact.step)
                saga.approved = fact.approved
            case StepsUnwound(compensating, passed):
                _undo(saga, compensating)
                for name in passed:
                    _unwind(saga, saga.shape.step_of[_index(saga, name)])
            case CompensationAwaited():
                saga.status, saga.holds = AWAITING, False
            case CompensationApproved():
                saga.status, saga.approved = COMPENSATING, True
            case SagaCompleted(result):
                saga.status, saga.holds, saga.result = DONE, False, result
            case SagaCompensated():
                saga.status, saga.holds = COMPENSATED, False
            case SagaAlarmed():
                saga.status, saga.holds = FAILED, False
            case RetryPlanned():
                saga.planned = list(fact)
            case CompensationRetried(steps):
                saga.status, saga.planned = COMPENSATING, None
                _undo(saga, steps)
            case SagaResolved(reason, by):
                saga.status, saga.resolved, saga.planned = RESOLVED, [reason, by], None
            case RunDeadlineSet(deadline_ns):
                saga.start_deadline_ns = deadline_ns
                saga.deadline_ns = deadline_ns if saga.status == RUNNING else 0
            case TasksBlocked() | TasksUnblocked():
                note(saga, fact)
            case TasksWatched() | TasksUnwatched():
                _watch(saga, fact)
            case RunStuck(evidence):
                saga.stuck = evidence
            case RunUnstuck():
                saga.stuck = []
            case _:
                assert_never(fact)
        if saga.status in ENDED:
            saga.watchers.clear()  # they were told
        if type(fact) in SAGA_VERSIONED:
            saga.version += 1
        return saga

    def _submitted(self, saga: Saga, fact: SagaSubmitted) -> None:
        saga.status = CREATED
        (saga.definition, saga.name, saga.input, saga.labels, saga.digest, saga.idempotency_key,
         _, saga.parent, saga.depth, saga.start_deadline_ns, saga.children, saga.lane,
        ) = fact  # fmt: skip
        take_plan(saga, self._contents)
        shape = saga.shape
        assert saga.plan is not None, "it was looked up"
        saga.statuses = bytearray(len(saga.plan.tasks))
        saga.unmet = array("I", [len(step.needs) for step in shape.steps])
        saga.left = array("I", map(len, shape.dependents))
        saga.unwound = bytearray(len(shape.steps))


def _watch(saga: Saga, fact: TasksWatched | TasksUnwatched) -> None:
    if isinstance(fact, TasksWatched):
        saga.watchers.append(fact.collector)
    else:
        saga.watchers.remove(fact.collector)


def take_plan(saga: Saga, contents: Contents) -> None:
    """Look up what a saga is to do."""
    assert saga.definition is not None, "it was submitted"
    saga.plan = contents.plan(saga.definition)
    saga.shape = shape_of(saga.plan)


def _index(saga: Saga, task: str) -> int:
    assert saga.plan is not None, "the first fact of a saga is its submission"
    return saga.plan.index[task]


def _started(saga: Saga, deadline_ns: int) -> None:
    saga.status = RUNNING
    saga.deadline_ns = deadline_ns
    saga.holds = saga.lane != ""
    for step in saga.shape.steps:
        if not step.needs:
            saga.statuses[step.action] = ACTIVE
            saga.active += 1


def _step_ended(saga: Saga, fact: StepEnded) -> None:
    plan, shape, index = saga.plan, saga.shape, _index(saga, fact.task)
    assert plan is not None, "the first fact of a saga is its submission"
    step = shape.step_of[index]
    status = saga.statuses[index] = ENDED_AS[fact.status]
    saga.active -= 1
    saga.ended += 1
    note_end(saga, plan.tasks[index])
    if fact.is_running:
        saga.unrest.add(index)
    if index != shape.steps[step].action:
        if status == COMPLETED:
            _unwind(saga, step)
        else:
            saga.failures[step] = fact.error or [fact.status, ""]
        return
    if fact.in_doubt:
        saga.in_doubt.add(step)
    if status == COMPLETED and fact.result is not None:
        saga.results.put(index, fact.result)
    if status == COMPLETED and saga.status == RUNNING:
        for dependent in shape.dependents[step]:
            saga.unmet[dependent] -= 1
            if saga.unmet[dependent] == 0:
                saga.statuses[shape.steps[dependent].action] = ACTIVE
                saga.active += 1


def _undo(saga: Saga, steps: list[str]) -> None:
    for name in steps:
        step = saga.shape.step_of[_index(saga, name)]
        saga.failures.pop(step, None)
        undo = saga.shape.steps[step].compensation
        saga.statuses[undo] = ACTIVE
        saga.unrest.discard(undo)  # what runs of it is told of when it ends again
        saga.active += 1


def _unwind(saga: Saga, step: int) -> None:
    saga.unwound[step] = 1
    for need in saga.shape.steps[step].needs:
        saga.left[need] -= 1


_ROOT: Final = (
    "status", "definition", "digest", "idempotency_key", "name", "input", "labels", "parent",
    "depth", "start_deadline_ns", "deadline_ns", "children", "lane", "holds", "active", "ended",
    "cause", "error", "approved", "result", "resolved", "version", "stuck", "watchers", "planned",
)  # fmt: skip


def encode(saga: Saga) -> dict[str, Any]:
    """Return the saga as plain data: equal sagas give equal data."""
    data = {name: getattr(saga, name) for name in _ROOT}
    ids = [task.id for task in saga.plan.tasks] if saga.plan else []
    data["tasks"] = {ids[i]: STATUS_NAMES[status] for i, status in enumerate(saga.statuses)}
    data["unmet"], data["left"] = list(saga.unmet), list(saga.left)
    data["unwound"] = list(saga.unwound)
    data["failures"] = [[step, *error] for step, error in sorted(saga.failures.items())]
    data["in_doubt"], data["unrest"] = sorted(saga.in_doubt), sorted(saga.unrest)
    data["results"] = {ids[index]: value for index, value in sorted(saga.results.items())}
    if saga.blocked is not None:
        held_back = [[ids[row[0]], row[1]] for _, row in sorted(saga.blocked.rows.items())]
        data["blocked"] = [held_back, sorted(saga.blocked.left)]
    return data


def _root(saga: Saga) -> Value:
    fields = [getattr(saga, name) for name in _ROOT]
    left = None if saga.blocked is None else sorted(saga.blocked.left)
    counts = [list(saga.unmet), list(saga.left), bytes(saga.unwound)]
    failures = [[step, error] for step, error in sorted(saga.failures.items())]
    marks = [sorted(saga.in_doubt), sorted(saga.unrest), failures]
    return [fields, bytes(saga.statuses), counts, marks, left]


def _maps(saga: Saga) -> tuple[Chunked[Any], ...]:
    return (saga.results,) if saga.blocked is None else (saga.results, saga.blocked.rows)


def snapshot_form(contents: Contents) -> SnapshotForm[Saga]:
    """Return how a saga is kept: its plan by reference, its counts, its results."""

    def restore(stream: str, root: Value, maps: MapChunks) -> Saga:
        saga = Saga(stream)
        fields, statuses, counts, marks, left = root
        for name, value in zip(_ROOT, fields, strict=True):
            setattr(saga, name, value)
        if saga.definition is not None:
            take_plan(saga, contents)
        saga.error = None if saga.error is None else (*saga.error,)
        saga.statuses = bytearray(statuses)
        saga.unmet, saga.left = array("I", counts[0]), array("I", counts[1])
        saga.unwound = bytearray(counts[2])
        saga.in_doubt, saga.unrest, saga.failures = set(marks[0]), set(marks[1]), dict(marks[2])
        saga.results = Chunked(CHUNK_BITS, maps.get(0, {}))
        if left is not None:
            assert saga.plan is not None, "who holds tasks back was submitted"
            saga.blocked = Blocked()
            saga.blocked.restore(saga.plan.tasks, maps.get(1, {}), left)
        return saga

    return SnapshotForm(5, _root, _maps, restore, {3: _unwatched, 4: _without_a_plan})


def _unwatched(root: Any, maps: MapChunks) -> tuple[Any, MapChunks]:
    """Raise a saga from form 3: nobody watched one."""
    fields, *rest = root
    return [[*fields, []], *rest], maps


def _without_a_plan(root: Any, maps: MapChunks) -> tuple[Any, MapChunks]:
    """Raise a saga from form 4: nothing was planned to be tried again."""
    fields, *rest = root
    return [[*fields, None], *rest], maps
