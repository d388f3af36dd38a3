"""Tasks that wait for signals by their names, through the engine, its clients and the commands."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.cli import main
from goclaw.errors import RunNotFound, SignalNotFound, TimedOut
from goclaw.results import CommandRefused
from goclaw_events.loading import definition_from

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WAIT_S = 30.0
SHAPE = {"type": "object", "properties": {"sum": {"type": "number"}}, "required": ["sum"]}
PAID: dict[str, Any] = {
    "name": "paid",
    "tasks": {
        "order": {"agent": "goclaw.echo", "with": {"text": "an order"}},
        "paid": {"wait_for": {"signal": "payment", "schema": SHAPE}, "needs": ["order"]},
        "told": {"wait_for": {"signal": "word"}, "needs": ["paid"]},
    },
    "output": "${tasks.paid.result.sum}",
}


@pytest.fixture(name="engine")
async def _engine(tmp_path: Path) -> AsyncIterator[goclaw.Engine]:
    async with goclaw.Engine(tmp_path / "d") as engine:
        yield engine


async def test_a_sender_learns_what_became_of_a_signal(engine: goclaw.Engine) -> None:
    """Accepted, offered to which task, consumed; or declined, because the run ended without it."""
    await engine.submit(definition_from(PAID), run_id="r")
    early = await engine.send_signal("r", "word", "hi", signal_id="w")
    assert (early.state, early.task, early.repeated) == ("accepted", "", False)
    assert (await engine.send_signal("r", "word", "hi", signal_id="w")).repeated
    with pytest.raises(TimedOut):
        await engine.signal_state("r", "w", wait="consumed", timeout_s=0.01)
    with pytest.raises(CommandRefused) as refused:
        await engine.send_signal("r", "payment", {"sum": "much"})
    assert refused.value.code == "signal_invalid"
    assert "sum is no number" in str(refused.value)
    told = await engine.send_signal(
        "r", "payment", {"sum": 5}, signal_id="p", wait="consumed", timeout_s=WAIT_S
    )
    assert (told.state, told.task) == ("consumed", "paid")
    assert (await engine.result("r", timeout_s=WAIT_S)).unwrap() == 5
    assert (await engine.signal_state("r", "w")).task == "told"
    with pytest.raises(SignalNotFound):
        await engine.signal_state("r", "none", task="paid")
    one = {"a": {"agent": "goclaw.echo", "needs": ["w"]}, "w": {"wait": "1s"}}
    never = {"n": {"wait_for": {"signal": "go"}, "when": "false", "needs": ["a"]}}
    await engine.submit(definition_from({"name": "left", "tasks": one | never}), run_id="left")
    await engine.send_signal("left", "go", signal_id="g")
    left = await engine.signal_state("left", "g", wait="declined", timeout_s=WAIT_S)
    assert (left.state, left.reason) == ("declined", "the run ended")


async def test_a_wait_survives_the_engine_and_is_seen(tmp_path: Path) -> None:
    """It holds no slot; `why` names the signal; what was sent before the restart is there."""
    tasks = {"w": {"wait_for": {"signal": "go", "deadline": "1h"}}}
    async with goclaw.Engine(tmp_path / "d") as engine:
        await engine.submit(definition_from({"name": "n", "tasks": tasks}), run_id="r")
        reason = (await engine.why("r", "w"))["reason"]
        assert (reason["kind"], reason["details"]) == ("signal", {"signal": "go"})
        assert reason["until"] is not None
        assert not (await engine.why("r"))["stuck"]
    async with goclaw.Engine(tmp_path / "d") as engine:
        assert (await engine.send_signal("r", "go", [1])).state == "accepted"
        assert (await engine.result("r", timeout_s=WAIT_S)).unwrap() == [1]


async def test_a_client_in_another_thread_sends_one(engine: goclaw.Engine, tmp_path: Path) -> None:
    """Over the socket, with and without a loop."""
    await engine.submit(definition_from(PAID), run_id="r")

    def send() -> Any:
        with goclaw.SyncClient(tmp_path / "d") as client:
            return client.send_signal("r", "payment", {"sum": 1}, sender="bank")

    assert (await asyncio.to_thread(send)).state == "accepted"
    async with goclaw.Client(tmp_path / "d") as client:
        await client.send_signal("r", "word")
        assert (await client.result("r", timeout_s=WAIT_S)).unwrap() == 1


async def test_a_signal_that_no_task_was_given_is_taken_back(engine: goclaw.Engine) -> None:
    """To do it again changes nothing; what came too late is told, and what became of it."""
    tasks = {"w": {"wait_for": {"signal": "go"}}, "x": {"wait_for": {"signal": "on"}}}
    tasks["x"]["needs"] = ["w"]  # type: ignore[assignment] # a list of names
    await engine.submit(definition_from({"name": "n", "tasks": tasks}), run_id="r")
    await engine.send_signal("r", "on", 1, signal_id="slip")
    await engine.withdraw("r", "slip", reason="a slip")
    await engine.withdraw("r", "slip")
    told = await engine.signal_state("r", "slip")
    assert (told.state, told.reason) == ("withdrawn", "a slip")
    short = await engine.send_signal("r", "on", 2, deadline_s=0.02, wait="consumed")
    assert (short.state, short.reason) == ("expired", "its deadline was over")
    with pytest.raises(CommandRefused, match="is expired already") as refused:
        await engine.withdraw("r", short.signal)
    assert refused.value.code == "signal_not_found"
    await engine.send_signal("r", "go", signal_id="go", wait="consumed", timeout_s=WAIT_S)
    with pytest.raises(CommandRefused, match="given to task w") as refused:
        await engine.withdraw("r", "go")
    assert refused.value.code == "signal_consumed"
    for say in (engine.withdraw, engine.signal_state):
        with pytest.raises(SignalNotFound, match=r"no signal never by a name.*say which"):
            await say("r", "never")
    with pytest.raises(RunNotFound):
        await engine.withdraw("none", "go")
    await engine.send_signal("r", "on", 3)
    assert (await engine.result("r", timeout_s=WAIT_S)).unwrap() == 3
    with pytest.raises(CommandRefused, match="given to task w"):
        await engine.withdraw("r", "go")


def test_the_command_sends_one_without_an_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it sends is there when an engine starts; the last line with --json is the answer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOCLAW_DATA_DIR", "d")
    (tmp_path / "paid.json").write_text(json.dumps(PAID))
    assert main(["run", "paid.json", "--run-id", "r", "--timeout", "0.3"]) == 4
    assert main(["signal", "send", "r", "paiment"]) == 3
    assert "they wait for payment, word" in capsys.readouterr().err
    assert main(["signal", "send", "r", "word", "--text", "hi"]) == 0
    assert "(word) is accepted" in capsys.readouterr().err
    kept = ["signal", "send", "r", "word", "--id", "slip", "--deadline", "3600"]
    assert main(kept) == 0
    assert main(["signal", "withdraw", "r", "slip", "--reason", "a slip"]) == 0
    assert main(["signal", "state", "r", "slip"]) == 0
    assert "signal slip is withdrawn: a slip" in capsys.readouterr().err
    sent = ["signal", "send", "r", "payment", "--body", '{"sum": 2}', "--id", "p", "--json"]
    assert main(sent) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["state"] == "accepted"
    assert main(["runs", "result", "r"]) == 0
    assert "2" in capsys.readouterr().out
