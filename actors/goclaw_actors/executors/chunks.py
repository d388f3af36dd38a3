"""A stream that stops where something is said: each chunk is a boundary."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable

    from goclaw_actors.executors.mailbox import Mailbox
    from goclaw_actors.work import Signal

T = TypeVar("T")


class Chunks(Generic[T]):
    """Yield the chunks of an async iterator until it ends, or until the task is steered.

    `partial` are the chunks so far. `steered` are the messages that ended it, taken as at a
    boundary; without one it is empty, and the stream came to its end. It is closed then. What a
    boundary raises is raised from here, `partial` being kept.
    """

    def __init__(
        self,
        source: AsyncIterable[T],
        mailbox: Mailbox,
        boundary: Callable[[], list[Signal]],
        is_asked: Callable[[], bool],
        stand: Callable[[], Awaitable[None]],
    ) -> None:
        self._source = source
        self._mailbox = mailbox
        self._boundary = boundary
        self._is_asked = is_asked
        self._stand = stand
        self.partial: list[T] = []
        self.steered: list[Signal] = []

    async def __aiter__(self) -> AsyncIterator[T]:
        """Yield chunks; what is said while one is awaited ends the wait."""
        chunks = aiter(self._source)
        coming: asyncio.Future[Any] | None = None
        told: asyncio.Future[None] | None = None
        try:
            while not await self._stops():
                if told is None or told.done():
                    told = asyncio.ensure_future(self._mailbox.change(self._mailbox.changes))
                    continue  # what came before it was looked at may have been missed
                coming = coming or asyncio.ensure_future(_next(chunks))
                await asyncio.wait({coming, told}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    continue
                found, coming = coming.result(), None
                if not found:
                    return
                self.partial.append(found[0])
                yield found[0]
        finally:
            await _give_up(coming, told)
            close = getattr(chunks, "aclose", None)
            if close is not None:
                with contextlib.suppress(RuntimeError):  # it is being closed already
                    await close()

    async def _stops(self) -> bool:
        await self._stand()
        self.steered = self._boundary() if self._is_asked() else []
        return bool(self.steered)


async def _give_up(*futures: asyncio.Future[Any] | None) -> None:
    """Cancel what is not awaited any more, and let it end."""
    left = {future for future in futures if future is not None}
    for future in left:
        future.cancel()
    if left:
        await asyncio.gather(*left, return_exceptions=True)


async def _next(chunks: AsyncIterator[T]) -> tuple[T, ...]:
    """Return the next chunk; nothing at the end."""
    async for chunk in chunks:
        return (chunk,)
    return ()
