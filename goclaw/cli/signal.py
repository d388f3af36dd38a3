"""`goclaw signal`: talk to work that goes on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import click

from goclaw.cli.completing import run_ids
from goclaw.cli.options import json_option, settings_options, version_option
from goclaw.cli.output import emit, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw.config import Settings

MODES: Final = ("steer", "followup", "coalesce", "reject")
LEVELS: Final = ("accepted", "offered", "consumed", "declined", "expired", "withdrawn")


@click.group()
def signal() -> None:
    """Talk to work that goes on: steer it, send it signals and messages, interrupt and resume it.

    RUN is an id, the beginning of one, or @last. Without TASK, parameters and messages go to the
    only task of the run, and the rest to the run with all its tasks. Each command returns once it
    is recorded. Works with and without an engine.
    """


def _values(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    """Read KEY=VALUE, the value as JSON where it is some, else as text."""
    values: dict[str, Any] = {}
    for item in given:
        key, sign, text = item.partition("=")
        if not sign or not key:
            msg = f"{item!r} is not KEY=VALUE"
            raise click.BadParameter(msg)
        values[key] = _value(text)
    return values


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


_run = click.argument("run", shell_complete=run_ids)
_task = click.argument("task", required=False)
_id = click.option(
    "--id", "signal_id", metavar="ID", help="The same id again gives the first answer."
)
_sender = click.option(
    "--sender", default="", metavar="NAME", help="Who says it, in their own words; it is recorded."
)
_wait = click.option(
    "--wait", type=click.Choice(LEVELS), default="accepted", show_default=True,
    help="Return when it has come so far, or will not.",
)  # fmt: skip
_deadline = click.option(
    "--deadline", type=float, metavar="S", help="Let it expire after S seconds."
)
_timeout = click.option("--timeout", type=float, metavar="S", help="Wait at most S seconds.")


@signal.command()
@_run
@_task
@click.option(
    "--set", "params", multiple=True, required=True, callback=_values, metavar="KEY=VALUE",
    help="A parameter and its new value (JSON, or text); may be repeated.",
)  # fmt: skip
@_id
@_sender
@settings_options
@json_option
def steer(
    settings: Settings,
    run: str,
    task: str | None,
    params: Mapping[str, Any],
    signal_id: str | None,
    sender: str,
    as_json: bool,
) -> None:
    """Change parameters of a task, at once and for every later attempt."""
    given = {"params": dict(params), "sender": sender}
    _show(_send(settings, "signal.steer", run, task, signal_id, given), as_json=as_json)


@signal.command()
@_run
@_task
@click.option("--priority", type=int, metavar="N", help="Higher goes first in its lane.")
@click.option("--lane", metavar="LANE", help="A lane of the definition, or /LANE, a shared one.")
@click.option("--timeout", metavar="TIME", help="For each attempt (30s, 5m); none: no limit.")
@click.option("--retries", type=click.IntRange(min=0), metavar="N",
              help="After the first attempt, at most N more.")  # fmt: skip
@click.option("--retry", multiple=True, callback=_values, metavar="KEY=VALUE",
              help="A field of the retry policy (max=10s); may be repeated.")  # fmt: skip
@click.option("--deadline", metavar="TIME",
              help="When it has to have ended, from now; none: no deadline.")  # fmt: skip
@_id
@_sender
@settings_options
@json_option
def adjust(
    settings: Settings,
    run: str,
    task: str | None,
    priority: int | None,
    lane: str | None,
    timeout: str | None,
    retries: int | None,
    retry: Mapping[str, Any],
    deadline: str | None,
    signal_id: str | None,
    sender: str,
    as_json: bool,
) -> None:
    """Change how a task is run that is not over, at once and for every later attempt."""
    policy = dict(retry) | ({} if retries is None else {"attempts": retries + 1})
    said: dict[str, Any] = {
        "priority": priority, "lane": lane, "timeout": timeout, "retry": policy or None,
        "deadline": deadline,
    }  # fmt: skip
    changes = {name: value for name, value in said.items() if value is not None}
    for name in {"timeout", "deadline"} & changes.keys():
        changes[name] = None if changes[name] == "none" else _value(changes[name])
    given = {"changes": changes, "sender": sender}
    _show(_send(settings, "signal.adjust", run, task, signal_id, given), as_json=as_json)


@signal.command()
@_run
@click.argument("name")
@click.option("--text", metavar="TEXT", help="Its payload, as text.")
@click.option("--body", metavar="JSON", help="Its payload, as JSON.")
@_deadline
@_id
@_sender
@_wait
@_timeout
@settings_options
@json_option
def send(
    settings: Settings,
    run: str,
    name: str,
    text: str | None,
    body: str | None,
    deadline: float | None,
    signal_id: str | None,
    sender: str,
    wait: str,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Send RUN the signal NAME, for the task that waits for it (`wait_for`), now or later.

    Its payload (--text, or --body as JSON; none: null) is the result of that task.
    """
    payload = None if text is None and body is None else _said(text, body)
    given = {
        "name": name, "body": payload, "deadline_s": deadline, "sender": sender, "wait": wait,
        "timeout_s": timeout,
    }  # fmt: skip
    found = _ask(settings, "signal.send", run, signal_id, given)
    if as_json:
        emit(found)
        return
    to = f" for task {found['task']}" if found["task"] else ""
    why = f": {found['reason']}" if found["reason"] else ""
    said = f"signal {found['signal']} ({name}) is {found['state']}{to}{why}"
    say(said + (" (sent before)" * found["repeated"]))


@signal.command()
@_run
@_task
@click.option("--text", metavar="TEXT", help="What is said, as text.")
@click.option("--body", metavar="JSON", help="What is said, as JSON.")
@click.option(
    "--mode", type=click.Choice(MODES), default="steer", show_default=True,
    help="When the agent gets it.",
)  # fmt: skip
@click.option("--quiet", type=float, metavar="S", help="The window of `coalesce`.")
@_deadline
@_id
@_sender
@_wait
@_timeout
@settings_options
@json_option
def message(
    settings: Settings,
    run: str,
    task: str | None,
    text: str | None,
    body: str | None,
    mode: str,
    quiet: float | None,
    deadline: float | None,
    signal_id: str | None,
    sender: str,
    wait: str,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Say something to the agent of a task: --text, or --body as JSON."""
    given = {
        "body": _said(text, body), "mode": mode, "quiet_s": quiet, "deadline_s": deadline,
        "sender": sender, "wait": wait, "timeout_s": timeout,
    }  # fmt: skip
    _show(_send(settings, "signal.message", run, task, signal_id, given), as_json=as_json)


def _said(text: str | None, body: str | None) -> Any:
    if (text is None) == (body is None):
        msg = "give either --text or --body"
        raise click.UsageError(msg)
    if text is not None:
        return text
    try:
        return json.loads(body or "")
    except ValueError as error:
        msg = f"--body is not JSON: {error}"
        raise click.UsageError(msg) from error


_version = version_option("run", "runs show")
_reason = click.option("--reason", default="", metavar="TEXT", help="Why; it is recorded.")


@signal.command()
@_run
@_task
@_reason
@click.option("--now", is_flag=True, help="Do not let it stop by itself first.")
@click.option(
    "--within", type=float, metavar="S", help="Let it stop by itself for S seconds."
)  # fmt: skip
@click.option("--wait", "wait_s", type=float, metavar="S",
              help="Wait up to S seconds until what runs has stopped.")  # fmt: skip
@_version
@_id
@_sender
@settings_options
@json_option
def interrupt(
    settings: Settings,
    run: str,
    task: str | None,
    reason: str,
    now: bool,
    within: float | None,
    wait_s: float | None,
    if_version: int | None,
    signal_id: str | None,
    sender: str,
    as_json: bool,
) -> None:
    """Stop a task, or a run with all its tasks, keeping what they saved; `resume` goes on."""
    given = {
        "reason": reason, "graceful": not now, "timeout_s": within, "wait_s": wait_s,
        "sender": sender, "if_version": if_version,
    }  # fmt: skip
    _show_held(_send(settings, "signal.interrupt", run, task, signal_id, given), as_json=as_json)


@signal.command()
@_run
@_task
@_reason
@_version
@_id
@_sender
@settings_options
@json_option
def pause(
    settings: Settings,
    run: str,
    task: str | None,
    reason: str,
    if_version: int | None,
    signal_id: str | None,
    sender: str,
    as_json: bool,
) -> None:
    """Let nothing of a task, or of a run, start until it is resumed; what runs goes on."""
    given = {"reason": reason, "sender": sender, "if_version": if_version}
    _show_held(_send(settings, "signal.pause", run, task, signal_id, given), as_json=as_json)


@signal.command()
@_run
@_task
@_version
@_id
@_sender
@settings_options
@json_option
def resume(
    settings: Settings,
    run: str,
    task: str | None,
    if_version: int | None,
    signal_id: str | None,
    sender: str,
    as_json: bool,
) -> None:
    """Let a task, or a run, go on that was interrupted or paused."""
    given = {"sender": sender, "if_version": if_version}
    _show_held(_send(settings, "signal.resume", run, task, signal_id, given), as_json=as_json)


@signal.command()
@_run
@click.argument("signal_id", metavar="ID")
@_task
@_wait
@_timeout
@settings_options
@json_option
def state(
    settings: Settings,
    run: str,
    signal_id: str,
    task: str | None,
    wait: str,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Tell what became of a signal."""
    given = {"wait": wait, "timeout_s": timeout}
    _show(_send(settings, "signal.state", run, task, signal_id, given), as_json=as_json)


@signal.command()
@_run
@click.argument("signal_id", metavar="ID")
@_task
@_reason
@settings_options
@json_option
def withdraw(
    settings: Settings, run: str, signal_id: str, task: str | None, reason: str, as_json: bool
) -> None:
    """Take back a signal that no task was given yet, or a message that nobody took."""
    found = _send(settings, "signal.withdraw", run, task, signal_id, {"reason": reason})
    if as_json:
        emit(found)
    else:
        say(f"signal {signal_id} is withdrawn")


def _send(
    settings: Settings,
    operation: str,
    run: str,
    task: str | None,
    signal_id: str | None,
    given: Mapping[str, Any],
) -> Any:
    return _ask(settings, operation, run, signal_id, {"task": task, **given})


def _ask(
    settings: Settings,
    operation: str,
    run: str,
    signal_id: str | None,
    given: Mapping[str, Any],
) -> Any:
    import time

    from goclaw.asking import ask
    from goclaw_actors.env import new_id

    found = ask(settings, "runs.find", run=run, min_position="now")
    chosen = signal_id if signal_id is not None else new_id("sig", time.time_ns())
    return ask(settings, operation, run_id=found["run_id"], signal_id=chosen, **given)


def _show_held(found: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit(found)
        return
    what = f"run {found['run_id']}" if found["task"] is None else f"task {found['task']}"
    say(f"{what} is {found['state']}" + (" (asked before)" * found["repeated"]))


def _show(found: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit(found)
        return
    by = f" by attempt {found['attempt']}" if found["attempt"] else ""
    why = f": {found['reason']}" if found["reason"] else ""
    said = f"signal {found['signal']}" + (f" to task {found['task']}" if found["task"] else "")
    say(f"{said} is {found['state']}{by}{why}" + (" (sent before)" * found["repeated"]))
