"""Read a configuration file, YAML or JSON, into plain data with the place of every key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_events.faults import Places
from goclaw_events.json_source import read_json
from goclaw_events.yaml_source import read_yaml

if TYPE_CHECKING:
    from pathlib import Path

FILE_BYTES_MAX: Final = 1024 * 1024


class ConfigFault(NamedTuple):
    """One thing that is wrong: the setting, and the file or variable that says it."""

    path: str
    message: str
    origin: str = ""
    line: int = 0
    column: int = 0
    hint: str = ""

    def __str__(self) -> str:
        """Write the fault on one line, as compilers do: its place first."""
        place = f"{self.origin}:{self.line}:{self.column}" if self.line else self.origin
        text = ": ".join(part for part in (place, self.path, self.message) if part)
        return f"{text}; {self.hint}" if self.hint else text


class ConfigFile(NamedTuple):
    """What a file says: nested plain data, the place of each key, and the faults of its form."""

    data: dict[str, Any]
    places: Places
    faults: list[ConfigFault]


def read_config_file(path: Path) -> ConfigFile:
    """Return what the file at `path` holds; what is wrong in it stands in `faults`.

    The ending `.json` means JSON, anything else YAML. Raises `OSError` when it cannot be read.
    """
    name = str(path)
    raw = path.read_bytes()
    if len(raw) > FILE_BYTES_MAX:
        return _refused(name, f"{len(raw)} bytes; a configuration has at most {FILE_BYTES_MAX}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _refused(name, f"not UTF-8 at byte {error.start}: {error.reason}")
    places = Places()
    read = read_json if path.suffix == ".json" else read_yaml
    data, found = read(text, places)
    faults = [ConfigFault(f.path, f.message, name, f.line, f.column, f.hint) for f in found]
    if data is None:
        data = {}
    if not isinstance(data, dict):
        return _refused(name, "the top must be a mapping of keys")
    return ConfigFile(data, places, faults)


def _refused(name: str, message: str) -> ConfigFile:
    return ConfigFile({}, Places(), [ConfigFault("", message, name)])
