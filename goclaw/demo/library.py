"""A library to ask over HTTP: a few documents, a key, and a server that is busy at first."""

from __future__ import annotations

import hmac
import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

HOST: Final = "127.0.0.1"
DOCUMENTS: Final = Path(__file__).with_name("documents")
TITLES: Final = {
    "gettysburg": "The Gettysburg Address",
    "two-cities": "A Tale of Two Cities",
    "moby-dick": "Moby-Dick",
}
BUSY_AT_FIRST: Final = "/documents/moby-dick"
BUSY_S: Final = 1
BODY_BYTES_MAX: Final = 64 * 1024


class _Answer(NamedTuple):
    status: HTTPStatus
    body: Any
    headers: Mapping[str, str] = {}


class Library:
    """Serve the documents on 127.0.0.1 while the block lasts, to who has the key.

    The first request for one document is answered with 503 and `Retry-After`. A report that comes
    twice with the same `Idempotency-Key` is kept once. `port` 0 is a free one; raises `OSError`
    if another is taken.
    """

    def __init__(self, key: str, port: int = 0) -> None:
        self.reports: dict[str, Any] = {}
        self._expected = f"Bearer {key}"
        self._been_busy = False
        self._lock = threading.Lock()
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

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> _Answer:
        """Answer a request; any thread."""
        said = headers.get("Authorization", "")
        if not hmac.compare_digest(said.encode(), self._expected.encode()):
            return _Answer(HTTPStatus.UNAUTHORIZED, {"error": "the key is wrong"})
        match method, path.strip("/").split("/"):
            case "GET", ["documents"]:
                found = [{"title": t, "path": f"/documents/{name}"} for name, t in TITLES.items()]
                return _Answer(HTTPStatus.OK, {"asked_with": said, "documents": found})
            case "GET", ["documents", name] if name in TITLES:
                if path == BUSY_AT_FIRST and self._is_busy():
                    wait = {"Retry-After": str(BUSY_S)}
                    return _Answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "busy"}, wait)
                text = (DOCUMENTS / "texts" / f"{name}.txt").read_text(encoding="utf-8")
                return _Answer(HTTPStatus.OK, text)
            case "POST", ["reports"]:
                with self._lock:
                    self.reports.setdefault(headers.get("Idempotency-Key", ""), json.loads(body))
                    return _Answer(HTTPStatus.CREATED, {"report": len(self.reports)})
        return _Answer(HTTPStatus.NOT_FOUND, {"error": f"there is no {path}"})

    def _is_busy(self) -> bool:
        with self._lock:
            been, self._been_busy = self._been_busy, True
            return not been


def _handler(library: Library) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = min(int(self.headers.get("Content-Length", 0)), BODY_BYTES_MAX)
            said = dict(self.headers.items())
            names = {name.title(): value for name, value in said.items()}
            answer = library.answer(self.command, self.path, names, self.rfile.read(length))
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
