"""`goclaw config`: what the settings are, where they come from, whether they hold."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from goclaw.cli.options import config_option, json_option
from goclaw.cli.output import emit, print_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@click.group()
def config() -> None:
    """Show, check or describe the settings."""


@config.command()
@click.option("--origin", is_flag=True, help="Show where each value comes from.")
@config_option
@json_option
def show(config: Path | None, origin: bool, as_json: bool) -> None:
    """Show every setting as it holds now; secrets are not shown."""
    from goclaw.config_load import load_settings

    settings, origins, _file = load_settings(config)
    values = settings.model_dump(mode="json")
    if as_json and not origin:
        emit(values)
        return
    flat = dict(_flat(values))
    if as_json:
        emit({key: {"value": flat[key], "origin": origins[key]} for key in flat})
    elif origin:
        rows = [(key, json.dumps(value), origins[key]) for key, value in flat.items()]
        print_table(("setting", "value", "origin"), rows)
    else:
        print_table(("setting", "value"), [(k, json.dumps(v)) for k, v in flat.items()])


@config.command()
@config_option
@json_option
def validate(config: Path | None, as_json: bool) -> None:
    """Check file and environment; every fault is reported with its place."""
    from goclaw.config_load import load_settings

    file = load_settings(config).file
    if as_json:
        emit({"valid": True, "file": None if file is None else str(file)})
    else:
        click.echo(f"valid ({'no file' if file is None else file}, environment, defaults)")


@config.command()
@json_option
def schema(as_json: bool) -> None:
    """Print the JSON Schema of a configuration file."""
    from goclaw.config import Settings

    found = Settings.model_json_schema()
    if as_json:
        emit(found)
    else:
        click.echo(json.dumps(found, indent=2))


def _flat(values: Mapping[str, object], path: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value
