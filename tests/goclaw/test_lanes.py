"""Lanes from outside: list, show, set, pause, resume, drain; by command, client and engine."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw import asker
from goclaw.cli import main
from goclaw.config import ExecutorSettings, Settings
from goclaw.errors import InvalidRequest, LaneNotFound
from goclaw.results import CommandRefused
from goclaw_events.definition import WorkflowDefinition
from tests.goclaw.eventually import eventually
from tests.goclaw.processes import last_json

if TYPE_CHECKING:
    from pathlib import Path

WAIT_S = 30.0
ME = f"uid:{os.geteuid()}"
DIGEST = "{name: digest, lanes: {io: {concurrency: 8}}, tasks: {a: {agent: goclaw.echo, lane: io}}}"


def blocking(count: int) -> WorkflowDefinition:
    """Return a workflow of tasks that wait for an event of the test."""
    tasks = {f"t{number}": {"agent": "test.block", "lane": "io"} for number in range(count)}
    lanes = {"io": {"concurrency": 2}}
    given = {"name": "digest", "lanes": lanes, "tasks": tasks, "on_failure": "continue"}
    return WorkflowDefinition.model_validate(given)


async def until(engine: goclaw.Engine, lane: str = "digest/io", **wanted: Any) -> dict[str, Any]:
    """Return the lane once it shows this."""

    async def look() -> dict[str, Any] | None:
        found = await engine.lanes.show(lane)
        return found if all(found[name] == value for name, value in wanted.items()) else None

    return await eventually(look)


@pytest.fixture
def gate() -> threading.Event:
    """Return what the agent `test.block` waits for."""
    event = threading.Event()

    @goclaw.agent("test.block")
    def block(_: goclaw.TaskContext) -> None:
        event.wait(WAIT_S)

    return event


async def test_limits_hold_from_when_they_are_set(tmp_path: Path, gate: threading.Event) -> None:
    """More slots start more at once; fewer take nothing away; a restart keeps what was set."""
    settings = Settings(executors=ExecutorSettings(stop_grace_s=0.1))
    async with goclaw.Engine(tmp_path / "d", settings=settings) as engine:
        submitted = await engine.submit(blocking(6))
        await until(engine, running=2, queued=4)
        done = await engine.lanes.set("digest/io", {"concurrency": 4}, claimed="Ada")
        assert (done["version"], done["set"]) == (1, {"concurrency": 4})
        lane = await until(engine, running=4, queued=2)
        assert (lane["declared"]["concurrency"], lane["concurrency"]) == (2, 4)
        assert (lane["changed_by"], lane["changed_as"]) == (ME, "Ada")
        assert lane["oldest_waits_s"] > 0
        await engine.lanes.set("digest/io", {"concurrency": 1})
        assert (await until(engine, concurrency=1))["running"] == 4
    async with goclaw.Engine(tmp_path / "d") as engine:
        assert (await engine.lanes.show("digest/io"))["live"] == {"concurrency": 1}
        await engine.lanes.set("digest/io", reset=True)
        gate.set()
        assert (await engine.result(submitted.run_id, timeout_s=WAIT_S)).ok
        assert (await engine.lanes.show("digest/io"))["concurrency"] == 2


async def test_pause_drain_and_resume(tmp_path: Path, gate: threading.Event) -> None:
    """Paused, nothing starts; draining, nobody is taken in, and their runs hear why."""
    async with goclaw.Engine(tmp_path / "d") as engine, goclaw.Client(tmp_path / "d") as client:
        await engine.submit(blocking(4), run_id="one")
        await until(engine, running=2, queued=2)
        await client.lanes.pause("digest/io")
        gate.set()
        await until(engine, running=0, queued=2, mode="paused")
        await client.lanes.drain("digest/io")
        assert (await engine.result("one", timeout_s=WAIT_S)).ok
        ended = await engine.run(blocking(1), timeout_s=WAIT_S)
        assert ended.error is not None
        assert ended.error.code == "lane_draining"
        await client.lanes.resume("digest/io")
        assert (await engine.run(blocking(1), timeout_s=WAIT_S)).ok
        assert [lane["lane"] for lane in await client.lanes.list(definition="digest")] == [
            "digest/io"
        ]


async def test_changes_can_be_sent_twice_and_insist_on_a_version(tmp_path: Path) -> None:
    """The same command changes once; who comes second is told; a lane that is not there, too."""
    async with goclaw.Engine(tmp_path / "d") as engine:
        lanes = engine.lanes
        first = await lanes.pause("/default", command_id="c", if_version=0)
        again = await lanes.pause("/default", command_id="c", if_version=0)
        assert (first["version"], again["version"], again["repeated"]) == (1, 1, True)
        with pytest.raises(CommandRefused) as refused:
            await lanes.resume("/default", if_version=0)
        assert refused.value.code == "lane_changed"
        with pytest.raises(LaneNotFound, match="/defualt") as unknown:
            await lanes.pause("/defualt")
        assert "/default" in unknown.value.hint
        with pytest.raises(LaneNotFound):
            await lanes.show("digest/io")


async def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    """Unknown names, values that no definition could have; and nothing is changed."""
    wrong = {"concurrency": 0, "rate": {"burst": 2}, "capacitty": 1, "fair_by": "tenant"}
    async with goclaw.Engine(tmp_path / "d") as engine:
        await engine.lanes.pause("/default")
        with pytest.raises(InvalidRequest) as caught:
            await engine.lanes.set("/default", wrong)
        faults: Any = caught.value.details["faults"]
        paths = [fault["path"] for fault in faults]
        assert sorted(paths) == ["capacitty", "concurrency", "fair_by", "rate.per_second"]
        with pytest.raises(InvalidRequest, match="DEFINITION/LANE"):
            await engine.lanes.show("default")
        assert (await engine.lanes.show("/default"))["version"] == 1


def test_who_asks_is_who_the_transport_says() -> None:
    """In this process our own user; on a connection that of its other end."""
    assert asker.asker() == ME
    asker.asked_by(4242)
    try:
        assert asker.asker() == "uid:4242"
    finally:
        asker.asked_by(os.geteuid())


def test_commands_work_without_an_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory is opened, and closed again; what was set is there for the next engine."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digest.yaml").write_text(DIGEST)

    def called(*words: str) -> tuple[int, Any]:
        code = main(["lanes", *words, "--json"])
        return code, last_json(capsys.readouterr().out)

    assert main(["run", "digest.yaml", "--json"]) == 0
    capsys.readouterr()
    code, done = called("set", "digest/io", "concurrency=3", "rate.per_second=2", "ageing=30s")
    assert (code, done["version"]) == (0, 1)
    code, lane = called("show", "digest/io")
    rate = {"per_second": 2.0, "burst": 1, "kind": "token_bucket"}
    assert lane["live"] == {"concurrency": 3, "rate": rate, "ageing": 30.0}
    assert called("set", "digest/io", "rate=declared", "--by", "Ada")[1]["set"] == {"rate": None}
    assert [row["lane"] for row in called("list")[1]] == ["/default", "digest/io"]
    assert called("set", "digest/io", "concurrency=many")[0] == 2
    assert called("set", "digest/io")[0] == 2
    assert called("set", "digest/io", "nonsense")[0] == 2
    assert called("set", "digest/io", "rate=3", "rate.burst=3")[0] == 2
    assert called("pause", "digest/ioo")[0] == 3
    assert called("pause", "digest/io", "--if-version", "7")[0] == 7
    assert main(["lanes", "drain", "digest/io"]) == 0
    assert "draining, version 3; set live: concurrency 3" in capsys.readouterr().err
    assert main(["lanes", "list"]) == 0
    assert "drained" in capsys.readouterr().out
    assert main(["lanes", "show", "digest/io"]) == 0
    assert f"by {ME}" in capsys.readouterr().out


async def test_a_drained_lane_is_waited_for(
    tmp_path: Path, gate: threading.Event, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until what it had has ended; what is left is said, also where it takes too long."""
    directory = str(tmp_path / "d")

    async def drain(*words: str) -> int:
        drain = ["lanes", "drain", "digest/io", "--data-dir", directory, "--wait", *words]
        return await asyncio.to_thread(main, drain)

    async with goclaw.Engine(tmp_path / "d") as engine:
        await engine.submit(blocking(3), run_id="r")
        await until(engine, running=2, queued=1)
        assert await drain("--timeout", "0.01") == 4
        said = capsys.readouterr().err
        assert "was not drained within 0.01 s: 2 running, 1 queued" in said
        waiting = asyncio.create_task(drain("--json"))
        await until(engine, mode="draining")
        gate.set()
        assert await waiting == 0
        told = capsys.readouterr()
        done = last_json(told.out)
        assert (done["lane"], done["running"], done["queued"]) == ("digest/io", 0, 0)
        assert (await engine.result("r", timeout_s=WAIT_S)).ok


async def test_who_waits_for_a_lane_hears_that_it_goes_on_or_that_nobody_works_on_it(
    tmp_path: Path, gate: threading.Event, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody resumes it; no engine runs any more: a wait that would have no end has one."""
    drain = ["lanes", "drain", "digest/io", "--data-dir", str(tmp_path / "d"), "--wait"]
    settings = Settings(executors=ExecutorSettings(stop_grace_s=0.1))
    async with goclaw.Engine(tmp_path / "d", settings=settings) as engine:
        await engine.submit(blocking(3), run_id="r")
        await until(engine, running=2, queued=1)
        waiting = asyncio.create_task(asyncio.to_thread(main, drain))
        await until(engine, mode="draining")
        await engine.lanes.resume("digest/io")
        assert await waiting == 7
        assert "digest/io is open again: 2 running, 1 queued" in capsys.readouterr().err
    assert await asyncio.to_thread(main, drain) == 5
    assert "nobody works on what is in digest/io" in capsys.readouterr().err
    gate.set()


async def test_what_was_sent_on_has_a_wait_that_is_shown(
    tmp_path: Path, gate: threading.Event
) -> None:
    """A lane that took in what another redirected knows since when it waits there."""
    given = blocking(4).model_dump(mode="json", exclude_unset=True)
    given["lanes"] = {
        "io": {"concurrency": 1, "capacity": 1, "overflow": "redirect", "redirect_to": "spill"},
        "spill": {"concurrency": 1},
    }
    async with goclaw.Engine(tmp_path / "d") as engine:
        submitted = await engine.submit(WorkflowDefinition.model_validate(given))
        lane = await until(engine, "digest/spill", running=1, queued=1)
        assert lane["oldest_waits_s"] > 0
        gate.set()
        assert (await engine.result(submitted.run_id, timeout_s=WAIT_S)).ok
        assert (await until(engine, "digest/spill", queued=0))["oldest_waits_s"] is None


async def test_a_cap_on_attempts_holds_over_all_lanes(
    tmp_path: Path, gate: threading.Event
) -> None:
    """What is beyond it has its slot, waits in the executor, and is shown; all of it ends."""
    settings = Settings(executors=ExecutorSettings(attempts_max=1))
    async with goclaw.Engine(tmp_path / "d", settings=settings) as engine:
        submitted = await engine.submit(blocking(3))
        await until(engine, running=2, queued=1)
        assert engine.status()["attempts_waiting"] == 1
        gate.set()
        assert (await engine.result(submitted.run_id, timeout_s=WAIT_S)).ok
        assert engine.status()["attempts_waiting"] == 0


async def test_slots_follow_the_load_until_they_are_set(
    tmp_path: Path, gate: threading.Event
) -> None:
    """A lane that scales shows how many it has; slots set live fix them; both at once is wrong."""
    given = blocking(5).model_dump(mode="json", exclude_unset=True)
    given["lanes"] = {"io": {"scale": {"min": 1, "max": 4, "wait": "50ms"}}}
    scaling = WorkflowDefinition.model_validate(given)
    async with goclaw.Engine(tmp_path / "d") as engine:
        submitted = await engine.submit(scaling)
        lane = await until(engine, running=4, queued=1)
        assert (lane["concurrency"], lane["limits"]["scale"]["max"]) == (4, 4)
        with pytest.raises(InvalidRequest, match="not both"):
            await engine.lanes.set("digest/io", {"concurrency": 1, "scale": {"min": 1, "max": 2}})
        await engine.lanes.set("digest/io", {"concurrency": 5})
        assert "scale" not in (await until(engine, running=5, concurrency=5))["limits"]
        gate.set()
        assert (await engine.result(submitted.run_id, timeout_s=WAIT_S)).ok


@pytest.mark.parametrize(
    "lane", [{"scale": {"min": 3, "max": 2}}, {"concurrency": 2, "scale": {"min": 1, "max": 2}}]
)
def test_a_scale_that_cannot_be_is_a_fault_of_the_definition(lane: dict[str, Any]) -> None:
    """Least above most; slots said in two ways."""
    tasks = {"a": {"agent": "x", "lane": "io"}}
    with pytest.raises(ValueError, match=r"min is more than max|not both"):
        WorkflowDefinition.model_validate({"name": "w", "lanes": {"io": lane}, "tasks": tasks})
