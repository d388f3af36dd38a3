"""The frame of the command line: lazy, one error boundary, documented exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest

from goclaw.cli import COMMANDS, cli, main
from goclaw.cli.frame import Entry, LazyGroup, run
from goclaw.cli.options import json_option, settings_options
from goclaw.cli.output import emit, json_line, print_table, printable
from goclaw.errors import RunNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from goclaw.config import Settings

HEAVY = {"asyncio", "goclaw.config", "msgpack", "pydantic", "pydantic_settings", "pykka", "rich",
         "rocksdict", "structlog", "yaml"}  # fmt: skip


def commands(group: click.Group = cli, path: str = "goclaw") -> Iterator[tuple[str, click.Command]]:
    """Yield every command that is no group, with the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def started(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "goclaw", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=cwd)


def test_help_imports_nothing_heavy() -> None:
    """`goclaw --help` imports click and small modules only."""
    code = (
        "import sys\nfrom goclaw.cli import main\ncode = main(['--help'])\n"
        "print(code, *sys.modules, file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    code_text, *modules = result.stderr.split()
    assert code_text == "0"
    assert HEAVY & set(modules) == set()
    assert all(name in result.stdout for name in COMMANDS)


def test_every_command_of_the_table_is_there() -> None:
    """Each entry leads to a command of that name, which says what it does."""
    for name in COMMANDS:
        command = cli.commands[name]
        assert command.name == name
        assert command.help, name


def test_every_command_takes_json_and_debug() -> None:
    """`--json` and `--debug` work everywhere, and every option has help."""
    lacking = []
    for path, command in commands():
        options = {name for param in command.params for name in param.opts}
        lacking += [f"{path} {name}" for name in ("--json", "--debug") if name not in options]
        lacking += [
            f"{path} {param.opts[0]}: help"
            for param in command.params
            if isinstance(param, click.Option) and not param.help
        ]
    assert lacking == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["dotor"], "Did you mean 'doctor'?"),
        (["config", "shwo"], "Did you mean 'show'?"),
        (["config", "show", "--jsn"], "Did you mean '--json'?"),
        (["config", "show", "extra"], "unexpected extra argument"),
    ],
)
def test_a_wrong_word_gets_a_suggestion(
    args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was meant is named; the exit code is 2, and stdout stays empty."""
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert err.startswith("error[usage]: ")
    assert out == ""


def test_no_words_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`goclaw` alone shows the help and exits with 2."""
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().err


def test_an_error_in_the_command_line_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    """With `--json` even a wrong option gives one JSON object on stdout."""
    assert main(["config", "show", "--json", "--nope"]) == 2
    out = capsys.readouterr().out
    assert json.loads(out)["error"]["code"] == "usage"


def raising(error: BaseException) -> click.Group:
    """Return a command line whose one command raises."""
    group = LazyGroup("test", entries={})

    @click.command()
    @json_option
    def fail(as_json: bool) -> None:
        emit({"as_json": as_json})
        raise error

    group.commands["fail"] = fail
    return group


def test_a_typed_error_is_shown_with_its_hint(capsys: pytest.CaptureFixture[str]) -> None:
    """The person reads code, message and hint; the exit code is the table's."""
    error = RunNotFound("there is no run r\x1b[31m1", hint="see `goclaw runs list`", run="r1")
    assert run(raising(error), ["fail", "--json"]) == 3
    out, err = capsys.readouterr()
    assert err == (
        "error[run_not_found]: there is no run r\\x1b[31m1\n  hint: see `goclaw runs list`\n"
    )
    assert json.loads(out.splitlines()[-1])["error"] == {
        "code": "run_not_found",
        "message": "there is no run r\x1b[31m1",
        "hint": "see `goclaw runs list`",
        "details": {"run": "r1"},
    }


@pytest.mark.parametrize(
    ("error", "exit_code", "code"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.Abort(), 130, "interrupted"),
        (ZeroDivisionError("by zero"), 1, "internal_bug"),
    ],
)
def test_every_end_has_its_exit_code(
    error: BaseException, exit_code: int, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Interruption is 130; an unforeseen exception is a bug of ours, shown without traceback."""
    assert run(raising(error), ["fail"]) == exit_code
    err = capsys.readouterr().err
    assert err.startswith(f"error[{code}]: ")
    assert "Traceback" not in err


def test_a_chosen_exit_code_is_kept() -> None:
    """A command may end with an exit code of its own."""
    assert run(raising(click.exceptions.Exit(7)), ["fail"]) == 7


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """`--debug` shows where an error came from, wherever it stands on the line."""
    group = raising(RunNotFound("gone"))
    group.commands["fail"].params.append(
        click.Option(["--debug"], is_flag=True, expose_value=False, help="x")
    )
    assert run(group, ["fail", "--debug"]) == 3
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "RunNotFound" in err


def test_what_follows_two_dashes_is_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` after `--` is an argument, not a wish for JSON."""
    assert main(["config", "show", "--", "--json"]) == 2
    assert capsys.readouterr().out == ""


def test_a_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    """When the reader of stdout goes away, the command ends quietly."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "goclaw", "config", "schema"]
    result = subprocess.run(
        command, stdout=writing, stderr=subprocess.PIPE, cwd=tmp_path, check=False, timeout=60
    )
    os.close(writing)
    assert (result.returncode, result.stderr) == (141, b"")


def test_settings_come_from_flags_and_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`settings_options` hands over one checked `settings`."""
    monkeypatch.chdir(tmp_path)

    @click.command()
    @settings_options
    def show(settings: Settings) -> None:
        emit([str(settings.data_dir), settings.log.level])

    group = LazyGroup("test", entries={})
    group.commands["show"] = show
    monkeypatch.setenv("GOCLAW_DATA_DIR", "from-env")
    assert run(group, ["show", "--log-level", "error"]) == 0
    assert run(group, ["show", "--data-dir", "from-flag"]) == 0
    monkeypatch.setenv("GOCLAW_PARTITIONS", "0")
    assert run(group, ["show"]) == 2
    out, err = capsys.readouterr()
    assert out == '["from-env", "error"]\n["from-flag", "info"]\n'
    assert "env:GOCLAW_PARTITIONS: partitions" in err


def test_the_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` and `version` agree."""
    assert main(["--version"]) == 0
    assert main(["version"]) == 0
    assert main(["version", "--json"]) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == second == f"goclaw {json.loads(third)['goclaw']}"


def test_config_show_names_origins(tmp_path: Path) -> None:
    """`config show --origin --json` gives value and origin of each setting on the last line."""
    (tmp_path / "goclaw.yaml").write_text("partitions: 3\n")
    result = started("config", "show", "--origin", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    shown = json.loads(result.stdout.splitlines()[-1])
    assert shown["partitions"] == {"value": 3, "origin": "file:goclaw.yaml"}
    assert shown["data_dir"] == {"value": ".goclaw", "origin": "default"}


@pytest.mark.parametrize("options", [[], ["--origin"]])
def test_config_show_prints_columns(
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`config show` prints a line for each setting."""
    monkeypatch.chdir(tmp_path)
    assert main(["config", "show", *options]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["SETTING", "VALUE", *(["ORIGIN"] if options else [])]
    assert ["partitions", "1", *(["default"] if options else [])] in rows


def test_config_validate_and_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`validate` says what was read, or exits with 2; `schema` is a JSON Schema."""
    monkeypatch.chdir(tmp_path)
    assert main(["config", "validate", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"valid": True, "file": None}
    assert main(["config", "schema"]) == 0
    assert "partitions" in json.loads(capsys.readouterr().out)["properties"]
    (tmp_path / "goclaw.yml").write_text("nope: 1\n")
    assert main(["config", "validate", "--json"]) == 2
    (fault,) = json.loads(capsys.readouterr().out)["error"]["details"]["faults"]
    assert (fault["path"], fault["origin"], fault["line"]) == ("nope", "goclaw.yml", 1)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"a": "ü\n"}, '{"a": "ü\\n"}'),
        ([float("nan"), 1.5, {"x": (float("-inf"),)}], '[null, 1.5, {"x": [null]}]'),
        (b"\x00\xff", '{"$bytes": "00ff"}'),
        ({"b", "a"}, '["a", "b"]'),
        (click.Path, None),
    ],
)
def test_any_value_is_one_line_of_json(value: Any, line: str | None) -> None:
    """Whatever a run gives back can be printed as one valid line."""
    text = json_line(value)
    assert "\n" not in text
    json.loads(text)
    assert line is None or text == line


def test_a_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns line up, and control characters in cells are written out."""
    print_table(("id", "state"), [("long-name", "ok"), ("x\n", "\x1b[0m")])
    assert capsys.readouterr().out == "ID         STATE\nlong-name  ok\nx          \\x1b[0m\n"
    assert printable("a\tb\x07\n") == "a\\x09b\\x07\n"


def test_a_lazy_group_is_a_mapping() -> None:
    """Commands may be put in beside the table, and taken out."""
    group = LazyGroup("test", entries={"version": Entry("goclaw.cli.version:version", "x")})
    group.commands["more"] = click.Command("more")
    assert list(group.commands) == ["version", "more"]
    assert len(group.commands) == 2
    assert "more" in group.commands
    del group.commands["more"]
    assert list(group.commands) == ["version"]
