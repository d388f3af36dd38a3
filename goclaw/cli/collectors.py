"""`goclaw collectors`: what is collected, and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from goclaw.cli.options import json_option, settings_options
from goclaw.cli.output import emit, print_table, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw.config import Settings

STATES: Final = ("open", "met", "unmet", "partial", "cancelled")


@click.group()
def collectors() -> None:
    """List collectors; show one, close it, cancel it."""


@collectors.command("list")
@click.option("--status", type=click.Choice(STATES), help="Only those in this state.")
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many."
)
@settings_options
@json_option
def list_(settings: Settings, status: str | None, limit: int, as_json: bool) -> None:
    """List collectors: what each wants, how far it is, and for whom."""
    from goclaw.asking import ask

    page = ask(settings, "collect.list", status=status, limit=limit, min_position="now")
    found = page["collectors"]
    if as_json:
        emit(found)
    else:
        headers = ("collector", "state", "rule", "ended", "failed", "for", "opened")
        print_table(headers, [_row(collector) for collector in found])
    if page["cursor"] is not None:
        say(f"there may be more than these {limit}; --limit shows more")


@collectors.command()
@click.argument("collector_id", metavar="ID")
@settings_options
@json_option
def show(settings: Settings, collector_id: str, as_json: bool) -> None:
    """Show a collector, and who has not ended."""
    from goclaw.asking import ask

    found = ask(settings, "collect.show", collector_id=collector_id, min_position="now")
    if as_json:
        emit(found)
        return
    rows = [(name.replace("_", " "), _text(value)) for name, value in found.items()]
    print_table(("", ""), rows)


@collectors.command()
@click.argument("collector_id", metavar="ID")
@settings_options
@json_option
def close(settings: Settings, collector_id: str, as_json: bool) -> None:
    """Let a live collector take no further members: what is there is collected."""
    _tell(settings, "collect.close", collector_id, "closed", as_json=as_json)


@collectors.command()
@click.argument("collector_id", metavar="ID")
@click.option("--reason", default="", metavar="TEXT", help="Why; it is recorded.")
@settings_options
@json_option
def cancel(settings: Settings, collector_id: str, reason: str, as_json: bool) -> None:
    """Collect no more; the tasks and runs go on."""
    _tell(settings, "collect.cancel", collector_id, "cancelled", as_json=as_json, reason=reason)


def _tell(
    settings: Settings, operation: str, collector_id: str, done: str, *, as_json: bool, **more: str
) -> None:
    from goclaw.asking import ask

    found = ask(settings, operation, collector_id=collector_id, **more)
    if as_json:
        emit(found)
    else:
        say(f"collector {collector_id} is {done}")


def _row(collector: Mapping[str, Any]) -> tuple[object, ...]:
    more = "+" if collector["more"] else ""
    task = f"{collector['for_run']}/{collector['for_task']}" if collector["for_run"] else ""
    return (
        collector["collector_id"], collector["status"], collector["rule"],
        f"{collector['ended']}/{collector['members']}{more}", collector["failed"],
        task or collector["result_run"] or "", collector["opened_at"],
    )  # fmt: skip


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
