"""Signals through the engine: from a sender to a handler and back, also in another process."""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.errors import RunNotFound, SignalNotFound, TimedOut, UsageInvalid
from goclaw.results import CommandRefused
from goclaw_events.definition import WorkflowDefinition
from goclaw_events.errors import InvalidId

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from goclaw import TaskContext

WAIT_S = 30.0
WORKER = """
import goclaw


@goclaw.agent("far.sync", executor="process")
def far_sync(ctx, n=0):
    state = ctx.resumed_state or []
    while not state or state[-1] != "stop":
        signal = ctx.next_signal()
        if signal.kind == "message":
            state.append(signal.body)
            ctx.save(state)
    return [state, ctx.params.get("n"), ctx.attempt]


@goclaw.agent("far.async", executor="process")
async def far_async(ctx, n=0):
    found = []

    async def tokens():
        number = 0
        while True:
            number += 1
            yield number
            await ctx.steered()

    chunks = ctx.stream(tokens())
    async for chunk in chunks:
        found.append([chunk, ctx.params.get("n")])
    return [found[-1][1], [one.body for one in chunks.steered]]
"""


def workflow(**tasks: Any) -> WorkflowDefinition:
    """Return a workflow of some tasks, each by the name of its agent or whole."""
    return WorkflowDefinition.model_validate(
        {"name": "talk", "tasks": {k: {"agent": v} if isinstance(v, str) else v
                                   for k, v in tasks.items()}}
    )  # fmt: skip


async def listen(ctx: TaskContext, topic: str = "cats") -> Any:
    """Take messages until `stop` comes; return them with the parameters of that time."""
    found: list[Any] = list(ctx.resumed_state or [])
    async for signal in ctx.signals():
        if signal.kind == "message":
            found.append([signal.body, ctx.params.get("topic"), signal.redelivered])
            ctx.save(found) if signal.body == "save" else None
            if signal.body == "fail" and ctx.attempt == 1:
                raise RuntimeError(signal.body)
            if signal.body == "stop":
                return found
    return None


@pytest.fixture(autouse=True)
def _agents() -> None:
    goclaw.agent("listen")(listen)


@pytest.fixture(name="engine")
async def _engine(tmp_path: Path) -> AsyncIterator[goclaw.Engine]:
    async with goclaw.Engine(tmp_path / "d") as engine:
        yield engine


async def test_a_sender_waits_for_what_it_wants_to_know(engine: goclaw.Engine) -> None:
    """Accepted, offered, consumed, or what came in between; a repeat gets the first answer."""
    await engine.submit(workflow(a="listen"), run_id="r")
    steered = await engine.steer("r", {"topic": "dogs"}, signal_id="p")
    assert (steered.state, steered.task) == ("consumed", "a")
    told = await engine.message("r", "hi", wait="consumed", timeout_s=WAIT_S)
    assert (told.state, told.attempt, told.repeated) == ("consumed", 1, False)
    later = await engine.message("r", "turn", mode="followup", signal_id="t", sender="me")
    assert later.state == "accepted"
    again = await engine.message("r", "turn", mode="followup", signal_id="t", sender="me")
    assert again.repeated
    with pytest.raises(CommandRefused) as conflict:
        await engine.message("r", "other", mode="followup", signal_id="t", sender="me")
    assert conflict.value.code == "command_conflict"
    slow = await engine.message("r", "slow", mode="coalesce", quiet_s=3600, deadline_s=0.05)
    assert (await engine.signal_state("r", slow.signal)).state == "offered"
    gone = await engine.signal_state("r", slow.signal, wait="consumed", timeout_s=WAIT_S)
    assert (gone.state, gone.reason) == ("expired", "its deadline was over")
    kept = await engine.message("r", "kept", mode="coalesce", quiet_s=3600)
    with pytest.raises(TimedOut):
        await engine.signal_state("r", kept.signal, wait="consumed", timeout_s=0.01)
    await engine.withdraw("r", kept.signal, reason="wrong")
    assert (await engine.signal_state("r", kept.signal)).state == "withdrawn"
    await engine.message("r", "stop")
    result = (await engine.result("r", timeout_s=WAIT_S)).unwrap()
    assert result == [["hi", "dogs", False], ["turn", "dogs", False], ["stop", "dogs", False]]


async def test_what_cannot_be_said_is_refused(engine: goclaw.Engine) -> None:
    """Each with a code of its own, and nothing is left behind."""
    await engine.submit(workflow(a="listen", b="listen", w={"wait": "1h"}), run_id="r")
    with pytest.raises(RunNotFound):
        await engine.steer("nope", {"n": 1})
    with pytest.raises(UsageInvalid, match="3 tasks; say which"):
        await engine.message("r", "hi")
    with pytest.raises(InvalidId):
        await engine.message("r", "hi", task="a", signal_id="")
    with pytest.raises(SignalNotFound):
        await engine.signal_state("r", "none", task="a")
    for task, code in (("zz", "task_not_found"), ("w", "signal_unsupported")):
        with pytest.raises(CommandRefused) as refused:
            await engine.message("r", "hi", task=task)
        assert refused.value.code == code
    with pytest.raises(CommandRefused, match="no parameter 'tpoic'"):
        await engine.steer("r", {"tpoic": 1}, task="a")
    await engine.steer("r", {"topic": 1}, task="a")
    await engine.cancel("r")
    await engine.result("r", timeout_s=WAIT_S)
    with pytest.raises(CommandRefused, match="is cancelled already") as ended:
        await engine.message("r", "hi", task="a")
    assert ended.value.code == "task_finished"


async def test_what_a_failed_attempt_took_comes_again(engine: goclaw.Engine) -> None:
    """What it took before it saved its state does not; a patch stays."""
    retry = {"attempts": 2, "initial": "1ms"}
    await engine.submit(workflow(a={"agent": "listen", "retry": retry}), run_id="r")
    await engine.steer("r", {"topic": "dogs"})
    for body in ("one", "save", "two", "fail"):
        await engine.message("r", body, signal_id=body, wait="consumed", timeout_s=WAIT_S)
    await engine.message("r", "stop")
    result = (await engine.result("r", timeout_s=WAIT_S)).unwrap()
    assert result == [
        ["one", "dogs", False], ["save", "dogs", False], ["two", "dogs", True],
        ["fail", "dogs", True], ["stop", "dogs", False],
    ]  # fmt: skip
    assert (await engine.signal_state("r", "two")).attempt == 2


async def test_a_restart_keeps_what_was_accepted(tmp_path: Path) -> None:
    """In order, also for a task that has not begun; saved state is where it goes on."""
    chain = workflow(first="listen", then={"agent": "listen", "needs": ["first"]})
    async with goclaw.Engine(tmp_path / "d") as engine:
        await engine.submit(chain, run_id="r")
        await engine.message("r", "early", task="then")
        await engine.message("r", "save", task="first", wait="consumed", timeout_s=WAIT_S)
        await engine.message("r", "stop", task="then")
    async with goclaw.Engine(tmp_path / "d") as engine:
        await engine.message("r", "stop", task="first")
        result = (await engine.result("r", timeout_s=WAIT_S)).unwrap()
        assert result == [["early", None, False], ["stop", None, False]]
        shown = goclaw.Client(desk=engine.listener._desk) if engine.listener else None
        assert shown is not None
        timeline = (await shown.show("r", timeline=True))["timeline"]
        told = [entry["brief"] for entry in timeline if entry["type"] == "task.signal_consumed"]
        assert len(told) == 4


async def test_a_client_says_what_an_engine_says(engine: goclaw.Engine, tmp_path: Path) -> None:
    """From another connection, with the same answers and errors."""
    await engine.submit(workflow(a="listen"), run_id="r")
    async with goclaw.Client(tmp_path / "d") as client:
        assert (await client.steer("r", {"topic": "owls"})).state == "consumed"
        told = await client.message("r", {"deep": [1]}, wait="consumed", timeout_s=WAIT_S)
        assert (await client.signal_state("r", told.signal)) == told
        with pytest.raises(CommandRefused) as refused:
            await client.steer("r", {"other": 1})
        assert refused.value.code == "params_undeclared"
        await client.message("r", "stop")
        result = (await client.result("r", timeout_s=WAIT_S)).unwrap()
        assert result == [[{"deep": [1]}, "owls", False], ["stop", "owls", False]]


async def test_a_worker_process_hears_it_too(
    engine: goclaw.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parameters, messages and saved state, for a plain agent and an async one."""
    (tmp_path / "far_agents.py").write_text(WORKER)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("far_agents")
    sys.modules.pop("far_agents")
    await engine.submit(workflow(a="far.sync"), run_id="sync")
    await engine.message("sync", "one", wait="consumed", timeout_s=WAIT_S)
    await engine.steer("sync", {"n": 7})
    await engine.message("sync", "stop", wait="consumed", timeout_s=WAIT_S)
    assert (await engine.result("sync", timeout_s=WAIT_S)).unwrap() == [["one", "stop"], 7, 1]
    await engine.submit(workflow(a="far.async"), run_id="async")
    await engine.steer("async", {"n": 1})
    await engine.steer("async", {"n": 2})
    await engine.message("async", "enough", wait="consumed", timeout_s=WAIT_S)
    assert (await engine.result("async", timeout_s=WAIT_S)).unwrap() == [2, ["enough"]]


# -- interrupt, pause, resume ----------------------------------------------------------------------

DEAF = """
import time

import goclaw


@goclaw.agent("deaf.process", executor="process")
def deaf(ctx):
    if ctx.attempt > 1:
        return ["again", ctx.resumed_state]
    ctx.save("before")
    while True:
        time.sleep(60)
"""


async def count(ctx: TaskContext) -> Any:
    """Count until somebody interrupts it; go on from there, and return."""
    at = ctx.resumed_state or 0
    if at:
        return [at, ctx.attempt]
    try:
        async for _ in ctx.signals():
            at += 1
    except goclaw.Interrupted:
        ctx.save(at)
        raise


async def shown(engine: goclaw.Engine, run_id: str) -> dict[str, Any]:
    """Return the record of a run, as clients see it."""
    assert engine.listener is not None
    return await goclaw.Client(desk=engine.listener._desk).show(run_id)


async def test_an_interrupted_agent_is_resumed_with_its_state(engine: goclaw.Engine) -> None:
    """Reason and sender are recorded; the run waits for it, and what needs it runs after."""
    goclaw.agent("count")(count)
    await engine.submit(workflow(a="count", b={"agent": "goclaw.echo", "needs": ["a"]}), run_id="r")
    for number in range(3):
        await engine.message("r", number, task="a", wait="consumed", timeout_s=WAIT_S)
    state = await engine.interrupt("r", "a", reason="enough", sender="me", wait_s=WAIT_S)
    assert state == "interrupted"
    record = await shown(engine, "r")
    assert (record["status"], record["tasks"]["a"]["status"]) == ("running", "interrupted")
    assert record["tasks"]["b"]["status"] == "pending"
    with pytest.raises(CommandRefused) as refused:
        await engine.resume("r", "b")
    assert refused.value.code == "task_not_held"
    assert await engine.resume("r", "a", signal_id="again") in ("scheduled", "running", "completed")
    assert (await engine.result("r", timeout_s=WAIT_S)).ok
    await engine.resume("r", "a", signal_id="again")  # a repeat gets the first answer
    with pytest.raises(CommandRefused) as finished:
        await engine.interrupt("r", "a")
    assert finished.value.code == "task_finished"


async def test_a_process_that_is_deaf_is_killed(
    engine: goclaw.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So is a program; what was saved before is there; each is resumed as another attempt."""
    (tmp_path / "deaf_agents.py").write_text(DEAF)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("deaf_agents")
    sys.modules.pop("deaf_agents")
    await engine.submit(workflow(a="deaf.process"), run_id="r")
    story = engine.subscribe(run_id="r")
    async for told in story:
        if told.type == "task.state_saved":
            break
    await story.aclose()  # type: ignore[attr-defined]
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    assert await engine.interrupt("r", "a", graceful=False, wait_s=WAIT_S) == "interrupted"
    assert loop.time() - began_s < 10  # 2 s on a quiet machine: a bench measures it
    await engine.resume("r", "a")
    assert (await engine.result("r", timeout_s=WAIT_S)).unwrap() == ["again", "before"]


async def test_a_run_is_interrupted_paused_and_resumed(tmp_path: Path) -> None:
    """With every task of it; a restart changes nothing of that."""
    goclaw.agent("count")(count)
    tasks = workflow(a="count", b="count", c={"agent": "goclaw.echo", "needs": ["a", "b"]})
    async with goclaw.Engine(tmp_path / "d") as engine:
        await engine.submit(tasks, run_id="r")
        for task in ("a", "b"):
            await engine.message("r", 1, task=task, wait="consumed", timeout_s=WAIT_S)
        assert await engine.interrupt("r", reason="all") == "interrupted"
        for task in ("a", "b"):
            assert await engine.interrupt("r", task, wait_s=WAIT_S) == "interrupted"
        assert (await shown(engine, "r"))["status"] == "interrupted"
    async with goclaw.Engine(tmp_path / "d") as engine:
        assert (await shown(engine, "r"))["tasks"]["a"]["status"] == "interrupted"
        assert await engine.resume("r") == "running"
        assert (await engine.result("r", timeout_s=WAIT_S)).ok
        await engine.submit(workflow(a="listen", b="goclaw.echo"), run_id="p")
        assert await engine.pause("p", reason="wait", sender="me") == "paused"
        with pytest.raises(CommandRefused):
            await engine.pause("r")
        assert await engine.resume("p") == "running"
        await engine.message("p", "stop", task="a")
        assert (await engine.result("p", timeout_s=WAIT_S)).ok


async def test_a_blocking_client_says_the_same(engine: goclaw.Engine, tmp_path: Path) -> None:
    """From a thread without a loop."""
    await engine.submit(workflow(a="listen"), run_id="r")

    def talk() -> list[str]:
        with goclaw.SyncClient(tmp_path / "d") as client:
            states = [client.steer("r", {"topic": "owls"}).state]
            states.append(client.message("r", 1, wait="consumed", timeout_s=WAIT_S).state)
            states.append(client.interrupt("r", "a", wait_s=WAIT_S))
            client.resume("r", "a")
            client.message("r", "stop")
            return states

    assert await asyncio.to_thread(talk) == ["consumed", "consumed", "interrupted"]
    result = (await engine.result("r", timeout_s=WAIT_S)).unwrap()
    assert result == [[1, "owls", True], ["stop", "owls", False]]


class Siblings:
    """Agents of a run in which one fails: two look at boundaries, one does not."""

    def __init__(self) -> None:
        self.failing = threading.Event()
        self.cancelled: list[str] = []
        for agent in (self.on_loop, self.in_thread, self.deaf, self.fails):
            goclaw.agent(f"fast.{agent.__name__}")(agent)

    async def on_loop(self, ctx: TaskContext) -> None:
        """Let the other one fail once this one listens."""
        try:
            async for _ in ctx.signals():
                self.failing.set()
        except goclaw.Interrupted:
            ctx.save("loop")
            raise

    def in_thread(self, ctx: TaskContext) -> None:
        """Listen."""
        try:
            while True:
                ctx.next_signal()
        except goclaw.Interrupted:
            ctx.save("thread")
            raise

    async def deaf(self, _: TaskContext) -> None:
        """Look at no boundary."""
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.cancelled.append("deaf")
            raise

    def fails(self, _: TaskContext) -> None:
        """Fail when it is time."""
        self.failing.wait(WAIT_S)
        msg = "no"
        raise RuntimeError(msg)


async def test_the_siblings_of_a_task_that_failed_may_save_their_state(
    engine: goclaw.Engine,
) -> None:
    """They meet the interrupt at a boundary, also in a thread; who looks at none is cancelled."""
    siblings = Siblings()
    names = ("on_loop", "in_thread", "deaf", "fails")
    await engine.submit(workflow(**{name: f"fast.{name}" for name in names}), run_id="r")
    await engine.message("r", 1, task="in_thread", wait="consumed", timeout_s=WAIT_S)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    await engine.message("r", 1, task="on_loop", wait="consumed", timeout_s=WAIT_S)
    ended = await engine.result("r", timeout_s=WAIT_S)
    assert ended.error is not None
    assert ended.error.task == "fails"
    assert loop.time() - began_s < 4, "somebody was waited for until its grace was over"
    tasks = (await shown(engine, "r"))["tasks"]
    assert {name: tasks[name]["status"] for name in names} == {
        "on_loop": "cancelled", "in_thread": "cancelled", "deaf": "cancelled", "fails": "failed",
    }  # fmt: skip
    saved = {}
    async for told in engine.subscribe(run_id="r"):
        if told.type == "task.state_saved":
            saved[told.stream] = told.fact.state
        elif told.type == "run.failed":
            break
    assert saved == {"task/r/on_loop": "loop", "task/r/in_thread": "thread"}
    assert siblings.cancelled == ["deaf"]


async def test_an_interrupt_of_a_run_can_be_waited_for(engine: goclaw.Engine) -> None:
    """Until each of its tasks, and of the runs below it, stands still with what it saved."""
    goclaw.agent("count")(count)
    child = workflow(deep="count").model_copy(update={"name": "child"})
    await engine.register(child)
    tasks = {f"t{n}": "count" for n in range(3)} | {"below": {"workflow": "child"}}
    await engine.submit(workflow(**tasks), run_id="r")
    for name in ("t0", "t1", "t2"):
        await engine.message("r", 1, task=name, wait="consumed", timeout_s=WAIT_S)
    async for told in engine.subscribe():
        if told.type == "task.attempt_started" and told.stream.endswith("/deep"):
            deep = told.stream.split("/")[1]
            break
    assert await engine.interrupt("r", reason="all", wait_s=WAIT_S) == "interrupted"
    for name in ("t0", "t1", "t2"):
        assert (await shown(engine, "r"))["tasks"][name]["status"] == "interrupted"
    assert (await shown(engine, deep))["tasks"]["deep"]["status"] == "interrupted"
    await engine.resume("r")
    await engine.cancel("r")
