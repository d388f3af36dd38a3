"""`goclaw demo`: a team of agents audits a source tree; or requests and programs, or sagas."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from goclaw.cli.options import json_option, process_option, settings_options
from goclaw.cli.output import emit, print_table, printable, program, say
from goclaw.errors import EXIT_FAILED, EXIT_OK, UsageInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw.config import Settings


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "--pipeline",
    is_flag=True,
    help="Instead: fetch documents from a local server, and count their words with programs.",
)
@click.option(
    "--live",
    is_flag=True,
    help="Instead: steer a writer in mid-stream, interrupt and resume it; collect a majority.",
)
@click.option(
    "--trip",
    is_flag=True,
    help="Instead: book trips at an agency that fails at random; its ledger shows what stands.",
)
@settings_options
@process_option
@json_option
def demo(
    settings: Settings, path: Path | None, pipeline: bool, live: bool, trip: bool, as_json: bool
) -> int:
    """Let a team of agents audit the Python source in PATH (by default the standard library).

    They scan, fan out by package, parse and measure, rank and report: some hundred tasks, each a
    real attempt in a lane, each recorded. Interrupt it, and `goclaw resume` it, as you like.

    With --pipeline no agent runs at all: a YAML file makes requests (to a server that the demo
    starts), begins child runs, and hands what comes back from program to program.

    With --live running work is talked to: a writer, whose model is a script, is steered while it
    streams, interrupted with its words saved, and resumed; what most of a panel says is collected.

    With --trip twelve sagas pay and book, or undo what they did: the agency, a local server, is
    busy, sold out, or hangs up after it has done what it was asked. Nobody is charged twice; exits
    1 if the agency's ledger told otherwise.
    """  # fmt: skip
    others = pipeline + live + trip
    if not others:
        return _audit(settings, path, as_json=as_json)
    if path is not None or others > 1:
        msg = "--pipeline, --live and --trip audit nothing, and are not shown together"
        raise UsageInvalid(msg, hint="goclaw demo --pipeline, or --live, or --trip")
    if trip:
        return _trip(settings, as_json=as_json)
    return _live(settings, as_json=as_json) if live else _pipeline(settings, as_json=as_json)


def _audit(settings: Settings, path: Path | None, *, as_json: bool) -> int:
    import warnings

    from goclaw.cli.run import conclude, displayed, resume_line
    from goclaw.demo.workflow import build, packages_of, standard_library
    from goclaw.foreground import Request, run_in_foreground
    from goclaw.submission import Preparer

    root = (path or standard_library()).resolve()
    workflow = build(root, packages_of(root))
    prepared = Preparer().prepare(workflow)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # of the source that is audited
        with displayed(settings) as display:
            ending = run_in_foreground(settings, Request(workflow, prepared, {}), display)
    line = resume_line(settings, [], None)
    code = conclude(ending, line, as_json=as_json, show=_print_report)
    if not ending.cut_short:
        run_id = ending.records[0]["run_id"]
        _say_what_next(
            settings,
            (f"runs show {run_id}", "every task of it"),
            ("log tail", "the last facts of the log"),
            ("replay --verify", "fold everything again, and compare"),
            ("demo .", "audit your own code; Ctrl-C, then resume"),
            ("demo --pipeline", "requests, programs and child runs, from a YAML file"),
        )
    return code


def _live(settings: Settings, *, as_json: bool) -> int:
    import asyncio
    from dataclasses import asdict

    from goclaw.demo.live import show

    story = asyncio.run(show(settings, say if as_json else click.echo))
    if as_json:
        emit(asdict(story))
        return EXIT_OK
    _say_what_next(
        settings,
        (f"log show --run {story.run_id}", "every fact: what was said, and when it was heard"),
        ("collectors list", "what was collected"),
        ("demo --pipeline", "requests, programs and child runs, from a YAML file"),
    )
    return EXIT_OK


def _trip(settings: Settings, *, as_json: bool) -> int:
    import asyncio
    from dataclasses import asdict

    from goclaw.demo.trip import FILE, show

    found = asyncio.run(show(settings, say if as_json else click.echo))
    told = EXIT_FAILED if found.faults or found.charged_twice else EXIT_OK
    if as_json:
        emit(asdict(found))
        return told
    click.echo(f"\nThe agency's own ledger, after {found.asked} requests, {found.failed} in vain:")
    print_table(
        ("", "taken", "undone", "stands"),
        [(kind, *counts.values()) for kind, counts in found.ledger.items()],
    )
    click.echo(f"Kept: {found.money}. Charged twice: {', '.join(found.charged_twice) or 'nobody'}.")
    for fault in found.faults:
        click.echo(printable(f"WRONG: {fault}"))
    say(f"\nThe saga: {FILE}")
    undone = next((t for t in found.trips.values() if t["status"] != "completed"), None)
    shown = undone or next(iter(found.trips.values()))
    _say_what_next(
        settings,
        (f"sagas show {shown['saga_id']}", "what was in doubt, and what was undone"),
        ("sagas list", "all of them"),
    )
    return told


def _pipeline(settings: Settings, *, as_json: bool) -> int:
    from goclaw.cli.run import conclude, displayed
    from goclaw.demo.pipeline import FILE, open_pipeline
    from goclaw.foreground import resume_in_foreground, run_in_foreground

    with open_pipeline(settings) as ready, displayed(settings) as display:
        if ready.interrupted:
            ending = resume_in_foreground(ready.settings, [ready.interrupted], display)
        else:
            ending = run_in_foreground(ready.settings, ready.request, display)
    where = ["--data-dir", str(settings.data_dir)]
    line = shlex.join([program(), "demo", "--pipeline", *where])
    code = conclude(ending, line, as_json=as_json, show=_print_words)
    if not ending.cut_short:
        run_id = ending.records[0]["run_id"]
        say(f"\nThe workflow: {FILE}\nand its child: {FILE.with_name('document.yaml')}")
        _say_what_next(
            settings,
            (
                f"runs show {run_id} --critical",
                "where its time went: a child waited for a busy server",
            ),
            ("runs list", "it, and its child runs"),
            (f"log show --run {run_id}", "every fact of it; the key is in none"),
        )
    return code


def _print_report(record: Mapping[str, Any]) -> None:
    click.echo(printable(record["result"]["text"]))
    tasks = len(record["tasks"])
    click.echo(f"\nAudited by {tasks} tasks in {record['duration_s']:.1f} s.")


def _print_words(record: Mapping[str, Any]) -> None:
    result = record["result"]
    click.echo("The words that are used most in")
    for document in result["documents"]:
        click.echo(printable(f"  {document['title']}, {document['words'].strip()} words"))
    click.echo("\n" + printable(result["top"].rstrip()))
    click.echo(f"\nAsked with {result['asked_with']!r}, kept as report {result['report']}.")


def _say_what_next(settings: Settings, *commands: tuple[str, str]) -> None:
    call = shlex.quote(program())
    where = shlex.join(["--data-dir", str(settings.data_dir)])
    lines = [f"  {call} {words} {where}   {what}" for words, what in commands]
    say("\n".join(["\nWhat to try next:", *lines]))
