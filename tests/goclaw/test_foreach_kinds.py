"""Lists whose items are asked of people, wait for signals, are sagas, or collect."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.builder import ITEM
from goclaw.cli import main
from goclaw.errors import ItemsUnknown, UsageInvalid
from goclaw.results import CommandRefused
from goclaw.testing import TestEngine
from goclaw_actors.executors.agents import AgentRegistry
from goclaw_actors.task.child import child_id
from goclaw_events.loading import definition_from
from tests.goclaw.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ME = f"uid:{os.geteuid()}"
CASES = ["a", "b", "c"]


@pytest.fixture(name="booked")
def _booked() -> list[str]:
    return []


@pytest.fixture(name="engine")
async def _engine(tmp_path: Path, booked: list[str]) -> AsyncIterator[goclaw.Engine]:
    async def echo(ctx: goclaw.TaskContext, value: Any = None) -> Any:
        return value

    async def book(ctx: goclaw.TaskContext, city: str) -> str:
        if city == "nowhere" and ctx.task_id == "hotel":
            raise goclaw.Fail("no room", code="sold_out")
        if city == "slow" and ctx.task_id == "hotel":
            booked.append("waits")
            await asyncio.sleep(3600)
        booked.append(f"{ctx.task_id} {city}")
        return city

    async def cancel(ctx: goclaw.TaskContext, city: str | None = None) -> None:
        booked.append(f"undone {city}")

    agents = AgentRegistry()
    for name, agent in (("echo", echo), ("book", book), ("cancel", cancel)):
        agents.register(name, agent)
    async with goclaw.Engine(tmp_path / "d", agents=agents) as opened:
        yield opened


async def asked(engine: goclaw.Engine, count: int) -> list[dict[str, Any]]:
    """Return what waits for an answer, once it is so many."""

    async def look() -> list[dict[str, Any]] | None:
        found = await engine.inbox()
        return found if len(found) == count else None

    return await eventually(look)


def approving(items: Any, **task: Any) -> Any:
    """Return a workflow that asks about each item of a list."""
    question = {"who": [ME], "message": "Pay ${item.to}?", "arguments": "${item}"}
    more = {**question, **task.pop("approval", {})}
    tasks = {
        "list": {"agent": "echo", "with": {"value": items}},
        "ok": {"foreach": "${tasks.list.result}", "needs": ["list"], "approval": more, **task},
    }
    return definition_from({"name": "pay", "tasks": tasks, "output": "${tasks.ok.result}"})


async def test_people_are_asked_about_each_item(
    engine: goclaw.Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All at once; the inbox names what `approve` takes, as does the number beside the run."""
    bills = [{"to": name} for name in CASES]
    how = {"approval": {"on_reject": "skip"}, "item_results": "outcomes"}
    await engine.submit(approving(bills, **how), run_id="r")
    items = child_id("r", "ok", 0, 1)
    found = await asked(engine, 3)
    assert [(one["run_id"], one["task"], one["message"]) for one in found] == [
        (items, f"ok:{at}", f"Pay {name}?") for at, name in enumerate(CASES)
    ]
    assert (await engine.why("r", "ok:1"))["reason"]["kind"] == "approval"
    assert await engine.pause("r", "ok:1") == "paused"
    assert [one["state"] for one in await engine.inbox()] == ["open", "held", "open"]
    await engine.resume("r", "ok:1")
    data = ["--data-dir", str(tmp_path / "d")]
    given = ["approve", found[0]["run_id"], found[0]["task"], "--edit", '{"to": "x"}']
    assert await asyncio.to_thread(main, [*given, *data]) == 0
    assert await asyncio.to_thread(main, ["reject", "r", "ok:1", *data, "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["run_id"], told["task"], told["verdict"]) == (items, "ok:1", "rejected")
    with pytest.raises(CommandRefused) as refused:
        await engine.approve("r", "ok:1")
    assert refused.value.code == "approval_decided"
    await engine.approve("r", "ok:2")
    outcomes = (await engine.result("r")).unwrap()
    assert [one["status"] for one in outcomes] == ["completed", "skipped", "completed"]
    assert [one["result"] and one["result"]["arguments"] for one in outcomes] == [
        {"to": "x"}, None, {"to": "c"},
    ]  # fmt: skip
    assert await engine.inbox() == []


async def test_a_list_of_questions_ends_by_its_rules(engine: goclaw.Engine) -> None:
    """So many at a time as said; a rejection fails the list; a cancel leaves nobody asked."""
    bills = [{"to": name} for name in CASES]
    await engine.submit(approving(bills, parallel=1), run_id="one")
    for at in (0, 1):
        (only,) = await asked(engine, 1)
        assert only["task"] == f"ok:{at}"
        await engine.approve("one", f"ok:{at}") if at == 0 else await engine.reject("one", "ok:1")
    failed = await engine.result("one")
    assert failed.error is not None
    assert (failed.error.code, failed.error.task) == ("approval_rejected", "ok")
    await engine.submit(approving(bills), run_id="all")
    await asked(engine, 3)
    await engine.cancel("all")
    assert (await engine.result("all")).status == "cancelled"
    assert await asked(engine, 0) == []
    late = approving(bills, approval={"deadline": "1ms", "on_deadline": "approve"})
    decided = (await engine.run(late)).unwrap()
    assert [one["approved"] for one in decided] == [True] * 3


def hearing(signal: str, **task: Any) -> Any:
    """Return a workflow that waits for a signal for each item of a list, which comes later."""
    wait = {"signal": signal, "schema": {"type": "number"}}
    tasks = {
        "open": {"wait_for": {"signal": "open"}},
        "paid": {"foreach": CASES, "needs": ["open"], "wait_for": wait, **task},
    }
    return definition_from({"name": "orders", "tasks": tasks, "output": "${tasks.paid.result}"})


async def test_each_item_waits_for_a_signal_of_its_own_name(engine: goclaw.Engine) -> None:
    """Sent to the run above it finds its way; before there are items, the sender is told so."""
    await engine.submit(hearing("paid-${item}"), run_id="r")
    with pytest.raises(ItemsUnknown):
        await engine.send_signal("r", "paid-a", 1)
    await engine.send_signal("r", "open")
    found = await asked(engine, 3)
    assert [one["signal"] for one in found] == ["paid-a", "paid-b", "paid-c"]
    items = found[0]["run_id"]
    told = await engine.send_signal("r", "paid-b", 2, wait="consumed")
    assert (told.run_id, told.task) == (items, "paid:1")
    for name, body, code in (("paid-a", "x", "signal_invalid"), ("pay-a", 1, "signal_unknown")):
        with pytest.raises(CommandRefused) as refused:
            await engine.send_signal("r", name, body)
        assert refused.value.code == code
    kept = await engine.send_signal("r", "paid-nobody", 7)
    back = await engine.send_signal("r", "paid-else", 7)
    await engine.withdraw("r", back.signal, reason="a slip")
    assert (await engine.signal_state("r", back.signal)).state == "withdrawn"
    await engine.send_signal(items, "paid-a", 1)
    await engine.send_signal("r", "paid-c", 3)
    assert (await engine.result("r")).unwrap() == [1, 2, 3]
    left = await engine.signal_state("r", kept.signal, wait="declined")
    assert left.state == "declined"


async def test_items_may_share_a_name_and_lists_may_not(engine: goclaw.Engine) -> None:
    """Each signal is one item's, in their order; two lists of one name have to be told apart."""
    await engine.submit(hearing("paid"), run_id="r")
    await engine.send_signal("r", "open")
    await asked(engine, 3)
    for n in range(3):
        await engine.send_signal("r", "paid", n)
    assert (await engine.result("r")).unwrap() == [0, 1, 2]
    each = {"foreach": ["a"], "wait_for": {"signal": "go"}}
    await engine.submit(definition_from({"name": "w", "tasks": {"a": each, "b": each}}), run_id="s")
    await asked(engine, 2)
    with pytest.raises(UsageInvalid, match="items of a, b"):
        await engine.send_signal("s", "go")
    for one in await engine.inbox():
        await engine.send_signal(one["run_id"], "go", 5)
    assert (await engine.result("s")).unwrap() == {"a": [5], "b": [5]}
    row = definition_from({"name": "w", "tasks": {"a": each, "b": {**each, "needs": ["a"]}}})
    await engine.submit(row, run_id="t")
    for n in range(2):
        (one,) = await asked(engine, 1)
        await engine.send_signal("t", "go", n, wait="consumed")
        assert one["task"] == f"{'ab'[n]}:0"
    assert (await engine.result("t")).unwrap() == [1]
    with pytest.raises(CommandRefused) as refused:
        await engine.send_signal("t", "go", 3)
    assert refused.value.code == "run_finished"


def trip() -> goclaw.Saga:
    """Return a saga of two steps."""
    saga = goclaw.Saga("trip")
    city = saga.input("city")
    undo = {"agent": "cancel", "with": {"city": saga.action.result}}
    flight = saga.step("flight", {"agent": "book", "with": {"city": city}}, undo=undo)
    saga.step("hotel", {"agent": "book", "with": {"city": city}}, needs=[flight])
    return saga


def trips(*cities: str, **task: Any) -> goclaw.Workflow:
    """Return a workflow that makes a trip to each of some cities."""
    workflow = goclaw.Workflow("trips")
    workflow.task("book", saga="trip", foreach=list(cities), with_={"city": ITEM}, **task)
    return workflow


async def test_each_item_may_be_a_saga(engine: goclaw.Engine, booked: list[str]) -> None:
    """One that fails undoes what it did, and no other; the list goes on by its rule."""
    await engine.register(trip())
    lax: dict[str, Any] = {"on_item_failure": "continue", "item_results": "outcomes"}
    found = (await engine.run(trips("rome", "nowhere", "oslo", **lax), run_id="r")).unwrap()
    assert [one["result"] for one in found] == ["rome", None, "oslo"]
    assert found[1]["error"]["code"] == "saga_compensated"
    assert sorted(booked) == [
        "flight nowhere", "flight oslo", "flight rome", "hotel oslo", "hotel rome",
        "undone nowhere",
    ]  # fmt: skip
    items = child_id("r", "book", 0, 1)
    assert {saga["status"] for saga in await engine.sagas.list()} == {"completed", "compensated"}
    assert (await engine.why("r", "book:1"))["run_id"] == items


async def test_a_cancel_of_the_run_undoes_the_trips(
    engine: goclaw.Engine, booked: list[str]
) -> None:
    """It goes down to the sagas, and the run ends when they have been undone."""
    await engine.register(trip())
    await engine.submit(trips("slow", "slow"), run_id="r")

    async def both_wait() -> bool | None:
        return booked.count("waits") == 2 or None

    await eventually(both_wait)
    await engine.cancel("r")
    assert (await engine.result("r")).status == "cancelled"
    assert booked.count("undone slow") == 2


async def test_items_collect_other_runs(engine: goclaw.Engine) -> None:
    """Each by its own labels, or of runs that it names."""
    for team in ("red", "blue"):
        one = definition_from(
            {"name": "e", "tasks": {"e": {"agent": "echo", "with": {"value": team}}}}
        )
        await engine.run(one, labels={"team": team}, run_id=team)
    each = {
        "foreach": ["red", "blue"],
        "collect": {"runs": {"labels": {"team": "${item}"}}, "members": ["${item}/e"]},
    }
    found = (await engine.run(definition_from({"name": "c", "tasks": {"c": each}}))).unwrap()
    assert [{(one["run_id"], one["task"]) for one in each["members"]} for each in found] == [
        {(team, "e"), (team, "")} for team in ("red", "blue")
    ]


async def test_each_item_has_a_deadline_of_its_own() -> None:
    """A time that it brings along: the most urgent is asked about first, and decided by then."""
    question = {
        "who": ["me"], "message": "${item.n}", "deadline": {"until": "${item.at}"},
        "on_deadline": "reject", "on_reject": "continue",
    }  # fmt: skip
    tasks = {"w": {"foreach": "${input.l}", "approval": question}}
    definition = definition_from({"name": "d", "input": {"l": {}}, "tasks": tasks})
    items = [{"n": "late", "at": "2026-03-29T00:00:00Z"}, {"n": "soon", "at": "2026-03-28T00:00Z"}]
    async with TestEngine(begin=datetime(2026, 3, 27, tzinfo=UTC)) as engine:
        await engine.submit(definition, input={"l": items}, run_id="r")
        for passed, left in (("1h", ["soon", "late"]), ("24h", ["late"])):
            await engine.advance(passed)
            assert [one["message"] for one in await engine.inbox()] == left
        await engine.advance("24h")
        found = await engine.result("r")
        assert [one["approved"] for one in found.unwrap()] == [False, False]
