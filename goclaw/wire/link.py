"""A client's end of a connection on an asyncio loop: many requests at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from goclaw.wire.address import connect, not_running
from goclaw.wire.errors import error_from
from goclaw.wire.frames import (
    ANSWER_BYTES_MAX,
    LENGTH_BYTES,
    PROTOCOL,
    REQUEST_BYTES_MAX,
    frame,
    read_answer,
)
from goclaw.wire.sync_link import CLIENT, CONNECT_S, connection_lost
from goclaw_events.errors import CodedError, ValueTooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path

PARTS_MAX: Final = 8
"""Parts that may lie here; the engine sends no more than a few before it is asked for more."""


class Link:
    """Ask the engine of a data directory; it connects when first asked, and again once lost."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._number = 0
        self._connecting = asyncio.Lock()
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Queue[dict[str, Any] | CodedError]] = {}

    async def connect(self) -> None:
        """Connect unless that is done; raises `EngineNotRunning`, `PeerRefused`."""
        async with self._connecting:
            if self._writer is not None:
                return
            connected = connect(self._data_dir, CONNECT_S)
            connected.setblocking(False)
            reader, writer = await asyncio.open_unix_connection(sock=connected)
            try:
                writer.write(frame({"hello": PROTOCOL, "client": CLIENT}))
                async with asyncio.timeout(CONNECT_S):
                    await _receive(reader)
            except (OSError, EOFError, TimeoutError) as error:
                writer.close()
                raise not_running(self._data_dir) from error
            except BaseException:
                writer.close()
                raise
            self._writer = writer
            self._reading = asyncio.create_task(self._read(reader, writer))

    async def close(self) -> None:
        """End the connection; whoever waits gets `ConnectionLost`. Idempotent."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def ask(self, name: str, params: Mapping[str, Any]) -> Any:
        """Return the answer of an operation; raises what it raises, `ConnectionLost`."""
        number, answers = await self._begin(name, params)
        try:
            return _checked(await answers.get())["ok"]
        except asyncio.CancelledError:
            await self._send({"drop": number})
            raise
        finally:
            self._waiting.pop(number, None)

    async def follow(self, name: str, params: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Yield the parts of an operation that goes on; raises as `ask`."""
        number, answers = await self._begin(name, params)
        ended = False
        try:
            while True:
                try:
                    answer = _checked(await answers.get())
                except CodedError:
                    ended = True
                    raise
                if "part" not in answer:
                    ended = True
                    return
                yield answer["part"]
                await self._send({"more": number})
        finally:
            self._waiting.pop(number, None)
            if not ended:
                await self._send({"drop": number})

    async def _begin(
        self, name: str, params: Mapping[str, Any]
    ) -> tuple[int, asyncio.Queue[dict[str, Any] | CodedError]]:
        await self.connect()
        self._number += 1
        data = frame({"id": self._number, "op": name, "params": dict(params)})
        if len(data) > REQUEST_BYTES_MAX:
            msg = f"a request of {len(data)} bytes exceeds the limit of {REQUEST_BYTES_MAX}"
            raise ValueTooLarge(msg, hint="hand over the name of a file instead")
        writer = self._writer
        if writer is None:
            raise connection_lost(self._data_dir)
        number = self._number
        answers = self._waiting[number] = asyncio.Queue(PARTS_MAX)
        writer.write(data)
        try:
            await writer.drain()
        except OSError:  # the reading task tells it to everybody
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self._waiting.pop(number, None)
            await self._send({"drop": number})
            raise
        return number, answers

    async def _send(self, message: Mapping[str, Any]) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(frame(message))

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hand answers to whoever waits for them, until the connection ends."""
        try:
            while True:
                message = await _receive(reader)
                answers = self._waiting.get(message.get("id") or 0)
                if answers is not None:
                    answers.put_nowait(message)
        except (OSError, EOFError, CodedError, asyncio.QueueFull):
            return
        finally:
            self._writer = None
            writer.close()
            waiting, self._waiting = list(self._waiting.values()), {}
            for answers in waiting:
                if answers.full():
                    answers.get_nowait()
                answers.put_nowait(connection_lost(self._data_dir))


async def _receive(reader: asyncio.StreamReader) -> dict[str, Any]:
    length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
    if length > ANSWER_BYTES_MAX:
        raise EOFError
    message = read_answer(await reader.readexactly(length))
    if "error" in message and message.get("id") is None:
        raise error_from(message["error"])
    return message


def _checked(answer: dict[str, Any] | CodedError) -> dict[str, Any]:
    if isinstance(answer, CodedError):
        raise answer
    if "error" in answer:
        raise error_from(answer["error"])
    return answer
