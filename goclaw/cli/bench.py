"""`goclaw bench`: what this machine does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from goclaw.cli.options import json_option
from goclaw.cli.output import emit, print_table, say

if TYPE_CHECKING:
    from collections.abc import Callable

Command = TypeVar("Command", bound="Callable[..., Any]")

_directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Write on this directory's disk; removed afterwards  [default: .]",
)


def _number(
    flag: str, least: int, most: int, default: int, says: str
) -> Callable[[Command], Command]:
    """Return an option that takes a whole number."""
    kind = click.IntRange(least, most)
    return click.option(flag, type=kind, default=default, show_default=True, help=says)


@click.group()
def bench() -> None:
    """Measure the log, the engine, lanes, sagas, or child processes on this machine."""


@bench.command("log")
@_number("--frames", 1, 100_000, 2000, "How many frames to write.")
@_number("--facts", 1, 5000, 99, "How many facts a frame holds, in threes.")
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
@_number("--tasks", 10, 10_000_000, 20_000, "How many tasks a run has.")
@_number("--in-flight", 1, 2000, 500, "How many workflows run at once.")
@_number("--runs", 1, 100, 3, "How many runs a shape has; the median counts.")
@_number("--samples", 10, 100_000, 300, "How many workflows the latencies come from.")
@_number("--partitions", 1, 256, 1, "Into how many parts the log is cut.")
@click.option("--shape", "shapes", multiple=True,
              type=click.Choice(["chain", "fan", "wide", "single"]),
              help="Measure only this shape; repeatable.")  # fmt: skip
@click.option("--queued", type=click.IntRange(1, 10_000_000), metavar="TASKS",
              help="Measure instead with so many tasks that wait for one slot.")  # fmt: skip
@click.option("--waiting", type=click.IntRange(1, 10_000_000), metavar="RUNS",
              help="Measure instead with so many runs that wait for a timer.")  # fmt: skip
@click.option("--rest", "rest_s", type=click.FloatRange(0.1, 3600), default=10.0,
              show_default=True, help="How many seconds --waiting looks on.")  # fmt: skip
@click.option("--mapped", type=click.IntRange(10, 100_000), metavar="ITEMS",
              help="Measure instead what an item of a list of so many costs.")  # fmt: skip
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
    mapped: int | None,
    block_s: float | None,
    directory: Path,
    as_json: bool,
) -> None:
    """Measure tasks a second, latencies, how far views lag, and where the time of a task goes."""
    if queued or waiting or block_s or mapped:
        figures = _scenarios(queued or 0, waiting or 0, rest_s, block_s, samples, directory)
        figures |= _mapped(mapped, directory)
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


def _mapped(items: int | None, directory: Path) -> dict[str, Any]:
    if items is None:
        return {}
    import asyncio

    from goclaw.bench.mapped import measure_mapped

    return asyncio.run(measure_mapped(directory, items, say))


@bench.command("recovery")
@_number("--facts", 100, 100_000_000, 1_000_000, "How many facts the log has, about.")
@_number("--entries", 1, 10_000_000, 1_000_000, "How many tasks wait in the lane.")
@_number("--restarts", 1, 100, 3, "How often the engine is started; the median counts.")
@_directory_option
@json_option
def recovery(facts: int, entries: int, restarts: int, directory: Path, as_json: bool) -> None:
    """Measure how soon a killed engine goes on, and how long snapshots hold a batch."""
    from goclaw.bench.recovery import Size, measure_recovery

    figures = measure_recovery(directory, Size(facts, entries, restarts), say)
    _print(figures, as_json=as_json)


@bench.command("overload")
@_number("--commands", 1, 100_000, 2_000, "How many submissions may wait.")
@_number("--times", 1, 100, 10, "How many times as many come at once.")
@_number("--rounds", 1, 1_000, 5, "How often they come.")
@_directory_option
@json_option
def overload(commands: int, times: int, rounds: int, directory: Path, as_json: bool) -> None:
    """Measure a process's memory while ten times too much is asked of its engine."""
    from goclaw.bench.overload import Overload, measure_overload

    figures = measure_overload(directory, Overload(commands, times, rounds), say)
    _print(figures, as_json=as_json)


@bench.command("lanes")
@_number("--tasks", 100, 10_000_000, 50_000, "How many tasks go through a lane.")
@_number("--in-flight", 1, 1_000_000, 1_000, "How many are in it at once.")
@_number("--rounds", 1, 100, 3, "How often; the best counts.")
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
@_number("--tasks", 10, 10_000_000, 10_000, "How many tasks a run has.")
@_number("--workers", 1, 1024, 2, "How many worker processes there are.")
@_number("--runs", 1, 100, 3, "How many runs there are; the median counts.")
@_number("--samples", 10, 100_000, 300, "How many workflows the latencies come from.")
@_number("--programs", 1, 1_000_000, 200, "How many programs are started.")
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


@bench.command("steps")
@_number("--in-flight", 1, 2_000, 64, "How many agents take steps at once.")
@_number("--steps", 1, 10_000, 200, "How many steps each takes.")
@_number("--samples", 10, 10_000, 500, "How many steps one agent takes alone.")
@_directory_option
@json_option
def steps(in_flight: int, steps: int, samples: int, directory: Path, as_json: bool) -> None:
    """Measure durable steps: how many a second, and how long one takes."""
    from goclaw.bench.steps import StepLoad, measure_steps

    figures = measure_steps(directory, StepLoad(in_flight, steps, samples), say)
    _print(figures, as_json=as_json)


@bench.command("sagas")
@_number("--tasks", 20, 10_000_000, 10_000, "How many tasks a run has.")
@_number("--in-flight", 1, 2_000, 500, "How many sagas, or workflows, run at once.")
@_number("--rounds", 1, 100, 5, "How often both are measured; the median ratio counts.")
@_number("--steps-in-flight", 1, 2_000, 64, "How many agents take durable steps at once.")
@_number("--steps", 1, 10_000, 200, "How many durable steps each takes.")
@_directory_option
@json_option
def sagas(
    tasks: int,
    in_flight: int,
    rounds: int,
    steps_in_flight: int,
    steps: int,
    directory: Path,
    as_json: bool,
) -> None:
    """Measure actions and compensations a second beside plain tasks, and durable steps."""
    from goclaw.bench.sagas import SagaLoad, measure_sagas

    load = SagaLoad(tasks, in_flight, rounds, steps_in_flight, steps)
    _print(measure_sagas(directory, load, say), as_json=as_json)


@bench.command("signals")
@_number("--samples", 1, 100_000, 200, "How many signals the latencies come from.")
@_number("--kills", 1, 1_000, 10, "How many processes are killed.")
@_number("--signals", 1, 8_000, 5_000, "How many signals are sent at once.")
@_number("--members", 1, 10_000, 1_000, "How many tasks are collected.")
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
    "stages_us_per_task", "shapes", "queued_wide", "queued_single", "waiting", "blocked", "mapped",
    "machine",
)  # fmt: skip
_LEFT_OUT = (*_GROUPS, "rounds")


def _print(figures: dict[str, Any], *, as_json: bool) -> None:
    """Print figures; groups of them as a line each, the machine last."""
    if as_json:
        emit(figures)
        return
    rows = [(name, _shown(value)) for name, value in figures.items() if name not in _LEFT_OUT]
    for group in _GROUPS:
        found = figures.get(group, {})
        rows += [(f"{group} {name}", _shown(value)) for name, value in found.items()]
    print_table(("what", "measured"), rows)


def _shown(value: object) -> str:
    return json.dumps(value).strip("{}").replace('"', "")
