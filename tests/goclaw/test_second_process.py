"""Collected, merged and interrupted from another process than the engine's: clients, commands."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.cli import main
from goclaw.collected import CollectorNotFound
from tests.goclaw.processes import last_json, read_until, start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT_S = 30.0
AGENTS = """
import asyncio

import goclaw


@goclaw.agent("second.fail")
def fail(ctx, code):
    raise goclaw.Fail("no luck", code=code)


@goclaw.agent("second.listen")
async def listen(ctx):
    async for signal in ctx.signals():
        if signal.body == "stop":
            return signal.sender


@goclaw.agent("second.add")
def add(ctx, collected, start):
    return start + sum(one["result"]["n"] for one in collected["gathered"] if not one["error"])


@goclaw.agent("second.apart", executor="process")
async def apart(ctx):
    at = ctx.resumed_state or 0
    if at:
        return [at, ctx.attempt]
    try:
        async for signal in ctx.signals():
            at += 1
    except goclaw.Interrupted as error:
        ctx.save([at, str(error)])
        raise


@goclaw.agent("second.apart_sync", executor="process")
def apart_sync(ctx):
    at = ctx.resumed_state or 0
    if at:
        return [at, ctx.attempt]
    try:
        while True:
            at += ctx.next_signal() is not None
    except goclaw.Interrupted as error:
        ctx.save([at, str(error)])
        raise
"""
PANEL = """
name: panel
on_failure: continue
tasks:
  one: {agent: goclaw.echo, with: {n: 1}}
  two: {agent: goclaw.echo, with: {n: 2}}
  bad: {agent: second.fail, with: {code: bad_luck}}
  worse: {agent: second.fail, with: {code: worse_luck}}
  slow: {agent: second.listen}
"""
APART = """
name: apart
tasks: {loop: {agent: second.apart}, thread: {agent: second.apart_sync}}
output: ["${tasks.loop.result}", "${tasks.thread.result}"]
"""
ERRORS = {"p/bad": ("bad_luck", "no luck"), "p/worse": ("worse_luck", "no luck")}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder on whose `d` an engine runs in a process of its own, with one run `p`."""
    folder = tmp_path_factory.mktemp("second")
    (folder / "second.py").write_text(AGENTS)
    for name, text in (("panel", PANEL), ("apart", APART)):
        (folder / f"{name}.yaml").write_text(text)
    process = start(folder, "engine", "start", "--data-dir", "d", "--module", "second")
    assert process.stderr is not None
    try:
        read_until(process.stderr, b"engine ready")
        with goclaw.SyncClient(folder / "d") as client:
            client.submit(folder / "panel.yaml", run_id="p")
        yield folder
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err


@pytest.fixture
def data(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the data directory, known to every command."""
    monkeypatch.setenv("GOCLAW_DATA_DIR", str(here / "d"))
    return here / "d"


def called(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, Any]:
    """Run a command with `--json`; return its exit code and what it printed."""
    code = main([*args, "--json"])
    return code, last_json(capsys.readouterr().out)


async def test_all_failed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An error with every error, to who awaits it, iterates, blocks, or types a command."""
    async with goclaw.Client(data) as client:
        found = await client.collect("p/bad", "p/worse", collector_id="failed")
        assert (found.status, found.reason, found.results) == ("unmet", "all_failed", [])
        assert found.errors == ERRORS
        with pytest.raises(goclaw.CollectUnmet, match="all_failed") as raised:
            found.unwrap()
        assert raised.value.details["errors"] == {who: list(why) for who, why in ERRORS.items()}
        with pytest.raises(goclaw.CollectUnmet):
            [one async for one in client.collection("failed")]
    code, said = called(capsys, "collect", "--id", "failed")
    assert (code, said["status"]) == (1, "unmet")
    assert {one["task"]: one["error"] for one in said["gathered"]} == {
        "bad": ["bad_luck", "no luck"], "worse": ["worse_luck", "no luck"],
    }  # fmt: skip


async def test_some_failed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Results and errors, both; what was collected is there for who comes later."""
    async with goclaw.Client(data) as client:
        found = await client.collect("p/one", "p/bad", "p/two", collector_id="some")
        assert found.ok
        assert sorted(one["n"] for one in found.results) == [1, 2]
        assert found.errors == {"p/bad": ERRORS["p/bad"]}
    code, said = called(capsys, "collect", "--id", "some")
    assert (code, said["status"], len(said["gathered"])) == (0, "met", 3)
    ended = {one["task"]: (one["result"], one["error"]) for one in said["gathered"]}
    assert ended["bad"] == (None, ["bad_luck", "no luck"])
    assert ended["two"] == ({"n": 2}, None)


async def test_a_deadline_gives_what_there_is(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says what is missing."""
    async with goclaw.Client(data) as client:
        await client.collect("p/one")
        found = await client.collect("p/one", "p/slow", deadline_s=0.1)
    assert (found.status, found.missing, found.results) == ("partial", ("p/slow",), [{"n": 1}])
    code, said = called(capsys, "collect", "p/slow", "p/one", "--deadline", "100ms")
    assert (code, said["status"], said["missing"]) == (4, "partial", ["p/slow"])
    assert [one["task"] for one in said["gathered"]] == ["one"]


def test_a_blocking_client_waits_for_what_is_made(data: Path) -> None:
    """Merged, reduced, or failed; by its id again; and nothing of it is made twice."""
    with goclaw.SyncClient(data) as client:
        merged = client.collect("p/one", "p/two", "p/bad", merge="by_member", collector_id="all")
        assert merged.collected().result == {"p/one": {"n": 1}, "p/two": {"n": 2}}
        assert client.collection("all").collected().result == merged.collected().result
        task = {"with": {"start": 4}}
        reduced = client.collect("p/one", "p/two", reduce="second.add", task=task).collected()
        assert (reduced.result, reduced.status, reduced.failure) == (7, "met", None)
        failed = client.collect("p/one", reduce="second.add", task={"with": {"start": "x"}})
        found = failed.collected()
        assert found.failure is not None
        assert not found.ok
        unmet = client.collect("p/bad", "p/worse", rule="any")
        assert unmet.collected().errors == ERRORS
        with pytest.raises(goclaw.CollectUnmet):
            unmet.collected().unwrap()
        some = client.collect("p/one", "p/slow", rule="first_n", count=1)
        assert [one.task for one in some] == ["one"]
        assert some.cursor == 1
        assert list(some) == []
        left = client.collect("p/slow")
        left.cancel("enough")
        assert left.collected().status == "cancelled"
        with pytest.raises(CollectorNotFound):
            client.collection("nope").collected()


def test_a_process_is_interrupted_in_grace(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its agent saves at its boundary, and says why it left; resumed it goes on with that."""
    with goclaw.SyncClient(data) as client:
        client.submit(data.parent / "apart.yaml", run_id="a")
        for task in ("loop", "thread"):
            for number in range(2):
                client.message("a", number, task=task, wait="consumed", timeout_s=WAIT_S)
        assert client.interrupt("a", "loop", reason="lunch", wait_s=WAIT_S) == "interrupted"
        code, said = called(
            capsys, "signal", "interrupt", "a", "thread", "--reason", "lunch", "--wait", "30"
        )
        assert (code, said["state"]) == (0, "interrupted")
        record = client.show("a")
        assert {task["status"] for task in record["tasks"].values()} == {"interrupted"}
        for task in ("loop", "thread"):
            client.resume("a", task)
        assert client.result("a", timeout_s=WAIT_S).unwrap() == [
            [[2, "lunch"], 2], [[2, "lunch"], 2],
        ]  # fmt: skip
