"""`goclaw fsck`: what it finds, what it mends, and that it gives nothing up unasked."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.cli import main
from goclaw_actors.executors.agents import AgentRegistry
from goclaw_events.cut import consistent_ends, whole_prefixes
from goclaw_events.envelope import Cursor, MessageRecord, TimerRow
from goclaw_events.eras import era_start
from goclaw_events.errors import (
    CursorFromLostHistory,
    EngineRunning,
    LogBehindWatermark,
    LogDamaged,
    LogMissing,
    LossNotAccepted,
)
from goclaw_events.memory_journal import MemoryJournal
from goclaw_events.rocks import RocksJournal, verify_directory
from goclaw_events.rocks.fsck import fsck
from goclaw_events.rocks.probe import probe
from goclaw_events.rocks.store import RocksStore
from goclaw_events.tables import Row, stream_key, timer_key, u64
from tests.contracts.frame_writer import FrameWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from goclaw_events.framing import FrameBuilder

FRAMES = 30


def written(path: Path, frames: int = FRAMES, partitions: int = 1) -> Path:
    """Write a log as a killed process leaves it: all in the write-ahead log; return its path."""
    journal = RocksJournal(path / "living", create=True, partitions=partitions)
    writer = FrameWriter(journal)
    for place in range(frames):
        turns = {f"workflow/r{place}": [[f"reason {place} " * 9]]}
        writer.append(partition=place % partitions, turns=turns)
        writer.settle()
    shutil.copytree(path / "living", path / "data")
    journal.close()
    return path / "data"


def wal_of(path: Path) -> Path:
    """Return the write-ahead log that holds something."""
    return max((path / "log").glob("*.log"), key=lambda found: found.stat().st_size)


def shorten(path: Path, share: float = 0.5) -> None:
    """Cut the write-ahead log."""
    wal = wal_of(path)
    wal.write_bytes(wal.read_bytes()[: int(wal.stat().st_size * share)])


def called(capsys: pytest.CaptureFixture[str], path: Path, *args: str) -> tuple[int, Any, str]:
    """Call `goclaw fsck`; return its exit code, its JSON, and what it said."""
    code = main(["fsck", "--data-dir", str(path), "--json", *args])
    out, err = capsys.readouterr()
    return code, json.loads(out.splitlines()[-1]), err


def test_a_whole_log_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is found, nothing is mended; repairing it changes nothing either."""
    path = written(tmp_path)
    for args in ((), ("--repair",), ("--accept-data-loss", "0")):
        code, found, _ = called(capsys, path, *args)
        assert (code, found["whole"], found["mended"], found["loss"]) == (0, True, [], None)
        assert found["facts"] == FRAMES
    assert main(["fsck", "--data-dir", str(path)]) == 0
    assert f"whole: {FRAMES} facts" in capsys.readouterr().out


def test_a_loss_is_accepted_by_its_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is missing is told; only the very number is taken; then the log opens, in a new era."""
    path = written(tmp_path)
    shorten(path)
    with pytest.raises(LogBehindWatermark, match="goclaw fsck"):
        RocksJournal(path)
    code, found, _ = called(capsys, path)
    lost = found["loss"]["facts"]
    (part,) = found["loss"]["partitions"]
    assert code == 6
    assert found["loss"]["certain"]
    assert part == {"partition": 0, "ends": FRAMES - lost, "reached": FRAMES, "facts": lost}
    assert 0 < lost < FRAMES
    assert main(["fsck", "--data-dir", str(path)]) == 6
    assert f"--accept-data-loss {lost}" in capsys.readouterr().out
    code, found, _ = called(capsys, path, "--repair")
    assert (code, found["loss"]["facts"], found["mended"]) == (6, lost, [])
    code, found, _ = called(capsys, path, "--accept-data-loss", str(lost - 1))
    assert (code, found["error"]["code"]) == (7, "loss_not_accepted")
    code, found, _ = called(capsys, path, "--accept-data-loss", str(lost))
    assert (code, found["whole"], found["loss"], found["ends"]) == (0, True, None, [FRAMES - lost])
    with closing(RocksJournal(path)) as journal:
        assert (journal.head(0).era, journal.head(0).number) == (2, FRAMES - lost)
        writer = FrameWriter(journal)
        writer.append(turns={"workflow/new": [["a"]]})
        writer.settle()
    with closing(RocksStore(path / "log", create=False)) as store:
        assert era_start(store, 0, 2) == FRAMES - lost + 1
    assert verify_directory(path).whole


async def test_what_read_lost_history_is_told(tmp_path: Path) -> None:
    """A cursor beyond the loss is refused, also when as many facts stand there again."""
    agents = AgentRegistry()

    async def echo(_ctx: goclaw.TaskContext) -> int:
        return 1

    agents.register("echo", echo)
    workflow = goclaw.Workflow("w")
    workflow.task("t", agent="echo")
    async with goclaw.Engine(tmp_path / "living", agents=agents) as engine:
        await engine.run(workflow, run_id="kept")
        kept = engine.parts.tail.end()
        for at in range(8):
            await engine.run(workflow, run_id=f"lost{at}")
        engine.views.runner.catch_up()
        late = engine.parts.tail.end()
        shutil.copytree(
            tmp_path / "living", tmp_path / "data", ignore=shutil.ignore_patterns("engine.sock")
        )
    path = tmp_path / "data"
    _cut_after(path, kept.places[0][1])
    loss = fsck(path).loss
    assert loss is not None
    findings = fsck(path, accept=loss.facts)
    assert findings.whole
    assert not (path / "views").exists()
    shutil.copytree(tmp_path / "living" / "views", path / "views")  # as if they had been kept
    async with goclaw.Engine(path, agents=agents) as engine:
        engine.views.runner.catch_up()
        assert [run.run_id for run in engine.views.runs.list().runs] == ["kept"]
        with pytest.raises(CursorFromLostHistory):
            engine.parts.tail.subscribe(late)
        for at in range(8):
            await engine.run(workflow, run_id=f"again{at}")
        assert engine.parts.journal.durable(0) >= late.places[0][1]
        with pytest.raises(CursorFromLostHistory):
            engine.parts.tail.subscribe(late)
        engine.parts.tail.subscribe(Cursor(kept.log, kept.places)).close()


def _cut_after(path: Path, number: int) -> None:
    """Cut the write-ahead log so that the log still holds `number`, and little more."""
    whole = wal_of(path).read_bytes()
    for share in range(5, 100, 5):
        copy = path.with_name("try")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(path, copy)
        wal_of(copy).write_bytes(whole[: len(whole) * share // 100])
        with closing(RocksJournal(copy, trust_watermark=False)) as journal:
            enough = journal.durable(0) >= number
        if enough:
            wal_of(path).write_bytes(whole[: len(whole) * share // 100])
            return
    pytest.fail("the log cannot be cut there")


SPOILED = [
    Row("streams", stream_key(0, "workflow/r3", 1), None),
    Row("streams", stream_key(0, "workflow/r3", 9), u64(4) + bytes(4)),
    Row("timers", timer_key(0, TimerRow(5, "task/r/t", "extra")), b""),
    Row("meta", b"token/0/0", u64(77)),
]


@pytest.mark.parametrize("row", SPOILED, ids=lambda row: f"{row.table} {row.value is None}")
def test_tables_are_derived_again(tmp_path: Path, row: Row) -> None:
    """A row that is missing or too much in a derived table goes away with `--repair`."""
    path = written(tmp_path)
    with closing(RocksStore(path / "log", create=False)) as store:
        store.write([row])
        store.flush()
    assert not fsck(path).whole
    assert not verify_directory(path).whole
    findings = fsck(path, repair=True)
    assert findings.whole
    assert findings.report.facts == FRAMES
    assert (path / "log.damaged.1").is_dir()
    with closing(RocksJournal(path)) as journal:
        assert journal.head(0).era == 1


@pytest.mark.parametrize("damage", ["gone", "zeros"])
def test_without_a_watermark_nothing_is_certain(tmp_path: Path, damage: str) -> None:
    """What was acknowledged is not known then: to go on is a decision, of nothing that is known."""
    path = written(tmp_path)
    if damage == "gone":
        (path / "watermark").unlink()
    else:
        (path / "watermark").write_bytes(bytes(1024))
    findings = fsck(path, repair=True)
    assert findings.loss is not None
    assert (findings.whole, findings.loss.certain, findings.loss.facts) == (False, False, 0)
    with pytest.raises(LogDamaged):
        RocksJournal(path)
    assert fsck(path, accept=0).whole
    with closing(RocksJournal(path)) as journal:
        assert (journal.head(0).era, journal.head(0).number) == (2, FRAMES)


def test_a_lost_watermark_slot_is_written_again(tmp_path: Path) -> None:
    """One torn slot is what a power cut leaves: the other one serves."""
    path = written(tmp_path)
    data = bytearray((path / "watermark").read_bytes())
    data[600] ^= 1
    older = (path / "watermark").read_bytes()
    (path / "watermark").write_bytes(data)
    assert bytes(data) != older
    assert fsck(path, repair=True).whole
    RocksJournal(path).close()


def _unnamed(path: Path) -> None:
    (path / "log" / "CURRENT").unlink()


def _unlisted(path: Path) -> None:
    RocksJournal(path).close()  # into table files: the write-ahead log alone has no names of tables
    for manifest in (path / "log").glob("MANIFEST-*"):
        manifest.write_bytes(b"garbage" * 50)


def _tailed(path: Path) -> None:
    with wal_of(path).open("ab") as file:
        file.write(b"\x01\x02\x03\x04\x10\x00\x07" + b"garbage" * 9)


def _misnamed(path: Path) -> None:
    (path / "log" / "CURRENT").write_bytes(b"MANIFEST-000005" + bytes(range(48, 96)) * 5 + b"\n")


@pytest.mark.parametrize("damage", [_unnamed, _misnamed, _unlisted, _tailed])
def test_a_log_that_does_not_open_is_opened_without_loss(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """CURRENT, manifest, garbage behind the last record: all facts are saved, the rest is kept."""
    path = written(tmp_path)
    damage(path)
    with pytest.raises(LogDamaged):
        RocksJournal(path, trust_watermark=False)
    found = fsck(path)
    assert (found.whole, found.loss) == (False, None)
    mended = fsck(path, repair=True)
    assert mended.whole
    assert mended.report.ends == [FRAMES]
    assert (path / "log.damaged.1").is_dir()
    with closing(RocksJournal(path)) as journal:
        assert (journal.head(0).era, journal.head(0).number) == (1, FRAMES)


def test_a_crash_between_the_renames_is_finished(tmp_path: Path) -> None:
    """If the mended log was not yet in its place, the next check puts it there."""
    path = written(tmp_path)
    (path / "log").rename(path / "log.mended")
    with pytest.raises(LogDamaged, match="CURRENT is missing"):
        RocksJournal(path, create=True)
    findings = fsck(path)
    assert findings.whole
    assert not (path / "log.mended").exists()


def test_remains_are_cleared_away(tmp_path: Path) -> None:
    """Files that were never finished go, and so do the views, which the log gives again."""
    path = written(tmp_path)
    part = path / "blobs" / "ab" / ".ab12.3f"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half")
    (path / "views").mkdir()
    assert fsck(path).mended == []
    assert part.exists()
    mended = fsck(path, repair=True).mended
    assert len(mended) == 2
    assert not part.exists()
    assert not (path / "views").exists()


def test_a_log_of_which_nothing_is_left(tmp_path: Path) -> None:
    """Without a log nothing is begun over its remains; without anything it is not found."""
    with pytest.raises(LogMissing):
        fsck(tmp_path / "nothing")
    path = written(tmp_path)
    shutil.rmtree(path / "log")
    with pytest.raises(LogDamaged):
        RocksJournal(path, create=True)
    found = fsck(path, accept=FRAMES)
    assert not found.whole
    assert found.mended == []


def test_a_running_engine_is_not_disturbed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """While an engine holds the directory nothing is looked at: exit code 5."""
    path = written(tmp_path)
    with closing(RocksJournal(path)):
        with pytest.raises(EngineRunning):
            fsck(path, repair=True)
        assert called(capsys, path)[0] == 5


def test_another_number_changes_nothing(tmp_path: Path) -> None:
    """A loss that nobody asked about is not accepted by chance."""
    path = written(tmp_path)
    with pytest.raises(LossNotAccepted):
        fsck(path, accept=1)
    assert fsck(path).whole


def test_a_probe_has_a_deadline(tmp_path: Path) -> None:
    """A process that opens the log and never ends is ended, and that is damage."""
    path = written(tmp_path)
    with pytest.raises(LogDamaged, match="did not end within"):
        probe(path / "log", deadline_s=0.001)
    probe(path / "log")


def test_partitions_are_cut_without_contradiction() -> None:
    """Who received a message that was given up, or an acknowledgement, is cut before that."""
    journal = MemoryJournal(partitions=3)
    writer = FrameWriter(journal)
    message = MessageRecord("workflow/x", "cancel_run", 1, ["", ""], (0, 1, 0), None, None)

    def append(partition: int, fill: Callable[[FrameBuilder], None] | None = None) -> None:
        writer.append(partition=partition, fill=fill)

    append(0, lambda builder: builder.out.append((1, 1, [message])))
    append(1, lambda builder: builder.received.update({0: 1}))
    append(0, lambda builder: builder.acked.append((1, 1, 1)))
    append(0, lambda builder: builder.out.append((1, 2, [message])))
    append(1, lambda builder: builder.received.update({0: 2}))
    append(1, lambda builder: builder.out.append((2, 1, [message])))
    append(2)
    append(2, lambda builder: builder.received.update({1: 1}))
    assert [prefix.last for prefix in whole_prefixes(journal)] == [3, 3, 2]
    assert consistent_ends(journal, [3, 3, 2]) == [3, 3, 2]
    assert consistent_ends(journal, [2, 3, 2]) == [2, 1, 1]
    assert consistent_ends(journal, [3, 0, 2]) == [1, 0, 1]
    assert consistent_ends(journal, [0, 3, 2]) == [0, 0, 1]
    assert consistent_ends(journal, [3, 3, 0]) == [3, 3, 0]
