"""Snapshots: what restarts from one is what full replay gives, whatever happened to it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.decider import NOTHING, Accepted
from goclaw_actors.lane.state import FORM as LANE_FORM
from goclaw_actors.lending import Enqueue, Withdraw
from goclaw_actors.message import Message
from goclaw_actors.ports import Limits
from goclaw_events.eras import era_rows
from goclaw_events.errors import JournalFull, LogDamaged
from goclaw_events.snapshots import decode_manifest
from goclaw_events.tables import Row
from goclaw_events.verify import verify
from tests.actors.shadow import check_node, check_snapshots
from tests.actors.stage import LANES, MANY, ONE, Stage

if TYPE_CHECKING:
    from goclaw_actors.decider import Decider
    from goclaw_actors.snapshotter import Snapshotter

LANE = "lane/w/io"
SMALL = Limits(snapshot_every_facts=4)


def deaf(kinds: dict[str, Decider[Any]]) -> None:
    """Let tasks hear nothing, so that a lane can be filled with names alone, each by a fact."""
    kinds["task"] = replace(kinds["task"], decide=lambda *_: NOTHING)
    kinds["lane"] = replace(kinds["lane"], pool=None)


def fill(stage: Stage, count: int, first: int = 0, commit: bool = True) -> None:
    """Queue tasks that nobody runs."""
    for number in range(first, first + count):
        stage.node.accept(Message(LANE, Enqueue(f"task/r/t{number}", number % 3, at_head=False)))
    stage.decide()
    if commit:
        stage.rest()


def lane_stage(**limits: Any) -> Stage:
    """Return a stage whose lane takes names, thousands in a batch."""
    return Stage(limits=lane_limits(**limits), change=deaf)


def lane_limits(**limits: Any) -> Limits:
    """Return limits with a snapshot every 100 facts."""
    return Limits(
        snapshot_every_facts=100, batch_messages_max=16384, batch_bytes_max=512 * 1024, **limits
    )


def keys(stage: Stage, table: str) -> list[bytes]:
    """Return the keys of a table."""
    return [key for key, _ in stage.journal.rows(table)]


def manifests(stage: Stage) -> list[Any]:
    """Return the manifests of all streams."""
    return [decode_manifest(key, data) for key, data in stage.journal.rows("snapshots")]


def snapshots(stage: Stage) -> Snapshotter:
    """Return the snapshotter of the first partition."""
    return stage.node.dispatchers[0].turns.snapshots


def seqs_read(stage: Stage) -> list[int]:
    """Note from which seq streams are read from now on."""
    found: list[int] = []
    read = stage.journal.stream_frames

    def spy(partition: int, stream: str, from_seq: int = 1) -> Any:
        if stream == LANE:
            found.append(from_seq)
        return read(partition, stream, from_seq)

    stage.journal.stream_frames = spy  # type: ignore[method-assign]
    return found


@pytest.mark.parametrize("every", [1, 2, 3, 7])
@pytest.mark.parametrize("partitions", [1, 4])
def test_every_run_can_be_restarted_from_snapshots(every: int, partitions: int) -> None:
    """After each step: crash, and live is full replay is snapshot and tail."""
    stage = Stage(partitions=partitions, limits=Limits(snapshot_every_facts=every))
    seen = 0
    for _ in range(12):
        stage.submit(MANY, **LANES)
        stage.submit(MANY, "s", **LANES)
        stage.decide()
        stage.commit(1)
        stage = stage.crash(1)
        stage.rest()
        seen += check_node(stage.node, stage.journal)[1]
        for attempt in list(stage.executor.held.values())[:2]:
            stage.end(attempt, value=attempt.task_id)
        stage.clock.ns += 10**9
    stage.finish()
    stage.clock.ns += 10**9
    stage.finish()
    assert {status for status, _ in stage.ended.values()} == {"completed"}
    assert verify(stage.journal).whole, verify(stage.journal).problems
    assert seen > 10


def test_a_restart_reads_only_the_tail() -> None:
    """What stands before the snapshot is not read again."""
    stage = lane_stage()
    fill(stage, 250)
    assert [manifest.seq for manifest in manifests(stage)] == [250]
    fill(stage, 30, 250)
    stage = stage.crash(change=deaf)
    read = seqs_read(stage)
    fill(stage, 1, 280)
    assert read == [251]
    assert stage.check_live() == 1


def test_two_are_kept_and_no_chunk_is_left_over() -> None:
    """Older manifests go, and with them every chunk that the two kept ones do not name."""
    stage = lane_stage()
    for round_ in range(6):
        fill(stage, 1_500, 1_500 * round_)
        assert verify(stage.journal).whole, verify(stage.journal).problems
    found = manifests(stage)
    assert [manifest.seq for manifest in found] == [7_500, 9_000]
    named = {(place, chunk.number) for each in found for place, chunk in each.chunks.items()}
    assert len(keys(stage, "chunks")) == len(named)
    assert any(chunk.number < found[0].number for chunk in found[1].chunks.values()), "none shared"
    assert check_snapshots(stage.journal, 0) == 2


def test_only_changed_chunks_are_written() -> None:
    """A lane of 20 chunks that grows at its end writes the last ones for its next snapshot."""
    stage = lane_stage()
    fill(stage, 20_000)
    before = set(keys(stage, "chunks"))
    assert len(manifests(stage)[-1].chunks) == 20
    fill(stage, 100, 20_000)
    assert len(set(keys(stage, "chunks")) - before) <= 2


def test_a_chunk_that_emptied_is_gone() -> None:
    """A manifest does not name what is empty, and the actor restarts without it."""
    stage = lane_stage()
    fill(stage, 3_000)
    for number in range(1_024):
        stage.node.accept(Message(LANE, Withdraw(f"task/r/t{number}")))
    stage.rest()
    fill(stage, 300, 3_000)
    fill(stage, 300, 3_300)
    last = manifests(stage)[-1]
    assert (0, 0) not in last.chunks
    assert check_snapshots(stage.journal, 0) == 2
    stage = stage.crash(change=deaf)
    fill(stage, 1, 9_000)
    assert stage.check_live() == 1


# -- over several batches ---------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{"snapshot_chunks_max": 1}, {"snapshot_time_s": 2e-6}])
def test_a_large_one_is_written_over_several_batches(limits: dict[str, Any]) -> None:
    """It belongs to the position where it began, whatever the actor did meanwhile."""
    stage = lane_stage(**limits)
    fill(stage, 5_000)
    assert [manifest.seq for manifest in manifests(stage)] == [0], "begun, not finished"
    begun = keys(stage, "snapshots")
    for step in range(8):
        stage.node.accept(Message(LANE, Withdraw(f"task/r/t{1_000 * step + 500}")))
        fill(stage, 1, 5_000 + step)
        assert verify(stage.journal).whole, verify(stage.journal).problems
    finished = manifests(stage)[0]
    assert keys(stage, "snapshots")[0] == begun[0]
    assert 0 < finished.seq <= 4_096
    assert check_snapshots(stage.journal, 0) >= 1


@pytest.mark.parametrize("survive", [0, 1])
def test_a_crash_in_the_middle_leaves_nothing_behind(survive: int) -> None:
    """The one before is used, and the next snapshot takes the debris away."""
    stage = lane_stage(snapshot_chunks_max=1)
    fill(stage, 5_000)
    fill(stage, 2, 5_000, commit=False)
    stage = stage.crash(survive, change=deaf)
    assert check_snapshots(stage.journal, 0) == 0
    assert verify(stage.journal).whole
    debris = set(keys(stage, "chunks"))
    assert debris
    for step in range(10):
        fill(stage, 1, 6_000 + step)
    assert not debris & set(keys(stage, "chunks"))
    assert [manifest.seq > 0 for manifest in manifests(stage)] == [True]
    assert verify(stage.journal).whole, verify(stage.journal).problems


@pytest.mark.parametrize("stored", [False, True])
def test_a_failed_commit_forgets_the_one_in_progress(stored: bool) -> None:
    """Whether the batch was stored or not, the next one is whole."""
    stage = lane_stage(snapshot_chunks_max=1)
    fill(stage, 5_000)
    fill(stage, 1, 5_000, commit=False)
    assert snapshots(stage).waiting > 0
    stage.journal.fail_next(JournalFull("no space"), stored=stored)
    stage.commit()
    assert snapshots(stage).waiting == 0
    stage.clock.ns += 10**10
    stage.rest()
    for step in range(12):
        fill(stage, 1, 6_000 + step)
    assert check_snapshots(stage.journal, 0) >= 1
    assert verify(stage.journal).whole, verify(stage.journal).problems


def test_a_bug_in_the_middle_takes_its_rows_away() -> None:
    """The actor is dropped; what was written of its snapshot goes with the same write."""
    broken: list[str] = []

    def change(kinds: dict[str, Decider[Any]]) -> None:
        deaf(kinds)
        decide = kinds["lane"].decide

        def maybe(state: Any, body: Any, moment: Any) -> Any:
            if broken and broken.pop():
                raise RuntimeError("a bug")
            return decide(state, body, moment)

        kinds["lane"] = replace(kinds["lane"], decide=maybe)

    stage = Stage(limits=lane_limits(snapshot_chunks_max=1), change=change)
    fill(stage, 5_000)
    assert keys(stage, "chunks")
    broken.append("once")
    fill(stage, 1, 5_000)
    assert (keys(stage, "chunks"), keys(stage, "snapshots")) == ([], [])


# -- which actors, and when -------------------------------------------------------------------


def test_few_facts_get_no_snapshot() -> None:
    """Below the limit there is none; it counts from the last snapshot."""
    stage = lane_stage()
    fill(stage, 99)
    assert keys(stage, "snapshots") == []
    fill(stage, 1, 99)
    fill(stage, 99, 100)
    assert [manifest.seq for manifest in manifests(stage)] == [100]


def test_what_is_handled_together_counts_by_the_message() -> None:
    """A lane whose facts hold many entries is written away as often as one with a fact each."""
    together = Stage(limits=Limits(snapshot_every_facts=100))
    together.submit({f"t{number}": {"agent": "x"} for number in range(150)})
    together.rest()
    facts = len(together.facts("lane//default"))
    assert facts < 10
    assert [found.seq for found in manifests(together) if found.seq == facts] == [facts]


def test_what_ended_gets_none() -> None:
    """An actor that is final is not written away."""
    stage = Stage(limits=Limits(snapshot_every_facts=1))
    stage.submit(ONE)
    stage.finish()
    assert stage.ended.keys() == {"r"}
    seqs = {
        manifest_stream(key): decode_manifest(key, data).seq
        for key, data in stage.journal.rows("snapshots")
    }
    for stream in ("workflow/r", "task/r/a"):
        assert 0 < seqs[stream] < stage.journal.last_seq(0, stream)


def manifest_stream(key: bytes) -> str:
    """Return the stream of a manifest's key."""
    return key[4:-8].decode()


def test_replies_are_remembered_through_a_snapshot() -> None:
    """A command that stands before the snapshot gets the same answer after a restart."""
    stage = Stage(limits=SMALL)
    stage.submit(MANY, on_failure="let_finish", **LANES)
    stage.rest()
    stage.cancel("r", "c1")
    stage.rest()
    for attempt in list(stage.executor.held.values())[:-1]:
        stage.end(attempt)
    stage.rest()
    run = [m for m in manifests(stage) if m.shell]
    assert run, "no snapshot holds the reply"
    stage = stage.crash()
    stage.cancel("r", "c1")
    stage.cancel("r", "c1", reason="another body")
    stage.rest()
    same, other = (reply.answer for reply in stage.replies[-2:])
    assert same == Accepted("r", repeated=True)
    assert getattr(other, "code", "") == "command_conflict"


def test_a_form_that_fails_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The actor goes on without snapshots, and the partition without a stop."""

    def change(kinds: dict[str, Decider[Any]]) -> None:
        deaf(kinds)
        form = kinds["lane"].form
        assert form is not None
        kinds["lane"] = replace(kinds["lane"], form=replace(form, root=lambda _: object()))

    stage = Stage(limits=Limits(snapshot_every_facts=50), change=change)
    fill(stage, 200)
    assert keys(stage, "snapshots") == []
    assert len(stage.facts(LANE)) == 200
    assert sum("no snapshot can be made" in line for line in caplog.messages) == 1


# -- damage and history -----------------------------------------------------------------------


def with_two() -> Stage:
    """Return a stage whose lane has two snapshots, of 1,500 and 3,000 facts, and a tail."""
    stage = lane_stage()
    fill(stage, 1_500)
    fill(stage, 1_500, 1_500)
    fill(stage, 50, 3_000)
    assert [manifest.seq for manifest in manifests(stage)] == [1_500, 3_000]
    return stage


def flip(stage: Stage, table: str, key: bytes) -> None:
    """Flip a bit in the middle of a row."""
    data = bytearray(stage.journal.get(table, key) or b"")
    data[len(data) // 2] ^= 4
    stage.journal._rows.write([Row(table, key, bytes(data))])


@pytest.mark.parametrize("table", ["snapshots", "chunks"])
def test_a_damaged_one_falls_back_to_the_one_before(
    table: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With a warning; `verify` names the place; the next snapshot replaces what is damaged."""
    stage = with_two()
    flip(stage, table, max(keys(stage, table), key=lambda key: key[-8:]))
    report = verify(stage.journal)
    assert report.problems_count == 1
    assert report.problems[0].place == f"snapshot 0:{manifests_number(stage)} of {LANE}"
    stage = stage.crash(change=deaf)
    read = seqs_read(stage)
    caplog.clear()
    fill(stage, 1, 4_000)
    assert read == [1_501]
    assert any("does not match its hash" in line for line in caplog.messages)
    assert stage.check_live() == 1
    fill(stage, 150, 4_001)
    assert verify(stage.journal).whole, verify(stage.journal).problems
    assert check_snapshots(stage.journal, 0) == 2


def manifests_number(stage: Stage) -> int:
    """Return the number of the newest manifest, by its key."""
    return max(int.from_bytes(key[-8:], "big") for key in keys(stage, "snapshots"))


def test_two_damaged_ones_mean_full_replay() -> None:
    """Without a snapshot that can be read, the stream is folded from its first fact."""
    stage = with_two()
    first, second = keys(stage, "snapshots")
    flip(stage, "snapshots", first)
    stage.journal._rows.write([Row("chunks", key, None) for key in keys(stage, "chunks")])
    stage = stage.crash(change=deaf)
    read = seqs_read(stage)
    fill(stage, 1, 4_000)
    assert read == [1]
    assert stage.check_live() == 1
    fill(stage, 150, 4_001)
    assert verify(stage.journal).whole, verify(stage.journal).problems
    assert first not in keys(stage, "snapshots")
    assert second not in keys(stage, "snapshots")


@pytest.mark.parametrize("table", ["snapshots", "chunks"])
def test_a_table_that_cannot_be_read_means_full_replay(
    table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the storage itself finds damage, the actor is folded from its first fact."""
    stage = with_two().crash(change=deaf)
    rows, get = stage.journal.rows, stage.journal.get

    def damaged(*_: Any) -> Any:
        raise LogDamaged("a block does not match its checksum")

    def reading(name: str, *more: Any) -> Any:
        return damaged() if name == table else rows(name, *more)

    def getting(name: str, key: bytes) -> Any:
        return damaged() if name == table else get(name, key)

    monkeypatch.setattr(stage.journal, "rows", reading)
    monkeypatch.setattr(stage.journal, "get", getting)
    read = seqs_read(stage)
    fill(stage, 1, 4_000)
    assert read == [1]
    assert stage.check_live() == 1
    assert stage.names("$partition").count("MessageFailed") == 0


def test_another_schema_version_is_ignored() -> None:
    """What another version of the state wrote is not read, and goes with the next snapshot."""
    stage = with_two()

    def newer(kinds: dict[str, Decider[Any]]) -> None:
        deaf(kinds)
        form = kinds["lane"].form
        assert form is not None
        kinds["lane"] = replace(kinds["lane"], form=replace(form, version=form.version + 1))

    stage = stage.crash(change=newer)
    read = seqs_read(stage)
    fill(stage, 1, 4_000)
    assert read == [1]
    fill(stage, 1, 4_001)
    (version,) = {manifest.version for manifest in manifests(stage)}
    assert version == 1 + LANE_FORM.version
    assert verify(stage.journal).whole, verify(stage.journal).problems


def test_a_snapshot_of_lost_history_is_ignored() -> None:
    """An era that began at or below its position gave up the facts that it holds."""
    stage = with_two()
    older, newer = (manifest.number for manifest in manifests(stage))
    stage.journal._rows.write(era_rows(0, 2, newer))
    stage = stage.crash(change=deaf)
    read = seqs_read(stage)
    fill(stage, 1, 4_000)
    assert read == [1_501]
    assert older < newer


def test_a_snapshot_beyond_what_is_durable_is_ignored() -> None:
    """Readers that stop at what is durable do not see what a snapshot above it holds."""
    stage = with_two()
    stage.journal._durable[0] = manifests(stage)[1].number - 1
    entity_reads = check_snapshots(stage.journal, 0)
    assert entity_reads == 1
