"""`goclaw bench`: what this machine does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from goclaw.cli.options import json_option
from goclaw.cli.output import emit, print_table, say

_directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Write on this directory's disk; removed afterwards  [default: .]",
)


@click.group()
def bench() -> None:
    """Measure the log, the engine, lanes, or child processes on this machine."""


@bench.command("log")
@click.option("--frames", type=click.IntRange(1, 100_000), default=2000, show_default=True,
              help="How many frames to write.")  # fmt: skip
@click.option("--facts", type=click.IntRange(1, 5000), default=99, show_default=True,
              help="How many facts a frame holds, in threes.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=10.0, show_default=True,
              help="Stop writing after this time.")  # fmt: skip
@_directory_option
@json_option
def log(frames: int, facts: int, seconds: float, directory: Path, as_json: bool) -> None:
    """Measure flushes, durable facts a second, replay and stream reads."""
    from goclaw.bench.log import Settings, measure_log

    figures = measure_log(directory, Settings(frames, facts, seconds))
    _print(figures, as_json=as_json)


@bench.command("engine")
@click.option("--tasks", type=click.IntRange(10, 10_000_000), default=20_000, show_default=True,
              help="How many tasks a run has.")  # fmt: skip
@click.option("--in-flight", type=click.IntRange(1, 2000), default=500, show_default=True,
              help="How many workflows run at once.")  # fmt: skip
@click.option("--runs", type=click.IntRange(1, 100), default=3, show_default=True,
              help="How many runs a shape has; the median counts.")  # fmt: skip
@click.option("--samples", type=click.IntRange(10, 100_000), default=300, show_default=True,
              help="How many workflows the latencies come from.")  # fmt: skip
@click.option("--partitions", type=click.IntRange(1, 256), default=1, show_default=True,
              help="Into how many parts the log is cut.")  # fmt: skip
@click.option("--shape", "shapes", multiple=True,
              type=click.Choice(["chain", "fan", "wide", "single"]),
              help="Measure only this shape; repeatable.")  # fmt: skip
@click.option("--queued", type=click.IntRange(1, 10_000_000), metavar="TASKS",
              help="Measure instead with so many tasks that wait for one slot.")  # fmt: skip
@click.option("--waiting", type=click.IntRange(1, 10_000_000), metavar="RUNS",
              help="Measure instead with so many runs that wait for a timer.")  # fmt: skip
@click.option("--rest", "rest_s", type=click.FloatRange(0.1, 3600), default=10.0,
              show_default=True, help="How many seconds --waiting looks on.")  # fmt: skip
@click.option("--blocked", "block_s", type=click.FloatRange(0.2, 60), metavar="SECONDS",
              help="Measure instead while an async agent blocks its loop so long.")  # fmt: skip
@_directory_option
@json_option
def engine(
    tasks: int,
    in_flight: int,
    runs: int,
    samples: int,
    partitions: int,
    shapes: tuple[str, ...],
    queued: int | None,
    waiting: int | None,
    rest_s: float,
    block_s: float | None,
    directory: Path,
    as_json: bool,
) -> None:
    """Measure tasks a second, latencies, how far views lag, and where the time of a task goes."""
    if queued or waiting or block_s:
        figures = _scenarios(queued or 0, waiting or 0, rest_s, block_s, samples, directory)
        _print(figures, as_json=as_json)
        return
    from goclaw.bench.engine import SHAPES, Load, measure_engine

    load = Load(tasks, in_flight, runs, samples, partitions, shapes or SHAPES)
    figures = measure_engine(directory, load, say)
    _print(figures, as_json=as_json)


def _scenarios(
    queued: int, waiting: int, rest_s: float, block_s: float | None, samples: int, directory: Path
) -> dict[str, Any]:
    from goclaw.bench.blocked import measure_blocked
    from goclaw.bench.crowd import Crowd, measure_crowd

    figures: dict[str, Any] = {}
    if queued or waiting:
        figures.update(measure_crowd(directory, Crowd(queued, waiting, samples, rest_s), say))
    if block_s:
        figures.update(measure_blocked(directory, block_s, say))
    return figures


@bench.command("recovery")
@click.option("--facts", type=click.IntRange(100, 100_000_000), default=1_000_000,
              show_default=True, help="How many facts the log has, about.")  # fmt: skip
@click.option("--entries", type=click.IntRange(1, 10_000_000), default=1_000_000,
              show_default=True, help="How many tasks wait in the lane.")  # fmt: skip
@click.option("--restarts", type=click.IntRange(1, 100), default=3, show_default=True,
              help="How often the engine is started; the median counts.")  # fmt: skip
@_directory_option
@json_option
def recovery(facts: int, entries: int, restarts: int, directory: Path, as_json: bool) -> None:
    """Measure how soon a killed engine goes on, and how long snapshots hold a batch."""
    from goclaw.bench.recovery import Size, measure_recovery

    figures = measure_recovery(directory, Size(facts, entries, restarts), say)
    _print(figures, as_json=as_json)


@bench.command("overload")
@click.option("--commands", type=click.IntRange(1, 100_000), default=2_000, show_default=True,
              help="How many submissions may wait.")  # fmt: skip
@click.option("--times", type=click.IntRange(1, 100), default=10, show_default=True,
              help="How many times as many come at once.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1, 1_000), default=5, show_default=True,
              help="How often they come.")  # fmt: skip
@_directory_option
@json_option
def overload(commands: int, times: int, rounds: int, directory: Path, as_json: bool) -> None:
    """Measure a process's memory while ten times too much is asked of its engine."""
    from goclaw.bench.overload import Overload, measure_overload

    figures = measure_overload(directory, Overload(commands, times, rounds), say)
    _print(figures, as_json=as_json)


@bench.command("lanes")
@click.option("--tasks", type=click.IntRange(100, 10_000_000), default=50_000, show_default=True,
              help="How many tasks go through a lane.")  # fmt: skip
@click.option("--in-flight", type=click.IntRange(1, 1_000_000), default=1_000, show_default=True,
              help="How many are in it at once.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True,
              help="How often; the best counts.")  # fmt: skip
@click.option("--size", "sizes", type=click.IntRange(1, 10_000_000), multiple=True,
              help="Measure with so many in the lane, too; repeatable.")  # fmt: skip
@_directory_option
@json_option
def lanes(
    tasks: int,
    in_flight: int,
    rounds: int,
    sizes: tuple[int, ...],
    directory: Path,
    as_json: bool,
) -> None:
    """Measure one lane: what it lends a second, what limits cost, how exact shares are."""
    from goclaw.bench.lanes import Load, measure_lanes

    load = Load(tasks, in_flight, rounds)
    _print(measure_lanes(directory, load, sizes, say), as_json=as_json)


@bench.command("process")
@click.option("--tasks", type=click.IntRange(10, 10_000_000), default=10_000, show_default=True,
              help="How many tasks a run has.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 1024), default=2, show_default=True,
              help="How many worker processes there are.")  # fmt: skip
@click.option("--runs", type=click.IntRange(1, 100), default=3, show_default=True,
              help="How many runs there are; the median counts.")  # fmt: skip
@click.option("--samples", type=click.IntRange(10, 100_000), default=300, show_default=True,
              help="How many workflows the latencies come from.")  # fmt: skip
@click.option("--programs", type=click.IntRange(1, 1_000_000), default=200, show_default=True,
              help="How many programs are started.")  # fmt: skip
@_directory_option
@json_option
def process(
    tasks: int,
    workers: int,
    runs: int,
    samples: int,
    programs: int,
    directory: Path,
    as_json: bool,
) -> None:
    """Measure agents in worker processes, and programs."""
    from goclaw.bench.process import ProcessLoad, measure_processes

    load = ProcessLoad(tasks, runs=runs, samples=samples, workers=workers, programs=programs)
    _print(measure_processes(directory, load, say), as_json=as_json)


@bench.command("signals")
@click.option("--samples", type=click.IntRange(1, 100_000), default=200, show_default=True,
              help="How many signals the latencies come from.")  # fmt: skip
@click.option("--kills", type=click.IntRange(1, 1_000), default=10, show_default=True,
              help="How many processes are killed.")  # fmt: skip
@click.option("--signals", type=click.IntRange(1, 8_000), default=5_000, show_default=True,
              help="How many signals are sent at once.")  # fmt: skip
@click.option("--members", type=click.IntRange(1, 10_000), default=1_000, show_default=True,
              help="How many tasks are collected.")  # fmt: skip
@_directory_option
@json_option
def signals(
    samples: int, kills: int, signals: int, members: int, directory: Path, as_json: bool
) -> None:
    """Measure how soon a handler hears and stops, signals a second, and a collect."""
    from goclaw.bench.signals import SignalLoad, measure_signals

    figures = measure_signals(directory, SignalLoad(samples, kills, signals, members=members), say)
    _print(figures, as_json=as_json)


_GROUPS = (
    "stages_us_per_task", "shapes", "queued_wide", "queued_single", "waiting", "blocked", "machine",
)  # fmt: skip


def _print(figures: dict[str, Any], *, as_json: bool) -> None:
    """Print figures; groups of them as a line each, the machine last."""
    if as_json:
        emit(figures)
        return
    rows = [(name, _shown(value)) for name, value in figures.items() if name not in _GROUPS]
    for group in _GROUPS:
        found = figures.get(group, {})
        rows += [(f"{group} {name}", _shown(value)) for name, value in found.items()]
    print_table(("what", "measured"), rows)


def _shown(value: object) -> str:
    return json.dumps(value).strip("{}").replace('"', "")
