"""Collecting through the engine: awaited, iterated, from another process, across a restart."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.collected import CollectorNotFound
from goclaw.config import Settings
from goclaw.errors import NotFound, RunNotFound, UsageInvalid
from goclaw.results import CommandRefused
from goclaw_events.definition import WorkflowDefinition
from goclaw_events.errors import CodedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WAIT_S = 30.0
gates: dict[str, asyncio.Event] = {}


async def answer(ctx: goclaw.TaskContext, value: Any = None) -> Any:
    """Return a value once the gate of this task is open; `fail` fails."""
    gate = gates.setdefault(ctx.task_id, asyncio.Event())
    await gate.wait()
    if value == "fail":
        raise goclaw.Fail("no luck", code="unlucky")
    return value


def workflow(**values: Any) -> WorkflowDefinition:
    """Return a workflow whose tasks return these values."""
    tasks = {name: {"agent": "answer", "with": {"value": v}} for name, v in values.items()}
    return WorkflowDefinition.model_validate(
        {"name": "panel", "tasks": tasks, "on_failure": "continue"}
    )


@pytest.fixture(autouse=True)
def _agents() -> None:
    gates.clear()
    goclaw.agent("answer")(answer)


def let(*tasks: str) -> None:
    """Open the gates of tasks."""
    for task in tasks:
        gates.setdefault(task, asyncio.Event()).set()


@pytest.fixture(params=[1, 4])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[goclaw.Engine]:
    """Give an engine on a directory, with one partition and with four."""
    settings = Settings(partitions=request.param)
    async with asyncio.timeout(WAIT_S), goclaw.Engine(tmp_path / "d", settings=settings) as opened:
        yield opened


async def test_results_come_in_the_order_of_their_ends(engine: goclaw.Engine) -> None:
    """One by one, with what failed, to who is there and to who comes late."""
    await engine.submit(workflow(a={"n": 1}, b="fail", c=[3]), run_id="r")
    collection = engine.collect("r/*", "r", collector_id="panel")
    assert await collection.open() == 4
    seen: list[Any] = []
    order = ["c", "b", "a"]
    let(order.pop(0))
    async for one in collection:
        seen.append([one.member, one.status, one.result, one.error])
        if order:
            let(order.pop(0))
    assert seen == [
        ["r/c", "completed", [3], None],
        ["r/b", "failed", None, ("unlucky", "no luck")],
        ["r/a", "completed", {"n": 1}, None],
        ["r", "failed", None, ("unlucky", "no luck")],
    ]
    collected = await engine.collection("panel")
    assert (collected.status, collected.results) == ("met", [[3], {"n": 1}])
    assert set(collected.errors) == {"r/b", "r"}
    late = [one.member async for one in engine.collection("panel", after=2)]
    assert late == ["r/a", "r"]


async def test_a_majority_and_the_first_two(engine: goclaw.Engine) -> None:
    """Of several runs, by the place of the vote; who is too late does not count."""
    for number, said in enumerate(("yes", "no", "yes")):
        tasks = {f"t{number}": {"answer": said, "n": number}}
        await engine.submit(workflow(**tasks), run_id=f"r{number}", labels={"group": "g"})
    vote = engine.collect(labels={"group": "g"}, tasks=["t?"], rule="majority", by="answer")
    two = engine.collect("r0/t0", "r1/t1", "r2/t2", rule="first_n", count=2)
    assert (await vote.open(), await two.open()) == (3, 3)
    for task in ("t0", "t1", "t2"):
        let(task)
        await engine.result(f"r{task[1]}", timeout_s=WAIT_S)
    found = await vote
    assert (found.status, found.vote, len(found.results)) == ("met", '"yes"', 3)
    assert [one.run_id for one in (await two).gathered] == ["r0", "r1"]


async def test_what_cannot_be_met_is_an_error_with_every_error(engine: goclaw.Engine) -> None:
    """At the end of the iteration, and from `unwrap`."""
    await engine.submit(workflow(a="fail", b="fail"), run_id="r")
    let("a", "b")
    collection = engine.collect("r/a", "r/b", rule="any")
    seen: list[str] = []

    async def iterate() -> None:
        async for one in collection:
            seen.append(one.task)  # noqa: PERF401 - it raises

    with pytest.raises(goclaw.CollectUnmet, match="all_failed") as raised:
        await iterate()
    assert sorted(seen) == ["a", "b"]
    errors = raised.value.details["errors"]
    assert errors == {"r/a": ["unlucky", "no luck"], "r/b": ["unlucky", "no luck"]}
    with pytest.raises(goclaw.CollectUnmet):
        (await collection).unwrap()
    strict = await engine.collect("r/*", failures_max=0)
    assert (strict.status, strict.reason, strict.missing) == (
        "unmet", "too_many_failed", (strict.missing[0],),
    )  # fmt: skip


async def test_a_deadline_gives_what_there_is(engine: goclaw.Engine) -> None:
    """And says what is missing."""
    await engine.submit(workflow(a=1, b=2), run_id="r")
    let("a")
    await engine.collect("r/a")
    found = await engine.collect("r/a", "r/b", deadline_s=0.2)
    assert (found.status, found.results, found.missing) == ("partial", [1], ("r/b",))
    let("b")


async def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    """Members that end in the next process are told of, across partitions."""
    settings = Settings(partitions=4)
    async with asyncio.timeout(WAIT_S):
        async with goclaw.Engine(tmp_path / "d", settings=settings) as engine:
            for number in range(4):
                await engine.submit(workflow(**{f"t{number}": number}), run_id=f"r{number}")
            collection = engine.collect(*[f"r{n}" for n in range(4)], collector_id="c")
            let("t1")
            async for one in collection:
                assert one.run_id == "r1"
                break
            cursor = collection.cursor
        let("t0", "t2", "t3")
        async with goclaw.Engine(tmp_path / "d", settings=settings) as engine:
            left = [one.result async for one in engine.collection("c", after=cursor)]
            assert sorted(left) == [0, 2, 3]
            assert (await engine.collection("c")).ok


async def test_a_client_collects_too(engine: goclaw.Engine, tmp_path: Path) -> None:
    """With the same answers and errors; a large result comes whole."""
    large = "x" * 200_000
    await engine.submit(workflow(a=large, b="fail"), run_id="r")
    let("a", "b")
    async with goclaw.Client(tmp_path / "d") as client:
        found = await client.collect("r/a", "r/b", collector_id="c")
        assert (found.results, found.errors) == ([large], {"r/b": ("unlucky", "no luck")})
        assert [one.task async for one in client.collection("c")] in (["a", "b"], ["b", "a"])
        with pytest.raises(CollectorNotFound):
            await client.collection("nope")
        with pytest.raises(goclaw.CollectUnmet):
            (await client.collect("r/b", rule="any")).unwrap()


async def test_a_client_without_a_loop_collects_too(engine: goclaw.Engine, tmp_path: Path) -> None:
    """Member by member, with the error at the end; output likewise."""
    await engine.submit(workflow(a=1, b="fail"), run_id="r")
    let("a", "b")

    def ask() -> tuple[list[str], list[Any]]:
        with goclaw.SyncClient(tmp_path / "d") as client:
            ended = [one.status for one in client.collect("r/a", "r/b", collector_id="c")]
            with pytest.raises(goclaw.CollectUnmet, match="too_many_failed"):
                list(client.collect("r/b", failures_max=0))
            return ended, list(client.output("r", "a"))

    ended, chunks = await asyncio.to_thread(ask)
    assert (sorted(ended), chunks) == (["completed", "failed"], [])


async def test_bad_requests_collect_nothing(engine: goclaw.Engine) -> None:
    """Each says what is wrong."""
    await engine.submit(workflow(a=1), run_id="r")
    for members, more, error in (
        ((), {}, UsageInvalid),
        (("nope",), {}, RunNotFound),
        (("r/zz",), {}, NotFound),
        (("r/z*",), {}, NotFound),
        (("r/a",), {"rule": "first_n"}, UsageInvalid),
        (("r/a",), {"rule": "quorum", "count": 2}, UsageInvalid),
        (("r/a",), {"rule": "any", "count": 1}, UsageInvalid),
        ((), {"labels": {"no": "such"}}, RunNotFound),
    ):
        with pytest.raises(error):
            await engine.collect(*members, **more).open()
    await engine.collect("r/a", collector_id="c").open()
    assert await engine.collect("r/a", collector_id="c").open() == 1
    with pytest.raises(CommandRefused) as refused:
        await engine.collect("r/a", collector_id="c", rule="any").open()
    assert refused.value.code == "command_conflict"
    await engine.collection("c").cancel("enough")
    assert (await engine.collection("c")).status == "cancelled"
    with pytest.raises(CommandRefused, match="no collector"):
        await engine.collection("nope").cancel()
    let("a")


async def test_a_live_collector_takes_in_runs_as_they_come(tmp_path: Path) -> None:
    """From before it was opened, after, and after a restart; until it is closed."""
    settings = Settings(partitions=4)
    async with asyncio.timeout(WAIT_S):
        async with goclaw.Engine(tmp_path / "d", settings=settings) as engine:
            await engine.submit(workflow(t0=0), run_id="r0", labels={"team": "red"})
            live = engine.collect(labels={"team": "red"}, tasks=["t*"], live=True, collector_id="c")
            assert await live.open() == 1
            await engine.submit(workflow(t1=1), run_id="r1", labels={"team": "red"})
            await engine.submit(workflow(t2=2), run_id="r2", labels={"team": "blue"})
            let("t0", "t1", "t2", "t3")
            seen = [one.member async for one in _some(live, 2)]
            assert sorted(seen) == ["r0/t0", "r1/t1"]
        async with goclaw.Engine(tmp_path / "d", settings=settings) as engine:
            await engine.submit(workflow(t3=3), run_id="r3", labels={"team": "red", "x": "y"})
            again = engine.collection("c", after=2)
            assert [one.result async for one in _some(again, 1)] == [3]
            assert (await engine.collectors(status="open"))["collectors"][0]["members"] == 3
            await engine.collection("c").close()
            found = await engine.collection("c")
            assert (found.status, sorted(found.results)) == ("met", [0, 1, 3])
            await engine.submit(workflow(t4=4), run_id="r4", labels={"team": "red"})
            assert len((await engine.collection("c")).gathered) == 3
            let("t4")


async def _some(collection: goclaw.collecting.Collection, count: int) -> Any:
    """Yield so many members, and leave."""
    async for one in collection:
        yield one
        count -= 1
        if not count:
            return


async def test_tasks_are_chosen_by_their_labels(engine: goclaw.Engine) -> None:
    """Of the runs that are named, or have labels; a run without such a task gives none."""
    tasks = {
        "a": {"agent": "goclaw.echo", "labels": {"kind": "draft"}},
        "b": {"agent": "goclaw.echo"},
    }
    data = {"name": "w", "labels": {"team": "red"}, "tasks": tasks}
    marked = WorkflowDefinition.model_validate(data)
    await engine.submit(marked, run_id="r1")
    await engine.submit(workflow(z=1), run_id="r2", labels={"team": "red"})
    let("z")
    found = await engine.collect(labels={"team": "red"}, task_labels={"kind": "draft"})
    assert [one.member for one in found.gathered] == ["r1/a"]
    with pytest.raises(RunNotFound, match="no task of them is meant"):
        await engine.collect(labels={"team": "red"}, task_labels={"kind": "nope"})


def add_up(ctx: goclaw.TaskContext, collected: dict[str, Any], start: int) -> int:
    """Add up what was collected."""
    del ctx
    return start + sum(int(one["result"]) for one in collected["gathered"])


async def test_what_was_collected_is_merged_and_reduced(
    engine: goclaw.Engine, tmp_path: Path
) -> None:
    """By a task with parameters and a lane, in a run that has the id of the collector."""
    goclaw.agent("add_up")(add_up)
    await engine.submit(workflow(a=1, b=2), run_id="r")
    merging = engine.collect("r/*", merge="by_member")
    await merging.open()
    let("a", "b")
    assert (await merging).result == {"r/a": 1, "r/b": 2}
    async with goclaw.Client(tmp_path / "d") as client:
        task = {"with": {"start": 4}, "lane": "/sums", "retry": {"attempts": 2}}
        for _ in range(2):
            asked = client.collect("r/*", reduce="add_up", task=task, collector_id="sum")
            assert (await asked).result == 7
        assert engine.parts.plan_of("sum").tasks[0].lane == "/sums"
        failed = await client.collect("r/a", reduce="add_up", task={"with": {"start": "x"}})
        assert failed.failure is not None
        assert not failed.ok
        with pytest.raises(goclaw.CollectUnmet):
            failed.unwrap()


async def test_bad_requests_for_a_result_collect_nothing(engine: goclaw.Engine) -> None:
    """Each is told before anything is opened."""
    await engine.submit(workflow(a=1), run_id="r")
    let("a")
    for more, code in (
        ({"merge": "list", "reduce": "answer"}, "invalid_request"),
        ({"task": {"lane": "/x"}}, "invalid_request"),
        ({"merge": "list", "task": {"lan": "/x"}}, "invalid_definition"),
        ({"reduce": "nobody"}, "agent_unknown"),
        ({"live": True}, "usage"),
    ):
        with pytest.raises(CodedError) as raised:
            await engine.collect("r/a", collector_id="c", **more).open()
        assert raised.value.code == code
    with pytest.raises(CollectorNotFound):
        await engine.collection("c")
