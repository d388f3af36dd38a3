"""Keep the log small: archive old facts, give archived ones up, compact what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw.before import Before, parse_before
from goclaw.errors import UsageInvalid
from goclaw.operations.operation import NoParams, Params, keep

if TYPE_CHECKING:
    from goclaw.expiry import ExpiryPlan
    from goclaw.housekeeping import Housekeeping
    from goclaw_events.segments.records import SegmentInfo

RUNS_NAMED_MAX: Final = 100_000
"""Runs that an answer names for each partition; it always counts them all."""


class Archive(Params):
    """How far."""

    before: str | None = None
    """A position or an age; None: what `retention.archive_after_s` says, or everything."""


class Expire(Params):
    """How far, and whether really."""

    before: str | None = None
    """A position or an age; None: what `retention.expire_after_s` says."""
    dry_run: bool = True
    """Only name what would be given up."""


def _archive(house: Housekeeping, asked: Archive) -> dict[str, Any]:
    limit = _limit(asked.before, house.settings.archive_after_s)
    sealed = [
        _segment(partition, info)
        for partition, number in limit.numbers(house.journal, house.clock.now_ns())
        for info in house.archive(partition, number)
    ]
    return {"segments": sealed}


def _expire(house: Housekeeping, asked: Expire) -> dict[str, Any]:
    if asked.before is None and house.settings.expire_after_s is None:
        msg = "nothing says what is old enough to be given up"
        raise UsageInvalid(msg, hint="add --before 365d, or set retention.expire_after_s")
    limit = _limit(asked.before, house.settings.expire_after_s)
    numbers = limit.numbers(house.journal, house.clock.now_ns())
    plans = [house.expirer.plan(partition, number) for partition, number in numbers]
    found = [plan for plan in plans if plan is not None]
    if not asked.dry_run:
        for plan in found:
            house.archiver.check()
            house.expirer.expire(plan)
    return {"expired": not asked.dry_run, "partitions": [_plan(plan) for plan in found]}


def _compact(house: Housekeeping, _: NoParams) -> dict[str, Any]:
    return house.compact()._asdict()


def _limit(before: str | None, age_s: float | None) -> Before:
    return Before(age_s=age_s) if before is None else parse_before(before)


def _segment(partition: int, info: SegmentInfo) -> dict[str, Any]:
    fields = info._asdict() | {"digest": info.digest.hex(), "last_hash": info.last_hash.hex()}
    return {"partition": partition, **fields}


def _plan(plan: ExpiryPlan) -> dict[str, Any]:
    return {
        "partition": plan.partition,
        "below": plan.below,
        "facts": plan.facts,
        "file_bytes": plan.file_bytes,
        "segments": [info.name for info in plan.segments],
        "runs_count": len(plan.runs),
        "runs": list(plan.runs[:RUNS_NAMED_MAX]),
    }


OPERATIONS: Final = (
    keep("log.archive", Archive, _archive, "Move old facts into files that never change.",
         "`{segments: [{partition, name, first, last, frames, facts, file_bytes, digest, "
         "last_hash, ended}]}`"),
    keep("log.expire", Expire, _expire, "Give archived facts up for good, or say which would go.",
         "`{expired, partitions: [{partition, below, facts, file_bytes, segments, runs_count, "
         "runs}]}`"),
    keep("log.compact", NoParams, _compact, "Delete what nothing refers to, give space back.",
         "`{runs, blobs, blob_bytes, files, bytes_before, bytes_after}`"),
)  # fmt: skip
