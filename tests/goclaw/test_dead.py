"""Dead letters through the engine, clients, the command line and the views."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.board import RunBoard
from goclaw.cli import main
from goclaw.config import Settings
from goclaw.dead import parts_of, summed
from goclaw.errors import InvalidRequest, LetterNotFound
from goclaw.live import LineDisplay
from goclaw.log_health import ask_engine, look_at_log
from goclaw.operations import desk
from goclaw.results import CommandRefused
from goclaw_events.definition import WorkflowDefinition
from goclaw_events.faults import InvalidDefinition
from goclaw_events.plan import compile_plan
from tests.goclaw.eventually import eventually
from tests.goclaw.processes import last_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WAIT_S = 30.0
broken: set[str] = set()


async def send(ctx: goclaw.TaskContext, to: str = "", n: int = 0) -> str:
    """Send something, unless that is broken; the key tells one generation from another."""
    if "all" in broken or to in broken:
        raise goclaw.Fail(f"no route to host {n}.example", code="unreachable", retryable=n > 0)
    return f"{to} {n} {ctx.idempotency_key}"


@pytest.fixture(autouse=True)
def _agents() -> None:
    broken.clear()
    goclaw.agent("send")(send)


@pytest.fixture(params=[1, 4])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[goclaw.Engine]:
    """Give an engine on a directory, with one partition and with four."""
    settings = Settings(partitions=request.param)
    async with asyncio.timeout(WAIT_S), goclaw.Engine(tmp_path / "d", settings=settings) as opened:
        yield opened


def mail(*names: str) -> dict[str, Any]:
    """Return a workflow of tasks that may become dead letters."""
    retry = {"attempts": 2, "initial": 0, "on_exhausted": "dead_letter"}
    return {
        "name": "mail",
        "tasks": {
            name: {"agent": "send", "with": {"to": name, "n": n}, "retry": retry}
            for n, name in enumerate(names)
        },
    }


async def submit(engine: goclaw.Engine, *names: str, run_id: str = "r") -> None:
    """Begin a run of such tasks."""
    definition = WorkflowDefinition.model_validate(mail(*names))
    await engine.submit(definition, run_id=run_id)


async def letters(engine: goclaw.Engine, count: int, **wanted: Any) -> list[dict[str, Any]]:
    """Return the open letters once there are so many."""

    async def look() -> list[dict[str, Any]] | None:
        found: list[dict[str, Any]] = await engine.dead.list(**wanted)
        return found if len(found) == count else None

    return await eventually(look)


async def test_a_letter_is_redriven_with_edited_parameters(engine: goclaw.Engine) -> None:
    """It is shown with what it was given and how it failed; then its run completes."""
    broken.add("a")
    await submit(engine, "a", "b")
    (found,) = await letters(engine, 1)
    assert (found["letter"], found["kind"], found["name"]) == ("r/a", "task", "mail")
    assert (found["code"], found["reason"]) == ("unreachable", "exhausted")
    shown = await engine.dead.show("r/a")
    assert (shown["params"], shown["times"]) == ({"to": "a", "n": 0}, 1)
    assert [failure["attempt"] for failure in shown["failures"]] == [1]
    task = engine.views.tasks.get("r", "a")
    assert task is not None
    assert task.status == "dead"
    done = await engine.dead.redrive("r/a", edits={"to": "c"}, reason="moved")
    assert done["done"] == ["r/a"]
    assert (await engine.result("r")).unwrap() == {"a": "c 0 r/a/1", "b": "b 1 r/b/0"}
    (found,) = await engine.dead.list(state="redriven")
    assert (found["why"], found["by"].startswith("uid:")) == ("moved", True)
    assert await engine.dead.list() == []


async def test_a_discarded_letter_fails_its_run(engine: goclaw.Engine) -> None:
    """With the error of the task."""
    broken.add("a")
    await submit(engine, "a")
    await letters(engine, 1)
    await engine.dead.discard("r/a", reason="no use")
    ended = await engine.result("r")
    assert ended.error is not None
    assert (ended.status, ended.error.code, ended.error.task) == ("failed", "unreachable", "a")
    with pytest.raises(CommandRefused, match="r is failed"):
        await engine.dead.redrive("r/a")


async def test_letters_that_died_of_the_same_are_a_group(engine: goclaw.Engine) -> None:
    """Numbers in their messages make no difference; a group is redriven at a rate."""
    broken.add("all")
    await submit(engine, *"abcd")
    await letters(engine, 4)
    (group,) = await engine.dead.groups()
    assert (group["open"], group["message"]) == (4, "no route to host #.example")
    broken.clear()
    done = await engine.dead.redrive_all(group=group["group"], rate_per_s=200)
    assert (sorted(done["done"]), done["refused"]) == (["r/a", "r/b", "r/c", "r/d"], [])
    assert (await engine.result("r")).ok
    assert await engine.dead.groups() == []


async def test_a_letter_that_dies_again_is_counted(engine: goclaw.Engine) -> None:
    """It is the same letter, open again."""
    broken.add("a")
    await submit(engine, "a")
    await letters(engine, 1)
    await engine.dead.redrive("r/a")
    (found,) = await letters(engine, 1)
    assert (found["times"], found["generation"], found["state"]) == (2, 1, "open")


async def test_a_cancelled_run_withdraws_its_letters(engine: goclaw.Engine) -> None:
    """They are listed as withdrawn, and cannot be redriven."""
    broken.add("a")
    await submit(engine, "a")
    await letters(engine, 1)
    await engine.cancel("r")
    assert (await engine.result("r")).status == "cancelled"
    assert [found["letter"] for found in await engine.dead.list(state="withdrawn")] == ["r/a"]


async def test_a_saga_that_could_not_be_undone_is_a_letter(engine: goclaw.Engine) -> None:
    """Redriven, its compensations run again; discarding it takes a reason."""
    saga = goclaw.Saga("trip")
    undo = {"agent": "send", "with": {"to": "undo"}, "retry": {"attempts": 1}}
    first = saga.step("flight", {"agent": "send", "with": {"to": "ok"}}, undo=undo)
    saga.step("hotel", {"agent": "send", "with": {"to": "bad"}}, needs=[first])
    broken.update(("bad", "undo"))
    for name in ("one", "two"):
        assert (await engine.sagas.run(saga, saga_id=name)).status == "compensation_failed"
    assert [one["letter"] for one in await letters(engine, 2, kind="saga")] == ["~one", "~two"]
    assert (await engine.dead.show("~one"))["alarm"][0][:2] == ["flight", "unreachable"]
    with pytest.raises(InvalidRequest, match="no parameters"):
        await engine.dead.redrive("~one", edits={"n": 1})
    with pytest.raises(InvalidRequest, match="reason"):
        await engine.dead.discard("~two")
    broken.clear()
    await engine.dead.redrive("~one", reason="mended")
    await engine.dead.discard("~two", reason="by hand")
    assert (await engine.sagas.result("one")).status == "compensated"
    assert (await engine.sagas.show("one"))["retried"]["reason"] == "mended"
    assert (await engine.sagas.result("two")).status == "resolved"
    assert await engine.dead.list() == []


def test_a_saga_waits_for_nobody() -> None:
    """Its steps have no dead letters of their own: it goes back."""
    saga = goclaw.Saga("trip")
    saga.step("a", {"agent": "send"}, retry={"on_exhausted": "dead_letter"})
    with pytest.raises(InvalidDefinition, match=r"not_for_sagas: steps.a.retry.on_exhausted"):
        saga.definition()


async def test_clients_do_what_an_engine_does(tmp_path: Path) -> None:
    """Over the socket, with a loop and without one."""
    broken.add("all")

    def without_a_loop() -> list[Any]:
        with goclaw.SyncClient(tmp_path / "d") as sync:
            found = [sync.dead.groups(), sync.dead.list(), sync.dead.show("r/b")]
            sync.dead.discard("r/c", reason="no use")
            broken.clear()
            done = sync.dead.redrive_all(rate_per_s=100)
            return [*found, sorted(done["done"])]

    async with goclaw.Engine(tmp_path / "d") as engine, goclaw.Client(tmp_path / "d") as client:
        definition = WorkflowDefinition.model_validate(
            {**mail("a", "b", "c"), "on_failure": "continue"}
        )
        await client.submit(definition, run_id="r")
        await letters(engine, 3)
        found = [
            await client.dead.groups(),
            await client.dead.list(),
            await client.dead.show("r/b"),
        ]
        assert await asyncio.to_thread(without_a_loop) == [*found, ["r/a", "r/b"]]
        assert (await client.result("r")).status == "failed"
        assert len(await client.dead.list(state="redriven")) == 2
        with pytest.raises(LetterNotFound):
            await client.dead.redrive("r/z")


async def test_the_command_line_works_without_an_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is decided is recorded, and the next engine goes on with it."""
    monkeypatch.chdir(tmp_path)
    broken.add("all")
    async with goclaw.Engine(".goclaw") as engine:
        await submit(engine, "a", "b", "c")
        await letters(engine, 3)

    def called(*words: str) -> tuple[int, Any]:
        code = main(["dead", *words, "--json"])
        return code, last_json(capsys.readouterr().out)

    def at_the_prompt() -> None:
        code, listed = called("list")
        assert (code, [one["letter"] for one in listed]) == (0, ["r/a", "r/b", "r/c"])
        assert called("list", "--groups")[1][0]["open"] == 3
        assert called("show", "r/a")[1]["params"] == {"to": "a", "n": 0}
        assert called("redrive", "r/a", "--input", "to=x", "--input", "n=7")[0] == 0
        code, again = called("redrive", "r/a")
        assert (code, again["refused"][0]["code"]) == (7, "not_dead")
        code, rest = called("redrive", "--all", "--rate", "600/m", "--reason", "mended")
        assert (code, rest["done"], rest["rate_per_s"]) == (0, ["r/b", "r/c"], 10.0)
        assert called("redrive", "--all", "--rate", "10/s")[1]["repeated"] == ["r/b", "r/c"]
        assert main(["dead", "redrive", "--all", "--rate", "10/s"]) == 0
        said = capsys.readouterr().err
        assert "2 planned (2 of them before)" in said
        assert "one every 0.1 s" in said
        main(["dead", "redrive", "--group", "nobody"])
        assert "no open dead letter is of group nobody" in capsys.readouterr().err
        assert called("show", "r/z")[0] == 3
        assert called("list", "--cursor", "r/a")[0] == 2
        assert main(["sagas", "list", "--cursor", "s"]) == 2
        assert called("redrive")[0] == 2
        assert called("redrive", "--all", "--rate", "fast")[0] == 2
        main(["dead", "list", "--state", "redriven"])
        main(["dead", "show", "r/a"])
        assert "exhausted" in capsys.readouterr().out

    await asyncio.to_thread(at_the_prompt)
    broken.clear()
    async with asyncio.timeout(WAIT_S), goclaw.Engine(".goclaw") as engine:
        result = (await engine.result("r")).unwrap()
    assert result == {"a": "x 7 r/a/1", "b": "b 1 r/b/1", "c": "c 2 r/c/1"}


async def test_a_rate_is_kept_by_the_engine(tmp_path: Path) -> None:
    """Who asked is gone, and asking again plans nothing twice; another engine goes on with it."""
    broken.add("all")
    async with goclaw.Engine(tmp_path / "d") as engine:
        await submit(engine, *"abcd")
        await letters(engine, 4)
        broken.clear()
        first = await engine.dead.redrive_all(rate_per_s=0.01)
        again = await engine.dead.redrive_all(rate_per_s=0.01, reason="once more")
        assert sorted(first["done"]) == ["r/a", "r/b", "r/c", "r/d"]
        assert (first["repeated"], first["refused"]) == ([], [])
        assert again["done"] == again["repeated"]
        planned = [one for one in await letters(engine, 3) if one["planned_at"]]
        assert len(planned) == 3
        lane = await engine.lanes.show("/redrive")
        assert (lane["queued"], lane["limits"]["rate"]["per_second"]) == (1, 0.01)
        why = str(await engine.why("r"))
        assert "/redrive" in why
        with pytest.raises(InvalidRequest, match="at no rate"):
            await desk.ask_engine(engine, "dead.redrive", {"letters": ["0:1"], "rate_per_s": 1.0})
    async with asyncio.timeout(WAIT_S), goclaw.Engine(tmp_path / "d") as engine:
        assert len(await engine.dead.list()) == 3
        await engine.lanes.set("/redrive", {"rate": {"per_second": 200}})
        assert (await engine.result("r")).ok
        assert len(await engine.dead.list(state="redriven")) == 4


def test_many_letters_are_asked_for_in_parts() -> None:
    """All of them, in order, and what is answered is summed up."""
    found = [{"letter": str(n)} for n in range(120)]
    parts = list(parts_of(found))
    assert [len(some) for some in parts] == [50, 50, 20]
    answers = [{"done": some, "repeated": [], "refused": []} for some in parts]
    assert summed(answers) == {"done": found, "repeated": [], "refused": []}


async def test_people_are_told_that_letters_wait(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the doctor, beside an engine and without one, and by whoever watches the run."""
    broken.add("all")
    async with goclaw.Engine(tmp_path / "d") as engine:
        await submit(engine, "a")
        await letters(engine, 1)
        beside = await asyncio.to_thread(ask_engine, tmp_path / "d")
        assert beside is not None
    for health in (beside, look_at_log(tmp_path / "d")):
        found = [one for one in health.findings if one.code == "letters_wait"]
        assert [one.says for one in found] == ["1 tasks are dead letters: r/a"]
    display = LineDisplay()
    board = RunBoard("r", compile_plan(WorkflowDefinition.model_validate(mail("a"))), 0)
    board.seed("running", {"a": ("dead", 1, None, None)})
    display.changed(board, "a", board.tasks["a"])
    assert "goclaw dead show r/a" in capsys.readouterr().err


async def test_a_parked_message_is_settled_by_name(
    engine: goclaw.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redelivered, it is handled as if it came now; discarded, it is only put away."""
    kinds = engine.parts.deciders
    catalogue = kinds["catalogue"]

    def decide(state: Any, message: Any, moment: Any) -> Any:
        if "catalogue" in broken:
            raise RuntimeError("a bug")
        return catalogue.decide(state, message, moment)

    monkeypatch.setitem(kinds, "catalogue", dataclasses.replace(catalogue, decide=decide))
    one = WorkflowDefinition.model_validate(mail("a"))
    broken.add("catalogue")
    for version in ("1", "2"):
        with pytest.raises(CommandRefused, match="a bug"):
            await engine.register(one, version=version)
    broken.clear()
    first, second = await letters(engine, 2)
    assert (first["kind"], first["target"], first["message"]) == (
        "message", "catalogue/mail", "RuntimeError: a bug",
    )  # fmt: skip
    assert (await engine.dead.show(first["letter"]))["parked"]["type"] == "definition.register"
    assert (await engine.dead.redrive_all())["done"] == []
    with pytest.raises(InvalidRequest, match="no parameters"):
        await engine.dead.redrive(first["letter"], edits={"n": 1})
    asked = (engine.dead.redrive(first["letter"], reason="mended") for _ in range(3))
    found = await asyncio.gather(*asked, return_exceptions=True)
    refused = [type(one) for one in found if isinstance(one, BaseException)]
    assert refused == [LetterNotFound] * 2, "one of three who ask at once has it said once more"
    await engine.dead.discard(second["letter"])
    assert await engine.dead.list() == []
    (done,) = await engine.dead.list(state="redriven")
    assert (done["why"], (await engine.dead.show(first["letter"]))["parked"]) == ("mended", None)
    with pytest.raises(LetterNotFound, match="no message is parked"):
        await engine.dead.redrive(first["letter"])
    known = await asyncio.to_thread(engine.parts.catalogue.versions, "mail")
    assert [one.version for one in known] == ["1"]
