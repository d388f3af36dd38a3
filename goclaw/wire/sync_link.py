"""A client's end of a connection, blocking: one request at a time. Imports little, for the CLI."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, Self

from goclaw.errors import ConnectionLost, InvalidRequest, TimedOut
from goclaw.wire.address import connect, not_running
from goclaw.wire.frames import (
    ANSWER_BYTES_MAX,
    LENGTH_BYTES,
    PROTOCOL,
    REQUEST_BYTES_MAX,
    frame,
    read_answer,
)
from goclaw_events.errors import CodedError, ValueTooLarge

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping
    from pathlib import Path

CONNECT_S: Final = 5.0
CLIENT: Final = "goclaw"


class SyncLink:
    """Ask the engine of a data directory. Any thread may ask; they take turns.

    Raises `EngineNotRunning` where none listens.
    """

    def __init__(self, data_dir: Path, connect_s: float = CONNECT_S) -> None:
        self._data_dir = data_dir
        self._number = 0
        self._following = False
        self._lock = threading.RLock()
        self._socket: socket.socket = connect(data_dir, connect_s)
        try:
            self._send({"hello": PROTOCOL, "client": CLIENT})
            self.engine_version = str(self._receive()["version"])
        except ConnectionLost as error:  # it was about to end
            self.close()
            raise not_running(data_dir) from error
        except BaseException:
            self.close()
            raise
        self._socket.settimeout(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection. Idempotent."""
        self._socket.close()

    def ask(self, name: str, params: Mapping[str, Any]) -> Any:
        """Return the answer of an operation; raises what it raises, `ConnectionLost`."""
        with self._lock:
            number = self._next()
            try:
                self._send({"id": number, "op": name, "params": dict(params)})
                return self._answer(number)["ok"]
            except CodedError:
                raise
            except BaseException:
                self.close()  # interrupted in the middle of an answer, which nobody reads
                raise

    def follow(self, name: str, params: Mapping[str, Any]) -> Iterator[Any]:
        """Yield the parts of an operation that goes on; nothing else can be asked meanwhile.

        Another thread that asks waits; this one gets `InvalidRequest`.
        """
        with self._lock:
            number, ended = self._next(), False
            self._following = True
            try:
                self._send({"id": number, "op": name, "params": dict(params)})
                while "part" in (answer := self._answer(number)):
                    self._send({"more": number})
                    yield answer["part"]
                ended = True
            finally:
                self._following = False
                if not ended:
                    self.close()  # what is on its way is not worth waiting for

    def _next(self) -> int:
        """Return the number of a new request."""
        if self._following:
            msg = "a subscription is being read from this connection"
            raise InvalidRequest(msg, hint="ask another client, or after its end")
        self._number += 1
        return self._number

    def _answer(self, number: int) -> dict[str, Any]:
        while True:
            message = self._receive()
            if message.get("id") == number:
                return message

    def _send(self, message: Mapping[str, Any]) -> None:
        data = frame(message)
        if len(data) > REQUEST_BYTES_MAX:
            msg = f"a request of {len(data)} bytes exceeds the limit of {REQUEST_BYTES_MAX}"
            raise ValueTooLarge(msg, hint="hand over the name of a file instead")
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise self._lost() from error

    def _receive(self) -> dict[str, Any]:
        length = int.from_bytes(self._read(LENGTH_BYTES), "big")
        if length > ANSWER_BYTES_MAX:
            raise self._lost()
        message = read_answer(self._read(length))
        if "error" in message:
            from goclaw.wire.errors import error_from

            raise error_from(message["error"])
        return message

    def _read(self, length: int) -> bytes:
        found = bytearray()
        while len(found) < length:
            try:
                more = self._socket.recv(min(length - len(found), 1 << 20))
            except TimeoutError as error:
                raise TimedOut("the engine did not answer in time", hint="ask again") from error
            except OSError as error:
                raise self._lost() from error
            if not more:
                raise self._lost()
            found += more
        return bytes(found)

    def _lost(self) -> ConnectionLost:
        self.close()
        return connection_lost(self._data_dir)


def connection_lost(data_dir: Path) -> ConnectionLost:
    """Return the error that says what is known and what to do."""
    msg = f"the engine on {data_dir} went away before it answered"
    return ConnectionLost(msg, hint="what was asked may have been done; ask again")
