"""`goclaw collect`: gather how tasks and runs end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from goclaw.cli.completing import run_ids
from goclaw.cli.options import json_option, key_values, settings_options
from goclaw.cli.output import emit, json_line, printable, say
from goclaw.errors import EXIT_FAILED, EXIT_OK, EXIT_TIMEOUT, EXIT_UNAVAILABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from goclaw.config import Settings

RULES: Final = ("all", "any", "first_n", "quorum", "majority")
_EXITS: Final = {"met": EXIT_OK, "partial": EXIT_TIMEOUT, "open": EXIT_UNAVAILABLE}


@click.command()
@click.argument("members", nargs=-1, metavar="[RUN[/TASK]]...", shell_complete=run_ids)
@click.option(
    "--label", "labels", multiple=True, callback=key_values, metavar="KEY=VALUE",
    help="All runs that have this label now; may be repeated.",
)  # fmt: skip
@click.option(
    "--task", "tasks", multiple=True, metavar="TASK",
    help="This task (or pattern) of each run named without one; may be repeated.",
)  # fmt: skip
@click.option(
    "--rule", type=click.Choice(RULES), default="all", show_default=True,
    help="When there is enough.",
)  # fmt: skip
@click.option(
    "--count", type=click.IntRange(1), metavar="N",
    help="How many have to complete, or agree  [default: more than half]",
)  # fmt: skip
@click.option(
    "--by", default="", metavar="PLACE",
    help="Where in a result the vote of a majority stands, such as answer.label.",
)  # fmt: skip
@click.option(
    "--failures-max", type=click.IntRange(0), metavar="N", help="End once more than N have failed."
)
@click.option("--deadline", metavar="TIME", help="End after so long (90s, 5m) with what there is.")
@click.option("--id", "collector_id", metavar="ID", help="The id: the same again goes on with it.")
@click.option(
    "--after", type=click.IntRange(0), default=0, metavar="CURSOR",
    help="Leave out what ended up to this cursor.",
)  # fmt: skip
@click.option("--detach", is_flag=True, help="Begin, print the id, and leave it to the engine.")
@click.option("--cancel", is_flag=True, help="Collect no more under --id.")
@settings_options
@json_option
def collect(
    settings: Settings,
    members: Sequence[str],
    labels: Mapping[str, str],
    tasks: Sequence[str],
    rule: str,
    count: int | None,
    by: str,
    failures_max: int | None,
    deadline: str | None,
    collector_id: str | None,
    after: int,
    detach: bool,
    cancel: bool,
    as_json: bool,
) -> int:
    """Gather how tasks and runs end, in the order of their ends.

    A member is RUN/TASK (TASK may be a pattern), or RUN for the run itself. It is recorded: who
    leaves comes back with --id. Exits 0 if the rule is met, 1 if it cannot be any more, 4 if the
    deadline came first, 5 if no engine runs that would go on.
    """
    from goclaw_events.durations import parse_duration

    if collector_id is None and not (members or labels):
        msg = "name runs, or tasks of runs, or a collector by --id"
        raise click.UsageError(msg)
    if cancel:
        return _cancel(settings, collector_id, as_json=as_json)
    if members or labels:
        request = {
            "members": list(members), "labels": dict(labels), "tasks": list(tasks), "rule": rule,
            "count": count, "by": by, "failures_max": failures_max,
            "deadline_s": None if deadline is None else parse_duration(deadline),
        }  # fmt: skip
        collector_id = _open(settings, collector_id, request)
        if detach:
            _say_id(collector_id, as_json=as_json)
            return EXIT_OK
    assert collector_id is not None, "it was given, or chosen"
    return _follow(settings, collector_id, after, as_json=as_json)


def _open(settings: Settings, collector_id: str | None, request: Mapping[str, Any]) -> str:
    import time

    from goclaw.asking import ask
    from goclaw_actors.env import new_id

    chosen = collector_id if collector_id is not None else new_id("col", time.time_ns())
    ask(settings, "collect.open", collector_id=chosen, **request)
    return chosen


def _say_id(collector_id: str, *, as_json: bool) -> None:
    if as_json:
        emit({"collector_id": collector_id})
    else:
        click.echo(collector_id)


def _cancel(settings: Settings, collector_id: str | None, *, as_json: bool) -> int:
    from goclaw.asking import ask

    if collector_id is None:
        msg = "--cancel needs --id"
        raise click.UsageError(msg)
    found = ask(settings, "collect.cancel", collector_id=collector_id)
    if as_json:
        emit(found)
    else:
        say(f"collector {collector_id} is cancelled")
    return EXIT_OK


def _follow(settings: Settings, collector_id: str, after: int, *, as_json: bool) -> int:
    from goclaw.asking import follow

    gathered: list[dict[str, Any]] = []
    ended: dict[str, Any] = {"status": "open", "reason": "", "vote": "", "missing": []}
    cursor = after
    for part in follow(settings, "collect.results", collector_id=collector_id, after=after):
        cursor, ended = part["cursor"], part["ended"] or ended
        for record in part["gathered"]:
            if as_json:
                gathered.append(record)
            else:
                click.echo(_line(record))
    if as_json:
        emit({"collector_id": collector_id, **ended, "cursor": cursor, "gathered": gathered})
    _say_end(collector_id, ended, cursor)
    return _EXITS.get(ended["status"], EXIT_FAILED)


def _line(record: Mapping[str, Any]) -> str:
    member = record["run_id"] + (f"/{record['task']}" if record["task"] else "")
    if record["error"] is not None:
        code, message = record["error"]
        return printable(f"{member}  {record['status']}  {message} [{code}]").replace("\n", " ")
    return printable(f"{member}  {record['status']}  {json_line(record['result'])}")


def _say_end(collector_id: str, ended: Mapping[str, Any], cursor: int) -> None:
    if ended["status"] == "open":
        say(f"collector {collector_id} goes on when an engine runs (goclaw engine start)")
        return
    why = f" ({ended['reason']})" if ended["reason"] else ""
    vote = f", the vote is {ended['vote']}" if ended["vote"] else ""
    say(f"collector {collector_id} is {ended['status']}{why}: {cursor} ended{vote}")
    if ended["status"] == "partial":
        say("missing: " + ", ".join(ended["missing"]))
