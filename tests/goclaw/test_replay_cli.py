"""`goclaw replay`: state at a position, and what --verify compares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from rocksdict import AccessType, Options, Rdict

from goclaw.cli import main
from goclaw.datadir import DataDirectory
from goclaw.replay import Replay
from goclaw.replay_check import check_replay
from goclaw_events.envelope import Position
from goclaw_events.frame import decode_frame
from goclaw_events.rocks.store import RocksStore
from goclaw_events.snapshots import decode_manifest, manifest_row
from goclaw_events.value import pack, unpack
from goclaw_projections.rocks_store import RocksViewStore
from tests.goclaw.processes import last_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from goclaw_events.rocks import RocksJournal

FLOW = """
name: chain
lanes: {one: {concurrency: 1}}
tasks:
  a: {agent: goclaw.echo, lane: one, with: {n: 1}}
  b: {agent: goclaw.echo, lane: one, needs: [a], with: {n: 2}}
  c: {wait: 10ms, needs: [b]}
  d: {agent: goclaw.fail, needs: [c]}
"""

Called = tuple[int, list[str], str]


def called(capsys: pytest.CaptureFixture[str], *args: object) -> Called:
    """Run a command; return exit code, lines of stdout, and stderr."""
    code = main([str(arg) for arg in args])
    out = capsys.readouterr()
    return code, out.out.splitlines(), out.err


def ran(tmp_path: Path, partitions: int) -> Path:
    """Return a data directory in which two runs have ended."""
    (tmp_path / "chain.yaml").write_text(FLOW)
    (tmp_path / "goclaw.yaml").write_text(f"partitions: {partitions}\n")
    data = tmp_path / "data"
    for run_id in ("r1", "r2"):
        main(["run", str(tmp_path / "chain.yaml"), "--data-dir", str(data), "--run-id", run_id,
              "--config", str(tmp_path / "goclaw.yaml")])  # fmt: skip
    return data


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Return data directories of 1 and of 4 partitions; only read by their tests."""
    return {count: ran(tmp_path_factory.mktemp("replay"), count) for count in (1, 4)}


@pytest.fixture(params=[1, 4])
def data(request: pytest.FixtureRequest, once: dict[int, Path]) -> Path:
    """Return a data directory of 1 and then of 4 partitions."""
    return once[request.param]


@pytest.fixture
def journal(data: Path) -> Iterator[RocksJournal]:
    """Return the log of `data`, open."""
    opened = DataDirectory(data).open_journal()
    yield opened
    opened.close()


def test_state_is_shown_as_it_was(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    """At the end, at the first fact of the run, and as text."""
    _, lines, _ = called(capsys, "replay", "--run", "r1", "--data-dir", data, "--json")
    end = last_json(lines[-1])
    assert (end["run_id"], end["status"]) == ("r1", "failed")
    assert [task["status"] for task in end["tasks"].values()] == ["completed"] * 3 + ["failed"]
    assert end["tasks"]["b"]["result"] == {"n": 2}
    assert set(end["lanes"]) == {"chain/one", "/default"}
    assert (end["lanes"]["chain/one"]["leased"], end["lanes"]["chain/one"]["queued"]) == ([], [])
    _, lines, _ = called(
        capsys, "log", "show", "--stream", "workflow/r1", "--data-dir", data, "--json"
    )
    first = last_json(lines[-1])[0]["position"]
    options = ("--run", "r1", "--to", first, "--data-dir", data)
    _, lines, _ = called(capsys, "replay", *options, "--json")
    begun = last_json(lines[-1])
    assert (begun["status"], begun["position"]) == ("running", first)
    assert {task["status"] for task in begun["tasks"].values()} == {"pending"}
    assert begun["workflow"]["tasks"]["a"] == "active"
    code, lines, _ = called(capsys, "replay", *options)
    assert code == 0
    assert lines[0] == "run r1: chain, running"
    assert [line.split()[:3] for line in lines if line.startswith("a ")] == [
        ["a", "active", "pending"]
    ]


def test_a_run_is_found_by_its_beginning_and_as_the_last(journal: RocksJournal) -> None:
    """`--run` takes what `goclaw runs show` takes; what names nothing is left to be refused."""
    then = Replay(journal)
    run_ids = sorted(then.run_ids())
    assert all(then.find(run_id) == run_id for run_id in run_ids)
    assert then.find("@last") in run_ids
    assert then.find("nobody") == "nobody"
    if len(run_ids) == 1:
        assert then.find(run_ids[0][:1]) == run_ids[0]


def test_every_position_shows_exactly_the_facts_before_it(journal: RocksJournal) -> None:
    """At each number of each partition the streams there have as many facts as it counts."""
    for partition in range(journal.partitions):
        seqs: dict[str, int] = {}
        for data in journal.frames(partition):
            for number, _, fact in decode_frame(data).facts():
                seqs[fact.stream] = fact.seq
                replay = Replay(journal, Position(partition, number))
                assert replay.last[partition] == number
                for stream, seq in seqs.items():
                    if stream != "$partition":
                        turns = list(replay.turns(stream))
                        assert sum(len(turn.facts) for turn in turns) == seq


def test_other_partitions_are_cut_by_time(journal: RocksJournal) -> None:
    """A cut never shows what was recorded later than the frame that holds it."""
    frames = [
        (decoded.header.partition, decoded.last, decoded.header.time_ns)
        for partition in range(journal.partitions)
        for decoded in map(decode_frame, journal.frames(partition))
    ]
    for partition, number, time_ns in frames:
        cut = Replay(journal, Position(partition, number)).last
        for other in range(journal.partitions):
            if other != partition:
                earlier = [n for p, n, t in frames if p == other and t <= time_ns]
                assert cut[other] == max(earlier, default=0)


def test_the_overview_tells_every_run(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    """Each with its state at that position; none before the first."""
    _, lines, _ = called(capsys, "replay", "--data-dir", data, "--json")
    runs: list[dict[str, Any]] = last_json(lines[-1])["runs"]
    assert [(run["run_id"], run["status"], run["tasks_ended"]) for run in runs] == [
        ("r1", "failed", 4),
        ("r2", "failed", 4),
    ]
    _, lines, _ = called(
        capsys, "replay", "--to", runs[0]["position"], "--data-dir", data, "--json"
    )
    assert [run["run_id"] for run in last_json(lines[-1])["runs"]] == ["r1"]
    _, lines, _ = called(capsys, "replay", "--to", "0:0", "--data-dir", data)
    assert [line.split()[0] for line in lines] == ["RUN"]


@pytest.mark.parametrize(
    ("args", "code", "exit_code"),
    [
        (["--run", "r9"], "run_not_found", 3),
        (["--to", "0:99999"], "not_found", 3),
        (["--to", "7:1"], "not_found", 3),
        (["--to", "x"], "invalid_position", 2),
        (["--verify", "--run", "r1"], "usage", 2),
        (["--run", "r1", "--to", "0:1"], "run_not_found", 3),
    ],
)
def test_what_is_not_there_is_said(
    capsys: pytest.CaptureFixture[str],
    once: dict[int, Path],
    args: list[str],
    code: str,
    exit_code: int,
) -> None:
    """A run, a position, a partition; a run before its first fact."""
    found, lines, _ = called(capsys, "replay", *args, "--data-dir", once[1], "--json")
    assert (found, last_json(lines[-1])["error"]["code"]) == (exit_code, code)


def test_verify_compares_actors_tables_and_views(
    capsys: pytest.CaptureFixture[str], data: Path
) -> None:
    """Exit 0 and counts when all agrees."""
    code, lines, _ = called(capsys, "replay", "--verify", "--data-dir", data, "--json")
    report = last_json(lines[-1])
    assert (code, report["verified"], report["problems"]) == (0, True, [])
    assert report["streams"] == 2 * 5 + 2
    assert min(report["frames"], report["facts"], report["rows"], report["view_rows"]) > 0
    code, lines, _ = called(capsys, "replay", "--verify", "--data-dir", data)
    assert (code, lines[-1]) == (0, "verified")


def test_verify_in_several_passes_is_the_same(
    journal: RocksJournal, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few states at a time change nothing but how often the log is read."""
    whole = check_replay(journal, DataDirectory(data).views)
    monkeypatch.setattr("goclaw.replay_check.STREAMS_AT_ONCE", 3)
    assert check_replay(journal, DataDirectory(data).views) == whole


def test_verify_finds_a_view_that_differs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Exit 6 with the view and the key of the row."""
    data = ran(tmp_path, 1)
    store = RocksViewStore(DataDirectory(data).views)
    value = store.get(b"tasks/r1/a")
    assert value is not None
    store.write([(b"tasks/r1/a", value.replace(b"completed", b"cancelled"))])
    store.write([(b"tasks/r9/z", value), (b"tasks/r2/b", None)])
    store.close()
    code, lines, _ = called(capsys, "replay", "--verify", "--data-dir", data, "--json")
    report = last_json(lines[-1])
    assert (code, report["verified"], report["problems_count"]) == (6, False, 3)
    assert {problem["place"] for problem in report["problems"]} == {
        "view tasks: r1/a",
        "view tasks: r9/z",
        "view tasks: r2/b",
    }


def test_verify_finds_a_table_that_differs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Exit 6: the row of a stream that an actor would activate from is gone."""
    data = ran(tmp_path, 1)
    path = str(DataDirectory(data).log)
    families = {name: Options(raw_mode=True) for name in Rdict.list_cf(path)}
    database = Rdict(path, Options(raw_mode=True), families, AccessType.read_write())
    table = database.get_column_family("streams")
    keys = [key for key, _ in table.items() if isinstance(key, bytes) and b"workflow/r1" in key]
    table.delete(keys[0])
    table.close()
    database.close()
    code, lines, _ = called(capsys, "replay", "--verify", "--data-dir", data)
    assert code == 6
    assert any("streams" in line for line in lines)


def test_an_actor_that_would_activate_otherwise_is_found(
    journal: RocksJournal, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place is the stream, and what differs is named."""
    from goclaw import replay_check

    def load_less(entity: Any, *_: object) -> None:
        entity.state = entity.decider.initial(entity.stream)
        entity.seq = 1

    monkeypatch.setattr(replay_check, "load", load_less)
    report = check_replay(journal, DataDirectory(data).views)
    places = {problem.place.partition(":")[2] for problem in report.problems}
    assert "task/r1/a" in places
    assert any("status" in problem.message for problem in report.problems)


def test_verify_compares_every_snapshot(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Whole by its hash and wrong all the same: exit 6, with stream and position."""
    data = ran(tmp_path, 1)
    code, lines, _ = called(capsys, "replay", "--verify", "--data-dir", data, "--json")
    assert (code, last_json(lines[-1])["snapshots"] > 0) == (0, True)
    store = RocksStore(DataDirectory(data).log, create=False)
    key, row = next(found for found in store.scan("snapshots", b"", None) if b"lane/" in found[0])
    manifest = decode_manifest(key, row)
    root = unpack(manifest.root)
    root[1] += 1  # its capacity
    store.write([manifest_row(key[:-8], manifest._replace(root=pack(root)))])
    store.close()
    code, lines, _ = called(capsys, "replay", "--verify", "--data-dir", data)
    assert code == 6
    assert any(f"from its snapshot at {manifest.number}" in line for line in lines)
    assert any("capacity" in line for line in lines)
