"""What collectors, and those whose results they collect, say to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from goclaw_events.value import Value


# To a collector.
class OpenCollector(NamedTuple):
    """Collect results; the fields are those of `CollectorOpened`."""

    rule: str
    wanted: int
    by: list[str | int] | None
    failures_max: int | None
    deadline_ns: int
    members: Value
    digest: bytes
    opened_by: str
    task: str = ""
    select: Value = None
    live: bool = False
    run: str = ""
    members_count: int = 0


class AddMembers(NamedTuple):
    """Collect from further members: [[run, [task, ...]], ...]; `is_all`: others will not come."""

    members: list[list[Any]]
    is_all: bool


class CloseCollector(NamedTuple):
    """Take no further members; what is there is collected."""


class CancelCollector(NamedTuple):
    """Collect no more."""

    reason: str


class WatchCollector(NamedTuple):
    """Tell a task of the end."""

    task: str


class MembersReported(NamedTuple):
    """Members of a run ended: [task, generation, status, vote]; the task '' is the run itself."""

    run_id: str
    ended: list[list[int | str]]


class AskMembers(NamedTuple):
    """Go on asking members for their ends, from a place among the runs."""

    start: int


class LeaveMembers(NamedTuple):
    """Go on telling runs that nothing more is wanted of them, from a place among them."""

    start: int


# To a run.
class WatchTasks(NamedTuple):
    """Tell a collector how these tasks end; those that have ended, at once. '' is the run."""

    collector: str
    tasks: list[str]
    by: list[str | int] | None


class UnwatchTasks(NamedTuple):
    """Tell a collector nothing more."""

    collector: str


# To a task.
class CollectorDone(NamedTuple):
    """A collector has ended, or is not there (`unknown`)."""

    collector: str
    status: str


class ReportVote(NamedTuple):
    """Tell a collector what the task, which completed, votes for."""

    collector: str
    by: list[str | int]


COLLECT_MESSAGES: Final = (
    (OpenCollector, "collector.open"),
    (AddMembers, "collector.add_members"),
    (CloseCollector, "collector.close"),
    (CancelCollector, "collector.cancel"),
    (WatchCollector, "collector.watch"),
    (MembersReported, "collector.members_reported"),
    (AskMembers, "collector.ask_members"),
    (LeaveMembers, "collector.leave_members"),
    (WatchTasks, "run.watch_tasks"),
    (UnwatchTasks, "run.unwatch_tasks"),
    (ReportVote, "task.report_vote"),
    (CollectorDone, "task.collector_done"),
)
"""Each with its name, which may stand in a log."""


def end_all(watch: WatchTasks, status: str) -> list[list[int | str]]:
    """Return what tells a collector that all these tasks have ended so."""
    return [[task, 0, status, ""] for task in watch.tasks]
