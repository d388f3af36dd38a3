"""Tasks that ask people, through the engine, its clients, the commands and the view `inbox`."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.asker import asked_by, proved
from goclaw.cli import main
from goclaw.results import CommandRefused
from goclaw_events.loading import definition_from

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WAIT_S = 30.0
ME = f"uid:{os.geteuid()}"


def pay(**more: Any) -> dict[str, Any]:
    """Return a workflow that pays if somebody lets it."""
    question = {
        "who": [ME], "message": "Pay ${input.sum}?", "arguments": {"sum": "${input.sum}"}, **more,
    }  # fmt: skip
    return {
        "name": "pay",
        "input": {"sum": {"default": 5}},
        "tasks": {
            "ok": {"approval": question},
            "paid": {
                "agent": "goclaw.echo", "needs": ["ok"],
                "with": {"text": "paid ${tasks.ok.result.arguments.sum}"},
            },
        },
        "output": "${tasks.paid.result.text}",
    }  # fmt: skip


@pytest.fixture(name="engine")
async def _engine(tmp_path: Path) -> AsyncIterator[goclaw.Engine]:
    async with goclaw.Engine(tmp_path / "d") as engine:
        yield engine


async def test_what_is_asked_stands_in_the_inbox_until_it_is_decided(engine: goclaw.Engine) -> None:
    """With who may decide, until when; `why` says so, too."""
    await engine.submit(definition_from(pay(deadline="1h")), run_id="r")
    await engine.submit(definition_from(pay(who=["user:nobody-of-this-name"])), run_id="other")
    wait = {"name": "w", "tasks": {"w": {"wait_for": {"signal": "go"}}}}
    await engine.submit(definition_from(wait), run_id="signal")
    (mine,) = await engine.inbox(mine=True)
    assert (mine["run_id"], mine["task"], mine["who"]) == ("r", "ok", [ME])
    assert (mine["message"], mine["arguments"], mine["state"]) == ("Pay 5?", {"sum": 5}, "open")
    assert mine["deadline"] > mine["asked_at"]
    assert [(one["run_id"], one["kind"]) for one in await engine.inbox()] == [
        ("r", "approval"), ("other", "approval"), ("signal", "signal"),
    ]  # fmt: skip
    theirs = await engine.inbox(who="user:nobody-of-this-name")
    assert [one["run_id"] for one in theirs] == ["other"]
    reason = (await engine.why("r", "ok"))["reason"]
    assert (reason["kind"], reason["details"]["who"]) == ("approval", [ME])
    await engine.pause("r", "ok")
    assert (await engine.inbox(mine=True))[0]["state"] == "held"
    await engine.resume("r", "ok")
    told = await engine.approve("r", "ok", reason="fine", arguments={"sum": 3}, sender="ann")
    assert (told.verdict, told.by, told.repeated) == ("approved", f"{ME}/ann", False)
    assert (await engine.result("r", timeout_s=WAIT_S)).unwrap() == "paid 3"
    assert await engine.inbox(mine=True) == []
    with pytest.raises(CommandRefused) as refused:
        await engine.reject("r", "ok")
    assert refused.value.code == "approval_decided"
    with pytest.raises(CommandRefused) as refused:
        await engine.approve("other", "ok", sender="user:nobody-of-this-name")
    assert refused.value.code == "approval_forbidden"
    await engine.cancel("other")
    await engine.result("other", timeout_s=WAIT_S)
    assert [one["run_id"] for one in await engine.inbox()] == ["signal"]


async def test_a_question_survives_the_engine(tmp_path: Path) -> None:
    """Who decides after a restart decides the same question; a client says it as engines do."""
    async with goclaw.Engine(tmp_path / "d") as engine:
        await engine.submit(definition_from(pay()), run_id="r")
    async with goclaw.Engine(tmp_path / "d") as engine:

        def reject() -> Any:
            with goclaw.SyncClient(tmp_path / "d") as client:
                assert [one["task"] for one in client.inbox(mine=True)] == ["ok"]
                return client.reject("r", "ok", reason="no money", decision_id="d")

        assert (await asyncio.to_thread(reject)).verdict == "rejected"
        async with goclaw.Client(tmp_path / "d") as client:
            assert (await client.reject("r", "ok", reason="no money", decision_id="d")).repeated
        ended = await engine.result("r", timeout_s=WAIT_S)
        assert (ended.status, ended.error and ended.error.code) == ("failed", "approval_rejected")


def test_the_commands_answer_what_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without an engine, too: the decision is there when one starts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOCLAW_DATA_DIR", "d")
    (tmp_path / "pay.json").write_text(json.dumps(pay()))
    assert main(["run", "pay.json", "--run-id", "r", "--timeout", "0.3"]) == 4
    capsys.readouterr()
    assert main(["inbox", "--mine", "--json"]) == 0
    assert [one["task"] for one in json.loads(capsys.readouterr().out.splitlines()[-1])] == ["ok"]
    assert main(["inbox"]) == 0
    assert "Pay 5?" in capsys.readouterr().out
    for name, tasks in ((ME, ["ok"]), ("ann", [])):
        assert main(["inbox", "--for", name, "--json"]) == 0
        found = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert [one["task"] for one in found] == tasks
    assert main(["approve", "r", "ok", "--edit", "{"]) == 2
    assert main(["approve", "r", "ok", "--edit", '{"sum": 4}', "--reason", "ok", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["by"] == ME
    assert main(["reject", "r", "ok"]) == 7
    assert f"was approved by {ME} already" in capsys.readouterr().err
    assert main(["resume", "--json"]) == 0
    capsys.readouterr()
    assert main(["runs", "result", "r"]) == 0
    assert "paid 4" in capsys.readouterr().out


def test_what_is_proved_of_who_asks() -> None:
    """The user id of the peer, and the name that this machine has for it, if it has one."""
    name = pwd.getpwuid(os.geteuid()).pw_name
    assert proved() == [ME, f"user:{name}"]

    async def as_peer() -> list[str]:
        asked_by(2**31 - 7)
        return proved()

    assert asyncio.run(as_peer()) == [f"uid:{2**31 - 7}"]
