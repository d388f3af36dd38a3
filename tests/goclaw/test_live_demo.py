"""The demo of live control: steered, interrupted, resumed, and a majority."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw.cli import main
from goclaw.demo.live import SEEN_BEFORE
from tests.goclaw.processes import last_json

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_writer_is_steered_interrupted_and_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it wrote before is there, each way was taken, and the panel's majority counts."""
    assert main(["demo", "--live", "--data-dir", str(tmp_path), "--json"]) == 0
    told = last_json(capsys.readouterr().out)
    assert (told["status"], told["steered"], told["interrupted"]) == (
        "completed", "consumed", "interrupted",
    )  # fmt: skip
    assert (told["attempts"], told["verdict"]) == (2, "publish")
    text = told["text"]
    assert text.startswith("It is well known")
    assert text.index("Write first.") > 0
    assert text.endswith("That is all.")
    assert len(text.split()) >= 2 * SEEN_BEFORE


def test_it_is_shown_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A path, or two demos at once, is an error of usage."""
    for more in ("--pipeline", "here"):
        assert main(["demo", "--live", more, "--data-dir", str(tmp_path)]) == 2
        assert "audit nothing" in capsys.readouterr().err
