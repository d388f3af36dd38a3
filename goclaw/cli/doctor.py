"""`goclaw doctor`: what would keep Goclaw from working, each with what mends it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from goclaw.cli.options import json_option, settings_options
from goclaw.cli.output import emit, print_table, printable

if TYPE_CHECKING:
    from goclaw.config import Settings
    from goclaw.doctor import Report


@click.command()
@settings_options
@json_option
@click.pass_context
def doctor(ctx: click.Context, settings: Settings, as_json: bool) -> None:
    """Look at versions, the data directory, the disk and the clock.

    Exits 0, or 5 when Goclaw cannot work here, or 6 when data are damaged.
    """
    from goclaw.doctor import examine

    report = examine(settings.data_dir)
    if as_json:
        emit(_as_json(report))
    else:
        _print(report)
    ctx.exit(report.exit_code)


def _as_json(report: Report) -> dict[str, Any]:
    flush = report.flush_ms
    return asdict(report) | {
        "ok": report.exit_code == 0,
        "flush_ms": None if flush is None else flush._asdict(),
        "findings": [finding._asdict() for finding in report.findings],
    }


def _print(report: Report) -> None:
    versions = " ".join(f"{name} {value}" for name, value in report.versions.items())
    machine = report.machine
    click.echo(versions)
    click.echo(f"{machine['system']}, {machine['architecture']}, {machine['cores']} cores")
    rows = [(found.state, found.name, found.says) for found in report.findings]
    print_table(("state", "what", "found"), rows)
    for found in report.findings:
        if found.mend and found.state != "ok":
            click.echo(printable(f"mend {found.name}: {found.mend}"))
