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
