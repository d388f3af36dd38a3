"""`goclaw sagas`: run sagas, look at them, and decide about those that wait for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from goclaw.cli.completing import saga_ids
from goclaw.cli.options import (
    allow_exec_option,
    command_id_option,
    idempotency_option,
    input_options,
    json_option,
    key_values,
    module_option,
    process_option,
    settings_options,
    trust_option,
    version_option,
)
from goclaw.cli.output import emit, json_line, json_pretty, print_table, printable, say
from goclaw.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from goclaw.config import Settings
    from goclaw.saga_foreground import SagaEnding

_SAGA = click.argument("saga", shell_complete=saga_ids)
_STATES = (
    "created", "running", "completed", "compensating", "awaiting_compensation", "compensated",
    "compensation_failed", "resolved",
)  # fmt: skip
_SECONDS_DIGITS = 19


@click.group()
def sagas() -> None:
    """Run sagas; list them, show one; compensate, retry, resolve one.

    SAGA is an id, the beginning of one, or @last.
    """


@sagas.command()
@click.argument("saga", metavar="FILE|NAME[@VERSION]")
@input_options
@click.option("--saga-id", metavar="ID", help="Its id; the same request again gives the same saga.")
@idempotency_option
@click.option(
    "--label", "labels", multiple=True, callback=key_values, metavar="KEY=VALUE",
    help="A label of the saga. May be repeated.",
)  # fmt: skip
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0, min_open=True),
              metavar="SECONDS", help="Wait at most so long; the saga itself goes on.")  # fmt: skip
@click.option("--detach", is_flag=True, help="Give it to the engine that runs, and do not wait.")
@module_option
@trust_option
@settings_options
@allow_exec_option
@process_option
@json_option
def run(
    settings: Settings,
    saga: str,
    inputs: Mapping[str, str],
    input_file: Path | None,
    saga_id: str | None,
    idempotency_key: str | None,
    labels: Mapping[str, str],
    timeout_s: float | None,
    detach: bool,
    modules: Sequence[str],
    trusted: Path | None,
    as_json: bool,
) -> int:
    """Run a saga: a file, or what is registered under a name, and wait for its end.

    The engine that runs on the data directory gets it; where none runs, this command is one for
    as long as it waits, and `goclaw sagas resume` goes on. Prints the result. Exits 0 if it
    completed, 1 if it was compensated or a person has to look.
    """
    from goclaw.saga_foreground import SagaRequest, run_saga

    request = SagaRequest(saga, inputs, input_file, saga_id, idempotency_key, labels)
    ending = run_saga(
        settings, request, modules=modules, trusted=trusted, timeout_s=timeout_s, detach=detach
    )
    if detach:
        if as_json:
            emit({"saga_id": ending.records[0]["saga_id"]})
        else:
            click.echo(ending.records[0]["saga_id"])
        return EXIT_OK
    return _conclude(ending, as_json=as_json)


@sagas.command()
@module_option
@trust_option
@settings_options
@allow_exec_option
@process_option
@json_option
def resume(settings: Settings, modules: Sequence[str], trusted: Path | None, as_json: bool) -> int:
    """Go on with every saga that is not finished, until all have ended or wait for a person.

    Where an engine runs it has gone on with them already: then they are waited for. Exits 1 if
    one ended otherwise than completed.
    """
    from goclaw.saga_foreground import resume_sagas

    ending = resume_sagas(settings, modules=modules, trusted=trusted)
    if as_json:
        emit({"resumed": [{"saga_id": r["saga_id"], "status": r["status"]}
                          for r in ending.records]})  # fmt: skip
    elif ending.records:
        _print_list(ending.records)
    else:
        say("nothing to resume: every saga has ended")
    if ending.cut_short:
        return EXIT_INTERRUPTED
    failed = any(record["status"] != "completed" for record in ending.records)
    return EXIT_FAILED if failed else EXIT_OK


@sagas.command("list")
@click.option("--status", type=click.Choice(_STATES), help="Only sagas in this state.")
@click.option("--name", metavar="NAME", help="Only sagas of this definition.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, metavar="N",
              show_default=True, help="At most N.")  # fmt: skip
@click.option("--cursor", metavar="CURSOR", help="Go on where a listing ended.")
@settings_options
@json_option
def list_sagas(
    settings: Settings,
    status: str | None,
    name: str | None,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """List sagas, newest first. Works with and without an engine.

    Those that wait for a slot are `created`; those that wait for a person `awaiting_compensation`
    or `compensation_failed`.
    """
    from goclaw.asking import ask

    wanted = {"status": status, "name": name, "limit": limit, "cursor": cursor}
    page = ask(settings, "sagas.list", **wanted, min_position="now")
    if as_json:
        emit(page["sagas"])
    elif page["sagas"]:
        _print_list(page["sagas"])
    else:
        say("no sagas")
    if page["cursor"] is not None:
        say(f"there may be more than these {limit}; --limit shows more, as does")
        say(f"  --cursor {page['cursor']}")


@sagas.command()
@_SAGA
@click.option("--timeline", is_flag=True, help="Show what happened, fact by fact.")
@click.option("--steps", is_flag=True, help="Show the durable steps that its agents did.")
@settings_options
@json_option
def show(settings: Settings, saga: str, timeline: bool, steps: bool, as_json: bool) -> None:
    """Show a saga: its steps, what is in doubt, what is undone, and who has to look."""
    from goclaw.asking import ask

    wanted = {"saga": saga, "timeline": timeline, "durable_steps": steps}
    record = ask(settings, "sagas.show", **wanted, min_position="now")
    if as_json:
        emit(record)
    else:
        _print_record(record)


@sagas.command()
@_SAGA
@click.option("--reason", default="", metavar="TEXT", help="Why; it is recorded.")
@version_option("saga", "sagas show")
@command_id_option
@settings_options
@json_option
def compensate(
    settings: Settings,
    saga: str,
    reason: str,
    as_json: bool,
    **change: Any,
) -> None:
    """Stop a saga and undo what it did, or let its manual steps be undone.

    Works with and without an engine; what undoes runs in one. Asking twice is asking once. Exits 7
    if the saga has completed.
    """
    _decide(settings, "compensate", saga, change, as_json=as_json, reason=reason)


@sagas.command()
@_SAGA
@click.option("--reason", default="", metavar="TEXT", help="Why now; it is recorded.")
@version_option("saga", "sagas show")
@command_id_option
@settings_options
@json_option
def retry(
    settings: Settings,
    saga: str,
    reason: str,
    as_json: bool,
    **change: Any,
) -> None:
    """Try compensations that failed again, with the idempotency keys that they had."""
    _decide(settings, "retry", saga, change, as_json=as_json, reason=reason)


@sagas.command()
@_SAGA
@click.option("--reason", required=True, metavar="TEXT", help="What was done; it is recorded.")
@version_option("saga", "sagas show")
@command_id_option
@settings_options
@json_option
def resolve(
    settings: Settings,
    saga: str,
    reason: str,
    as_json: bool,
    **change: Any,
) -> None:
    """End a saga that waits for a person: what is left to undo was seen to by hand."""
    _decide(settings, "resolve", saga, change, as_json=as_json, reason=reason)


def _decide(
    settings: Settings,
    what: str,
    saga: str,
    change: Mapping[str, Any],
    *,
    as_json: bool,
    **said: str,
) -> None:
    from goclaw.asking import ask
    from goclaw.sagas import decision

    found = ask(settings, "sagas.find", saga=saga, min_position="now")
    done = ask(settings, f"sagas.{what}", **decision(found["saga_id"], change, **said))
    if as_json:
        emit(done)
    else:
        again = " (again: nothing changed)" if done["repeated"] else ""
        say(f"saga {done['saga_id']}: {what}{again}")


def _conclude(ending: SagaEnding, *, as_json: bool) -> int:
    record = ending.records[0]
    if as_json:
        emit(record)
    elif record["status"] == "completed":
        click.echo(json_pretty(record["result"]))
    if ending.cut_short:
        say(f"{ending.cut_short}: saga {record['saga_id']} is {record['status']}")
        say(f"  to go on: goclaw sagas resume; to look: goclaw sagas show {record['saga_id']}")
        return EXIT_TIMEOUT if ending.cut_short == "timeout" else EXIT_INTERRUPTED
    if record["status"] == "completed":
        return EXIT_OK
    say(f"saga {record['saga_id']} is {record['status']}{_why(record['error'])}")
    say(f"  hint: goclaw sagas show {record['saga_id']}")
    return EXIT_FAILED


def _why(error: Mapping[str, Any] | None) -> str:
    if error is None:
        return ""
    step = f" (step {error['step']})" if error["step"] else ""
    return printable(f": {error['message']} [{error['code']}]{step}")


def _print_list(found: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        (
            saga["saga_id"],
            saga["name"],
            f"{saga['status']} (stuck)" if saga["stuck"] else saga["status"],
            _seconds(saga["submitted_at"]),
            _seconds(saga["ended_at"]),
            _why(saga["error"]).removeprefix(": "),
        )
        for saga in found
    ]
    print_table(("saga", "name", "status", "submitted", "ended", "why"), rows)


def _print_record(record: Mapping[str, Any]) -> None:
    resolved, parent = record["resolved"], record["parent"]
    facts = [
        ("saga", record["saga_id"]),
        ("name", record["name"]),
        ("status", record["status"]),
        ("version", str(record["version"])),
        ("submitted", record["submitted_at"]),
        ("ended", record["ended_at"] or ""),
        ("labels", " ".join(f"{key}={value}" for key, value in record["labels"].items())),
        ("parent", "" if parent is None else f"task {parent['task']} of {parent['run_id']}"),
        ("position", record["position"]),
        ("input", "given up" if record["expired"] else json_line(record["input"])),
        ("result", "" if record["result"] is None else json_line(record["result"])),
        ("cause", record["cause"] or ""),
        ("why", _why(record["error"]).removeprefix(": ")),
        ("awaits you", ", ".join(record["awaited"])),
        *(("ALARM", f"{a['step']}: {a['message']} [{a['code']}]") for a in record["alarm"]),
        *(("STUCK", f"{s['subject']}: {s['evidence']}") for s in record["stuck"]),
        ("not undone", ", ".join(record["left"])),
        ("retried", _retried(record["retried"])),
        ("resolved", "" if resolved is None else f"{resolved['reason']} ({resolved['by']})"),
    ]
    for head, text in facts:
        if text:
            click.echo(f"{head:<10} {printable(str(text))}")
    click.echo()
    is_back = record["cause"] is not None
    rows = [_step_row(name, step, is_back=is_back) for name, step in record["steps"].items()]
    print_table(("step", "action", "attempts", "in doubt", "compensation", "policy"), rows)
    if "durable_steps" in record:
        from goclaw.cli.runs import print_steps

        click.echo()
        print_steps(record["durable_steps"])
    if "timeline" in record:
        click.echo()
        print_table(
            ("position", "time", "task", "what", "detail"),
            [
                (entry["position"], entry["time"], entry["task"] or "", entry["type"],
                 entry["brief"])
                for entry in record["timeline"]
            ],
        )  # fmt: skip


def _retried(retried: Mapping[str, Any] | None) -> str:
    if retried is None:
        return ""
    why = f"{retried['reason']} " if retried["reason"] else ""
    times = f"; {retried['times']} times" if retried["times"] > 1 else ""
    return f"{why}({retried['by']}, {_seconds(retried['at'])}{times})"


def _step_row(name: str, step: Mapping[str, Any], *, is_back: bool) -> tuple[object, ...]:
    action = step["action"]
    done = "not begun" if is_back and action["status"] == "pending" else action["status"]
    doubt = "yes" if step["in_doubt"] else ""
    return name, done, action["attempts"], doubt, _undone(step), step["policy"]


def _undone(step: Mapping[str, Any]) -> str:
    """Return what became of the compensation of a step; '': its turn has not come."""
    undo = step["compensation"]
    if undo is None:
        return "none"
    if undo["status"] != "pending":
        return str(undo["status"])
    if not step["unwound"]:
        return ""
    stands = step["in_doubt"] or step["action"]["status"] == "completed"
    return "skipped" if stands and step["policy"] == "skip" else "not needed"


def _seconds(time: str | None) -> str:
    return "" if time is None else time[:_SECONDS_DIGITS] + "Z"
