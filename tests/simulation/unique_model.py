"""Who has which key of a unique task, modelled a second time: a dictionary and two lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_events.facts import KeyClaimed, KeyFreed, KeyJoined, KeyWanted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.simulation.history import Entry


class Keys:
    """The keys of one stream: who has each, who joined, who comes next."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.holders: dict[str, str] = {}
        self.joined: list[tuple[str, str]] = []
        self.next: dict[str, str] = {}
        self.claimed: set[str] = set()

    def apply(self, entry: Entry) -> None:
        """Take in a fact, and check that it was allowed."""
        fact, key = entry.decoded, entry.decoded.key
        where = f"{self.stream} at {entry.number}: {fact}"
        assert fact.now_ns == entry.time_ns, where
        match fact:
            case KeyClaimed():
                assert key not in self.holders, where
                self.claimed.add(fact.task)
                self.holders[key] = fact.task
                self.joined = [one for one in self.joined if one != (key, fact.task)]
                if self.next.get(key) == fact.task:
                    del self.next[key]
            case KeyJoined():
                assert key in self.holders, where
                self.joined.append((key, fact.task))
            case KeyWanted():
                assert key in self.holders, where
                self.next[key] = fact.task
            case KeyFreed():
                self._free(fact, where)

    def _free(self, fact: KeyFreed, where: str) -> None:
        key, task = fact.key, fact.task
        if self.holders.get(key) == task:
            del self.holders[key]
            if fact.status != "cancelled":
                self.joined = [one for one in self.joined if one[0] != key]
            return
        waits = (key, task) in self.joined or self.next.get(key) == task
        assert waits, where
        self.joined = [one for one in self.joined if one != (key, task)]
        if self.next.get(key) == task:
            del self.next[key]


def keys_of(stream: str, entries: list[Entry]) -> Keys:
    """Return the keys of a stream after its facts, each of which is checked."""
    keys = Keys(stream)
    for entry in entries:
        keys.apply(entry)
    return keys


def check_unique(stream: str, entries: list[Entry], tasks: Mapping[str, list[Entry]]) -> None:
    """Check that a key has one task at a time, and that nobody begins without its key."""
    keys = keys_of(stream, entries)
    task_id = stream.rpartition("/")[2]
    for name, own in tasks.items():
        if not name.endswith(f"/{task_id}") or own[0].fact.type != "task.scheduled":
            continue
        unique = own[0].decoded.unique
        if unique is None or unique[0] != stream:
            continue
        begun = any(e.fact.type in ("task.admitted", "task.attempt_started") for e in own)
        assert name in keys.claimed or not begun, f"{name} begins without its key"
