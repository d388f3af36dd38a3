"""`goclaw import`: workflows of other systems as definitions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from goclaw.cli.options import json_option
from goclaw.cli.output import emit, say
from goclaw.errors import UsageInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.group("import")
def import_() -> None:
    """Turn foreign workflows into definitions."""


@import_.command(short_help="A WfCommons instance (WfFormat 1.5).")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--scale", type=click.FloatRange(0, 1e9), default=0.0, show_default=True, metavar="S",
    help="Multiply each recorded runtime; 0: the tasks do nothing.",
)  # fmt: skip
@click.option(
    "--concurrency", type=click.IntRange(1, 1_000_000), default=64, show_default=True, metavar="N",
    help="How many tasks run at a time.",
)  # fmt: skip
@click.option(
    "-o", "--output", "out", type=click.Path(dir_okay=False, path_type=Path), metavar="OUT",
    help="Write to this file: JSON if it ends in .json, otherwise YAML  [default: YAML to stdout]",
)  # fmt: skip
@json_option
def wfformat(file: Path, scale: float, concurrency: int, out: Path | None, as_json: bool) -> None:
    """Turn the WfCommons instance in FILE (WfFormat 1.5) into a definition.

    Its tasks keep their ids and parents, and sleep for their recorded runtimes times S in one
    lane. https://wfcommons.org has instances.
    """
    from goclaw.wfformat import import_wfformat

    definition = import_wfformat(file, scale=scale, concurrency=concurrency)
    if out is None:
        if as_json:
            emit(definition)
        else:
            click.echo(_yaml(definition), nl=False)
        return
    text = json.dumps(definition, indent=2) + "\n" if out.suffix == ".json" else _yaml(definition)
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        msg = f"{out} cannot be written: {error.strerror or error}"
        raise UsageInvalid(msg, hint="choose another file with -o") from error
    tasks = definition["tasks"]
    counts = {
        "tasks": len(tasks),
        "needs": sum(len(task.get("needs", ())) for task in tasks.values()),
    }
    if as_json:
        emit({"file": str(out), "name": definition["name"], **counts})
    else:
        say(f"{out}: {definition['name']}, {counts['tasks']} tasks, {counts['needs']} needs")


def _yaml(definition: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(definition, sort_keys=False, allow_unicode=True, width=100)
