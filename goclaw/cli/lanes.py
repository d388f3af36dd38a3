"""`goclaw lanes`: what is in lanes, and changing them while they work."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import click

from goclaw.cli.completing import lane_names
from goclaw.cli.options import command_id_option, json_option, settings_options, version_option
from goclaw.cli.output import emit, print_table, say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from goclaw.config import Settings

DECLARED: Final = "declared"
"""As the value of a limit: what is declared holds again."""
_LANE: Final = click.argument("lane", metavar="LANE", shell_complete=lane_names)


@click.group()
def lanes() -> None:
    """List lanes, show one; change, pause, drain it while it works.

    LANE is DEFINITION/LANE, or /LANE for one that all definitions share.
    """


def _change_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what every change takes, handed over as one `change: dict`."""

    @click.option(
        "--by", "claimed", default="", metavar="NAME",
        help="Who asks; recorded beside the user that the system knows.",
    )  # fmt: skip
    @version_option("lane", "lanes show")
    @command_id_option
    @functools.wraps(command)
    def with_change(
        *args: object,
        claimed: str,
        if_version: int | None,
        command_id: str | None,
        **kwargs: object,
    ) -> Any:
        change = {"claimed": claimed, "if_version": if_version, "command_id": command_id}
        return command(*args, change=change, **kwargs)

    return with_change


def _changing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add all that a command takes which only says which lane to change."""
    for option in (json_option, settings_options, _change_options, _LANE):
        command = option(command)
    return command


@lanes.command("list")
@click.option("--definition", metavar="NAME", help="Only the lanes of this definition.")
@click.option("--busy", is_flag=True, help="Only lanes with tasks in them.")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=100, metavar="N", show_default=True,
    help="At most N.",
)  # fmt: skip
@settings_options
@json_option
def list_lanes(
    settings: Settings, definition: str | None, busy: bool, limit: int, as_json: bool
) -> None:
    """List lanes: what is in them, their limits, and how they are.

    Works with and without an engine. A `*` marks a limit that was set live.
    """
    from goclaw.asking import ask

    wanted = {"definition": definition, "busy": busy, "limit": limit}
    page = ask(settings, "lanes.list", **wanted, min_position="now")
    if as_json:
        emit(page["lanes"])
    elif page["lanes"]:
        headers = ("lane", "mode", "running", "limit", "queued", "oldest waits", "rate")
        print_table(headers, [_row(lane) for lane in page["lanes"]])
    else:
        say("no lanes")
    if page["cursor"] is not None:
        say(f"there may be more than these {limit}; --limit shows more")


@lanes.command()
@_LANE
@settings_options
@json_option
def show(settings: Settings, lane: str, as_json: bool) -> None:
    """Show a lane: its limits, declared and set live, what is in it, who changed it."""
    from goclaw.asking import ask

    found = ask(settings, "lanes.show", lane=lane, min_position="now")
    if as_json:
        emit(found)
        return
    print_table(("", ""), _summary(found))
    click.echo()
    names = [*found["declared"], *(name for name in found["live"] if name not in found["declared"])]
    rows = [
        (name, _limit(found["limits"][name]), _limit(found["declared"].get(name)),
         _limit(found["live"].get(name)))
        for name in names
    ]  # fmt: skip
    print_table(("limit", "in force", "declared", "live"), rows)


@lanes.command("set")
@_LANE
@click.argument("limits", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--reset", is_flag=True, help="First take back all that was set live before.")
@_change_options
@settings_options
@json_option
def set_limits(
    settings: Settings,
    lane: str,
    limits: Sequence[str],
    reset: bool,
    change: dict[str, Any],
    as_json: bool,
) -> None:
    """Set limits of a lane, until they are taken back: whatever is declared meanwhile.

    NAME is that of a definition: concurrency, capacity, per_tenant, per_key, ageing,
    rate.per_second, rate.burst, rate.kind, scale.min, scale.max, resources.UNIT, weights.TENANT.
    NAME=declared takes one back. What runs goes on; nothing is started before the lane is within
    its limits.
    """
    if not limits and not reset:
        raise click.UsageError("name a limit, or --reset")
    said = {"limits": _limits(limits), "reset": reset}
    _change(settings, "set", lane, {**change, **said}, as_json=as_json)


@lanes.command()
@_changing
def pause(settings: Settings, lane: str, change: dict[str, Any], as_json: bool) -> None:
    """Let a lane start nothing more. What runs goes on, and what comes waits."""
    _change(settings, "pause", lane, change, as_json=as_json)


@lanes.command()
@_changing
def resume(settings: Settings, lane: str, change: dict[str, Any], as_json: bool) -> None:
    """Let a lane go on that is paused, or draining."""
    _change(settings, "resume", lane, change, as_json=as_json)


@lanes.command()
@click.option("--wait", is_flag=True, help="Until nothing waits or runs in it any more.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
    help="Wait at most so long; the lane goes on draining.",
)  # fmt: skip
@_changing
def drain(
    settings: Settings,
    lane: str,
    wait: bool,
    timeout_s: float | None,
    change: dict[str, Any],
    as_json: bool,
) -> None:
    """Let a lane take nobody new in, and work on what it has.

    A task that comes meanwhile fails with `lane_draining`. What is tried again was let in before.
    """
    if timeout_s is not None and not wait:
        raise click.UsageError("--timeout says how long to --wait")
    if not wait:
        _change(settings, "drain", lane, change, as_json=as_json)
        return
    from goclaw.asking import ask
    from goclaw.cli.draining import wait_until_drained

    done = ask(settings, "lanes.drain", lane=lane, **change)
    wait_until_drained(settings, lane, timeout_s)
    if as_json:
        emit({**done, "running": 0, "queued": 0})
    else:
        say(f"{lane}: drained")


def _change(
    settings: Settings, what: str, lane: str, params: Mapping[str, Any], *, as_json: bool
) -> None:
    from goclaw.asking import ask

    done = ask(settings, f"lanes.{what}", lane=lane, **params)
    if as_json:
        emit(done)
        return
    found = ask(settings, "lanes.show", lane=lane, min_position=done["position"] or "now")
    changed = "as it was" if done["repeated"] else f"version {done['version']}"
    live = ", ".join(f"{name} {_limit(value)}" for name, value in found["live"].items())
    say(f"{lane}: {found['mode']}, {changed}" + (f"; set live: {live}" if live else ""))


def _limits(texts: Sequence[str]) -> dict[str, Any]:
    """Read NAME=VALUE, NAME.FIELD=VALUE; raises `BadParameter`."""
    import json

    said: dict[str, Any] = {}
    for text in texts:
        name, equals, written = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE")
        try:
            value: Any = None if written == DECLARED else json.loads(written)
        except ValueError:
            value = written
        name, _, field = name.partition(".")
        if not field:
            said[name] = value
        elif not isinstance(said.setdefault(name, {}), dict):
            raise click.BadParameter(f"{name} is given twice")
        else:
            said[name][field] = value
    return said


def _row(lane: Mapping[str, Any]) -> tuple[object, ...]:
    live = "*" if "concurrency" in lane["live"] else ""
    waits_s = lane["oldest_waits_s"]
    rate = _limit(lane["limits"].get("rate")) + ("*" if "rate" in lane["live"] else "")
    return (
        lane["lane"], _mode(lane), lane["running"], f"{_limit(lane['concurrency'])}{live}",
        lane["queued"], "" if waits_s is None else f"{waits_s:.1f}s", rate,
    )  # fmt: skip


def _mode(lane: Mapping[str, Any]) -> str:
    if lane["poisoned"]:
        return f"given up [{lane['poisoned']}]"
    if lane["mode"] == "open" and lane["held_until"]:
        return "held"
    empty = not (lane["running"] or lane["queued"])
    return "drained" if lane["mode"] == "draining" and empty else str(lane["mode"])


def _summary(lane: Mapping[str, Any]) -> list[tuple[str, object]]:
    waits_s = lane["oldest_waits_s"]
    rows: list[tuple[str, object]] = [
        ("lane", lane["lane"]),
        ("mode", _mode(lane)),
        ("running", lane["running"]),
        ("queued", lane["queued"]),
        ("oldest waits", "" if waits_s is None else f"{waits_s:.1f}s"),
        ("when full", lane["overflow"] or ""),
        ("declared by", lane["declared_by"]),
        ("version", lane["version"]),
    ]
    if lane["held_until"]:
        rows.append(("held until", lane["held_until"]))
    if lane["changed_by"]:
        who = lane["changed_by"] + (f" ({lane['changed_as']})" if lane["changed_as"] else "")
        rows.append(("changed", f"{lane['changed_at']} by {who}"))
    return rows


def _limit(value: object) -> str:
    """Write a limit on one line."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return " ".join(f"{name}={item}" for name, item in value.items())
    return str(value)
