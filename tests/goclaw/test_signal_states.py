"""Every state of a signal, and every refusal, as another process sees them through the socket."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.errors import InvalidRequest, OperationUnknown
from goclaw.wire.sync_link import SyncLink
from goclaw_events.definition import WorkflowDefinition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WAIT_S = 30.0
ELSEWHERE = """
import json
import sys

import goclaw
from goclaw.results import CommandRefused

WAIT_S = 30.0


def refused(call, *args, **named):
    try:
        call(*args, **named)
    except CommandRefused as error:
        return [error.code, error.message]
    except Exception as error:
        return [error.code, str(error)]
    return None


def told(state):
    return [state.state, state.attempt, state.reason]


with goclaw.SyncClient(sys.argv[1]) as client:
    said, wait = {}, {"timeout_s": WAIT_S}
    for number in range(16):
        early = client.message("r", number, task="then", signal_id=f"early-{number}")
        assert early.state == "accepted", early
    said["accepted"] = told(client.signal_state("r", "early-0", task="then", wait="accepted"))
    said["overflow"] = refused(client.message, "r", 16, task="then")
    followup = client.message("r", "turn", task="ear", mode="followup", wait="offered", **wait)
    said["offered"] = told(followup)
    said["consumed"] = told(client.message("r", "hi", task="ear", wait="consumed", **wait))
    slow = {"task": "ear", "mode": "coalesce", "quiet_s": 3600}
    short = client.message("r", "short", deadline_s=0.05, **slow)
    said["expired"] = told(
        client.signal_state("r", short.signal, task="ear", wait="expired", **wait))
    kept = client.message("r", "kept", signal_id="kept", sender="me", **slow)
    said["repeated"] = client.message("r", "kept", signal_id="kept", sender="me", **slow).repeated
    said["conflict"] = refused(
        client.message, "r", "other", signal_id="kept", sender="me", **slow)
    client.withdraw("r", "kept", task="ear", reason="wrong")
    said["withdrawn"] = told(
        client.signal_state("r", "kept", task="ear", wait="withdrawn", **wait))
    said["unknown"] = refused(client.message, "r", "hi", task="zz")
    said["no_run"] = refused(client.message, "zz", "hi", task="ear")
    said["empty"] = refused(client.message, "r", "hi", task="ear", signal_id="")
    client.message("r", "stop", task="ear", wait="consumed", **wait)
    said["declined"] = told(
        client.signal_state("r", followup.signal, task="ear", wait="declined", **wait))
    said["finished"] = refused(client.message, "r", "hi", task="ear")
    said["result"] = client.result("r", timeout_s=WAIT_S).result
print(json.dumps(said))
"""


async def ear(ctx: goclaw.TaskContext) -> list[Any]:
    """Take messages at boundaries, no turns, until `stop` comes, or sixteen have."""
    heard: list[Any] = []
    while "stop" not in heard and len(heard) < 16:
        chunks = ctx.stream(_ticks())
        async for _ in chunks:
            pass
        heard += [message.body for message in chunks.steered]
    return heard


async def _ticks() -> AsyncIterator[None]:
    while True:
        yield
        await asyncio.sleep(0.002)


@pytest.fixture(name="engine")
async def _engine(tmp_path: Path) -> AsyncIterator[goclaw.Engine]:
    goclaw.agent("states.ear")(ear)
    async with goclaw.Engine(tmp_path / "d") as engine:
        tasks: dict[str, Any] = {
            "ear": {"agent": "states.ear"},
            "then": {"agent": "states.ear", "needs": ["ear"]},
        }
        definition = WorkflowDefinition.model_validate({"name": "talk", "tasks": tasks})
        await engine.submit(definition, run_id="r")
        yield engine


async def test_another_process_can_wait_for_every_state(
    engine: goclaw.Engine, tmp_path: Path
) -> None:
    """Accepted, offered, consumed, declined, expired, withdrawn; and each refusal has its code."""
    assert engine.state == "running"
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ELSEWHERE, str(tmp_path / "d"), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(other.communicate(), 2 * WAIT_S)
    said = json.loads(output)
    assert said["accepted"] == ["accepted", 0, ""]
    assert said["offered"] == ["offered", 1, ""]
    assert said["consumed"] == ["consumed", 1, ""]
    assert said["expired"] == ["expired", 1, "its deadline was over"]
    assert said["withdrawn"] == ["withdrawn", 1, "wrong"]
    assert said["declined"] == ["declined", 1, "the task completed"]
    assert said["repeated"] is True
    codes = {name: said[name][0] for name in ("overflow", "conflict", "unknown", "no_run", "empty")}
    assert codes == {
        "overflow": "signals_full",
        "conflict": "command_conflict",
        "unknown": "task_not_found",
        "no_run": "run_not_found",
        "empty": "invalid_id",
    }
    assert said["overflow"][1] == "16 messages wait for task then of run r already"
    assert said["finished"] == ["task_finished", "task ear of run r is completed already"]
    assert said["result"] == list(range(16)), "what waited for a task that had not begun is lost"


async def test_what_no_signal_is_is_invalid(engine: goclaw.Engine, tmp_path: Path) -> None:
    """An unknown type, an unknown mode, an unknown field: each is named, and nothing recorded."""
    assert engine.state == "running"

    def ask(operation: str, **params: Any) -> None:
        with SyncLink(tmp_path / "d") as link:
            link.ask(operation, {"run_id": "r", "task": "ear", "signal_id": "s", **params})

    with pytest.raises(OperationUnknown, match=r"signal\.shout"):
        await asyncio.to_thread(ask, "signal.shout")
    for wrong in ({"mode": "shout"}, {"loud": True}, {"deadline_s": -1.0}):
        with pytest.raises(InvalidRequest, match=next(iter(wrong))):
            await asyncio.to_thread(ask, "signal.message", body="hi", **wrong)
