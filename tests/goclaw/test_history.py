"""Full histories through the engine, its command line, its doctor, and agents of all kinds."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.cli import main
from goclaw.config import EngineSettings, Settings
from goclaw.histories import judge_histories, line_of
from goclaw.log_health import ask_engine
from goclaw.results import CommandRefused
from goclaw_events.definition import WorkflowDefinition
from tests.goclaw.processes import last_json

if TYPE_CHECKING:
    from pathlib import Path

WAIT_S = 30.0
SMALL = Settings(engine=EngineSettings(history_facts_max=100))
AGENTS = """
import goclaw


def saves(ctx):
    number = 0
    while True:
        number += 1
        ctx.save(number)


async def saves_on_loop(ctx):
    saves(ctx)


async def steps(ctx):
    number = 0
    while True:
        number += 1
        await ctx.step("count", int, number, key=str(number))


goclaw.agent("history.saves")(saves)
goclaw.agent("history.saves_apart", executor="process")(saves)
goclaw.agent("history.saves_on_loop")(saves_on_loop)
goclaw.agent("history.steps")(steps)
"""


async def listen(ctx: goclaw.TaskContext) -> str:
    """Take messages until one says `end`."""
    async for signal in ctx.signals():
        if signal.body == "end":
            break
    return "heard"


@pytest.fixture(autouse=True)
def _agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "history_agents.py").write_text(AGENTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    goclaw.agent("listen")(listen)


def workflow(agent: str) -> WorkflowDefinition:
    """Return a workflow of one agent, which is tried for as long as may be."""
    task = {"agent": agent, "retry": {"attempts": 1000, "initial": 0}}
    return WorkflowDefinition.model_validate({"name": "long", "tasks": {"a": task}})


async def talk(engine: goclaw.Engine, count: int) -> str:
    """Send messages, each once the one before is taken; return the last one's state."""
    for number in range(count):
        await engine.message("r", number, wait="consumed", timeout_s=WAIT_S)
    return "consumed"


async def cli(*args: str) -> int:
    """Run a command beside the engine."""
    return await asyncio.to_thread(main, list(args))


@pytest.mark.parametrize(
    "agent",
    [
        "history.saves",
        "history.saves_apart",
        "history.saves_on_loop",
        "history.steps",
    ],
)
def test_an_agent_that_writes_without_end_gets_the_error_at_the_call(
    agent: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In a thread, on the loop, in processes: the run fails with it, and is not tried again."""
    monkeypatch.setenv("GOCLAW_ENGINE__HISTORY_FACTS_MAX", "100")
    file = tmp_path / "long.json"
    file.write_text(workflow(agent).model_dump_json(exclude_unset=True))
    where = ("--data-dir", str(tmp_path / "d"), "--module", "history_agents", "--json")
    assert main(["run", str(file), *where]) == 1
    ended = last_json(capsys.readouterr().out)
    assert ended["status"] == "failed"
    assert ended["error"]["code"] == "history_full"
    assert "the history of task a of run" in ended["error"]["message"]
    assert "engine.history_facts_max" in ended["error"]["message"]
    run_id = ended["run_id"]
    assert main(["runs", "show", run_id, "--json", "--data-dir", str(tmp_path / "d")]) == 0
    (task,) = last_json(capsys.readouterr().out)["tasks"].values()
    assert task["attempts"] == 1


async def test_who_asks_too_much_is_refused_and_the_run_ends_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command exits 7 and says why; `why` and the doctor say it as long as it goes on."""
    where = ("--data-dir", str(tmp_path / "d"))
    async with asyncio.timeout(WAIT_S), goclaw.Engine(tmp_path / "d", settings=SMALL) as engine:
        await engine.submit(workflow("listen"), run_id="r")
        await talk(engine, 24)
        assert engine.status()["long_histories"][0]["full"] is False
        await talk(engine, 25)
        assert await cli("signal", "message", "r", "a", "--text", "more", *where) == 7
        told = capsys.readouterr().err
        assert "history_full" in told
        assert "the history of task a of run r is full: 100 facts" in told
        with pytest.raises(CommandRefused) as refused:
            await engine.adjust("r", {"priority": 5}, task="a")
        assert refused.value.code == "history_full"
        assert await cli("why", "r", "--json", *where) == 0
        (history,) = last_json(capsys.readouterr().out)["long_histories"]
        named = {name: history[name] for name in ("run_id", "task", "facts", "facts_max", "full")}
        assert named == {"run_id": "r", "task": "a", "facts": 100, "facts_max": 100, "full": True}
        assert await cli("why", "r", *where) == 0
        assert line_of(history) in capsys.readouterr().err
        health = await asyncio.to_thread(ask_engine, tmp_path / "d")
        assert health is not None
        (finding,) = [found for found in health.findings if found.code == "history_full"]
        assert finding.says == line_of(history)
        await engine.cancel("r")
        assert (await engine.result("r")).status == "cancelled"
        assert engine.status()["long_histories"] == []


def test_the_doctor_tells_long_from_full() -> None:
    """Each with some names, and how many more there are."""
    record: dict[str, Any] = {
        "name": "run r", "facts": 7, "facts_max": 9, "bytes": 1, "bytes_max": 2, "full": False,
    }  # fmt: skip
    found = list(judge_histories([record] * 7 + [{**record, "full": True}]))
    assert [(finding.code, finding.state) for finding in found] == [
        ("history_full", "warning"),
        ("history_long", "warning"),
    ]
    assert found[1].says.endswith("; and 2 more")
    assert json.dumps(found[0].says) == '"the history of run r is full: 7 of 9 facts, 1 of 2 bytes"'
    assert list(judge_histories([])) == []
