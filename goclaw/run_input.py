"""The input of a run as a command line gives it: texts and a file become typed values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NoReturn

from goclaw.errors import UsageInvalid
from goclaw_events.faults import InvalidInput
from goclaw_events.json_source import read_json
from goclaw_events.yaml_source import read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from goclaw_events.plan import Plan

FILE_BYTES_MAX: Final = 64 * 1024 * 1024


def given_input(plan: Plan, texts: Mapping[str, str], file: Path | None) -> dict[str, Any]:
    """Return the input that a file and `KEY=VALUE` texts give; a text wins over the file.

    A text is read as JSON if it is JSON and the definition does not want a string. Raises
    `InvalidInput` and `UsageInvalid` for a file that holds no input; the values themselves are
    checked at submission.
    """
    types = {item.name: item.type for item in plan.inputs}
    given = {} if file is None else _read(file, plan.name)
    for key, text in texts.items():
        given[key] = text if types.get(key, "string") == "string" else _value(text)
    return given


def given_values(texts: Mapping[str, str], file: Path | None, what: str) -> dict[str, Any]:
    """Return values that no definition declares; a text is read as JSON if it is JSON."""
    given = {} if file is None else _read(file, what)
    return given | {key: _value(text) for key, text in texts.items()}


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)


def _read(file: Path, name: str) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            data = opened.read(FILE_BYTES_MAX + 1)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        msg = f"the input file {file} cannot be read: {why}"
        raise UsageInvalid(msg, hint="check the path given with --input-file") from error
    if len(data) > FILE_BYTES_MAX:
        msg = f"the input file {file} has more than {FILE_BYTES_MAX} bytes"
        raise UsageInvalid(msg, hint="hand over the name of a file with --input")
    value, faults = (read_yaml if file.suffix in (".yaml", ".yml") else read_json)(text, None)
    if faults:
        raise InvalidInput(faults, name)
    if not isinstance(value, dict):
        msg = f"the input file {file} does not hold a mapping of input names to values"
        raise UsageInvalid(msg, hint='write {"name": value, ...}')
    return value
