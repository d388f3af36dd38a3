"""An archived log answers as it did before: results, repeats, cancels, views, replay, restart."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.datadir import DataDirectory
from goclaw.log_records import Selection, select
from goclaw.replay_check import check_replay
from goclaw.results import CommandRefused
from goclaw.upkeep import Upkeep
from goclaw_actors.archiving import STEPS
from goclaw_actors.executors.agents import AgentRegistry
from goclaw_events.rocks import verify_directory
from goclaw_projections.rocks_store import RocksViewStore

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw import TaskContext, Workflow

FAR = 1 << 60


def agents() -> AgentRegistry:
    """Return an agent that adds, and one that waits to be cancelled."""
    registry = AgentRegistry()

    async def add(_ctx: TaskContext, a: int = 0, b: int = 0) -> int:
        return a + b

    async def hang(_ctx: TaskContext) -> None:
        await asyncio.Event().wait()

    async def boom(_ctx: TaskContext) -> None:
        msg = "on purpose"
        raise goclaw.Fail(msg, code="refused_by_agent")

    for name, agent in (("add", add), ("hang", hang), ("boom", boom)):
        registry.register(name, agent)
    return registry


def sums(name: str = "sums") -> Workflow:
    """Return two tasks in a narrow lane."""
    workflow = goclaw.Workflow(name)
    workflow.lane("narrow", concurrency=1)
    start = workflow.input("start", type="integer", default=1)
    first = workflow.task("first", agent="add", with_={"a": start, "b": 1}, lane="narrow")
    last = workflow.task("last", agent="add", with_={"a": first.result, "b": 10}, lane="narrow")
    workflow.output = {"sum": last.result}
    return workflow


def single(agent: str) -> Workflow:
    """Return a workflow of one task."""
    workflow = goclaw.Workflow(f"one-{agent}")
    workflow.task("only", agent=agent)
    return workflow


def engine_on(path: Path, partitions: int = 1, **retention: Any) -> goclaw.Engine:
    """Return an engine with the agents of these tests."""
    settings = goclaw.Settings.model_validate({"partitions": partitions, "retention": retention})
    return goclaw.Engine(path, settings=settings, agents=agents())


def archive(path: Path, before: int = FAR) -> list[str]:
    """Archive every partition while no engine runs; return the names of the segments."""
    with Upkeep(goclaw.Settings(data_dir=path)) as upkeep:
        partitions = range(upkeep.journal.partitions)
        found = [upkeep.archiver.archive(partition, before) for partition in partitions]
    return [info.name for info in found if info is not None]


def view_rows(path: Path) -> dict[bytes, bytes]:
    """Return every row of every view, rebuilt from the log."""
    store = RocksViewStore(DataDirectory(path).views)
    try:
        prefixes = (b"runs/", b"tasks/", b"timeline/")
        return {key: value for prefix in prefixes for key, value in store.scan(prefix)}
    finally:
        store.close()


def check(path: Path) -> None:
    """Verify the log and everything that replay gives."""
    report = verify_directory(path)
    assert report.whole, report.problems
    journal = DataDirectory(path).open_journal(read_only=True)
    try:
        found = check_replay(journal, DataDirectory(path).views)
    finally:
        journal.close()
    assert found.agrees, found.problems


async def work(path: Path, partitions: int = 1) -> dict[str, Any]:
    """Play runs that complete, fail and are cancelled, and leave one unfinished."""
    results = {}
    async with engine_on(path, partitions) as engine:
        for number in range(4):
            done = await engine.run(sums(), input={"start": number}, run_id=f"sum{number}")
            results[done.run_id] = (done.status, done.result)
        failed = await engine.run(single("boom"), run_id="fails")
        results["fails"] = (failed.status, failed.result)
        await engine.submit(single("hang"), run_id="cancelled")
        await engine.cancel("cancelled", reason="enough", command_id="c1")
        ended = await engine.result("cancelled")
        results["cancelled"] = (ended.status, ended.result)
        await engine.submit(single("hang"), run_id="unfinished")
    return results


@pytest.fixture(params=[1, 3], ids=["1 partition", "3 partitions"])
def partitions(request: pytest.FixtureRequest) -> int:
    """Run the test with one partition and with three."""
    count: int = request.param
    return count


async def test_an_archived_log_answers_as_before(tmp_path: Path, partitions: int) -> None:
    """Results, repeats, conflicts and cancels are what they were; what is unfinished goes on."""
    results = await work(tmp_path, partitions)
    assert len(archive(tmp_path)) == partitions
    check(tmp_path)
    async with engine_on(tmp_path, partitions) as engine:
        for run_id, expected in results.items():
            ended = await engine.result(run_id)
            assert (ended.status, ended.result) == expected
            with pytest.raises(CommandRefused) as refused:
                await engine.cancel(run_id)
            assert refused.value.code == "run_finished"
        again = await engine.submit(sums(), input={"start": 2}, run_id="sum2")
        assert again.repeated
        with pytest.raises(CommandRefused) as refused:
            await engine.submit(sums(), input={"start": 3}, run_id="sum2")
        assert refused.value.code == "command_conflict"
        await engine.cancel("cancelled", reason="enough", command_id="c1")
        assert (await engine.run(sums(), run_id="new")).result == {"sum": 12}
        await engine.cancel("unfinished")
        assert (await engine.result("unfinished")).status == "cancelled"
    check(tmp_path)


async def test_views_are_built_again_from_segments(tmp_path: Path) -> None:
    """Rows made from an archived log are those made before."""
    await work(tmp_path)
    check(tmp_path)
    before = view_rows(tmp_path)
    archive(tmp_path)
    views = DataDirectory(tmp_path).views
    for file in views.iterdir():
        file.unlink()
    check(tmp_path)
    assert view_rows(tmp_path) == before


async def test_archiving_while_it_runs(tmp_path: Path, partitions: int) -> None:
    """Segment after segment is sealed under work; nothing is lost, nothing runs twice."""
    async with engine_on(tmp_path, partitions) as engine:
        assert engine.parts.retention is not None
        archiver = engine.parts.retention.archiver
        await engine.submit(single("hang"), run_id="waits")
        sealed = 0
        for _ in range(12):
            runs = [engine.run(sums(), input={"start": n}) for n in range(5)]
            ends = asyncio.gather(*runs)
            for partition in range(partitions):
                sealed += await asyncio.to_thread(archiver.archive, partition, FAR) is not None
            assert [done.result for done in await ends] == [{"sum": n + 11} for n in range(5)]
        await engine.cancel("waits")
        assert (await engine.result("waits")).status == "cancelled"
    assert sealed >= 10
    check(tmp_path)


class Killed(Exception):
    """The process ended here."""


async def test_what_a_crash_stops_is_completed(tmp_path: Path) -> None:
    """Killed before any step, one after the other: the log is whole, the next attempt goes on."""
    results = await work(tmp_path)
    reached = []

    def die(step: str) -> None:
        if step not in reached:
            reached.append(step)
            raise Killed

    for step in STEPS:
        with Upkeep(goclaw.Settings(data_dir=tmp_path)) as upkeep:
            upkeep.archiver.step = die
            with pytest.raises(Killed):
                upkeep.archiver.archive(0, FAR)
        report = verify_directory(tmp_path)
        assert report.whole, (step, report.problems)
    assert sorted(reached) == sorted(STEPS)
    archive(tmp_path)
    check(tmp_path)
    async with engine_on(tmp_path) as engine:
        for run_id, expected in results.items():
            ended = await engine.result(run_id)
            assert (ended.status, ended.result) == expected


async def test_keeping_house_costs_no_task_a_life(tmp_path: Path) -> None:
    """An engine that was stopped, archived, and started again has lost no attempt to a crash."""
    await work(tmp_path)
    for _ in range(3):
        archive(tmp_path)
    async with engine_on(tmp_path) as engine:
        await engine.cancel("unfinished")
        await engine.result("unfinished")
        found = select(engine.parts.journal, Selection(type="task.attempt_lost"))
        lost = [record.data() for record in found]
    assert lost
    assert all(data["stopped"] for data in lost)
