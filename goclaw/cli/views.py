"""`goclaw views`: how the views are, what they count, and making them anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from goclaw.cli.options import json_option, settings_options
from goclaw.cli.output import emit, print_table, say
from goclaw.watch_tables import LANE_HEADERS, lane_row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw.config import Settings

WAIT_S: Final = 1.0
POLL_S: Final = 1.0
_LIMIT: Final = click.option(
    "--limit", type=click.IntRange(1, 100_000), default=100, metavar="N", show_default=True,
    help="At most N.",
)  # fmt: skip


@click.group()
def views() -> None:
    """Ask the views of a data directory; see how they are; make them anew."""


@views.command()
@settings_options
@json_option
def status(settings: Settings, as_json: bool) -> None:
    """Show how far each view is, and by how much it lags behind the log.

    Asks the engine that runs; where none does, the views are brought up to date first.
    """
    from goclaw.asking import ask

    found = ask(settings, "views.status")
    if as_json:
        emit(found)
        return
    print_table(
        ("view", "version", "state", "position", "lag", "lag s", "rebuild"),
        [_status_row(view) for view in found],
    )


@views.command()
@click.argument("name", required=False)
@click.option("--no-wait", is_flag=True, help="Return at once; an engine must be running.")
@settings_options
@json_option
def rebuild(settings: Settings, name: str | None, no_wait: bool, as_json: bool) -> None:
    """Make the rows of the view NAME anew, or those of every view, one after the other.

    What is there is served until the new rows have caught up. Rows that a crash leaves half made
    are finished by the next engine.
    """
    from goclaw.asking import ask

    names = [name] if name else [view["name"] for view in ask(settings, "views.status")]
    found = []
    for one in names:
        say(f"{one}: its rows are made anew")
        view = ask(settings, "views.rebuild", name=one, wait_s=0.0 if no_wait else WAIT_S)
        found.append(view if no_wait else _rebuilt(settings, view))
    if as_json:
        emit(found)


def _rebuilt(settings: Settings, view: dict[str, Any]) -> dict[str, Any]:
    """Wait until the new rows of a view are served, and say how far they are meanwhile."""
    import time

    from goclaw.asking import ask
    from goclaw_projections.errors import ProjectionFailed

    while view["rebuild"] is not None:
        error = view["rebuild"]["error"]
        if error is not None:
            msg = f"view {view['name']} cannot be made anew: {error['message']} [{error['code']}]"
            raise ProjectionFailed(msg, hint="goclaw doctor --bundle FILE, and report it")
        say(f"{view['name']}: {view['rebuild']['lag']} facts to go")
        time.sleep(POLL_S)
        view = next(one for one in ask(settings, "views.status") if one["name"] == view["name"])
    return view


@views.command()
@click.option("--definition", metavar="NAME", help="Only the lanes of this definition.")
@click.option("--busy", is_flag=True, help="Only lanes with tasks in them.")
@_LIMIT
@settings_options
@json_option
def lanes(
    settings: Settings, definition: str | None, busy: bool, limit: int, as_json: bool
) -> None:
    """List lanes: limits, who runs and waits, since when, and totals."""
    from goclaw.asking import ask

    page = ask(
        settings, "lanes.list", definition=definition, busy=busy, limit=limit, min_position="now"
    )
    if as_json:
        emit(page["lanes"])
    else:
        print_table(LANE_HEADERS, [lane_row(lane) for lane in page["lanes"]])
    _say_more(page, limit)


@views.command()
@click.option("--name", metavar="NAME", help="Only of this definition.")
@click.option("--by-hour", is_flag=True, help="What happened in each hour (UTC).")
@_LIMIT
@settings_options
@json_option
def counts(settings: Settings, name: str | None, by_hour: bool, limit: int, as_json: bool) -> None:
    """Count runs and tasks by state, of each definition; and failures by code."""
    from goclaw.asking import ask

    operation = "counts.hours" if by_hour else "counts"
    page = ask(settings, operation, name=name, limit=limit, min_position="now")
    if as_json:
        emit(page["hours"] if by_hour else {"total": page["total"], "names": page["names"]})
    elif by_hour:
        rows = [(hour["hour"][:13] + "Z", *_count_row(hour)) for hour in page["hours"]]
        print_table(("hour", *_COUNT_HEADERS), rows)
    else:
        rows = [_count_row(named) for named in page["names"]]
        print_table(_COUNT_HEADERS, [*rows, _count_row({"name": "total", **page["total"]})])
    _say_more(page, limit)


@views.command()
@click.option("--attempts", is_flag=True, help="The attempts that run, instead of who holds them.")
@_LIMIT
@settings_options
@json_option
def workers(settings: Settings, attempts: bool, limit: int, as_json: bool) -> None:
    """List who holds attempts or held them: starts of the engine, and workers."""
    from goclaw.asking import ask

    key = "attempts" if attempts else "workers"
    page = ask(settings, f"{key}.list", limit=limit, min_position="now")
    columns = _ATTEMPT_COLUMNS if attempts else _WORKER_COLUMNS
    if as_json:
        emit(page[key])
    else:
        rows = [[row[field] for field in columns] for row in page[key]]
        print_table(list(columns.values()), rows)
    _say_more(page, limit)


_ATTEMPT_COLUMNS: Final = {
    "run_id": "run", "task_id": "task", "attempt": "attempt", "holder": "holder",
    "started_at": "since",
}  # fmt: skip
_WORKER_COLUMNS: Final = {
    "holder": "holder", "state": "state", "running": "running", "completed_total": "completed",
    "failed_total": "failed", "cancelled_total": "cancelled", "lost_total": "lost",
    "last_seen_at": "seen",
}  # fmt: skip
_COUNT_HEADERS: Final = (
    "name", "submitted", "running", "completed", "failed", "cancelled", "tasks running",
    "tasks waiting", "tasks done", "tasks failed", "tasks dead", "retried", "lost", "failures",
)  # fmt: skip


def _count_row(record: Mapping[str, Any]) -> tuple[object, ...]:
    runs, tasks = record["runs"], record["tasks"]
    going_on = runs["running"] + runs["failing"] + runs["cancelling"]
    waiting = tasks["scheduled"] + tasks["waiting"] + tasks["retrying"]
    failures = " ".join(f"{code}={count}" for code, count in record["failures"].items())
    return (
        record["name"], record["submitted"], going_on, runs["completed"], runs["failed"],
        runs["cancelled"], tasks["running"] + tasks["cancelling"], waiting, tasks["completed"],
        tasks["failed"], tasks["dead"], record["retried"], record["lost"], failures,
    )  # fmt: skip


def _status_row(view: Mapping[str, Any]) -> tuple[object, ...]:
    rebuild = view["rebuild"]
    under_way = "" if rebuild is None else f"{rebuild['state']}, {rebuild['lag']} facts to go"
    error = view["error"]
    state = view["state"] if error is None else f"{view['state']} [{error['code']}]"
    if view["lacks_below"]:
        state += f", lacks what was given up below {' '.join(view['lacks_below'])}"
    places = " ".join(view["positions"])
    return view["name"], view["version"], state, places, view["lag"], view["lag_s"], under_way


def _say_more(page: Mapping[str, Any], limit: int) -> None:
    if page["cursor"] is not None:
        say(f"there may be more than these {limit}; --limit shows more")
