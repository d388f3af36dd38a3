"""Ask the views of an engine that may get no processor for long: they say that they are behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from goclaw_projections.errors import ViewsBehind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


async def patient(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until the views know all that is durable; the world has a deadline of its own."""
    while True:
        try:
            return await ask()
        except ViewsBehind:
            continue
