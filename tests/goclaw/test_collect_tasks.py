"""Tasks that collect: they wait without a slot, and make a result of how others end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.config import Settings
from goclaw_events.definition import WorkflowDefinition
from goclaw_events.faults import InvalidDefinition
from goclaw_events.loading import definition_from

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WAIT_S = 30.0
gates: dict[str, asyncio.Event] = {}
calls: list[str] = []


async def say(ctx: goclaw.TaskContext, value: Any = None) -> Any:
    """Return a value once the gate of this task is open; `fail` fails."""
    await gates.setdefault(ctx.task_id, asyncio.Event()).wait()
    if value == "fail":
        raise goclaw.Fail("no luck", code="unlucky")
    return value


def total(ctx: goclaw.TaskContext, collected: dict[str, Any], start: int = 0) -> int:
    """Add up; the first attempt fails."""
    calls.append(ctx.task_id)
    if ctx.attempt == 1:
        msg = "the first time"
        raise RuntimeError(msg)
    results = [int(one["result"]) for one in collected["gathered"] if one["error"] is None]
    return start + sum(results)


def isolated(ctx: goclaw.TaskContext, collected: dict[str, Any]) -> list[Any]:
    """Say what a worker process is given."""
    del ctx
    return [[one["task"], one["result"]] for one in collected["gathered"]]


@pytest.fixture(autouse=True)
def _agents() -> None:
    gates.clear()
    calls.clear()
    goclaw.agent("say")(say)
    goclaw.agent("total")(total)
    goclaw.agent("isolated", executor="process")(isolated)


@pytest.fixture(params=[1, 4])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[goclaw.Engine]:
    """Give an engine on a directory, with one partition and with four."""
    settings = Settings(partitions=request.param)
    async with asyncio.timeout(WAIT_S), goclaw.Engine(tmp_path / "d", settings=settings) as opened:
        yield opened


def let(*tasks: str) -> None:
    """Open the gates of tasks."""
    for task in tasks:
        gates.setdefault(task, asyncio.Event()).set()


def panel(collect: Any, values: dict[str, Any], **more: Any) -> WorkflowDefinition:
    """Return a workflow of tasks that say values, and one, `all`, that collects."""
    tasks: dict[str, Any] = {
        name: {"agent": "say", "with": {"value": value}, "labels": {"kind": name[0]}}
        for name, value in values.items()
    }
    tasks["all"] = {"collect": collect, **more}
    head = {"name": "panel", "on_failure": "continue", "output": "${tasks.all.result}"}
    return WorkflowDefinition.model_validate({**head, "tasks": tasks})


async def result_of(engine: goclaw.Engine, run_id: str) -> Any:
    """Return what the run's output is, or the error of the run."""
    ended = await engine.result(run_id, timeout_s=WAIT_S)
    return ended.result if ended.status == "completed" else ended.error


async def test_a_majority_of_siblings_is_the_result(engine: goclaw.Engine) -> None:
    """It ends as soon as enough agree; who ended how is told, results stay where they are."""
    collect = {"tasks": ["j*"], "rule": "majority", "by": "answer"}
    judges = {f"j{n}": {"answer": said} for n, said in enumerate(("yes", "no", "yes"))}
    submitted = await engine.submit(panel(collect, judges), run_id="r")
    let("j0")
    await engine.collect("r/j0")
    let("j2")
    await engine.collect("r/j2")
    await engine.collect("r/all")
    let("j1")
    found = await result_of(engine, submitted.run_id)
    assert (found["status"], found["answer"], found["completed"]) == ("met", "yes", 2)
    assert [one["task"] for one in found["members"]] == ["j0", "j2"]
    assert found["missing"] == ["r/j1"]
    assert (await engine.collection(found["collector_id"])).vote == '"yes"'


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("list", [{"a": 1}, {"a": 2, "b": 3}]),
        ("object", {"a": 2, "b": 3}),
        ("by_member", {"r/a1": {"a": 1}, "r/a2": {"a": 2, "b": 3}}),
    ],
)
async def test_results_are_merged_in_the_order_of_the_members(how: str, expected: Any) -> None:
    """Whatever order they end in; what failed has none."""
    values = {"a1": {"a": 1}, "a2": {"a": 2, "b": 3}, "a3": "fail"}
    collect = {"labels": {"kind": "a"}, "merge": how}
    async with asyncio.timeout(WAIT_S), goclaw.Engine(":memory:") as engine:
        workflow = panel(collect, values)
        workflow = workflow.model_copy(update={"output": "${tasks.all.result}"})
        await engine.submit(workflow, run_id="r")
        for task in ("a2", "a3", "a1"):
            let(task)
            await engine.collect(f"r/{task}")
        ended = await engine.collect("r/all")
        assert ended.results == [expected]


async def test_reduce_is_an_attempt_with_a_lane_and_retries(engine: goclaw.Engine) -> None:
    """It holds no slot of its lane before the set is complete, and is tried again."""
    collect = {"tasks": ["a", "b"], "reduce": "total"}
    more = {"with": {"start": 10}, "lane": "one", "retry": {"attempts": 2, "initial": "1ms"}}
    workflow = panel(collect, {"a": 1, "b": 2, "other": 5}, **more)
    tasks = {**workflow.tasks}
    tasks["other"] = tasks["other"].model_copy(update={"lane": "one"})
    data = workflow.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)
    data["tasks"] = {
        name: task.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)
        for name, task in tasks.items()
    }
    data["lanes"] = {"one": {"concurrency": 1}}
    await engine.submit(WorkflowDefinition.model_validate(data), run_id="r")
    let("other")
    await engine.collect("r/other")
    assert calls == []
    let("a", "b")
    assert await result_of(engine, "r") == 13
    assert calls == ["all", "all"]


async def test_what_is_collected_reaches_a_worker_process(tmp_path: Path) -> None:
    """Large results too, in the order of the members."""
    large = "x" * 200_000
    collect = {"tasks": ["a", "b"], "reduce": "isolated"}
    async with asyncio.timeout(WAIT_S), goclaw.Engine(tmp_path / "d") as engine:
        await engine.submit(panel(collect, {"a": large, "b": 2}), run_id="r")
        let("b")
        await engine.collect("r/b")
        let("a")
        assert await result_of(engine, "r") == [["a", large], ["b", 2]]


async def test_the_failure_rule_and_the_deadline(engine: goclaw.Engine) -> None:
    """Unmet fails the task with every error, unless it is to go on; a deadline, the reverse."""
    for number, (more, expected) in enumerate((
        ({"rule": "any", "tasks": ["f*"]}, "collect_unmet"),
        ({"rule": "any", "tasks": ["f*"], "on_unmet": "go_on"}, "unmet"),
        ({"tasks": ["f*", "slow"], "deadline": "700ms"}, "partial"),
        ({"tasks": ["f*", "slow"], "deadline": "700ms", "on_deadline": "fail"}, "collect_unmet"),
    )):  # fmt: skip
        run_id = f"r{number}"
        let("f1", "f2")
        await engine.submit(panel(more, {"f1": "fail", "f2": "fail", "slow": 1}), run_id=run_id)
        ended = (await engine.collect(f"{run_id}/all")).gathered[0]
        if expected == "collect_unmet":
            assert ended.error is not None
            assert ended.error[0] == expected
            if number == 0:
                assert all(f"{run_id}/f{n}: no luck [unlucky]" in ended.error[1] for n in (1, 2))
        else:
            assert (ended.result["status"], ended.result["completed"]) == (expected, 0)
            assert len(ended.result["members"]) == 2
            assert ended.result["missing"] == ([f"{run_id}/slow"] if number == 2 else [])
        let("slow")
        await engine.result(run_id, timeout_s=WAIT_S)
        gates.pop("slow")


async def test_other_runs_are_collected_from(engine: goclaw.Engine) -> None:
    """Members may be templates; one that is not there is a failure, not a wait for ever."""
    for name in ("x", "y"):
        await engine.submit(panel({"tasks": ["a"]}, {"a": name}), run_id=name)
    let("a")
    tasks = {
        "all": {
            "collect": {"members": "${input.runs}", "merge": "list"},
        },
        "one": {"collect": {"members": ["${input.runs[0]}", "nope"], "on_unmet": "go_on"}},
    }
    workflow = WorkflowDefinition.model_validate(
        {"name": "over", "input": {"runs": {"type": "array"}}, "tasks": tasks}
    )
    await engine.submit(workflow, run_id="r", input={"runs": ["x/a", "y/a"]})
    ended = await engine.result("r", timeout_s=WAIT_S)
    assert ended.status == "completed"
    assert ended.result["all"] == ["x", "y"]
    assert [one["status"] for one in ended.result["one"]["members"]] == ["completed", "unknown"]
    bad = await engine.submit(workflow, input={"runs": ["no id!"]})
    refused = await engine.result(bad.run_id, timeout_s=WAIT_S)
    assert refused.error is not None
    assert refused.error.code == "collect_invalid"


async def test_a_collector_that_was_opened_before(engine: goclaw.Engine) -> None:
    """The task waits for its end, or goes on at once if it has ended; unknown ones fail."""
    await engine.submit(panel({"tasks": ["a"]}, {"a": 1}), run_id="x")
    await engine.collect("x/a", collector_id="c").open()
    for run_id in ("before", "after", "never"):
        name = "nope" if run_id == "never" else "c"
        await engine.submit(panel({"collector": name, "merge": "list"}, {}), run_id=run_id)
        let("a")
        found = await engine.result(run_id, timeout_s=WAIT_S)
        if run_id == "never":
            assert found.error is not None
            assert found.error.code == "collect_unmet"
        else:
            assert found.result == [1]


async def test_cancelling_the_run_cancels_its_collector(engine: goclaw.Engine) -> None:
    """Nobody is told of ends that nobody waits for."""
    await engine.submit(panel({"tasks": ["a"]}, {"a": 1}), run_id="r")
    shown = await engine.why("r", "all")
    details = shown["reason"]["details"]
    assert (details["missing"], details["ended"], details["rule"]) == (["r/a"], 0, "all")
    collector = details["collector"]
    await engine.cancel("r")
    await engine.result("r", timeout_s=WAIT_S)
    assert (await engine.collection(collector)).status == "cancelled"


async def test_a_restart_goes_on_collecting(tmp_path: Path) -> None:
    """Across partitions, what ends in the next process counts."""
    settings = Settings(partitions=4)
    async with asyncio.timeout(WAIT_S):
        async with goclaw.Engine(tmp_path / "d", settings=settings) as engine:
            await engine.submit(panel({"tasks": ["a", "b"], "merge": "list"}, {"a": 1, "b": 2}),
                                run_id="r")  # fmt: skip
            let("a")
            await engine.collect("r/a")
        let("b")
        async with goclaw.Engine(tmp_path / "d", settings=settings) as engine:
            assert await result_of(engine, "r") == [1, 2]


@pytest.mark.parametrize(
    ("collect", "code", "place"),
    [
        ({}, "missing_key", "collect"),
        ({"tasks": ["zz"]}, "unknown_task", "collect.tasks[0]"),
        ({"tasks": ["z*"]}, "unknown_task", "collect.tasks[0]"),
        ({"tasks": ["all"]}, "unknown_task", "collect.tasks[0]"),
        ({"labels": {"kind": "z"}}, "unknown_task", "collect.labels"),
        ({"tasks": ["after"]}, "cycle", "collect"),
        ({"tasks": ["a"], "count": 1}, "not_applicable", "collect.count"),
        ({"tasks": ["a"], "rule": "first_n"}, "missing_key", "collect.rule"),
        ({"tasks": ["a"], "rule": "quorum", "count": 2}, "bad_value", "collect.count"),
        ({"tasks": ["a"], "by": "x"}, "not_applicable", "collect.by"),
        ({"tasks": ["a"], "merge": "list", "reduce": "total"}, "not_applicable", "collect.merge"),
        ({"collector": "c", "tasks": ["a"]}, "not_applicable", "collect.tasks"),
        ({"members": ["${secret.K}/a"]}, "bad_template", "collect.members[0]"),
        ({"tasks": ["a"], "rul": "any"}, "unknown_key", "collect.rul"),
        ({"runs": {"labels": {"a": "b"}, "tasks": ["a"], "task_labels": {"a": "b"}}},
         "not_applicable", "collect.runs.task_labels"),
    ],
)  # fmt: skip
def test_faults_of_what_is_collected_have_their_place(collect: Any, code: str, place: str) -> None:
    """Each is named where it stands."""
    tasks = {
        "a": {"agent": "say"}, "all": {"collect": collect},
        "after": {"agent": "say", "needs": ["all"]},
    }  # fmt: skip
    with pytest.raises(InvalidDefinition) as raised:
        definition_from({"name": "w", "tasks": tasks})
    found = [(fault.code, fault.path) for fault in raised.value.faults]
    assert found == [(code, f"tasks.all.{place}")]


def test_with_is_for_the_agent_that_reduces() -> None:
    """Without it nothing takes parameters; `collected` is not one of one's own."""
    for collect, with_, code in (
        ({"tasks": ["a"]}, {"x": 1}, "not_applicable"),
        ({"tasks": ["a"], "reduce": "total"}, {"collected": 1}, "bad_key"),
    ):
        tasks = {"a": {"agent": "say"}, "all": {"collect": collect, "with": with_}}
        with pytest.raises(InvalidDefinition) as raised:
            definition_from({"name": "w", "tasks": tasks})
        assert [fault.code for fault in raised.value.faults] == [code]


def test_the_builder_takes_handles_and_functions() -> None:
    """It writes the same definition as a file."""
    goclaw.agent("total")(total)
    workflow = goclaw.Workflow("w")
    one = workflow.task("a", agent="say")
    workflow.task("all", collect={"tasks": [one], "reduce": total})
    assert workflow.definition().tasks["all"].collect == (
        WorkflowDefinition.model_validate(
            {"name": "w", "tasks": {"x": {"collect": {"tasks": ["a"], "reduce": "total"}}}}
        ).tasks["x"].collect
    )  # fmt: skip


async def test_a_run_does_not_wait_for_itself(tmp_path: Path) -> None:
    """A member of the same run, named in full, would be a circle that nobody sees."""
    async with asyncio.timeout(WAIT_S), goclaw.Engine(tmp_path / "d") as engine:
        for member in ("r1", "r2/a"):
            run_id = member.partition("/")[0]
            await engine.submit(panel({"members": [member]}, {"a": 1}), run_id=run_id)
            let("a")
            found = await engine.result(run_id, timeout_s=WAIT_S)
            assert found.error is not None
            assert found.error.code == "collect_invalid"
