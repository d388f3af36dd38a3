"""Snapshots: what an actor's stream folds to at a position, so that older facts need no replay.

A snapshot is one row of `snapshots`, its manifest, and rows of `chunks`: a large collection is
cut, and a later snapshot writes only the chunks that changed. A chunk row is never overwritten:
its key holds the number of the snapshot that wrote it. Nothing here follows from frames alone, and
nothing is lost with it: a snapshot that cannot be read is passed over.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from goclaw_events.eras import era_start_key
from goclaw_events.errors import CodedError, LogDamaged
from goclaw_events.reading import era_key
from goclaw_events.tables import Row, stream_part, u16, u64
from goclaw_events.value import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from goclaw_events.value import Value

    Place = tuple[int, int]
    Warn = Callable[[CodedError], None]

FORMAT: Final = 1
BEGUN: Final = 0
"""The seq of a manifest whose snapshot was begun: it only names the chunks that may be there."""
HASH_BYTES: Final = 16
_PIECE_BYTES: Final = 2047
_CHUNK_ZERO: Final = 1 << 63
"""Chunks are numbered from below zero; keys hold them shifted, so that they keep their order."""


class Chunk(NamedTuple):
    """Which snapshot wrote a chunk, by its number, and the hash of its bytes."""

    number: int
    hash: bytes


class Manifest(NamedTuple):
    """A snapshot without its chunks.

    `number` is the position of the last fact that it holds, `seq` that fact's place in its
    stream. `shell` is what the actor's shell keeps, `root` the packed small part of the state of
    schema `version`; `chunks` are by (map, chunk id).
    """

    number: int
    seq: int
    version: int
    era: int
    shell: Value
    root: bytes
    chunks: Mapping[Place, Chunk]


class Snapshot(NamedTuple):
    """A snapshot as read: `maps` holds, by map, its chunks by id, each entries by key."""

    manifest: Manifest
    root: Value
    maps: Mapping[int, dict[int, dict[int, Value]]]


class Rows(Protocol):
    """Where snapshots are read from: a journal; see `Journal`."""

    def rows(
        self, table: str, prefix: bytes = b"", stop: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) in order of key, for keys that begin with `prefix`, below `stop`."""
        ...

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return one row's value."""
        ...


class DurableRows(Rows, Protocol):
    """Rows that also tell how far they are durable."""

    def durable(self, partition: int) -> int:
        """Return the number of the last durable fact of a partition."""
        ...


def stream_prefix(partition: int, stream: str) -> bytes:
    """Return how every key of a stream begins, in `snapshots` and in `chunks`."""
    return u16(partition) + stream_part(stream)


def chunk_key(prefix: bytes, place: Place, number: int) -> bytes:
    """Key of a chunk: stream, map, chunk id, number of the snapshot that wrote it."""
    return prefix + u16(place[0]) + u64(place[1] + _CHUNK_ZERO) + u64(number)


def chunk_row(prefix: bytes, place: Place, number: int, entries: Any) -> tuple[Row, Chunk]:
    """Pack the entries of a chunk; return its row and how a manifest names it."""
    data = pack(entries)
    return Row("chunks", chunk_key(prefix, place, number), data), Chunk(number, _hash(data))


def manifest_row(prefix: bytes, manifest: Manifest) -> Row:
    """Return the row of a manifest; its hash covers its key, so it holds for no other stream."""
    key = prefix + u64(manifest.number)
    chunks = [[*place, *chunk] for place, chunk in manifest.chunks.items()]
    body = pack([FORMAT, *manifest[1:6], chunks])
    return Row("snapshots", key, body + _hash(key + body))


def begun_row(prefix: bytes, number: int, places: Sequence[Place]) -> Row:
    """Return the row that says which chunks the snapshot `number` may write, until it is whole."""
    chunks = dict.fromkeys(places, Chunk(number, b""))
    return manifest_row(prefix, Manifest(number, BEGUN, 0, 0, None, b"", chunks))


def decode_manifest(key: bytes, data: bytes) -> Manifest:
    """Read a manifest row; raises `LogDamaged`."""
    body = data[:-HASH_BYTES]
    if _hash(key + body) != data[-HASH_BYTES:]:
        msg = f"the snapshot {key.hex()} does not match its hash"
        raise LogDamaged(msg, hint=_HINT, table="snapshots")
    form, *fields = unpack(body)
    if form != FORMAT:
        msg = f"the snapshot {key.hex()} has format {form}"
        raise LogDamaged(msg, hint=_HINT, table="snapshots")
    seq, version, era, shell, root, named = fields
    chunks = {(at, chunk): Chunk(number, digest) for at, chunk, number, digest in named}
    number = int.from_bytes(key[-8:], "big")
    return Manifest(number, seq, version, era, shell, root, chunks)


def read_manifests(
    journal: Rows, partition: int, stream: str, warn: Warn
) -> list[tuple[int, Manifest | None]]:
    """Return (number, manifest) of a stream, oldest first; None for one that is damaged.

    Ends, with a warning, where the table cannot be read.
    """
    found: list[tuple[int, Manifest | None]] = []
    try:
        for key, data in journal.rows("snapshots", stream_prefix(partition, stream)):
            found.append((int.from_bytes(key[-8:], "big"), _read_manifest(key, data, warn)))
    except LogDamaged as error:
        warn(error)
    return found


def _read_manifest(key: bytes, data: bytes, warn: Warn) -> Manifest | None:
    try:
        return decode_manifest(key, data)
    except LogDamaged as error:
        warn(error)
        return None


def usable(
    journal: DurableRows,
    partition: int,
    stream: str,
    manifests: Sequence[tuple[int, Manifest | None]],
    version: int,
    warn: Warn,
) -> Iterator[Snapshot]:
    """Yield the snapshots of a schema version that a replay may begin with, newest first.

    Not those beyond what is durable, nor of history that was given up; one with a chunk that is
    missing or damaged is passed over with a warning.
    """
    durable = journal.durable(partition)
    prefix = stream_prefix(partition, stream)
    for number, manifest in reversed(manifests):
        if (
            manifest is None
            or manifest.seq == BEGUN
            or number > durable
            or manifest.version != version
        ):
            continue
        try:
            if not _in_history(journal, partition, manifest):
                continue
            snapshot = read_chunks(journal, prefix, manifest)
        except LogDamaged as error:
            warn(error)
            continue
        yield snapshot


def read_chunks(journal: Rows, prefix: bytes, manifest: Manifest) -> Snapshot:
    """Read what a manifest names; raises `LogDamaged`."""
    maps: dict[int, dict[int, dict[int, Value]]] = {}
    for place, chunk in manifest.chunks.items():
        key = chunk_key(prefix, place, chunk.number)
        data = journal.get("chunks", key)
        check_chunk(key, data, chunk.hash)
        maps.setdefault(place[0], {})[place[1]] = unpack(data or b"")
    return Snapshot(manifest, unpack(manifest.root), maps)


def check_chunk(key: bytes, data: bytes | None, digest: bytes) -> None:
    """Compare a chunk's bytes with the hash that a manifest gives; raises `LogDamaged`."""
    if data is None or _hash(data) != digest:
        what = "is missing" if data is None else "does not match its hash"
        msg = f"the chunk {key.hex()} of a snapshot {what}"
        raise LogDamaged(msg, hint=_HINT, table="chunks")


_HINT: Final = "actors are folded from older facts instead; see `goclaw log verify`"


def _hash(data: bytes) -> bytes:
    """Hash in pieces below the size at which hashlib lets other threads run.

    To get the interpreter back took the dispatcher up to 10 ms, for 40 µs of hashing.
    """
    digest = hashlib.blake2b(digest_size=HASH_BYTES)
    view = memoryview(data)
    for at in range(0, len(data), _PIECE_BYTES):
        digest.update(view[at : at + _PIECE_BYTES])
    return digest.digest()


def _in_history(journal: Rows, partition: int, manifest: Manifest) -> bool:
    """Tell whether no later era began at or before the manifest's number."""
    stored = journal.get("meta", era_key(partition))
    era = int.from_bytes(stored, "big") if stored else manifest.era
    for later in range(manifest.era + 1, era + 1):
        start = journal.get("meta", era_start_key(partition, later))
        if start is None or int.from_bytes(start, "big") <= manifest.number:
            return False
    return True
