"""`goclaw inbox`, `goclaw approve`, `goclaw reject`: what tasks ask people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from goclaw.cli.completing import run_ids
from goclaw.cli.options import json_option, settings_options
from goclaw.cli.output import emit, print_table, say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from goclaw.config import Settings

_sender = click.option(
    "--sender", default="", metavar="NAME", help="Who decides, in their own words; it is recorded."
)


@click.command()
@click.option("--mine", is_flag=True, help="Only what you may decide.")
@click.option("--sender", default="", metavar="NAME", help="For --mine: the name that you claim.")
@click.option(
    "--for", "who", default="", metavar="NAME",
    help="Only what NAME may decide, as `who` of an approval says it: uid:1000, user:ann, or ann.",
)  # fmt: skip
@click.option("--kind", type=click.Choice(("approval", "signal")), help="Only these.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000),
    default=100,
    show_default=True,
    help="At most so many.",
)
@settings_options
@json_option
def inbox(settings: Settings, limit: int, as_json: bool, **wanted: Any) -> None:
    """List what waits for people to decide, and for signals; see `approve` and `signal send`.

    The most urgent comes first: by deadline, what has none behind all that have one; then the one
    that has waited longest.
    """
    from goclaw.asking import ask

    page = ask(settings, "inbox.list", min_position="now", limit=limit, **wanted)
    if as_json:
        emit(page["items"])
    else:
        headers = ("run", "task", "waits for", "what", "asked", "deadline")
        print_table(headers, [_row(item) for item in page["items"]])
    if page["cursor"] is not None:
        say(f"there may be more than these {limit}; --limit shows more")


def _row(item: Mapping[str, Any]) -> tuple[object, ...]:
    held = " (held)" if item["state"] == "held" else ""
    whom = f"signal {item['signal']}" if item["signal"] else ", ".join(item["who"])
    return (
        item["run_id"], item["task"], whom + held, item["message"], item["asked_at"],
        item["deadline"] or "-",
    )  # fmt: skip


def _decision(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command what both have."""
    # the last that is applied is the first that is shown
    for option in (
        click.argument("task"),
        click.argument("run", shell_complete=run_ids),
        click.option("--reason", default="", metavar="TEXT", help="Why; it is recorded."),
        click.option("--id", "decision_id", metavar="ID",
                     help="The same id again gives the first answer."),
        _sender,
        settings_options,
        json_option,
    ):  # fmt: skip
        command = option(command)
    return command


@click.command()
@click.option(
    "--edit",
    metavar="JSON",
    help="Approve these arguments in place of those that were asked about.",
)
@_decision
def approve(settings: Settings, edit: str | None, as_json: bool, **said: Any) -> None:
    """Approve what TASK of RUN asks, as it stands or edited; it goes on."""
    more: dict[str, Any] = {}
    if edit is not None:
        try:
            more = {"edited": True, "arguments": json.loads(edit)}
        except ValueError as error:
            msg = f"--edit is not JSON: {error}"
            raise click.UsageError(msg) from error
    _decide(settings, "approval.approve", {**said, **more}, as_json=as_json)


@click.command()
@_decision
def reject(settings: Settings, as_json: bool, **said: Any) -> None:
    """Reject what TASK of RUN asks: `on_reject` of its definition says what follows."""
    _decide(settings, "approval.reject", said, as_json=as_json)


def _decide(settings: Settings, operation: str, said: Mapping[str, Any], *, as_json: bool) -> None:
    import time

    from goclaw.asking import ask
    from goclaw_actors.env import new_id

    given = dict(said)
    run = ask(settings, "runs.find", run=given.pop("run"), min_position="now")
    given["decision_id"] = given["decision_id"] or new_id("dec", time.time_ns())
    found = ask(settings, operation, run_id=run["run_id"], **given)
    if as_json:
        emit(found)
        return
    again = " (decided before)" * found["repeated"]
    say(f"task {found['task']} is {found['verdict']} by {found['by']}{again}")
