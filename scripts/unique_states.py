"""The states of the keys of a unique task, reached by facts, and the messages put to it in each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.lending import ClaimKey, FreeKey, RefuseWaiting
from goclaw_actors.unique import UNIQUE, Unique
from goclaw_events.facts import KeyClaimed, KeyFreed, KeyJoined, KeyWanted
from scripts.aggregates import NOW_NS, Aggregate

if TYPE_CHECKING:
    from collections.abc import Sequence


def unique() -> Aggregate:
    """Return the keys of a unique task with their states and messages."""
    claimed = KeyClaimed("k", "task/r/a", NOW_NS + 1, NOW_NS)
    states: dict[str, Sequence[Any]] = {
        "free": (),
        "held": (claimed,),
        "held (one joined)": (claimed, KeyJoined("k", "task/s/a", NOW_NS)),
        "held (one comes next)": (claimed, KeyWanted("k", "task/s/a", 0, NOW_NS)),
        "done": (claimed, KeyFreed("k", "task/r/a", "completed", 1, NOW_NS)),
    }
    messages = {
        "ClaimKey (refuse)": ClaimKey("k", "task/t/a", 0, "refuse"),
        "ClaimKey (join)": ClaimKey("k", "task/t/a", 0, "join"),
        "ClaimKey (replace)": ClaimKey("k", "task/t/a", 0, "replace"),
        "ClaimKey of who has it": ClaimKey("k", "task/r/a", 0, "join"),
        "FreeKey completed": FreeKey("k", "task/r/a", "completed", 1, None),
        "FreeKey failed": FreeKey("k", "task/r/a", "failed", None, ["e", "m"]),
        "FreeKey cancelled": FreeKey("k", "task/r/a", "cancelled", None, None),
        "FreeKey of who waits": FreeKey("k", "task/s/a", "cancelled", None, None),
        "RefuseWaiting": RefuseWaiting(),
    }
    about = (
        "The keys of task `a` of a definition; the states are those of one key. *Done*: the task\n"
        "that had it completed, and its window is not over."
    )
    return Aggregate("Unique", about, UNIQUE, "unique/w/a", states, messages, _unique_state)


def _unique_state(state: Unique) -> str:
    holder = state.holder("k")
    if holder is None:
        return "free"
    return "done" if holder.done else "held"
