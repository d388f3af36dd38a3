"""`goclaw run` and `goclaw resume`: workflows in the foreground."""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

import click

from goclaw.cli.options import (
    allow_exec_option,
    idempotency_option,
    input_options,
    json_option,
    key_values,
    module_option,
    process_option,
    settings_options,
    trust_option,
)
from goclaw.cli.output import emit, json_pretty, print_table, printable, program, say
from goclaw.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_TIMEOUT, UsageInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from goclaw.config import Settings
    from goclaw.foreground import Ending, Request
    from goclaw.live import Display
    from goclaw.results import Submitted
    from goclaw.submission import Prepared


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@input_options
@click.option(
    "--run-id", metavar="ID", help="The run's id; the same run again gives the same result."
)
@idempotency_option
@click.option(
    "--label", "labels", multiple=True, callback=key_values, metavar="KEY=VALUE",
    help="A label of the run. May be repeated.",
)  # fmt: skip
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
    help="Stop after this time; `goclaw resume` goes on with the run.",
)  # fmt: skip
@click.option(
    "--detach", is_flag=True, help="Print the run's id and leave it to the engine that runs."
)
@module_option
@click.option(
    "--trust-dir", is_flag=True,
    help="Import the Python files beside FILE that register agents.",
)  # fmt: skip
@settings_options
@allow_exec_option
@process_option
@json_option
def run(
    settings: Settings,
    file: Path,
    inputs: Mapping[str, str],
    input_file: Path | None,
    run_id: str | None,
    idempotency_key: str | None,
    labels: Mapping[str, str],
    timeout_s: float | None,
    detach: bool,
    modules: Sequence[str],
    trust_dir: bool,
    as_json: bool,
) -> int:
    """Run a workflow FILE: progress on stderr, its result on stdout.

    Where an engine runs on the data directory (`goclaw engine start`) it gets the run, and its
    agents count; interrupting only stops watching. Otherwise the run is this command's own:
    agents come from --module, from the setting agents.modules, and with --trust-dir from FILE's
    folder. Exits 0, 1 if the run failed, 2 if it could not begin, 130 when interrupted: then
    everything that was done is kept, and `goclaw resume` goes on.
    """
    from goclaw.asking import engine_runs
    from goclaw.foreground import Request, run_in_foreground
    from goclaw.run_input import given_input

    trusted = file.parent if trust_dir else None
    elsewhere = detach or engine_runs(settings)
    prepared = _prepared(file, settings, modules, trusted, agents_elsewhere=elsewhere)
    given = given_input(prepared.plan, inputs, input_file)
    if elsewhere and _given().get("allow_exec"):
        say("the engine that runs decides which programs may be run; --allow-exec changes nothing")
    request = Request(file, prepared, given, run_id, labels, idempotency_key)
    if detach:
        _detached(settings, request, as_json=as_json)
        return EXIT_OK
    with displayed(settings) as display:
        ending = run_in_foreground(settings, request, display, timeout_s)
    return conclude(ending, resume_line(settings, modules, trusted), as_json=as_json)


def _detached(settings: Settings, request: Request, *, as_json: bool) -> None:
    from goclaw.sync_client import SyncClient

    with SyncClient(settings.data_dir) as client:
        submitted = client.submit(
            request.workflow,
            input=request.input,
            run_id=request.run_id,
            idempotency_key=request.idempotency_key,
            labels=request.labels,
        )
    tell_submitted(settings, submitted, as_json=as_json)


def tell_submitted(settings: Settings, submitted: Submitted, *, as_json: bool) -> None:
    """Print the id of a run that an engine has taken, and say how to follow it."""
    if as_json:
        emit({"run_id": submitted.run_id, "position": str(submitted.position),
              "repeated": submitted.repeated})  # fmt: skip
        return
    click.echo(submitted.run_id)
    say(f"  to follow it: {tail_line(settings, submitted.run_id)}")


def tail_line(settings: Settings, run_id: str) -> str:
    """Return the command that follows a run of the engine that runs."""
    return shlex.join([program(), "runs", "tail", run_id, "--data-dir", str(settings.data_dir)])


def _prepared(
    file: Path,
    settings: Settings,
    modules: Sequence[str],
    trusted: Path | None,
    *,
    agents_elsewhere: bool,
) -> Prepared:
    """Load the file and the modules; every fault of the file comes with its place in it."""
    from goclaw.agents import REGISTRY
    from goclaw.modules import load_modules
    from goclaw.programs import require_allowed
    from goclaw.submission import Preparer
    from goclaw_events.faults import Finding, InvalidDefinition
    from goclaw_events.loading import locate, read_definition_file
    from goclaw_events.plan import work_of
    from goclaw_events.plan.model import RUN_BY_AGENTS
    from goclaw_events.saga.loading import load_any

    data, text_format = read_definition_file(file)
    prepared = Preparer().prepare(load_any(data, text_format, str(file)))
    if prepared.plan.steps:
        msg = f"{prepared.plan.name} is a saga, not a workflow"
        raise UsageInvalid(msg, hint=f"goclaw sagas run {file}")
    if agents_elsewhere:
        return prepared
    load_modules([*settings.agents.modules, *modules], trusted)
    findings = []
    for task in map(work_of, prepared.plan.tasks):
        if task.kind in RUN_BY_AGENTS and REGISTRY.get(task.agent) is None:
            close = REGISTRY.close_to(task.agent)
            meant = f"did you mean {close[0]!r}? otherwise " if close else ""
            hint = f"{meant}name its module with --module, or trust the folder with --trust-dir"
            message = f"no agent is registered as {task.agent!r}"
            said = ("agent",) if task.kind == "agent" else ("collect", "reduce")
            findings.append(Finding("agent_unknown", message, ("tasks", task.id, *said), hint))
    if findings:
        raise InvalidDefinition(locate(findings, data, text_format), str(file))
    require_allowed(prepared.plan.name, prepared.programs, settings)
    return prepared


@click.command()
@module_option
@trust_option
@settings_options
@allow_exec_option
@process_option
@json_option
def resume(settings: Settings, modules: Sequence[str], trusted: Path | None, as_json: bool) -> int:
    """Go on with every run that is not finished, until all of them have ended.

    Where an engine runs it has gone on with them already: then they are watched. What belongs to
    the process and not to a run (--module, --allow-exec, --process) is to be given again.

    Exits 0, also if there is nothing to do; 1 if a run failed. Where agents or secrets are missing
    (2, 3), or programs are not allowed (2), nothing is begun.
    """
    from goclaw.agents import REGISTRY
    from goclaw.asking import ask, engine_runs
    from goclaw.foreground import INTERRUPTED, Ending, resume_in_foreground
    from goclaw.modules import load_modules
    from goclaw.unfinished import require_able

    elsewhere = engine_runs(settings)
    if not elsewhere:
        load_modules([*settings.agents.modules, *modules], trusted)
    runs = ask(settings, "runs.unfinished")
    if not elsewhere:
        require_able(runs, settings, REGISTRY)
    ending = Ending([], "")
    if runs:
        with displayed(settings) as display:
            ending = resume_in_foreground(settings, [run["run_id"] for run in runs], display)
    names = {run["run_id"]: run["name"] for run in runs}
    _print_resumed(ending, names, as_json=as_json)
    if ending.cut_short == INTERRUPTED:
        _say_how_to_go_on(ending, resume_line(settings, modules, trusted))
        return EXIT_INTERRUPTED
    failed = any(record["status"] == "failed" for record in ending.records)
    return EXIT_FAILED if failed else EXIT_OK


def _print_resumed(ending: Ending, names: Mapping[str, str], *, as_json: bool) -> None:
    if as_json:
        resumed = [{"run_id": r["run_id"], "status": r["status"]} for r in ending.records]
        emit({"resumed": resumed})
    elif not ending.records:
        click.echo("nothing to resume: every run has ended")
    else:
        rows = [
            (r["run_id"], names[r["run_id"]], r["status"], _why(r["error"])) for r in ending.records
        ]
        print_table(("run", "name", "status", "error"), rows)


@contextmanager
def displayed(settings: Settings) -> Iterator[Display]:
    """Show progress on stderr, log records among it, until the block ends."""
    from goclaw.live import CurrentStderr, open_display
    from goclaw.logs import configure_logs

    display = open_display()
    close_logs = configure_logs(settings.log, cast("TextIO", CurrentStderr()))
    try:
        yield display
    finally:
        close_logs()
        display.close()


def conclude(ending: Ending, line: str, *, as_json: bool, show: Any = None) -> int:
    """Print what came of one run, say what to do next, and return the exit code.

    `show` prints the result of a run for a person; without it, it is printed as JSON.
    """
    from goclaw.foreground import INTERRUPTED
    from goclaw_projections.states import RUN_ENDED

    record = ending.records[0]
    completed = record["status"] == "completed"
    if as_json:
        emit(record)
    elif completed and show is not None:
        show(record)
    elif completed:
        click.echo(json_pretty(record["result"]))
    if ending.cut_short and record["status"] not in RUN_ENDED:
        _say_how_to_go_on(ending, line)
        return EXIT_INTERRUPTED if ending.cut_short == INTERRUPTED else EXIT_TIMEOUT
    if completed:
        return EXIT_OK
    say(f"run {record['run_id']} {record['status']}" + _why(record["error"], ": "))
    say(f"  hint: {_show_line(line, record['run_id'])}")
    return EXIT_FAILED


def resume_line(settings: Settings, modules: Sequence[str], trusted: Path | None) -> str:
    """Return the command that goes on with what this one leaves behind."""
    words = [program(), "resume", "--data-dir", str(settings.data_dir)]
    for module in modules:
        words += ["--module", module]
    if trusted is not None:
        words += ["--trust-dir", str(trusted)]
    given = _given()
    if given.get("config") is not None:
        words += ["--config", str(given["config"])]
    if given.get("allow_exec"):
        words.append("--allow-exec")
    if given.get("process"):
        words.append("--process")
    return shlex.join(words)


def _given() -> Mapping[str, Any]:
    """Return the options of the command that runs."""
    context = click.get_current_context(silent=True)
    return {} if context is None else context.params


def _show_line(line: str, run_id: str) -> str:
    words = shlex.split(line)
    at = words.index("--data-dir")
    return shlex.join([words[0], "runs", "show", run_id, *words[at : at + 2]])


def _say_how_to_go_on(ending: Ending, line: str) -> None:
    from goclaw_projections.states import RUN_ENDED

    left = [record["run_id"] for record in ending.records if record["status"] not in RUN_ENDED]
    if ending.goes_on:
        say(f"{ending.cut_short}: the engine goes on; to follow it:")
        for run_id in left:
            words = shlex.split(_show_line(line, run_id))
            say(f"  {shlex.join([words[0], 'runs', 'tail', *words[3:]])}")
        return
    what = f"run {left[0]} is" if len(left) == 1 else f"{len(left)} runs are"
    say(f"{ending.cut_short}: {what} not finished; to go on:\n  {line}")


def _why(error: Mapping[str, Any] | None, before: str = "") -> str:
    if error is None:
        return ""
    task = f" (task {error['task']})" if error["task"] else ""
    return printable(f"{before}{error['message']} [{error['code']}]{task}")
