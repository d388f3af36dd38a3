"""`goclaw workflows`: definitions that can be run by their name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from goclaw.cli.completing import workflow_names
from goclaw.cli.options import json_option, settings_options
from goclaw.cli.output import emit, print_table, say

if TYPE_CHECKING:
    from goclaw.config import Settings

_DIGEST_CHARS = 12


@click.group()
def workflows() -> None:
    """Register definitions, list them, show one."""


@workflows.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--version", metavar="VERSION",
    help="Its version  [default: the definition's own, or the next number]",
)  # fmt: skip
@settings_options
@json_option
def register(settings: Settings, file: Path, version: str | None, as_json: bool) -> None:
    """Let the definition in FILE be run by its name, for ever in this version.

    Works with and without an engine. Exits 7 if the version is known with another body.
    """
    from goclaw.asking import ask
    from goclaw.forms import document_of

    document = document_of(file)
    found = ask(settings, "workflows.register", definition=document, version=version)
    if as_json:
        emit(found)
    else:
        click.echo(f"{found['name']}@{found['version']}")


@workflows.command("list")
@settings_options
@json_option
def list_workflows(settings: Settings, as_json: bool) -> None:
    """List registered names, each with its latest version."""
    from goclaw.asking import ask

    found = ask(settings, "workflows.list")
    if as_json:
        emit(found)
    elif found:
        rows = [
            (row["name"], row["version"], row["versions"], row["registered_at"] or "",
             row["digest"][:_DIGEST_CHARS])
            for row in found
        ]  # fmt: skip
        print_table(("name", "latest", "versions", "registered", "digest"), rows)
    else:
        say("nothing is registered")


@workflows.command()
@click.argument("name", metavar="NAME[@VERSION]", shell_complete=workflow_names)
@settings_options
@json_option
def show(settings: Settings, name: str, as_json: bool) -> None:
    """Show what is registered as NAME: its inputs, tasks or steps, and versions."""
    from goclaw.asking import ask
    from goclaw.render_saga import HEADERS, compensation_rows

    found = ask(settings, "workflows.show", name=name)
    if as_json:
        emit(found)
        return
    digest = found["digest"][:_DIGEST_CHARS]
    click.echo(f"{found['kind']} {found['name']}@{found['version']}, {digest}")
    if found["input"]:
        click.echo()
        rows = [(item["name"], item["type"], "yes" if item["required"] else "")
                for item in found["input"]]  # fmt: skip
        print_table(("input", "type", "required"), rows)
    click.echo()
    steps = [(task["id"], " ".join(task["needs"])) for task in found["tasks"]]
    print_table(("step" if found["kind"] == "saga" else "task", "needs"), steps)
    if found["compensations"]:
        click.echo()
        print_table(HEADERS, compensation_rows(found["compensations"]))
    click.echo()
    print_table(
        ("version", "registered", "digest"),
        [(row["version"], row["registered_at"] or "", row["digest"][:_DIGEST_CHARS])
         for row in found["versions"]],
    )  # fmt: skip
