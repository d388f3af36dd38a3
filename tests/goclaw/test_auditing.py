"""The auditor in an engine: what it finds is a fact, and stands where people look."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import goclaw
from goclaw.agents import REGISTRY
from goclaw.cli import main
from goclaw.config import AuditSettings, Settings
from goclaw.doctor import examine
from goclaw_actors.auditor import Auditor
from goclaw_actors.messages import TaskReported
from goclaw_events.errors import LogDamaged
from goclaw_events.facts import RunStuck

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from goclaw_actors.message import Message


def settings_of(path: Path) -> Settings:
    """Return settings with an auditor that looks at once."""
    return Settings(data_dir=path, audit=AuditSettings(every_s=0.05))


def lose_reports(engine: goclaw.Engine) -> None:
    """Have the engine lose what tasks tell their runs, until it is opened again."""
    for dispatcher in engine.parts.node.dispatchers:
        turns: Any = dispatcher.turns
        deliver = turns.deliver

        def but_reports(message: Message, deliver: Any = deliver) -> None:
            if type(message.body) is not TaskReported:
                deliver(message)

        turns.deliver = but_reports


async def get_stuck(path: Path) -> None:
    """Have a run stuck, and wait until the engine recorded it."""
    workflow = goclaw.Workflow("echoes")
    workflow.task("a", agent="goclaw.echo")
    async with goclaw.Engine(settings=settings_of(path), agents=REGISTRY) as engine:
        lose_reports(engine)
        await engine.submit(workflow, run_id="lost1")
        async for found in engine.subscribe(run_id="lost1"):
            if isinstance(found.fact, RunStuck):
                break
        assert found.fact.evidence == [["task/lost1/a", "it has ended, and its run was never told"]]
        why = await engine.why("lost1")
        assert (why["stuck"], why["reason"]["because"][0]["kind"]) == (True, "nothing")


async def cancel(path: Path) -> None:
    """Do what the doctor says."""
    async with goclaw.Engine(settings=settings_of(path), agents=REGISTRY) as engine:
        await engine.cancel("lost1")
        assert (await engine.result("lost1", timeout_s=30)).status == "cancelled"


def test_a_stuck_run_is_recorded_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The engine says so itself; then `runs list`, `runs show`, `why` and the doctor."""
    asyncio.run(get_stuck(tmp_path))
    there = ("--data-dir", str(tmp_path))
    assert main(["runs", "list", *there]) == 0
    assert "running (stuck)" in capsys.readouterr().out
    assert main(["runs", "show", "lost1", *there]) == 0
    assert "its run was never told" in capsys.readouterr().out
    findings = {finding.code: finding for finding in examine(tmp_path).findings}
    assert findings["run_stuck"].says == "lost1"
    assert "goclaw runs cancel lost1" in findings["run_stuck"].mend
    assert main(["why", "lost1", *there]) == 0
    assert "task a is stuck: it has ended" in capsys.readouterr().out
    asyncio.run(cancel(tmp_path))
    assert main(["runs", "list", "--json", *there]) == 0
    (record,) = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (record["status"], record["stuck"]) == ("cancelled", [])


async def test_it_is_off_where_it_is_set_so(tmp_path: Path) -> None:
    """Without `audit.every_s`, and in an engine that starts no work, nobody looks."""
    settings = Settings(data_dir=tmp_path, audit=AuditSettings(every_s=None))
    async with goclaw.Engine(settings=settings, agents=REGISTRY) as engine:
        assert engine.parts.auditing._thread.ident is None
    async with goclaw.Engine(settings=settings_of(tmp_path), idle=True) as engine:
        assert engine.parts.auditing._thread.ident is None


async def test_a_bug_in_looking_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the next round comes all the same."""
    loop, again = asyncio.get_running_loop(), asyncio.Event()
    failures = iter([RuntimeError("a bug"), LogDamaged("a bad block")])

    def look_at(_: Any, __: int) -> int:
        failure = next(failures, None)
        if failure is not None:
            raise failure
        loop.call_soon_threadsafe(again.set)
        return 0

    monkeypatch.setattr(Auditor, "look_at", look_at)
    async with goclaw.Engine(settings=settings_of(tmp_path), agents=REGISTRY):
        async with asyncio.timeout(30):
            await again.wait()
    told = [record for record in caplog.records if record.name == "goclaw.auditing"]
    assert [record.levelname for record in told] == ["ERROR", "WARNING"]
