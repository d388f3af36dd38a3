"""The engine as a library: what a user writes first, with 1 and with 4 partitions."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.datadir import DataDirectory
from goclaw.errors import RunNotFound, TimedOut
from goclaw.results import CommandRefused, RunUnsuccessful
from goclaw_actors.executors.agents import AgentRegistry
from goclaw_actors.executors.errors import AgentUnknown
from goclaw_events.errors import EngineRunning
from goclaw_events.faults import InvalidInput
from goclaw_events.frame import decode_frame
from goclaw_events.verify import verify

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw import TaskContext, Workflow
    from goclaw_events.envelope import Fact

WAIT_S = 30.0


class Crew:
    """Agents of a test, and what they saw."""

    def __init__(self) -> None:
        self.registry = AgentRegistry()
        self.calls: list[tuple[str, int]] = []
        self.gate = threading.Event()
        self.started = threading.Event()
        self.failures_left = 0
        for name in ("add", "echo", "hang", "block", "flaky", "bad_result", "boom"):
            self.registry.register(name, getattr(self, f"_{name}"))

    async def _add(self, ctx: TaskContext, a: int = 0, b: int = 0) -> int:
        self.calls.append((ctx.task_id, ctx.attempt))
        return a + b

    async def _echo(self, ctx: TaskContext) -> Any:
        return {"params": dict(ctx.params), "input": ctx.input, "key": ctx.idempotency_key}

    async def _hang(self, ctx: TaskContext) -> None:
        self.calls.append((ctx.task_id, ctx.attempt))
        self.started.set()
        await asyncio.Event().wait()

    def _block(self, ctx: TaskContext) -> str:
        self.calls.append((ctx.task_id, ctx.attempt))
        self.started.set()
        self.gate.wait(WAIT_S)
        return "done"

    async def _flaky(self, ctx: TaskContext) -> int:
        if self.failures_left > 0:
            self.failures_left -= 1
            msg = "not yet"
            raise RuntimeError(msg)
        return ctx.attempt

    async def _bad_result(self, _ctx: TaskContext) -> object:
        return {"handle": object()}

    async def _boom(self, _ctx: TaskContext) -> None:
        msg = "on purpose"
        raise goclaw.Fail(msg, code="refused_by_agent")


@pytest.fixture(params=[1, 4], ids=["1 partition", "4 partitions"])
def partitions(request: pytest.FixtureRequest) -> int:
    """Run the test with one partition and with four."""
    count: int = request.param
    return count


@pytest.fixture
def crew() -> Crew:
    """Return agents that only this test sees."""
    return Crew()


def engine_on(path: Path | str, crew: Crew, partitions: int = 1) -> goclaw.Engine:
    """Return an engine with the crew's agents."""
    settings = goclaw.Settings(partitions=partitions)
    return goclaw.Engine(path, settings=settings, agents=crew.registry)


def sums() -> Workflow:
    """Return a diamond that adds numbers through a narrow lane."""
    workflow = goclaw.Workflow("sums", labels={"team": "tests"})
    workflow.lane("narrow", concurrency=1)
    start = workflow.input("start", type="integer", default=1)
    first = workflow.task("first", agent="add", with_={"a": start, "b": 1}, lane="narrow")
    left = workflow.task("left", agent="add", with_={"a": first.result, "b": 10}, lane="narrow")
    right = workflow.task("right", agent="add", with_={"a": first.result, "b": 20}, lane="narrow")
    last = workflow.task("last", agent="add", with_={"a": left.result, "b": right.result})
    workflow.output = {"sum": last.result, "of": start}
    return workflow


async def test_a_run_gives_the_result_that_its_tasks_make(crew: Crew, partitions: int) -> None:
    """Results flow along needs, inputs get their defaults, the output is what was asked for."""
    async with engine_on(":memory:", crew, partitions) as engine:
        default = await engine.run(sums())
        given = await engine.run(sums(), input={"start": 5})
    assert default.ok
    assert default.unwrap() == {"sum": 34, "of": 1}
    assert given.result == {"sum": 42, "of": 5}


async def test_a_log_on_disk_is_whole_after_runs(
    crew: Crew, partitions: int, tmp_path: Path
) -> None:
    """Everything that ran through the engine verifies, and results outlive the process."""
    async with engine_on(tmp_path / "d", crew, partitions) as engine:
        outcomes = await asyncio.gather(*(engine.run(sums()) for _ in range(20)))
        assert {outcome.status for outcome in outcomes} == {"completed"}
    assert_whole(tmp_path / "d")
    async with engine_on(tmp_path / "d", crew, partitions) as engine:
        again = await engine.result(outcomes[0].run_id)
    assert again.result == {"sum": 34, "of": 1}


async def test_the_same_request_under_the_same_id_runs_once(crew: Crew, partitions: int) -> None:
    """A repeated submission is answered as before; another request under its id is refused."""
    async with engine_on(":memory:", crew, partitions) as engine:
        first = await engine.submit(sums(), run_id="r1")
        await engine.result("r1")
        second = await engine.submit(sums(), run_id="r1")
        by_key = await engine.submit(sums(), idempotency_key="order-7")
        same_key = await engine.submit(sums(), idempotency_key="order-7")
        with pytest.raises(CommandRefused) as refused:
            await engine.submit(sums(), run_id="r1", input={"start": 2})
        await engine.result(by_key.run_id)
    assert (first.repeated, second.repeated, same_key.repeated) == (False, True, True)
    assert by_key.run_id == same_key.run_id
    assert refused.value.code == "command_conflict"
    assert len(crew.calls) == 8


async def test_a_task_is_tried_again_as_its_policy_says(crew: Crew, partitions: int) -> None:
    """Attempts that fail are repeated after a backoff, and count on."""
    crew.failures_left = 2
    workflow = goclaw.Workflow("retry")
    workflow.task("t", agent="flaky", retry={"attempts": 3, "initial": "1ms", "max": "2ms"})
    async with engine_on(":memory:", crew, partitions) as engine:
        outcome = await engine.run(workflow)
    assert outcome.result == 3


@pytest.mark.parametrize(
    ("agent", "code"),
    [("boom", "refused_by_agent"), ("bad_result", "value_not_storable"), ("flaky", "agent_error")],
)
async def test_a_failure_is_typed_and_names_its_task(crew: Crew, agent: str, code: str) -> None:
    """A run that fails says which task failed first, with which code."""
    crew.failures_left = 1
    workflow = goclaw.Workflow("failing")
    workflow.task("bad", agent=agent)
    workflow.task("after", agent="add", needs=["bad"])
    async with engine_on(":memory:", crew) as engine:
        outcome = await engine.run(workflow)
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert (outcome.error.task, outcome.error.code) == ("bad", code)
    assert crew.calls == []
    with pytest.raises(RunUnsuccessful):
        outcome.unwrap()


async def test_on_failure_continue_runs_what_does_not_need_the_failed(crew: Crew) -> None:
    """With `continue` other branches finish, what needs the failed task is skipped."""
    workflow = goclaw.Workflow("go-on", on_failure="continue")
    workflow.task("bad", agent="boom")
    workflow.task("needs-bad", agent="add", needs=["bad"])
    workflow.task("other", agent="add")
    workflow.task("after-other", agent="add", needs=["other"])
    async with engine_on(":memory:", crew) as engine:
        outcome = await engine.run(workflow)
        assert outcome.position is not None
        engine.views.runner.wait_for(outcome.position, WAIT_S)
        tasks = dict(engine.views.tasks.recorded(outcome.run_id))
    assert outcome.status == "failed"
    assert {name: task.status for name, task in tasks.items()} == {
        "bad": "failed",
        "needs-bad": "skipped",
        "other": "completed",
        "after-other": "completed",
    }


@pytest.mark.parametrize("agent", ["hang", "block"])
async def test_fail_fast_stops_what_runs(crew: Crew, agent: str) -> None:
    """With `fail_fast` a failure ends running siblings, coroutine or thread."""
    workflow = goclaw.Workflow("fast")
    workflow.task("long", agent=agent)
    workflow.task("bad", agent="boom")
    settings = goclaw.Settings.model_validate(
        {"executors": {"stop_grace_s": 0.05, "abandon_grace_s": 0.05}}
    )
    async with goclaw.Engine(":memory:", settings=settings, agents=crew.registry) as engine:
        outcome = await engine.run(workflow, timeout_s=WAIT_S)
        crew.gate.set()
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert outcome.error.task == "bad"


@pytest.mark.parametrize("agent", ["hang", "block"])
async def test_a_task_that_hangs_fails_with_timeout(crew: Crew, agent: str) -> None:
    """A timeout ends the attempt of a coroutine, and of a thread that cannot be killed."""
    workflow = goclaw.Workflow("hanging")
    workflow.task("t", agent=agent, timeout="30ms")
    settings = goclaw.Settings.model_validate(
        {"executors": {"stop_grace_s": 0.05, "abandon_grace_s": 0.05}}
    )
    async with goclaw.Engine(":memory:", settings=settings, agents=crew.registry) as engine:
        outcome = await engine.run(workflow, timeout_s=WAIT_S)
        crew.gate.set()
    assert outcome.error is not None
    assert outcome.error.code == "timeout"


async def test_cancel_ends_a_run_and_is_final(crew: Crew, partitions: int) -> None:
    """A cancelled run stops what runs, starts nothing more, and cannot be cancelled again."""
    workflow = goclaw.Workflow("cancelled")
    workflow.task("long", agent="hang")
    workflow.task("after", agent="add", needs=["long"])
    async with engine_on(":memory:", crew, partitions) as engine:
        submitted = await engine.submit(workflow)
        await asyncio.to_thread(crew.started.wait, WAIT_S)
        await engine.cancel(submitted.run_id, reason="changed my mind", command_id="c1")
        outcome = await engine.result(submitted.run_id, timeout_s=WAIT_S)
        await engine.cancel(submitted.run_id, reason="changed my mind", command_id="c1")
        with pytest.raises(CommandRefused) as finished:
            await engine.cancel(submitted.run_id)
        with pytest.raises(CommandRefused) as unknown:
            await engine.cancel("nobody")
    assert outcome.status == "cancelled"
    assert crew.calls == [("long", 1)]
    assert finished.value.code == "run_finished"
    assert unknown.value.code == "run_not_found"


async def test_a_restart_continues_what_was_running(
    crew: Crew, partitions: int, tmp_path: Path
) -> None:
    """An attempt lost with its process starts again, with a new token and the same key."""
    workflow = goclaw.Workflow("resumed")
    first = workflow.task("first", agent="add", with_={"a": 1})
    long = workflow.task("long", agent="block", needs=[first])
    workflow.task("last", agent="echo", needs=[long], with_={"said": long.result})
    async with engine_on(tmp_path / "d", crew, partitions) as engine:
        submitted = await engine.submit(workflow, run_id="r1")
        await asyncio.to_thread(crew.started.wait, WAIT_S)
        crew.gate.set()  # lets the thread go; the engine stops before its outcome counts
        await engine.stop()
    again = Crew()
    again.gate.set()
    async with engine_on(tmp_path / "d", again, partitions) as engine:
        outcome = await engine.result(submitted.run_id, timeout_s=WAIT_S)
    assert outcome.status == "completed"
    assert outcome.result["params"] == {"said": "done"}
    assert outcome.result["key"] == "r1/last/0"
    assert ("first", 1) not in again.calls


async def test_a_second_engine_on_a_directory_is_refused(crew: Crew, tmp_path: Path) -> None:
    """One process owns a data directory."""
    async with engine_on(tmp_path / "d", crew):
        with pytest.raises(EngineRunning):
            await engine_on(tmp_path / "d", crew).start()


async def test_what_cannot_run_is_refused_before_anything_is_recorded(crew: Crew) -> None:
    """Unknown agents and bad input are typed errors, and leave no run."""
    unknown = goclaw.Workflow("unknown")
    unknown.task("t", agent="ad")
    unknown.task("u", agent="zzz")
    async with engine_on(":memory:", crew) as engine:
        with pytest.raises(AgentUnknown) as named:
            await engine.submit(unknown)
        with pytest.raises(InvalidInput):
            await engine.submit(sums(), input={"start": "one", "strange": 1})
        with pytest.raises(RunNotFound):
            await engine.result("nobody")
        engine.views.runner.catch_up()
        assert engine.views.runs.list().runs == []
    assert "'ad', 'zzz'" in named.value.message
    assert "did you mean 'add'?" in named.value.hint
    assert named.value.details["agents"] == ["ad", "zzz"]


async def test_waiting_for_a_result_has_a_limit(crew: Crew) -> None:
    """`timeout_s` ends the waiting, not the run."""
    workflow = goclaw.Workflow("slow")
    workflow.task("t", agent="hang")
    async with engine_on(":memory:", crew) as engine:
        submitted = await engine.submit(workflow)
        with pytest.raises(TimedOut):
            await engine.result(submitted.run_id, timeout_s=0.01)
        await engine.cancel(submitted.run_id)
        outcome = await engine.result(submitted.run_id, timeout_s=WAIT_S)
    assert outcome.status == "cancelled"


async def test_subscribers_hear_every_fact_of_a_run_in_order(crew: Crew, partitions: int) -> None:
    """A subscription from the start yields a run's facts up to its end, none twice."""
    async with engine_on(":memory:", crew, partitions) as engine:
        submitted = await engine.submit(sums(), run_id="r1")
        heard: list[Any] = []
        async with asyncio.timeout(WAIT_S):
            async for recorded in engine.subscribe(run_id=submitted.run_id):
                heard.append(recorded)
                if recorded.type == "run.completed":
                    break
    types = [recorded.type for recorded in heard]
    assert types[0] == "run.submitted"
    assert types.count("task.completed") == 4
    positions = [recorded.position for recorded in heard]
    assert positions == sorted(set(positions))


async def test_large_values_pass_between_tasks_by_reference(
    crew: Crew, partitions: int, tmp_path: Path
) -> None:
    """A result over 64 KiB is stored once as a blob and arrives whole, in part, and as output."""
    registry = crew.registry

    def big(_ctx: TaskContext) -> Any:
        return {"text": "x" * 200_000, "n": 7}

    def size(_ctx: TaskContext, text: str, n: int) -> Any:
        return {"size": len(text), "n": n}

    registry.register("big", big)
    registry.register("size", size)
    workflow = goclaw.Workflow("big")
    made = workflow.task("made", agent="big")
    workflow.task(
        "size",
        agent="size",
        with_={"text": made.result["text"], "n": made.result["n"]},
        when=f"{made.result['n']} == 7",
    )
    workflow.task(
        "all", agent="echo", needs=["size"], with_={"needs": "${needs}", "all": made.result}
    )
    async with engine_on(tmp_path / "d", crew, partitions) as engine:
        outcome = await engine.run(workflow, timeout_s=WAIT_S)
    assert_whole(tmp_path / "d")
    assert outcome.ok, outcome.error
    assert outcome.result["params"]["needs"]["size"] == {"size": 200_000, "n": 7}
    assert len(outcome.result["params"]["all"]["text"]) == 200_000


def test_run_blocks_until_the_result_is_there() -> None:
    """`goclaw.run` is the shortest way: one call, in memory."""
    workflow = goclaw.Workflow("short")
    workflow.task("hello", agent="goclaw.echo", with_={"to": "${input.name}"})
    workflow.input("name", default="world")
    assert goclaw.run(workflow, input={"name": "you"}).unwrap() == {"to": "you"}


def test_stop_lets_timers_wait_for_the_next_start(crew: Crew, tmp_path: Path) -> None:
    """A wait that was due while nothing ran fires late rather than never."""
    workflow = goclaw.Workflow("waits")
    pause = workflow.wait("pause", "150ms")
    workflow.task("after", agent="add", needs=[pause], with_={"a": 2})

    async def submit() -> None:
        async with engine_on(tmp_path / "d", crew) as engine:
            await engine.submit(workflow, run_id="r1")

    async def finish() -> goclaw.RunResult:
        async with engine_on(tmp_path / "d", crew) as engine:
            return await engine.result("r1", timeout_s=WAIT_S)

    asyncio.run(submit())
    assert asyncio.run(finish()).result == 2


async def test_a_stop_that_was_asked_for_is_not_a_loss(crew: Crew, tmp_path: Path) -> None:
    """However often the engine is stopped, its running tasks start again and never give up."""
    workflow = goclaw.Workflow("long")
    workflow.task("long", agent="hang")
    settings = goclaw.Settings.model_validate({"engine": {"lost_max": 1}})
    for boot in range(4):
        crew.started.clear()
        engine = goclaw.Engine(tmp_path / "d", settings=settings, agents=crew.registry)
        async with engine:
            await engine.submit(workflow, run_id="r1")
            await asyncio.to_thread(crew.started.wait, WAIT_S)
            assert crew.calls[-1] == ("long", boot + 1)
    types = [fact.type for fact in closed_log(tmp_path / "d")]
    assert types.count("partition.closed") == 4
    assert types[-1] == "partition.closed"


def assert_whole(path: Path) -> None:
    """Verify a log that no engine holds: one that runs moves on while it is read."""
    journal = DataDirectory(path).open_journal()
    try:
        report = verify(journal)
    finally:
        journal.close()
    assert report.whole, report.problems


def closed_log(path: Path) -> list[Fact]:
    """Return every fact of a log that no engine holds."""
    journal = DataDirectory(path).open_journal()
    try:
        frames = [decode_frame(data) for data in journal.frames(0)]
    finally:
        journal.close()
    return [fact for frame in frames for _, _, fact in frame.facts()]
