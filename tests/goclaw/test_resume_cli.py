"""`goclaw resume`: what a killed process left is gone on with, once and whole."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from goclaw.cli import main
from tests.goclaw.processes import last_json, ledger, prepare, start_blocked

if TYPE_CHECKING:
    from pathlib import Path

Called = tuple[int, list[str], str]


def called(capsys: pytest.CaptureFixture[str], *args: object) -> Called:
    """Run a command; return exit code, lines of stdout, and stderr."""
    code = main([str(arg) for arg in args])
    out = capsys.readouterr()
    return code, out.out.splitlines(), out.err


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a `goclaw run` that was killed while its second task ran."""
    here = tmp_path_factory.mktemp("killed")
    prepare(here)
    process = start_blocked(here, "--run-id", "r", "--data-dir", "data")
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -9
    return here


@pytest.fixture
def here(killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the killed folder, and work in it."""
    folder = tmp_path / "copy"
    shutil.copytree(
        killed, folder, ignore=shutil.ignore_patterns("started", "engine.sock", "__pycache__")
    )
    monkeypatch.chdir(folder)
    return folder


def test_a_killed_run_is_gone_on_with(
    capsys: pytest.CaptureFixture[str], here: Path, killed: Path
) -> None:
    """What was recorded is not done again; the lost attempt is, under its next number."""
    code, lines, _ = called(capsys, "resume", "--data-dir", "data", "--trust-dir", here, "--json")
    assert (code, last_json(lines[-1])) == (
        0,
        {"resumed": [{"run_id": "r", "status": "completed"}]},
    )
    # the input names the folder in which the run began
    assert ledger(killed) == ["first 1", "second 1", "second 2", "third 1"]
    _, lines, _ = called(capsys, "runs", "show", "r", "--data-dir", "data", "--json")
    record = last_json(lines[-1])
    assert record["result"] == ["first", "done at last", "third"]
    attempts = {task: told["attempts"] for task, told in record["tasks"].items()}
    assert attempts == {"first": 1, "second": 2, "third": 1}
    code, lines, _ = called(capsys, "replay", "--verify", "--data-dir", "data", "--json")
    assert (code, last_json(lines[-1])["verified"]) == (0, True)
    code, lines, _ = called(capsys, "resume", "--data-dir", "data", "--json")
    assert (code, last_json(lines[-1])) == (0, {"resumed": []})


def test_without_its_agents_nothing_is_started(
    capsys: pytest.CaptureFixture[str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 2 names the agents that unfinished tasks need, the runs, and the options."""
    from goclaw.agents import REGISTRY

    monkeypatch.setattr(REGISTRY, "_agents", {"work.blok": None})
    code, lines, _ = called(capsys, "resume", "--data-dir", "data", "--json")
    error = last_json(lines[-1])["error"]
    assert (code, error["code"]) == (2, "agents_missing")
    assert error["details"]["agents"] == {"work.block": ["r"], "work.step": ["r"]}
    assert "--module" in error["hint"]
    assert "work.blok" in error["hint"]
    _, lines, _ = called(capsys, "runs", "show", "r", "--data-dir", "data", "--json")
    assert last_json(lines[-1])["tasks"]["second"]["attempts"] == 1


def test_a_log_that_is_not_there_is_not_found(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Exit 3, and no directory is made."""
    code, lines, _ = called(capsys, "resume", "--data-dir", tmp_path / "none", "--json")
    assert (code, last_json(lines[-1])["error"]["code"]) == (3, "not_found")
    assert not (tmp_path / "none").exists()


def test_a_run_that_fails_after_all_exits_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Every resumed run is told; for a person, in a table with the reason."""
    (tmp_path / "later.yaml").write_text(
        "name: later\ntasks:\n  pause: {wait: 300ms}\n"
        "  fail: {agent: goclaw.fail, needs: [pause], with: {message: no luck}}\n"
    )
    (tmp_path / "well.yaml").write_text("{name: well, tasks: {pause: {wait: 1500ms}}}")
    data = ("--data-dir", tmp_path / "d")
    called(capsys, "run", tmp_path / "well.yaml", *data, "--timeout", "0.01", "--run-id", "w")
    called(capsys, "run", tmp_path / "later.yaml", *data, "--timeout", "0.01", "--run-id", "l")
    code, lines, err = called(capsys, "resume", *data)
    assert code == 1
    assert [line.split()[:3] for line in lines[1:]] == [
        ["w", "well", "completed"],
        ["l", "later", "failed"],
    ]
    assert "no luck [agent_error] (task fail)" in lines[-1]
    assert "run l failed" in err
    code, lines, _ = called(capsys, "resume", *data)
    assert (code, lines) == (0, ["nothing to resume: every run has ended"])
