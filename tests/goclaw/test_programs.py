"""Programs in workflows: off unless allowed, their results used by other tasks, nothing left."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import goclaw
from goclaw.cli import main
from goclaw.errors import EXIT_FAILED, EXIT_TIMEOUT, EXIT_USAGE
from goclaw_actors.executors.errors import ExecNotAllowed
from tests.actors.executors.conftest import until
from tests.goclaw.processes import last_json, start

if TYPE_CHECKING:
    from collections.abc import Sequence

PIPELINE = """
name: pipeline
input: {words: {type: string, default: "one two three"}, program: {default: wc}}
tasks:
  say: {exec: [echo, "${input.words}"]}
  count: {exec: ["${input.program}", -w], stdin: "${tasks.say.result.stdout}", needs: [say]}
output: {count: "${tasks.count.result.stdout}", code: "${tasks.count.result.exit_code}"}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder with the workflow in it."""
    monkeypatch.chdir(tmp_path)
    Path("pipeline.yaml").write_text(PIPELINE)


def settings(allow: Sequence[str]) -> goclaw.Settings:
    """Return settings that allow some programs."""
    return goclaw.Settings.model_validate({"executors": {"exec": {"allow": list(allow)}}})


def test_a_pipeline_of_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """What one program says is the input of another, and of the run's result."""
    assert main(["run", "pipeline.yaml", "--allow-exec", "--json"]) == 0
    record = last_json(capsys.readouterr().out)
    assert record["result"] == {"count": "3\n", "code": 0}


@pytest.mark.parametrize("allow", ["", "wc", '["/bin/no-echo"]'])
def test_a_program_that_is_not_allowed_is_refused_at_submission(
    allow: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the tasks and says how to allow it; nothing is recorded."""
    monkeypatch.setenv("GOCLAW_EXECUTORS__EXEC__ALLOW", allow)
    assert main(["run", "pipeline.yaml", "--json"]) == EXIT_USAGE
    out, err = capsys.readouterr()
    error = json.loads(out)["error"]
    assert error["code"] == "exec_not_allowed"
    assert "executors.exec.allow" in err
    assert "'say' (echo)" in err
    assert not Path(".goclaw").exists()


async def test_the_library_refuses_it_too() -> None:
    """`prepare` raises; with a program allowed by name it does not."""
    path = Path("pipeline.yaml")
    async with goclaw.Engine(":memory:") as engine:
        with pytest.raises(ExecNotAllowed) as caught:
            engine.prepare(path)
    assert caught.value.details["tasks"] == {"say": "echo", "count": "${...}"}
    async with goclaw.Engine(":memory:", settings=settings(["echo", "wc"])) as engine:
        assert (await engine.run(path)).result == {"count": "3\n", "code": 0}


def test_a_program_that_a_template_yields_is_judged_when_it_is_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run fails with the same code, without another attempt."""
    monkeypatch.setenv("GOCLAW_EXECUTORS__EXEC__ALLOW", "echo,wc")
    assert main(["run", "pipeline.yaml", "--json", "--input", "program=cat"]) == EXIT_FAILED
    record = last_json(capsys.readouterr().out)
    assert record["error"]["code"] == "exec_not_allowed"
    assert record["tasks"]["count"]["attempts"] == 1


def test_a_program_is_given_secrets_and_cannot_give_them_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is fed the secret; what it says of it is redacted."""
    monkeypatch.setenv("GOCLAW_SECRET_KEY", "canary-9e7a4c1b")
    tasks = {
        "count": {"exec": ["wc", "-c"], "stdin": "${secret.KEY}"},
        "say": {"exec": ["echo", "it is ${secret.KEY}"]},
    }
    Path("w.json").write_text(json.dumps({"name": "w", "tasks": tasks}))
    assert main(["run", "w.json", "--allow-exec", "--json"]) == 0
    result = last_json(capsys.readouterr().out)["result"]
    assert result["count"]["stdout"].strip() == "15"
    assert result["say"]["stdout"] == "it is [secret KEY]\n"


def test_a_killed_engine_leaves_no_program_and_the_task_starts_again(tmp_path: Path) -> None:
    """After kill -9 of the engine its programs end, and `resume` runs the task once more."""
    script = "echo $$ >> pids; test $(wc -l < pids) -gt 1 || sleep 600; echo done"
    workflow = {"name": "w", "tasks": {"a": {"exec": ["sh", "-c", script]}}}
    Path("w.json").write_text(json.dumps(workflow))
    process = start(tmp_path, "run", "w.json", "--allow-exec")
    pids = tmp_path / "pids"
    until(lambda: pids.exists() and pids.read_text().endswith("\n"))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    first = int(pids.read_text())
    assert main(["resume", "--allow-exec", "--json"]) == 0
    assert len(pids.read_text().split()) == 2
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_a_resume_without_the_permission_begins_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Who forgot `--allow-exec` is told so, and the run is what it was."""
    Path("late.yaml").write_text(
        "{name: late, tasks: {hold: {wait: 300ms}, say: {exec: [echo, hi], needs: [hold]}}}"
    )
    run = ["run", "late.yaml", "--run-id", "r", "--timeout", "0.01", "--allow-exec"]
    assert main(run) == EXIT_TIMEOUT
    capsys.readouterr()
    for words in (["resume"], ["engine", "start"]):
        assert main([*words, "--json"]) == EXIT_USAGE
        error = last_json(capsys.readouterr().out)["error"]
        assert (error["code"], error["details"]["tasks"]) == ("exec_not_allowed", {"say": "echo"})
        assert "run r" in error["message"]
    assert main(["resume", "--allow-exec", "--json"]) == 0
    resumed = last_json(capsys.readouterr().out)
    assert resumed == {"resumed": [{"run_id": "r", "status": "completed"}]}
