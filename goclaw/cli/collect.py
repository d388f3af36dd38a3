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
MERGES: Final = ("list", "object", "by_member")
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
@click.option(
    "--task-label", "task_labels", multiple=True, callback=key_values, metavar="KEY=VALUE",
    help="The tasks with this label of each run named without one; may be repeated.",
)  # fmt: skip
@click.option(
    "--live", is_flag=True,
    help="Take in runs with the labels that are submitted later, until it is closed.",
)  # fmt: skip
@click.option("--merge", type=click.Choice(MERGES), help="Make one result of those of the members.")
@click.option("--reduce", "reducer", metavar="AGENT", help="Have an agent make one result.")
@click.option("--lane", metavar="LANE", help="The lane of what makes it, such as /judges.")
@click.option(
    "--attempts", type=click.IntRange(1, 1000), metavar="N", help="Try so often to make it."
)
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
    task_labels: Mapping[str, str],
    live: bool,
    merge: str | None,
    reducer: str | None,
    lane: str | None,
    attempts: int | None,
    as_json: bool,
) -> int:
    """Gather how tasks and runs end, in the order of their ends.

    A member is RUN/TASK (TASK may be a pattern), or RUN for the run itself. It is recorded: who
    leaves comes back with --id. With --merge or --reduce a task makes one result of it. Exits 0 if
    the rule is met, 1 if it cannot be any more, 4 if the deadline came first, 5 if no engine runs
    that would go on.
    """
    from goclaw_events.durations import parse_duration

    if collector_id is None and not (members or labels):
        msg = "name runs, or tasks of runs, or a collector by --id"
        raise click.UsageError(msg)
    if members or labels:
        request = {
            "members": list(members), "labels": dict(labels), "tasks": list(tasks), "rule": rule,
            "count": count, "by": by, "failures_max": failures_max, "live": live,
            "deadline_s": None if deadline is None else parse_duration(deadline),
            "task_labels": dict(task_labels), "merge": merge, "reduce": reducer,
            "task": _task(lane, attempts),
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


def _task(lane: str | None, attempts: int | None) -> dict[str, Any]:
    """Return what else the task is that makes a result."""
    task: dict[str, Any] = {} if lane is None else {"lane": lane}
    return task if attempts is None else {**task, "retry": {"attempts": attempts}}


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
    run_id = ended.pop("run", None)
    made = {} if run_id is None else _made(settings, run_id)
    if as_json:
        said = {**ended, "cursor": cursor, "gathered": gathered, **made}
        emit({"collector_id": collector_id, **said})
    elif made.get("result") is not None:
        click.echo(printable(json_line(made["result"])))
    _say_end(collector_id, ended, cursor)
    return _exit(ended["status"], run_id, made)


def _exit(status: str, run_id: str | None, made: Mapping[str, Any]) -> int:
    """Return the exit code, after what was to be made of it."""
    if run_id is not None and not made:
        say(f"its result is made by run {run_id} when an engine runs (goclaw engine start)")
        return EXIT_UNAVAILABLE
    if made.get("error") is not None:
        code, message, _ = made["error"]
        say(f"what was to be made of it failed: {message} [{code}]")
        return EXIT_FAILED
    return _EXITS.get(status, EXIT_FAILED)


def _made(settings: Settings, run_id: str) -> dict[str, Any]:
    """Return what a run made of what was collected, once it has; empty where no engine runs."""
    from goclaw.asking import ask
    from goclaw.errors import EngineNotRunning

    try:
        found = ask(settings, "result", run_id=run_id, timeout_s=None)
    except EngineNotRunning:
        return {}
    return {"result": found["result"], "error": found["error"]}


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
