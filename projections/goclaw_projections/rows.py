"""The rows of one projection while a group of frames is folded into them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol

from goclaw_events.value import packer, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from goclaw_projections.store import Change

CACHE_ROWS_MAX: Final = 20_000
ABSENT_SHARE: Final = 5
"""So many times as many keys are remembered that no row has: they are small."""


class StoredRows(Protocol):
    """Where rows are read that memory does not hold."""

    def get(self, key: bytes) -> bytes | None:
        """Return one row's value."""
        ...


class Rows:
    """Read, change and write rows; a row that is changed often is packed once a group.

    A row is any value that the log could hold, mostly a list that the projection changes in
    place and then `put`s. Used by one thread at a time (the runner's lock).
    """

    def __init__(self, store: StoredRows, name: str, cache_rows_max: int = CACHE_ROWS_MAX) -> None:
        self._store = store
        self._prefix = name + "/"
        self._cache_rows_max = cache_rows_max
        self._pack = packer()
        self._cache: dict[str, Any] = {}
        self._changed: dict[str, Any] = {}
        self._absent: dict[str, None] = {}
        self._added: list[Change] = []
        self.has_evicted = False
        """Whether memory could not hold all that was in it once."""

    def get(self, key: str) -> Any:
        """Return a row, or None. The value is the cached one: change it only to `put` it."""
        row = self._cache.get(key)
        if row is None:
            if key in self._changed:
                return self._changed[key]
            if key in self._absent:
                return None
            data = self._store.get((self._prefix + key).encode())
            if data is not None:
                row = self._cache[key] = unpack(data)
            else:
                self._absent[key] = None
        return row

    def held_row(self, key: str) -> Any:
        """Return a row that memory holds; None for one that the store may have."""
        return self._cache.get(key) or self._changed.get(key)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Return those of the keys of which memory does not know whether a row has them."""
        held = (self._cache, self._changed, self._absent)
        return [key for key in dict.fromkeys(keys) if not any(key in each for each in held)]

    def fill(self, keys: Sequence[str], found: Sequence[bytes | None]) -> None:
        """Hold in memory what the store has under keys that were `missing`."""
        for key, data in zip(keys, found, strict=True):
            if data is None:
                self._absent[key] = None
            else:
                self._cache[key] = unpack(data)

    def whole_key(self, key: str) -> bytes:
        """Return the key under which the store has a row."""
        return (self._prefix + key).encode()

    def absent(self, key: str) -> None:
        """Say that no row has this key, where the log itself proves it: nobody need look it up.

        A row that comes and goes within one group is then not written at all.
        """
        if key not in self._cache and key not in self._changed:
            self._absent[key] = None

    def put(self, key: str, row: Any, *, final: bool = False) -> None:
        """Set a row; it is packed when the group ends, so it may still be changed until then.

        `final`: it will hardly be read again, so it is not kept in memory beyond the group.
        """
        if final:
            self._cache.pop(key, None)
        else:
            self._cache[key] = row
        self._changed[key] = row

    def add(self, key: str, row: Any) -> None:
        """Set a row that this projection never reads again: it is packed at once, not cached."""
        self._added.append(((self._prefix + key).encode(), self._pack(row)))

    def delete(self, key: str) -> None:
        """Remove a row."""
        self._cache.pop(key, None)
        if key in self._absent:
            del self._absent[key]
            self._changed.pop(key, None)
        else:
            self._changed[key] = None

    def changes(self) -> list[Change]:
        """Return what the group changed, packed; raises `TypeError` for what cannot be packed."""
        prefix, pack = self._prefix, self._pack
        packed = [
            ((prefix + key).encode(), None if row is None else pack(row))
            for key, row in self._changed.items()
        ]
        return [*self._added, *packed]

    def settle(self) -> None:
        """Forget what was changed: it is written. Evicts the oldest of what memory holds."""
        for key in self._changed.keys() & self._absent.keys():
            del self._absent[key]
        self._changed.clear()
        self._added.clear()
        evicted = _evict(self._cache, self._cache_rows_max)
        evicted |= _evict(self._absent, self._cache_rows_max * ABSENT_SHARE)
        self.has_evicted |= evicted

    def held(self) -> list[Any]:
        """Return what memory holds: rows, all of them written, and keys that no row has."""
        return [dict(self._cache), list(self._absent)]

    def plant(self, held: list[Any]) -> None:
        """Hold in memory what is known to be so of what is stored."""
        cached, absent = held
        self._cache.update(cached)
        self._absent.update(dict.fromkeys(absent))

    def discard(self) -> None:
        """Forget everything that is not written, cached rows too (they may be changed)."""
        self._changed.clear()
        self._added.clear()
        self._absent.clear()
        self._cache.clear()


def _evict(held: dict[str, Any], most: int) -> bool:
    """Drop the oldest of too many; tell whether there were."""
    excess = len(held) - most
    if excess <= 0:
        return False
    for key in list(islice(held, excess + most // 4)):
        del held[key]
    return True
