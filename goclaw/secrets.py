"""Where secrets come from: variables of the process, and a file that only its owner can read."""

from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING, Final

from dotenv import dotenv_values

from goclaw.errors import GoclawError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VARIABLE_PREFIX: Final = "GOCLAW_SECRET_"
"""`GOCLAW_SECRET_TOKEN` is `${secret.TOKEN}`; it comes before the file's."""


class SecretsUnreadable(GoclawError):
    """The file of secrets is not there, cannot be read, or others can read it too."""

    code = "secrets_unreadable"


class SecretSource:
    """Read secrets by name. The file is read again when it changed, so that they can rotate."""

    def __init__(self, file: Path | None, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        length = len(VARIABLE_PREFIX)
        self._variables = {
            name[length:]: value
            for name, value in environ.items()
            if name.startswith(VARIABLE_PREFIX) and value
        }
        self._file = file
        self._stamp: tuple[int, int, int] | None = None
        self._listed: dict[str, str] = {}
        self._lock = threading.Lock()

    def __call__(self) -> Mapping[str, str]:
        """Return every secret by name; raises `SecretsUnreadable`."""
        if self._file is None:
            return self._variables
        with self._lock:
            self._refresh(self._file)
            return {**self._listed, **self._variables}

    def _refresh(self, file: Path) -> None:
        try:
            with file.open(encoding="utf-8") as opened:
                found = os.fstat(opened.fileno())
                stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
                _require_private(file, found)
                if stamp != self._stamp:
                    values = dotenv_values(stream=opened, interpolate=False)
                    self._listed = {name: value for name, value in values.items() if value}
                    self._stamp = stamp
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            msg = f"the file of secrets {file} cannot be read: {reason}"
            raise SecretsUnreadable(msg, hint="check `secrets.file`", path=str(file)) from error


def _require_private(file: Path, found: os.stat_result) -> None:
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077 or found.st_uid not in (os.getuid(), 0):
        raise SecretsUnreadable(
            f"the file of secrets {file} can be read by others (mode {mode:04o})",
            hint=f"chmod 600 {file}",
            path=str(file),
        )
