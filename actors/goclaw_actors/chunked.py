"""A map that can be written away piece by piece while it goes on changing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

V = TypeVar("V")

_NONE: Final[dict[int, None]] = {}
"""Nothing pending: shared by the many maps that were never frozen, and never written to."""


class Chunked(Generic[V]):
    """A map from int keys, cut into chunks of `2**bits` neighbouring keys.

    It knows which chunks changed since the last `freeze`. After `freeze`, `take` hands them out
    one by one as they were then; a chunk that is changed before it was taken is copied aside
    first, so that a change costs at most the copy of one chunk. Values must not change.
    """

    __slots__ = ("_aside", "_bits", "_chunks", "_dirty", "_pending")

    def __init__(self, bits: int, chunks: Mapping[int, dict[int, V]] | None = None) -> None:
        """Begin empty, or with chunks by id that are stored already: they are not dirty."""
        self._bits = bits
        self._chunks: dict[int, dict[int, V]] = dict(chunks) if chunks else {}
        self._dirty: set[int] = set()
        self._pending = _NONE
        self._aside: dict[int, dict[int, V] | None] = {}

    # -- the map ---------------------------------------------------------------------------

    def put(self, key: int, value: V) -> None:
        """Set the value of a key."""
        self._open(key >> self._bits)[key] = value

    def put_all(self, keys: Iterable[int], values: Iterable[V]) -> None:
        """Set the values of keys; those next to each other cost less than one by one."""
        bits, at, chunk = self._bits, None, dict[int, V]()
        for key, value in zip(keys, values, strict=True):
            if key >> bits != at:
                at = key >> bits
                chunk = self._open(at)
            chunk[key] = value

    def remove(self, key: int) -> None:
        """Take a key out; raises KeyError."""
        self.remove_all((key,))

    def remove_all(self, keys: Iterable[int]) -> None:
        """Take keys out; those next to each other cost less than one by one. Raises KeyError."""
        bits, at, chunk = self._bits, None, dict[int, V]()
        for key in keys:
            if key >> bits != at:
                at = key >> bits
                chunk = self._open(at)
            del chunk[key]
            if not chunk:
                del self._chunks[at]
                at = None

    def _open(self, at: int) -> dict[int, V]:
        """Return a chunk that is going to be changed."""
        if at in self._pending:
            self._set_aside(at)
        self._dirty.add(at)
        chunk = self._chunks.get(at)
        if chunk is None:
            chunk = self._chunks[at] = {}
        return chunk

    def get(self, key: int) -> V | None:
        """Return the value of a key; None where there is none."""
        chunk = self._chunks.get(key >> self._bits)
        return None if chunk is None else chunk.get(key)

    def least(self, key: int) -> int | None:
        """Return a key that is at most a chunk before all keys from `key` on; None: no such."""
        first = key >> self._bits
        found = min((at for at in self._chunks if at >= first), default=None)
        return None if found is None else max(key, found << self._bits)

    def items(self) -> Iterator[tuple[int, V]]:
        """Yield every (key, value); the map may not be changed meanwhile."""
        for chunk in self._chunks.values():
            yield from chunk.items()

    def chunks(self) -> Iterator[tuple[int, dict[int, V]]]:
        """Yield every chunk by its id, changed or not; the map may not be changed meanwhile."""
        yield from self._chunks.items()

    def __len__(self) -> int:
        return sum(map(len, self._chunks.values()))

    # -- writing it away -------------------------------------------------------------------

    def freeze(self) -> list[int]:
        """Fix the map as it is now for `take`; return the ids of the chunks that changed.

        What an earlier freeze left to be taken is part of this one.
        """
        changed = sorted({*self._dirty, *self._pending, *self._aside})
        self._dirty = set()
        self._aside = {}
        self._pending = dict.fromkeys(changed)
        return changed

    def take(self) -> tuple[int, dict[int, V] | None] | None:
        """Return the next frozen chunk: its id and entries (None: it is empty now), or None.

        The entries may be the live ones: use them before the map is changed again.
        """
        if self._aside:
            return self._aside.popitem()
        if not self._pending:
            return None
        at = next(iter(self._pending))
        del self._pending[at]
        return at, self._chunks.get(at)

    def _set_aside(self, at: int) -> None:
        del self._pending[at]
        chunk = self._chunks.get(at)
        self._aside[at] = None if chunk is None else dict(chunk)
