"""Errors on their way: from a class to plain data, and back to the same class."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from goclaw.errors import RemoteError
from goclaw.results import CommandRefused
from goclaw_events.errors import CodedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HOMES: Final = (
    "goclaw.collected",
    "goclaw.errors",
    "goclaw.results",
    "goclaw.run_archive",
    "goclaw.unfinished",
    "goclaw_actors.errors",
    "goclaw_actors.executors.errors",
    "goclaw_events.conditions",
    "goclaw_events.durations",
    "goclaw_events.envelope",
    "goclaw_events.errors",
    "goclaw_events.faults",
    "goclaw_events.schedule",
    "goclaw_events.templates",
    "goclaw_projections.errors",
)
"""Where the classes stand that an engine may raise."""
_BUG_HINT: Final = "this is a fault in Goclaw; see the engine's log"


def error_data(error: BaseException) -> dict[str, Any]:
    """Return what goes over the wire: code, message, hint, details.

    `refused` marks the answer of an actor, whose codes have no classes. Of what is no
    `CodedError` only the type and text are told.
    """
    if isinstance(error, CodedError):
        return {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "details": _plain(error.details),
            "refused": isinstance(error, CommandRefused),
        }
    text = f"{type(error).__name__}: {error}"
    return {"code": CodedError.code, "message": text, "hint": _BUG_HINT, "details": {},
            "refused": False}  # fmt: skip


def error_from(data: Mapping[str, Any]) -> CodedError:
    """Return the error that an engine reported: of its own class if this program has it.

    A class is made without its own constructor: what only that would set is in the details.
    """
    code, message = str(data["code"]), str(data["message"])
    hint, details = str(data["hint"]), dict(data["details"])
    cls = CommandRefused if data.get("refused") else _class_of(code)
    if cls is None:
        return RemoteError(code, message, hint=hint, **details)
    error = cls.__new__(cls)
    CodedError.__init__(error, message, hint=hint, **details)
    if isinstance(error, CommandRefused):
        error.code = code  # type: ignore[misc]
    return error


def _class_of(code: str) -> type[CodedError] | None:
    for home in HOMES:
        import_module(home)
    return next((cls for cls in _classes(CodedError) if cls.__dict__.get("code") == code), None)


def _classes(root: type[CodedError]) -> Iterator[type[CodedError]]:
    for cls in root.__subclasses__():
        yield cls
        yield from _classes(cls)


def _plain(value: Any) -> Any:
    """Return details as msgpack can say them."""
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return str(value)
