"""`goclaw path`: change which tasks a run has, and which of them run, while it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from goclaw.cli.completing import run_ids
from goclaw.cli.options import json_option, settings_options
from goclaw.cli.output import emit, print_table, say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from goclaw.config import Settings


@click.group()
def path() -> None:
    """Change a run while it goes on: skip tasks, choose a branch, add tasks, run some again.

    RUN is an id, the beginning of one, or @last. A change is checked whole, and made or refused as
    a whole; each makes a version of the run's plan (`goclaw plan --run RUN`). Works with and
    without an engine.
    """


_run = click.argument("run", shell_complete=run_ids)
_tasks = click.argument("tasks", nargs=-1, required=True, metavar="TASK...")
_file = click.option(
    "--file", "file", type=click.Path(path_type=Path), metavar="FILE",
    help="A fragment of a definition: tasks, needs, lanes, output.",
)  # fmt: skip


def _how(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that every change has."""
    options = (
        click.option("--id", "change_id", metavar="ID",
                     help="The same id again gives the first answer."),
        click.option("--sender", default="", metavar="NAME", help="Who says it; it is recorded."),
        click.option("--reason", default="", metavar="TEXT", help="Why; it is recorded."),
        click.option("--if-version", type=int, metavar="N",
                     help="Only if the plan has this version."),
        click.option("--dry-run", is_flag=True, help="Change nothing: show what would be."),
        click.option("--timeout", "timeout_s", type=float, default=30.0, metavar="S",
                     show_default=True, help="Wait at most S seconds for tasks that must answer."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return settings_options(json_option(command))


@path.command()
@_run
@_tasks
@click.option("--result", metavar="JSON", help="What those see that need them (null by default).")
@_how
def skip(
    settings: Settings,
    run: str,
    tasks: tuple[str, ...],
    result: str | None,
    as_json: bool,
    **how: Any,
) -> None:
    """Pass over tasks that have not begun: what needs them goes on."""
    wanted = {"skip": dict.fromkeys(tasks, _value(result))}
    _change(settings, run, wanted, how, as_json=as_json)


def _value(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        msg = f"--result is not JSON: {error}"
        raise click.UsageError(msg) from error


@path.command()
@_run
@click.argument("after", metavar="TASK")
@click.argument("take", nargs=-1, required=True, metavar="BRANCH...")
@_how
def choose(
    settings: Settings, run: str, after: str, take: tuple[str, ...], as_json: bool, **how: Any
) -> None:
    """Of the tasks that need TASK let only these run, whatever their conditions say.

    The others are skipped, and what needs nothing else.
    """
    wanted = {"choose": {"after": after, "take": list(take)}}
    _change(settings, run, wanted, how, as_json=as_json)


@path.command()
@_run
@_tasks
@_how
def rerun(settings: Settings, run: str, tasks: tuple[str, ...], as_json: bool, **how: Any) -> None:
    """Run tasks again, with all that depends on them; what runs of it is stopped first."""
    _change(settings, run, {"rerun": list(tasks)}, how, as_json=as_json)


def _needs(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, list[str]]:
    needs: dict[str, list[str]] = {}
    for item in given:
        task, sign, need = item.partition("=")
        if not sign or not task or not need:
            msg = f"{item!r} is not TASK=NEED"
            raise click.BadParameter(msg)
        needs.setdefault(task, []).append(need)
    return needs


@path.command()
@_run
@_file
@click.option(
    "--need", "needs", multiple=True, callback=_needs, metavar="TASK=NEED",
    help="A further need of a task that has not begun; may be repeated.",
)  # fmt: skip
@_how
def add(
    settings: Settings,
    run: str,
    file: Path | None,
    needs: Mapping[str, list[str]],
    as_json: bool,
    **how: Any,
) -> None:
    """Add tasks of a fragment (--file), or needs to tasks that have not begun (--need)."""
    if (file is None) == (not needs):
        msg = "give either --file or --need"
        raise click.UsageError(msg)
    wanted = {"fragment": {"needs": dict(needs)}} if file is None else _document(file)
    _change(settings, run, wanted, how, as_json=as_json)


@path.command()
@_run
@_file
@_how
def replace(settings: Settings, run: str, file: Path | None, as_json: bool, **how: Any) -> None:
    """Put the tasks of a fragment in the place of all that has not begun."""
    if file is None:
        msg = "give --file"
        raise click.UsageError(msg)
    _change(settings, run, {**_document(file), "replace": True}, how, as_json=as_json)


def _document(file: Path) -> dict[str, Any]:
    from goclaw_events.loading import read_definition_file

    data, text_format = read_definition_file(file)
    text = data.decode("utf-8", "replace")
    return {"document": {"text": text, "format": text_format, "source": str(file)}}


def _change(
    settings: Settings,
    run: str,
    wanted: Mapping[str, Any],
    how: Mapping[str, Any],
    *,
    as_json: bool,
) -> None:
    import time

    from goclaw.asking import ask
    from goclaw_actors.env import new_id

    found = ask(settings, "runs.find", run=run, min_position="now")
    given = {**wanted, **how, "run_id": found["run_id"]}
    given["change_id"] = how["change_id"] or new_id("chg", time.time_ns())
    changed = ask(settings, "path.change", **given)
    if as_json:
        emit(changed)
    elif changed["state"] == "possible":
        _print_dry(changed)
    elif changed["state"] == "pending":
        say(f"change {changed['change']} of run {changed['run_id']} waits for its tasks")
    else:
        repeated = " (asked before)" * changed["repeated"]
        say(f"the plan of run {changed['run_id']} is at version {changed['version']}{repeated}")


def _print_dry(changed: Mapping[str, Any]) -> None:
    say(f"the plan of run {changed['run_id']} would be at version {changed['version']}")
    if changed["waits_for"]:
        say("these must say first that they have not begun: " + ", ".join(changed["waits_for"]))
    print_table(
        ("task", "work", "needs", "lane"),
        [
            (task["id"], _work(task), ", ".join(task["needs"]), task["lane"] or "-")
            for task in changed["plan"]["tasks"]
        ],
    )


def _work(task: Mapping[str, Any]) -> str:
    return f"{task['kind']} {task['agent']}" if task["agent"] else str(task["kind"])
