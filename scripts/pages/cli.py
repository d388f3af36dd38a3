"""The page of commands: every command, argument and option, as `--help` has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from goclaw.cli import cli
from goclaw.cli.frame import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SHARED: Final = ("--config", "--data-dir", "--log-level", "--json", "--debug")
"""Options that mean the same wherever they are, so they are described once."""


def page() -> str:
    """Return the reference of the command line."""
    found = list(_commands(cli, (PROGRAM,)))
    shared = {option: help_ for command, _ in found for option, help_ in _shared(command)}
    described = "\n".join(f"| `{name}` | {shared[name]} |" for name in SHARED if name in shared)
    sections = "\n\n".join(_section(command, path) for command, path in found)
    return f"""# Commands

Written by `scripts/reference.py`; do not edit.

Results go to stdout, progress and notes to stderr. With `--json` the last line of stdout is one
JSON value, also for an error; [errors and exit codes](errors.md) lists the codes.
Most commands take:

| option | |
|---|---|
{described}
| `-h, --help` | Show the command's help and exit. |

{sections}
"""


def _commands(group: click.Group, path: Sequence[str]) -> Iterator[tuple[click.Command, str]]:
    with click.Context(group, info_name=path[-1]) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if command is None or command.hidden:
                continue
            if isinstance(command, click.Group):
                yield from _commands(command, (*path, name))
            else:
                yield command, " ".join((*path, name))


def _shared(command: click.Command) -> Iterator[tuple[str, str]]:
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.opts[-1] in SHARED:
            yield parameter.opts[-1], _cell(parameter.help or "")


def _section(command: click.Command, path: str) -> str:
    with click.Context(command, info_name=path) as context:
        usage = " ".join(command.collect_usage_pieces(context))
        rows = [
            f"| `{_cell(record[0])}` | {_cell(record[1])} |"
            for parameter in command.params
            if isinstance(parameter, click.Option) and parameter.opts[-1] not in SHARED
            if (record := parameter.get_help_record(context)) is not None
        ]
    parts = [f"## `{path}`", f"```text\n{path} {usage}\n```", _text(command.help or "")]
    if rows:
        parts.append("\n".join(("| option | |", "|---|---|", *rows)))
    return "\n\n".join(part for part in parts if part)


def _text(text: str) -> str:
    """Return help as paragraphs; what click keeps as it stands (after a backspace) is a block."""
    parts = []
    for paragraph in text.strip().split("\n\n"):
        kept = paragraph.lstrip().startswith("\b")
        lines = [line.strip() if not kept else line for line in paragraph.splitlines()]
        body = "\n".join(line for line in lines if line.strip("\b "))
        parts.append(f"```text\n{body}\n```" if kept else body)
    return "\n\n".join(parts)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
