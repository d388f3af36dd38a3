"""Lanes, counts, workers and the state of views as records: plain JSON data.

Times are RFC 3339 in UTC, durations seconds, positions `partition:number`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw.run_records import time_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw_projections.counts import Counts, HourCounts
    from goclaw_projections.lanes import LaneView
    from goclaw_projections.status import ProjectionStatus
    from goclaw_projections.workers import RunningAttempt, WorkerView

_NESTED: Final = {"rate": ("per_second", "burst", "kind"), "scale": ("min", "max", "wait", "idle")}
"""Limits that facts have as lists: what the places mean."""


def lane_record(lane: LaneView, now_ns: int) -> dict[str, Any]:
    """Return a lane: its limits, what is in it, and totals.

    `limits` are those in force, `declared` and `live` what they come from, by the names of a
    definition.
    """
    leased, oldest_ns = lane.leased_total, lane.oldest_queued_at_ns
    slots = {"concurrency": lane.concurrency, "capacity": lane.capacity}
    declared = named_limits({**slots, **lane.limits})
    live = named_limits(lane.live)
    limits = {**declared, **live}
    if "concurrency" in live:
        limits.pop("scale", None)
    elif "scale" in limits:
        scale = limits["scale"]
        limits["concurrency"] = min(max(lane.scaled, scale["min"]), scale["max"])
    changed_by, claimed = lane.changed_by
    held_ns = lane.held_until_ns
    return {
        "lane": lane.lane,
        "mode": lane.mode,
        "concurrency": limits["concurrency"],
        "capacity": limits["capacity"],
        "overflow": lane.overflow,
        "limits": limits,
        "declared": declared,
        "declared_by": lane.declared_by,
        "live": live,
        "version": lane.version,
        "changed_by": changed_by or None,
        "changed_as": claimed or None,
        "changed_at": time_text(lane.changed_at_ns),
        "held_until": time_text(held_ns) if held_ns is not None and held_ns > now_ns else None,
        "running": lane.running,
        "queued": lane.queued,
        "queued_by_priority": {
            str(priority): count for priority, count in lane.queued_by_priority.items()
        },
        "oldest_queued_at": time_text(oldest_ns),
        "oldest_waits_s": None if oldest_ns is None else max(0, now_ns - oldest_ns) / 1e9,
        "arrived_total": lane.arrived_total,
        "leased_total": leased,
        "released_total": lane.released_total,
        "withdrawn_total": lane.withdrawn_total,
        "refused_total": lane.refused_total,
        "dropped_total": lane.dropped_total,
        "redirected_total": lane.redirected_total,
        "blocked": lane.blocked,
        "waited_mean_s": lane.waited_ns_total / leased / 1e9 if leased else 0.0,
        "updated_at": time_text(lane.updated_at_ns),
        "poisoned": lane.poisoned or None,
    }


def named_limits(limits: Mapping[str, Any]) -> dict[str, Any]:
    """Return limits as facts have them in the form in which a definition says them."""
    said = dict(limits)
    for name, fields in _NESTED.items():
        if isinstance(said.get(name), list | tuple):
            said[name] = dict(zip(fields, said[name], strict=False))
    return said


def counts_record(counts: Counts) -> dict[str, Any]:
    """Return numbers of runs and tasks."""
    return {
        "runs": dict(counts.runs),
        "tasks": dict(counts.tasks),
        "failures": dict(counts.failures),
        "run_failures": dict(counts.run_failures),
        "submitted": counts.submitted,
        "retried": counts.retried,
        "lost": counts.lost,
    }


def hour_record(hour: HourCounts) -> dict[str, Any]:
    """Return what happened to a definition within an hour."""
    return {"hour": time_text(hour.hour_ns), "name": hour.name, **counts_record(hour.counts)}


def worker_record(worker: WorkerView) -> dict[str, Any]:
    """Return a holder of attempts."""
    record = worker._asdict()
    record["first_seen_at"] = time_text(record.pop("first_seen_ns"))
    record["last_seen_at"] = time_text(record.pop("last_seen_ns"))
    return record


def attempt_record(attempt: RunningAttempt) -> dict[str, Any]:
    """Return an attempt that runs."""
    record = attempt._asdict()
    record["started_at"] = time_text(record.pop("started_at_ns"))
    return record


def view_record(status: ProjectionStatus) -> dict[str, Any]:
    """Return how a view is, and how far the rows are that are being made anew."""
    rebuild = status.rebuild
    return {
        "name": status.name,
        "version": status.version,
        "state": status.state,
        "positions": [f"{p}:{number}" for p, number in enumerate(status.places)],
        "lag": sum(status.lag),
        "lag_s": status.lag_s,
        "error": _error(status.code, status.message),
        "lacks_below": [f"{p}:{number}" for p, number in enumerate(status.lacks) if number],
        "rebuild": None
        if rebuild is None
        else {
            "state": rebuild.state,
            "positions": [f"{p}:{number}" for p, number in enumerate(rebuild.places)],
            "lag": sum(rebuild.lag),
            "error": _error(rebuild.code, rebuild.message),
        },
    }


def _error(code: str, message: str) -> dict[str, str] | None:
    return {"code": code, "message": message} if code else None
