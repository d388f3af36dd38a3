"""Look at every snapshot of a log: each manifest and chunk against its hash, none left over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_events.errors import LogDamaged
from goclaw_events.snapshots import check_chunk, chunk_key, decode_manifest
from goclaw_events.value import unpack

if TYPE_CHECKING:
    from collections.abc import Callable


class SnapshotCheck:
    """Read manifests, then chunks; `add` hears of (code, place, message) of what is wrong.

    Memory grows with the number of chunks. Damage here costs time, not facts: actors are folded
    from older facts.
    """

    def __init__(self, add: Callable[[str, str, str], None]) -> None:
        self._add = add
        self._wanted: dict[bytes, bytes] = {}
        self._allowed: set[bytes] = set()
        self._unknown: set[bytes] = set()

    def manifest(self, key: bytes, data: bytes) -> None:
        """Take in a row of `snapshots`."""
        prefix = key[:-8]
        try:
            manifest = decode_manifest(key, data)
            unpack(manifest.root or b"\xc0")
        except LogDamaged as error:
            self._unknown.add(prefix)
            self._add(error.code, _place(key), error.message)
            return
        for place, chunk in manifest.chunks.items():
            name = chunk_key(prefix, place, chunk.number)
            if manifest.seq:
                self._wanted[name] = chunk.hash
            else:
                self._allowed.add(name)

    def chunk(self, key: bytes, data: bytes) -> None:
        """Take in a row of `chunks`, after all manifests."""
        digest = self._wanted.pop(key, None)
        if digest is None:
            if key not in self._allowed and key[:-18] not in self._unknown:
                text = f"the chunk {key.hex()} belongs to no snapshot"
                self._add(LogDamaged.code, _place(key), text)
            return
        try:
            check_chunk(key, data, digest)
            unpack(data)
        except LogDamaged as error:
            self._add(error.code, _place(key), error.message)

    def end(self) -> None:
        """Report the chunks that manifests name and nothing holds."""
        for key in self._wanted:
            text = f"the chunk {key.hex()} of a snapshot is missing"
            self._add(LogDamaged.code, _place(key), text)


def _place(key: bytes) -> str:
    """Return the position of the snapshot that a row belongs to."""
    length = int.from_bytes(key[2:4], "big")
    stream = key[4 : 4 + length].decode("utf-8", "replace")
    number = int.from_bytes(key[-8:], "big")
    return f"snapshot {int.from_bytes(key[:2], 'big')}:{number} of {stream}"
