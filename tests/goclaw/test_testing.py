"""The kit for tests of workflows: virtual time, scripts, stories, crashes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.errors import NothingHappens, RunNotFound, SagaNotFound, TimedOut, UsageInvalid
from goclaw.testing import TestEngine
from goclaw_actors.executors.errors import AgentUnknown, ExecNotAllowed
from tests.goclaw.test_documents import FILE, blocks

if TYPE_CHECKING:
    from pathlib import Path

DAY_S = 86_400.0
REAL_S_MAX = 20.0


@pytest.fixture(autouse=True)
def _agents() -> None:
    @goclaw.agent("charge")
    async def charge(ctx: goclaw.TaskContext, amount: int = 1) -> int:
        return amount

    @goclaw.agent("pack")
    def pack(_ctx: goclaw.TaskContext) -> str:
        return "packed"

    @goclaw.agent("nap")
    async def nap(ctx: goclaw.TaskContext, days: float = 1.0) -> str:
        await ctx.sleep(days * DAY_S)
        woke: datetime = await ctx.now(key="woke")
        return woke.isoformat()

    @goclaw.agent("doze")
    def doze(ctx: goclaw.TaskContext, seconds: float = 4.0) -> float:
        before = ctx.remaining_s or 0.0
        ctx.sleep(seconds)
        return round(before - (ctx.remaining_s or 0.0), 3)


def one(agent: str, **more: Any) -> goclaw.Workflow:
    """Return a workflow of one task, `t`."""
    workflow = goclaw.Workflow("one")
    workflow.output = workflow.task("t", agent=agent, **more).result
    return workflow


async def test_time_leaps_to_what_is_due() -> None:
    """A month of waiting, a backoff of an hour and a sleep of 40 days take no time."""
    workflow = goclaw.Workflow("long")
    wait = workflow.wait("wait", "30d")
    hour = {"attempts": 2, "initial": "1h", "max": "1h", "jitter": "none"}
    charged = workflow.task("charge", agent="charge", needs=[wait], retry=hour)
    workflow.output = workflow.task("nap", agent="nap", needs=[charged], with_={"days": 40}).result
    began_s = time.monotonic()
    async with TestEngine() as engine:
        engine.script("charge").fails()
        result = await engine.run(workflow)
        assert result.ok, result.error
        assert result.result == "2030-03-12T01:00:00+00:00"
        assert engine.now == datetime(2030, 3, 12, 1, tzinfo=UTC)
    assert time.monotonic() - began_s < REAL_S_MAX


async def test_time_stands_still_unless_it_is_moved() -> None:
    """While nobody waits for a result it passes by `advance` alone, in steps of what is due."""
    async with TestEngine() as engine:
        begin = engine.now
        engine.script("charge").fails(times=2)
        await engine.submit(one("charge", retry={"attempts": 3, "initial": "10s", "max": "10s",
                                                 "jitter": "none"}), run_id="r")  # fmt: skip
        await engine.settle()
        assert (engine.now, len(engine.calls)) == (begin, 1)
        await engine.advance("9s")
        assert len(engine.calls) == 1
        await engine.advance(1)
        assert len(engine.calls) == 2
        await engine.advance("1h")
        assert (engine.now - begin).total_seconds() == 3610
        story = await engine.story("r")
        ended = story.expect("run.completed", times=1)[0]
        assert ended.time_ns - story.facts[0].time_ns == 20 * 10**9


@pytest.mark.parametrize("agent", ["charge", "pack"])
async def test_what_hangs_is_stopped_by_its_timeout(agent: str) -> None:
    """On the loop, and in a thread, which is abandoned; the next attempt is another one."""
    async with TestEngine() as engine:
        engine.script(agent).hangs()
        workflow = one(agent, timeout="1h", retry={"attempts": 2, "initial": "1s", "max": "1s"})
        assert (await engine.run(workflow, run_id="r")).ok
        failed = (await engine.story("r")).expect("task.attempt_failed", task="t", times=1)[0]
        assert failed.fact.code == "timeout"
        assert [call.attempt for call in engine.script(agent).calls] == [1, 2]


async def test_a_plain_agent_sleeps_in_virtual_time() -> None:
    """What is left of its time, too, is told by that clock."""
    async with TestEngine() as engine:
        assert (await engine.run(one("doze", timeout="1m"))).result == 4.0


async def test_scripts_say_what_attempts_do() -> None:
    """In order, then the agent itself; one that is not registered needs a script that answers."""
    async with TestEngine() as engine:
        engine.script("charge").fails("card_declined", retryable=False).raises(ValueError("odd"))
        engine.script("charge").passes(takes="2h").passes().returns(7, times=1)
        retry = {"attempts": 2, "initial": "1s", "max": "1s", "jitter": "none"}
        declined = await engine.run(one("charge", retry=retry))
        assert declined.error is not None
        assert declined.error.code == "card_declined"
        began = engine.now
        assert (await engine.run(one("charge", retry=retry, with_={"amount": 3}))).result == 3
        assert (engine.now - began).total_seconds() == 2 * 3600 + 1
        assert [(await engine.run(one("charge"))).result for _ in range(3)] == [1, 7, 1]
        assert engine.script("charge").calls[1].params == {"amount": 3}
        with pytest.raises(AgentUnknown):
            await engine.submit(one("mail.send"))
        engine.script("mail.send").returns({"id": 5}, times=1)
        assert (await engine.run(one("mail.send"))).result == {"id": 5}
        over = (await engine.run(one("mail.send"))).error
        assert over is not None
        assert over.code == "script_over"
        with pytest.raises(UsageInvalid):
            engine.script("charge").fails(times=0)


async def test_programs_and_requests_do_as_the_script_of_their_task_says() -> None:
    """Nothing is run or asked for; a timeout counts in virtual time; a task of an agent, too."""
    workflow = goclaw.Workflow("outside")
    again = {"attempts": 2, "initial": "1s", "max": "1s", "jitter": "none"}
    page = workflow.task("page", http={"url": "https://example.com/x"}, timeout="1m", retry=again)
    count = workflow.task("count", exec=["no-such-program", "-l"], needs=[page])
    workflow.output = workflow.task("pay", agent="charge", needs=[count]).result
    async with TestEngine() as engine:
        with pytest.raises(ExecNotAllowed):  # it would be run for real
            await engine.run(workflow)
        engine.script_task("page").hangs().returns({"status": 200, "body": "hello"})
        engine.script_task("count").returns({"stdout": "1"})
        engine.script_task("pay").fails("declined", retryable=False)
        result = await engine.run(workflow, run_id="r")
        assert result.error is not None
        assert (result.error.task, result.error.code) == ("pay", "declined")
        story = await engine.story("r")
        story.expect("task.attempt_failed", task="page", code="timeout", times=1)
        assert engine.script_task("count").calls[0].params["argv"] == ["no-such-program", "-l"]
        assert (await engine.run(workflow)).result == 1


async def test_a_story_of_nobody_is_no_story() -> None:
    """A mistyped id is told, so that no test is green because it looks at nothing."""
    async with TestEngine() as engine:
        with pytest.raises(RunNotFound):
            await engine.story("typo")
        with pytest.raises(SagaNotFound):
            await engine.story(saga_id="typo")
        assert [*await engine.story()]


async def test_a_crash_loses_the_attempt_and_not_the_run() -> None:
    """The process is killed as an attempt begins; who waits gets the result of the next one."""
    async with TestEngine() as engine:
        engine.script("charge").crashes(times=2)
        workflow = goclaw.Workflow("order")
        packed = workflow.task("pack", agent="pack")
        workflow.output = workflow.task("charge", agent="charge", needs=[packed]).result
        assert (await engine.run(workflow, run_id="r")).result == 1
        story = await engine.story("r")
        assert len(story.expect("task.attempt_lost", task="charge")) == 2
        story.expect("task.attempt_started", task="pack", times=1)
        assert len([f for f in await engine.story() if f.type == "partition.opened"]) == 3


async def test_a_test_may_end_while_the_process_starts_again() -> None:
    """Nothing of it is left: the engine that comes is closed."""
    async with TestEngine() as engine:
        engine.script("charge").crashes()
        await engine.submit(one("charge"))
        await engine.settle()
    assert engine.state == "closed"


@pytest.mark.parametrize("killed", [False, True])
async def test_a_restart_goes_on_with_what_waited(killed: bool) -> None:
    """Orderly or killed: a timer of the log is as long as it was."""
    workflow = goclaw.Workflow("w")
    workflow.wait("t", "1h")
    async with TestEngine() as engine:
        await engine.submit(workflow, run_id="r")
        await engine.advance("30m")
        await engine.restart(killed=killed)
        begin = engine.now
        assert (await engine.result("r")).ok
        assert (engine.now - begin).total_seconds() == 1800
        closed = [one.type for one in await engine.story()].count("partition.closed")
        assert closed == (0 if killed else 1)


async def test_a_saga_goes_back_in_virtual_time() -> None:
    """Its steps are scripted as any task, and its facts are a story."""
    saga = goclaw.Saga("trip", timeout="1d")
    saga.step("seat", action={"agent": "charge"}, undo={"agent": "refund"})
    saga.step("room", action={"agent": "book"}, needs=["seat"])
    async with TestEngine() as engine:
        engine.script("refund").returns(None, takes="1h")
        engine.script("book").hangs()
        ended = await engine.sagas.run(saga, saga_id="s")
        assert ended.status == "compensated"
        story = await engine.story(saga_id="s")
        story.expect_order(("task.completed", "seat"), "saga.compensation_begun",
                           ("task.completed", "seat.compensation"), "saga.compensated")  # fmt: skip


async def test_waiting_for_ever_ends_with_a_reason() -> None:
    """A run that only a person can go on with does not let its test hang."""
    async with TestEngine(patience_s=0.05) as engine:
        await engine.submit(one("nap"), run_id="r")
        await engine.settle()
        await engine.pause("r", "t")
        with pytest.raises(NothingHappens, match="paused"):
            await engine.result("r")
        engine.script("charge").hangs()
        with pytest.raises(NothingHappens, match="nothing is due"):
            await engine.run(one("charge"))


async def test_somebody_may_speak_while_a_result_is_waited_for() -> None:
    """A signal from another task of the test comes within the patience."""
    async with TestEngine() as engine:
        await engine.submit(one("nap"), run_id="r")
        await engine.settle()
        await engine.pause("r", "t")

        async def speak() -> None:
            await asyncio.sleep(0.05)
            await engine.resume("r", "t")

        result, _ = await asyncio.gather(engine.result("r"), speak())
        assert result.ok


async def test_time_that_does_not_skip() -> None:
    """Then a result is waited for in real time, and its limit counts."""
    async with TestEngine(skips=False) as engine:
        with pytest.raises(TimedOut):
            await engine.run(one("nap"), timeout_s=0.05)


async def test_stories_tell_what_is_another_one() -> None:
    """An assertion shows all of it; a name that no fact has is a fault of the test."""
    async with TestEngine() as engine:
        engine.script("charge").fails()
        await engine.run(one("charge", retry={"attempts": 2}), run_id="r")
        story = await engine.story("r")
    story.expect("task.attempt_failed", task="t", times=1, code="agent_error")
    assert story.types[0] == "run.submitted"
    assert len(story.of("task.attempt_started")) == 2
    with pytest.raises(AssertionError, match=r"not 2 times:\n.*run.submitted"):
        story.expect("run.completed", times=2)
    with pytest.raises(AssertionError, match="does not follow"):
        story.expect_order("run.completed", "run.submitted")
    with pytest.raises(UsageInvalid, match=r"run\.complete'") as typo:
        story.of("run.complete")
    assert "run.completed" in typo.value.hint
    with pytest.raises(UsageInvalid, match="no field"):
        story.of("run.failed", cod="x")


async def test_a_hundred_engines_do_the_same() -> None:
    """Nothing depends on which thread is quick: every run takes the same virtual time."""
    workflow = goclaw.Workflow("many")
    for number in range(6):
        workflow.task(f"n{number}", agent="charge" if number % 2 else "doze", timeout="1m")
    workflow.task("last", agent="nap", needs=[f"n{number}" for number in range(6)])
    ends = set()
    for _ in range(20):
        async with TestEngine() as engine:
            assert (await engine.run(workflow)).ok
            ends.add(round((engine.now - datetime(2030, 1, 1, tzinfo=UTC)).total_seconds(), 1))
    assert ends == {DAY_S + 4.0}


def test_the_documented_tests_pass(tmp_path: Path) -> None:
    """The files of docs/how-to/test-workflows.md, run by pytest in an empty folder."""
    for _, text in blocks("docs/how-to/test-workflows.md"):
        named = FILE.match(text)
        if named is not None:
            (tmp_path / named[1]).write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
               "-o", "asyncio_mode=auto", "--rootdir", str(tmp_path), str(tmp_path)]  # fmt: skip
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert "5 passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
