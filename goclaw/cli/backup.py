"""`goclaw backup` and `goclaw restore`: copies of a whole data directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from goclaw.cli.options import json_option, settings_options
from goclaw.cli.output import emit, say

if TYPE_CHECKING:
    from goclaw.config import Settings
    from goclaw_events.rocks.backup import Backup


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@settings_options
@json_option
def backup(settings: Settings, directory: Path, as_json: bool) -> None:
    """Copy the data directory to DIR, which must be empty or absent; an engine may run on it.

    On the same file system files that never change are linked, not copied: take DIR to another
    disk.
    """
    from goclaw.asking import ask
    from goclaw_events.rocks.backup import Backup

    made = Backup(**ask(settings, "engine.backup", directory=str(directory.absolute())))
    _tell(directory, made, as_json=as_json)


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@settings_options
@json_option
def restore(settings: Settings, directory: Path, as_json: bool) -> None:
    """Make an empty data directory one that holds what the backup in DIR holds.

    It is verified first, and begins a new era: cursors beyond the backup are refused.
    """
    from goclaw_events.rocks.backup import restore as restore_backup

    made = restore_backup(directory, settings.data_dir)
    _tell(settings.data_dir, made, as_json=as_json)


def _tell(directory: Path, made: Backup, *, as_json: bool) -> None:
    if as_json:
        emit({"directory": str(directory), **made._asdict()})
    else:
        ends = " ".join(f"{partition}:{end}" for partition, end in enumerate(made.ends))
        say(f"{directory}: log {made.log_id}, ends at {ends}")
