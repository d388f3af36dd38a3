"""Who has which key of a task that is unique. Stream `unique/<definition>/<task>`.

`now_ns` is when it was: keys whose window is over are forgotten by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from goclaw_events.value import Value


class KeyClaimed(NamedTuple):
    """A task has the key until it ends, and if it completes until `until_ns` (0: no longer)."""

    key: str
    task: str
    until_ns: int
    now_ns: int


class KeyJoined(NamedTuple):
    """A task waits for the end of the one that has the key, to end as that does."""

    key: str
    task: str
    now_ns: int


class KeyWanted(NamedTuple):
    """A task has the key next, in place of any other that was to have it next."""

    key: str
    task: str
    until_ns: int
    now_ns: int


class KeyFreed(NamedTuple):
    """A task ended that had the key, or does not wait for it any more.

    Where it had the key and completed, or failed, those that joined it end with it.
    """

    key: str
    task: str
    status: str
    result: Value
    now_ns: int


UniqueFact: TypeAlias = KeyClaimed | KeyJoined | KeyWanted | KeyFreed
