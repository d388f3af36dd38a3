"""`goclaw dead`: dead letters: list them, show one, have them run again, give them up."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import click

from goclaw.cli.options import input_options, json_option, settings_options
from goclaw.cli.output import emit, json_line, print_table, printable, say
from goclaw.errors import EXIT_CONFLICT, EXIT_OK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from goclaw.config import Settings

_KINDS: Final = ("task", "saga", "message")
_STATES: Final = ("open", "redriven", "discarded", "withdrawn")
_RATE: Final = re.compile(r"(\d+(?:\.\d+)?)/(s|m|h)\Z")
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3_600}
_MESSAGE_CHARS = 60
_SECONDS_DIGITS = 19
_letters = click.argument("letters", nargs=-1, metavar="[LETTER]...")
_all = click.option("--all", "every", is_flag=True, help="All tasks and sagas that are open.")
_group = click.option("--group", metavar="GROUP", help="All that died of the same.")
_reason = click.option("--reason", default="", metavar="TEXT", help="Why; it is recorded.")


@click.group()
def dead() -> None:
    """List dead letters; show one, have them run again, give them up.

    LETTER is RUN/TASK of a task that has no attempt left, ~SAGA of a saga whose compensations
    failed, or PARTITION:NUMBER of a parked message.
    """


def _rate(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    """Return letters a second."""
    if text is None:
        return None
    found = _RATE.match(text)
    if found is None or not float(found[1]):
        msg = f"{text!r} is no rate: write 10/s, 30/m or 100/h"
        raise click.BadParameter(msg)
    return float(found[1]) / _UNIT_S[found[2]]


@dead.command("list")
@click.option("--state", type=click.Choice(_STATES), default="open", show_default=True,
              help="Only letters in this state.")  # fmt: skip
@click.option("--kind", type=click.Choice(_KINDS), help="Only letters of this kind.")
@click.option("--group", metavar="GROUP", help="Only letters that died of the same.")
@click.option("--groups", is_flag=True, help="Show of what they died, and how many, in place.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, metavar="N",
              show_default=True, help="At most N.")  # fmt: skip
@click.option("--cursor", metavar="CURSOR", help="Go on where a listing ended.")
@settings_options
@json_option
def list_letters(
    settings: Settings,
    state: str,
    kind: str | None,
    group: str | None,
    groups: bool,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """List dead letters, those first that died first. Works with and without an engine."""
    from goclaw.asking import ask

    if groups:
        page = ask(settings, "dead.groups", limit=limit, cursor=cursor, min_position="now")
        found, show = page["groups"], _print_groups
    else:
        wanted = {"state": state, "kind": kind, "group": group, "limit": limit, "cursor": cursor}
        page = ask(settings, "dead.list", **wanted, min_position="now")
        found, show = page["letters"], _print_letters
    if as_json:
        emit(found)
    elif found:
        show(found)
    else:
        say("no dead letters")
    if page["cursor"] is not None:
        say(f"there may be more than these {limit}; --limit shows more, as does")
        say(f"  --cursor {page['cursor']}")


@dead.command()
@click.argument("letter")
@settings_options
@json_option
def show(settings: Settings, letter: str, as_json: bool) -> None:
    """Show a dead letter: what it was given, and how its attempts failed."""
    from goclaw.asking import ask

    record = ask(settings, "dead.show", letter=letter, min_position="now")
    if as_json:
        emit(record)
    else:
        _print_record(record)


@dead.command()
@_letters
@_all
@_group
@click.option("--rate", "rate_per_s", callback=_rate, metavar="N/s",
              help="At most N a second, through the lane /redrive.")  # fmt: skip
@input_options
@_reason
@settings_options
@json_option
def redrive(
    settings: Settings,
    letters: Sequence[str],
    every: bool,
    group: str | None,
    rate_per_s: float | None,
    inputs: Mapping[str, str],
    input_file: Path | None,
    reason: str,
    as_json: bool,
) -> int:
    """Have dead letters run again: the letters named, a group, or all.

    A task begins its next generation, with all its attempts; --input lays values over its
    parameters. The failed compensations of a saga are tried again. A parked message, which has to
    be named, is delivered once more. At a rate they wait in the lane /redrive, and begin by
    themselves: the command does not wait, and may be repeated. Works with and without an engine;
    what is redriven runs in one. Exits 7 if any was refused.
    """
    from goclaw.run_input import given_values

    edits = given_values(inputs, input_file, "redrive") if inputs or input_file else None
    found = _chosen(settings, letters, every=every, group=group, kind="task" if edits else None)
    return _decide(settings, "redrive", found, reason, rate_per_s, as_json=as_json, edits=edits)


@dead.command()
@_letters
@_all
@_group
@_reason
@settings_options
@json_option
def discard(
    settings: Settings,
    letters: Sequence[str],
    every: bool,
    group: str | None,
    reason: str,
    as_json: bool,
) -> int:
    """Give dead letters up: the letters named, a group, or all.

    A task fails, and its run goes on as after any failure; a saga is resolved, which takes a
    --reason; a parked message, which has to be named, is put away. Exits 7 if any was refused.
    """
    found = _chosen(settings, letters, every=every, group=group, kind=None)
    return _decide(settings, "discard", found, reason, None, as_json=as_json)


def _chosen(
    settings: Settings, letters: Sequence[str], *, every: bool, group: str | None, kind: str | None
) -> list[Mapping[str, Any]]:
    """Return the letters that are meant; raises `LetterNotFound`."""
    from goclaw.asking import ask
    from goclaw.dead import in_bulk, listing_of

    if bool(letters) + every + (group is not None) != 1:
        msg = "name letters, or give --group, or --all"
        raise click.UsageError(msg)
    if letters:
        return [ask(settings, "dead.show", letter=letter, min_position="now") for letter in letters]
    found: list[Mapping[str, Any]] = []
    params = listing_of("open", kind, group)
    while True:
        page = ask(settings, "dead.list", **params)
        found += filter(in_bulk, page["letters"])
        if page["cursor"] is None:
            if not found:
                say(f"no open dead letter is of group {group}" if group else "no open dead letters")
            return found
        params["cursor"] = page["cursor"]


def _decide(
    settings: Settings,
    what: str,
    letters: Sequence[Mapping[str, Any]],
    reason: str,
    rate_per_s: float | None,
    *,
    as_json: bool,
    edits: Mapping[str, Any] | None = None,
) -> int:
    from goclaw.asking import ask
    from goclaw.dead import bulk_of, parts_of, summed

    answers = (
        ask(settings, f"dead.{what}", **bulk_of(some, reason, edits, rate_per_s))
        for some in parts_of(letters)
    )
    found = summed(answers)
    if as_json:
        emit({**found, "rate_per_s": rate_per_s} if what == "redrive" else found)
    else:
        for refused in found["refused"]:
            say(f"{refused['letter']}: {refused['message']} [{refused['code']}]")
        _print_done(what, found, rate_per_s)
    return EXIT_CONFLICT if found["refused"] else EXIT_OK


def _print_done(what: str, found: Mapping[str, Sequence[Any]], rate_per_s: float | None) -> None:
    """Say what was done, and how what was only planned goes on."""
    done, before, refused = (len(found[name]) for name in ("done", "repeated", "refused"))
    again = f" ({before} of them before)" if before else ""
    if rate_per_s is None or not done:
        say(f"{what}: {done} done{again}, {refused} refused")
        return
    say(f"{what}: {done} planned{again}, {refused} refused")
    say(f"  they begin by themselves, one every {1 / rate_per_s:g} s at most")
    say("  goclaw lanes show /redrive counts those that wait, goclaw lanes pause /redrive stops it")


def _print_letters(found: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        (
            letter["letter"], letter["name"] or letter["target"],
            letter["reason"] + (", planned" if letter["planned_at"] else ""),
            letter["times"], letter["died_at"][:_SECONDS_DIGITS] + "Z", letter["group"],
            letter["code"], letter["message"][:_MESSAGE_CHARS],
        )
        for letter in found
    ]  # fmt: skip
    print_table(("letter", "of", "reason", "times", "died", "group", "code", "message"), rows)


def _print_groups(found: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        (
            group["group"], group["open"], group["total"],
            group["last_at"][:_SECONDS_DIGITS] + "Z", group["code"],
            group["message"][:_MESSAGE_CHARS],
        )
        for group in found
    ]  # fmt: skip
    print_table(("group", "open", "total", "last", "code", "message"), rows)


def _print_record(record: Mapping[str, Any]) -> None:
    closed = record["closed_at"]
    facts = [
        ("letter", record["letter"]),
        ("kind", record["kind"]),
        ("state", record["state"]),
        ("of", record["name"] or record["target"]),
        ("reason", record["reason"]),
        ("died", f"{record['died_at']} (times: {record['times']})"),
        ("error", f"{record['message']} [{record['code']}]"),
        ("group", record["group"]),
        ("planned", record["planned_at"] or ""),
        ("closed", "" if closed is None else f"{closed} {record['by'] or ''}"),
        ("why", record["why"] or ""),
        ("params", json_line(record["params"]) if "params" in record else ""),
        *(("alarm", f"{step}: {text} [{code}]") for step, code, text in record.get("alarm", ())),
        ("parked", json_line(record["parked"]) if record.get("parked") else ""),
    ]
    for head, text in facts:
        if text:
            click.echo(f"{head:<10} {printable(str(text))}")
    if record.get("failures"):
        click.echo()
        rows = [(f["attempt"], f["code"], f["message"]) for f in record["failures"]]
        print_table(("attempt", "code", "message"), rows)
