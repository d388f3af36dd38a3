"""Golden logs: what a version wrote, every later one reads, and it comes to the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_events.codec import FACTS
from goclaw_events.errors import LogUnfinished
from goclaw_events.frame import decode_frame
from goclaw_events.portable import digest_of
from goclaw_events.rocks import RocksJournal, verify_directory
from goclaw_events.rocks.intake import import_log
from goclaw_events.value import unpack
from tests.golden.forms import folded, restored
from tests.golden.outcomes import outcomes
from tests.golden.play import record

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_events.frame import Frame

HERE = Path(__file__).parent
LOGS = sorted(HERE.glob("*/*.export"))
FINISHED = [path for path in LOGS if path.stem.startswith("finished")]
UNFINISHED = [path for path in LOGS if path.stem.startswith("unfinished")]
KEPT = [path for path in LOGS if path.with_suffix(".forms").exists()]
BYTES_MAX = 200 * 1024


def name_of(log: Path) -> str:
    """Return the id of a test."""
    return f"{log.parent.name}/{log.stem}"


def expected(log: Path) -> dict[str, Any]:
    """Return what a log came to when it was recorded."""
    found: dict[str, Any] = json.loads(log.with_suffix(".json").read_text(encoding="utf-8"))
    return found


def read(data_dir: Path, of: Callable[[RocksJournal], Any]) -> Any:
    """Open a log, ask it something, close it."""
    journal = RocksJournal(data_dir)
    try:
        return of(journal)
    finally:
        journal.close()


def as_json(journal: RocksJournal) -> Any:
    """Return what a log comes to, as JSON has it."""
    return json.loads(json.dumps(outcomes(journal)))


def frames(journal: RocksJournal) -> list[Frame]:
    """Return every frame."""
    return [decode_frame(data) for p in range(journal.partitions) for data in journal.frames(p)]


def test_there_are_golden_logs() -> None:
    """Some are finished and some are not; all are small."""
    assert FINISHED
    assert UNFINISHED
    assert KEPT
    assert all(path.stat().st_size < BYTES_MAX for path in LOGS)


@pytest.mark.parametrize("log", LOGS, ids=name_of)
def test_it_is_whole_and_comes_to_the_same(log: Path, tmp_path: Path) -> None:
    """It is imported, verified, and every stream folds to what it was when it was recorded."""
    manifest = import_log(log, tmp_path / "data")
    report = verify_directory(tmp_path / "data")
    assert report.problems == []
    assert report.log_id == manifest.log_id.hex()
    assert read(tmp_path / "data", digest_of) == manifest.digest
    assert read(tmp_path / "data", as_json) == expected(log)


@pytest.mark.parametrize("partitions", [1, 2, 7])
@pytest.mark.parametrize("log", FINISHED, ids=name_of)
def test_a_finished_one_fits_other_partitions(log: Path, partitions: int, tmp_path: Path) -> None:
    """Spread over another number of partitions it holds the same facts and comes to the same."""
    manifest = import_log(log, tmp_path / "data", partitions)
    assert verify_directory(tmp_path / "data").problems == []
    assert read(tmp_path / "data", lambda journal: journal.partitions) == partitions
    assert read(tmp_path / "data", lambda journal: journal.log_id) != manifest.log_id
    assert read(tmp_path / "data", digest_of) == manifest.digest
    assert read(tmp_path / "data", as_json) == expected(log)


@pytest.mark.parametrize("log", UNFINISHED, ids=name_of)
def test_an_unfinished_one_fits_its_own_partitions_only(log: Path, tmp_path: Path) -> None:
    """What is on its way names places of the old log: it is refused, and nothing is left behind."""
    with pytest.raises(LogUnfinished, match="rows of attempts"):
        import_log(log, tmp_path / "data", 5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("log", KEPT, ids=name_of)
def test_the_forms_of_its_actors_are_read(log: Path, tmp_path: Path) -> None:
    """What a baseline of that version has of an actor is, today, what its facts come to.

    Who raises a form gives it a way from the one before (`SnapshotForm.raises`).
    """
    import_log(log, tmp_path / "data")
    kept = unpack(log.with_suffix(".forms").read_bytes())

    def compare(journal: RocksJournal) -> set[str]:
        streams = set()
        for stream, decider, state in folded(journal):
            found = restored(decider, stream, kept[stream])
            assert decider.encode(found) == decider.encode(state), stream
            streams.add(stream)
        return streams

    assert read(tmp_path / "data", compare) == set(kept)


def test_together_they_hold_every_fact(tmp_path: Path) -> None:
    """Every type that a log can hold is in a golden one, in the version written now."""
    found = set()
    for number, log in enumerate(LOGS):
        import_log(log, tmp_path / str(number))
        for frame in read(tmp_path / str(number), frames):
            found |= {(fact.type, fact.version) for _, _, fact in frame.facts()}
    assert {tuple(name) for name in FACTS.names.values()} - found == set()


def test_the_play_can_be_played_again() -> None:
    """The recorder works, and gives the same bytes twice: the next version's log can be made."""
    for partitions, unfinished in ((1, True), (4, False)):
        first = record(partitions, unfinished=unfinished)
        assert record(partitions, unfinished=unfinished) == first
