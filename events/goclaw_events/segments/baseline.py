"""A baseline: what history came to at the place below which it was given up.

A file of the form of a segment, without frames. Its sections hold rows: those of this floor (the
derived rows of tables at that place, the last seq of every stream) and any others, whose meaning
is their writer's.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from goclaw_events.errors import LogDamaged
from goclaw_events.segments.cache import parse_rows
from goclaw_events.segments.disk import disk_error
from goclaw_events.segments.layout import (
    BASELINE_MAGIC,
    FileHeader,
    FileWriter,
    read_block,
    read_directory,
)
from goclaw_events.segments.records import history_key, read_history
from goclaw_events.segments.writing import NAME_DIGITS, put_rows
from goclaw_events.watermark import sync_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from goclaw_events.reading import RowSource
    from goclaw_events.segments.cache import RowBlock
    from goclaw_events.segments.layout import Block, Directory

    Rows = Iterable[tuple[bytes, bytes]]

DERIVED_ROWS: Final = "goclaw.rows"
"""Section: table, a zero byte and key -> value, of every derived row but those of frames."""
SEQS: Final = "goclaw.seqs"
"""Section: partition and stream as in keys of `streams` -> u64 seq of its last fact."""
KEPT_BLOCKS_MAX: Final = 64
OWN: Final = "goclaw."
"""How the names of the sections of this floor begin."""


class BaselineReader:
    """Read a baseline. `digest` is what it must have. Raises `LogDamaged`. Any thread."""

    def __init__(self, path: Path, digest: bytes) -> None:
        self.path = path
        self._digest = digest
        self._opened: Directory | None = None
        self._kept: dict[int, RowBlock] = {}

    @property
    def directory(self) -> Directory:
        """Return the file's directory; read once."""
        if self._opened is None:
            found = read_directory(self.path, self._digest)
            if found.header.magic != BASELINE_MAGIC:
                msg = f"segments/{self.path.name} is no baseline"
                raise LogDamaged(msg, file=self.path.name)
            self._opened = found
        return self._opened

    @property
    def name(self) -> str:
        """Return the name of the file."""
        return self.path.name

    @property
    def sections(self) -> list[str]:
        """Return the names of the sections, also of empty ones."""
        return list(self.directory.about["sections"])

    def rows(self, section: str) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows of a section in order of key."""
        for block in self._blocks(section):
            yield from parse_rows(read_block(self.path, block)).rows(b"", None)

    def get(self, section: str, key: bytes) -> bytes | None:
        """Return one row's value."""
        for block in reversed(self._blocks(section)):
            if block.key <= key:
                row = self._block(block).floor(key)
                return row[1] if row is not None and row[0] == key else None
        return None

    def seq(self, stream: bytes) -> int | None:
        """Return the seq of a stream's last fact below; `stream`: partition and name as in keys."""
        found = self.get(SEQS, stream)
        return None if found is None else int.from_bytes(found, "big")

    def derived(self) -> Iterator[tuple[str, bytes, bytes]]:
        """Yield (table, key, value) of the derived rows."""
        for name, value in self.rows(DERIVED_ROWS):
            table, _, key = name.partition(b"\0")
            yield table.decode(), key, value

    def check(self) -> None:
        """Read everything again and compare it with its hashes; raises `LogDamaged`."""
        fresh = BaselineReader(self.path, self._digest)
        for section in fresh.sections:
            for _ in fresh.rows(section):
                pass

    def _block(self, block: Block) -> RowBlock:
        """Return a block; the first ones that are asked for are kept."""
        found = self._kept.get(block.offset)
        if found is None:
            found = parse_rows(read_block(self.path, block))
            if len(self._kept) < KEPT_BLOCKS_MAX:
                self._kept[block.offset] = found
        return found

    def _blocks(self, section: str) -> list[Block]:
        return [block for block in self.directory.blocks if block.section == section]


def find_baseline(directory: Path, tables: RowSource, partition: int) -> BaselineReader | None:
    """Return the baseline that `meta` names (None: nothing was given up)."""
    history = read_history(tables.get("meta", history_key(partition)))
    return None if history is None else _reader(directory / history.baseline, history.digest)


@lru_cache(maxsize=64)
def _reader(path: Path, digest: bytes) -> BaselineReader:
    return BaselineReader(path, digest)


def write_baseline(
    directory: Path,
    log_id: bytes,
    place: tuple[int, int],
    sections: Mapping[str, Rows],
    adopt: Callable[[str], None],
) -> tuple[str, bytes]:
    """Write the baseline of `place` (partition, first number that stays); return name and digest.

    The rows of a section come in order of key. `adopt` hears the name before a file has it.
    The file is durable and was read back when this returns. Raises `JournalFull`,
    `JournalBroken`, `LogDamaged`.
    """
    partition, below = place
    part = directory / f".baseline-{secrets.token_hex(8)}"
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        digest = _write(
            part, FileHeader(BASELINE_MAGIC, log_id, partition, below, below, bytes(16)), sections
        )
        name = f"{partition}-{below:0{NAME_DIGITS}d}-{digest.hex()[:16]}.baseline"
        adopt(name)
        part.rename(directory / name)
        sync_directory(directory)
    except OSError as error:
        raise disk_error(error, f"writing a baseline in {directory}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    BaselineReader(directory / name, digest).check()
    return name, digest


def _write(part: Path, header: FileHeader, sections: Mapping[str, Rows]) -> bytes:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(part, flags, 0o600)
    try:
        file = FileWriter(fd, header)
        counts = {name: put_rows(file, name, rows) for name, rows in sections.items()}
        return file.finish({"sections": counts})[0]
    finally:
        os.close(fd)
