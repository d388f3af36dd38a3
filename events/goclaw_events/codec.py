"""From a type to its stable name and version, and back, with upcasters between versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from goclaw_events import facts
from goclaw_events.envelope import NEW_TUPLE
from goclaw_events.errors import UnknownType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Upcaster = Callable[[list[Any]], list[Any]]


class TypeName(NamedTuple):
    """A stable name and the version that this build writes."""

    name: str
    version: int


class Codec:
    """Know every type of one kind (facts, or messages) by a name that outlives renames and moves.

    A type is a `NamedTuple`; its fields are written positionally. Adding a field means a new
    version and an upcaster from the last one; removing a type means keeping its reader.
    """

    def __init__(self) -> None:
        self.names: dict[type, TypeName] = {}
        self._types: dict[str, type] = {}
        self._upcasters: dict[tuple[str, int], Upcaster] = {}
        self._exact: dict[tuple[str, int, int], type] = {}

    def register(self, cls: type, name: str, version: int = 1) -> None:
        """Give `cls` its stable name and the version it is written with."""
        if name in self._types or cls in self.names:
            msg = f"{name} or {cls.__name__} is registered already"
            raise ValueError(msg)
        self.names[cls] = TypeName(name, version)
        self._types[name] = cls
        self._exact[(name, version, len(cls._fields))] = cls  # type: ignore[attr-defined]

    def upcast(self, name: str, version: int, upcaster: Upcaster) -> None:
        """Add the step that turns the fields of `version` into those of the next version."""
        self._upcasters[(name, version)] = upcaster

    def decode(self, name: str, version: int, data: Sequence[Any]) -> Any:
        """Return the object of this build; raises `UnknownType` for a name or version it lacks."""
        exact = self._exact.get((name, version, len(data)))
        if exact is not None:
            return NEW_TUPLE(exact, data)
        cls = self._types.get(name)
        if cls is None:
            msg = f"unknown type {name!r}"
            raise UnknownType(msg, hint="it was written by a newer version of Goclaw", type=name)
        if version != self.names[cls].version:
            data = self._raise_version(name, version, list(data), self.names[cls].version)
        try:
            return cls(*data)
        except TypeError as error:
            msg = f"{name} version {version} has {len(data)} fields: {error}"
            raise UnknownType(msg, type=name) from error

    def _raise_version(self, name: str, version: int, data: list[Any], wanted: int) -> list[Any]:
        for step in range(version, wanted):
            upcaster = self._upcasters.get((name, step))
            if upcaster is None:
                break
            data = upcaster(data)
        else:
            if version < wanted:
                return data
        msg = f"{name} version {version} cannot be read; this build knows version {wanted}"
        raise UnknownType(msg, hint="use the version of Goclaw that wrote the log", type=name)


FACTS = Codec()
"""Every fact; a name here is in logs for ever."""

for _cls, _name in (
    (facts.RunSubmitted, "run.submitted"),
    (facts.TaskEnded, "run.task_ended"),
    (facts.TasksSkipped, "run.tasks_skipped"),
    (facts.TaskSignalled, "run.task_signalled"),
    (facts.TasksBlocked, "run.tasks_blocked"),
    (facts.TasksUnblocked, "run.tasks_unblocked"),
    (facts.TasksWatched, "run.tasks_watched"),
    (facts.TasksUnwatched, "run.tasks_unwatched"),
    (facts.RunCancelRequested, "run.cancel_requested"),
    (facts.RunTimedOut, "run.timed_out"),
    (facts.RunStuck, "run.stuck"),
    (facts.RunUnstuck, "run.unstuck"),
    (facts.RunInterrupted, "run.interrupted"),
    (facts.RunPaused, "run.paused"),
    (facts.RunResumed, "run.resumed"),
    (facts.PathChangeAsked, "run.path_change_asked"),
    (facts.PathTaskAnswered, "run.path_task_answered"),
    (facts.PathChanged, "run.path_changed"),
    (facts.PathKept, "run.path_kept"),
    (facts.RunCompleted, "run.completed"),
    (facts.RunFailed, "run.failed"),
    (facts.RunCancelled, "run.cancelled"),
    (facts.TaskScheduled, "task.scheduled"),
    (facts.TaskWaiting, "task.waiting"),
    (facts.AttemptStarted, "task.attempt_started"),
    (facts.ChildStarted, "task.child_started"),
    (facts.ProgressReported, "task.progress_reported"),
    (facts.AttemptFailed, "task.attempt_failed"),
    (facts.AttemptLost, "task.attempt_lost"),
    (facts.AttemptLimited, "task.attempt_limited"),
    (facts.TaskRequeued, "task.requeued"),
    (facts.TaskRetried, "task.retried"),
    (facts.TaskJoined, "task.joined"),
    (facts.TaskAdmitted, "task.admitted"),
    (facts.TaskRedirected, "task.redirected"),
    (facts.OutcomeRefused, "task.outcome_refused"),
    (facts.AttemptReturned, "task.attempt_returned"),
    (facts.TaskCancelRequested, "task.cancel_requested"),
    (facts.TaskCompleted, "task.completed"),
    (facts.TaskFailed, "task.failed"),
    (facts.TaskCancelled, "task.cancelled"),
    (facts.SignalAccepted, "task.signal_accepted"),
    (facts.SignalConsumed, "task.signal_consumed"),
    (facts.SignalEnded, "task.signal_ended"),
    (facts.StateSaved, "task.state_saved"),
    (facts.StepRecorded, "task.step_recorded"),
    (facts.StepsUnused, "task.steps_unused"),
    (facts.AttemptSlept, "task.attempt_slept"),
    (facts.EndPutOff, "task.end_put_off"),
    (facts.TaskInterruptRequested, "task.interrupt_requested"),
    (facts.TaskInterrupted, "task.interrupted"),
    (facts.TaskPaused, "task.paused"),
    (facts.TaskResumed, "task.resumed"),
    (facts.TaskAdjusted, "task.adjusted"),
    (facts.TaskMoved, "task.moved"),
    (facts.RunDeadlineSet, "run.deadline_set"),
    (facts.TaskDropped, "task.dropped"),
    (facts.TaskDied, "task.died"),
    (facts.LetterLeft, "run.letter_left"),
    (facts.RedrivePlanned, "run.redrive_planned"),
    (facts.LetterRedriven, "run.letter_redriven"),
    (facts.LetterDiscarded, "run.letter_discarded"),
    (facts.TaskAwaiting, "task.awaiting"),
    (facts.TaskAnswered, "task.answered"),
    (facts.SignalReceived, "run.signal_received"),
    (facts.SignalAwaited, "run.signal_awaited"),
    (facts.SignalGiven, "run.signal_given"),
    (facts.SignalReturned, "run.signal_returned"),
    (facts.NamedSignalEnded, "run.signal_ended"),
    (facts.SignalsLeft, "run.signals_left"),
    (facts.LaneDeclared, "lane.declared"),
    (facts.LaneAdvanced, "lane.advanced"),
    (facts.LaneRefused, "lane.refused"),
    (facts.SlotKept, "lane.slot_kept"),
    (facts.LaneControlled, "lane.controlled"),
    (facts.LaneHeld, "lane.held"),
    (facts.LaneRedirected, "lane.redirected"),
    (facts.LaneRoomChanged, "lane.room_changed"),
    (facts.LaneScaled, "lane.scaled"),
    (facts.Marked, "partition.marked"),
    (facts.PartitionOpened, "partition.opened"),
    (facts.PartitionClosed, "partition.closed"),
    (facts.MessageFailed, "partition.message_failed"),
    (facts.MessageSettled, "partition.message_settled"),
    (facts.StreamPoisoned, "partition.stream_poisoned"),
    (facts.SegmentSealed, "partition.segment_sealed"),
    (facts.SegmentsExpired, "partition.segments_expired"),
    (facts.KeyClaimed, "unique.key_claimed"),
    (facts.KeyJoined, "unique.key_joined"),
    (facts.KeyWanted, "unique.key_wanted"),
    (facts.KeyFreed, "unique.key_freed"),
    (facts.SagaSubmitted, "saga.submitted"),
    (facts.SagaStarted, "saga.started"),
    (facts.StepEnded, "saga.step_ended"),
    (facts.StepRested, "saga.step_rested"),
    (facts.CompensationBegun, "saga.compensation_begun"),
    (facts.StepsUnwound, "saga.steps_unwound"),
    (facts.CompensationAwaited, "saga.compensation_awaited"),
    (facts.CompensationApproved, "saga.compensation_approved"),
    (facts.SagaCompleted, "saga.completed"),
    (facts.SagaCompensated, "saga.compensated"),
    (facts.SagaAlarmed, "saga.alarmed"),
    (facts.RetryPlanned, "saga.retry_planned"),
    (facts.CompensationRetried, "saga.compensation_retried"),
    (facts.SagaResolved, "saga.resolved"),
    (facts.DefinitionRegistered, "definition.registered"),
    (facts.CollectorOpened, "collector.opened"),
    (facts.MembersAdded, "collector.members_added"),
    (facts.CollectorWatched, "collector.watched"),
    (facts.MembersEnded, "collector.members_ended"),
    (facts.MembersAsked, "collector.members_asked"),
    (facts.CollectorEnded, "collector.ended"),
    (facts.ScheduleSet, "schedule.set"),
    (facts.FiringPlanned, "schedule.firing_planned"),
    (facts.ScheduleFired, "schedule.fired"),
    (facts.FiringQueued, "schedule.firing_queued"),
    (facts.FiringsSkipped, "schedule.firings_skipped"),
    (facts.FiredRunEnded, "schedule.run_ended"),
    (facts.SchedulePaused, "schedule.paused"),
    (facts.ScheduleResumed, "schedule.resumed"),
    (facts.ScheduleDeleted, "schedule.deleted"),
):
    FACTS.register(_cls, _name)
