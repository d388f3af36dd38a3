"""Faults while the engine runs: what was acknowledged stays, the rest is told, work goes on."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

import goclaw
from goclaw.config import EngineSettings
from goclaw.results import CommandRefused, EngineDied
from goclaw_actors.executors.agents import AgentRegistry
from goclaw_actors.node import RETRY_NS
from goclaw_events.rocks import RocksJournal, verify_directory
from tests.actors.executors.conftest import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from goclaw import TaskContext, Workflow
    from goclaw_actors.batch import Batch

WAIT_S = 30.0
RESUME_S = 10.0
ATTEMPTS = 4


class Steps:
    """Stand in the way of a running journal's commits: hold one, or fail it."""

    def __init__(self, engine: goclaw.Engine) -> None:
        journal = engine.parts.journal
        assert isinstance(journal, RocksJournal)
        journal._step = self
        self.open = threading.Event()
        self.open.set()
        self.reached = threading.Event()
        self.failures: dict[str, int] = {}
        self.failed_at: list[float] = []
        self.hit = threading.Event()
        self.written = threading.Event()
        (dispatcher,) = engine.parts.node.dispatchers
        let_out = dispatcher._let_out

        def let_out_and_tell(batch: Batch) -> None:
            let_out(batch)
            self.written.set()

        dispatcher._let_out = let_out_and_tell  # type: ignore[method-assign]

    def __call__(self, step: str) -> None:
        """Be called before each step of a commit."""
        if step == "flush":
            self.reached.set()
            assert self.open.wait(WAIT_S)
        code = self.failures.get(step)
        if code is not None:
            self.failed_at.append(time.monotonic())
            self.hit.set()
            raise OSError(code, os.strerror(code))


def registry() -> AgentRegistry:
    """Return agents of these tests alone."""
    agents = AgentRegistry()

    async def echo(ctx: TaskContext, value: int = 0) -> int:
        await asyncio.sleep(0)
        return value

    agents.register("echo", echo)
    return agents


def engine_on(path: Path, **limits: int) -> goclaw.Engine:
    """Return an engine on a log in `path`."""
    settings = goclaw.Settings(engine=EngineSettings(**limits))
    return goclaw.Engine(path, settings=settings, agents=registry())


async def at_rest(engine: goclaw.Engine) -> None:
    """Wait until nothing is on its way to the disk: the next commit is the next command's."""
    await asyncio.to_thread(until, lambda: engine.parts.node.idle)


def echoes(value: int = 7, padding: str = "") -> Workflow:
    """Return a workflow of two tasks."""
    workflow = goclaw.Workflow("echoes", labels={"padding": padding} if padding else None)
    first = workflow.task("first", agent="echo", with_={"value": value})
    workflow.output = workflow.task("second", agent="echo", with_={"value": first.result}).result
    return workflow


async def refusal(engine: goclaw.Engine, run_id: str) -> str:
    """Submit, and return the code of the refusal ('': it was accepted)."""
    try:
        await engine.submit(echoes(), run_id=run_id)
    except CommandRefused as refused:
        return refused.code
    return ""


async def resumed(engine: goclaw.Engine, steps: Steps, run_id: str) -> float:
    """Submit each time that something was written, until accepted; return how long that took."""
    start = time.monotonic()
    while True:
        steps.written.clear()
        code = await refusal(engine, run_id)
        if code == "":
            return time.monotonic() - start
        assert code in {"disk_full", "outcome_unknown"}, code
        assert await asyncio.to_thread(steps.written.wait, RESUME_S), "work is not taken again"


@pytest.mark.parametrize("step", ["blobs", "write", "flush", "watermark"])
async def test_a_full_disk_refuses_work_and_resumes(tmp_path: Path, step: str) -> None:
    """Commands are refused with `disk_full`, reading goes on; with space, work does too."""
    async with engine_on(tmp_path) as engine:
        steps = Steps(engine)
        before = await engine.run(echoes(), run_id="before")
        await at_rest(engine)
        steps.failures[step] = errno.ENOSPC
        assert await refusal(engine, "first") == "outcome_unknown"
        codes = [await refusal(engine, f"more{at}") for at in range(5)]
        assert codes == ["disk_full"] * 5
        assert (await engine.result("before")).result == before.result == 7
        steps.failures.clear()
        assert await resumed(engine, steps, "first") < RESUME_S
        assert (await engine.result("first", timeout_s=WAIT_S)).result == 7
    assert steps.failed_at
    assert verify_directory(tmp_path).problems == []


async def test_a_full_disk_is_not_asked_without_end(tmp_path: Path) -> None:
    """While it lasts the log is opened again about once a second, not as fast as it can be."""
    async with engine_on(tmp_path) as engine:
        steps = Steps(engine)
        await at_rest(engine)
        steps.failures["write"] = errno.ENOSPC
        assert await refusal(engine, "first") == "outcome_unknown"
        while len(steps.failed_at) < ATTEMPTS:
            steps.hit.clear()
            assert await asyncio.to_thread(steps.hit.wait, WAIT_S)
        pauses = [later - sooner for sooner, later in pairwise(steps.failed_at)]
        assert min(pauses[1:]) > RETRY_NS / 1e9 / 2, "at once after the first failure, then slower"
        steps.failures.clear()
        await resumed(engine, steps, "first")


async def test_running_tasks_outlive_a_full_disk(tmp_path: Path) -> None:
    """Results that come while nothing can be written are recorded when it can be again."""
    async with engine_on(tmp_path) as engine:
        steps = Steps(engine)
        await engine.submit(echoes(), run_id="a")
        steps.failures["flush"] = errno.ENOSPC
        await refusal(engine, "b")
        steps.failures.clear()
        assert (await engine.result("a", timeout_s=WAIT_S)).result == 7


async def test_an_end_that_a_failed_commit_had_written_is_told(tmp_path: Path) -> None:
    """Who waits for a run hears its end, though the batch with it was given up and stored."""
    agents, go, begun = registry(), threading.Event(), threading.Event()

    def gated(_ctx: TaskContext) -> int:
        begun.set()
        go.wait(WAIT_S)
        return 7

    agents.register("gated", gated)
    workflow = goclaw.Workflow("gated")
    workflow.task("only", agent="gated")
    async with goclaw.Engine(tmp_path, settings=goclaw.Settings(), agents=agents) as engine:
        steps = Steps(engine)
        waiting = asyncio.ensure_future(engine.run(workflow, run_id="a"))
        assert await asyncio.to_thread(begun.wait, WAIT_S)
        steps.failures["flush"] = errno.ENOSPC
        go.set()
        assert await asyncio.to_thread(steps.hit.wait, WAIT_S)
        steps.failures.clear()
        assert (await asyncio.wait_for(waiting, WAIT_S)).result == 7


async def test_an_unreadable_disk_stops_the_engine(tmp_path: Path) -> None:
    """An input/output error ends it with `engine_died`; what was acknowledged is there again."""
    async with engine_on(tmp_path) as engine:
        steps = Steps(engine)
        for at in range(5):
            await engine.submit(echoes(at), run_id=f"r{at}")
        steps.failures["flush"] = errno.EIO
        with pytest.raises(EngineDied):
            await engine.submit(echoes(9), run_id="late")
        with pytest.raises(EngineDied):
            await engine.submit(echoes(9), run_id="later")
    async with engine_on(tmp_path) as engine:
        ended = [await engine.result(f"r{at}", timeout_s=WAIT_S) for at in range(5)]
        assert [run.result for run in ended] == list(range(5))
    assert verify_directory(tmp_path).problems == []


async def test_nothing_is_acknowledged_before_its_flush(tmp_path: Path) -> None:
    """A slow flush delays the answer, and nothing else: no reply leaves before it."""
    async with engine_on(tmp_path) as engine:
        steps = Steps(engine)
        steps.open.clear()
        task = asyncio.ensure_future(engine.submit(echoes(), run_id="slow"))
        assert await asyncio.to_thread(steps.reached.wait, WAIT_S)
        done, _ = await asyncio.wait([task], timeout=0.2)
        assert not done
        steps.open.set()
        assert not (await task).repeated
        assert (await engine.result("slow", timeout_s=WAIT_S)).result == 7


async def test_a_flush_that_fails_after_the_write_is_an_unknown_outcome(tmp_path: Path) -> None:
    """What was written though its flush failed is found by the same id: `repeated`, once."""
    async with engine_on(tmp_path) as engine:
        await engine.run(echoes(), run_id="before")
        steps = Steps(engine)
        await at_rest(engine)
        steps.failures["watermark"] = errno.ENOSPC
        assert await refusal(engine, "r") == "outcome_unknown"
        steps.failures.clear()
        await resumed(engine, steps, "other")
        assert (await engine.submit(echoes(), run_id="r")).repeated
        assert (await engine.result("r", timeout_s=WAIT_S)).result == 7


async def test_overload_is_refused_and_bounded(tmp_path: Path) -> None:
    """Ten times what may wait: the rest is `busy` at once, what was taken in is done."""
    commands_max = 20
    async with engine_on(tmp_path, commands_max=commands_max, batch_messages_max=4) as engine:
        steps = Steps(engine)
        steps.open.clear()
        await asyncio.to_thread(lambda: None)
        answers = [
            asyncio.ensure_future(refusal(engine, f"r{at}")) for at in range(10 * commands_max)
        ]
        assert await asyncio.to_thread(steps.reached.wait, WAIT_S)
        early, _ = await asyncio.wait(answers, timeout=1.0)
        assert {task.result() for task in early} == {"busy"}
        (dispatcher,) = engine.parts.node.dispatchers
        assert len(dispatcher.commands) <= commands_max
        assert len(early) >= 8 * commands_max
        steps.open.set()
        codes = await asyncio.gather(*answers)
        taken = [f"r{at}" for at, code in enumerate(codes) if code == ""]
        assert len(taken) >= commands_max
        for run_id in taken:
            assert (await engine.result(run_id, timeout_s=WAIT_S)).ok


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a file system of 48 MiB; only root can mount one."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() != 0 or mount is None or umount is None:
        pytest.skip("mounting a small file system needs root")
    path = tmp_path / "small"
    path.mkdir()
    command = [mount, "-t", "tmpfs", "-o", "size=48m", "goclaw-test", str(path)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    yield path
    subprocess.run([umount, str(path)], check=True)


def fill(path: Path, leave: int = 0) -> None:
    """Write a file until the file system is full."""
    with path.open("wb") as file:
        try:
            while True:
                file.write(bytes(64 * 1024))
                file.flush()
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017 - it is how the loop ends
    os.truncate(path, max(path.stat().st_size - leave, 0))


async def test_a_real_full_disk(small_disk: Path) -> None:
    """On a file system that is full: no acknowledged run is lost, reading works, work resumes."""
    data, ballast = small_disk / "data", small_disk / "ballast"
    acknowledged = []
    async with engine_on(data) as engine:
        steps = Steps(engine)
        await engine.run(echoes(), run_id="before")
        fill(ballast, leave=256 * 1024)
        code, at = "", 0
        while code == "":
            at += 1
            assert at < 2_000, "the disk does not fill up"
            code = await padded(engine, f"r{at}")
            if code == "":
                acknowledged.append(f"r{at}")
        assert code in {"disk_full", "outcome_unknown"}
        assert (await engine.result("before")).result == 7
        ballast.unlink()
        assert await resumed(engine, steps, "after") < RESUME_S
        for run_id in [*acknowledged, "after"]:
            assert (await engine.result(run_id, timeout_s=WAIT_S)).ok, run_id
    assert acknowledged
    assert verify_directory(data).problems == []


async def padded(engine: goclaw.Engine, run_id: str) -> str:
    """Submit something of 20 KB; return the code of its refusal."""
    noise = "".join(f"{at * 7919 % 1_000_003:06d}" for at in range(len(run_id), 3_400))
    workflow = echoes()
    try:
        await engine.submit(workflow, run_id=run_id, labels={"noise": f"{run_id}{noise}"})
    except CommandRefused as refused:
        return refused.code
    return ""
