"""`goclaw runs`: list runs, show one, print its result, follow it, cancel it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from goclaw.cli.completing import run_ids
from goclaw.cli.options import (
    command_id_option,
    json_option,
    key_values,
    settings_options,
    version_option,
)
from goclaw.cli.output import emit, json_line, print_table, printable, say
from goclaw.errors import EXIT_FAILED, EXIT_OK, EXIT_UNAVAILABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from goclaw.config import Settings

STATUSES: Final = (
    "running", "failing", "cancelling", "completed", "failed", "cancelled", "paused",
    "interrupted",
)  # fmt: skip
END_TYPES: Final = frozenset({"run.completed", "run.failed", "run.cancelled"})
VALUE_CHARACTERS_MAX: Final = 500
_SECONDS_DIGITS: Final = 19


@click.group()
def runs() -> None:
    """List runs; show one, or its result; follow one, or cancel it."""


@runs.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only runs in this state.")
@click.option("--name", metavar="NAME", help="Only runs of this workflow.")
@click.option(
    "--label", "labels", multiple=True, callback=key_values, metavar="KEY=VALUE",
    help="Only runs with this label; may be repeated.",
)  # fmt: skip
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=50, metavar="N", show_default=True,
    help="At most N runs.",
)  # fmt: skip
@click.option("--cursor", metavar="CURSOR", help="Go on where a listing ended.")
@settings_options
@json_option
def list_runs(
    settings: Settings,
    status: str | None,
    name: str | None,
    labels: Mapping[str, str],
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """List runs, newest first."""
    from goclaw.asking import ask

    wanted = {"status": status, "name": name, "labels": dict(labels), "limit": limit}
    wanted["cursor"] = cursor
    page = ask(settings, "runs.list", **wanted, min_position="now")
    found = page["runs"]
    if as_json:
        emit(found)
    elif found:
        print_table(
            ("run", "name", "status", "submitted", "took", "child of", "labels"),
            [_list_row(run) for run in found],
        )
    else:
        say("no runs")
    if page["cursor"] is not None:
        say(f"there may be more than these {limit}; --limit shows more, as does")
        say(f"  --cursor {page['cursor']}")


@runs.command()
@click.argument("run", shell_complete=run_ids)
@click.option("--timeline", is_flag=True, help="Show what happened, fact by fact.")
@click.option(
    "--critical", is_flag=True, help="Show which tasks decided how long it took, and why."
)
@click.option("--steps", is_flag=True, help="Show the durable steps of its tasks.")
@settings_options
@json_option
def show(
    settings: Settings, run: str, timeline: bool, critical: bool, steps: bool, as_json: bool
) -> None:
    """Show a run and its tasks. RUN is an id, the beginning of one, or @last."""
    from goclaw.asking import ask

    parts = {"timeline": timeline, "critical": critical, "steps": steps}
    record = ask(settings, "runs.show", run=run, **parts, min_position="now")
    if as_json:
        emit(record)
    else:
        _print_record(record)


@runs.command()
@click.argument("run", shell_complete=run_ids)
@click.option("--task", metavar="TASK", help="The result of this task, even while the run goes on.")
@click.option(
    "--generation", type=click.IntRange(min=0), metavar="N",
    help="With --task: of the N-th time that it ran, from 0.",
)  # fmt: skip
@settings_options
@json_option
def result(
    settings: Settings,
    run: str,
    task: str | None,
    generation: int | None,
    as_json: bool,  # noqa: ARG001 - the option belongs to the command's form
) -> None:
    """Print the result of a run, or of one of its tasks, as JSON.

    RUN is an id, the beginning of one, or @last. Exits 1 if it failed, was cancelled or skipped,
    5 if it has not ended.
    """
    from goclaw.asking import ask

    if generation is not None and task is None:
        msg = "--generation goes with --task"
        raise click.UsageError(msg)
    wanted = {"run": run, "task": task, "generation": generation}
    emit(ask(settings, "runs.result", **wanted, min_position="now"))


@runs.command()
@click.argument("run", shell_complete=run_ids)
@click.option("--reason", default="", metavar="TEXT", help="Why; it is recorded.")
@version_option("run", "runs show")
@command_id_option
@settings_options
@json_option
def cancel(
    settings: Settings,
    run: str,
    reason: str,
    if_version: int | None,
    command_id: str | None,
    as_json: bool,
) -> None:
    """Cancel a run: nothing new of it starts, what runs is stopped.

    RUN is an id, the beginning of one, or @last. Works with and without an engine. Returns once
    it is recorded; exits 7 if the run has ended already, or was changed meanwhile.
    """
    from goclaw.asking import ask
    from goclaw.forms import cancelling

    found = ask(settings, "runs.find", run=run, min_position="now")
    ask(settings, "cancel", **cancelling(found["run_id"], reason, command_id, if_version))
    if as_json:
        emit({"run_id": found["run_id"], "cancelled": True})
    else:
        say(f"run {found['run_id']} is being cancelled")


@runs.command()
@click.argument("run", shell_complete=run_ids)
@click.option("--new", is_flag=True, help="Only what comes from now on.")
@click.option("--ndjson", is_flag=True, help="Print one JSON object a line.")
@click.option("--output", "of_output", is_flag=True, help="Print what a task emits instead.")
@click.option("--task", metavar="TASK", help="Whose output, where the run has several tasks.")
@click.option("--after", metavar="CURSOR", help="Leave out the output up to this cursor.")
@settings_options
@json_option
def tail(
    settings: Settings,
    run: str,
    new: bool,
    ndjson: bool,
    of_output: bool,
    task: str | None,
    after: str | None,
    as_json: bool,
) -> int:
    """Print the facts of a run as they come, until it ends. RUN as for `show`.

    With --output what a task emits, until the task ends: text as it is, all else as JSON. Exits 0
    if it completed, 1 if it failed or was cancelled, 5 if it has not ended and no engine runs.
    With --json the last line is the run's summary (of an output: how much it was, and a cursor).
    """
    from goclaw.asking import ask

    found = ask(settings, "runs.find", run=run, min_position="now")
    if of_output:
        from goclaw.cli.task_output import print_output

        return print_output(settings, found["run_id"], task, after, ndjson=ndjson, as_json=as_json)
    if task is not None or after is not None:
        msg = "--task and --after go with --output"
        raise click.UsageError(msg)
    _print_facts(settings, found, new=new, ndjson=ndjson)
    found = ask(settings, "runs.find", run=found["run_id"], min_position="now")
    if as_json:
        emit(found)
    if found["ended_at"] is None:
        say(f"run {found['run_id']} is {found['status']}, and no engine runs")
        return EXIT_UNAVAILABLE
    return EXIT_OK if found["status"] == "completed" else EXIT_FAILED


def _print_facts(settings: Settings, run: Mapping[str, Any], *, new: bool, ndjson: bool) -> None:
    from contextlib import closing

    from goclaw.asking import follow
    from goclaw.cli.log import line_of
    from goclaw.log_records import record_from

    has_ended = run["ended_at"] is not None
    wanted = {"run_id": run["run_id"], "after": "end" if new else None, "follow": not has_ended}
    with closing(follow(settings, "subscribe", **wanted)) as parts:
        for part in parts:
            records = [record_from(fact) for fact in part["facts"]]
            for record in records:
                click.echo(json_line(record.as_json()) if ndjson else line_of(record))
            if not has_ended and any(record.fact.type in END_TYPES for record in records):
                return


def _list_row(run: Mapping[str, Any]) -> tuple[str, ...]:
    labels = " ".join(f"{key}={value}" for key, value in run["labels"].items())
    submitted = _seconds(run["submitted_at"])
    status = f"{run['status']} (stuck)" if run["stuck"] else run["status"]
    parent = "" if run["parent"] is None else f"{run['parent']['run_id']} {run['parent']['task']}"
    took = _took(run["duration_s"])
    return run["run_id"], run["name"], status, submitted, took, parent, labels


def _print_record(record: Mapping[str, Any]) -> None:
    facts = [
        ("run", record["run_id"]),
        ("name", record["name"]),
        ("status", record["status"]),
        ("version", str(record["version"])),
        ("submitted", record["submitted_at"]),
        ("ended", record["ended_at"] or ""),
        ("took", _took(record["duration_s"])),
        ("labels", " ".join(f"{key}={value}" for key, value in record["labels"].items())),
        ("parent", _parent(record["parent"])),
        ("position", record["position"]),
        ("input", "given up" if record["expired"] else _short(record["input"])),
        ("result", _short(record["result"])),
        ("error", _error(record["error"])),
        *(("stuck", _stuck(place)) for place in record["stuck"]),
    ]
    for head, text in facts:
        if text:
            click.echo(f"{head:<10} {printable(text)}")
    click.echo()
    print_table(
        ("task", "status", "attempts", "started", "completed", "error"),
        [
            (
                task_id,
                _status(task),
                task["attempts"],
                _seconds(task["started_at"]),
                _seconds(task["completed_at"]),
                _error(task["error"]),
            )
            for task_id, task in record["tasks"].items()
        ],
    )
    for one in record.get("path", ()):
        by = f" by {one['sender']}" if one["sender"] else ""
        why = f": {one['reason']}" if one["reason"] else ""
        text = (
            f"version {one['version']} of the plan: change {one['change']}{by} at {one['at']}{why}"
        )
        click.echo(printable(text))
    if "critical_path" in record:
        click.echo()
        _print_critical_path(record["critical_path"])
    if "steps" in record:
        click.echo()
        print_steps(record["steps"])
    if "timeline" in record:
        click.echo()
        print_table(
            ("position", "time", "task", "what", "detail"),
            [
                (entry["position"], entry["time"], entry["task"] or "", entry["type"],
                 entry["brief"])
                for entry in record["timeline"]
            ],
        )  # fmt: skip


def print_steps(steps: Iterable[Mapping[str, Any]]) -> None:
    """Print the durable steps of tasks."""
    print_table(
        ("task", "step", "key", "generation", "attempt", "recorded", "result"),
        [
            (
                step["task"],
                step["step"],
                step["key"],
                step["generation"],
                step["attempt"],
                _seconds(step["recorded_at"]),
                _short(step["result"]),
            )
            for step in steps
        ],
    )


def _stuck(place: Mapping[str, str]) -> str:
    return f"{place['subject']}: {place['evidence']}"


def _parent(parent: Mapping[str, str] | None) -> str:
    return "" if parent is None else f"task {parent['task']} of run {parent['run_id']}"


def _status(task: Mapping[str, Any]) -> str:
    from goclaw_events.ids import is_saga, plain_id

    if "child" not in task:
        return str(task["status"])
    child = task["child"]
    what = f"saga {plain_id(child)}" if is_saga(child) else f"run {child}"
    return f"{task['status']} ({what})"


def _print_critical_path(path: Mapping[str, Any]) -> None:
    kinds = list(path["total"])
    rows = [
        (step["task"] or "(the run)", *(f"{step[kind]:.3f}" for kind in kinds))
        for step in path["steps"]
    ]
    rows.append(("total", *(f"{path['total'][kind]:.3f}" for kind in kinds)))
    print_table(("critical path", *(kind.replace("_", " ") for kind in kinds)), rows)


def _seconds(time: str | None) -> str:
    """Cut a time to whole seconds, for a table."""
    return "" if time is None else time[:_SECONDS_DIGITS] + "Z"


def _took(duration_s: float | None) -> str:
    return "" if duration_s is None else f"{duration_s:.3f}s"


def _error(error: Mapping[str, Any] | None) -> str:
    return "" if error is None else f"{error['message']} [{error['code']}]"


def _short(value: object) -> str:
    if value is None:
        return ""
    text = json_line(value)
    return text if len(text) <= VALUE_CHARACTERS_MAX else text[: VALUE_CHARACTERS_MAX - 1] + "…"
