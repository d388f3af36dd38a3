"""Facts: what was said, past tense, one file for each aggregate.

A fact is a `NamedTuple`: immutable, positional, and msgpack writes it as it stands (ADR 0001).
"""

from goclaw_events.facts.catalogue import CatalogueFact, DefinitionRegistered
from goclaw_events.facts.lane import LaneAdvanced, LaneDeclared, LaneFact, LaneRefused
from goclaw_events.facts.partition import (
    Marked,
    MessageFailed,
    PartitionClosed,
    PartitionFact,
    PartitionOpened,
    SegmentSealed,
    SegmentsExpired,
    StreamPoisoned,
)
from goclaw_events.facts.task import (
    AttemptFailed,
    AttemptLost,
    AttemptStarted,
    ChildStarted,
    OutcomeRefused,
    ProgressReported,
    TaskCancelled,
    TaskCancelRequested,
    TaskCompleted,
    TaskFact,
    TaskFailed,
    TaskRequeued,
    TaskScheduled,
    TaskWaiting,
)
from goclaw_events.facts.workflow import (
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunFailed,
    RunSubmitted,
    RunTimedOut,
    TaskEnded,
    TasksSkipped,
    WorkflowFact,
)

__all__ = [
    "AttemptFailed",
    "AttemptLost",
    "AttemptStarted",
    "CatalogueFact",
    "ChildStarted",
    "DefinitionRegistered",
    "LaneAdvanced",
    "LaneDeclared",
    "LaneFact",
    "LaneRefused",
    "Marked",
    "MessageFailed",
    "OutcomeRefused",
    "PartitionClosed",
    "PartitionFact",
    "PartitionOpened",
    "ProgressReported",
    "RunCancelRequested",
    "RunCancelled",
    "RunCompleted",
    "RunFailed",
    "RunSubmitted",
    "RunTimedOut",
    "SegmentSealed",
    "SegmentsExpired",
    "StreamPoisoned",
    "TaskCancelRequested",
    "TaskCancelled",
    "TaskCompleted",
    "TaskEnded",
    "TaskFact",
    "TaskFailed",
    "TaskRequeued",
    "TaskScheduled",
    "TaskWaiting",
    "TasksSkipped",
    "WorkflowFact",
]
