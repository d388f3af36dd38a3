"""A task's state and how facts change it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, assert_never

from goclaw_actors.decider import SnapshotForm
from goclaw_actors.statuses import DEAD
from goclaw_actors.task import hold as holding
from goclaw_actors.task import signals as talk
from goclaw_actors.task import terms
from goclaw_actors.task.doubt import leaves_doubt
from goclaw_actors.task.hold import HELD, INTERRUPTING, Hold
from goclaw_actors.task.signals import Signals
from goclaw_actors.task.steps import Steps, rows_of
from goclaw_events.facts import (
    AttemptFailed,
    AttemptLimited,
    AttemptLost,
    AttemptReturned,
    AttemptSlept,
    AttemptStarted,
    ChildStarted,
    EndPutOff,
    OutcomeRefused,
    ProgressReported,
    SignalAccepted,
    SignalConsumed,
    SignalEnded,
    StateSaved,
    StepRecorded,
    StepsUnused,
    TaskAdjusted,
    TaskAdmitted,
    TaskAnswered,
    TaskAwaiting,
    TaskCancelled,
    TaskCancelRequested,
    TaskCompleted,
    TaskDied,
    TaskDropped,
    TaskFact,
    TaskFailed,
    TaskInterrupted,
    TaskInterruptRequested,
    TaskJoined,
    TaskMoved,
    TaskPaused,
    TaskRedirected,
    TaskRequeued,
    TaskResumed,
    TaskRetried,
    TaskScheduled,
    TaskWaiting,
)
from goclaw_events.ids import is_saga, kept_slot

if TYPE_CHECKING:
    from goclaw_actors.chunked import Chunked
    from goclaw_actors.decider import MapChunks
    from goclaw_events.facts import StepFact
    from goclaw_events.value import BlobRef, Value

PENDING: Final = "pending"
SCHEDULED: Final = "scheduled"
RUNNING: Final = "running"
CANCELLING: Final = "cancelling"
WAITING: Final = "waiting"
RETRYING: Final = "retrying"
CLAIMING: Final = "claiming"
JOINED: Final = "joined"
COLLECTING: Final = "collecting"
CHILD: Final = "child"
ENDING: Final = "ending"
"""It has come to its end, and waits for what it spawned."""
COMPLETED: Final = "completed"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
SKIPPED: Final = "skipped"
FINAL: Final = frozenset({COMPLETED, FAILED, CANCELLED, SKIPPED})
OVER: Final = FINAL | {DEAD}
"""Nothing follows in this generation, unless somebody gives a dead letter up."""
ATTEMPTED: Final = frozenset({RUNNING, CANCELLING, INTERRUPTING})
"""An attempt is under way, or a child."""


class Task:
    """One task of a run.

    `attempt` counts all starts, `failures` those that count against the retry policy, `lost` the
    others, but the `limited` that met a rate limit, `kills` the attempts in a row whose worker
    process died with them. `token` is that of the
    last attempt, `due_ns` that of the timer set, if one is. `hops`: how many full lanes sent it on
    to another. `child` is [plan, depth, plans by name] where the task stands for a run, `child_run`
    the id of the run that it submitted last. `kept` are the tokens of abandoned attempts that have
    a slot still. `hold`: why it stands still or is to. `signals` is None until somebody says
    something to the task, or its handler saves its state, `steps` until one is recorded, and once
    the task has completed. `unique` and `collect` as in `TaskScheduled`. `adjusted` is what
    somebody changed (as in `TaskAdjusted`), None: nothing; `kept_in` the lanes of kept slots, by
    their names, that are not of the lane by now. `leaving`: the lane in whose queue an earlier
    generation was, or may have been, as it ended, until that lane says that it has let go: a slot
    of it may be under way. `in_doubt`: an attempt that did not complete may
    have had effects. `awaits`: [signal, asked] of one that waits for an answer, `answer` what came,
    as in `TaskAnswered`. `awaited` are spawned tasks whose ends wake it, `ending` is how it ends
    when all that it spawned has ended (as in `EndPutOff`). Other times, too; 0: there is none.
    """

    __slots__ = (
        "adjusted", "answer", "attempt", "awaited", "awaits", "child", "child_run", "collect",
        "deadline_ns", "definition", "due_ns", "ending", "error", "failures", "generation", "hold",
        "holder", "hops", "in_doubt", "kept", "kept_in", "key", "kills", "lane", "leaving",
        "limited", "lost", "params", "priority", "progress", "queue_due_ns", "result", "run_id",
        "signals", "status", "steps", "stream", "task_id", "tenant", "token", "total_due_ns",
        "unique",
    )  # fmt: skip

    def __init__(self, stream: str) -> None:
        self.stream = stream
        _, self.run_id, self.task_id = stream.split("/", 2)
        self.status = PENDING
        self.definition: BlobRef | None = None
        self.generation = 0
        self.params: Value = None
        self.lane = ""
        self.priority = 0
        self.attempt = 0
        self.failures = 0
        self.lost = 0
        self.limited = 0
        self.kills = 0
        self.token = 0
        self.holder = ""
        self.due_ns = 0
        self.result: Value = None
        self.error: list[str] | None = None
        self.progress: list[object] | None = None
        self.deadline_ns = 0
        self.total_due_ns = 0
        self.queue_due_ns = 0
        self.child: list[Any] | None = None
        self.child_run = ""
        self.hold: Hold | None = None
        self.signals: Signals | None = None
        self.tenant = ""
        self.key = ""
        self.kept: list[int] = []
        self.hops = 0
        self.in_doubt = False
        self.unique: list[Any] | None = None
        self.adjusted: dict[str, Any] | None = None
        self.kept_in: dict[str, str] = {}
        self.leaving = ""
        self.steps: Steps | None = None
        self.collect: list[Any] | None = None
        self.awaits: list[Any] | None = None
        self.answer: list[Any] | None = None
        self.awaited: list[str] | None = None
        self.ending: list[Any] | None = None

    @property
    def ends_ns(self) -> int:
        """Return when the task has to have ended, whoever wants it; 0: there is no such time."""
        if self.deadline_ns and self.total_due_ns:
            return min(self.deadline_ns, self.total_due_ns)
        return self.deadline_ns or self.total_due_ns


def _sent(task: Task, fact: TaskJoined | TaskAdmitted | TaskRedirected | TaskDropped) -> None:
    """Note where a task waits before it has begun, or that it will not begin."""
    match fact:
        case TaskJoined():
            task.status = JOINED
        case TaskAdmitted():
            task.status = SCHEDULED
            task.queue_due_ns = fact.queue_due_ns
        case TaskRedirected():
            terms.settle(task, fact.lane)
            task.hops += 1
        case TaskDropped():
            _leave(task)
            task.status = SKIPPED
            task.due_ns = 0


def _scheduled(task: Task, fact: TaskScheduled) -> None:
    """Note what the task waits for first: its key, what it collects, or a slot."""
    (task.definition, task.generation, task.params, task.lane, task.priority,
     task.deadline_ns, task.total_due_ns, task.queue_due_ns, task.child,
     task.tenant, task.key, task.unique, task.collect) = fact  # fmt: skip
    if fact.collect is not None:
        task.status = COLLECTING
    else:
        task.status = SCHEDULED if fact.unique is None else CLAIMING


def evolve(task: Task, fact: TaskFact) -> Task:  # noqa: C901, PLR0912, PLR0915 - one case a fact
    """Apply a fact in place."""
    match fact:
        case TaskScheduled():
            _begin_again(task, fact.generation)
            _scheduled(task, fact)
            task.steps = None
        case AttemptStarted():
            task.status = RUNNING
            task.attempt, task.token, task.holder = fact
            task.queue_due_ns = 0
            if task.signals is not None:
                talk.attempt_started(task.signals, task.attempt)
        case TaskCompleted() | TaskFailed() | TaskCancelled() | TaskDied():
            _ended(task, fact)
        case TaskWaiting(definition, generation, due_ns):
            _begin_again(task, generation)
            task.status = WAITING
            task.definition, task.generation, task.due_ns = definition, generation, due_ns
        case TaskAwaiting() | TaskAnswered():
            _awaits(task, fact)
        case ProgressReported():
            task.progress = [fact.fraction, fact.message]
        case ChildStarted(attempt, run_id):
            task.status = CHILD
            task.attempt = attempt
            task.child_run = run_id
            task.due_ns = task.queue_due_ns = 0
        case AttemptFailed():
            _attempt_failed(task, fact)
        case AttemptLost():
            task.in_doubt = True
            task.lost += not fact.stopped
            task.status = SCHEDULED
            _attempt_over(task, lost=True)
        case AttemptLimited() | TaskRequeued() | TaskRetried():
            _ask_again(task, fact)
        case TaskJoined() | TaskAdmitted() | TaskRedirected() | TaskDropped():
            _sent(task, fact)
        case TaskCancelRequested():
            task.status = CANCELLING
        case AttemptReturned(token):
            _returned(task, token)
        case OutcomeRefused():
            pass
        case AttemptSlept() | StepRecorded() | StepsUnused():
            _stepped(task, fact)
        case EndPutOff():
            _put_off(task, fact)
        case SignalAccepted() | SignalConsumed() | SignalEnded() | StateSaved():
            task.signals = task.signals or Signals()
            talk.evolve(task.signals, fact)
        case TaskInterruptRequested() | TaskInterrupted() | TaskPaused() | TaskResumed():
            task.in_doubt = task.in_doubt or leaves_doubt(task, fact)
            holding.evolve(task, fact)
        case TaskAdjusted() | TaskMoved():
            terms.evolve(task, fact)
        case _:
            assert_never(fact)
    return task


def _awaits(task: Task, fact: TaskAwaiting | TaskAnswered) -> None:
    """Note what the task waits for, or what of it came."""
    if isinstance(fact, TaskAnswered):
        task.answer = list(fact)
        return
    _begin_again(task, fact.generation)
    task.status = WAITING
    task.definition, task.generation, task.due_ns = fact.definition, fact.generation, fact.due_ns
    task.awaits = [fact.signal, fact.asked]


def _ended(task: Task, fact: TaskCompleted | TaskFailed | TaskCancelled | TaskDied) -> None:
    """Note how the task ended; one that may be tried again gets its steps then.

    That is what failed, and what a bug cost a saga: it is cancelled, as it may hold a slot.
    A dead letter holds nothing any more, but what it may have done and left running.
    """
    _leave(task)
    match fact:
        case TaskCompleted():
            task.status = COMPLETED
            task.steps = None
            task.result = fact.result
            task.due_ns = 0
        case TaskFailed(code, message):
            task.status = FAILED
            task.error = [code, message]
        case TaskDied(code, message):
            task.status = DEAD
            task.error = [code, message]
            task.due_ns = task.queue_due_ns = task.total_due_ns = 0
            task.unique = task.collect = task.hold = task.steps = None
        case TaskCancelled():
            task.in_doubt = task.in_doubt or leaves_doubt(task, fact)
            task.status = CANCELLED
            task.due_ns = 0
            if not is_saga(task.run_id):
                task.steps = None
            if fact.abandoned:
                task.kept.append(task.token)


def is_queued(task: Task) -> bool:
    """Tell whether the task may be in the queue of its lane: also where it stands still."""
    held = task.status in HELD and task.hold is not None and task.hold.since == SCHEDULED
    return bool(task.lane) and (task.status == SCHEDULED or held)


def _leave(task: Task) -> None:
    """Note which lane has yet to say that it let go of a task that ends in its queue."""
    if is_queued(task):
        task.leaving = task.leaving or task.lane


def _put_off(task: Task, fact: EndPutOff) -> None:
    """Wait for what the task spawned: no attempt of it follows."""
    cancelled = fact.status == CANCELLED
    task.in_doubt = task.in_doubt or (cancelled and (fact.abandoned or task.status == CANCELLING))
    task.status = ENDING
    task.ending = list(fact)
    task.hold = None
    task.awaited = None
    task.due_ns = task.queue_due_ns = task.total_due_ns = 0
    if fact.abandoned:
        task.kept.append(task.token)


def _returned(task: Task, token: int) -> None:
    """Forget an attempt that kept its slot."""
    if token in task.kept:
        task.kept.remove(token)
        task.kept_in.pop(kept_slot(task.stream, token), None)


def next_life(task: Task) -> Task:
    """Return the task as it stands at the beginning of its next generation.

    What was adjusted stays so, but for a deadline; abandoned attempts keep their slots.
    """
    fresh = Task(task.stream)
    fresh.adjusted = terms.lasting(task.adjusted)
    fresh.kept, fresh.leaving = task.kept, task.leaving
    kept = (kept_slot(task.stream, token) for token in task.kept)
    fresh.kept_in = {**dict.fromkeys(kept, task.lane), **task.kept_in}
    return fresh


def in_generation(task: Task, generation: int) -> Task:
    """Return the task as it stands at the beginning of a generation, if that is a new one."""
    if generation > task.generation and task.status in OVER:
        return next_life(task)
    return task


def _begin_again(task: Task, generation: int) -> None:
    """Let the task be as if it had not begun, if that is another generation of one that ended."""
    if generation != task.generation and task.status in OVER:
        fresh = next_life(task)
        for name in Task.__slots__:
            setattr(task, name, getattr(fresh, name))


def _attempt_failed(task: Task, fact: AttemptFailed) -> None:
    task.in_doubt = task.in_doubt or leaves_doubt(task, fact)
    task.failures += 1
    task.kills = task.kills + 1 if fact.code == "worker_died" else 0
    task.error = [fact.code, fact.message]
    task.status = RETRYING
    task.due_ns = fact.retry_due_ns or 0
    if fact.abandoned:
        task.kept.append(fact.token)
    _attempt_over(task, lost=False)


def _ask_again(task: Task, fact: AttemptLimited | TaskRequeued | TaskRetried) -> None:
    """Have the task wait for a slot of its lane again."""
    task.status = SCHEDULED
    task.due_ns = 0
    task.awaited = None
    task.queue_due_ns = fact.queue_due_ns
    if isinstance(fact, AttemptLimited):
        task.limited += 1
        task.kills = 0
        _attempt_over(task, lost=False)
    elif isinstance(fact, TaskRetried):
        task.failures = task.lost = task.limited = task.kills = 0
        task.error = None
        task.total_due_ns = fact.total_due_ns


def _stepped(task: Task, fact: StepFact) -> None:
    """Keep a step, or wait with what is kept for the end of a sleep."""
    if isinstance(fact, StepRecorded):
        task.steps = task.steps or Steps()
        task.steps.add(fact)
    elif isinstance(fact, AttemptSlept):
        task.in_doubt = task.in_doubt or leaves_doubt(task, fact)
        task.status = WAITING
        task.due_ns = fact.due_ns
        task.kills = 0
        task.awaited = fact.awaited
        _attempt_over(task, lost=False)


def _attempt_over(task: Task, *, lost: bool) -> None:
    if task.hold is not None:
        task.hold.since = ""  # a child ended while its task stood still
    if task.signals is not None:
        talk.attempt_over(task.signals, task.attempt, lost=lost)


def encode(task: Task) -> dict[str, Any]:
    """Return the task as plain data: equal tasks give equal data."""
    names = (name for name in Task.__slots__ if name not in ("stream", "hold", "signals", "steps"))
    data = {name: getattr(task, name) for name in names}
    data["hold"] = None if task.hold is None else task.hold.as_list()
    data["signals"] = None if task.signals is None else task.signals.as_list()
    data["steps"] = None if task.steps is None else task.steps.as_list()
    return data


_ROOT: Final = (
    "status", "definition", "generation", "params", "lane", "priority", "attempt", "failures",
    "lost", "token", "holder", "due_ns", "result", "error", "progress", "deadline_ns",
    "total_due_ns", "queue_due_ns", "child", "child_run", "tenant", "key", "kept", "limited",
    "hops", "unique", "adjusted", "kept_in", "in_doubt", "collect", "kills", "leaving", "awaits",
    "answer", "awaited", "ending",
)  # fmt: skip


def _root(task: Task) -> Value:
    signals = None if task.signals is None else task.signals.as_list()
    hold = None if task.hold is None else task.hold.as_list()
    steps = 0 if task.steps is None else len(task.steps)
    return [hold, signals, steps, *(getattr(task, name) for name in _ROOT)]


def _maps(task: Task) -> tuple[Chunked[Any], ...]:
    return rows_of(task.steps)


def _restore(stream: str, root: Value, maps: MapChunks) -> Task:
    task = Task(stream)
    hold, signals, steps, *fields = root
    task.steps = Steps.of_chunks(steps, maps.get(0, {})) if steps else None
    task.hold = None if hold is None else Hold(*hold)
    task.signals = None if signals is None else Signals.of_list(signals)
    for name, value in zip(_ROOT, fields, strict=True):
        setattr(task, name, value)
    return task


FORM: Final = SnapshotForm(16, _root, _maps, _restore)
"""How a task is kept: its steps piece by piece."""
