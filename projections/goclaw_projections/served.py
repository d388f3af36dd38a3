"""The rows that readers of a view are given, while another set of them may be in the making.

The rows of a view stand in one of two slots: slot 0 has the keys `<view>/...`, slot 1 the keys
`<view>~/...`. One slot is served; a rebuild fills the other one, and the write that finishes it
also says that from now on that one is served, and drops the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_projections.store import ViewStore

SLOTS: Final = 2


def slot_name(view: str, slot: int) -> str:
    """Name a slot of a view: the first part of the keys of its rows."""
    return f"{view}~" if slot else view


def serving_key(view: str) -> bytes:
    """Key of the row that says which slot of a view is served; no row: slot 0."""
    return b"!serving/" + view.encode()


def serving_slot(store: ViewStore, view: str) -> int:
    """Return the slot of a view that is served."""
    return 1 if store.get(serving_key(view)) == b"1" else 0


class ServedRows:
    """Read the served rows of one view by their keys within it. Any thread."""

    def __init__(self, store: ViewStore, view: str) -> None:
        self._store = store
        self._view = view

    def _prefix(self) -> bytes:
        return (slot_name(self._view, serving_slot(self._store, self._view)) + "/").encode()

    def get(self, key: str) -> bytes | None:
        """Return one row's value."""
        prefix = self._prefix()
        while True:
            value = self._store.get(prefix + key.encode())
            if value is not None or prefix == (now := self._prefix()):
                return value
            prefix = now  # the slots were changed while we looked

    def scan(
        self, prefix: str, *, after: str | None = None, backwards: bool = False
    ) -> Iterator[tuple[str, bytes]]:
        """Yield (key, value) for the keys that begin with `prefix`, in order of key.

        Goes on behind the same key in the other slot when a rebuild is finished meanwhile.
        """
        slot = self._prefix()
        while True:
            start = None if after is None else slot + after.encode()
            for key, value in self._store.scan(
                slot + prefix.encode(), after=start, backwards=backwards
            ):
                after = key[len(slot) :].decode(errors="replace")
                yield after, value
            now = self._prefix()
            if now == slot:
                return
            slot = now
