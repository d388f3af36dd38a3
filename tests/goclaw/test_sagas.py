"""Sagas through the engine, clients, the command line and the views."""

from __future__ import annotations

import asyncio
import gc
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.cli import main
from goclaw.config import SagaSettings, Settings
from goclaw.errors import SagaNotFound, TimedOut, UsageInvalid
from goclaw.results import CommandRefused
from goclaw.sagas import SagaUnsuccessful
from goclaw_actors.errors import ChildUnknown
from goclaw_actors.message import Message
from goclaw_actors.messages import JudgeRun
from goclaw_events.facts import AttemptStarted, RunStuck, SagaCompensated
from goclaw_events.ids import saga_stream
from tests.goclaw.processes import last_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WAIT_S = 30.0
calls: list[tuple[Any, ...]] = []
broken: set[str] = set()
patience: dict[str, float] = {}


async def book(ctx: goclaw.TaskContext, what: str = "") -> dict[str, str]:
    """Book something, unless that is broken; `wait` takes its time."""
    calls.append(("book", ctx.task_id, ctx.run_id))
    if what == "wait":
        await asyncio.sleep(patience["wait"])
    if ctx.task_id in broken:
        raise goclaw.Fail("no room", code="sold_out")
    return {"id": f"{ctx.task_id}-1"}


async def cancel(ctx: goclaw.TaskContext, id: str | None = None, key: str = "") -> None:  # noqa: A002 - the word of the service
    """Cancel what was booked, unless that is broken."""
    calls.append(("cancel", id, key))
    if ctx.task_id in broken:
        raise goclaw.Fail("line is dead", code="dead", retryable=False)


@pytest.fixture(autouse=True)
def _agents() -> None:
    calls.clear()
    broken.clear()
    patience["wait"] = 3600.0
    goclaw.agent("book")(book)
    goclaw.agent("cancel")(cancel)


async def recorded(engine: goclaw.Engine, fact: type) -> None:
    """Return once a fact of a type is in the log."""
    async with aclosing(engine.subscribe()) as found:  # type: ignore[type-var] # it is a generator
        async for one in found:
            if isinstance(one.fact, fact):
                return


def trip(name: str = "trip", what: str = "") -> goclaw.Saga:
    """Return a saga of two steps."""
    saga = goclaw.Saga(name)
    undo = {"agent": "cancel", "with": {"id": saga.action.result["id"], "key": saga.action.key}}
    flight = saga.step("flight", {"agent": "book", "with": {"what": what}}, undo=undo)
    saga.step("hotel", {"agent": "book"}, undo=undo, needs=[flight])
    return saga


@pytest.fixture(params=[1, 4])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[goclaw.Engine]:
    """Give an engine on a directory, with one partition and with four."""
    settings = Settings(partitions=request.param)
    async with asyncio.timeout(WAIT_S), goclaw.Engine(tmp_path / "d", settings=settings) as opened:
        yield opened


async def test_a_saga_completes_or_is_undone(engine: goclaw.Engine) -> None:
    """Its result is that of its last step; a failure undoes what was done, by its key."""
    assert (await engine.sagas.run(trip())).unwrap() == {"id": "hotel-1"}
    broken.add("hotel")
    outcome = await engine.sagas.run(trip(), saga_id="s")
    assert (outcome.saga_id, outcome.status, outcome.ok) == ("s", "compensated", False)
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.task) == ("sold_out", "hotel")
    assert calls[-1] == ("cancel", "flight-1", "~s/flight/0")
    assert ("book", "flight", "s") in calls
    with pytest.raises(SagaUnsuccessful, match="sold_out"):
        outcome.unwrap()


async def test_a_saga_is_begun_and_waited_for_at_once(engine: goclaw.Engine) -> None:
    """`run_saga` is `submit_saga` and `saga_result`; the same request again has the same answer."""
    broken.add("hotel")
    first = await engine.run_saga(trip(), saga_id="s")
    assert (first.run_id, first.status) == ("s", "compensated")
    again = await engine.run_saga(trip(), saga_id="s")
    assert (again.run_id, again.status, again.error) == ("s", "compensated", first.error)
    with pytest.raises(TimedOut, match="saga t "):
        await engine.run_saga(trip("wait", "wait"), saga_id="t", timeout_s=0.05)
    with pytest.raises(CommandRefused, match="another definition"):
        await engine.run_saga(trip("other"), saga_id="s")


async def test_the_views_tell_what_became_of_a_saga(engine: goclaw.Engine) -> None:
    """Listed by state and name; shown with its steps and what happened."""
    await engine.sagas.run(trip(), saga_id="good")
    broken.add("hotel")
    await engine.sagas.run(trip(), saga_id="bad", labels={"for": "me"})
    listed = await engine.sagas.list(status="compensated")
    assert [(saga["saga_id"], saga["labels"]) for saga in listed] == [("bad", {"for": "me"})]
    assert [saga["saga_id"] for saga in await engine.sagas.list(name="trip")] == ["bad", "good"]
    found = await engine.sagas.show("@last")
    assert found["error"] == {"code": "sold_out", "message": "no room", "step": "hotel"}
    steps = found["steps"]
    assert steps["flight"]["compensation"]["status"] == "completed"
    assert (steps["hotel"]["action"]["status"], steps["hotel"]["in_doubt"]) == ("failed", False)
    assert steps["hotel"]["compensation"]["status"] == "pending"
    assert (await engine.sagas.show("goo"))["status"] == "completed"
    assert engine.views.counts.of("trip").tasks["completed"] == 4
    with pytest.raises(SagaNotFound):
        await engine.sagas.show("nobody")
    with pytest.raises(SagaNotFound):
        await engine.sagas.result("nobody")


async def test_a_person_decides_about_a_dead_letter(engine: goclaw.Engine) -> None:
    """An alarm is shown; `retry` goes on, `resolve` ends it; both are recorded with who said so."""
    broken.update(("hotel", "flight.compensation"))
    for name in ("one", "two"):
        assert (await engine.sagas.run(trip(), saga_id=name)).status == "compensation_failed"
    found = await engine.sagas.show("one")
    alarm = {"step": "flight", "code": "dead", "message": "line is dead"}
    assert (found["alarm"], found["left"]) == ([alarm], ["flight"])
    broken.clear()
    assert found["retried"] is None
    assert (await engine.sagas.retry("one", reason="the line is back"))["repeated"] is False
    assert (await engine.sagas.result("one")).status == "compensated"
    found = await engine.sagas.show("one")
    retried = found["retried"]
    assert (retried["times"], retried["reason"]) == (1, "the line is back")
    assert retried["by"].startswith("uid:")
    said = engine.views.timeline.entries("~one")
    (brief,) = [entry.brief for entry in said if entry.type == "saga.compensation_retried"]
    assert brief == f"flight: the line is back ({retried['by']})"
    assert {call[2] for call in calls if call[0] == "cancel" and call[2].startswith("~one")} == {
        "~one/flight/0"
    }
    await engine.sagas.resolve("two", reason="called them")
    found = await engine.sagas.show("two")
    assert (found["status"], found["alarm"]) == ("resolved", [])
    assert found["resolved"]["reason"] == "called them"
    assert found["resolved"]["by"].startswith("uid:")
    with pytest.raises(CommandRefused) as refused:
        await engine.sagas.retry("two")
    assert refused.value.code == "saga_finished"


async def test_manual_steps_wait_for_a_person(tmp_path: Path) -> None:
    """`run` comes back when only a person can go on; `compensate` does."""
    saga = goclaw.Saga("trip", policy="manual")
    flight = saga.step("flight", {"agent": "book"}, undo={"agent": "cancel"})
    saga.step("hotel", {"agent": "book"}, needs=[flight])
    broken.add("hotel")
    async with goclaw.Engine(tmp_path / "d") as engine:
        assert (await engine.sagas.run(saga, saga_id="s")).status == "awaiting_compensation"
        assert (await engine.sagas.show("s"))["awaited"] == ["flight"]
        await engine.sagas.compensate("s", reason="do it")
        await recorded(engine, SagaCompensated)
        assert (await engine.sagas.result("s")).status == "compensated"
    assert ("cancel", None, "") in calls


async def test_a_saga_goes_on_in_the_next_engine(tmp_path: Path) -> None:
    """Also one that waits for a slot: it is stored, and visible."""
    settings = Settings(sagas=SagaSettings(concurrent_max=1))
    async with goclaw.Engine(tmp_path / "d", settings=settings) as engine:
        for name in ("first", "second"):
            await engine.sagas.submit(trip(what="wait"), saga_id=name)
        states = {saga["saga_id"]: saga["status"] for saga in await engine.sagas.list()}
        assert states == {"first": "running", "second": "created"}
        lane = await engine.lanes.show("/sagas")
        assert (lane["running"], lane["queued"]) == (1, 1)
    patience["wait"] = 0.0
    async with asyncio.timeout(WAIT_S), goclaw.Engine(tmp_path / "d", settings=settings) as engine:
        for name in ("first", "second"):
            assert (await engine.sagas.result(name)).ok


async def test_a_workflow_begins_a_saga_and_hears_of_its_end(engine: goclaw.Engine) -> None:
    """A task of kind `saga` has its result, or fails with what it came to."""
    await engine.register(trip())
    flow = goclaw.Workflow("holiday")
    booked = flow.task("book", saga="trip")
    flow.output = booked.result["id"]
    assert (await engine.run(flow)).unwrap() == "hotel-1"
    broken.add("hotel")
    outcome = await engine.run(flow)
    assert outcome.error is not None
    assert outcome.error.code == "saga_compensated"
    broken.add("flight.compensation")
    outcome = await engine.run(flow)
    assert outcome.error is not None
    assert outcome.error.code == "saga_compensation_failed"
    parent = (await engine.sagas.list())[0]["parent"]
    assert parent == {"run_id": outcome.run_id, "task": "book"}


async def test_to_cancel_a_run_undoes_its_saga(engine: goclaw.Engine) -> None:
    """The run has ended only when everything is undone."""
    await engine.register(trip(what="wait"))
    flow = goclaw.Workflow("holiday")
    flow.task("book", saga="trip")
    await engine.submit(flow, run_id="r")
    await recorded(engine, AttemptStarted)
    assert "is running" in str(await engine.why("r"))
    await engine.cancel("r")
    assert (await engine.result("r")).status == "cancelled"
    assert [saga["status"] for saga in await engine.sagas.list()] == ["compensated"]
    assert calls[-1][0] == "cancel"


async def test_sagas_begin_sagas(tmp_path: Path) -> None:
    """A saga within one has no slot of its own: it would wait for that of the one that waits."""
    settings = Settings(sagas=SagaSettings(concurrent_max=1))
    outer = goclaw.Saga("outer")
    outer.step("all", {"saga": "trip"})
    async with asyncio.timeout(WAIT_S), goclaw.Engine(tmp_path / "d", settings=settings) as engine:
        await engine.register(trip())
        assert (await engine.sagas.run(outer)).unwrap() == {"id": "hotel-1"}


async def test_a_saga_is_no_workflow_and_a_workflow_no_saga(engine: goclaw.Engine) -> None:
    """Each is run by its own words, and named by its own key."""
    flow = goclaw.Workflow("flow")
    flow.task("a", agent="book")
    number: Any = 5
    wrongs = [engine.submit(trip()), engine.submit_saga(flow), engine.submit_saga(number)]
    for wrong in (*wrongs, engine.sagas.run(number), engine.run(number)):
        with pytest.raises(UsageInvalid):
            await wrong
    await engine.register(flow)
    mixed = goclaw.Workflow("mixed")
    mixed.task("a", saga="flow")
    with pytest.raises(ChildUnknown, match="is a workflow"):
        await engine.submit(mixed)


async def test_a_client_runs_sagas(tmp_path: Path) -> None:
    """Another program asks the same, by name or with a definition; the same id is the same saga."""
    async with goclaw.Engine(tmp_path / "d") as engine:
        await engine.register(trip())
        async with goclaw.Client(tmp_path / "d") as client:
            assert (await client.sagas.run("trip", saga_id="s")).ok
            assert (await client.sagas.submit("trip", saga_id="s"))["repeated"] is True
            assert (await client.sagas.run(trip(), idempotency_key="k")).ok
            assert len(await client.sagas.list()) == 2
        found = await asyncio.to_thread(_blocking, tmp_path / "d")
        assert found == ("completed", 3)


def _blocking(data_dir: Path) -> tuple[str, int]:
    with goclaw.SyncClient(data_dir) as client:
        ended = client.sagas.run("trip", saga_id="sync")
        return ended.status, len(client.sagas.list())


def test_the_command_line_runs_and_resumes_sagas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without an engine a command is one for as long as it waits; another one goes on."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trip.yaml").write_text(
        "{name: trip, policy: manual, steps: {a: {action: {agent: goclaw.echo},"
        " compensation: {agent: goclaw.echo}}, b: {action: {agent: goclaw.fail}, needs: [a]}}}"
    )

    def called(*words: str) -> tuple[int, Any]:
        code = main([*words, "--json"])
        return code, last_json(capsys.readouterr().out)

    assert called("validate", "trip.yaml")[1]["tasks"] == 3
    assert called("plan", "trip.yaml")[0] == 0
    assert "steps" in called("schema", "saga")[1]["properties"]
    code, found = called("sagas", "run", "trip.yaml", "--saga-id", "s")
    assert (code, found["status"], found["awaited"]) == (1, "awaiting_compensation", ["a"])
    assert "sagas_wait" in {finding["code"] for finding in called("doctor")[1]["findings"]}
    assert called("sagas", "compensate", "s", "--reason", "yes")[1]["repeated"] is False
    found = called("doctor")[1]["findings"]
    assert "sagas_unfinished" in {finding["code"] for finding in found}
    assert called("sagas", "compensate", "s")[1]["repeated"] is True
    assert main(["why", "s"]) == 0
    assert "goclaw sagas resume" in capsys.readouterr().err
    code, found = called("sagas", "resume")
    assert (code, found["resumed"]) == (1, [{"saga_id": "s", "status": "compensated"}])
    assert called("sagas", "resume") == (0, {"resumed": []})
    assert called("sagas", "list", "--status", "compensated")[1][0]["saga_id"] == "s"
    assert main(["sagas", "show", "@last", "--timeline"]) == 0
    assert "saga.compensation_awaited" in capsys.readouterr().out
    assert called("replay", "--verify")[0] == 0


def test_a_saga_is_pointed_at_where_a_run_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands for runs say what to ask instead; the log shows either."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.yaml").write_text("{name: one, steps: {a: {action: {agent: goclaw.echo}}}}")

    def told(*words: str) -> tuple[int, str]:
        code = main(list(words))
        out, err = capsys.readouterr()
        return code, out + err

    code, said = told("run", "one.yaml")
    assert (code, "goclaw sagas run one.yaml" in said) == (2, True)
    assert told("sagas", "run", "one.yaml", "--saga-id", "s")[0] == 0
    for name in ("s", "~s"):
        code, said = told("runs", "show", name)
        assert (code, "goclaw sagas show s" in said) == (3, True)
        assert told("sagas", "show", name)[0] == 0
        code, said = told("log", "show", "--run", name)
        assert (code, "saga.completed" in said, "task.completed" in said) == (0, True, True)
    assert told("log", "show", "--run", "t")[0] == 3
    code, said = told("replay", "--run", "s")
    assert (code, "goclaw sagas show" in said) == (3, True)


async def test_a_registered_saga_is_shown_as_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its steps by needs; what undoes them beside that."""
    async with goclaw.Engine(tmp_path / "d") as engine:
        await engine.register(trip())
    asked = ["workflows", "show", "trip", "--data-dir", str(tmp_path / "d")]
    assert await asyncio.to_thread(main, asked) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("saga trip@1, ")
    lines = [line.split() for line in shown.splitlines()]
    assert ["hotel", "flight"] in lines
    assert ["flight", "agent", "cancel", "hotel", "/default", "auto"] in lines
    assert await asyncio.to_thread(main, [*asked, "--json"]) == 0
    found = last_json(capsys.readouterr().out)
    assert (found["kind"], [task["id"] for task in found["tasks"]]) == ("saga", ["flight", "hotel"])


def test_who_waits_no_longer_leaves_nothing_behind(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A command that waited long enough says how to go on, and no traceback follows."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slow.yaml").write_text(
        "{name: slow, steps: {a: {action: {agent: book, with: {what: wait}}}}}"
    )
    assert main(["sagas", "run", "slow.yaml", "--timeout", "0.1"]) == 4
    gc.collect()
    assert "goclaw sagas resume" in capsys.readouterr().err
    assert [record for record in caplog.records if record.name == "asyncio"] == []


async def test_durable_steps_of_a_saga_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An action that failed after one is undone; people see what it did."""

    @goclaw.agent("charge")
    async def charge(ctx: goclaw.TaskContext) -> None:
        await ctx.step("charge", goclaw.step_key)
        raise goclaw.Fail("no receipt", code="printer")

    saga = goclaw.Saga("order")
    saga.step("pay", {"agent": "charge"}, undo={"agent": "cancel"})
    async with asyncio.timeout(WAIT_S), goclaw.Engine(tmp_path / "d") as engine:
        assert (await engine.sagas.run(saga, saga_id="s")).status == "compensated"
    asked = ["sagas", "show", "s", "--steps", "--data-dir", str(tmp_path / "d")]
    assert await asyncio.to_thread(main, [*asked, "--json"]) == 0
    found = last_json(capsys.readouterr().out)["durable_steps"]
    assert [(one["task"], one["result"]) for one in found] == [("pay", "~s/pay/0/charge/")]
    assert await asyncio.to_thread(main, asked) == 0
    assert "~s/pay/0/charge/" in capsys.readouterr().out


def test_what_stands_is_told_from_what_was_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step whose compensation is skipped stands; one that failed, or never began, does not."""
    monkeypatch.chdir(tmp_path)
    undo = "compensation: {agent: goclaw.echo}"
    (tmp_path / "mixed.yaml").write_text(
        f"{{name: mixed, steps: {{a: {{action: {{agent: goclaw.echo}}, {undo}, policy: skip}},"
        f" b: {{action: {{agent: goclaw.fail}}, {undo}, needs: [a]}},"
        f" c: {{action: {{agent: goclaw.echo}}, {undo}, needs: [b]}}}}}}"
    )
    assert main(["sagas", "run", "mixed.yaml"]) == 1
    capsys.readouterr()
    assert main(["sagas", "show", "@last"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-3:]]
    assert rows == [
        ["a", "completed", "1", "skipped", "skip"],
        ["b", "failed", "1", "not", "needed", "auto"],
        ["c", "not", "begun", "0", "not", "needed", "auto"],
    ]


async def test_why_goes_through_a_saga_to_what_runs(
    engine: goclaw.Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Asked of the run above it, of the saga, or of a step; a name that is both means the run."""
    await engine.register(trip("inner", "wait"))
    workflow = goclaw.Workflow("outer")
    workflow.task("child", saga="inner")
    run = await engine.submit(workflow, run_id="outer-1")
    await recorded(engine, AttemptStarted)
    found = (await engine.why("outer-1"))["reason"]
    kinds = []
    while True:
        kinds.append(found["kind"])
        if not found["because"]:
            break
        (found,) = found["because"]
    assert kinds == ["run", "child_run", "saga", "running"]
    (saga,) = await engine.sagas.list()
    assert found["subject"] == {"saga_id": saga["saga_id"], "task": "flight"}
    asked = ["why", "--data-dir", str(tmp_path / "d")]
    assert await asyncio.to_thread(main, [*asked, saga["saga_id"], "hotel"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("task hotel needs flight")
    assert "task flight runs (attempt 1)" in said[1]
    both = await engine.submit_saga(trip("inner", "wait"), saga_id="outer-1")
    assert both.run_id == run.run_id
    assert "run_id" in await engine.why("outer-1")
    assert await asyncio.to_thread(main, [*asked, "outer-1", "--saga"]) == 0
    assert capsys.readouterr().out.startswith("saga outer-1 (inner) is running")
    assert await asyncio.to_thread(main, [*asked, "outer-1", "none", "--saga", "--json"]) == 3
    assert last_json(capsys.readouterr().out)["error"]["code"] == "not_found"
    assert await asyncio.to_thread(main, [*asked, "nobody", "--json"]) == 3
    assert last_json(capsys.readouterr().out)["error"]["code"] == "run_not_found"


async def test_a_saga_that_nothing_wakes_is_named(
    engine: goclaw.Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In its listing and its record, and by the doctor, also when no engine runs."""
    await engine.submit_saga(trip(what="wait"), saga_id="s")
    await recorded(engine, AttemptStarted)
    evidence = [["task/~s/flight", "its timer is not set"]]
    engine.parts.send(Message(saga_stream("s"), JudgeRun(evidence)))
    await recorded(engine, RunStuck)
    (listed,) = await engine.sagas.list()
    assert listed["stuck"] == [{"subject": evidence[0][0], "evidence": evidence[0][1]}]
    where = ["--data-dir", str(tmp_path / "d")]
    for at_work in (True, False):
        if not at_work:
            await engine.stop()
        await asyncio.to_thread(main, ["doctor", *where, "--json"])
        found = last_json(capsys.readouterr().out)["findings"]
        (stuck,) = (finding for finding in found if finding["code"] == "saga_stuck")
        assert stuck["says"] == "s"
        assert "goclaw why --saga s" in stuck["mend"]
    assert main(["sagas", "show", "s", *where]) == 0
    assert "STUCK" in capsys.readouterr().out
