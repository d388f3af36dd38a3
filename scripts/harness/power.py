"""Emulate a power loss: after a kill, take back what no flush had made durable.

Each WAL file is cut to the length that it had when a flush last returned, plus a torn tail: what
was written behind may have reached the disk in part. The watermark, which is fsynced every 100 ms,
becomes a mix of its last synced and its last written sectors. Everything else (SST files, MANIFEST,
blobs) is fsynced before anything refers to it, and is left alone.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

SECTOR_BYTES: Final = 512
RECORD: Final = "flushed"
MARK_SYNCED: Final = "watermark.synced"
HONEST: Final = ("cut", "prefix")
"""Tails of a disk that keeps order: nothing, or a prefix. The log must open."""
HOSTILE: Final = ("zeros", "holes", "garbage")
"""Tails of a disk that does not: a length without its bytes, later sectors without earlier ones,
old contents. The log opens with all that was acknowledged, or is refused with a typed error."""


class Flushed:
    """The child's record of what is durable. Making one takes all that is there as durable."""

    def __init__(self, home: Path) -> None:
        self._data = home / "data"
        self._mark = home / MARK_SYNCED
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        self._fd = os.open(home / RECORD, flags, 0o600)
        self.record()
        self.keep_mark()

    def record(self) -> None:
        """Record how long every WAL file is."""
        sizes = {path.name: path.stat().st_size for path in self._data.glob("log/*.log")}
        os.write(self._fd, json.dumps(sizes).encode() + b"\n")

    def keep_mark(self) -> None:
        """Copy the watermark as it is now."""
        mark = self._data / "watermark"
        if mark.exists():
            part = self._mark.with_suffix(".part")
            shutil.copyfile(mark, part)
            part.replace(self._mark)


def cut_power(home: Path, rng: Random, tail: str) -> dict[str, Any]:
    """Take back what a power cut might; `tail` is one of `HONEST` or `HOSTILE`. Say what was."""
    lines = (home / RECORD).read_text().splitlines()
    durable: dict[str, int] = json.loads(lines[-1])
    lost = 0
    for path in sorted((home / "data").glob("log/*.log")):
        content = path.read_bytes()
        length = min(durable.get(path.name, 0), len(content))
        kept = content[:length] + _torn(content[length:], rng, tail)
        path.write_bytes(kept)
        lost += len(content) - length
    return {"tail": tail, "unflushed": lost, "mark": _tear_mark(home, rng)}


def _torn(tail: bytes, rng: Random, how: str) -> bytes:
    """Return what is left of bytes that no flush covered."""
    if not tail or how == "cut":
        return b""
    reached = rng.randrange(len(tail))
    match how:
        case "prefix":
            return tail[:reached]
        case "zeros":
            return tail[:reached] + bytes(len(tail) - reached)
        case "garbage":
            return tail[:reached] + rng.randbytes(min(SECTOR_BYTES, len(tail) - reached))
    sectors = [tail[at : at + SECTOR_BYTES] for at in range(0, len(tail), SECTOR_BYTES)]
    return b"".join(rng.choice([sector, bytes(len(sector))]) for sector in sectors)


def _tear_mark(home: Path, rng: Random) -> str:
    """Bring back some or all sectors of the watermark as they were at its last fsync."""
    mark, synced = home / "data" / "watermark", home / MARK_SYNCED
    how = rng.choice(["written", "synced", "mixed"])
    if how == "written" or not synced.exists() or not mark.exists():
        return "written"
    old, new = synced.read_bytes(), mark.read_bytes()
    if len(old) != len(new):
        return "written"
    if how == "mixed":
        pairs = [
            (old[at : at + SECTOR_BYTES], new[at : at + SECTOR_BYTES])
            for at in range(0, len(new), SECTOR_BYTES)
        ]
        old = b"".join(rng.choice(pair) for pair in pairs)
    mark.write_bytes(old)
    return how
