"""`goclaw schedules`: runs that begin by the clock, while an engine runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from goclaw.cli.completing import schedule_names
from goclaw.cli.options import (
    command_id_option,
    input_options,
    json_option,
    key_values,
    settings_options,
    version_option,
)
from goclaw.cli.output import emit, json_line, print_table, printable, say

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from goclaw.config import Settings

_DONE: Final = {"pause": "is paused", "resume": "goes on", "delete": "is deleted"}
_SCHEDULE = click.argument("schedule", metavar="NAME", shell_complete=schedule_names)
_SECONDS_DIGITS = 19


@click.group()
def schedules() -> None:
    """Make schedules; list, show, pause, resume, trigger, delete them.

    A schedule begins a run of a workflow, or a saga, at the times of a cron expression, or every
    so often.
    It does so only while an engine runs (goclaw engine start); what was due meanwhile is made up
    for by its rule when one runs again.
    """


@schedules.command()
@click.argument("schedule", metavar="NAME")
@click.argument("workflow", metavar="FILE|NAME[@VERSION]")
@click.option("--cron", default="", metavar="EXPR",
              help="Minute, hour, day of month, month, day of week: '30 2 * * MON-FRI'; or "
              "@hourly, @daily, @weekly, @monthly, @yearly.")  # fmt: skip
@click.option("--every", metavar="DURATION", help="Or every so often, such as 15m; from 1s.")
@click.option("--zone", default="", metavar="ZONE",
              help="The time zone of --cron, such as Europe/Berlin.  [default: UTC]")  # fmt: skip
@click.option("--overlap", type=click.Choice(["skip", "queue", "cancel"]), default="skip",
              show_default=True, help="While the run before goes on: skip the new one, let it "
              "wait, or cancel the old one.")  # fmt: skip
@click.option("--missed", type=click.Choice(["skip", "one", "all"]), default="one",
              show_default=True, help="Of what was due while no engine ran: make up for nothing, "
              "for the last, or for all that may wait (needs --overlap queue).")  # fmt: skip
@click.option("--late", default="60s", metavar="DURATION", show_default=True,
              help="What is later than this was missed.")  # fmt: skip
@click.option("--jitter", default="0s", metavar="DURATION", show_default=True,
              help="Begin later by an amount below this, which the name of the schedule "
              "decides.")  # fmt: skip
@click.option("--waiting-max", type=click.IntRange(1, 1_000), default=100, metavar="N",
              show_default=True, help="So many may wait, and are made up for.")  # fmt: skip
@input_options
@click.option("--planned-input", default="", metavar="INPUT",
              help="Give each run its planned time as this input.")  # fmt: skip
@click.option("--label", "labels", multiple=True, callback=key_values, metavar="KEY=VALUE",
              help="A label of each run. May be repeated.")  # fmt: skip
@click.option("--paused", is_flag=True, help="Make it, but let it not be due yet.")
@click.option("--replace", is_flag=True, help="Let it take the place of another one of the name.")
@version_option("schedule", "schedules show")
@command_id_option
@settings_options
@json_option
def create(
    settings: Settings,
    schedule: str,
    workflow: str,
    inputs: Mapping[str, str],
    input_file: Path | None,
    as_json: bool,
    **rules: Any,
) -> None:
    """Make a schedule of a file, or of what is registered: a workflow or a saga, as it is now.

    Works with and without an engine. The same again changes nothing; exits 7 if NAME is another
    schedule, unless --replace is given. A time of day that the clocks leave out is due when the
    gap is over; one that comes twice is due once.
    """
    from goclaw.asking import ask
    from goclaw.scheduled import scheduled_workflow

    what = scheduled_workflow(settings, workflow, inputs, input_file)
    made = ask(settings, "schedules.create", schedule=schedule, **what, **rules)
    if as_json:
        emit(made)
        return
    again = " (again: nothing changed)" if made["repeated"] else ""
    found = ask(settings, "schedules.show", schedule=schedule, next=3, min_position="now")
    say(f"schedule {schedule}{again}; next: {_times(found['next_times']) or 'paused'}")
    _say_idle(settings)


@schedules.command("list")
@click.option("--status", type=click.Choice(["active", "paused"]), help="Only those in this state.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, metavar="N",
              show_default=True, help="At most N.")  # fmt: skip
@click.option("--cursor", metavar="CURSOR", help="Go on where a listing ended.")
@click.option("--next", "ahead", type=click.IntRange(0, 100), default=2, metavar="N",
              show_default=True, help="Show N of the next times of each.")  # fmt: skip
@settings_options
@json_option
def list_schedules(
    settings: Settings,
    status: str | None,
    limit: int,
    cursor: str | None,
    ahead: int,
    as_json: bool,
) -> None:
    """List schedules by name: when each is due next, and what became of its last run."""
    from goclaw.asking import ask

    wanted = {"status": status, "limit": limit, "cursor": cursor, "next": ahead}
    page = ask(settings, "schedules.list", **wanted, min_position="now")
    if as_json:
        emit(page["schedules"])
    elif page["schedules"]:
        headers = ("schedule", "state", "when", "begins", "next", "last run", "ended", "running")
        print_table(headers, [_row(found) for found in page["schedules"]])
    else:
        say("no schedules")
    if page["cursor"] is not None:
        say(f"there may be more than these {limit}; --limit shows more, as does")
        say(f"  --cursor {page['cursor']}")


@schedules.command()
@_SCHEDULE
@click.option("--next", "ahead", type=click.IntRange(0, 100), default=5, metavar="N",
              show_default=True, help="Show N of its next times.")  # fmt: skip
@settings_options
@json_option
def show(settings: Settings, schedule: str, ahead: int, as_json: bool) -> None:
    """Show a schedule: its rules, its next times, what waits, and what became of its runs."""
    from goclaw.asking import ask

    found = ask(settings, "schedules.show", schedule=schedule, next=ahead, min_position="now")
    if as_json:
        emit(found)
        return
    for name, value in found.items():
        text = _text(value)
        if text:
            click.echo(f"{name.replace('_', ' '):<14} {printable(text)}")


@schedules.command()
@_SCHEDULE
@click.option("--reason", default="", metavar="TEXT", help="Why; it is recorded.")
@version_option("schedule", "schedules show")
@command_id_option
@settings_options
@json_option
def pause(settings: Settings, schedule: str, reason: str, as_json: bool, **change: Any) -> None:
    """Let nothing be due until it is resumed; the run that goes on does so."""
    _tell(settings, "pause", schedule, change, as_json=as_json, reason=reason)


@schedules.command()
@_SCHEDULE
@version_option("schedule", "schedules show")
@command_id_option
@settings_options
@json_option
def resume(settings: Settings, schedule: str, as_json: bool, **change: Any) -> None:
    """Go on, from now: what would have been due meanwhile is not made up for."""
    _tell(settings, "resume", schedule, change, as_json=as_json)


@schedules.command()
@_SCHEDULE
@click.option("--at", metavar="TIME",
              help="For this time of its timetable, which is over (RFC 3339).")  # fmt: skip
@version_option("schedule", "schedules show")
@command_id_option
@settings_options
@json_option
def trigger(
    settings: Settings, schedule: str, at: str | None, as_json: bool, **change: Any
) -> None:
    """Begin a run, or a saga, now, also of a paused schedule, and print its id.

    Exits 7 where a run goes on and the rule for overlaps has no place for another.
    """
    from goclaw.asking import ask
    from goclaw.schedules import changing

    done = ask(settings, "schedules.trigger", **changing(schedule, change, at=at))
    if as_json:
        emit(done)
    else:
        if done["repeated"]:
            say("begun before: nothing new begins")
        click.echo(done["id"])


@schedules.command()
@_SCHEDULE
@version_option("schedule", "schedules show")
@command_id_option
@settings_options
@json_option
def delete(settings: Settings, schedule: str, as_json: bool, **change: Any) -> None:
    """Let a schedule be no more; the run that goes on does so, and what waits does not begin."""
    _tell(settings, "delete", schedule, change, as_json=as_json)


def _tell(
    settings: Settings,
    what: str,
    schedule: str,
    change: Mapping[str, Any],
    *,
    as_json: bool,
    **said: str,
) -> None:
    from goclaw.asking import ask
    from goclaw.schedules import changing

    done = ask(settings, f"schedules.{what}", **changing(schedule, change, **said))
    if as_json:
        emit(done)
    else:
        again = " (again: nothing changed)" if done["repeated"] else ""
        say(f"schedule {schedule} {_DONE[what]}{again}")


def _say_idle(settings: Settings) -> None:
    from goclaw.asking import engine_runs

    if not engine_runs(settings):
        say("  no engine runs: it begins runs once one does (goclaw engine start)")


def _row(found: Mapping[str, Any]) -> tuple[object, ...]:
    zone = f" {found['zone']}" if found["zone"] not in (None, "UTC") else ""
    what = f"saga {found['definition']}" if found["kind"] == "saga" else found["definition"]
    when = f"{found['cron']}{zone}" if found["cron"] else f"every {found['every']}"
    return (
        found["schedule"], found["status"], when, what, _times(found["next_times"]),
        found["last_run"] or "", found["last_status"] or "",
        (found["running"] or "") + (f" (+{found['waiting']})" if found["waiting"] else ""),
    )  # fmt: skip


def _text(value: object) -> str:
    match value:
        case None | "" | [] | {}:
            return ""
        case list():
            return _times(value)
        case dict():
            return json_line(value)
        case _:
            return str(value)


def _times(found: list[str]) -> str:
    return ", ".join(_seconds(at) for at in found)


def _seconds(time: str | None) -> str:
    return "" if time is None else time[:_SECONDS_DIGITS] + "Z"
