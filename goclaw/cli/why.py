"""`goclaw why`: say what a run or a saga, or a task of one, waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from goclaw.cli.completing import run_ids
from goclaw.cli.options import json_option, settings_options
from goclaw.cli.output import emit, printable, say
from goclaw.watch_tables import seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from goclaw.config import Settings

MINUTE_S: Final = 60
HOUR_S: Final = 3600
DAY_S: Final = 86_400
_ANSWERED: Final = frozenset({"signal", "approval"})
"""Kinds of waiting that a deadline may end; nobody can expect an answer."""


@click.command()
@click.argument("run", shell_complete=run_ids)
@click.argument("task", required=False)
@click.option(
    "--saga", "is_saga", is_flag=True, help="RUN is a saga, also where a run is so named."
)
@settings_options
@json_option
def why(settings: Settings, run: str, task: str | None, is_saga: bool, as_json: bool) -> None:
    """Say what RUN waits for, or its task TASK: the whole chain, who holds it, and until when.

    RUN is a run or a saga: an id, the beginning of one, or @last; TASK a task, a step or, as
    STEP.compensation, what undoes one. Each line stands below what it keeps waiting. Works with
    and without an engine. Nothing is changed.
    """
    from goclaw.asking import ask
    from goclaw.histories import line_of

    found = ask(settings, "why", run=run, task=task, saga=is_saga, min_position="now")
    if as_json:
        emit(found)
        return
    for line in lines_of(found["reason"]):
        click.echo(printable(line))
    for history in found.get("long_histories", ()):
        say(line_of(history))
    if found["stuck"]:
        mend = "goclaw sagas compensate" if "saga_id" in found else "goclaw runs cancel"
        say(f"nothing will wake it; {mend} {found.get('saga_id') or found['run_id']} ends it")
    elif not found["engine"] and found["reason"]["kind"] != "ended":
        again = "goclaw sagas resume" if "saga_id" in found else "goclaw resume"
        say(f"no engine runs, so nothing goes on; goclaw engine start, or {again}")


def lines_of(reason: Mapping[str, Any], head: str = "", below: str = "") -> Iterator[str]:
    """Yield a reason and all below it, a line each, drawn as a tree."""
    yield f"{head}{reason['says']}{_times(reason)}"
    left = [*reason["holders"], *reason["because"]]
    hidden = reason["details"].get("holders", 0) - len(reason["holders"])
    for at, child in enumerate(left, 1):
        is_last = at == len(left) and hidden <= 0
        first, rest = ("└─ ", "   ") if is_last else ("├─ ", "│  ")
        if "kind" in child:
            yield from lines_of(child, below + first, below + rest)
        else:
            yield f"{below}{first}{_holder(child)}"
    if hidden > 0:
        yield f"{below}└─ and {hidden} more"


def _holder(holder: Mapping[str, Any]) -> str:
    since = "" if holder["for_s"] is None else f", for {span(holder['for_s'])}"
    owner = f"saga {holder['saga_id']}" if "saga_id" in holder else f"run {holder['run_id']}"
    name = f"task {holder['task']} of {owner}" if "task" in holder else owner
    return f"held by {name} ({holder['definition']}, {holder['status']}){since}"


def _times(reason: Mapping[str, Any]) -> str:
    parts = []
    if reason["for_s"] is not None and not _is_shared(reason):
        parts.append(f"for {span(reason['for_s'])}")
    if reason["expected_in_s"] is not None and reason["kind"] not in ("message", "run"):
        word = "due" if reason["until"] == reason["expected_at"] else "expected"
        parts.append(f"{word} in {span(reason['expected_in_s'])}")
    elif reason["until"] is not None and reason["kind"] in _ANSWERED:
        parts.append(f"until {seconds(reason['until'])}")
    return ", ".join(["", *parts])


def _is_shared(reason: Mapping[str, Any]) -> bool:
    """Tell whether the time is said above already: a limit of a lane, since the task waits."""
    return str(reason["kind"]).startswith("lane_") or reason["kind"] == "ended"


def span(seconds: float) -> str:
    """Write a length of time as people say it: `3.2 s`, `4 min`, `2 h 5 min`, `3 d`."""
    if seconds < MINUTE_S:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004 - two digits
    whole = round(seconds)
    if whole < HOUR_S:
        return _two(whole // MINUTE_S, "min", whole % MINUTE_S, "s")
    if whole < DAY_S:
        return _two(whole // HOUR_S, "h", whole % HOUR_S // MINUTE_S, "min")
    return _two(whole // DAY_S, "d", whole % DAY_S // HOUR_S, "h")


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit}" + (f" {small} {small_unit}" if small else "")
