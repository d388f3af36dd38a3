"""The blobs of a log on disk: small ones rows, large ones files; which may be deleted, and when."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from goclaw_events.tables import Row
from goclaw_events.tips import read_blob
from goclaw_events.value import BLOB_ROW_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from goclaw_events.framing import EncodedFrame
    from goclaw_events.reading import RowSource
    from goclaw_events.rocks.blobfiles import BlobFiles
    from goclaw_events.rocks.store import RocksStore
    from goclaw_events.value import BlobRef

KNOWN_MAX: Final = 10_000
SPARED_MAX: Final = 10_000


class BlobStore:
    """Write the blobs that frames bring, and delete those that nothing refers to.

    `rows_for` and `remove` are called while no other commit or deletion runs; `has` and `read`
    by any thread. A collection first calls `watch`, then looks for references, then calls `remove`:
    what a frame brought in between, or what somebody was told is there, is left alone.
    """

    def __init__(self, files: BlobFiles) -> None:
        self._files = files
        self._known: set[bytes] = set()
        self._lock = threading.Lock()
        self._spared: dict[bytes, None] = {}
        self._brought: set[bytes] = set()
        self._watching = False

    def rows_for(self, store: RocksStore, frames: Sequence[EncodedFrame]) -> list[Row]:
        """Write the large blobs of some frames as files, durable; return the rows of the others."""
        rows = []
        if len(self._known) > KNOWN_MAX:
            self._known.clear()
        for frame in frames:
            for sha256, data in frame.blobs.items():
                if self._watching:
                    self._brought.add(sha256)
                if len(data) > BLOB_ROW_BYTES_MAX:
                    self._files.put(sha256, data)
                elif sha256 not in self._known:
                    self._known.add(sha256)
                    if not store.has("blobs", sha256):
                        rows.append(Row("blobs", sha256, data))
        return rows

    def read(self, ref: BlobRef, source: RowSource) -> bytes:
        """Return a blob's packed bytes, its hash compared; raises `BlobMissing`, `LogDamaged`."""
        if ref.size > BLOB_ROW_BYTES_MAX:
            return read_blob(ref, self._files.get(ref.sha256))
        return read_blob(ref, source.get("blobs", ref.sha256))

    def has(self, sha256: bytes, source: RowSource) -> bool:
        """Tell whether a blob is stored; one that is told to be there is not deleted soon."""
        if source.get("blobs", sha256) is None and not self._files.has(sha256):
            return False
        with self._lock:
            self._spared[sha256] = None
            if len(self._spared) > SPARED_MAX:
                del self._spared[next(iter(self._spared))]
        return True

    def forget(self) -> None:
        """Trust nothing written so far to be durable (after a failed commit)."""
        self._known.clear()
        self._files.forget()

    def watch(self, *, on: bool) -> None:
        """Begin, or end, to note what frames bring."""
        self._brought.clear()
        self._watching = on

    def remove(self, store: RocksStore, hashes: Collection[bytes]) -> tuple[int, int]:
        """Delete blobs; return how many, and their bytes. A frame may bring them again."""
        rows = []
        count = size = 0
        for sha256 in hashes:
            if sha256 in self._brought or sha256 in self._spared:
                continue
            self._known.discard(sha256)
            stored = store.get("blobs", sha256)
            if stored is not None:
                rows.append(Row("blobs", sha256, None))
            freed = len(stored or b"") + self._files.remove(sha256)
            count += 1 if freed else 0
            size += freed
        store.write(rows)
        return count, size
