"""One process a data directory: an advisory lock that names its holder."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from goclaw_events.errors import DirectoryBusy, EngineRunning, JournalBroken, LogMismatch

if TYPE_CHECKING:
    from typing import Self

LOCK_NAME: Final = "lock"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_TEXT_BYTES_MAX: Final = 256
PASSING: Final = "command"


def boot_id() -> str:
    """Return the id of the machine's boot ('' where the system has none)."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


def prepare_directory(path: Path) -> None:
    """Create a data directory that only its owner may enter; raises `LogMismatch` for a link."""
    if path.is_symlink():
        msg = f"{path} is a symbolic link"
        raise LogMismatch(msg, hint="name the directory itself", path=str(path))
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        msg = f"{path} cannot be created: {error.strerror}"
        raise JournalBroken(msg, path=str(path)) from error


class DataLock:
    """Hold `<data directory>/lock` until `release`; the kernel lets go of it when we die.

    `passing`: by a command that is no engine, and ends soon. Raises `EngineRunning`, or
    `DirectoryBusy` where such a command holds it.
    """

    def __init__(self, directory: Path, *, passing: bool = False) -> None:
        self._path = directory / LOCK_NAME
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._fd = os.open(self._path, flags, 0o600)
        except OSError as error:
            msg = f"{self._path} cannot be opened: {error.strerror}"
            raise JournalBroken(msg, path=str(self._path)) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._fd, _TEXT_BYTES_MAX, 0).decode("ascii", "replace")
            os.close(self._fd)
            raise self._running(directory, holder) from error
        with suppress(OSError):  # a full disk: the lock holds all the same, it names nobody
            os.ftruncate(self._fd, 0)
            what = PASSING if passing else "engine"
            os.pwrite(self._fd, f"{os.getpid()} {boot_id()} {what}\n".encode("ascii"), 0)

    @staticmethod
    def _running(directory: Path, holder: str) -> EngineRunning:
        pid = holder.partition(" ")[0].strip()
        number = int(pid) if pid.isdigit() else None
        who = f"process {pid}" if pid.isdigit() else "another process"
        if holder.split()[-1:] == [PASSING]:
            msg = f"{directory} is in use by {who}, a command that is no engine"
            hint = "try again when it has ended; beside an engine commands wait for nobody"
            return DirectoryBusy(msg, hint=hint, pid=number)
        msg = f"{directory} is in use by {who}"
        return EngineRunning(msg, hint="stop it first, or use another --data-dir", pid=number)

    def release(self) -> None:
        """Let go of the directory. Idempotent."""
        if self._fd >= 0:
            with suppress(OSError):
                os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
