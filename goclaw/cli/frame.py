"""The frame around every command: lazy import, one error boundary, exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from goclaw.cli.output import emit, say
from goclaw.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, meaning_of
from goclaw_events.errors import CodedError

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM: Final = "goclaw"
EXIT_PIPE_CLOSED: Final = 141
"""What a shell shows for a program that wrote to a closed pipe (128 + SIGPIPE)."""


class Entry(NamedTuple):
    """Where a command lives (`module:attribute`), and what `--help` says of it."""

    target: str
    help: str


class LazyCommands(MutableMapping[str, click.Command]):
    """Commands by name; a command's module is imported when the command is asked for."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self.entries = entries
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            module, _, attribute = self.entries[name].target.partition(":")
            command = getattr(importlib.import_module(module), attribute)
            self._loaded[name] = _with_debug(command)
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self.entries or name in self._loaded

    def __iter__(self) -> Iterator[str]:
        return iter({**self.entries, **self._loaded})

    def __len__(self) -> int:
        return len({**self.entries, **self._loaded})


class LazyGroup(click.Group):
    """A group that lists its commands, in the table's order, without importing any."""

    def __init__(self, name: str, *, entries: Mapping[str, Entry], **kwargs: Any) -> None:
        super().__init__(name, LazyCommands(entries), **kwargs)
        self.entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the table."""
        return list(self.commands)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the list of commands from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self.entries.items()])


def run(command: click.Command, args: Sequence[str]) -> int:
    """Run a command inside the error boundary and return its exit code.

    A command that returns an int, or calls `ctx.exit(code)`, chooses its exit code.
    """
    if "_GOCLAW_COMPLETE" in os.environ:
        return int(command.main(args=list(args), prog_name=PROGRAM, standalone_mode=False) or 0)
    # Read before any parsing: they also hold for an error in the command line itself.
    before_dashes = list(args)[: list(args).index("--")] if "--" in args else list(args)
    as_json, debug = "--json" in before_dashes, "--debug" in before_dashes
    try:
        code = _invoke(command, args, as_json=as_json, debug=debug)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has gone; what is still buffered must not raise at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE_CLOSED
    return code


def _invoke(command: click.Command, args: Sequence[str], *, as_json: bool, debug: bool) -> int:
    try:
        with command.make_context(PROGRAM, list(args)) as ctx:
            result = command.invoke(ctx)
            return result if isinstance(result, int) else EXIT_OK
    except click.exceptions.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, EOFError, click.Abort):
        return _report("interrupted", "interrupted", EXIT_INTERRUPTED, as_json=as_json)
    except BrokenPipeError:
        raise
    except click.ClickException as error:
        return _report_usage(error, as_json=as_json)
    except CodedError as error:
        _trace(debug=debug)
        code = meaning_of(error.code).exit_code
        hint, details = error.hint, error.details
        return _report(error.code, error.message, code, hint, details, as_json=as_json)
    except Exception as error:  # noqa: BLE001 - the outermost frame: nothing else would report it
        _trace(debug=debug)
        hint = "this is a fault in Goclaw" + ("" if debug else "; --debug shows the traceback")
        code = meaning_of(CodedError.code).exit_code
        text = f"{type(error).__name__}: {error}"
        return _report(CodedError.code, text, code, hint, as_json=as_json)


def _report_usage(error: click.ClickException, *, as_json: bool) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return EXIT_USAGE
    hint = ""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f"see `{error.ctx.command_path} --help`"
    return _report("usage", error.format_message(), EXIT_USAGE, hint, as_json=as_json)


def _report(
    code: str,
    message: str,
    exit_code: int,
    hint: str = "",
    details: Mapping[str, Any] | None = None,
    *,
    as_json: bool,
) -> int:
    say(f"error[{code}]: {message}" + (f"\n  hint: {hint}" if hint else ""))
    if as_json:
        error = {"code": code, "message": message, "hint": hint, "details": dict(details or {})}
        emit({"error": error})
    return exit_code


def _trace(*, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()


def _with_debug(command: click.Command) -> click.Command:
    """Let a command, and every command below it, take `--debug`."""
    if isinstance(command, click.Group):
        for child in command.commands.values():
            _with_debug(child)
    elif not any("--debug" in param.opts for param in command.params):
        option = click.Option(
            ["--debug"],
            is_flag=True,
            expose_value=False,
            help="Show the traceback of an error.",
        )
        command.params.append(option)
    return command
