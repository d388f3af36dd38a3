"""`goclaw version`, and the `--version` option."""

from __future__ import annotations

import click

from goclaw.cli.options import json_option
from goclaw.cli.output import emit


def goclaw_version() -> str:
    """Return the version of the installed distribution."""
    # Imported here: reading the metadata of distributions costs more than all of `--help`.
    from importlib.metadata import version as version_of

    return version_of("goclaw")


def print_version(ctx: click.Context, _param: click.Parameter, wanted: object) -> None:
    """Print the version and end, when `--version` was given."""
    if wanted and not ctx.resilient_parsing:
        click.echo(f"goclaw {goclaw_version()}")
        ctx.exit()


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Print the version."""
    if as_json:
        emit({"goclaw": goclaw_version()})
    else:
        click.echo(f"goclaw {goclaw_version()}")
