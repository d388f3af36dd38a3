"""`goclaw.Client` and `goclaw.SyncClient`: what they say is what `Engine` says."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.errors import (
    ConnectionLost,
    EngineClosed,
    EngineNotRunning,
    EngineOwned,
    InvalidRequest,
    TimedOut,
)
from goclaw.forms import document_of
from goclaw.operations.desk import EngineDesk
from goclaw.operations.ground import VIEWS_S
from goclaw_actors.errors import Stopping
from goclaw_actors.executors.agents import AgentRegistry
from goclaw_events.definition import WorkflowDefinition
from goclaw_events.loading import load_definition
from goclaw_projections.errors import ViewsBehind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from goclaw import TaskContext
    from goclaw_projections.subscription import Recorded

WAIT_S = 30.0


def said(word: str = "hi", wait: str = "0s") -> WorkflowDefinition:
    """Return a workflow that waits and says a word."""
    return WorkflowDefinition.model_validate(
        {"name": "said", "tasks": {"w": {"wait": wait}}, "output": word}
    )


async def test_a_client_does_what_an_engine_does(tmp_path: Path) -> None:
    """Submit, wait, show, list, cancel, register, follow: from another connection."""
    async with goclaw.Engine(tmp_path / "d") as engine, goclaw.Client(tmp_path / "d") as client:
        ended = await client.run(said(), labels={"team": "red"}, timeout_s=WAIT_S)
        assert ended == await engine.result(ended.run_id)
        assert ended.unwrap() == "hi"
        assert (await client.show("@last"))["labels"] == {"team": "red"}
        again = await client.submit(said(), run_id=ended.run_id, labels={"team": "red"})
        assert again.repeated
        await client.submit(said(wait="1h"), run_id="long")
        with pytest.raises(TimedOut):
            await client.result("long", timeout_s=0.01)
        await client.cancel("long", reason="enough")
        assert (await client.result("long", timeout_s=WAIT_S)).status == "cancelled"
        assert (await client.register(said(), version="v"))["version"] == "v"
        assert (await client.run("said@v", timeout_s=WAIT_S)).result == "hi"
        page = await client.runs(labels={"team": "red"}, min_position=ended.position)
        assert [run["run_id"] for run in page["runs"]] == [ended.run_id]
        here = [recorded async for recorded in client.subscribe(follow=False)]
        there = []
        async for recorded in engine.subscribe():
            there.append(recorded)
            if len(there) == len(here):
                break
        assert here == there
        by = {getattr(r.fact, "submitted_by", getattr(r.fact, "registered_by", "")) for r in here}
        assert by == {"", f"uid:{os.getuid()}"}  # who asked, as the socket proved it
        with pytest.raises(EngineOwned):
            await client.ask("engine.stop")
        copy = await client.backup(tmp_path / "copy")
        assert copy["ends"] == [engine.parts.journal.durable(0)]


def test_the_names_are_those_of_the_engine() -> None:
    """What a client and an engine both have takes the same parameters, apart from their types."""
    shared = {"submit", "run", "result", "cancel", "register", "backup", "subscribe", "status"}
    shared |= {"steer", "message", "withdraw", "signal_state", "interrupt", "pause", "resume"}
    for client in (goclaw.Client, goclaw.SyncClient):
        for name in shared:
            ours = list(inspect.signature(getattr(client, name)).parameters)
            theirs = list(inspect.signature(getattr(goclaw.Engine, name)).parameters)
            extra = {"submitted_by", "registered_by", "follow"}
            assert [p for p in ours if p not in extra] == [p for p in theirs if p not in extra]


def test_a_blocking_client(tmp_path: Path) -> None:
    """`SyncClient` asks from a thread without a loop."""
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with goclaw.Engine(tmp_path / "d"):
            ready.set()
            await asyncio.to_thread(done.wait, WAIT_S)

    server = threading.Thread(target=lambda: asyncio.run(serve()))
    server.start()
    try:
        assert ready.wait(WAIT_S)
        with goclaw.SyncClient(tmp_path / "d") as client:
            assert client.register(said())["version"] == "1"
            ended = client.run("said", timeout_s=WAIT_S)
            assert ended.result == "hi"
            assert client.show(ended.run_id)["status"] == "completed"
            assert client.status()["state"] == "running"
            client.submit(said(wait="1h"), run_id="long")
            client.cancel("long")
            assert client.runs(status="cancelled")["runs"][0]["run_id"] == "long"
            client.backup(tmp_path / "copy")
            facts = client.subscribe(follow=False)
            next(facts)
            with pytest.raises(InvalidRequest, match="subscription"):
                client.status()
            assert len(list(facts)) > 1
            types = [recorded.type for recorded in client.subscribe(run_id=ended.run_id,
                                                                    follow=False)]  # fmt: skip
            assert types[0] == "run.submitted"
            assert types[-1] == "run.completed"
    finally:
        done.set()
        server.join()
    with pytest.raises(EngineNotRunning):
        goclaw.SyncClient(tmp_path / "d")


async def test_it_goes_on_when_the_engine_comes_back(tmp_path: Path) -> None:
    """A subscription continues by its cursor, each fact once; who waits for a result gets it."""
    engine = goclaw.Engine(tmp_path / "d")
    await engine.start()
    async with goclaw.Client(tmp_path / "d") as client:
        await client.submit(said(wait="1h"), run_id="long")
        result = asyncio.create_task(client.result("long"))
        seen: list[Any] = []
        begun = asyncio.Event()

        async def follow() -> None:
            async for recorded in client.subscribe(run_id="long"):
                seen.append((recorded.seq, recorded.stream, recorded.type))
                begun.set()
                if recorded.type == "run.cancelled":
                    return

        following = asyncio.create_task(follow())
        await asyncio.wait_for(begun.wait(), WAIT_S)
        await engine.stop()
        async with goclaw.Engine(tmp_path / "d"):
            await client.cancel("long")
            assert (await asyncio.wait_for(result, WAIT_S)).status == "cancelled"
            await asyncio.wait_for(following, WAIT_S)
        assert len(seen) == len(set(seen))
        assert [kind for _, stream, kind in seen if stream == "workflow/long"] == [
            "run.submitted", "run.cancel_requested", "run.task_ended", "run.cancelled",
        ]  # fmt: skip


async def test_what_is_read_to_its_end_is_whole_when_the_engine_goes(tmp_path: Path) -> None:
    """Without `follow` it goes on, too; and says so when the engine does not come back."""
    engine = goclaw.Engine(tmp_path / "d")
    await engine.start()
    runs = [engine.run(said(str(number)), timeout_s=WAIT_S) for number in range(80)]
    await asyncio.gather(*runs)
    whole = [recorded.position async for recorded in facts_from(tmp_path / "d")]
    impatient = goclaw.Client(tmp_path / "d", reconnect_s=0.0)
    async with goclaw.Client(tmp_path / "d") as client, impatient:
        facts, others = (aiter(one.subscribe(follow=False)) for one in (client, impatient))
        seen = [(await anext(facts)).position]
        await anext(others)
        await engine.stop()
        with pytest.raises((ConnectionLost, EngineClosed)):
            async for _ in others:
                pass
        async with goclaw.Engine(tmp_path / "d"):
            seen += [recorded.position async for recorded in facts]
    assert seen[: len(whole)] == whole


async def facts_from(data_dir: Path) -> AsyncIterator[Recorded]:
    """Yield the facts that an engine has recorded, from another connection."""
    async with goclaw.Client(data_dir) as client:
        async for recorded in client.subscribe(follow=False):
            yield recorded


async def test_a_subscription_that_is_left_holds_nothing(tmp_path: Path) -> None:
    """The engine forgets it at once, not when memory is tidied up."""
    async with goclaw.Engine(tmp_path / "d") as engine:
        await engine.submit(said(wait="1h"), run_id="long")
        desk = EngineDesk(engine)
        before = engine.parts.tail.subscriptions
        facts = desk.follow("subscribe", {})
        await anext(facts)
        assert engine.parts.tail.subscriptions == before + 1
        await facts.aclose()
        assert engine.parts.tail.subscriptions == before
        desk.close()


async def test_without_an_engine_it_says_so(tmp_path: Path) -> None:
    """At once when it is opened; after `reconnect_s` when the engine does not come back."""
    with pytest.raises(EngineNotRunning):
        await goclaw.Client(tmp_path / "d").__aenter__()
    engine = goclaw.Engine(tmp_path / "d")
    await engine.start()
    client = goclaw.Client(tmp_path / "d", reconnect_s=0.1)
    async with client:
        await engine.submit(said(wait="1h"), run_id="long")
        result = asyncio.create_task(client.result("long"))
        facts = aiter(client.subscribe(run_id="long"))
        await anext(facts)
        await engine.stop()
        with pytest.raises((ConnectionLost, EngineClosed, EngineNotRunning)):
            await asyncio.wait_for(result, WAIT_S)
        with pytest.raises(EngineNotRunning):
            async for _ in facts:
                pass


async def test_a_stopping_engine_waits_for_no_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for a position that the views have not is answered, and the engine stops."""
    engine = goclaw.Engine(tmp_path / "d")
    await engine.start()
    async with goclaw.Client(tmp_path / "d", reconnect_s=0.0) as client:
        runner, waits = engine.parts.views.runner, threading.Event()
        wait_for = runner.wait_for

        def noticed(*given: Any) -> None:
            waits.set()
            wait_for(*given)

        monkeypatch.setattr(runner, "wait_for", noticed)
        asked = asyncio.create_task(client.runs(min_position="0:99999"))
        assert await asyncio.to_thread(waits.wait, WAIT_S)
        begun_s = time.monotonic()
        await engine.stop()
        assert time.monotonic() - begun_s < VIEWS_S / 2
        with pytest.raises((ViewsBehind, ConnectionLost)):
            await asked


async def test_a_stopping_engine_takes_no_more(tmp_path: Path) -> None:
    """From the first moment submissions are refused with `stopping`, while agents have grace."""
    agents = AgentRegistry()
    started, go = threading.Event(), threading.Event()

    def slow(_: TaskContext) -> None:
        started.set()
        go.wait(WAIT_S)

    agents.register("slow", slow)
    asked: list[str] = []
    engine = goclaw.Engine(tmp_path / "d", agents=agents, on_stop=lambda: asked.append("stop"))
    await engine.start()
    slowly = WorkflowDefinition.model_validate({"name": "s", "tasks": {"a": {"agent": "slow"}}})
    async with goclaw.Client(tmp_path / "d", reconnect_s=0.0) as client:
        await client.submit(slowly, run_id="one")
        assert await asyncio.to_thread(started.wait, WAIT_S)
        assert (await client.ask("engine.stop"))["state"] == "running"
        assert asked == ["stop"]
        stopping = asyncio.create_task(engine.stop())
        await asyncio.sleep(0)
        assert engine.state == "stopping"
        with pytest.raises(Stopping):
            await client.submit(said())
        assert (await client.status())["state"] == "stopping"
        go.set()
        await asyncio.wait_for(stopping, WAIT_S)


def rich() -> goclaw.Workflow:
    """Return a builder with a little of everything."""
    workflow = goclaw.Workflow("rich", labels={"a": "b"})
    workflow.lane("narrow", concurrency=1)
    size = workflow.input("size", type="integer", default=3)
    first = workflow.task("first", agent="goclaw.echo", with_={"size": size}, lane="narrow")
    workflow.task("second", agent="goclaw.sleep", needs=[first], timeout="1.5s",
                  retry={"attempts": 3, "initial": "200ms"})  # fmt: skip
    workflow.output = {"first": first.result}
    return workflow


def test_a_workflow_is_the_same_as_a_document(tmp_path: Path) -> None:
    """What a builder or a definition says is compiled to the same plan over there."""
    from goclaw_events.plan import compile_plan, pack_plan

    definition = rich().definition()
    for form in (rich(), definition):
        document = document_of(form)
        read = load_definition(document["text"], "json", document["source"])
        assert pack_plan(compile_plan(read)) == pack_plan(compile_plan(definition))
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(goclaw_events_invalid(), match="not UTF-8"):
        document_of(Path(tmp_path / "x.yaml"))


def goclaw_events_invalid() -> type[Exception]:
    """Return the error of a definition that cannot be read."""
    from goclaw_events.faults import InvalidDefinition

    return InvalidDefinition
