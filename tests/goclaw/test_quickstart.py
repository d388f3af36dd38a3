"""The documents for beginners: what they show is what happens."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from goclaw.cli import main
from tests.goclaw.test_wfformat import instance

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SETS_UP = "bash scripts/"


def blocks(document: str) -> Iterator[tuple[str, str]]:
    """Yield language and text of each block of a document."""
    for found in BLOCK.finditer((ROOT / document).read_text(encoding="utf-8")):
        yield found[1], found[2]


@pytest.mark.parametrize("document", ["README.md", "docs/quickstart.md"])
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
        named = re.match(r"# (\S+\.(?:yaml|py))\n", text)
        if named is not None:
            (tmp_path / named[1]).write_text(text)
        if language == "python" and (named is None or "asyncio.run" in text):
            path = tmp_path / (named[1] if named else "unnamed.py")
            path.write_text(text)
            runpy.run_path(str(path), run_name="__main__")
            commands += 1
        for line in text.splitlines() if language == "sh" else ():
            if not line.startswith(SETS_UP):
                words = shlex.split(line, comments=True)
                assert words[0] == "goclaw"
                assert main(words[1:]) == 0, f"{line}: {capsys.readouterr().err}"
                commands += 1
    out = capsys.readouterr().out
    assert commands >= 5
    assert ("hello you, again" in out) == (document == "README.md")
    assert ("completed 6" in out) == (document == "docs/quickstart.md")
