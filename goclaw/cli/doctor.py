"""`goclaw doctor`: what would keep Goclaw from working, each with what mends it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from goclaw.cli.options import json_option, settings_options
from goclaw.cli.output import emit, print_table, printable, say

if TYPE_CHECKING:
    from goclaw.config import Settings
    from goclaw.doctor import Report


@click.command()
@click.option(
    "--bundle",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write all of it, with the settings and the tail of the program's log but no value of "
    "any run, into a new tar.gz for a bug report.",
)
@settings_options
@json_option
@click.pass_context
def doctor(ctx: click.Context, settings: Settings, bundle: Path | None, as_json: bool) -> None:
    """Look at versions, the disk, the log, the views, the clock and what is left to do.

    Each problem has a code and what mends it; docs/reference/problems.md lists them.
    Exits 0, or 5 when Goclaw cannot work here, or 6 when data are damaged.
    """
    from goclaw.doctor import examine, report_record

    report = examine(settings.data_dir, settings)
    if bundle is not None:
        from goclaw.bundle import write_bundle

        names = write_bundle(bundle, report_record(report), settings)
        say(f"{bundle}: {', '.join(names)}")
    if as_json:
        emit(report_record(report))
    else:
        _print(report)
    ctx.exit(report.exit_code)


def _print(report: Report) -> None:
    versions = " ".join(f"{name} {value}" for name, value in report.versions.items())
    machine = report.machine
    click.echo(versions)
    click.echo(f"{machine['system']}, {machine['architecture']}, {machine['cores']} cores")
    rows = [(found.state, found.name, found.says) for found in report.findings]
    print_table(("state", "what", "found"), rows)
    for found in report.findings:
        if found.mend and found.state != "ok":
            click.echo(printable(f"mend {found.name} [{found.code}]: {found.mend}"))
