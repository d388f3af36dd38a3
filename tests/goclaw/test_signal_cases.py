"""Where others lose what is said to work, or drown in it: each case of theirs by its name."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.results import CommandRefused
from goclaw_events.definition import WorkflowDefinition
from goclaw_events.errors import CodedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WAIT_S = 60.0
STORM = 10_000


async def listen(ctx: goclaw.TaskContext) -> Any:
    """Take messages in order until `stop` comes; return what came, and under how many ids."""
    heard: list[Any] = list(ctx.resumed_state or [])
    async for signal in ctx.signals():
        if signal.kind != "message":
            continue
        bodies = signal.body if signal.parts else [signal.body]
        heard += bodies
        ctx.save(heard) if len(heard) % 5 == 0 else None
        if "stop" in bodies:
            return heard
    return None


async def slow(ctx: goclaw.TaskContext, hint: str = "") -> Any:
    """Take as long as it is let in the first attempt; later say what there is to take."""
    del hint
    if ctx.attempt == 1:
        await asyncio.sleep(3600)
    return [message.body for message in ctx.boundary()]


async def takes_turns(ctx: goclaw.TaskContext, go: bool = False) -> list[list[Any]]:
    """Be busy until steered; return what was heard in that turn, and what in the next ones."""
    del go
    await ctx.steered()
    busy = [message.body for message in ctx.boundary()]
    turns: list[Any] = []
    while (turn := ctx.next_turn()) is not None:
        turns.append(turn.body)
    return [busy, turns]


@pytest.fixture(autouse=True)
def _agents() -> None:
    goclaw.agent("cases.takes_turns")(takes_turns)
    goclaw.agent("cases.listen")(listen)
    goclaw.agent("cases.slow")(slow)


@pytest.fixture(name="engine")
async def _engine(tmp_path: Path) -> AsyncIterator[goclaw.Engine]:
    async with goclaw.Engine(tmp_path / "d") as engine:
        yield engine


def workflow(**tasks: Any) -> WorkflowDefinition:
    """Return a workflow of agents."""
    return WorkflowDefinition.model_validate({"name": "cases", "tasks": tasks})


LISTEN = {"agent": "cases.listen"}


async def test_c8_signals_reach_the_work_and_change_it(engine: goclaw.Engine) -> None:
    """A steer is seen, an interrupt stops, its reason is kept, and what is queued is taken out."""
    chain = workflow(a=LISTEN, b={**LISTEN, "needs": ["a"]})
    await engine.submit(chain, run_id="r")
    with pytest.raises(CommandRefused) as nobody:
        await engine.message("r", "hi", task="nobody")
    assert nobody.value.code == "task_not_found", "a signal that nobody hears is no success"
    told = await engine.message("r", "hi", task="a", wait="consumed", timeout_s=WAIT_S)
    assert told.attempt == 1
    assert await engine.interrupt("r", "a", reason="lunch", wait_s=WAIT_S) == "interrupted"
    reasons = []
    story = engine.subscribe(run_id="r")
    async for recorded in story:
        if recorded.type == "task.interrupted":
            reasons.append(recorded.fact.reason)
            break
    await story.aclose()  # type: ignore[attr-defined]
    assert reasons == ["lunch"]
    assert await engine.interrupt("r", "b") == "cancelled"
    await engine.resume("r", "a")
    await engine.message("r", "stop", task="a")
    assert (await engine.result("r", timeout_s=WAIT_S)).unwrap() is None


async def test_c50_runs_with_the_same_task_ids_do_not_hear_each_other(
    engine: goclaw.Engine,
) -> None:
    """Also what is said before a task begins reaches the task of its own run, and no other."""
    chain = workflow(first=LISTEN, a={**LISTEN, "needs": ["first"]})
    runs = ("one", "two")
    for run in runs:
        await engine.submit(chain, run_id=run)
    for run in runs:
        await engine.message(run, f"early {run}", task="a", signal_id="same")
    for run in runs:
        await engine.message(run, "stop", task="first")
        await engine.message(run, "stop", task="a")
    for run in runs:
        heard = (await engine.result(run, timeout_s=WAIT_S)).unwrap()
        assert heard == [f"early {run}", "stop"]


async def test_16771_what_is_over_the_cap_is_told_and_nothing_is_dropped(
    engine: goclaw.Engine,
) -> None:
    """Sixteen wait for a task that has not begun; the next one is refused, and may come later."""
    await engine.submit(workflow(first=LISTEN, a={**LISTEN, "needs": ["first"]}), run_id="r")
    for number in range(16):
        await engine.message("r", number, task="a")
    with pytest.raises(CommandRefused) as full:
        await engine.message("r", "late", task="a", signal_id="late")
    assert full.value.code == "signals_full"
    await engine.message("r", "stop", task="first")
    await engine.signal_state("r", await _first_of(engine, "r"), task="a", wait="consumed",
                              timeout_s=WAIT_S)  # fmt: skip
    for body in ("late", "stop"):
        await _insist(engine, "r", body, task="a", signal_id=body)
    heard = (await engine.result("r", timeout_s=WAIT_S)).unwrap()
    assert heard == [*range(16), "late", "stop"]


async def _first_of(engine: goclaw.Engine, run_id: str) -> str:
    """Return the id of the first signal that task `a` accepted."""
    story = engine.subscribe(run_id=run_id)
    async for recorded in story:
        if recorded.type == "task.signal_accepted" and recorded.stream.endswith("/a"):
            break
    await story.aclose()  # type: ignore[attr-defined]
    return str(recorded.fact.signal)


async def _insist(engine: goclaw.Engine, run_id: str, body: Any, **named: Any) -> None:
    """Say something until there is room for it."""
    while True:
        try:
            await engine.message(run_id, body, **named)
        except CommandRefused as error:
            if error.code != "signals_full":
                raise
            await asyncio.sleep(0.001)
        else:
            return


async def test_117756_what_is_queued_for_the_next_turn_is_heard_there(
    engine: goclaw.Engine,
) -> None:
    """Not in the turn that goes on, and not never: in order, once the agent asks for its next."""
    await engine.submit(workflow(a={"agent": "cases.takes_turns"}), run_id="r")
    for number in range(3):
        told = await engine.message("r", number, mode="followup", wait="offered", timeout_s=WAIT_S)
        assert told.state == "offered"
    await engine.message("r", "now", wait="offered", timeout_s=WAIT_S)
    await engine.steer("r", {"go": True})
    assert (await engine.result("r", timeout_s=WAIT_S)).unwrap() == [["now"], [0, 1, 2]]


async def test_121831_a_message_in_the_middle_neither_kills_a_run_nor_is_dropped(
    engine: goclaw.Engine,
) -> None:
    """It is taken at the next boundary, by the attempt that runs."""
    await engine.submit(workflow(a=LISTEN), run_id="r")
    for number in range(5):
        told = await engine.message("r", number, wait="consumed", timeout_s=WAIT_S)
        assert (told.state, told.attempt) == ("consumed", 1)
    await engine.message("r", "stop")
    assert (await engine.result("r", timeout_s=WAIT_S)).unwrap() == [*range(5), "stop"]


async def test_67173_what_waits_outlives_an_attempt_that_takes_too_long(
    engine: goclaw.Engine,
) -> None:
    """The attempt is over its timeout; the next one gets all that was said to it."""
    retry = {"attempts": 2, "initial": "1ms"}
    tasks = workflow(a={"agent": "cases.slow", "retry": retry})
    await engine.submit(tasks, run_id="r")
    for number in range(3):
        await engine.message("r", number, wait="offered", timeout_s=WAIT_S)
    await engine.adjust("r", {"timeout": "10ms"})
    assert (await engine.result("r", timeout_s=WAIT_S)).unwrap() == [0, 1, 2]


async def test_137553_what_a_failed_run_leaves_is_declined_and_not_silent(
    engine: goclaw.Engine,
) -> None:
    """A message to a task that will never begin is declined, with the reason."""
    tasks = workflow(
        a=LISTEN,
        never={**LISTEN, "needs": ["a"]},
        fails={"agent": "cases.slow", "timeout": "50ms"},
    )
    await engine.submit(tasks, run_id="r")
    told = await engine.message("r", "hello", task="never")
    found = await engine.signal_state(
        "r", told.signal, task="never", wait="declined", timeout_s=WAIT_S
    )
    assert (found.state, found.reason) == ("declined", "the run ended")


async def test_64410_a_storm_of_ten_thousand_is_counted_to_the_last_one(
    engine: goclaw.Engine,
) -> None:
    """What was accepted is taken once, in order; all else was told that there is no room."""
    await engine.submit(workflow(a=LISTEN), run_id="r")
    answers: Counter[str] = Counter()
    accepted: list[int] = []

    async def say(number: int) -> None:
        try:
            await engine.message("r", number, mode="steer")
        except CommandRefused as error:
            answers[error.code] += 1
        else:
            accepted.append(number)

    for start in range(0, STORM, 1_000):
        await asyncio.gather(*(say(number) for number in range(start, start + 1_000)))
    assert len(accepted) + answers["signals_full"] == STORM
    assert len(accepted) >= 16
    await _insist(engine, "r", "stop")
    heard = (await engine.result("r", timeout_s=WAIT_S)).unwrap()
    assert heard.pop() == "stop"
    assert sorted(heard) == sorted(accepted)
    assert heard == sorted(heard), "the order of a sender was not kept"


async def test_64410_a_storm_that_is_merged_is_one_turn(engine: goclaw.Engine) -> None:
    """Sixteen messages to be merged within a window come as one; patches are never too many."""
    turns = []

    async def once(ctx: goclaw.TaskContext, knob: int = -1) -> Any:
        del knob
        async for signal in ctx.signals():
            if signal.kind == "message":
                turns.append(signal.body)
                return [ctx.params["knob"], signal.body]
        return None

    goclaw.agent("cases.once")(once)
    await engine.submit(workflow(a={"agent": "cases.once"}), run_id="r")
    for start in range(0, 1_000, 100):
        await asyncio.gather(
            *(engine.steer("r", {"knob": number}) for number in range(start, start + 100))
        )
    await asyncio.gather(*(engine.message("r", n, mode="coalesce", quiet_s=0.5) for n in range(16)))
    knob, bodies = (await engine.result("r", timeout_s=WAIT_S)).unwrap()
    assert knob == 999
    assert bodies == list(range(16))
    assert len(turns) == 1


async def test_139847_what_is_said_during_a_restart_arrives_once(tmp_path: Path) -> None:
    """A sender who asks again under the same id, until it is answered, loses nothing."""
    async with goclaw.Engine(tmp_path / "d") as engine:
        await engine.submit(workflow(a=LISTEN), run_id="r")
    numbers, stopped = iter(range(60)), asyncio.Event()

    async def send() -> None:
        for number in numbers:
            while True:
                try:
                    async with goclaw.Client(tmp_path / "d") as client:
                        await client.message("r", number, signal_id=f"n{number}")
                except CodedError:  # it is away, or has no room now
                    await asyncio.sleep(0.002)
                else:
                    break
        stopped.set()

    sending = asyncio.create_task(send())
    while not stopped.is_set():
        async with goclaw.Engine(tmp_path / "d"):
            await asyncio.wait([sending], timeout=0.4)
    await sending
    async with goclaw.Engine(tmp_path / "d") as engine:
        await _insist(engine, "r", "stop")
        heard = (await engine.result("r", timeout_s=WAIT_S)).unwrap()
    assert heard[-1] == "stop"
    assert list(dict.fromkeys(heard[:-1])) == list(range(60))
