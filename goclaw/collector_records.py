"""Collectors as records: plain JSON data; and a collector as its facts leave it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw.run_records import time_text
from goclaw_actors.contents import StoredContents
from goclaw_actors.directory import deciders
from goclaw_actors.rebuild import actor_at
from goclaw_events.ids import collector_stream, partition_of

if TYPE_CHECKING:
    from goclaw_actors.collector import Collector
    from goclaw_events.journal import Journal
    from goclaw_projections.collectors import CollectorView


def collector_at(journal: Journal, name: str) -> Collector:
    """Return a collector as the durable facts leave it; one that was never opened is `unknown`."""
    stream = collector_stream(name)
    where = partition_of(stream, journal.partitions)
    found: Collector = actor_at(journal, deciders(StoredContents(journal)), where, stream).state
    return found


def collector_record(found: CollectorView) -> dict[str, Any]:
    """Return a collector: what it wants, how far it is, by whom and for whom it was opened."""
    run_id, _, task = found.task.removeprefix("task/").partition("/")
    return {
        "collector_id": found.collector_id,
        "status": found.status,
        "reason": found.reason or None,
        "rule": found.rule,
        "members": found.members,
        "ended": found.ended,
        "completed": found.completed,
        "failed": found.failed,
        "live": found.live,
        "more": found.more,
        "vote": found.vote or None,
        "opened_by": found.opened_by or None,
        "for_run": run_id or None,
        "for_task": task or None,
        "result_run": found.run or None,
        "opened_at": time_text(found.opened_at_ns),
        "ended_at": time_text(found.ended_at_ns),
        "deadline": time_text(found.deadline_ns),
    }
