"""`goclaw log archive`, `expire` and `compact`: keep the log small while no engine runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from goclaw.cli.options import json_option, settings_options
from goclaw.cli.output import emit, print_table, printable, say
from goclaw.errors import UsageInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goclaw.before import Before
    from goclaw.config import Settings
    from goclaw.expiry import ExpiryPlan
    from goclaw_events.segments.records import SegmentInfo

_BEFORE = "What is older (30d, 12h), or below a position of its partition (0:42)"


@click.command()
@click.option(
    "--before", metavar="POSITION|AGE",
    help=f"{_BEFORE}  [default: retention.archive_after_s, or everything]",
)  # fmt: skip
@settings_options
@json_option
def archive(settings: Settings, before: str | None, as_json: bool) -> None:
    """Move the oldest facts out of the tables, into compressed files that never change.

    Everything answers as before: facts, replay, views. Each file is read back and compared before
    anything is deleted. While an engine runs, it archives by itself: see `retention`.
    """
    from goclaw.upkeep import Upkeep

    limit = _limit(before, settings.retention.archive_after_s)
    sealed: list[tuple[int, SegmentInfo]] = []
    with Upkeep(settings) as upkeep:
        for partition, number in limit.numbers(upkeep.journal, upkeep.clock.now_ns()):
            for info in upkeep.archive(partition, number):
                say(f"archived {partition}:{info.first} to {info.last} in {info.name}")
                sealed.append((partition, info))
    if as_json:
        emit({"segments": [_segment(partition, info) for partition, info in sealed]})
        return
    _print_segments(sealed)


@click.command()
@click.option(
    "--before", metavar="POSITION|AGE", help=f"{_BEFORE}  [default: retention.expire_after_s]"
)
@click.option("--yes", is_flag=True, help="Do it: what is given up is gone for good.")
@click.option("--dry-run", is_flag=True, help="Only name what would be given up.")
@settings_options
@json_option
def expire(settings: Settings, before: str | None, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Give up archived history, by whole files; name the runs that lose facts.

    How each run ended stays, and so do the views, lanes and whatever goes on. Files in which a
    run has facts that has not ended, or is not archived to its end, stay with all behind them.
    """
    from goclaw.upkeep import Upkeep

    if before is None and settings.retention.expire_after_s is None:
        msg = "nothing says what is old enough to be given up"
        raise UsageInvalid(msg, hint="add --before 365d, or set retention.expire_after_s")
    limit = _limit(before, settings.retention.expire_after_s)
    with Upkeep(settings) as upkeep:
        now_ns = upkeep.clock.now_ns()
        plans = [upkeep.expirer.plan(p, n) for p, n in limit.numbers(upkeep.journal, now_ns)]
        found = [plan for plan in plans if plan is not None]
        if not as_json:
            _print_plans(found)
        if found and not yes and not dry_run:
            runs = [run for plan in found for run in plan.runs]
            msg = f"{len(runs)} runs would lose facts for good"
            hint = "add --yes to give them up, --dry-run to only look"
            raise UsageInvalid(msg, hint=hint, runs=runs)
        if yes and not dry_run:
            for plan in found:
                upkeep.expirer.expire(plan)
                say(f"gave up the facts below {plan.partition}:{plan.below}")
    if as_json:
        done = yes and not dry_run
        emit({"expired": done, "partitions": [_plan(plan) for plan in found]})


@click.command()
@settings_options
@json_option
def compact(settings: Settings, as_json: bool) -> None:
    """Give space back: delete what nothing refers to, and write the tables anew.

    Needs as much free space as the tables take. Waits for nothing; no engine may run.
    """
    from goclaw.compaction import compact_log

    done = compact_log(settings)
    if as_json:
        emit(done._asdict())
        return
    rows = [
        (name, f"{before:,}", f"{done.bytes_after[name]:,}")
        for name, before in done.bytes_before.items()
    ]
    print_table(("what", "bytes before", "bytes after"), rows)
    say(f"{done.blobs} blobs of {done.blob_bytes:,} bytes were referred to by nothing")


def _limit(before: str | None, age_s: float | None) -> Before:
    from goclaw.before import Before, parse_before

    return Before(age_s=age_s) if before is None else parse_before(before)


def _segment(partition: int, info: SegmentInfo) -> dict[str, Any]:
    fields = info._asdict() | {"digest": info.digest.hex(), "last_hash": info.last_hash.hex()}
    return {"partition": partition, **fields}


def _print_segments(sealed: Sequence[tuple[int, SegmentInfo]]) -> None:
    if not sealed:
        say("nothing is old enough")
        return
    rows = [
        (info.name, f"{partition}:{info.first}", f"{partition}:{info.last}", info.facts,
         info.ended, f"{info.file_bytes:,}")
        for partition, info in sealed
    ]  # fmt: skip
    print_table(("file", "first", "last", "facts", "runs ended", "bytes"), rows)


def _plan(plan: ExpiryPlan) -> dict[str, Any]:
    return {
        "partition": plan.partition,
        "below": plan.below,
        "facts": plan.facts,
        "file_bytes": plan.file_bytes,
        "segments": [info.name for info in plan.segments],
        "runs": list(plan.runs),
    }


def _print_plans(plans: Sequence[ExpiryPlan]) -> None:
    if not plans:
        say("nothing can be given up")
    for plan in plans:
        say(
            f"partition {plan.partition}: {plan.facts:,} facts below {plan.below}, in "
            f"{len(plan.segments)} files of {plan.file_bytes:,} bytes; {len(plan.runs)} runs:"
        )
        for run in plan.runs:
            click.echo(printable(run))
