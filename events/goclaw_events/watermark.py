"""The watermark: what was acknowledged, kept outside the database that could forget it.

The file has two slots of equal size, written in turn, each with its own checksum: a torn write
spoils one of them. A slot holds, for each partition, the era, the number of the last durable fact
and the hash of the frame that ends there.
"""

from __future__ import annotations

import errno
import os
import struct
import time
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw_events.errors import JournalBroken, JournalFull, LogDamaged, LogMismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

MAGIC: Final = b"GCWM"
FORMAT: Final = 1
FSYNC_INTERVAL_S: Final = 0.1
_HEAD: Final = struct.Struct(">4sHH16sQ")
_PLACE: Final = struct.Struct(">IQ16s")
_CHECK_BYTES: Final = 16
_SECTOR_BYTES: Final = 512
_SLOTS: Final = 2


class Mark(NamedTuple):
    """The acknowledged end of a partition."""

    era: int
    number: int
    hash: bytes


class Slot(NamedTuple):
    """What a slot holds: whose marks they are, and how many were written before."""

    log_id: bytes
    writes: int
    marks: list[Mark]


def _encode(log_id: bytes, writes: int, marks: Sequence[Mark]) -> bytes:
    body = _HEAD.pack(MAGIC, FORMAT, len(marks), log_id, writes)
    body += b"".join(_PLACE.pack(*mark) for mark in marks)
    return body + blake2b(body, digest_size=_CHECK_BYTES).digest()


def _decode(data: bytes) -> Slot | None:
    if len(data) < _HEAD.size or not data.startswith(MAGIC):
        return None
    _, fmt, partitions, log_id, writes = _HEAD.unpack_from(data)
    end = _HEAD.size + partitions * _PLACE.size
    check = blake2b(data[:end], digest_size=_CHECK_BYTES).digest()
    if fmt != FORMAT or data[end : end + _CHECK_BYTES] != check:
        return None
    return Slot(log_id, writes, [Mark(*m) for m in _PLACE.iter_unpack(data[_HEAD.size : end])])


def _slot_bytes(partitions: int) -> int:
    used = _HEAD.size + partitions * _PLACE.size + _CHECK_BYTES
    return -(-used // _SECTOR_BYTES) * _SECTOR_BYTES


def read_watermark(path: Path, log_id: bytes, partitions: int) -> list[Mark] | None:
    """Return the newest whole slot (None: there is no file).

    Raises `LogDamaged` if no slot is whole, `LogMismatch` if it is another log's.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    size = _slot_bytes(partitions)
    slots = [_decode(data[at : at + size]) for at in range(0, _SLOTS * size, size)]
    whole = [slot for slot in slots if slot is not None]
    if not whole:
        msg = f"neither slot of {path} is whole: what was acknowledged is not known"
        raise LogDamaged(msg, hint="restore the directory from a copy", path=str(path))
    newest = max(whole, key=lambda slot: slot.writes)
    if newest.log_id != log_id or len(newest.marks) != partitions:
        msg = f"{path} belongs to log {newest.log_id.hex()}, not to {log_id.hex()}"
        raise LogMismatch(msg, path=str(path))
    return newest.marks


def find_marks(path: Path) -> Slot | None:
    """Return the newest whole slot of a file of which nothing is known (None: there is none)."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    found = [_decode(data[at:]) for at in range(0, len(data), _SECTOR_BYTES)]
    return max((slot for slot in found if slot), key=lambda slot: slot.writes, default=None)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable; raises `OSError`."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Watermark:
    """Write the watermark file: a slot after every flush, an fsync at most every 100 ms.

    So a killed process loses nothing unseen, and a power cut at most the last 100 ms. Used by
    the committer's thread alone. Raises `JournalBroken`, `JournalFull`.
    """

    def __init__(
        self,
        path: Path,
        log_id: bytes,
        marks: Sequence[Mark],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._log_id = log_id
        self.marks = list(marks)
        self._size = _slot_bytes(len(marks))
        self._monotonic = monotonic
        self._dirty_since: float | None = None
        try:
            if not path.exists():
                self._create()
            self._writes = self._last_write(path)
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            if os.fstat(self._fd).st_size < _SLOTS * self._size:
                os.ftruncate(self._fd, _SLOTS * self._size)
                sync_directory(path.parent)
        except OSError as error:
            raise self._broken(error) from error
        try:
            self.write()
            self.sync()
        except BaseException:
            os.close(self._fd)
            raise

    def _create(self) -> None:
        """Write the file whole before it has its name: it never stands there without a slot."""
        part = self._path.with_name("." + self._path.name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(part, flags, 0o600)
        try:
            data = _encode(self._log_id, 0, self.marks)
            os.pwrite(fd, data.ljust(_SLOTS * self._size, b"\0"), 0)
            os.fsync(fd)
        finally:
            os.close(fd)
        part.rename(self._path)
        sync_directory(self._path.parent)

    def _last_write(self, path: Path) -> int:
        data = path.read_bytes() if path.exists() else b""
        slots = (_decode(data[at : at + self._size]) for at in (0, self._size))
        return max((slot.writes for slot in slots if slot is not None), default=0)

    def write(self) -> None:
        """Write `marks` into the older slot."""
        self._writes += 1
        data = _encode(self._log_id, self._writes, self.marks)
        try:
            os.pwrite(self._fd, data, self._writes % _SLOTS * self._size)
        except OSError as error:
            raise self._broken(error) from error
        if self._dirty_since is None:
            self._dirty_since = self._monotonic()

    def sync_if_due(self) -> float | None:
        """Fsync if 100 ms have passed; return in how many seconds it is due (None: not at all)."""
        if self._dirty_since is None:
            return None
        left_s = self._dirty_since + FSYNC_INTERVAL_S - self._monotonic()
        if left_s > 0:
            return left_s
        self.sync()
        return None

    def sync(self) -> None:
        """Fsync now."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise self._broken(error) from error
        self._dirty_since = None

    def close(self) -> None:
        """Fsync and close the file. Idempotent."""
        if self._fd < 0:
            return
        try:
            if self._dirty_since is not None:
                self.sync()
        finally:
            os.close(self._fd)
            self._fd = -1

    def _broken(self, error: OSError) -> JournalBroken | JournalFull:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        kind = JournalFull if full else JournalBroken
        return kind(f"{self._path} cannot be written: {error}", path=str(self._path))
