"""`goclaw log`: read the log, see its end, verify that it is whole, carry it elsewhere."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from goclaw.cli.completing import run_ids
from goclaw.cli.log_upkeep import archive, compact, expire
from goclaw.cli.options import json_option, settings_options
from goclaw.cli.output import emit, json_line, print_table, printable, say
from goclaw.errors import EXIT_DAMAGED, EXIT_OK, UsageInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from goclaw.config import Settings
    from goclaw.log_records import Record
    from goclaw_events.rocks import RocksJournal
    from goclaw_events.verify import Report

DATA_CHARACTERS_MAX: Final = 200


@click.group()
def log() -> None:
    """Read, verify, export or import the log; keep it small."""


for _command in (archive, expire, compact):
    log.add_command(_command)


@log.command()
@click.option(
    "--run",
    default="",
    metavar="RUN",
    shell_complete=run_ids,
    help="Only facts of this run (an id, its beginning, or @last) or saga, and its tasks.",
)
@click.option("--stream", default="", metavar="STREAM", help="Only facts of this stream.")
@click.option("--type", "type_", default="", metavar="TYPE", help="Only this type, or its family.")
@click.option("--from", "start", metavar="POSITION", help="Begin here (number or part:number).")
@click.option("--to", "stop", metavar="POSITION", help="End here, this fact included.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N facts.")
@click.option("--ndjson", is_flag=True, help="Print one JSON object a line for each fact.")
@settings_options
@json_option
def show(
    settings: Settings,
    run: str,
    stream: str,
    type_: str,
    start: str | None,
    stop: str | None,
    limit: int | None,
    ndjson: bool,
    as_json: bool,
) -> None:
    """Print facts in order: position, time, stream, seq, type, data."""
    from itertools import islice

    from goclaw.log_records import Selection, check_type, select
    from goclaw_events.envelope import Position

    check_type(type_)
    first = None if start is None else Position.parse(start)
    last = None if stop is None else Position.parse(stop)
    wanted = Selection(run, stream, type_, first, last)
    with _reading(settings) as journal:
        wanted = wanted._replace(run=_run_id(journal, run))
        _print(islice(select(journal, wanted), limit), as_json=as_json, ndjson=ndjson)


@log.command()
@click.option(
    "-n", "--lines", type=click.IntRange(1, 100_000), default=20, metavar="N",
    show_default=True, help="How many facts.",
)  # fmt: skip
@click.option("--ndjson", is_flag=True, help="Print one JSON object a line for each fact.")
@settings_options
@json_option
def tail(settings: Settings, lines: int, ndjson: bool, as_json: bool) -> None:
    """Print the last facts of the log."""
    from goclaw.log_records import last

    with _reading(settings) as journal:
        _print(last(journal, lines), as_json=as_json, ndjson=ndjson)


@log.command()
@settings_options
@json_option
def verify(settings: Settings, as_json: bool) -> int:
    """Read everything and compare everything; exits 0 only if all is whole, otherwise 6."""
    from goclaw.asking import readable
    from goclaw.datadir import DataDirectory
    from goclaw.noted import LOG_VERIFIED, note
    from goclaw_events.rocks import verify_directory

    with readable(settings) as directory:
        directory.require()
        report = verify_directory(directory.path)
    found = {"whole": report.whole, "facts": report.facts, "problems": report.problems_count}
    note(DataDirectory(settings.data_dir).logs, LOG_VERIFIED, **found)
    if as_json:
        emit({"whole": report.whole, **asdict(report)})
    else:
        _print_report(report)
    return EXIT_OK if report.whole else EXIT_DAMAGED


@log.command("export")
@click.option(
    "-o", "--output", "out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Write to this file  [default: stdout]",
)  # fmt: skip
@click.option(
    "--run",
    default="",
    metavar="RUN",
    shell_complete=run_ids,
    help="Only the facts of this run (an id, its beginning, or @last) and its tasks.",
)
@click.option(
    "--no-output", is_flag=True, help="Leave out what tasks emitted: a file of facts only."
)
@settings_options
@json_option
def export(settings: Settings, out: Path | None, run: str, no_output: bool, as_json: bool) -> None:
    """Write the log, or one run of it, into a portable file."""
    from goclaw.portable import export_to

    if out is None and (as_json or sys.stdout.isatty()):
        msg = "an export is binary"
        raise UsageInvalid(msg, hint="name a file with -o, or let another program read stdout")
    with _reading(settings) as journal:
        found = export_to(
            journal, out or sys.stdout.buffer, _run_id(journal, run), output=not no_output
        )
    if as_json:
        emit({"file": str(out), **found._asdict()})
    else:
        chunks = f", {found.chunks} chunks of output" if found.chunks else ""
        say(f"{found.facts} facts and {found.blobs} blobs{chunks}, digest {found.digest}")


@log.command("import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--partitions", type=click.IntRange(1, 1024), metavar="N",
    help="How many partitions the new log has  [default: as many as the old one; 1 for a run]",
)  # fmt: skip
@settings_options
@json_option
def import_(settings: Settings, file: Path, partitions: int | None, as_json: bool) -> None:
    """Make an empty data directory one that holds what FILE holds.

    FILE is what `goclaw log export` wrote. With as many partitions as it had it is the same log,
    and goes on with what was unfinished; with another number every run in it must have ended.
    Schedules go on in either.
    """
    from goclaw_events.rocks.intake import import_log

    found = import_log(file, settings.data_dir, partitions)
    if as_json:
        emit(
            {
                "data_dir": str(settings.data_dir),
                "run": found.run,
                "facts": found.facts,
                "blobs": found.blobs,
                "chunks": found.chunks,
                "digest": found.digest.hex(),
            }
        )
    else:
        say(f"{settings.data_dir}: {found.facts} facts and {found.blobs} blobs, as exported")


def _run_id(journal: RocksJournal, run: str) -> str:
    """Return the id of the run that is meant; what means none is left to be refused."""
    from goclaw.replay import Replay

    return Replay(journal).find(run) if run else ""


@contextmanager
def _reading(settings: Settings) -> Iterator[RocksJournal]:
    from goclaw.asking import readable

    with readable(settings) as directory:
        journal = directory.open_journal(read_only=True)
        try:
            for fault in journal.watermark_faults():
                say(f"warning[{fault.code}]: {fault.message}")
            for partition in range(journal.partitions):
                begin = journal.history(partition)
                if begin > 1:
                    say(
                        f"the history of partition {partition} begins at {begin}; "
                        "the rest was given up"
                    )
            yield journal
        finally:
            journal.close()


def _print(records: Iterable[Record], *, as_json: bool, ndjson: bool) -> None:
    if as_json:
        _print_array(record.as_json() for record in records)
        return
    for record in records:
        sys.stdout.write((json_line(record.as_json()) if ndjson else line_of(record)) + "\n")
    sys.stdout.flush()


def _print_array(items: Iterable[dict[str, Any]]) -> None:
    """Print one array on one line, an item at a time: the log may be larger than memory."""
    comma = "["
    try:
        for item in items:
            sys.stdout.write(comma + json_line(item))
            comma = ", "
        sys.stdout.write("[]" if comma == "[" else "]")
    finally:
        # after an error too: what reports it must stand on a line of its own
        sys.stdout.write("\n")
        sys.stdout.flush()


def line_of(record: Record) -> str:
    """Return a fact on one line, its data cut short."""
    data = json_line(record.data())
    if len(data) > DATA_CHARACTERS_MAX:
        data = data[: DATA_CHARACTERS_MAX - 1] + "…"
    fact = record.fact
    text = f"{record.position}  {record.time}  {fact.stream}  #{fact.seq}  {fact.type}  {data}"
    return printable(text).replace("\n", " ")


def _print_report(report: Report) -> None:
    counts = (
        ("log", report.log_id),
        ("partitions", report.partitions),
        ("frames", report.frames),
        ("facts", report.facts),
        ("streams", report.streams),
        ("bytes of frames", report.bytes),
        ("segments", report.segments),
        ("blobs", report.blobs),
        ("references", report.references),
        ("rows", sum(report.rows.values())),
        ("ends at", " ".join(f"{p}:{end}" for p, end in enumerate(report.ends))),
    )
    print_table(("what", "found"), counts)
    for problem in report.problems:
        click.echo(printable(f"{problem.place}: {problem.message} [{problem.code}]"))
    if report.problems_count > len(report.problems):
        click.echo(f"and {report.problems_count - len(report.problems)} more")
    if report.whole:
        click.echo("whole")
    else:
        click.echo(f"{report.problems_count} problems")
