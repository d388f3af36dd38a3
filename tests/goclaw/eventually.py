"""Wait for what no event tells: what a view shows, what another thread or process does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

PATIENCE_S = 30.0
LOOK_S = 0.005


async def eventually(look: Callable[[], Awaitable[T | None]]) -> T:
    """Return what a look finds, once it finds something; raises `TimeoutError` after 30 s."""
    async with asyncio.timeout(PATIENCE_S):
        while (found := await look()) is None:  # noqa: ASYNC110 - nobody tells, see above
            await asyncio.sleep(LOOK_S)
        return found


async def until(happened: Callable[[], bool]) -> None:
    """Return once a condition holds; raises `TimeoutError` after 30 s."""

    async def look() -> bool | None:
        return happened() or None

    await eventually(look)
