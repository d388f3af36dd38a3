"""What docs/reference/log-format.md says is enough to read a log that the engine wrote."""

from __future__ import annotations

import ast
import asyncio
import shutil
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

import goclaw
from goclaw_actors.executors.agents import AgentRegistry
from goclaw_events.definition import WorkflowDefinition
from goclaw_events.frame import decode_frame
from goclaw_events.rocks import RocksJournal
from goclaw_events.rocks.store import RocksStore
from goclaw_events.tables import Row
from goclaw_events.value import BlobRef, pack, unpack
from tests.events import independent_reader
from tests.events.independent_reader import LogReader

if TYPE_CHECKING:
    from goclaw import TaskContext

PARTITIONS = 3
ROW, FILE = "r" * 200_000, "f" * 2_000_000
WORKFLOW: dict[str, Any] = {
    "name": "values",
    "input": {"n": {"type": "integer"}},
    "tasks": {
        "small": {"agent": "reader.give", "with": {"value": "${input.n}"}},
        "row": {"agent": "reader.give", "with": {"value": ROW}},
        "file": {"agent": "reader.give", "with": {"value": FILE}, "lane": "narrow"},
        "part": {
            "agent": "reader.give",
            "needs": ["row"],
            "with": {"value": "${tasks.row.result.value}"},
        },
        "fails": {"agent": "reader.fail", "needs": ["small"], "retry": {"attempts": 2}},
    },
    "lanes": {"narrow": {"concurrency": 1}},
    "on_failure": "continue",
}


async def give(_: TaskContext, value: Any) -> dict[str, Any]:
    """Return what was given."""
    return {"value": value}


async def fail(_: TaskContext) -> None:
    """Fail."""
    raise RuntimeError


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data directory in which two engines ran, one after the other."""
    path = tmp_path_factory.mktemp("log") / "data"
    agents = AgentRegistry()
    agents.register("reader.give", give)
    agents.register("reader.fail", fail)
    settings = goclaw.Settings(partitions=PARTITIONS)
    workflow = WorkflowDefinition.model_validate(WORKFLOW)

    async def main(runs: int) -> None:
        async with goclaw.Engine(path, settings=settings, agents=agents) as engine:
            for number in range(runs):
                await engine.run(workflow, input={"n": number})

    for runs in (1, 3):
        asyncio.run(main(runs))
    return path


def test_it_imports_nothing_of_goclaw() -> None:
    """The reader stands on struct, hashlib, msgpack and rocksdict alone."""
    tree = ast.parse(Path(independent_reader.__file__).read_text(encoding="utf-8"))
    names: set[str | None] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    assert names <= {
        "__future__", "collections.abc", "hashlib", "msgpack", "pathlib", "rocksdict", "struct",
        "typing",
    }  # fmt: skip


def test_it_reads_what_the_engine_reads(data_dir: Path) -> None:
    """Both readings agree on every fact of every partition: place, time, cause, type and data."""
    journal = RocksJournal(data_dir)
    mine = [
        (partition, number, frame.header.time_ns, list(cause), fact)
        for partition in range(journal.partitions)
        for frame in map(decode_frame, journal.frames(partition))
        for number, cause, fact in frame.facts()
    ]
    log_id = journal.log_id
    journal.close()
    reader = LogReader(data_dir)
    assert (reader.log_id, reader.partitions) == (log_id, PARTITIONS)
    theirs = [read for partition in range(PARTITIONS) for read in reader.facts(partition)]
    assert len(theirs) == len(mine) > 100
    for read, (partition, number, time_ns, cause, fact) in zip(theirs, mine, strict=True):
        assert read[:3] == (partition, number, time_ns)
        assert msgpack.packb(read.cause) == pack(cause)
        assert msgpack.packb(read[4:]) == pack(fact)


def test_it_finds_what_facts_refer_to(data_dir: Path) -> None:
    """A value in a row, one in a file and a part of one are found by their references."""
    reader = LogReader(data_dir)
    every = [read for partition in range(PARTITIONS) for read in reader.facts(partition)]
    results = {
        read.stream.rpartition("/")[2]: reader.value(read.data[2])["value"]
        for read in every
        if read.type == "task.completed"
    }
    assert (results["row"], results["file"], results["part"]) == (ROW, FILE, ROW)
    params = [
        read.data[2]
        for read in every
        if read.type == "task.scheduled" and read.stream.endswith("/part")
    ]
    refs = [reference for reference in params if _path_of(reference["value"]) == ("value",)]
    assert refs
    assert reader.value(refs[0]["value"]) == ROW


@pytest.mark.parametrize("place", [5, 20, 30, 40, 60, 75, -1])
def test_it_sees_what_was_changed(data_dir: Path, tmp_path: Path, place: int) -> None:
    """One bit of the header, the body or the trailer of the third frame, and it says so."""
    shutil.copytree(data_dir / "log", tmp_path / "log")
    store = RocksStore(tmp_path / "log", create=False)
    rows = store.scan("log", b"", None)
    key, frame = next(islice(rows, 2, None))
    changed = bytearray(frame)
    changed[place] ^= 1
    store.write([Row("log", key, bytes(changed))])
    store.close()
    with pytest.raises(ValueError, match="frame"):
        list(LogReader(tmp_path).facts(0))


def _path_of(value: Any) -> tuple[str | int, ...] | None:
    found = unpack(msgpack.packb(value))
    return found.path if isinstance(found, BlobRef) else None
