"""The view `timeline`: what happened in a run, fact by fact, in the order of the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_events import facts
from goclaw_events.codec import FACTS
from goclaw_events.ids import OF_RUNS, PARTITION_STREAM, kind_of
from goclaw_events.value import unpack
from goclaw_projections.served import ServedRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from goclaw_projections.projection import ReadFrame
    from goclaw_projections.rows import Rows
    from goclaw_projections.store import ViewStore

BRIEF_CHARS_MAX: Final = 200


class TimelineEntry(NamedTuple):
    """A fact of a run or of one of its tasks (`task`; '' for the run's own).

    `number` is the fact's in the run's partition, `type` its stable name, `brief` what of it
    matters to a reader, in a few words (may be '').
    """

    number: int
    time_ns: int
    task: str
    type: str
    brief: str


class TimelineProjection:
    """Fold facts of workflow and task streams into rows `<run id>/<frame number>`.

    A row is [time_ns, first number, [[offset, task, type, brief]...]].
    """

    name = "timeline"
    version = 1

    def apply(self, frame: ReadFrame, rows: Rows) -> None:
        """Add the frame's entries, a row for each run in it."""
        runs: dict[str, list[list[Any]]] = {}
        first = frame.first
        for turn in frame.turns:
            if turn.kind == PARTITION_STREAM:
                _add_poisoned(turn.number - first, turn.facts, runs)
                continue
            entries = runs.get(turn.run_id)
            if entries is None:
                entries = runs[turn.run_id] = []
            offset, task = turn.number - first, turn.task_id
            for fact in turn.facts:
                name, brief = _TOLD[type(fact)]
                entries.append([offset, task, name, "" if brief is None else brief(fact)])
                offset += 1
        time_ns = frame.time_ns
        for run_id, entries in runs.items():
            rows.add(f"{run_id}/{first:016x}", [time_ns, first, entries])


def _add_poisoned(offset: int, said: Sequence[Any], runs: dict[str, list[list[Any]]]) -> None:
    for fact in said:
        if isinstance(fact, facts.StreamPoisoned) and kind_of(fact.stream) in OF_RUNS:
            run_id, _, task = fact.stream.partition("/")[2].partition("/")
            entry = [offset, task, "partition.stream_poisoned", _short(fact.code, fact.message)]
            runs.setdefault(run_id, []).append(entry)
        offset += 1


def _short(code: str, message: str) -> str:
    return f"{code}: {message}"[:BRIEF_CHARS_MAX]


def _brief_attempt_failed(fact: facts.AttemptFailed) -> str:
    ending = ("" if fact.retry_due_ns is None else ", retries") + ", abandoned" * fact.abandoned
    return f"attempt {fact.attempt}{ending}: {_short(fact.code, fact.message)}"[:BRIEF_CHARS_MAX]


def _brief_progress(fact: facts.ProgressReported) -> str:
    share = "" if fact.fraction is None else f"{fact.fraction:.0%} "
    return (share + fact.message)[:BRIEF_CHARS_MAX].strip()


def _by(reason: str, sender: str) -> str:
    return (f"{reason} ({sender})" if reason and sender else reason or sender)[:BRIEF_CHARS_MAX]


def _brief_signal(fact: facts.SignalAccepted) -> str:
    what = "parameters" if fact.kind == "params" else fact.mode
    sender = f" from {fact.sender}" if fact.sender else ""
    return f"{fact.signal}: {what}{sender}"[:BRIEF_CHARS_MAX]


def _brief_adjusted(fact: facts.TaskAdjusted) -> str:
    return _by(f"{fact.signal}: {', '.join(sorted(fact.changes))}", fact.sender)


def _brief_retried(fact: facts.CompensationRetried) -> str:
    steps = ", ".join(fact.steps)
    return _by(f"{steps}: {fact.reason}" if fact.reason else steps, fact.by)


def _brief_step(name: str, key: str) -> str:
    return f"{name} ({key})"[:BRIEF_CHARS_MAX] if key else name


def _brief_unused(fact: facts.StepsUnused) -> str:
    some = ", ".join(_brief_step(*step) for step in fact.steps)
    return f"{fact.unused}: {some}"[:BRIEF_CHARS_MAX]


def _brief_room(fact: facts.TasksBlocked | facts.TasksUnblocked) -> str:
    return f"{fact.lane}: {len(fact.tasks)} {', '.join(fact.tasks[:10])}"[:BRIEF_CHARS_MAX]


def _brief_path(fact: facts.PathChanged) -> str:
    counts = {"added": len(fact.added), "skipped": len(fact.skips), "again": len(fact.reopened)}
    said = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"version {fact.version}: {said or 'other needs'}"


def _brief_skipped(fact: facts.TasksSkipped) -> str:
    return f"{fact.reason}: {len(fact.tasks)} {', '.join(fact.tasks[:10])}"[:BRIEF_CHARS_MAX]


_BRIEFS: Final[dict[str, Callable[[Any], str]]] = {
    "run.submitted": lambda fact: fact.name,
    "run.task_ended": lambda fact: f"{fact.task} {fact.status}",
    "run.tasks_skipped": _brief_skipped,
    "run.path_changed": _brief_path,
    "run.path_change_asked": lambda fact: f"{fact.change}: {len(fact.asked)} asked",
    "run.path_task_answered": lambda fact: f"{fact.task}: {fact.answer}",
    "run.path_kept": lambda fact: f"{fact.change}: {_short(fact.code, fact.message)}",
    "run.task_signalled": lambda fact: fact.task,
    "run.tasks_blocked": _brief_room,
    "run.tasks_unblocked": _brief_room,
    "run.cancel_requested": lambda fact: fact.reason[:BRIEF_CHARS_MAX],
    "run.timed_out": lambda fact: fact.message[:BRIEF_CHARS_MAX],
    "run.stuck": lambda fact: "; ".join(f"{s}: {e}" for s, e in fact.evidence)[:BRIEF_CHARS_MAX],
    "run.interrupted": lambda fact: _by(fact.reason, fact.sender),
    "run.paused": lambda fact: _by(fact.reason, fact.sender),
    "run.resumed": lambda fact: fact.sender[:BRIEF_CHARS_MAX],
    "saga.submitted": lambda fact: fact.name,
    "saga.step_ended": lambda fact: f"{fact.task} {fact.status}{', in doubt' * fact.in_doubt}",
    "saga.step_rested": lambda fact: fact.task,
    "saga.compensation_begun": lambda fact: _short(fact.cause, fact.message or fact.code),
    "saga.steps_unwound": lambda fact: ", ".join(fact.compensating)[:BRIEF_CHARS_MAX],
    "saga.compensation_awaited": lambda fact: ", ".join(fact.steps)[:BRIEF_CHARS_MAX],
    "saga.compensation_approved": lambda fact: _by(fact.reason, fact.by),
    "saga.retry_planned": lambda fact: _by(fact.reason, fact.by),
    "saga.compensation_retried": _brief_retried,
    "saga.alarmed": lambda fact: "; ".join(_short(s, m) for s, _, m in fact.steps),
    "saga.resolved": lambda fact: _by(fact.reason, fact.by),
    "task.interrupt_requested": lambda fact: _by(fact.reason, fact.sender),
    "task.interrupted": lambda fact: _by(fact.reason, fact.sender),
    "task.paused": lambda fact: _by(fact.reason, fact.sender),
    "task.resumed": lambda fact: fact.sender[:BRIEF_CHARS_MAX],
    "run.failed": lambda fact: _short(fact.code, fact.message),
    "run.cancelled": lambda fact: fact.reason[:BRIEF_CHARS_MAX],
    "task.scheduled": lambda fact: fact.lane,
    "task.joined": lambda fact: fact.task,
    "task.redirected": lambda fact: fact.lane,
    "task.attempt_started": lambda fact: f"attempt {fact.attempt}",
    "task.child_started": lambda fact: f"attempt {fact.attempt}: {fact.run_id}",
    "task.progress_reported": _brief_progress,
    "task.attempt_failed": _brief_attempt_failed,
    "task.attempt_lost": lambda fact: f"attempt {fact.attempt}",
    "task.attempt_limited": lambda fact: _short(f"attempt {fact.attempt}", fact.message),
    "task.outcome_refused": lambda fact: fact.status,
    "task.attempt_returned": lambda fact: fact.reason,
    "task.cancel_requested": lambda fact: fact.reason[:BRIEF_CHARS_MAX],
    "task.signal_accepted": _brief_signal,
    "task.signal_consumed": lambda fact: f"{fact.signal} by attempt {fact.attempt}",
    "task.signal_ended": lambda fact: _short(f"{fact.signal} {fact.state}", fact.reason),
    "task.adjusted": _brief_adjusted,
    "task.moved": lambda fact: fact.lane,
    "task.step_recorded": lambda fact: _brief_step(fact.name, fact.key),
    "task.steps_unused": _brief_unused,
    "task.attempt_slept": lambda fact: f"attempt {fact.attempt}",
    "task.state_saved": lambda fact: f"attempt {fact.attempt}",
    "task.died": lambda fact: _short(fact.code, fact.message),
    "run.letter_left": lambda fact: fact.task,
    "run.redrive_planned": lambda fact: _by(_short(fact.task, fact.reason), fact.by),
    "run.letter_redriven": lambda fact: _by(_short(fact.task, fact.reason), fact.by),
    "run.letter_discarded": lambda fact: _by(_short(fact.task, fact.reason), fact.by),
    "task.failed": lambda fact: _short(fact.code, fact.message),
    "task.cancelled": lambda fact: fact.reason[:BRIEF_CHARS_MAX],
}
"""What to say of a fact, by its type; nothing where the type says it all."""

_TOLD: Final = {cls: (name, _BRIEFS.get(name)) for cls, (name, _) in FACTS.names.items()}


class TimelineReader:
    """Read the timeline of a run. Any thread; sees what the runner has written."""

    def __init__(self, store: ViewStore) -> None:
        self._rows = ServedRows(store, "timeline")

    def entries(self, run_id: str, after: int = 0) -> Iterator[TimelineEntry]:
        """Yield the entries of a run whose number is above `after`, in order."""
        for _, data in self._rows.scan(f"{run_id}/"):
            time_ns, first, entries = unpack(data)
            for offset, task, name, brief in entries:
                if first + offset > after:
                    yield TimelineEntry(first + offset, time_ns, task, name, brief)
