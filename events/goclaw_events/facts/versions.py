"""Which facts count the version of a run, a saga or a schedule up.

All that was decided about it as a whole; not what its tasks did, or its runs (ADR 0027).
What folds a version, here or in a view, folds these.
"""

from __future__ import annotations

from typing import Final

from goclaw_events.facts.adjust import RunDeadlineSet
from goclaw_events.facts.hold import RunInterrupted, RunPaused, RunResumed
from goclaw_events.facts.letter import LetterDiscarded, LetterRedriven, RedrivePlanned
from goclaw_events.facts.path import PathChangeAsked, PathChanged, PathKept
from goclaw_events.facts.saga import (
    CompensationApproved,
    CompensationAwaited,
    CompensationBegun,
    CompensationRetried,
    RetryPlanned,
    SagaAlarmed,
    SagaCompensated,
    SagaCompleted,
    SagaResolved,
    SagaStarted,
    SagaSubmitted,
)
from goclaw_events.facts.schedule import (
    ScheduleDeleted,
    SchedulePaused,
    ScheduleResumed,
    ScheduleSet,
)
from goclaw_events.facts.workflow import (
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunFailed,
    RunSubmitted,
    RunTimedOut,
)

RUN_VERSIONED: Final[frozenset[type]] = frozenset(
    {
        RunSubmitted,
        RunInterrupted,
        RunPaused,
        RunResumed,
        RunCancelRequested,
        RunTimedOut,
        RunDeadlineSet,
        PathChangeAsked,
        PathChanged,
        PathKept,
        RedrivePlanned,
        LetterRedriven,
        LetterDiscarded,
        RunCompleted,
        RunFailed,
        RunCancelled,
    }
)
SAGA_VERSIONED: Final[frozenset[type]] = frozenset(
    {
        SagaSubmitted,
        SagaStarted,
        RunDeadlineSet,
        CompensationBegun,
        CompensationAwaited,
        CompensationApproved,
        RetryPlanned,
        CompensationRetried,
        SagaAlarmed,
        SagaCompleted,
        SagaCompensated,
        SagaResolved,
    }
)
SCHEDULE_VERSIONED: Final[frozenset[type]] = frozenset(
    {ScheduleSet, SchedulePaused, ScheduleResumed, ScheduleDeleted}
)
