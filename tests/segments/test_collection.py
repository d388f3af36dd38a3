"""Blobs go when nothing kept refers to them, and never while something does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from goclaw_events.errors import BlobMissing
from goclaw_events.rocks import RocksJournal, verify_directory
from goclaw_events.rocks.collection import Collected, collect_blobs
from goclaw_events.snapshots import Manifest, chunk_row, manifest_row, stream_prefix
from goclaw_events.tables import Row
from goclaw_events.value import BlobRef, blob_of, pack
from tests.segments.archive import Author, expire

if TYPE_CHECKING:
    from goclaw_events.framing import FrameBuilder

ROW, FILE = 70_000, 1_200_000


def value(name: str, size: int = ROW) -> bytes:
    """Return a value that becomes a blob."""
    return pack(name * (size // len(name)))


def bring(author: Author, run: str, *blobs: bytes, refer: bool = True) -> list[BlobRef]:
    """Let a run say something with blobs: it refers to them, or only brings them."""
    refs = [blob_of(data) for data in blobs]

    def fill(builder: FrameBuilder) -> None:
        builder.blobs.update((ref.sha256, data) for ref, data in zip(refs, blobs, strict=True))

    said: list[Any] = [{"deep": [refs]}] if refer else ["nothing"]
    author.say(f"workflow/{run}", "run.completed", said, fill=fill)
    author.settle()
    return refs


def test_what_nothing_refers_to_goes(author: Author) -> None:
    """Rows and files alike; what frames refer to stays, also through another blob."""
    inner = bring(author, "a", value("inner"), refer=False)[0]
    kept = bring(author, "a", pack([inner, "x" * ROW]), value("file", FILE))
    gone = bring(author, "b", value("row"), value("gone", FILE), refer=False)
    found = collect_blobs(author.journal)
    assert found == Collected(2, sum(ref.size for ref in gone), 0)
    for ref in (inner, *kept):
        assert author.journal.blob(ref)
    for ref in gone:
        with pytest.raises(BlobMissing):
            author.journal.blob(ref)
    assert collect_blobs(author.journal) == Collected(0, 0, 0)
    author.journal.close()
    assert verify_directory(author.journal.path).problems == []


def test_what_went_is_written_again(author: Author) -> None:
    """A frame that brings a collected blob again finds it stored, row or file."""
    values = (value("row"), value("file", FILE))
    bring(author, "a", *values, refer=False)
    assert collect_blobs(author.journal).blobs == 2
    for ref in bring(author, "b", *values):
        assert author.journal.blob(ref)


def test_what_comes_back_meanwhile_stays(author: Author, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the last look at the log and the deletion a frame brings blobs: they are spared."""
    values = (value("row"), value("file", FILE))
    bring(author, "a", *values, refer=False)
    journal, remove = author.journal, author.journal.remove_blobs
    refs: list[BlobRef] = []

    def meanwhile(hashes: Any) -> Any:
        refs.extend(bring(author, "b", *values))
        return remove(hashes)

    monkeypatch.setattr(journal, "remove_blobs", meanwhile)
    assert collect_blobs(journal).blobs == 0
    for ref in refs:
        assert journal.blob(ref)


def test_who_asks_may_refer_to_it(author: Author) -> None:
    """A blob that somebody was told is there stays, for a frame may refer to it without it."""
    (ref,) = bring(author, "a", value("row"), refer=False)
    assert author.journal.has_blob(ref.sha256)
    assert collect_blobs(author.journal).blobs == 0
    assert author.journal.blob(ref)


@pytest.mark.parametrize("place", ["shell", "root", "chunk", "inbox", "baseline"])
def test_every_place_that_refers_counts(author: Author, place: str) -> None:
    """Snapshots, rows of messages and baselines keep blobs although no frame does."""
    for run in range(6):
        author.whole_run(f"r{run}")
    author.settle()
    (ref,) = bring(author, "r0", value("row"), refer=False)
    journal, prefix = author.journal, stream_prefix(0, "lane//io")
    row, chunk = chunk_row(prefix, (0, 1), 3, {1: [ref]})
    shell = [["c", b"", ref, 1]] if place == "shell" else []
    root = pack({"a": ref} if place == "root" else {})
    manifest = Manifest(3, 1, 1, 1, shell, root, {(0, 1): chunk})
    if place == "baseline":
        last = author.archive(15).last
        expire(author, last + 1, mine=[(b"k", pack([1, pack({"r": ref})]))])
    elif place == "inbox":
        journal.rewrite(lambda store: store.write([Row("inbox", bytes(14), pack(["t", ref]))]))
    else:
        rows = [manifest_row(prefix, manifest), row]
        journal.rewrite(lambda store: store.write(rows if place == "chunk" else rows[:1]))
    assert collect_blobs(journal).blobs == 0
    assert journal.blob(ref)


def test_what_expired_lets_go(author: Author) -> None:
    """What only segments referred to stays while they do, and goes when they went."""
    (ref,) = bring(author, "a", value("row"))
    author.whole_run("b")
    author.settle()
    info = author.archive(author.journal.durable(0))
    assert collect_blobs(author.journal).blobs == 0
    expire(author, info.last + 1)
    assert collect_blobs(author.journal) == Collected(1, ref.size, 0)
    author.journal.close()
    assert verify_directory(author.journal.path).problems == []
    author.continue_in(RocksJournal(author.journal.path))
