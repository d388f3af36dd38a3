"""Shell completion: scripts for three shells, and candidates from what is there."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import goclaw
from goclaw.cli import main
from goclaw_events.definition import WorkflowDefinition

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = {"goclaw.engine", "pydantic", "pydantic_settings", "rich", "structlog", "yaml"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It calls this program, and names the variable that asks for candidates."""
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert "goclaw" in out
    assert f"_GOCLAW_COMPLETE={shell}_complete" in out


def candidates(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str
) -> list[str]:
    """Return what would be offered behind a line."""
    with monkeypatch.context() as patch:
        patch.setenv("_GOCLAW_COMPLETE", "bash_complete")
        patch.setenv("COMP_WORDS", line)
        patch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        with pytest.raises(SystemExit):
            main([])
    return [text.removeprefix("plain,") for text in capsys.readouterr().out.split()]


async def test_ids_and_names_are_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the engine that runs, or as the last one left them; none where there is nothing."""
    monkeypatch.setenv("GOCLAW_DATA_DIR", str(tmp_path / "d"))

    def offered(line: str) -> list[str]:
        return candidates(monkeypatch, capsys, line)

    assert offered("goclaw runs show ") == []
    assert "runs" in offered("goclaw ru")
    definition = WorkflowDefinition.model_validate({"name": "hi", "tasks": {"w": {"wait": 0}}})
    async with goclaw.Engine(tmp_path / "d") as engine:
        for run_id in ("abc1", "abc2", "other"):
            await engine.run(definition, run_id=run_id)
        await engine.register(definition, version="v1")
        async with goclaw.Client(tmp_path / "d") as client:
            await client.runs()  # the views have seen everything
        asked = await in_process(tmp_path, "goclaw runs show abc")
        assert asked == ["abc1", "abc2"]
        assert await in_process(tmp_path, "goclaw submit h") == ["hi"]
        assert await in_process(tmp_path, "goclaw workflows show hi@") == ["hi@v1"]
    assert offered("goclaw runs show abc") == ["abc1", "abc2"]
    assert offered("goclaw runs show ") == ["other", "abc2", "abc1"]
    assert offered("goclaw runs tail @") == ["@last"]
    data_dir = str(tmp_path / "d")
    monkeypatch.delenv("GOCLAW_DATA_DIR")
    assert offered(f"goclaw runs cancel --data-dir {data_dir} ot") == ["other"]


async def in_process(tmp_path: Path, line: str) -> list[str]:
    """Return what another process offers, and see that it loads little for it."""
    import asyncio

    code = (
        "import sys, atexit\nfrom goclaw.cli import main\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\nmain([])"
    )
    environ = os.environ | {
        "_GOCLAW_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
        "GOCLAW_DATA_DIR": str(tmp_path / "d"),
    }
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], env=environ, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert HEAVY & set(done.stderr.split()) == set()
    return [text.removeprefix("plain,") for text in done.stdout.split()]
