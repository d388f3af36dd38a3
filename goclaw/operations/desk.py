"""Where operations are asked for: at an engine in this process, or at a directory without one."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, Protocol

from goclaw.operations.ground import ground_of
from goclaw.operations.table import operation_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from goclaw.engine import Engine


READERS_MAX: Final = 4
"""Questions answered at once; further ones wait."""


class Desk(Protocol):
    """Ask for operations by name, with plain parameters; errors are `CodedError`s."""

    async def ask(self, name: str, params: Mapping[str, Any]) -> Any:
        """Return the answer of an operation that gives one."""
        ...

    def follow(self, name: str, params: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Yield the parts of an operation that goes on."""
        ...


class EngineDesk:
    """Ask an open engine, on its loop; what only reads is answered on other threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._readers = ThreadPoolExecutor(READERS_MAX, thread_name_prefix="goclaw-read")
        self._keeper = ThreadPoolExecutor(1, thread_name_prefix="goclaw-upkeep")

    def close(self) -> None:
        """Wait for the questions that are being answered; blocks.

        What keeps house ends at its next step, once the engine's parts are at rest.
        """
        self._readers.shutdown(wait=True, cancel_futures=True)
        self._keeper.shutdown(wait=True, cancel_futures=True)

    async def ask(self, name: str, params: Mapping[str, Any]) -> Any:
        """Answer; raises what the operation raises, `OperationUnknown`, `InvalidRequest`."""
        operation = operation_of(name)
        asked = operation.accept(params)
        loop = asyncio.get_running_loop()
        if operation.kind == "keep":
            house = self._engine.parts.housekeeping
            return await loop.run_in_executor(self._keeper, operation.handler, house, asked)
        if operation.kind == "read":
            ground = ground_of(self._engine.parts, None)
            told = copy_context()  # who asks is known there, too
            return await loop.run_in_executor(
                self._readers, told.run, operation.handler, ground, asked
            )
        return await operation.handler(self._engine, asked)

    async def follow(self, name: str, params: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Yield parts until the engine stops."""
        async with aclosing(follow_engine(self._engine, name, params)) as parts:
            async for part in parts:
                yield part


async def ask_engine(engine: Engine, name: str, params: Mapping[str, Any]) -> Any:
    """Return the answer of an engine of this process: what only reads does so on a thread."""
    operation = operation_of(name)
    asked = operation.accept(params)
    if operation.kind == "read":
        ground = ground_of(engine.parts, None)
        return await asyncio.to_thread(operation.handler, ground, asked)
    return await operation.handler(engine, asked)


async def follow_engine(
    engine: Engine, name: str, params: Mapping[str, Any]
) -> AsyncGenerator[Any, None]:
    """Yield the parts of an operation of an engine of this process, until that stops."""
    operation = operation_of(name)
    ground = ground_of(engine.parts, engine.bridge)
    async with aclosing(operation.handler(ground, operation.accept(params))) as parts:
        async for part in parts:
            yield part
