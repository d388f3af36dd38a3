"""A run's state and how facts change it.

Each fact costs as much as the tasks it names have dependents, whatever the size of the run.
"""

from __future__ import annotations

from array import array
from sys import byteorder
from typing import TYPE_CHECKING, Any, Final, assert_never

from goclaw_actors.blocked import Blocked
from goclaw_actors.chunked import Chunked
from goclaw_actors.decider import SnapshotForm
from goclaw_actors.held_back import note, note_end, planned
from goclaw_actors.pathing import PASSED as BY_HAND
from goclaw_actors.statuses import (
    ACTIVE,
    BLOCKED,
    COMPLETED,
    ENDED_AS,
    FAILED,
    PASSED,
    SKIPPED,
    STATUS_NAMES,
)
from goclaw_actors.workflow import mail
from goclaw_actors.workflow.dead import Letters, with_plans
from goclaw_actors.workflow.mail import Mail
from goclaw_actors.workflow.path import Path
from goclaw_actors.workflow.watches import Watches
from goclaw_actors.workflow.window import Window, gives_up, kept_error
from goclaw_events.facts import (
    LetterDiscarded,
    LetterLeft,
    LetterRedriven,
    NamedSignalEnded,
    PathChangeAsked,
    PathChanged,
    PathKept,
    PathTaskAnswered,
    RedrivePlanned,
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunDeadlineSet,
    RunFailed,
    RunInterrupted,
    RunPaused,
    RunResumed,
    RunStuck,
    RunSubmitted,
    RunTimedOut,
    RunUnstuck,
    SignalAwaited,
    SignalGiven,
    SignalReceived,
    SignalReturned,
    SignalsLeft,
    TaskEnded,
    TasksBlocked,
    TaskSignalled,
    TasksSkipped,
    TasksUnblocked,
    TasksUnwatched,
    TasksWatched,
    WorkflowFact,
)
from goclaw_events.facts.versions import RUN_VERSIONED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from goclaw_actors.contents import Contents
    from goclaw_actors.decider import MapChunks
    from goclaw_events.facts import LetterFact, PathFact
    from goclaw_events.plan import Plan
    from goclaw_events.value import BlobRef, Value

# States of the run.
UNKNOWN: Final = "unknown"
RUNNING: Final = "running"
FAILING: Final = "failing"
CANCELLING: Final = "cancelling"
PAUSED: Final = "paused"
INTERRUPTED: Final = "interrupted"
FINAL: Final = frozenset({"completed", "failed", "cancelled"})

TIMEOUT: Final = "timeout"
NEEDS_FAILED: Final = "needs_failed"
CHUNK_BITS: Final = 6
"""Results have up to 64 KiB each."""
LITTLE: Final = byteorder == "little"


_HELD_BY: Final[dict[type, str]] = {
    RunInterrupted: INTERRUPTED,
    RunPaused: PAUSED,
    RunResumed: "",
}


class Run:
    """One run.

    By plan index: `statuses`, and `unmet`, how many needs have not ended. A task is ACTIVE from
    the moment that its last need ended, whether or not its actor heard of it yet.
    `results` holds what something of the run reads; `first_failed` is (task, code, message).
    `parent`, `depth`, `deadline_ns`, `children` as in `RunSubmitted`; `stuck` as in `RunStuck`.
    `told` are the tasks (by plan index) that somebody said something to: their streams may begin
    before they do. `blocked` are active ones that a lane has no room for; None: there never were
    any. `held`: paused or interrupted, '' while the run goes on; `was_held`: it was so once.
    `watches` is None unless collectors wait for ends, `path` unless it was changed or a task runs
    again, `letters` unless a task was a dead letter, `mail` unless a signal was sent to the run or
    a task waits for one, `window` unless the run works on a list. `version` counts what was decided
    about the run.
    """

    __slots__ = (
        "active", "blocked", "children", "deadline_ns", "definition", "depth", "digest", "ended",
        "error", "first_failed", "held", "idempotency_key", "input", "labels", "letters", "mail",
        "name", "parent", "path", "plan", "reason", "result", "results", "run_id", "status",
        "statuses", "stuck", "told", "unmet", "version", "was_held", "watches", "window",
    )  # fmt: skip

    def __init__(self, stream: str) -> None:
        self.run_id = stream.partition("/")[2]
        self.status = UNKNOWN
        self.plan: Plan | None = None
        self.definition: BlobRef | None = None
        self.digest = b""
        self.idempotency_key: str | None = None
        self.name = ""
        self.input: Value = None
        self.labels: dict[str, str] = {}
        self.statuses = bytearray()
        self.unmet = array("I")
        self.active = 0
        self.ended = 0
        self.results: Chunked[Value] = Chunked(CHUNK_BITS)
        self.first_failed: tuple[str, str, str] | None = None
        self.reason = ""
        self.result: Value = None
        self.error: tuple[str, str, str] | None = None
        self.parent = ""
        self.depth = 0
        self.deadline_ns = 0
        self.children: dict[str, BlobRef] | None = None
        self.told: set[int] | None = None
        self.blocked: Blocked | None = None
        self.stuck: list[list[str]] = []
        self.held = ""
        self.was_held = False
        self.version = 0
        self.watches: Watches | None = None
        self.path: Path | None = None
        self.letters: Letters | None = None
        self.mail: Mail | None = None
        self.window: Window | None = None

    @property
    def has_ended(self) -> bool:
        """Tell whether nothing of the run runs any more."""
        return self.status in FINAL


class Evolve:
    """Apply facts in place; a run's plan is looked up by the hash that its first fact names."""

    def __init__(
        self,
        contents: Contents,
        evolve_path: Callable[[Run, PathFact, Contents], None],
        evolve_letter: Callable[[Run, LetterFact], None],
    ) -> None:
        self._contents = contents
        self._evolve_path = evolve_path
        self._evolve_letter = evolve_letter

    def __call__(self, run: Run, fact: WorkflowFact) -> Run:  # noqa: C901, PLR0912, PLR0915 - one case a fact
        """Apply a fact."""
        match fact:
            case TaskEnded():
                _task_ended(run, fact)
            case RunSubmitted():
                self._submitted(run, fact)
            case TasksSkipped(tasks, reason):
                for task in planned(run, tasks):
                    skip(run, run.plan, task.index, reason)
            case TaskSignalled(task):
                assert run.plan is not None, "the first fact of a run is its submission"
                run.told = run.told or set()
                run.told.add(run.plan.index[task])
            case TasksBlocked() | TasksUnblocked():
                note(run, fact)
            case RunInterrupted() | RunPaused() | RunResumed():
                run.held = _HELD_BY[type(fact)]
                run.was_held = True
            case TasksWatched() | TasksUnwatched():
                _watch(run, fact)
            case (
                SignalReceived()
                | SignalAwaited()
                | SignalGiven()
                | SignalReturned()
                | NamedSignalEnded()
                | SignalsLeft()
            ):
                mail.evolve(run, fact)
            case PathChangeAsked() | PathTaskAnswered() | PathChanged() | PathKept():
                self._evolve_path(run, fact, self._contents)
            case LetterLeft() | RedrivePlanned() | LetterRedriven() | LetterDiscarded():
                self._evolve_letter(run, fact)
            case RunCancelRequested(reason):
                run.status = CANCELLING
                run.reason = reason
            case RunTimedOut(message):
                if run.first_failed is None or forgives(run.plan, run.status):
                    run.first_failed = ("", TIMEOUT, message)
                run.status = FAILING
            case RunDeadlineSet(deadline_ns):
                run.deadline_ns = deadline_ns
            case RunStuck(evidence):
                run.stuck = evidence
            case RunUnstuck():
                run.stuck = []
            case RunCompleted(result):
                run.status = "completed"
                run.result = result
                run.watches = None
            case RunFailed(code, message, task):
                run.status = "failed"
                run.error = (code, message, task)
                run.watches = None
            case RunCancelled():
                run.status = "cancelled"
                run.watches = None
            case _:
                assert_never(fact)
        if type(fact) in RUN_VERSIONED:
            run.version += 1
        return run

    def _submitted(self, run: Run, fact: RunSubmitted) -> None:
        plan = self._contents.plan(fact.definition)
        run.status = RUNNING
        run.plan = plan
        run.definition = fact.definition
        run.digest = fact.digest
        run.idempotency_key = fact.idempotency_key
        run.name = fact.name
        run.input = fact.input
        run.labels = fact.labels
        run.parent = fact.parent
        run.depth = fact.depth
        run.deadline_ns = fact.deadline_ns
        run.children = fact.children
        run.statuses = bytearray(len(plan.tasks))
        run.unmet = array("I", plan.needs_count)
        for index in plan.roots:
            run.statuses[index] = ACTIVE
        run.active = len(plan.roots)
        run.window = None if plan.mapped is None else Window(run.statuses)


def _watch(run: Run, fact: TasksWatched | TasksUnwatched) -> None:
    run.watches = run.watches or Watches()
    if isinstance(fact, TasksWatched):
        run.watches.add(*fact)
    else:
        run.watches.leave(fact.collector)


def _task_ended(run: Run, fact: TaskEnded) -> None:
    plan = run.plan
    assert plan is not None, "the first fact of a run is its submission"
    index = plan.index[fact.task]
    status = ENDED_AS[fact.status]
    run.statuses[index] = status
    run.active -= 1
    run.ended += 1
    let_go(run, plan, index)
    if run.path is not None and run.path.changing is not None:
        run.path.changing.waiting.discard(index)
    if status == COMPLETED:
        if fact.result is not None:
            run.results.put(index, fact.result)
    elif status == FAILED:
        _failed(run, plan, index, fact)
    settle(run, plan, index)


def _failed(run: Run, plan: Plan, index: int, fact: TaskEnded) -> None:
    if run.first_failed is None:
        code, message = fact.error or ["", ""]
        run.first_failed = (fact.task, code, message)
    if run.window is not None:
        run.window.failed += 1
        kept = kept_error(plan, fact.error)
        if kept is not None:
            run.results.put(index, kept)
    if run.status == RUNNING and gives_up(plan, run.window.failed if run.window else 0):
        run.status = FAILING


def let_go(run: Run, plan: Plan, index: int) -> None:
    """Forget why an active task waits: for its lane, for a signal, or as a dead letter."""
    note_end(run, plan.tasks[index])
    if run.mail is not None:
        run.mail.leave(index)
    if run.letters is not None:
        run.letters.dead.discard(index)
        run.letters.edits.pop(index, None)
        run.letters.planned.pop(index, None)


def forgives(plan: Plan | None, status: str) -> bool:
    """Tell whether what failed so far are items of a list of which some may."""
    return plan is not None and plan.mapped is not None and status == RUNNING


def skipped_as(reason: str) -> int:
    """Return what the run knows of a task that was skipped for a reason."""
    return {NEEDS_FAILED: BLOCKED, BY_HAND: PASSED}.get(reason, SKIPPED)


def skip(run: Run, plan: Plan | None, index: int, reason: str) -> None:
    """Count an active task as skipped."""
    assert plan is not None, "the first fact of a run is its submission"
    run.statuses[index] = skipped_as(reason)
    run.active -= 1
    run.ended += 1
    if run.path is not None and index in run.path.skips:
        _, result = run.path.skips.pop(index)
        if result is not None:
            run.results.put(index, result)
    settle(run, plan, index)


def settle(run: Run, plan: Plan, index: int) -> None:
    """Count an ended task off at what needs it; while the run runs, that may become active."""
    if run.watches is not None:
        run.watches.end(index)
    unmet, statuses = run.unmet, run.statuses
    running = run.status == RUNNING
    if run.window is not None:
        if running and (following := run.window.next(statuses)) >= 0:
            statuses[following] = ACTIVE
            run.active += 1
        return
    for dependent in plan.tasks[index].dependents:
        unmet[dependent] -= 1
        if unmet[dependent] == 0 and running:
            statuses[dependent] = ACTIVE
            run.active += 1


def encode(run: Run) -> dict[str, Any]:
    """Return the run as plain data: equal runs give equal data."""
    hidden = {
        "plan", "statuses", "results", "told", "unmet", "blocked", "watches", "path", "letters",
        "mail", "window",
    }  # fmt: skip
    data = {name: getattr(run, name) for name in Run.__slots__ if name not in hidden}
    ids = [task.id for task in run.plan.tasks] if run.plan else []
    data["tasks"] = {ids[i]: STATUS_NAMES[status] for i, status in enumerate(run.statuses)}
    data["unmet"] = list(run.unmet)
    data["told"] = sorted(run.told or ())
    data["watches"] = _watches(run)
    data["results"] = {ids[index]: value for index, value in sorted(run.results.items())}
    if run.path is not None:
        data["path"] = run.path.as_list()
    if run.letters is not None:
        data["letters"] = run.letters.as_list()
    if run.mail is not None:
        data["mail"] = run.mail.as_list()
    if run.blocked is not None:
        held_back = [[ids[row[0]], row[1]] for _, row in sorted(run.blocked.rows.items())]
        data["blocked"] = [held_back, sorted(run.blocked.left)]
    return data


_ROOT: Final = (
    "status", "definition", "digest", "idempotency_key", "name", "input", "labels", "active",
    "ended", "reason", "result", "first_failed", "error", "parent", "depth", "deadline_ns",
    "children", "stuck", "held", "was_held", "version",
)  # fmt: skip


def _root(run: Run) -> Value:
    counts = run.unmet.tobytes() if LITTLE else _swapped(run.unmet).tobytes()
    told = sorted(run.told or ())
    fields = [getattr(run, name) for name in _ROOT]
    left = None if run.blocked is None else sorted(run.blocked.left)
    path = None if run.path is None else run.path.as_list()
    letters = None if run.letters is None else run.letters.as_list()
    mailed = None if run.mail is None else run.mail.as_list()
    parts = (_watches(run), path, letters, mailed)
    return [fields, bytes(run.statuses), counts, told, left, *parts]


def _watches(run: Run) -> list[Any]:
    return run.watches.as_list() if run.watches else []


def _maps(run: Run) -> tuple[Chunked[Any], ...]:
    return (run.results,) if run.blocked is None else (run.results, run.blocked.rows)


def _swapped(counts: array[int]) -> array[int]:
    """Return counts in the other order of bytes: they are kept little-endian."""
    copy = counts[:]
    copy.byteswap()
    return copy


def snapshot_form(contents: Contents) -> SnapshotForm[Run]:
    """Return how a run is kept: its plan by reference, a byte and a count a task, its results."""

    def restore(stream: str, root: Value, maps: MapChunks) -> Run:
        run, chunks = Run(stream), maps.get(0, {})
        fields, statuses, counts, told, left, watches, path, letters, mailed = root
        for name, value in zip(_ROOT, fields, strict=True):
            setattr(run, name, value)
        run.first_failed = _triple(run.first_failed)
        run.error = _triple(run.error)
        run.plan = contents.plan(run.definition) if run.definition is not None else None
        run.statuses = bytearray(statuses)
        run.unmet.frombytes(counts)
        if not LITTLE:
            run.unmet.byteswap()
        if run.plan is not None and run.plan.mapped is not None:
            run.window = Window(run.statuses)
        run.results = Chunked(CHUNK_BITS, chunks)
        run.told = set(told) or None
        if left is not None:
            assert run.plan is not None, "who holds tasks back was submitted"
            run.blocked = Blocked()
            run.blocked.restore(run.plan.tasks, maps.get(1, {}), left)
        run.watches = Watches.of_list(watches)
        run.path = None if path is None else Path.of_list(path)
        run.letters = None if letters is None else Letters.of_list(letters)
        run.mail = None if mailed is None else Mail.of_list(mailed)
        return run

    return SnapshotForm(15, _root, _maps, restore, {13: mail.with_deadlines, 14: with_plans})


def _triple(error: Sequence[str] | None) -> tuple[str, str, str] | None:
    return None if error is None else (error[0], error[1], error[2])
