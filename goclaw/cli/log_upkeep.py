"""`goclaw log archive`, `expire` and `compact`: keep the log small, beside an engine or without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from goclaw.cli.options import json_option, settings_options
from goclaw.cli.output import emit, print_table, printable, say
from goclaw.errors import UsageInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from goclaw.config import Settings

_BEFORE: Final = "What is older (30d, 12h), or below a position of its partition (0:42)"


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
    anything is deleted. Where an engine runs it does it, by its own settings, while runs go on;
    it also archives by itself: see `retention`.
    """
    from goclaw.asking import ask

    done = ask(settings, "log.archive", before=before)
    for info in done["segments"]:
        first = f"{info['partition']}:{info['first']}"
        say(f"archived {first} to {info['last']} in {info['name']}")
    if as_json:
        emit(done)
        return
    _print_segments(done["segments"])


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
    Where an engine runs it does it, by its own settings.
    """
    from goclaw.asking import ask

    done = ask(settings, "log.expire", before=before, dry_run=dry_run or not yes)
    plans = done["partitions"]
    if not as_json:
        _print_plans(plans)
    if plans and not yes and not dry_run:
        msg = f"{sum(plan['runs_count'] for plan in plans)} runs would lose facts for good"
        hint = "add --yes to give them up, --dry-run to only look"
        runs = [run for plan in plans for run in plan["runs"]]
        raise UsageInvalid(msg, hint=hint, runs=runs)
    if done["expired"]:
        for plan in plans:
            say(f"gave up the facts below {plan['partition']}:{plan['below']}")
    if as_json:
        emit({**done, "expired": yes and not dry_run})


@click.command()
@settings_options
@json_option
def compact(settings: Settings, as_json: bool) -> None:
    """Give space back: delete what nothing refers to, and write the tables anew.

    Forgets the ids of runs as `retention.run_id_retention_s` says.

    May need as much free space as the tables take. Where an engine runs it does it, while runs go
    on, more slowly: the log is read once.
    """
    from goclaw.asking import ask

    done = ask(settings, "log.compact")
    if as_json:
        emit(done)
        return
    rows = [
        (name, f"{before:,}", f"{done['bytes_after'][name]:,}")
        for name, before in done["bytes_before"].items()
    ]
    print_table(("what", "bytes before", "bytes after"), rows)
    if done["runs"]:
        say(f"{done['runs']} runs were forgotten: see retention.run_id_retention_s")
    say(f"{done['blobs']} blobs of {done['blob_bytes']:,} bytes were referred to by nothing")


def _print_segments(sealed: Sequence[Mapping[str, Any]]) -> None:
    if not sealed:
        say("nothing is old enough")
        return
    rows = [
        (info["name"], *(f"{info['partition']}:{info[end]}" for end in ("first", "last")),
         info["facts"], info["ended"], f"{info['file_bytes']:,}")
        for info in sealed
    ]  # fmt: skip
    print_table(("file", "first", "last", "facts", "runs ended", "bytes"), rows)


def _print_plans(plans: Sequence[Mapping[str, Any]]) -> None:
    if not plans:
        say("nothing can be given up")
    for plan in plans:
        say(
            f"partition {plan['partition']}: {plan['facts']:,} facts below {plan['below']}, in "
            f"{len(plan['segments'])} files of {plan['file_bytes']:,} bytes; "
            f"{plan['runs_count']} runs:"
        )
        for run in plan["runs"]:
            click.echo(printable(run))
        if plan["runs_count"] > len(plan["runs"]):
            say(f"and {plan['runs_count'] - len(plan['runs'])} more")
