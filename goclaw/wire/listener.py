"""Listen on the socket of a data directory, while its lock is held."""

from __future__ import annotations

import asyncio
from logging import getLogger
from typing import TYPE_CHECKING, Final

from goclaw.asker import asked_by
from goclaw.errors import PeerRefused
from goclaw.wire.address import bind, check_peer, unbind
from goclaw.wire.connection import Connection
from goclaw.wire.errors import error_data
from goclaw.wire.frames import frame
from goclaw_actors.errors import Busy

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw.operations.desk import EngineDesk
    from goclaw_events.errors import CodedError

log = getLogger(__name__)
CONNECTIONS_MAX: Final = 64


class Listener:
    """Take connections of our own user, at most `CONNECTIONS_MAX` at a time."""

    def __init__(self, desk: EngineDesk, data_dir: Path) -> None:
        self._desk = desk
        self._data_dir = data_dir
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        """Return how many peers are connected."""
        return len(self._serving)

    async def open(self) -> None:
        """Begin to listen; raises `OSError`."""
        self._server = await asyncio.start_unix_server(self._connected, sock=bind(self._data_dir))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "asyncio runs this in a task"
        refused = self._refusal(writer)
        if refused is not None:
            writer.write(frame({"id": None, "error": error_data(refused)}))
            writer.close()
            return
        self._serving.add(task)
        try:
            await Connection(self._desk, reader, writer).serve()
        except asyncio.CancelledError:
            log.debug("a connection was closed with the engine")
        finally:
            self._serving.discard(task)

    def _refusal(self, writer: asyncio.StreamWriter) -> CodedError | None:
        try:
            asked_by(check_peer(writer.get_extra_info("socket")).uid)
        except PeerRefused as error:
            return error
        if len(self._serving) < CONNECTIONS_MAX:
            return None
        msg = f"{CONNECTIONS_MAX} programs talk to the engine already"
        return Busy(msg, hint="close one of them")

    async def close(self) -> None:
        """Take the socket away, end every connection, wait for what reads the views."""
        if self._server is None:
            return
        unbind(self._data_dir)
        self._server.close()
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await asyncio.to_thread(self._desk.close)
        self._server = None


async def listen(desk: EngineDesk, data_dir: Path) -> Listener:
    """Return a listener; where the directory cannot hold a socket it is only logged."""
    listener = Listener(desk, data_dir)
    try:
        await listener.open()
    except OSError as error:
        log.warning("other programs cannot talk to this engine: %s", error)
    return listener
