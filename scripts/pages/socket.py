"""The page docs/reference/socket.md: the protocol, and the table of operations."""

from __future__ import annotations

from typing import Any, Final

from goclaw.operations.operation import Operation
from goclaw.operations.table import OPERATIONS
from goclaw.operations.work import Document
from goclaw.wire.address import NAME
from goclaw.wire.connection import HELLO_S, IN_FLIGHT_MAX, PARTS_AHEAD, WRITE_S
from goclaw.wire.frames import ANSWER_BYTES_MAX, DEPTH_MAX, PROTOCOL, REQUEST_BYTES_MAX
from goclaw.wire.listener import CONNECTIONS_MAX

_MIB: Final = 1024 * 1024
_KINDS: Final = {
    "read": "answered from views and log; without an engine, from the directory",
    "act": "an engine does it",
    "keep": "house is kept in the log, one thing at a time; without an engine, in the directory",
    "follow": "goes on with parts",
}


def page() -> str:
    """Return the page."""
    rows = "\n".join(_row(operation) for operation in OPERATIONS.values())
    params = "\n\n".join(_params(operation) for operation in OPERATIONS.values())
    document = _params(Operation("definition", "act", Document, None, "", ""))
    kinds = "\n".join(f"- *{kind}*: {text}" for kind, text in _KINDS.items())
    return f"""# The socket of an engine

Written by `scripts/reference.py`; do not edit.

An engine listens on the Unix socket `{NAME}` in its data directory, as long as it holds the
directory's lock. The socket has mode 0600, and the kernel is asked whose the other end is: only
programs of the engine's own user, and root's, are served. A path longer than an address can hold is
reached through `/proc/self/fd`. There is no other authentication: who may open the directory may do
everything.

## Frames

A frame is a length (4 bytes, big-endian) and so many bytes of msgpack: one map with texts as keys.
The client says `{{"hello": {PROTOCOL}, "client": TEXT}}` first, within {HELLO_S:g} s; the engine
answers `{{"hello": {PROTOCOL}, "version": TEXT}}`, or with an error and the end of the connection.

| who | message | |
|---|---|---|
| client | `{{"id": INT, "op": TEXT, "params": MAP}}` | ask for an operation; any `id` |
| engine | `{{"id": INT, "ok": VALUE}}` | its answer, or the end of its parts |
| engine | `{{"id": INT, "error": ERROR}}` | it failed |
| engine | `{{"id": INT, "part": VALUE}}` | a part; more may come |
| client | `{{"more": INT}}` | one more part may be sent: said for each one taken |
| client | `{{"drop": INT}}` | the answer is not wanted any more |
| engine | `{{"id": nil, "error": ERROR}}` | it was no request; the end |

`ERROR` is `{{"code", "message", "hint", "details", "refused"}}`: the [codes](errors.md) are those
of the exit codes; `refused` says that an actor said no. Answers come in any order. Values are nil,
booleans, integers, floats, texts, bytes, arrays and maps; in the facts of `subscribe` also
references to blobs (msgpack extension 1, see [the format of the log](log-format.md)).

## Limits

| what | limit | beyond |
|---|---|---|
| a request | {REQUEST_BYTES_MAX // _MIB} MiB, refused unread | `value_too_large`, and the end |
| its depth | {DEPTH_MAX} levels, no extensions | `invalid_request`, and the end |
| an answer | {ANSWER_BYTES_MAX // _MIB} MiB | `value_too_large` |
| requests of a connection that wait | {IN_FLIGHT_MAX} | `busy` |
| connections | {CONNECTIONS_MAX} | `busy`, and the end |
| parts sent ahead of `more` | {PARTS_AHEAD} | the engine waits; nothing is lost |
| an answer that is not read | {WRITE_S:g} s | the connection is cut off |

## Operations

{kinds}

*Idle*: without an engine it is done by one that is opened for it and begins nothing. *Local*: it
names places of this machine or ends the process, so no network will carry it. *Once*: asking again
after a lost connection could do it again, unless an id is given.

| operation | kind | | answers |
|---|---|---|---|
{rows}

## Parameters

Unknown names and wrong types are refused with `invalid_request`, all faults at once.

{params}

Where a document is asked for:

{document}
"""


def _row(operation: Operation) -> str:
    marks = [
        name
        for name, holds in (
            ("idle", operation.idle),
            ("local", operation.local),
            ("once", not operation.safe),
        )
        if holds
    ]
    kind = ", ".join([operation.kind, *marks])
    return f"| `{operation.name}` | {kind} | {operation.about} | {operation.answers} |"


def _params(operation: Operation) -> str:
    schema = operation.params.model_json_schema()
    fields = schema.get("properties", {})
    if not fields:
        return f"`{operation.name}`: none."
    needed = schema.get("required", ())
    rows = [
        f"| `{name}` | {_type(field)} | {'needed' if name in needed else _default(field)} |"
        f" {field.get('description', '')} |"
        for name, field in fields.items()
    ]
    head = f"`{operation.name}`\n\n| name | type | default | |\n|---|---|---|---|\n"
    return head + "\n".join(rows)


def _type(field: dict[str, Any]) -> str:
    """Say in words what a JSON schema allows."""
    if "anyOf" in field:
        return " or ".join(_type(one) for one in field["anyOf"])
    if "$ref" in field:
        return f"a {field['$ref'].rpartition('/')[2].lower()} (below)"
    if "enum" in field:
        return ", ".join(field["enum"])
    kind = {"null": "nil", "object": "map", "string": "text"}.get(
        named := field.get("type", "anything"), named
    )
    least = field.get("minimum", field.get("exclusiveMinimum"))
    if "maximum" in field:
        return f"{kind}, {least} to {field['maximum']}"
    return kind if least is None else f"{kind} over {least}"


def _default(field: dict[str, Any]) -> str:
    value = field.get("default", {})
    if value is None:
        return "nil"
    return "empty" if value in ("", {}) else f"`{str(value).lower()}`"
