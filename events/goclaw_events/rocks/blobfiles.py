"""Large blobs: one file each, named by its hash, durable before the frame that refers to it."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from goclaw_events.rocks.failure import classify
from goclaw_events.watermark import sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class BlobFiles:
    """Keep blobs as `<root>/ab/<sha256 in hex>`. Written by the committer's thread alone."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._durable: set[bytes] = set()

    def path_of(self, sha256: bytes) -> Path:
        """Return where a blob's file stands."""
        name = sha256.hex()
        return self._root / name[:2] / name

    def put(self, sha256: bytes, data: bytes) -> None:
        """Write a blob and make file and directory durable; nothing is done if they are.

        A file that an earlier process left may never have been flushed with its directory: the
        first time it is met it is flushed again.
        """
        if sha256 in self._durable:
            return
        path = self.path_of(sha256)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                _write_file(path, data)
            for directory in (path.parent, self._root, self._root.parent):
                sync_directory(directory)
        except OSError as error:
            raise classify(error, f"writing blob {sha256.hex()}") from error
        self._durable.add(sha256)

    def get(self, sha256: bytes) -> bytes | None:
        """Return a blob's bytes as they stand in its file (None: there is no file)."""
        try:
            return self.path_of(sha256).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise classify(error, f"reading blob {sha256.hex()}") from error

    def has(self, sha256: bytes) -> bool:
        """Tell whether a blob has a file."""
        return self.path_of(sha256).exists()

    def names(self) -> Iterator[str]:
        """Yield the name of every file, in order (those never finished begin with `.`)."""
        if self._root.is_dir():
            for directory in sorted(self._root.iterdir()):
                yield from sorted(path.name for path in directory.iterdir())

    def remove(self, sha256: bytes) -> int:
        """Delete a blob's file, if there is one; return its size."""
        path = self.path_of(sha256)
        self._durable.discard(sha256)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise classify(error, f"deleting blob {sha256.hex()}") from error
        return size

    def forget(self) -> None:
        """Trust nothing written so far to be durable (after a failed commit)."""
        self._durable.clear()


def _write_file(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
