"""Why something waits, as the library and the command line say it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw import why_records
from goclaw.agents import REGISTRY
from goclaw.cli import main
from goclaw.cli.why import lines_of, span
from goclaw.errors import NotFound, RunNotFound
from goclaw.expected import Expectations
from goclaw_actors.executors.agents import AgentRegistry
from goclaw_actors.why import Holder, Reason
from goclaw_actors.why import reason as kinds
from goclaw_projections.durations import LearnedDuration

if TYPE_CHECKING:
    from pathlib import Path

NOW_NS = 1_800_000_000_000_000_000
S_NS = 10**9


def press() -> goclaw.Workflow:
    """Return a workflow whose second task waits for the slot of the first, and a third for both."""
    workflow = goclaw.Workflow("press")
    lane = workflow.lane("one", concurrency=1)
    first = workflow.task("set", agent="why.gate", lane=lane)
    second = workflow.task("print", agent="why.gate", lane=lane)
    workflow.task("bind", agent="why.gate", needs=[first, second])
    return workflow


class Gate:
    """An agent that goes on when it is told."""

    def __init__(self) -> None:
        self.agents = AgentRegistry()
        self.agents.register("why.gate", self.run)
        self.began = asyncio.Event()
        self.open = asyncio.Event()
        self.loop = asyncio.get_running_loop()

    async def run(self, _: goclaw.TaskContext) -> None:
        """Say that it began, then wait."""
        self.loop.call_soon_threadsafe(self.began.set)
        waiter = asyncio.run_coroutine_threadsafe(self.open.wait(), self.loop)
        await asyncio.wrap_future(waiter)


def test_an_engine_says_what_it_does() -> None:
    """Who runs, who waits for its slot, who needs both; then how it ended; unknown is not found."""

    async def main() -> None:
        gate = Gate()
        async with goclaw.Engine(":memory:", agents=gate.agents) as engine:
            run = await engine.submit(press(), run_id="monday")
            await gate.began.wait()
            whole = await engine.why("mon")
            assert (whole["run_id"], whole["engine"], whole["stuck"]) == ("monday", True, False)
            kind_of = {each["subject"]["task"]: each["kind"] for each in whole["reason"]["because"]}
            assert sorted(kind_of.values()) == ["lane", "running"]
            waiting = next(task for task, kind in kind_of.items() if kind == "lane")
            slots = (await engine.why("monday", waiting))["reason"]["because"][0]
            assert slots["holders"][0]["run_id"] == "monday"
            assert kind_of[slots["holders"][0]["task"]] == "running"
            bind = (await engine.why("@last", "bind"))["reason"]
            assert (bind["kind"], bind["details"]["unmet"]) == ("dependency", 2)
            with pytest.raises(NotFound, match="no task 'bnid'"):
                await engine.why("monday", "bnid")
            with pytest.raises(RunNotFound):
                await engine.why("tuesday")
            gate.open.set()
            await engine.result(run.run_id)
            ended = await engine.why("monday")
            assert ended["reason"]["details"]["status"] == "completed"

    asyncio.run(main())


def test_an_agent_that_is_missing_is_named(tmp_path: Path) -> None:
    """A task has its slot, and waits for somebody to register its agent."""

    async def main() -> None:
        registry = AgentRegistry()
        registry.register("why.gone", lambda _: None)
        workflow = goclaw.Workflow("gone")
        workflow.task("a", agent="why.gone")
        async with goclaw.Engine(tmp_path, agents=registry, idle=True) as engine:
            run = await engine.submit(workflow)
        async with goclaw.Engine(tmp_path, agents=AgentRegistry()) as engine:
            executor, kind = engine.parts.executor, ""
            async with asyncio.timeout(10):
                while kind != "agent_missing":
                    kind = (await engine.why(run.run_id, "a"))["reason"]["kind"]
            assert executor.waiting_for_agents() == {"why.gone": 1}

    asyncio.run(main())


def test_the_command_draws_a_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line each, below what it keeps waiting; without an engine the log is read; exit codes."""
    monkeypatch.chdir(tmp_path)

    async def leave_waiting() -> None:
        async with goclaw.Engine(tmp_path / "d", agents=REGISTRY) as engine:
            workflow = goclaw.Workflow("nap")
            rest = workflow.wait("rest", "1h")
            workflow.task("after", agent="goclaw.echo", needs=[rest])
            await engine.submit(workflow, run_id="nap1")

    asyncio.run(leave_waiting())
    assert main(["why", "nap1", "after", "--data-dir", "d"]) == 0
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert first.startswith("task after needs rest, for ")
    assert second.startswith("└─ task rest waits for a time, for ")
    assert ", due in " in second
    assert "no engine runs" in err
    assert main(["why", "nap1", "after", "--data-dir", "d", "--json"]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (record["engine"], record["reason"]["because"][0]["kind"]) == (False, "timer")
    assert main(["why", "nap1", "nope", "--data-dir", "d"]) == 3
    assert main(["why", "nope", "--data-dir", "d"]) == 3


def test_every_kind_has_a_line() -> None:
    """What each kind says stands in a table; a tree of them is as many lines as it has parts."""
    holder = {"run_id": "r", "task": "t", "definition": "w", "status": "running", "for_s": 1.0}
    leaf: dict[str, Any] = {
        "says": "b", "for_s": None, "expected_in_s": None, "kind": "timer", "until": None,
        "expected_at": None, "holders": [], "because": [], "details": {},
    }  # fmt: skip
    tree = {**leaf, "says": "a", "holders": [holder], "because": [leaf], "details": {"holders": 3}}
    assert list(lines_of(tree)) == [
        "a", "├─ held by task t of run r (w, running), for 1 s", "├─ b", "└─ and 2 more",
    ]  # fmt: skip
    asked = {**leaf, "kind": "approval", "until": "2030-01-01T00:00:00.123456789Z", "for_s": 1.0}
    assert list(lines_of(asked)) == ["b, for 1 s, until 2030-01-01T00:00:00Z"]
    assert set(kinds.KINDS) >= {kinds.NOTHING, kinds.LANE_SHARE}


@pytest.mark.parametrize(
    ("kind", "details", "line"),
    [
        (kinds.DEAD_LETTER, {"code": "gone", "message": "no host"},
         "task t is a dead letter: no host [gone] (goclaw dead redrive, or discard)"),
        (kinds.SPAWNED, {"tasks": ["t/a", "t/b"], "waiting": 2},
         "task t waits for tasks that it spawned: t/a, t/b"),
        (kinds.GIVEN_UP, {}, "task t was given up after a bug, or its facts cannot be read"),
    ],
)  # fmt: skip
def test_a_line_is_a_sentence_about_its_subject(
    kind: str, details: dict[str, Any], line: str
) -> None:
    """What waits comes first, and then why."""
    assert why_records.says(Reason(kind, "task/r/t", 0, 0, details)) == line


def test_every_kind_has_words_for_people() -> None:
    """No kind is told as the table of the reference describes it."""
    assert set(kinds.KINDS) == set(why_records._SAYS)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0321, "0.0321 s"), (3.21, "3.21 s"), (42.4, "42 s"), (60, "1 min"), (125, "2 min 5 s"),
     (7500, "2 h 5 min"), (90_000, "1 d 1 h")],
)  # fmt: skip
def test_spans_are_short(seconds: float, text: str) -> None:
    """As people say them: two units at most."""
    assert span(seconds) == text


LEARNED = {"a": LearnedDuration(10.0, 12.0, 5, 5), "b": LearnedDuration(20.0, 22.0, 5, 5)}


def expectations() -> Expectations:
    """Return what is expected where tasks `a` take 10 s and `b` 20 s."""
    return Expectations(lambda _: LEARNED, "w", NOW_NS)


def running(task: str, for_s: float) -> Reason:
    """Return a task that runs since a time."""
    return Reason(kinds.RUNNING, f"task/r/{task}", NOW_NS - int(for_s * S_NS))


def in_s(reason: Reason) -> float | None:
    """Return in how many seconds a reason is expected to be over."""
    over_ns = expectations().over_ns(reason)
    return None if over_ns is None else (over_ns - NOW_NS) / S_NS


def test_what_runs_is_expected_to_take_as_long_as_it_did() -> None:
    """The median, less what has passed; nothing where it takes longer, or was never seen."""
    assert in_s(running("a", 4)) == 6
    assert in_s(running("a", 11)) is None
    assert in_s(running("new", 1)) is None


def test_a_chain_is_as_long_as_its_longest_branch() -> None:
    """All needs have to end; what waits for a need runs behind it, for as long as it takes."""
    inner = Reason(kinds.DEPENDENCY, "task/r/b", 0, 0, {}, (), (running("a", 4),))
    outer = Reason(kinds.DEPENDENCY, "task/r/x", 0, 0, {}, (), (inner, running("a", 1)))
    assert in_s(inner) == 6
    assert in_s(outer) == 26
    unknown = Reason(kinds.DEPENDENCY, "task/r/x", 0, 0, {}, (), (inner, running("new", 1)))
    assert in_s(unknown) is None


def slots(ahead: int, *held_s: float) -> Reason:
    """Return a task in a lane whose slots are held by tasks `a`, so many being before it."""
    holders = tuple(
        Holder(f"task/q{at}/a", "w", "running", NOW_NS - int(each * S_NS))
        for at, each in enumerate(held_s)
    )
    details = {"held": len(holders), "concurrency": len(holders), "holders": len(holders)}
    full = Reason(kinds.LANE_SLOTS, "lane/w/io", 0, 0, details, holders)
    order = Reason(kinds.LANE_ORDER, "lane/w/io", 0, 0, {"ahead": ahead, "queued": ahead + 1})
    return Reason(kinds.LANE, "task/r/b", 0, 0, {"lane": "w/io"}, (), (full, order))


def test_a_slot_is_expected_when_it_comes_back_as_often_as_others_wait() -> None:
    """The first to come back for the first in line; a round later for those behind."""
    assert in_s(slots(0, 2, 7)) == 3
    assert in_s(slots(1, 2, 7)) == 8
    assert in_s(slots(2, 2, 7)) == 13
    assert in_s(slots(0, 11)) is None
