"""`goclaw validate`, `goclaw plan`, `goclaw schema`: definitions, without running them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from goclaw.cli.options import json_option, settings_options
from goclaw.cli.output import console, emit, print_table, say
from goclaw.errors import EXIT_OK, EXIT_USAGE

if TYPE_CHECKING:
    from goclaw.config import Settings
    from goclaw.weights import Weight
    from goclaw_events.faults import Fault
    from goclaw_events.plan import Analysis, Plan
    from goclaw_projections.durations import LearnedDuration

_FILE = click.argument("file", type=click.Path(path_type=Path))


@click.command()
@_FILE
@json_option
@click.pass_context
def validate(ctx: click.Context, file: Path, as_json: bool) -> None:
    """Check a workflow or a saga FILE and report every fault with its line and column.

    Exits 0, or 2 if there is a fault.
    """
    from goclaw_events.faults import InvalidDefinition
    from goclaw_events.loading import read_definition_file
    from goclaw_events.saga.compiler import work_of
    from goclaw_events.saga.definition import SagaDefinition
    from goclaw_events.saga.loading import load_any

    faults: list[Fault] = []
    facts: dict[str, Any] = {}
    says = ""
    try:
        data, text_format = read_definition_file(file)
        loaded = load_any(data, text_format, str(file))
    except InvalidDefinition as error:
        faults = error.faults
    else:
        definition = work_of(loaded) if isinstance(loaded, SagaDefinition) else loaded
        needs = sum(len(task.needs) for task in definition.tasks.values())
        facts = {"name": definition.name, "tasks": len(definition.tasks), "needs": needs}
        says = f"{definition.name}, {len(definition.tasks)} tasks, {needs} needs"
        if isinstance(loaded, SagaDefinition):
            undone = len(definition.tasks) - len(loaded.steps)
            says = f"saga {loaded.name}, {len(loaded.steps)} steps, {undone} compensations"
    for fault in faults:
        say(_fault_line(file, fault))
    if as_json:
        report = {"valid": not faults, "file": str(file), **facts}
        report["faults"] = [fault._asdict() for fault in faults]
        emit(report)
    elif facts:
        click.echo(f"{file}: valid: {says}")
    ctx.exit(EXIT_USAGE if faults else EXIT_OK)


def _fault_line(file: Path, fault: Fault, level: str = "") -> str:
    place = f"{file}:{fault.line}:{fault.column}" if fault.line else str(file)
    path = f"{fault.path}: " if fault.path else ""
    hint = f" ({fault.hint})" if fault.hint else ""
    return f"{place}: {level}{fault.code}: {path}{fault.message}{hint}"


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--run", "run", metavar="RUN", help="Show the plan of a run, as it is by now.")
@click.option(
    "--version", "version", type=int, metavar="N", help="With --run: this version of its plan."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "mermaid", "dot", "json"]),
    default="table",
    show_default=True,
    help="How to show the plan.",
)
@click.option(
    "--history",
    is_flag=True,
    help="Weigh tasks by how long they took in the runs of the data directory.",
)
@settings_options
@json_option
def plan(
    settings: Settings,
    file: Path | None,
    run: str | None,
    version: int | None,
    form: str,
    history: bool,
    as_json: bool,
) -> None:
    """Show the order, layers and critical path of a workflow or saga FILE, or of a run.

    A task weighs what the definition expects of it, or 1s; with --history what it took lately.
    A run whose path was changed has several versions of its plan: who changed it, when and why is
    said, too. Of a saga it is the way forth; what undoes each step stands beside it.
    """
    from goclaw.render_plan import plan_as_dot, plan_as_json, plan_as_mermaid
    from goclaw.render_saga import compensations_of, way_forth
    from goclaw.weights import weights_of
    from goclaw_events.plan import analyse, compile_plan
    from goclaw_events.saga.compiler import compile_saga, work_of
    from goclaw_events.saga.definition import SagaDefinition
    from goclaw_events.saga.loading import load_file

    if (file is None) == (run is None) or (version is not None and run is None):
        msg = "give either FILE, or --run and perhaps --version"
        raise click.UsageError(msg)
    path: dict[str, Any] = {}
    definition = None
    whole = None
    if file is not None:
        loaded = load_file(file)
        if isinstance(loaded, SagaDefinition):
            whole, forth = compile_saga(loaded), way_forth(loaded)
            definition, compiled = work_of(forth), compile_saga(forth)
            path = {"compensations": compensations_of(whole)}
        else:
            definition, compiled = loaded, compile_plan(loaded)
    else:
        compiled, path = _plan_of_run(settings, str(run), version)
    learned = _learned(settings, compiled.name) if history else {}
    weights = weights_of(compiled, definition, learned)
    analysis = analyse(compiled, {task: weight.expected_s for task, weight in weights.items()})
    if as_json:
        emit({**plan_as_json(compiled, analysis, weights), **path})
    elif form == "json":
        found = {**plan_as_json(compiled, analysis, weights), **path}
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    elif form == "mermaid":
        click.echo(plan_as_mermaid(whole or compiled, analysis), nl=False)
    elif form == "dot":
        click.echo(plan_as_dot(whole or compiled, analysis), nl=False)
    else:
        _print_plan(compiled, analysis, weights, sources=history)
        if whole is None:
            _print_path(path)
        else:
            _print_undone(path["compensations"])


def _plan_of_run(settings: Settings, run: str, version: int | None) -> tuple[Plan, dict[str, Any]]:
    """Return a version of a run's plan, and how it came to that."""
    from goclaw.asking import ask
    from goclaw_events.plan import unpack_plan

    found = ask(settings, "path.show", run=run, version=version, min_position="now")
    return unpack_plan(found.pop("plan")), found


def _print_path(path: dict[str, Any]) -> None:
    if not path:
        return
    click.echo(f"\nversion {path['version']} of the plan of run {path['run_id']}")
    rows = [
        (str(one["version"]), one["at"], one["change"], one["sender"], one["reason"])
        for one in path["versions"]
    ]
    if rows:
        print_table(("version", "made", "change", "by", "reason"), rows)


def _print_undone(compensations: list[dict[str, Any]]) -> None:
    from goclaw.render_saga import HEADERS, compensation_rows

    click.echo(
        "\nWhere a step fails, in reverse order:" if compensations else "\nNothing is undone."
    )
    if compensations:
        print_table(HEADERS, compensation_rows(compensations))


def _learned(settings: Settings, name: str) -> dict[str, LearnedDuration]:
    """Return what the runs of a data directory teach of a definition's tasks."""
    from goclaw.asking import ask
    from goclaw_projections.durations import LearnedDuration

    found = ask(settings, "durations.of", name=name, min_position="now")
    learned = {task: LearnedDuration(**duration) for task, duration in found.items()}
    if not learned:
        say(f"no task of {name} has completed there yet: nothing was learned")
    return learned


def _print_plan(
    compiled: Plan, analysis: Analysis, weights: dict[str, Weight], *, sources: bool
) -> None:
    from goclaw.render_plan import TABLE_HEADERS, plan_summary, plan_table

    headers, rows = plan_table(compiled, analysis, weights, sources=sources)
    critical = TABLE_HEADERS.index("critical")
    if sys.stdout.isatty():
        from rich.table import Table

        table = Table(*headers, box=None, header_style="bold")
        for row in rows:
            table.add_row(*row, style="bold" if row[critical] else None)
        console().print(table)
    else:
        print_table(headers, rows)
    click.echo("\n" + plan_summary(compiled, analysis))


@click.command()
@click.argument("subject", type=click.Choice(["workflow", "saga"]))
@json_option
def schema(subject: str, as_json: bool) -> None:
    """Print the JSON Schema of workflow or saga definitions, for editors and generators."""
    from goclaw_events.definition import WorkflowDefinition
    from goclaw_events.saga.definition import SagaDefinition

    model = SagaDefinition if subject == "saga" else WorkflowDefinition
    described = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    described |= model.model_json_schema(by_alias=True)
    if as_json:
        emit(described)
    else:
        click.echo(json.dumps(described, indent=2, ensure_ascii=False))
