"""What executors have handed over, and the dispatchers have not taken in yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from goclaw_actors.work import AttemptToken, Report

    Items = Sequence[Report]
    Accept = Callable[[Items], None]
    Post = Callable[[Callable[[Items], None], Items], None]


class Handover:
    """Carry outcomes to the dispatchers' thread, and know which are on the way.

    An executor lets go of an attempt after it gave its outcome here. So who looks there first and
    here second, on the dispatchers' thread, finds each attempt, or its outcome taken in.
    """

    def __init__(self, post: Post, accept: Accept) -> None:
        self._post = post
        self._accept = accept
        self._on_the_way: dict[int, Items] = {}

    def put(self, items: Items) -> None:
        """Hand over; any thread."""
        self._on_the_way[id(items)] = items
        self._post(self._take, items)

    def _take(self, items: Items) -> None:
        self._accept(items)
        del self._on_the_way[id(items)]

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing is on the way. Any thread."""
        return not self._on_the_way

    def has(self, token: AttemptToken) -> bool:
        """Tell whether something of an attempt is on the way."""
        on_the_way = list(self._on_the_way.values())
        return any(item.token == token for items in on_the_way for item in items)
