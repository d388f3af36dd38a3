"""The documents: what they show is what happens.

Blocks of `sh` are run, in an empty folder, in their order, with the files that the document shows
(a block whose first line is `# name.yaml` or `# name.py` is a file). Blocks of `console` show what
takes too long, or ends badly on purpose: their commands are parsed, not run.
"""

from __future__ import annotations

import json
import re
import runpy
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from goclaw.cli import cli, main
from goclaw.cli.frame import PROGRAM
from tests.goclaw.test_wfformat import instance

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\S+\.(?:yaml|py))\n")
SETS_UP = "bash scripts/"
EXPECTED = {"README.md": "hello you, again", "docs/quickstart.md": "completed 6"}
"""What the commands of a document print, so that it is seen that they did something."""


def blocks(document: str) -> Iterator[tuple[str, str]]:
    """Yield language and text of each block of a document."""
    for found in BLOCK.finditer((ROOT / document).read_text(encoding="utf-8")):
        yield found[1], found[2]


def documents(language: str) -> list[str]:
    """Return the documents that have a block of a language."""
    kept = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")]
    names = sorted({path.relative_to(ROOT).as_posix() for path in kept})
    return [name for name in names if any(found == language for found, _ in blocks(name))]


@pytest.mark.parametrize("document", documents("sh"))
def test_every_command_of_the_document_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    document: str,
) -> None:
    """In an empty folder, in their order, with the files that the document shows; each exits 0."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "instance.json").write_text(json.dumps(instance()))
    commands = 0
    for language, text in blocks(document):
        named = FILE.match(text)
        if named is not None:
            (tmp_path / named[1]).write_text(text)
        if language == "python" and (named is None or "asyncio.run" in text):
            path = tmp_path / (named[1] if named else "unnamed.py")
            path.write_text(text)
            runpy.run_path(str(path), run_name="__main__")
            commands += 1
        for line in text.splitlines() if language == "sh" else ():
            words = shlex.split(line, comments=True)
            if words and not line.startswith(SETS_UP):
                assert words[0] == PROGRAM, f"a block of sh holds {line!r}: write `console`"
                assert main(words[1:]) == 0, f"{line}: {capsys.readouterr().err}"
                commands += 1
    assert commands > 0 or document == "CONTRIBUTING.md"
    assert EXPECTED.get(document, "") in capsys.readouterr().out


@pytest.mark.parametrize("document", documents("console"))
def test_every_command_that_is_only_shown_exists(document: str) -> None:
    """Its name and options parse; a script that it names is there."""
    shown = 0
    for language, text in blocks(document):
        for line in text.splitlines() if language == "console" else ():
            if not line.startswith("$ "):
                continue  # what the command prints
            words = shlex.split(line[2:], comments=True)
            shown += 1
            if words[0] in ("python", "bash"):
                assert (ROOT / words[1]).is_file(), f"{document} names {words[1]}"
            else:
                assert words[0] == PROGRAM, line
                parse(cli, PROGRAM, words[1:])
    assert shown > 0


def parse(command: click.Command, name: str, args: list[str]) -> None:
    """Parse a command line down to its last command; raise click's error where it is wrong."""
    context = command.make_context(name, args)
    if isinstance(command, click.Group):
        found, child, rest = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        assert child is not None, f"{name} has no command {found}"
        parse(child, str(found), rest)
