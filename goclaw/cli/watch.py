"""`goclaw watch`: runs and lanes as they change, facts as they are recorded."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

import click

from goclaw.cli.options import json_option, settings_options
from goclaw.cli.output import console, emit, json_line, printable, say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from goclaw.config import Settings
    from goclaw.watch import Watching
    from goclaw.watch_tables import WatchedTable
    from goclaw_projections.subscription import Recorded

P = ParamSpec("P")
R = TypeVar("R")
DATA_CHARACTERS_MAX: Final = 120
_ENDED: Final = {
    "offline": "no engine runs here: nothing more will come (goclaw engine start)",
    "engine": "the engine went away",
}


def _watching(command: Callable[P, R]) -> Callable[P, R]:
    """Add the options that every kind of watching has."""
    for option in (
        json_option,
        settings_options,
        click.option("--ndjson", is_flag=True, help="Print one JSON object a line."),
        click.option("--plain", is_flag=True, help="Print lines, on a terminal too."),
        click.option(
            "--for", "for_s", type=click.FloatRange(0.0, min_open=True), metavar="SECONDS",
            help="Stop after so long  [default: when interrupted]",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


_TABLE_OPTIONS: Final = (
    click.option(
        "--interval", "interval_s", type=click.FloatRange(0.05, 3600), default=0.5,
        metavar="SECONDS", show_default=True, help="Ask so often.",
    ),
    click.option(
        "--limit", type=click.IntRange(1, 10_000), default=30, metavar="N", show_default=True,
        help="At most N.",
    ),
)  # fmt: skip


def _table_watching(command: Callable[P, R]) -> Callable[P, R]:
    for option in _TABLE_OPTIONS:
        command = option(command)
    return _watching(command)


@click.group()
def watch() -> None:
    """Watch a running engine until interrupted: on a terminal live, into a pipe as lines.

    A line is printed for each record that is new or has changed. With --json the last line of
    stdout says how many changes were seen, what was there at the end, and why it ended.
    """


@watch.command()
@_table_watching
def runs(settings: Settings, limit: int, **how: Any) -> None:
    """Watch the newest runs."""
    from goclaw.watch_tables import runs_table

    _watch_table(settings, runs_table(limit), **how)


@watch.command()
@_table_watching
def lanes(settings: Settings, limit: int, **how: Any) -> None:
    """Watch lanes: who runs and waits."""
    from goclaw.watch_tables import lanes_table

    _watch_table(settings, lanes_table(limit), **how)


@watch.command()
@click.option("--run", "run_id", metavar="RUN", help="Only facts of this run and its tasks.")
@_watching
def events(
    settings: Settings,
    run_id: str | None,
    for_s: float | None,
    plain: bool,  # noqa: ARG001 - facts are lines in any case
    ndjson: bool,
    as_json: bool,
) -> None:
    """Watch facts as they are recorded, from now on."""
    from goclaw.watch import event_record, watch_events

    def show(recorded: Recorded) -> None:
        record = event_record(recorded)
        if ndjson:
            _write(json_line(record))
        elif not as_json:
            _write(_event_line(record))

    _say_end(watch_events(settings, show, run_id=run_id, for_s=for_s), as_json=as_json)


def _watch_table(
    settings: Settings,
    table: WatchedTable,
    *,
    interval_s: float,
    for_s: float | None,
    plain: bool,
    ndjson: bool,
    as_json: bool,
) -> None:
    from goclaw.watch import watch_table

    live = sys.stdout.isatty() and not (plain or ndjson or as_json)
    display = _Picture(table) if live else _Lines(table, ndjson=ndjson, silent=as_json)
    try:
        seen = watch_table(settings, table, display, interval_s=interval_s, for_s=for_s)
    finally:
        display.close()
    _say_end(seen, as_json=as_json)


class _Lines:
    """A line for each record that is new or other than before."""

    def __init__(self, table: WatchedTable, *, ndjson: bool, silent: bool) -> None:
        self._table = table
        self._ndjson = ndjson
        self._silent = silent and not ndjson

    def show(self, _: Sequence[Mapping[str, Any]], changed: Sequence[Mapping[str, Any]]) -> None:
        """Print what changed."""
        for record in () if self._silent else changed:
            cells = self._table.row(record)
            _write(json_line(record) if self._ndjson else "  ".join(cell or "-" for cell in cells))

    def close(self) -> None:
        """Do nothing: what was said stays."""


class _Picture:
    """The whole table, drawn again in its place."""

    def __init__(self, table: WatchedTable) -> None:
        from rich.live import Live

        self._table = table
        self._live = Live(console=console(), auto_refresh=False)
        self._live.start()

    def show(self, records: Sequence[Mapping[str, Any]], _: Sequence[Mapping[str, Any]]) -> None:
        """Draw."""
        from rich.table import Table
        from rich.text import Text

        picture = Table(*self._table.headers, box=None, header_style="bold")
        room = max(1, self._live.console.height - 2)
        for record in records[:room]:
            picture.add_row(*(Text(printable(cell)) for cell in self._table.row(record)))
        self._live.update(picture, refresh=True)

    def close(self) -> None:
        """Leave the last picture, and the terminal as it was."""
        self._live.stop()


def _event_line(record: Mapping[str, Any]) -> str:
    data = json_line(record["data"])
    if len(data) > DATA_CHARACTERS_MAX:
        data = data[: DATA_CHARACTERS_MAX - 1] + "…"
    return f"{record['position']}  {record['time']}  {record['stream']}  {record['type']}  {data}"


def _write(line: str) -> None:
    sys.stdout.write(printable(line).replace("\n", " ") + "\n")
    sys.stdout.flush()


def _say_end(seen: Watching, *, as_json: bool) -> None:
    if seen.ended in _ENDED:
        say(_ENDED[seen.ended])
    if as_json:
        emit(seen._asdict())
