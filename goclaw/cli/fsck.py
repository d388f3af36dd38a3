"""`goclaw fsck`: check a data directory, mend it, or go on without what cannot be saved."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from goclaw.cli.options import json_option, settings_options
from goclaw.cli.output import emit, printable, program
from goclaw.errors import EXIT_DAMAGED, EXIT_OK

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw.config import Settings
    from goclaw_events.rocks.fsck import Findings


@click.command()
@click.option("--repair", is_flag=True, help="Mend what can be mended without losing a fact.")
@click.option(
    "--accept-data-loss",
    "accept",
    type=click.IntRange(min=0),
    metavar="N",
    help="Mend, and give up exactly N facts: the number that `goclaw fsck` tells.",
)
@settings_options
@json_option
def fsck(settings: Settings, accept: int | None, repair: bool, as_json: bool) -> int:
    """Check the data directory of an engine that does not run, and mend it.

    Works on a log that does not open. Exits 0 if all is whole (or is again), 6 if something is
    damaged, 5 if an engine runs. The damaged log is kept, as log.damaged.N.
    """
    from goclaw_events.rocks.fsck import fsck as check

    findings = check(settings.data_dir, repair=repair, accept=accept)
    if as_json:
        emit(_as_json(findings))
    else:
        _print(findings, settings.data_dir, mending=repair or accept is not None)
    return EXIT_OK if findings.whole else EXIT_DAMAGED


def _as_json(findings: Findings) -> dict[str, Any]:
    loss = findings.loss
    return asdict(findings.report) | {
        "whole": findings.whole,
        "mended": findings.mended,
        "loss": None
        if loss is None
        else {
            "facts": loss.facts,
            "certain": loss.certain,
            "partitions": [part._asdict() | {"facts": part.facts} for part in loss.partitions],
        },
    }


def _print(findings: Findings, data_dir: Path, *, mending: bool) -> None:
    report = findings.report
    for problem in report.problems:
        click.echo(printable(f"{problem.place}: {problem.message} [{problem.code}]"))
    if report.problems_count > len(report.problems):
        click.echo(f"and {report.problems_count - len(report.problems)} more")
    for line in findings.mended:
        click.echo(printable(f"mended: {line}"))
    if findings.whole:
        click.echo(f"whole: {report.facts} facts in {report.frames} frames")
        return
    click.echo(f"{report.problems_count} problems")
    for line in _choices(findings, data_dir, mending=mending):
        click.echo(printable(line))


def _choices(findings: Findings, data_dir: Path, *, mending: bool) -> list[str]:
    """Return what can be done now, the safest first."""
    name, loss = program(), findings.loss
    again = f"{name} fsck --data-dir {data_dir}"
    lines = [f"- restore a copy: {name} restore --help"]
    if loss is None:
        if not mending and findings.report.ends:
            lines.append(f"- mend it, without losing a fact: {again} --repair")
        return ["choices:", *lines]
    lines += [
        f"- partition {part.partition} can be saved up to {part.ends}; what came behind it,"
        f" up to {part.reached}, cannot: {part.facts} facts"
        for part in loss.partitions
    ]
    if not loss.certain:
        lines.append("- what was acknowledged is not known: it may be more than is listed here")
    lines.append(f"- go on without: {again} --accept-data-loss {loss.facts}")
    return ["choices:", *lines]
