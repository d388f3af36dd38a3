"""What docs/reference/log-format.md says is enough to read what was archived."""

from __future__ import annotations

import ast
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import msgpack
import pytest

from goclaw_events.frame import decode_frame
from goclaw_events.segments.layout import HEADER
from goclaw_events.value import pack
from tests.events import independent_segments
from tests.events.independent_segments import SegmentFile
from tests.segments.archive import LANE, Author, expire

if TYPE_CHECKING:
    from goclaw_events.segments.records import SegmentInfo


def archived(author: Author) -> list[SegmentInfo]:
    """Write runs and archive twice."""
    for run in range(10):
        author.whole_run(f"r{run}")
    return [author.archive(number) for number in (15, 35)]


def test_it_imports_nothing_of_goclaw() -> None:
    """The reader stands on struct, hashlib, msgpack and zstd alone."""
    tree = ast.parse(Path(independent_segments.__file__).read_text(encoding="utf-8"))
    names: set[str | None] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    assert names <= {
        "__future__", "backports", "collections.abc", "hashlib", "msgpack", "pathlib", "struct",
        "typing",
    }  # fmt: skip


def test_it_reads_what_was_sealed(author: Author) -> None:
    """Both agree on every frame, every row of the index, the runs that ended and the filter."""
    infos = archived(author)
    journal = author.journal
    files = [SegmentFile(journal.segments_path / info.name) for info in infos]
    frames = list(journal.frames(0))
    assert [data for file in files for data in file.frames()] == frames[
        : sum(i.frames for i in infos)
    ]
    assert (files[0].previous, files[1].previous) == (bytes(16), infos[0].last_hash)
    for info, file in zip(infos, files, strict=True):
        assert (file.magic, file.log_id, file.partition) == (b"GCSG", journal.log_id, 0)
        assert (file.first, file.last, file.digest) == (info.first, info.last, info.digest)
        rows = [row for row in journal.rows("streams") if info.first <= number_of(row) <= info.last]
        assert list(file.rows("streams")) == rows
        for key, value in file.rows("ended"):
            kept = journal.ended(0, key[2:].decode())
            assert kept is not None
            assert msgpack.unpackb(value) == list(kept)
        assert file.may_hold("/io")
        assert sum(file.may_hold(f"never-{name}") for name in range(1000)) < 50
    assert len([row for file in files for row in file.rows("ended")]) >= 5


def number_of(row: tuple[bytes, bytes]) -> int:
    """Return the number of the frame that a row of `streams` names."""
    return int.from_bytes(row[1][:8], "big")


def test_the_digest_of_a_run_is_as_told(author: Author) -> None:
    """Each fact of the workflow stream is folded into the digest of those before it."""
    archived(author)
    digest = bytes(16)
    for _, data in author.journal.stream_frames(0, "workflow/r1"):
        for turn in decode_frame(data).body.turns:
            for fact in turn.facts:
                digest = blake2b(digest + pack(fact), digest_size=16).digest()
    kept = author.journal.ended(0, "r1")
    assert kept is not None
    assert kept.digest == digest


def test_it_reads_a_baseline(author: Author) -> None:
    """The last seq of the lane and the derived rows are where the page says."""
    author.begin("kept")
    infos = archived(author)
    author.end("kept")
    below = infos[0].last + 1
    seq = sum(1 for data in author.journal.frames(0, 1, below - 1) for turn in
              decode_frame(data).body.turns if turn.facts[0].stream == LANE)  # fmt: skip
    expire(author, below, mine=[(b"k", b"v")])
    (path,) = author.journal.segments_path.glob("*.baseline")
    file = SegmentFile(path)
    assert (file.magic, file.first, file.last) == (b"GCBL", below, below)
    assert dict(file.rows("goclaw.seqs"))[
        bytes(2) + len(LANE).to_bytes(2, "big") + LANE.encode()
    ] == (seq.to_bytes(8, "big"))
    opened = [key for key, _ in file.rows("goclaw.rows") if key.startswith(b"open\0")]
    assert any(key.endswith(b"workflow/kept") for key in opened)
    assert list(file.rows("mine")) == [(b"k", b"v")]


@pytest.mark.parametrize("place", [3, 20, HEADER.size + 5, -1, -30, -45, -60])
def test_it_sees_what_was_changed(author: Author, place: int) -> None:
    """One bit anywhere, and it says so."""
    path = author.journal.segments_path / archived(author)[0].name
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"."):
        SegmentFile(path)
