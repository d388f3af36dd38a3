"""What a bug report needs, in one archive, and nothing that is whoever reports it's own business.

No value of a run is in it: no input, parameter, result, label or message of an agent. Of the
program's log stays who said something, when, how severe it was and with which words of ours; what
was put into those words is left out. Settings whose names sound secret are masked, and of
environment variables only the names of ours are given.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from goclaw.config import ENV_PREFIX
from goclaw.datadir import DataDirectory
from goclaw.errors import GoclawError
from goclaw.log_tail import redacted_tail

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw.config import Settings

MASK: Final = "<redacted>"
_SECRET = re.compile(
    r"secret|token|passw|credential|auth|api_?key|private_?key|cookie|header|env", re.IGNORECASE
)


class BundleExists(GoclawError):
    """A bundle is written into a new file only."""

    code = "bundle_exists"


class BundleUnwritable(GoclawError):
    """A bundle cannot be written where it is to be."""

    code = "bundle_unwritable"


def write_bundle(path: Path, report: Mapping[str, Any], settings: Settings) -> list[str]:
    """Write a new archive with the doctor's report, settings and log; return the names inside.

    Raises `BundleExists`, `BundleUnwritable`.
    """
    parts = {
        "doctor.json": _json(_without_home(report)),
        "settings.json": _json(_without_home(redacted(settings.model_dump(mode="json")))),
        "environment.json": _json(sorted(n for n in os.environ if n.startswith(ENV_PREFIX))),
        "files.json": _json(_files(settings.data_dir)),
        "log.jsonl": redacted_tail(_log_files(settings)),
    }
    try:
        with path.open("xb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name, data in parts.items():
                entry = tarfile.TarInfo(f"goclaw-bundle/{name}")
                entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
                archive.addfile(entry, io.BytesIO(data))
    except FileExistsError:
        msg = f"{path} is there already"
        raise BundleExists(msg, hint="name a new file", path=str(path)) from None
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror}"
        hint = "name a file in a folder that is there, with room on its disk"
        raise BundleUnwritable(msg, hint=hint, path=str(path)) from error
    return list(parts)


def redacted(value: Any, name: str = "") -> Any:
    """Return settings without what may be secret: by the names of keys, at any depth."""
    if name and _SECRET.search(name) and value not in (None, "", (), [], {}):
        return MASK
    if isinstance(value, dict):
        return {key: redacted(item, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"//[^/@\s]+@", f"//{MASK}@", value)
    return value


def _without_home(value: Any) -> Any:
    """Return JSON data without the name of the home directory, which is a person's."""
    home = str(Path.home())
    if home == "/":
        return value
    return json.loads(json.dumps(value, default=str).replace(json.dumps(home)[1:-1], "~"))


def _files(data_dir: Path) -> list[dict[str, Any]]:
    """List what stands in a data directory: names and sizes."""
    found = []
    for folder in (data_dir, data_dir / "log", data_dir / "views", data_dir / "segments"):
        if not folder.is_dir():
            continue
        for entry in sorted(folder.iterdir()):
            if entry.is_file() and not entry.is_symlink():
                name = str(entry.relative_to(data_dir))
                found.append({"name": name, "bytes": entry.stat().st_size})
    return found


def _log_files(settings: Settings) -> list[Path]:
    """Return the program's log files, the latest last."""
    logs = DataDirectory(settings.data_dir).logs
    files = [path for path in logs.glob("*.log*") if path.is_file()] if logs.is_dir() else []
    if settings.log.file is not None and settings.log.file.is_file():
        files.append(settings.log.file)
    return sorted(set(files), key=lambda path: path.stat().st_mtime)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n").encode()
