"""`goclaw replay`: state as it was at a position, and the proof that replay is right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from goclaw.cli.completing import run_ids
from goclaw.cli.options import json_option, settings_options
from goclaw.cli.output import emit, json_line, print_table, printable, say
from goclaw.errors import EXIT_DAMAGED, EXIT_OK, UsageInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw.config import Settings
    from goclaw.replay import Replay, RunThen
    from goclaw.replay_check import ReplayReport

_PARAMS_CHARS_MAX = 60


@click.command()
@click.option(
    "--run",
    "run_id",
    metavar="RUN",
    shell_complete=run_ids,
    help="Show this run (an id, its beginning, or @last) with its tasks and lanes.",
)
@click.option("--to", metavar="POSITION", help="Show it as it was here (number or part:number).")
@click.option("--verify", is_flag=True, help="Compare actors, tables and views with full replay.")
@settings_options
@json_option
def replay(
    settings: Settings, run_id: str | None, to: str | None, verify: bool, as_json: bool
) -> int:
    """Fold the log again: show state as it was, or verify that everything agrees with it.

    Nothing runs and the log is only read. With --verify, exits 0 only if full replay gives the
    state that each actor activates with and each snapshot leads to, every table follows from the
    frames, and every view equals its rebuild; otherwise 6, with the places.
    """
    from goclaw.asking import readable
    from goclaw.replay import Replay
    from goclaw_events.envelope import Position

    if verify and (run_id is not None or to is not None):
        msg = "--verify looks at everything, so --run and --to do not go with it"
        raise UsageInvalid(msg, hint="leave them out")
    place = None if to is None else Position.parse(to)
    with readable(settings) as directory:
        journal = directory.open_journal(read_only=True)
        try:
            faults = journal.watermark_faults()
            if verify:
                from goclaw.replay_check import check_replay

                report = check_replay(journal, directory.views)
                for fault in faults:
                    report.add(fault.code, "watermark", fault.message)
                _print_report(report, as_json=as_json)
                return EXIT_OK if report.agrees else EXIT_DAMAGED
            for fault in faults:
                say(f"warning[{fault.code}]: {fault.message}")
            then = Replay(journal, place)
            if run_id is None:
                _print_runs(then, as_json=as_json)
            else:
                _print_run(then.state(then.find(run_id)), as_json=as_json)
        finally:
            journal.close()
    return EXIT_OK


def _print_runs(then: Replay, *, as_json: bool) -> None:
    runs = [then.overview(run_id) for run_id in then.run_ids()]
    runs.sort(key=lambda run: run.time_ns)
    if as_json:
        ends = [f"{partition}:{last}" for partition, last in enumerate(then.last)]
        emit({"position": ends, "runs": [_as_json(run) for run in runs]})
        return
    rows = [
        (run.run_id, run.run.name, run.run.status, f"{run.run.ended}/{len(run.run.statuses)}",
         run.position)
        for run in runs
    ]  # fmt: skip
    print_table(("run", "name", "status", "tasks ended", "last fact"), rows)


def _as_json(then: RunThen) -> dict[str, Any]:
    from goclaw.logs import rfc3339

    return {
        "run_id": then.run_id,
        "name": then.run.name,
        "status": then.run.status,
        "tasks": len(then.run.statuses),
        "tasks_ended": then.run.ended,
        "position": str(then.position),
        "time": rfc3339(then.time_ns),
    }


def _print_run(state: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit(state)
        return
    workflow = state["workflow"]
    click.echo(printable(f"run {state['run_id']}: {workflow['name']}, {state['status']}"))
    click.echo(f"last fact {state['position']}, input {_short(workflow['input'])}")
    rows = [
        (task_id, workflow["tasks"].get(task_id, ""), task["status"], task["attempt"],
         task["lane"], _short(task["error"] or task["result"]))
        for task_id, task in state["tasks"].items()
    ]  # fmt: skip
    print_table(("task", "for its run", "for itself", "attempt", "lane", "result"), rows)
    for lane_id, lane in state["lanes"].items():
        click.echo(
            f"lane {lane_id}: {len(lane['leased'])} of {lane['concurrency']} slots, "
            f"{len(lane['queued'])} waiting"
        )


def _short(value: object) -> str:
    text = "" if value is None else json_line(value)
    return text if len(text) <= _PARAMS_CHARS_MAX else text[: _PARAMS_CHARS_MAX - 1] + "…"


def _print_report(report: ReplayReport, *, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        emit({"verified": report.agrees, **asdict(report)})
        return
    counts = (
        ("frames", report.frames),
        ("facts", report.facts),
        ("streams replayed", report.streams),
        ("snapshots", report.snapshots),
        ("rows of tables", report.rows),
        ("rows of views", report.view_rows),
    )
    print_table(("what", "compared"), counts)
    for problem in report.problems:
        click.echo(printable(f"{problem.place}: {problem.message} [{problem.code}]"))
    if report.problems_count > len(report.problems):
        click.echo(f"and {report.problems_count - len(report.problems)} more")
    click.echo("verified" if report.agrees else f"{report.problems_count} places differ")
