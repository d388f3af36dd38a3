"""The options that commands share."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from goclaw.config import Settings

P = ParamSpec("P")
R = TypeVar("R")


def json_option(command: Callable[P, R]) -> Callable[P, R]:
    """Add `--json`, handed over as `as_json: bool`: the last stdout line is one JSON value."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON value as the last line of stdout."
    )(command)


def config_option(command: Callable[P, R]) -> Callable[P, R]:
    """Add `--config FILE`, handed over as `config: Path | None`."""
    return click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Read settings from this file only (GOCLAW_CONFIG).",
    )(command)


def settings_options(command: Callable[..., R]) -> Callable[..., R]:
    """Add `--data-dir`, `--config` and `--log-level`, handed over as one `settings: Settings`.

    Settings are loaded when the command is called; faults in them end it with exit code 2.
    """

    @config_option
    @click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        help="Write log records from this level on (GOCLAW_LOG__LEVEL).",
    )
    @click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="Where the log and the views are (GOCLAW_DATA_DIR)  [default: ./.goclaw]",
    )
    @functools.wraps(command)
    def with_settings(
        *args: object,
        config: Path | None,
        data_dir: Path | None,
        log_level: str | None,
        **kwargs: object,
    ) -> R:
        from goclaw.config_load import load_settings

        flags = {"data_dir": data_dir, "log.level": log_level}
        return command(*args, settings=load_settings(config, flags).settings, **kwargs)

    return with_settings


def idempotency_option(command: Callable[P, R]) -> Callable[P, R]:
    """Add `--idempotency-key KEY`, handed over as `idempotency_key: str | None`."""
    return click.option(
        "--idempotency-key",
        metavar="KEY",
        help="What the id follows from, with the name: the same request under it is the same one.",
    )(command)


def version_option(what: str, shown_by: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return what adds `--if-version N`, handed over as `if_version: int | None`."""
    return click.option(
        "--if-version",
        type=click.IntRange(min=0),
        metavar="N",
        help=f"Only if nobody changed the {what} since `{shown_by}` gave N.",
    )


def command_id_option(command: Callable[P, R]) -> Callable[P, R]:
    """Add `--command-id ID`, handed over as `command_id: str | None`."""
    return click.option("--command-id", metavar="ID", help="The same again changes nothing twice.")(
        command
    )


def key_values(_: click.Context, __: click.Parameter, texts: Sequence[str]) -> dict[str, str]:
    """Read `KEY=VALUE` texts: the callback of options that may be repeated."""
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            msg = f"{text!r} is not KEY=VALUE"
            raise click.BadParameter(msg)
        pairs[key] = value
    return pairs


def module_option(command: Callable[P, R]) -> Callable[P, R]:
    """Add `--module M`, handed over as `modules: tuple[str, ...]`."""
    return click.option(
        "--module",
        "modules",
        multiple=True,
        metavar="M",
        help="Import this module, from the current directory or installed: it registers agents. "
        "May be repeated (GOCLAW_AGENTS__MODULES).",
    )(command)


def trust_option(command: Callable[P, R]) -> Callable[P, R]:
    """Add `--trust-dir DIR`, handed over as `trusted: Path | None`."""
    return click.option(
        "--trust-dir", "trusted", type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="DIR", help="Import the Python files in DIR that register agents.",
    )(command)  # fmt: skip


def input_options(command: Callable[..., R]) -> Callable[..., R]:
    """Add `--input` and `--input-file`: `inputs: dict[str, str]`, `input_file: Path | None`."""
    from_file = click.option(
        "--input-file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
        help="A JSON or YAML mapping of inputs; --input wins over it.",
    )  # fmt: skip
    return click.option(
        "--input", "inputs", multiple=True, callback=key_values, metavar="KEY=VALUE",
        help="An input; JSON, or a text where the workflow wants one. May be repeated.",
    )(from_file(command))  # fmt: skip


def allow_exec_option(command: Callable[..., R]) -> Callable[..., R]:
    """Add `--allow-exec`, which changes the `settings` that the command is called with.

    Stands below `settings_options`.
    """

    @click.option(
        "--allow-exec", is_flag=True,
        help="Let tasks run any program; executors.exec.allow names single ones.",
    )  # fmt: skip
    @functools.wraps(command)
    def with_programs(*args: object, settings: Settings, allow_exec: bool, **kwargs: object) -> R:
        if allow_exec:
            from goclaw.programs import allow_any

            settings = allow_any(settings)
        return command(*args, settings=settings, **kwargs)

    return with_programs


def process_option(command: Callable[..., R]) -> Callable[..., R]:
    """Add `--process`, which changes the `settings` that the command is called with.

    Stands below `settings_options`.
    """

    @click.option(
        "--process", is_flag=True,
        help="Run sync agents that do not say where in worker processes "
        "(GOCLAW_EXECUTORS__SYNC_AGENTS=process).",
    )  # fmt: skip
    @functools.wraps(command)
    def with_processes(*args: object, settings: Settings, process: bool, **kwargs: object) -> R:
        if process:
            from goclaw.processes import in_processes

            settings = in_processes(settings)
        return command(*args, settings=settings, **kwargs)

    return with_processes
