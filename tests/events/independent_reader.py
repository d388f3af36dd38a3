"""Read a log with nothing of Goclaw: written from docs/reference/log-format.md alone."""

from __future__ import annotations

import struct
from hashlib import blake2b, sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack
from rocksdict import AccessType, Options, Rdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADER = struct.Struct(">4sH16sHIQQIq16s")


class Read(NamedTuple):
    """A fact and its place; references in `data` are `msgpack.ExtType`s."""

    partition: int
    number: int
    time_ns: int
    cause: list[Any]
    stream: str
    seq: int
    type: str
    version: int
    data: list[Any]


class LogReader:
    """A log that nobody writes to. `ValueError` where something is not what the page says."""

    def __init__(self, path: Path) -> None:
        self._path = path
        log = str(path / "log")
        tables = {name: Options(raw_mode=True) for name in Rdict.list_cf(log)}
        self._db = Rdict(log, Options(True), tables, access_type=AccessType.read_only())
        meta: dict[Any, Any] = dict(self._db.get_column_family("meta").items())
        self.log_id, self.partitions = meta[b"log_id"], int.from_bytes(meta[b"partitions"], "big")
        expect(int.from_bytes(meta[b"format"], "big") == 1, "the log is of another format")

    def facts(self, partition: int) -> Iterator[Read]:
        """Yield every fact of a partition, checking the chain on the way."""
        due, before, seqs = 1, bytes(16), dict[str, int]()
        rows = self._db.get_column_family("log").iter()
        rows.seek(partition.to_bytes(2, "big"))
        while rows.valid() and rows.key()[:2] == partition.to_bytes(2, "big"):
            frame = rows.value()
            magic, fmt, log_id, part, _, _, first, count, time_ns, named = HEADER.unpack_from(frame)
            expect((magic, fmt, log_id) == (b"GCLF", 1, self.log_id), "it is not a frame")
            expect((part, first) == (partition, due), "a frame is not where it should be")
            expect(rows.key() == struct.pack(">HQ", part, first), "a key is another frame's")
            expect(named == before, "a frame does not name the one before")
            before = blake2b(frame[:-16], digest_size=16).digest()
            expect(frame[-16:] == before, "a frame does not match its hash")
            turns, *_ = msgpack.unpackb(frame[HEADER.size : -16], strict_map_key=False)
            for cause, *facts in turns:
                for stream, seq, kind, version, data in facts:
                    expect(seq == seqs.get(stream, 0) + 1, "a stream has a gap")
                    seqs[stream] = seq
                    yield Read(part, due, time_ns, cause, stream, seq, kind, version, data)
                    due += 1
            expect(due == first + count, "a frame counts its facts wrongly")
            rows.next()
        rows.status()

    def value(self, found: Any) -> Any:
        """Return a value, looked up if it is a reference."""
        if not isinstance(found, msgpack.ExtType):
            return found
        name, size = found.data[:32], int.from_bytes(found.data[32:40], "big")
        data = self._db.get_column_family("blobs").get(name)
        if data is None:
            data = (self._path / "blobs" / name.hex()[:2] / name.hex()).read_bytes()
        expect(len(data) == size and sha256(data).digest() == name, "a blob is another one")
        value = msgpack.unpackb(data)
        for step in msgpack.unpackb(found.data[40:]) if found.data[40:] else ():
            value = value[step]
        return value


def expect(holds: bool, otherwise: str) -> None:
    """Raise `ValueError` unless what the page says holds."""
    if not holds:
        raise ValueError(otherwise)
