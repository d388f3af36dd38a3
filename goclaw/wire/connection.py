"""The engine's end of one connection: requests in, answers out, all of it bounded."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final

from goclaw.cli.version import goclaw_version
from goclaw.errors import InvalidRequest, ProtocolMismatch
from goclaw.operations.table import operation_of
from goclaw.wire.errors import error_data
from goclaw.wire.frames import (
    ANSWER_BYTES_MAX,
    LARGE_BYTES,
    LENGTH_BYTES,
    PROTOCOL,
    REQUEST_BYTES_MAX,
    frame,
    read_request,
)
from goclaw_actors.errors import Busy
from goclaw_events.errors import CodedError, ValueTooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw.operations.desk import Desk

log = getLogger(__name__)
HELLO_S: Final = 5.0
WRITE_S: Final = 30.0
"""A peer that takes nothing for so long is cut off."""
IN_FLIGHT_MAX: Final = 64
"""Requests of one connection that may wait for their answer; a further one is refused."""
PARTS_AHEAD: Final = 2
"""Parts of a subscription that are sent before the client asks for more."""


class Connection:
    """Serve one peer until it goes, or breaks the protocol. All of it on the engine's loop."""

    def __init__(
        self, desk: Desk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._desk = desk
        self._reader = reader
        self._writer = writer
        self._writing = asyncio.Lock()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._credits: dict[int, asyncio.Semaphore] = {}

    async def serve(self) -> None:
        """Exchange hellos, then answer requests as they come, each in a task of its own."""
        try:
            async with asyncio.timeout(HELLO_S):
                is_spoken_to = await self._hello()
            if not is_spoken_to:
                return
            while (message := await self._receive()) is not None:
                await self._take(message)
        except CodedError as error:  # what cannot be read cannot be answered by its id
            await self._send({"id": None, "error": error_data(error)})
        except (OSError, TimeoutError) as error:
            log.debug("a connection ended: %r", error)
        finally:
            await self._end()

    async def _end(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(OSError):
            self._writer.close()

    async def _hello(self) -> bool:
        message = await self._receive()
        if message is None:
            return False
        if message.get("hello") != PROTOCOL:
            msg = f"this engine speaks version {PROTOCOL} of the protocol"
            raise ProtocolMismatch(msg, hint="use the same version of Goclaw on both ends")
        await self._send({"hello": PROTOCOL, "version": goclaw_version()})
        return True

    async def _receive(self) -> dict[str, Any] | None:
        """Return the next message; None at the end of the connection."""
        try:
            length = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES), "big")
            if length > REQUEST_BYTES_MAX:
                msg = f"a request of {length} bytes exceeds the limit of {REQUEST_BYTES_MAX}"
                raise ValueTooLarge(msg, hint="hand over the name of a file instead")
            data = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        if length > LARGE_BYTES:
            return await asyncio.to_thread(read_request, data)
        return read_request(data)

    async def _take(self, message: Mapping[str, Any]) -> None:
        match message:
            case {"drop": int(number), **rest} if not rest:
                task = self._tasks.get(number)
                if task is not None:
                    task.cancel()
            case {"more": int(number), **rest} if not rest:
                if number in self._credits:
                    self._credits[number].release()
            case {"id": int(number), "op": str(name), "params": dict(params), **rest} if not rest:
                await self._begin(number, name, params)
            case _:
                msg = "a request has `id`, `op` and `params`"
                raise InvalidRequest(msg, hint="see docs/reference/socket.md")

    async def _begin(self, number: int, name: str, params: dict[str, Any]) -> None:
        if number in self._tasks:
            raise InvalidRequest(f"request {number} waits for its answer already")
        if len(self._tasks) >= IN_FLIGHT_MAX:
            msg = f"{IN_FLIGHT_MAX} requests of this connection wait already"
            error = Busy(msg, hint="wait for an answer, or open another connection")
            await self._send({"id": number, "error": error_data(error)})
            return
        task = asyncio.create_task(self._answer(number, name, params))
        self._tasks[number] = task
        task.add_done_callback(lambda _: self._forget(number))

    def _forget(self, number: int) -> None:
        self._tasks.pop(number, None)
        self._credits.pop(number, None)

    async def _answer(self, number: int, name: str, params: dict[str, Any]) -> None:
        try:
            if operation_of(name).kind == "follow":
                await self._follow(number, name, params)
                answer: dict[str, Any] = {"id": number, "ok": None}
            else:
                answer = {"id": number, "ok": await self._desk.ask(name, params)}
        except asyncio.CancelledError:
            raise
        except Exception as error:  # whoever asked is told, the engine goes on
            if not isinstance(error, CodedError):
                log.exception("operation %s failed", name)
            answer = {"id": number, "error": error_data(error)}
        try:
            await self._send(answer)
        except CodedError as error:  # the answer itself cannot be sent
            await self._send({"id": number, "error": error_data(error)})

    async def _follow(self, number: int, name: str, params: dict[str, Any]) -> None:
        """Send parts, a few ahead of what the client has asked for."""
        credit = self._credits[number] = asyncio.Semaphore(PARTS_AHEAD)
        async with aclosing(self._desk.follow(name, params)) as parts:
            async for part in parts:
                await credit.acquire()
                await self._send({"id": number, "part": part})

    async def _send(self, message: Mapping[str, Any]) -> None:
        data = frame(message)
        if len(data) > ANSWER_BYTES_MAX:
            msg = f"an answer of {len(data)} bytes exceeds the limit of {ANSWER_BYTES_MAX}"
            raise ValueTooLarge(msg, hint="ask for less at once")
        async with self._writing:
            try:
                self._writer.write(data)
                # `wait_for` of Python 3.11 forgets a cancellation that comes as the wait ends
                async with asyncio.timeout(WRITE_S):
                    await self._writer.drain()
            except (OSError, TimeoutError):
                self._writer.transport.abort()
