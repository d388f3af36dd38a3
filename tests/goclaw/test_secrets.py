"""Secrets: tasks are given them, and nothing that is kept or shown holds them."""

from __future__ import annotations

import asyncio
import io
import logging
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

import goclaw
from goclaw.cli import main
from goclaw.config import LogSettings, SecretSettings, Settings
from goclaw.config_load import load_settings
from goclaw.datadir import DataDirectory
from goclaw.errors import EXIT_NOT_FOUND, EXIT_TIMEOUT, RunNotFound
from goclaw.logs import configure_logs
from goclaw.secrets import SecretSource, SecretsUnreadable
from goclaw_actors.executors.agents import AgentRegistry
from goclaw_actors.executors.secrets import SecretMissing
from goclaw_events.errors import ValueNotStorable
from goclaw_events.facts import RunCompleted, RunFailed
from goclaw_events.tables import TABLES
from goclaw_events.value import SecretText, store
from tests.goclaw.processes import last_json

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canary-4c1b9e7a-never-written"


def agents() -> AgentRegistry:
    """Return agents that do with a secret all that an agent should not."""
    registry = AgentRegistry()

    async def leak(ctx: Any, key: str, large: int = 0) -> dict[str, Any]:
        assert key == f"Bearer {CANARY}"
        ctx.progress(0.5, f"using {key}")
        ctx.log.warning("the key is %s", key)
        logging.getLogger("somewhere").error("failed with %s", key, exc_info=ValueError(key))
        return {"key": key, "bytes": key.encode(), "filling": "x" * large}

    def break_(ctx: Any, key: str) -> None:
        raise RuntimeError(key)

    registry.register("leak", leak)
    registry.register("break", break_)
    return registry


def workflow() -> goclaw.Workflow:
    """Return a workflow whose agents leak, in small and in large results and in errors."""
    flow = goclaw.Workflow("leaks", on_failure="continue")
    key = {"key": "Bearer ${secret.KEY}"}
    flow.task("small", agent="leak", with_=key)
    flow.task("large", agent="leak", with_={**key, "large": 100_000})
    flow.task("huge", agent="leak", with_={**key, "large": 1_200_000})
    flow.task("broken", agent="break", with_=key)
    return flow


def test_a_canary_is_in_no_file_of_the_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in the log, the views, the blobs, the logs, nor in what is shown; its name is."""
    monkeypatch.setenv("GOCLAW_SECRET_KEY", CANARY)
    shown = io.StringIO()
    close_logs = configure_logs(LogSettings(level="debug", file=tmp_path / "logs" / "x"), shown)

    async def run() -> goclaw.RunResult:
        async with goclaw.Engine(tmp_path / "data", agents=agents()) as engine:
            return await engine.run(workflow())

    try:
        outcome = asyncio.run(run())
    finally:
        close_logs()
    assert outcome.status == "failed"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 10
    found = [path for path in files if CANARY.encode() in path.read_bytes()]
    assert found == []
    assert CANARY not in shown.getvalue()
    assert shown.getvalue().count("[secret KEY]") >= 4
    journal = DataDirectory(tmp_path / "data").open_journal(read_only=True)  # files may be packed
    try:
        rows = [row for table in TABLES for pair in journal.rows(table) for row in pair]
    finally:
        journal.close()
    assert not any(CANARY.encode() in row for row in rows)
    assert any(b"[secret KEY]" in row for row in rows)
    assert any(msgpack.packb(["Bearer ", "KEY", ""]) in row for row in rows)


async def test_a_secret_that_is_missing_is_refused_before_the_run(tmp_path: Path) -> None:
    """Submission names what the engine does not have, and nothing is recorded."""
    async with goclaw.Engine(tmp_path, agents=agents()) as engine:
        with pytest.raises(SecretMissing, match="KEY"):
            await engine.submit(workflow(), run_id="one")
        with pytest.raises(RunNotFound):
            await engine.result("one")


async def test_a_secret_that_went_missing_fails_the_task_at_once(tmp_path: Path) -> None:
    """The file is read again when it changes; an attempt without its secret is not repeated."""
    file = tmp_path / "secrets.env"
    file.write_text(f"KEY={CANARY}\n")
    file.chmod(0o600)
    registry = agents()
    registry.register("forget", lambda _: file.write_text("OTHER=something\n"))
    flow = goclaw.Workflow("one")
    first = flow.task("first", agent="forget")
    key = {"key": "${secret.KEY}"}
    flow.task("second", agent="leak", needs=[first], with_=key, retry={"attempts": 3})
    settings = Settings(secrets=SecretSettings(file=file))
    async with goclaw.Engine(tmp_path / "data", settings=settings, agents=registry) as engine:
        outcome = await engine.run(flow, run_id="one")
        facts = [type(found.fact).__name__ async for found in _facts_of(engine, "one")]
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.task) == ("secret_missing", "second")
    assert facts.count("AttemptStarted") == 2


async def _facts_of(engine: goclaw.Engine, run_id: str) -> Any:
    async for recorded in engine.subscribe(run_id=run_id):
        yield recorded
        if isinstance(recorded.fact, RunFailed | RunCompleted):
            return


def test_the_file_of_secrets_is_its_owners_alone(tmp_path: Path) -> None:
    """A file that others can read, or that is not there, is refused; a variable comes first."""
    file = tmp_path / "secrets.env"
    with pytest.raises(SecretsUnreadable, match="No such file"):
        SecretSource(file, {})()
    file.write_text("# comment\nA=from file\nB='quoted $A'\nC=\n")
    file.chmod(0o640)
    with pytest.raises(SecretsUnreadable, match="0640") as raised:
        SecretSource(file, {})()
    assert raised.value.hint == f"chmod 600 {file}"
    file.chmod(0o600)
    source = SecretSource(file, {"GOCLAW_SECRET_A": "from variable", "OTHER": "x"})
    assert dict(source()) == {"A": "from variable", "B": "quoted $A"}


def test_a_secret_is_no_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its variable is neither an unknown one nor shown; the file's name is a setting."""
    monkeypatch.chdir(tmp_path)
    environ = {"GOCLAW_SECRET_KEY": CANARY, "GOCLAW_SECRETS__FILE": "my.env", "HOME": "/nowhere"}
    loaded = load_settings(environ=environ)
    assert str(loaded.settings.secrets.file) == "my.env"
    assert CANARY not in str(loaded)


def test_no_value_from_outside_can_name_a_secret() -> None:
    """Inputs and results that hold the name in its stored form are refused."""
    for forged in (SecretText(("", "KEY", "")), msgpack.ExtType(2, msgpack.packb(["", "KEY", ""]))):
        with pytest.raises(ValueNotStorable):
            store({"deep": [forged]}, {})


def test_a_resume_without_the_secret_begins_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a start of the engine: it is asked for first; with it, the run completes."""
    flow = tmp_path / "late.yaml"
    flow.write_text(
        "{name: late, tasks: {hold: {wait: 300ms}, "
        'send: {agent: goclaw.echo, with: {key: "${secret.LATE_KEY}"}, needs: [hold]}}}'
    )
    data = ["--data-dir", str(tmp_path / "data")]
    monkeypatch.setenv("GOCLAW_SECRET_LATE_KEY", CANARY)
    assert main(["run", str(flow), "--run-id", "r", "--timeout", "0.01", *data]) == EXIT_TIMEOUT
    monkeypatch.delenv("GOCLAW_SECRET_LATE_KEY")
    capsys.readouterr()
    for words in (["resume"], ["engine", "start"]):
        assert main([*words, *data, "--json"]) == EXIT_NOT_FOUND
        error = last_json(capsys.readouterr().out)["error"]
        assert (error["code"], "run r" in error["message"]) == ("secret_missing", True)
        assert error["hint"].endswith("goclaw runs cancel r")
    monkeypatch.setenv("GOCLAW_SECRET_LATE_KEY", CANARY)
    assert main(["resume", *data, "--json"]) == 0
    resumed = last_json(capsys.readouterr().out)
    assert resumed == {"resumed": [{"run_id": "r", "status": "completed"}]}
