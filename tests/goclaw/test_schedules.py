"""Schedules through the engine, clients, the command line and the views."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.cli import main
from goclaw.config import Settings
from goclaw.errors import InvalidRequest, ScheduleNotFound
from goclaw.operations.desk import EngineDesk
from goclaw.results import CommandRefused
from goclaw_actors.env import SystemClock
from goclaw_actors.executors.errors import AgentUnknown
from goclaw_events.codec import FACTS
from goclaw_events.facts import FiringsSkipped, ScheduleFired
from goclaw_events.faults import InvalidInput
from goclaw_events.ids import schedule_stream
from goclaw_events.instants import BadInstant
from goclaw_events.replay import stream_turns
from goclaw_events.schedule import ScheduleInvalid
from tests.goclaw.eventually import eventually
from tests.goclaw.processes import last_json
from tests.goclaw.test_archive import archive, check
from tests.goclaw.test_expiry import expire, forget_views

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WAIT_S = 30.0
DAY_NS = 86_400 * 10**9
hold: dict[str, asyncio.Event] = {}


async def work(ctx: goclaw.TaskContext, at: str = "", text: str = "") -> str:
    """Return what was given; where the text is `hold`, once that is let go."""
    if text == "hold":
        await hold["event"].wait()
    return f"{at} {ctx.run_id}"


@pytest.fixture(autouse=True)
def _agents() -> None:
    hold["event"] = asyncio.Event()
    goclaw.agent("work")(work)


def workflow(text: str = "") -> goclaw.Workflow:
    """Return a workflow of one task."""
    found = goclaw.Workflow("w")
    at = found.input("at", type="string", default="")
    found.output = found.task("a", agent="work", with_={"at": at, "text": text}).result
    return found


@pytest.fixture(params=[1, 4])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[goclaw.Engine]:
    """Give an engine on a directory, with one partition and with four."""
    settings = Settings(partitions=request.param)
    async with asyncio.timeout(WAIT_S), goclaw.Engine(tmp_path / "d", settings=settings) as opened:
        yield opened


async def ended(engine: goclaw.Engine, name: str, run_id: str = "") -> dict[str, Any]:
    """Return a schedule once its last run (this one) has ended, and it knows."""

    async def look() -> dict[str, Any] | None:
        found = await engine.schedules.show(name)
        is_last = run_id in ("", found["last_run"])
        return found if is_last and found["last_status"] else None

    return await eventually(look)


async def test_a_schedule_begins_runs_when_they_are_due(engine: goclaw.Engine) -> None:
    """Each with the planned time in its id, its labels and its input."""
    made = await engine.schedules.create("s", workflow(), every=1, planned_input="at")
    assert (made["id"], made["repeated"]) == ("s", False)
    found = await ended(engine, "s")
    run_id, planned = found["last_run"], found["last_planned"][:19] + "Z"
    assert run_id == "s:" + planned.replace("-", "").replace(":", "")
    assert found["last_fired"] >= found["last_planned"]
    assert (await engine.result(run_id)).result == f"{planned} {run_id}"
    summary = engine.views.runs.get(run_id)
    assert summary is not None
    assert summary.labels == {"schedule": "s", "planned": planned}
    await engine.schedules.delete("s")
    with pytest.raises(ScheduleNotFound):
        await engine.schedules.show("s")


async def test_the_views_tell_what_becomes_of_a_schedule(engine: goclaw.Engine) -> None:
    """Its rules, its next times in its zone, what runs and what waits."""
    rules: dict[str, Any] = {"cron": "30 2 * * *", "zone": "Europe/Berlin", "overlap": "queue"}
    await engine.schedules.create("n", workflow("hold"), labels={"k": "v"}, **rules)
    first = await engine.schedules.trigger("n")
    second = await engine.schedules.trigger("n")
    shown = await engine.schedules.show("n", next=3)
    assert (shown["running"], shown["waiting"], shown["fired"]) == (first["run_id"], 1, 1)
    assert len(shown["next_times"]) == 3
    assert shown["next_times"][0] == shown["next"]
    assert shown["next"][11:16] in ("00:30", "01:30")
    assert (shown["labels"], shown["input"]) == ({"k": "v"}, {"at": ""})
    hold["event"].set()
    after = await ended(engine, "n", second["run_id"])
    assert (await engine.result(second["run_id"])).status == "completed"
    assert (after["running"], after["waiting"], after["fired"]) == (None, 0, 2)
    await engine.schedules.pause("n", reason="quiet")
    (listed,) = await engine.schedules.list(status="paused")
    assert (listed["reason"], listed["next"], listed["by"][:4]) == ("quiet", None, "uid:")
    assert listed["next_times"] == []
    assert await engine.schedules.list(status="active") == []
    await engine.schedules.resume("n")
    (listed,) = await engine.schedules.list()
    assert listed["next_times"] == shown["next_times"]
    assert (await engine.schedules.show("n"))["next"] == shown["next"]


async def test_a_schedule_is_made_once(engine: goclaw.Engine) -> None:
    """Another one under its name is refused, unless it is to take its place."""
    await engine.schedules.create("s", workflow(), cron="@daily")
    assert (await engine.schedules.create("s", workflow(), cron="@daily"))["repeated"]
    with pytest.raises(CommandRefused, match="already") as refused:
        await engine.schedules.create("s", workflow(), cron="@hourly")
    assert refused.value.code == "schedule_exists"
    await engine.schedules.create("s", workflow(), cron="@hourly", replace=True)
    assert (await engine.schedules.show("s"))["cron"] == "0 * * * *"


async def test_a_name_means_the_version_that_it_is_now(engine: goclaw.Engine) -> None:
    """What is registered later does not change a schedule."""
    await engine.register(workflow())
    await engine.schedules.create("s", "w", cron="@daily")
    changed = workflow("other")
    await engine.register(changed)
    begun = await engine.schedules.trigger("s")
    await ended(engine, "s")
    run = engine.views.runs.get(begun["run_id"])
    assert run is not None
    assert run.definition == engine.prepare("w@1").ref


@pytest.mark.parametrize(
    ("rules", "error", "words"),
    [
        ({"cron": "@daily", "missed": "all"}, ScheduleInvalid, "one after the other"),
        ({"cron": "nonsense"}, ScheduleInvalid, "five fields"),
        ({}, ScheduleInvalid, "either"),
        ({"every": "1m", "jitter": "2m"}, ScheduleInvalid, "longer than the interval"),
        ({"every": "1m", "late": "2d"}, ScheduleInvalid, "at most a day"),
        ({"every": "1m", "planned_input": "no"}, ScheduleInvalid, "declares no input"),
        ({"every": "1m", "input": {"no": 1}}, InvalidInput, "no"),
        ({"every": "1m", "waiting_max": 0}, InvalidRequest, "waiting_max"),
        ({"every": "1m", "overlap": "both"}, InvalidRequest, "overlap"),
    ],
)
async def test_what_cannot_be_a_schedule_is_refused(
    rules: dict[str, Any], error: type[Exception], words: str
) -> None:
    """With what is wrong; nothing is made."""
    async with goclaw.Engine(":memory:") as engine:
        with pytest.raises(error, match=words):
            await engine.schedules.create("s", workflow(), **rules)
        assert await engine.schedules.list() == []


async def test_a_schedule_begins_sagas_as_well(engine: goclaw.Engine) -> None:
    """Of a definition, or a name; each is a saga like any other, and its end is heard."""
    saga = goclaw.Saga("trip")
    at = saga.input("at", type="string", default="")
    undo = {"agent": "work", "with": {"text": "undo"}}
    saga.step("a", {"agent": "work", "with": {"at": at}}, undo=undo)
    await engine.register(saga)
    made = await engine.schedules.create("s", saga, every=1, planned_input="at")
    assert not made["repeated"]
    found = await ended(engine, "s")
    saga_id, planned = found["last_run"], found["last_planned"][:19] + "Z"
    assert (found["kind"], found["definition"], found["last_status"]) == (
        "saga", "trip", "completed",
    )  # fmt: skip
    assert saga_id == "s:" + planned.replace("-", "").replace(":", "")
    shown = await engine.sagas.show(saga_id)
    assert shown["labels"] == {"schedule": "s", "planned": planned}
    await engine.schedules.delete("s")
    await engine.schedules.create("n", "trip", cron="@yearly", overlap="queue")
    begun = await engine.schedules.trigger("n")
    assert (begun["run_id"], begun["saga_id"], begun["id"]) == (None, "n:trigger-1", "n:trigger-1")
    assert (await engine.sagas.result("n:trigger-1")).ok
    assert (await ended(engine, "n"))["last_status"] == "completed"


async def test_all_that_is_wrong_with_a_schedule_is_told_at_once() -> None:
    """Its time, zone, rules and input: whoever mends one fault does not meet the next."""
    workflow = goclaw.Workflow("w")
    workflow.task("a", agent="goclaw.echo")
    rules: dict[str, Any] = {
        "cron": "61 2 * * *", "zone": "Europe/Nowhere", "missed": "all", "late": "-3s",
        "jitter": "25h", "planned_input": "day",
    }  # fmt: skip
    async with goclaw.Engine(":memory:") as engine:
        with pytest.raises(ScheduleInvalid) as caught:
            await engine.schedules.create("s", workflow, input={"x": 1}, **rules)
        assert await engine.schedules.list() == []
    for words in ("7 faults", "bad minute", "no time zone", "one after the other", "late: '-3s'",
                  "a jitter is at most a day", "no input 'day'", "no input 'x'"):  # fmt: skip
        assert words in str(caught.value)


async def test_what_cannot_be_run_is_refused_when_the_schedule_is_made() -> None:
    """An agent that is not known, a name that is too long, a time that is none."""
    unknown = goclaw.Workflow("u")
    unknown.task("a", agent="no.such")
    async with goclaw.Engine(":memory:") as engine:
        schedules = engine.schedules
        with pytest.raises(AgentUnknown):
            await schedules.create("s", unknown, every=60)
        with pytest.raises(ScheduleInvalid, match="150"):
            await schedules.create("s" * 151, workflow(), every=60)
        await schedules.create("s", workflow(), cron="@daily")
        with pytest.raises(BadInstant):
            await schedules.trigger("s", at="yesterday")
        with pytest.raises(CommandRefused) as refused:
            await schedules.trigger("s", at="2026-01-01T00:00:01Z")
        assert refused.value.code == "schedule_time_invalid"
        with pytest.raises(ScheduleNotFound):
            await schedules.pause("t")


async def test_what_was_missed_is_made_up_for_when_an_engine_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of the next one is three days ahead: one run, and a fact for the others."""
    async with goclaw.Engine(tmp_path / "d") as engine:
        await engine.schedules.create("s", workflow(), cron="0 */6 * * *")
    now_ns = SystemClock.now_ns
    monkeypatch.setattr(SystemClock, "now_ns", lambda self: now_ns(self) + 3 * DAY_NS)
    async with asyncio.timeout(WAIT_S), goclaw.Engine(tmp_path / "d") as engine:
        found = await ended(engine, "s")
        assert (found["fired"], found["missed_count"]) == (1, 11)
        kinds = (ScheduleFired, FiringsSkipped)
        skipped, fired = (fact for fact in facts_of(engine, "s") if isinstance(fact, kinds))
        assert isinstance(skipped, FiringsSkipped)
        assert isinstance(fired, ScheduleFired)
        assert (skipped.reason, skipped.number) == ("missed", 11)
        assert fired.planned_ns - skipped.last_ns == DAY_NS // 4


def facts_of(engine: goclaw.Engine, name: str) -> list[Any]:
    """Return the facts of a schedule that are in the log by now."""
    turns = stream_turns(engine.parts.journal, schedule_stream(name))
    said = [fact for turn in turns for fact in turn.facts]
    return [FACTS.decode(fact.type, fact.version, fact.data) for fact in said]


async def test_a_client_says_what_an_engine_says() -> None:
    """Every operation carries over the desk; a trigger that is said twice is one."""
    async with goclaw.Engine(":memory:") as engine:
        client = goclaw.Client(desk=EngineDesk(engine))
        await client.schedules.create("s", workflow(), cron="@daily", overlap="queue")
        asked = {"schedule": "s", "at": None, "command_id": "c"}
        first = await client.ask("schedules.trigger", **asked)
        assert (await client.ask("schedules.trigger", **asked))["run_id"] == first["run_id"]
        assert (await client.schedules.show("s"))["fired"] == 1
        await client.schedules.delete("s")


def test_the_command_line_makes_and_changes_schedules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without an engine too, except that nothing begins; faults have their exit codes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.yaml").write_text("{name: w, tasks: {a: {agent: no.such}}}")
    create = ["schedules", "create", "s", "w.yaml", "--cron", "30 2 * * *"]
    assert main([*create, "--zone", "Europe/Berlin"]) == 0
    assert "no engine runs" in capsys.readouterr().err
    assert main([*create, "--json"]) == 7
    assert last_json(capsys.readouterr().out)["error"]["code"] == "schedule_exists"
    assert main([*create, "--replace", "--paused"]) == 0
    assert main(["schedules", "list"]) == 0
    assert "paused" in capsys.readouterr().out
    assert main(["schedules", "resume", "s"]) == 0
    assert main(["schedules", "show", "s", "--next", "2"]) == 0
    assert "30 2 * * *" in capsys.readouterr().out
    assert main(["schedules", "trigger", "s"]) == 5
    assert main(["schedules", "pause", "s", "--reason", "why", "--json"]) == 0
    assert main(["schedules", "pause", "s"]) == 0
    assert "nothing changed" in capsys.readouterr().err
    assert main(["schedules", "delete", "s"]) == 0
    assert main(["schedules", "show", "s"]) == 3
    assert main(["schedules", "list", "--json"]) == 0
    assert last_json(capsys.readouterr().out) == []
    assert main(["schedules", "create", "s", "w.yaml", "--every", "0s"]) == 2
    (tmp_path / "t.yaml").write_text("{name: t, steps: {a: {action: {agent: no.such}}}}")
    assert main(["schedules", "create", "t", "t.yaml", "--every", "1h"]) == 0
    assert main(["schedules", "list"]) == 0
    assert "saga t" in capsys.readouterr().out
    assert main(["schedules", "create", "t", "w.yaml", "--every", "1h", "--replace"]) == 0
    assert main(["schedules", "list"]) == 0
    assert "saga t" not in capsys.readouterr().out


@pytest.mark.parametrize("partitions", [1, 4])
async def test_a_schedule_outlives_the_history_that_made_it(
    tmp_path: Path, partitions: int
) -> None:
    """Archived and given up, it fires, waits and is shown as before; so does one that is paused."""
    path = tmp_path / "d"
    settings = Settings(partitions=partitions)
    async with asyncio.timeout(WAIT_S), goclaw.Engine(path, settings=settings) as engine:
        for name, paused in (("s", False), ("p", True)):
            rules: dict[str, Any] = {"cron": "@yearly", "zone": "Asia/Tokyo", "planned_input": "at"}
            await engine.schedules.create(name, workflow(), paused=paused, **rules)
        first = await engine.schedules.trigger("s")
        await ended(engine, "s", first["run_id"])
        before = [await engine.schedules.show(name) for name in "ps"]
    archive(path)
    assert expire(path)
    check(path)
    forget_views(path)
    async with asyncio.timeout(WAIT_S), goclaw.Engine(path, settings=settings) as engine:
        assert [await engine.schedules.show(name) for name in "ps"] == before
        second = await engine.schedules.trigger("s")
        assert second["run_id"] == "s:trigger-2"
        assert (await ended(engine, "s", second["run_id"]))["fired"] == 2
        await engine.schedules.resume("p")
        third = await engine.schedules.trigger("p")
        assert (await ended(engine, "p", third["run_id"]))["last_status"] == "completed"
    check(path)
