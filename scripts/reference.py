"""Write the parts of docs/reference that follow from the code.

Usage: reference.py [--check] (with --check: write nothing, and fail if something would change).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from goclaw.config import ENV_DELIMITER, ENV_PREFIX, Settings
from goclaw.config_load import search_paths
from goclaw.errors import MEANINGS
from goclaw_actors.executors.supports import COLUMNS, SUPPORTS
from goclaw_actors.messages import MESSAGES
from goclaw_events.codec import FACTS

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.pages import cli, definitions, limits, problems, socket, views, why

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_events.codec import Codec

ROOT: Final = Path(__file__).parent.parent
_EXITS: Final = {
    0: "done",
    1: "a run failed, or a fault in Goclaw",
    2: "usage, or an invalid definition, input or setting",
    3: "not found",
    4: "it took too long",
    5: "cannot be done now (an engine holds the directory, the disk is full)",
    6: "stored data are damaged",
    7: "it contradicts what is already there",
    130: "interrupted",
    141: "whoever read the output has gone",
}


def configuration() -> str:
    """Return the reference of settings."""
    places = ", ".join(
        f"`{path}`" for path in search_paths({"XDG_CONFIG_HOME": "$XDG_CONFIG_HOME"})
    )
    rows = "\n".join(
        f"| `{key}` | `{variable}` | {default} | {limits} | {text} |"
        for key, variable, default, limits, text in _settings(Settings.model_json_schema())
    )
    return f"""# Settings

Written by `scripts/reference.py`; do not edit.

A flag wins over a variable, a variable over a file, a file over the default, key by key.
One file is read: the one that `--config` or `GOCLAW_CONFIG` names (which must be there),
otherwise the first of
{places}.
The ending `.json` means JSON, any other YAML without anchors, aliases and tags.

A key or a `{ENV_PREFIX}` variable that is not known is an error; all faults are reported at once,
each with its place. `goclaw config show --origin` says where each value comes from,
`goclaw config validate` checks, `goclaw config schema` prints the JSON Schema.
A variable that is empty counts as not given. A list in a variable is written with commas, or as
JSON; ids of lanes in variables are in small letters. Relative paths start at the current directory.

| key | variable | default | limits | |
|---|---|---|---|---|
{rows}
"""


def errors() -> str:
    """Return the reference of codes."""
    exits = "\n".join(f"| {code} | {text} |" for code, text in _EXITS.items())
    rows = "\n".join(
        f"| `{code}` | {meaning.exit_code} | {meaning.http} | {meaning.grpc} |"
        for code, meaning in sorted(MEANINGS.items())
    )
    return f"""# Errors and exit codes

Written by `scripts/reference.py`; do not edit.

An error is shown on stderr as `error[code]: message`, with a hint what to do. With `--json` the
last line of stdout is `{{"error": {{"code", "message", "hint", "details"}}}}`.
Codes do not change.

| exit code | |
|---|---|
{exits}

| code | exit code | HTTP | gRPC |
|---|---|---|---|
{rows}
"""


def facts() -> str:
    """Return the reference of what a log can hold: facts and messages, field by field."""
    return f"""# Facts and messages

Written by `scripts/reference.py`; do not edit.

What stands in a log, by stable name and version; [the format of the log](log-format.md) says where.
Fields are written in this order, without names. `Value` is any value (a reference to a blob, too),
`BlobRef` always a reference, `bytes` is msgpack bin, a tuple is an array, None is nil.

## Facts

{_types(FACTS)}

## Messages

In rows of `inbox` and `outbox`, in frames under `left` and `out`, and in
`partition.message_failed`.

{_types(MESSAGES)}
"""


def executors() -> str:
    """Return the table of what each executor supports."""
    names = " | ".join(f"`{name}`" for name in SUPPORTS)
    rows = "\n".join(
        f"| {label} | {' | '.join(getattr(row, field) or 'no' for row in SUPPORTS.values())} |"
        for field, label in COLUMNS.items()
    )
    return f"""# Executors

Written by `scripts/reference.py`; do not edit.
How to choose: [programs and processes](../how-to/programs.md).

| | {names} |
|---|{"---|" * len(SUPPORTS)}
{rows}

What an executor does not support is not there: an agent cannot be interrupted between two lines,
and a thread cannot be ended from outside. Work that was told to end and has not when its grace is
over, and a thread past its timeout at once, is **abandoned**: it goes on, but its lease is over.
Its outcome is recorded (the fact says `abandoned`), and the task is tried again or fails; what the
work returns later is dropped. It keeps its slot of the lane until it returns, or for
`executors.abandon_grace_s` (30 s): then `task.attempt_returned` is recorded, and so it is when the
engine starts again, as nothing of the old process runs any more. So a lane never runs more than its
concurrency, but what has outlived that grace; while 16 such pieces of work of one kind
(`executors.abandoned_max`) go on nothing new of that kind is begun (`executor_exhausted`). In a
process nothing is abandoned: it is killed, so two attempts of a task never overlap.
"""


def _types(codec: Codec) -> str:
    rows = [
        f"| `{name}` | {version} | {_fields(cls)} | {_first_line(cls)} |"
        for cls, (name, version) in codec.names.items()
    ]
    return "\n".join(("| name | version | fields | |", "|---|---|---|---|", *rows))


def _fields(cls: type) -> str:
    named = (
        f"{name}: {getattr(kind, '__forward_arg__', kind)}"
        for name, kind in cls.__annotations__.items()
    )
    return "<br>".join(f"`{text}`".replace("|", "\\|") for text in named)


def _first_line(cls: type) -> str:
    return (cls.__doc__ or "").partition("\n")[0]


def _settings(
    schema: dict[str, Any], part: dict[str, Any] | None = None, path: str = ""
) -> Iterator[tuple[str, str, str, str, str]]:
    for name, entry in (part or schema)["properties"].items():
        reference = entry.get("$ref") or entry.get("additionalProperties", {}).get("$ref")
        key = f"{path}.{name}" if path else name
        if reference:
            section = schema["$defs"][reference.rpartition("/")[2]]
            yield from _settings(schema, section, key if "$ref" in entry else f"{key}.ID")
            continue
        variable = ENV_PREFIX + key.upper().replace(".", ENV_DELIMITER)
        default = "" if entry["default"] is None else f"`{entry['default']}`"
        text = entry.get("description", "").replace("\n", " ")
        yield key, variable, default, _limits(entry), text


def _limits(entry: dict[str, Any]) -> str:
    if "anyOf" in entry:
        return next(filter(None, map(_limits, entry["anyOf"])), "")
    if "enum" in entry:
        return ", ".join(entry["enum"])
    if "const" in entry:
        return str(entry["const"])
    least, more = entry.get("minimum"), entry.get("exclusiveMinimum")
    most = entry.get("maximum")
    if most is None:
        return ""
    return f"{least} to {most}" if least is not None else f"over {more}, to {most}"


def main(*, check: bool) -> int:
    """Write the files, or compare them; return 1 when one of them is out of date."""
    stale = []
    for name, text in (
        ("configuration", configuration()),
        ("errors", errors()),
        ("executors", executors()),
        ("facts", facts()),
        ("commands", cli.page()),
        ("definitions", definitions.page()),
        ("socket", socket.page()),
        ("problems", problems.page()),
        ("limits", limits.page()),
        ("why", why.page()),
        ("views", views.page()),
    ):
        path = ROOT / "docs" / "reference" / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
            if not check:
                path.write_text(text, encoding="utf-8")
    verb = "out of date" if check else "written"
    print(f"docs/reference: {', '.join(stale) or 'nothing'} {verb}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
