"""Idempotency keys, and the versions that commands insist on, as programs and commands see them."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.cli import main
from goclaw.errors import InvalidRequest, ScheduleNotFound, UsageInvalid
from goclaw.results import CommandRefused
from goclaw.submission import KEY_CHARS_MAX
from goclaw.testing import TestEngine
from tests.goclaw.processes import last_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT_S = 30.0
GREET = "{name: greet, input: {who: {type: string, default: you}}, tasks: {t: {wait: 1h}}}"
OTHER = "{name: greet, input: {who: {type: string, default: me}}, tasks: {t: {wait: 2h}}}"


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Register `hold`, which works until the gate is opened."""
    opened = threading.Event()

    @goclaw.agent("hold")
    def hold(_ctx: goclaw.TaskContext) -> None:
        opened.wait(WAIT_S)

    yield opened
    opened.set()


def holding() -> goclaw.Workflow:
    """Return a workflow whose task works until the gate is opened."""
    workflow = goclaw.Workflow("holding")
    workflow.task("t", agent="hold")
    return workflow


def trip() -> goclaw.Saga:
    """Return a saga whose only step works until the gate is opened."""
    saga = goclaw.Saga("trip")
    saga.step("seat", action={"agent": "hold"})
    return saga


def files(folder: Path) -> tuple[Path, Path]:
    """Write two definitions of one name."""
    for name, text in (("one", GREET), ("two", OTHER)):
        (folder / f"{name}.yaml").write_text(text)
    return folder / "one.yaml", folder / "two.yaml"


async def refused(asking: Any) -> CommandRefused:
    """Return why a command was refused."""
    with pytest.raises(CommandRefused) as caught:
        await asking
    return caught.value


async def test_a_key_leads_to_one_run_and_another_request_under_it_is_a_conflict(
    tmp_path: Path,
) -> None:
    """Also for another input, another label, another definition of the name; and over a restart."""
    one, two = files(tmp_path)
    async with goclaw.Engine(tmp_path / "d") as engine:
        first = await engine.submit(one, idempotency_key="k")
        wrong: list[dict[str, Any]] = [{"input": {"who": "x"}}, {"labels": {"a": "b"}}]
        for more in wrong:
            conflict = await refused(engine.submit(one, idempotency_key="k", **more))
            assert conflict.code == "command_conflict"
            assert "idempotency key 'k'" in conflict.message
        assert (await refused(engine.submit(two, idempotency_key="k"))).code == "command_conflict"
        assert (await engine.submit(one, idempotency_key="l")).run_id != first.run_id
    async with goclaw.Engine(tmp_path / "d") as engine:
        again = await engine.submit(one, idempotency_key="k", input={"who": "you"})
        await engine.cancel(first.run_id)
        ended = await engine.submit(one, idempotency_key="k")
    assert (first.repeated, again.repeated, ended.repeated) == (False, True, True)
    assert {first.run_id, again.run_id, ended.run_id} == {first.run_id}


async def test_c34_of_many_that_come_at_once_under_a_key_one_begins(tmp_path: Path) -> None:
    """Checked and recorded in one turn: over two clients and the engine itself, one run is new."""
    one, two = files(tmp_path)
    async with (
        goclaw.Engine(tmp_path / "d") as engine,
        goclaw.Client(tmp_path / "d") as first,
        goclaw.Client(tmp_path / "d") as second,
    ):
        asking = [each.submit(one, idempotency_key="k") for each in (engine, first, second) * 5]
        answers = await asyncio.gather(*asking, second.submit(two, idempotency_key="k"),
                                       return_exceptions=True)  # fmt: skip
    begun = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len({answer.run_id for answer in begun}) == 1
    assert [answer.repeated for answer in begun].count(False) == 1
    assert [getattr(answer, "code", "") for answer in answers].count("command_conflict") >= 1


async def test_c41_a_key_is_known_after_a_kill_and_for_as_long_as_the_run() -> None:
    """It is the id of the run, in the log: no store of its own to lose, or to let grow."""
    async with TestEngine() as engine:
        engine.script("hold").returns(1)
        first = await engine.submit(holding(), idempotency_key="k")
        await engine.restart(killed=True)
        await engine.advance("400d")
        again = await engine.submit(holding(), idempotency_key="k")
    assert (again.run_id, again.repeated) == (first.run_id, True)


async def test_a_repeat_by_name_means_the_version_that_the_name_stood_for(tmp_path: Path) -> None:
    """Who asks again after a new version was registered gets the run, not a conflict."""
    one, two = files(tmp_path)
    async with goclaw.Engine(tmp_path / "d") as engine:
        await engine.register(one)
        first = await engine.submit("greet", idempotency_key="k")
        await engine.register(two)
        again = await engine.submit("greet", idempotency_key="k")
        other = await engine.submit("greet", idempotency_key="l")
        same = await engine.submit("greet@2", idempotency_key="l")
        conflict = await refused(engine.submit("greet@2", idempotency_key="k"))
        changed = await refused(engine.submit("greet", input={"who": "x"}, idempotency_key="k"))
    assert (again.run_id, again.repeated) == (first.run_id, True)
    assert (other.repeated, same.repeated) == (False, True)
    assert {conflict.code, changed.code} == {"command_conflict"}


@pytest.mark.parametrize(
    "given",
    [
        {"idempotency_key": ""},
        {"idempotency_key": "k" * (KEY_CHARS_MAX + 1)},
        {"idempotency_key": "k", "run_id": "r"},
    ],
)
async def test_a_key_that_would_mix_runs_up_is_refused(
    given: dict[str, Any], tmp_path: Path
) -> None:
    """An empty one (a variable that is not set), one beyond the limit, one beside an id."""
    one, _ = files(tmp_path)
    async with goclaw.Engine(":memory:") as engine:
        with pytest.raises(UsageInvalid):
            await engine.submit(one, **given)
        assert not (await engine.submit(one, idempotency_key="k" * KEY_CHARS_MAX)).repeated


async def test_who_looked_before_somebody_else_is_told_so(
    tmp_path: Path, gate: threading.Event
) -> None:
    """Pausing counts, so the second who saw version 1 neither resumes nor cancels."""
    async with goclaw.Engine(tmp_path / "d") as engine, goclaw.Client(tmp_path / "d") as client:
        await engine.submit(holding(), run_id="r")
        seen = (await client.show("r"))["version"]
        assert seen == 1
        assert await client.pause("r", if_version=seen) == "paused"
        for say in (client.resume, client.cancel):
            assert (await refused(say("r", if_version=seen))).code == "run_changed"
        with pytest.raises(InvalidRequest, match="a task has no version"):
            await engine.pause("r", "t", if_version=2)
        assert (await client.show("r"))["version"] == 2
        await client.resume("r", if_version=2)
        await engine.cancel("r", if_version=3, command_id="c")
        await engine.cancel("r", if_version=3, command_id="c")
        gate.set()
        assert (await engine.result("r")).status == "cancelled"
        assert (await client.show("r"))["version"] == 5


async def test_a_saga_is_decided_about_by_one_who_saw_it_so(
    tmp_path: Path, gate: threading.Event
) -> None:
    """Its version is shown, and another one is refused."""
    async with goclaw.Engine(tmp_path / "d") as engine:
        saga_id = (await engine.sagas.submit(trip(), idempotency_key="k"))["saga_id"]
        seen = (await engine.sagas.show(saga_id))["version"]
        stale = engine.sagas.compensate(saga_id, if_version=seen + 1)
        assert (await refused(stale)).code == "saga_changed"
        await engine.sagas.compensate(saga_id, if_version=seen)
        gate.set()
        await engine.sagas.result(saga_id)
        assert (await engine.sagas.show(saga_id))["version"] > seen


async def test_a_schedule_is_changed_by_one_who_saw_it_so(tmp_path: Path) -> None:
    """Its version is shown, and another one is refused; also where it is replaced."""
    one, two = files(tmp_path)
    async with goclaw.Engine(tmp_path / "d") as engine:
        schedules = engine.schedules
        await schedules.create("s", one, every="1h")
        assert (await schedules.show("s"))["version"] == 1
        await schedules.pause("s", if_version=1)
        replacing = schedules.create("s", two, every="1h", replace=True, if_version=1)
        assert (await refused(replacing)).code == "schedule_changed"
        assert (await refused(schedules.resume("s", if_version=1))).code == "schedule_changed"
        await schedules.delete("s", if_version=2)
        gone = schedules.create("s", two, every="1h", if_version=3)
        assert (await refused(gone)).code == "schedule_changed"
        with pytest.raises(ScheduleNotFound):
            await schedules.pause("s", if_version=0)
        await schedules.create("s", two, every="1h", if_version=0)


def test_commands_insist_on_versions_and_take_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--if-version` of another version exits 7; a run under a key is begun once."""
    monkeypatch.chdir(tmp_path)
    files(tmp_path)
    began = ["run", "one.yaml", "--idempotency-key", "k", "--timeout", "0.2", "--json"]
    ids = set()
    for _ in range(2):
        assert main(began) == 4
        ids.add(last_json(capsys.readouterr().out)["run_id"])
    assert len(ids) == 1
    assert main(["runs", "cancel", "@last", "--if-version", "7", "--json"]) == 7
    assert last_json(capsys.readouterr().out)["error"]["code"] == "run_changed"
    assert main(["signal", "pause", "@last", "--if-version", "1"]) == 0
    assert main(["signal", "resume", "@last", "--if-version", "1"]) == 7
    assert main(["runs", "cancel", "@last", "--if-version", "2", "--command-id", "c"]) == 0
