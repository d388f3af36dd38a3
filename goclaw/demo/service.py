"""A service on 127.0.0.1 for a demo to ask: it answers while a block lasts, and may hang up."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from http import HTTPStatus

    from goclaw.config import Settings

HOST: Final = "127.0.0.1"
BODY_BYTES_MAX: Final = 64 * 1024


class Answer(NamedTuple):
    """What is answered: a text as it is, any other body as JSON."""

    status: HTTPStatus
    body: Any
    headers: Mapping[str, str] = {}


class Service(ABC):
    """Answer requests while the block lasts. `port` 0 is a free one; raises `OSError` if taken."""

    def __init__(self, port: int = 0) -> None:
        self._server = ThreadingHTTPServer((HOST, port), _handler(self))
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Return where it answers."""
        return f"http://{HOST}:{self.port}"

    @abstractmethod
    def answer(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Answer | None:
        """Answer a request; None: hang up without a word. Any thread."""


def allowed(settings: Settings, port: int, programs: Sequence[str] = ()) -> Settings:
    """Add one address, and programs, to what settings allow already."""
    executors = settings.executors
    http, run = executors.http, executors.exec
    more = {
        "http": http.model_copy(update={"allow_private": (*http.allow_private, f"{HOST}:{port}")}),
        "exec": run.model_copy(update={"allow": (*run.allow, *programs)}),
    }
    return settings.model_copy(update={"executors": executors.model_copy(update=more)})


def _handler(service: Service) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = min(int(self.headers.get("Content-Length", 0)), BODY_BYTES_MAX)
            said = dict(self.headers.items())
            names = {name.title(): value for name, value in said.items()}
            answer = service.answer(self.command, self.path, names, self.rfile.read(length))
            if answer is None:
                self.close_connection = True
                return
            is_text = isinstance(answer.body, str)
            sent = (answer.body if is_text else json.dumps(answer.body)).encode()
            self.send_response(answer.status)
            kind = "text/plain; charset=utf-8" if is_text else "application/json"
            lines = {"Content-Type": kind, "Content-Length": str(len(sent)), **answer.headers}
            for name, value in lines.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = _serve  # noqa: N815 - the names are the base class's

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
            """Be quiet: what is asked stands in the log of the engine."""

    return Handler
