"""A part of a listing, and the place where the next part begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")
PAGE_LIMIT: Final = 100


class Page(NamedTuple, Generic[T]):
    """Some entries in their order; `cursor` continues behind them (None: this was the end)."""

    items: list[T]
    cursor: str | None


def page_of(
    found: Iterable[tuple[str, T]], limit: int, wanted: Callable[[T], bool] | None = None
) -> Page[T]:
    """Take up to `limit` wanted entries of (key, entry); the cursor is the key of the last."""
    items: list[T] = []
    last: str | None = None
    for key, item in found:
        if wanted is not None and not wanted(item):
            continue
        if len(items) == limit:
            return Page(items, last)
        items.append(item)
        last = key
    return Page(items, None)
