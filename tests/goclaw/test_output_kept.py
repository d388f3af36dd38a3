"""Where the output of tasks goes with its log: copies, files, archives, losses, limits."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.cli import main
from goclaw.housekeeping import OUTPUT_LEFT
from goclaw.upkeep import Upkeep
from goclaw_events.frame import read_header
from goclaw_events.output import OUTPUT, Chunk, Place, chunk_row, read_chunk, read_output
from goclaw_events.rocks import RocksJournal, verify_directory
from goclaw_events.rocks.backup import back_up, restore
from goclaw_events.rocks.forgetting import SLOT_NS
from goclaw_events.rocks.fsck import fsck
from goclaw_events.tables import Row
from tests.contracts.frame_writer import FrameWriter
from tests.goclaw.test_archive import archive, check
from tests.goclaw.test_expiry import expire

if TYPE_CHECKING:
    from pathlib import Path

WAIT_S = 30.0
RUNS = ("one", "two", "three")


async def tell(ctx: goclaw.TaskContext, words: int = 3) -> int:
    """Emit words."""
    for number in range(words):
        await ctx.emit([number, ctx.run_id])
    return words


def workflow(name: str = "tell") -> goclaw.Workflow:
    """Return a workflow of two tasks that emit."""
    made = goclaw.Workflow(name)
    for task in ("a", "b"):
        made.task(task, agent="kept.tell")
    return made


def engine_on(path: Path, partitions: int = 1) -> goclaw.Engine:
    """Return an engine."""
    goclaw.agent("kept.tell")(tell)
    return goclaw.Engine(path, settings=goclaw.Settings(partitions=partitions))


async def play(path: Path, partitions: int = 1) -> None:
    """Have some runs emit."""
    async with asyncio.timeout(WAIT_S), engine_on(path, partitions) as engine:
        for run in RUNS:
            await engine.run(workflow(), run_id=run)


async def told(path: Path, run: str, partitions: int = 1) -> list[Any]:
    """Return what the task `a` of a run emitted, as an engine says."""
    async with asyncio.timeout(WAIT_S), engine_on(path, partitions) as engine:
        return [chunk.value async for chunk in engine.output(run, "a")]


def words(run: str) -> list[Any]:
    """Return what it should be."""
    return [[number, run] for number in range(3)]


def rows(path: Path) -> list[Chunk]:
    """Return every chunk that a log holds."""
    with closing(RocksJournal(path)) as journal:
        return [read_chunk(key, value) for key, value in journal.rows(OUTPUT)]


@pytest.mark.parametrize("partitions", [1, 4])
async def test_an_export_carries_it(
    tmp_path: Path, partitions: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a log into any number of partitions, of one run that run's; or it is left out."""
    await play(tmp_path / "data", partitions)
    for name, options, there, chunks in (
        ("same", (), partitions, 18),
        ("other", (), 5 - partitions, 18),
        ("run", ("--run", "two"), 1, 6),
        ("facts", ("--no-output",), partitions, 0),
    ):
        file, path = str(tmp_path / f"{name}.export"), tmp_path / name
        data = ("--data-dir", str(tmp_path / "data"), "--json")
        assert main(["log", "export", "-o", file, *options, *data]) == 0
        assert json.loads(capsys.readouterr().out)["chunks"] == chunks
        taken = ["log", "import", file, "--partitions", str(there), "--data-dir", str(path)]
        assert main([*taken, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["chunks"] == chunks
        assert verify_directory(path).whole
        assert await told(path, "two", there) == (words("two") if chunks else [])
    assert {chunk.run_id for chunk in rows(tmp_path / "run")} == {"two"}


async def test_a_backup_has_it(tmp_path: Path) -> None:
    """And what is restored has it."""
    await play(tmp_path / "data")
    with closing(RocksJournal(tmp_path / "data")) as journal:
        back_up(journal, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "again")
    assert rows(tmp_path / "again") == rows(tmp_path / "data")
    assert await told(tmp_path / "again", "one") == words("one")


async def test_it_outlives_the_archive_and_goes_with_the_history(tmp_path: Path) -> None:
    """What was archived is read as before; what was given up leaves no output behind."""
    await play(tmp_path)
    archive(tmp_path)
    assert await told(tmp_path, "one") == words("one")
    check(tmp_path)
    (plan,) = expire(tmp_path)
    assert set(plan.runs) == set(RUNS)
    assert rows(tmp_path) == []
    check(tmp_path)


async def test_an_id_that_is_used_again_begins_without_it(tmp_path: Path) -> None:
    """What a crash in an expiry left goes when the id of its run is forgotten."""
    await play(tmp_path)
    archive(tmp_path)
    expire(tmp_path)
    left = chunk_row(0, Chunk("one", "a", Place(0, 1, 99), 5, "old"))
    with closing(RocksJournal(tmp_path)) as journal:
        journal.rewrite(lambda store: store.write([left]))
    settings = {"data_dir": tmp_path, "retention": {"run_id_retention_s": 0}}
    with Upkeep(goclaw.Settings.model_validate(settings)) as upkeep:
        assert upkeep.house.forget() == len(RUNS)
    async with engine_on(tmp_path) as engine:
        assert not (await engine.submit(workflow(), run_id="one")).repeated
        assert [chunk.value async for chunk in engine.output("one", "a")] == words("one")


def test_what_is_lost_takes_its_output_along(tmp_path: Path) -> None:
    """An attempt of which no fact is left leaves no chunk for the next one of its number."""
    path = tmp_path / "data"
    journal = RocksJournal(path, create=True)
    writer = FrameWriter(journal)
    times = [read_header(writer.append().data).time_ns for _ in range(3)]
    writer.settle()
    chunks = [Chunk("r", "a", Place(0, at, 1), ns, at) for at, ns in enumerate(times, 1)]
    journal.rewrite(lambda store: store.write([chunk_row(0, one) for one in chunks]))
    bad = Row(OUTPUT, b"\0\0bad", b"")
    journal.rewrite(lambda store: store.write([bad]))
    journal.close()
    assert fsck(path, repair=True).whole
    assert [chunk.value for chunk in rows(path)] == [1, 2, 3]
    with closing(RocksJournal(path)) as journal:
        spoiled = Row("log", next(key for key, _ in journal.rows("log") if key[-1] == 3), b"")
        journal.rewrite(lambda store: store.write([spoiled]))
    findings = fsck(path)
    assert findings.loss is not None
    fsck(path, accept=findings.loss.facts)
    assert [chunk.value for chunk in rows(path)] == [1, 2]
    assert verify_directory(path).whole


def test_the_oldest_goes_where_there_is_too_much(tmp_path: Path) -> None:
    """Of all runs and partitions together, down to a part of the limit."""
    with closing(RocksJournal(tmp_path, create=True, partitions=2)) as journal:
        made = [
            chunk_row(at % 2, Chunk(f"r{at}", "a", Place(0, 1, 1), at * SLOT_NS, "x" * 1_000))
            for at in range(20)
        ]
        journal.rewrite(lambda store: store.write(made))
    size = sum(len(row.key) + len(row.value or b"") for row in made)
    for limit, left in ((None, 20), (size, 20), (size - 1, 17), (1, 0)):
        retention = {"output_bytes_max": limit, "output_s": None}
        settings = {"data_dir": tmp_path, "retention": retention}
        with Upkeep(goclaw.Settings.model_validate(settings)) as upkeep:
            kept = upkeep.house.bound_output()
        found = rows(tmp_path)
        assert len(found) == left
        assert sorted(chunk.time_ns for chunk in found) == [
            at * SLOT_NS for at in range(20 - left, 20)
        ]
        if limit is not None:
            assert kept <= max(size * OUTPUT_LEFT, limit)


async def test_an_engine_keeps_to_the_limit(tmp_path: Path) -> None:
    """It counts what there is at its first look, and again when so much more was emitted."""
    goclaw.agent("kept.tell")(tell)
    settings = goclaw.Settings.model_validate({"retention": {"output_bytes_max": 2_000}})
    async with asyncio.timeout(WAIT_S), goclaw.Engine(tmp_path, settings=settings) as engine:
        retention = engine.parts.retention
        assert retention is not None
        await engine.run(workflow(), run_id="few")
        retention.bound_step()
        counted: list[int] = []
        house, bound = retention.house, retention.house.bound_output

        def count() -> int:
            counted.append(bound())
            return counted[-1]

        house.bound_output = count  # type: ignore[method-assign]
        retention.bound_step()
        assert counted == []
        await engine.run(workflow(), input={}, run_id="more")
        for number in range(10):
            await engine.run(workflow(), run_id=f"more{number}")
        retention.bound_step()
        assert counted == [0], "all of it came within one slot"
        journal = engine.parts.journal
        assert list(read_output(journal, 0, "few", "a")) == []
