"""Copies of a data directory, made while the engine runs, and what goes on from them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.cli import main
from goclaw.errors import UsageInvalid
from goclaw_actors.executors.agents import AgentRegistry
from goclaw_events.definition import WorkflowDefinition
from goclaw_events.envelope import Cursor
from goclaw_events.errors import (
    CursorFromLostHistory,
    DirectoryNotEmpty,
    JournalUnavailable,
    LogDamaged,
    LogMissing,
)
from goclaw_events.facts import RunCancelled
from goclaw_events.frame import decode_frame
from goclaw_events.rocks import RocksJournal, verify_directory
from goclaw_events.rocks.backup import MANIFEST_NAME, back_up, restore
from goclaw_events.value import blob_of, pack
from goclaw_projections.subscription import Tail
from tests.contracts.frame_writer import FrameWriter

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw import TaskContext

RUNS = 30
BLOB = pack("x" * 2_000_000)
WORKFLOW = WorkflowDefinition.model_validate(
    {
        "name": "copied",
        "tasks": {
            "a": {"agent": "copy.text"},
            "b": {"agent": "copy.text", "needs": ["a"]},
            "c": {"agent": "copy.text", "needs": ["b"]},
        },
    }
)


async def text(ctx: TaskContext) -> str:
    """Return some text, too large for the frame."""
    await asyncio.sleep(0)
    return ctx.run_id * 10_000


def engine_on(path: Path | str, partitions: int = 1) -> goclaw.Engine:
    """Return an engine with the one agent of these tests."""
    agents = AgentRegistry()
    agents.register("copy.text", text)
    return goclaw.Engine(path, settings=goclaw.Settings(partitions=partitions), agents=agents)


def frames(path: Path) -> list[list[bytes]]:
    """Return the frames of every partition."""
    journal = RocksJournal(path)
    found = [list(journal.frames(partition)) for partition in range(journal.partitions)]
    journal.close()
    return found


def write_log(path: Path, frames_count: int = 3) -> RocksJournal:
    """Return an open log of some frames that refer to a large blob."""
    journal = RocksJournal(path, create=True)
    writer = FrameWriter(journal)
    ref = blob_of(BLOB)
    for _ in range(frames_count):
        fill = lambda builder: builder.blobs.update({ref.sha256: BLOB})  # noqa: E731
        writer.append(turns={"task/r/t": [[ref]]}, fill=fill)
    writer.settle()
    return journal


@pytest.mark.parametrize("partitions", [1, 3])
async def test_a_running_engine_is_copied(partitions: int, tmp_path: Path) -> None:
    """The copy is whole, a beginning of the log, and every run in it goes on to its end."""
    async with engine_on(tmp_path / "data", partitions) as engine:
        first = [await engine.submit(WORKFLOW, run_id=f"early-{n}") for n in range(RUNS)]
        made = await engine.backup(tmp_path / "copy")
        later = [await engine.submit(WORKFLOW, run_id=f"late-{n}") for n in range(RUNS)]
        for submitted in (*first, *later):
            await engine.result(submitted.run_id, timeout_s=30.0)
    assert await asyncio.to_thread(restore, tmp_path / "copy", tmp_path / "again") == made
    assert verify_directory(tmp_path / "again").problems == []
    for copied, original in zip(frames(tmp_path / "again"), frames(tmp_path / "data"), strict=True):
        assert copied == original[: len(copied)]
        assert copied
    async with engine_on(tmp_path / "again", partitions) as engine:
        for number in range(RUNS):
            ended = await engine.result(f"early-{number}", timeout_s=30.0)
            assert ended.result == f"early-{number}" * 10_000
        repeated = await engine.submit(WORKFLOW, run_id="early-0")
        assert repeated.repeated
    assert verify_directory(tmp_path / "again").problems == []


async def test_a_log_in_memory_is_not_copied(tmp_path: Path) -> None:
    """There are no files to copy."""
    async with engine_on(":memory:") as engine:
        with pytest.raises(UsageInvalid):
            await engine.backup(tmp_path / "copy")


def test_the_original_is_not_touched_by_what_is_restored(tmp_path: Path) -> None:
    """Original, copy and what is restored go different ways."""
    journal = write_log(tmp_path / "data")
    back_up(journal, tmp_path / "copy")
    restore(tmp_path / "copy", tmp_path / "again")
    again = RocksJournal(tmp_path / "again")
    writer = FrameWriter(again)
    writer.append(turns={"workflow/other": [["x"]]})
    writer.settle()
    again.close()
    before = list(journal.frames(0))
    journal.close()
    restore(tmp_path / "copy", tmp_path / "third")
    assert frames(tmp_path / "data") == frames(tmp_path / "third") == [before]
    assert len(frames(tmp_path / "again")[0]) == len(before) + 1
    assert decode_frame(frames(tmp_path / "again")[0][-1]).header.era == 2


def test_who_read_beyond_the_copy_is_told(tmp_path: Path) -> None:
    """A cursor within the copy goes on; one beyond it does not meet other facts unnoticed."""
    journal = write_log(tmp_path / "data")
    back_up(journal, tmp_path / "copy")
    journal.close()
    journal = RocksJournal(tmp_path / "data")
    within = Tail(journal).end()
    writer = FrameWriter(journal)
    writer._seqs[0, "task/r/t"] = 3
    writer.append(turns={"task/r/t": [["lost"]]})
    writer.settle()
    beyond = Tail(journal).end()
    journal.close()
    restore(tmp_path / "copy", tmp_path / "again")
    again = RocksJournal(tmp_path / "again")
    writer = FrameWriter(again)
    writer._seqs[0, "task/r/t"] = 3
    for _ in range(2):
        with pytest.raises(CursorFromLostHistory):
            Tail(again).subscribe(beyond)
        writer.append(turns={"task/r/t": [["other"]]})
        writer.settle()
    found = Tail(again).subscribe(Cursor.parse(str(within))).poll()
    assert [(str(recorded.position), recorded.fact) for recorded in found] == [
        ("0:4", RunCancelled("other")), ("0:5", RunCancelled("other")),
    ]  # fmt: skip
    again.close()


@pytest.mark.parametrize("lacking", [MANIFEST_NAME, "watermark", "log", "blobs"])
def test_half_a_backup_is_none(lacking: str, tmp_path: Path) -> None:
    """Without any of its parts it is refused, and nothing is left where it should have gone."""
    journal = write_log(tmp_path / "data")
    back_up(journal, tmp_path / "copy")
    journal.close()
    (tmp_path / "copy" / lacking).rename(tmp_path / "elsewhere")
    with pytest.raises((LogMissing, LogDamaged, JournalUnavailable)):
        restore(tmp_path / "copy", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_damaged_backup_is_refused(tmp_path: Path) -> None:
    """A blob that is not what it was is found before anything takes its place."""
    journal = write_log(tmp_path / "data")
    back_up(journal, tmp_path / "copy")
    journal.close()
    (blob,) = (path for path in (tmp_path / "copy" / "blobs").rglob("*") if path.is_file())
    data = bytearray(blob.read_bytes())
    data[1000] ^= 1
    blob.unlink()
    blob.write_bytes(data)
    with pytest.raises(LogDamaged, match="does not match its hash"):
        restore(tmp_path / "copy", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """Neither a copy nor what is restored goes where something is."""
    journal = write_log(tmp_path / "data")
    back_up(journal, tmp_path / "copy")
    with pytest.raises(DirectoryNotEmpty):
        back_up(journal, tmp_path / "copy")
    journal.close()
    with pytest.raises(DirectoryNotEmpty):
        restore(tmp_path / "copy", tmp_path / "data")
    assert verify_directory(tmp_path / "data").problems == []


def called(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, dict[str, Any]]:
    """Call `goclaw ARGS --json`; return the exit code and the JSON."""
    code = main([*map(str, args), "--json"])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


def test_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`goclaw backup` and `goclaw restore` do it for an engine that is not running."""
    write_log(tmp_path / "data").close()
    copy, again = tmp_path / "copy", tmp_path / "again"
    code, made = called(capsys, "backup", copy, "--data-dir", tmp_path / "data")
    assert (code, made["ends"]) == (0, [3])
    code, restored = called(capsys, "restore", copy, "--data-dir", again)
    assert (code, restored["log_id"]) == (0, made["log_id"])
    assert frames(again) == frames(tmp_path / "data")
    code, refused = called(capsys, "restore", copy, "--data-dir", again)
    assert (code, refused["error"]["code"]) == (7, "directory_not_empty")
    code, refused = called(capsys, "restore", again, "--data-dir", tmp_path / "new")
    assert (code, refused["error"]["code"]) == (3, "log_missing")


def test_an_engine_that_runs_is_not_copied_from_outside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The directory is held: exit code 5."""
    journal = write_log(tmp_path / "data")
    code, refused = called(capsys, "backup", tmp_path / "copy", "--data-dir", tmp_path / "data")
    journal.close()
    assert (code, refused["error"]["code"]) == (5, "engine_running")


def test_export_and_import_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`goclaw log export` and `import` carry a log, and say the same digest at both ends."""

    async def play() -> None:
        async with engine_on(tmp_path / "data", 2) as engine:
            await engine.run(WORKFLOW, run_id="one")
            await engine.run(WORKFLOW, run_id="two")

    asyncio.run(play())
    data_dir = ("--data-dir", tmp_path / "data")
    for run, options in (("", ()), ("one", ("--run", "one"))):
        file, there = tmp_path / f"log{run}.export", tmp_path / f"there{run}"
        code, found = called(capsys, "log", "export", "-o", file, *options, *data_dir)
        assert code == 0
        code, imported = called(
            capsys, "log", "import", file, "--partitions", 3, "--data-dir", there
        )
        assert code == 0
        assert imported["digest"] == found["digest"]
        assert main(["runs", "result", "one", "--json", "--data-dir", str(there)]) == 0
        assert json.loads(capsys.readouterr().out) == "one" * 10_000
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.parametrize(
    ("args", "code", "name"),
    [
        (["log", "export"], 2, "usage"),
        (["log", "export", "-o", "no/such/file"], 2, "usage"),
        (["log", "export", "-o", "x", "--run", "none"], 3, "run_not_found"),
        (["log", "import", "none.export"], 2, "invalid_export"),
    ],
)
def test_what_is_asked_wrongly(
    args: list[str],
    code: int,
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A binary on a terminal, a file that cannot be, a run or a file that is not there."""
    write_log(tmp_path / "data").close()
    monkeypatch.chdir(tmp_path)
    found, refused = called(capsys, *args, "--data-dir", "data" if args[1] == "export" else "new")
    assert (found, refused["error"]["code"]) == (code, name)
    assert not (tmp_path / "new").exists()


def test_an_export_can_be_piped(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Without `-o` stdout is the file, and what is said goes to stderr; it imports the same."""
    write_log(tmp_path / "data").close()
    assert main(["log", "export", "--data-dir", str(tmp_path / "data")]) == 0
    out, err = capfdbinary.readouterr()
    (tmp_path / "log.export").write_bytes(out)
    again = str(tmp_path / "again")
    assert main(["log", "import", str(tmp_path / "log.export"), "--data-dir", again]) == 0
    assert b"3 facts and 1 blobs" in err
    assert b"3 facts and 1 blobs" in capfdbinary.readouterr().err
    assert frames(tmp_path / "again") == frames(tmp_path / "data")
    assert main(["backup", str(tmp_path / "copy"), "--data-dir", again]) == 0
    assert b"ends at 0:3" in capfdbinary.readouterr().err
