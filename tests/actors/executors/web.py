"""A server for tests of requests, and a resolver that says what it is told to say."""

from __future__ import annotations

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    Answer = tuple[int, dict[str, str], bytes]


class Web:
    """A server on 127.0.0.1; `routes` maps a path to what answers it."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.routes: dict[str, Callable[[dict[str, Any]], Answer]] = {}
        self.hang = threading.Event()
        self.hung_up = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hang.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """Return the URL of a path."""
        return f"http://{host}:{self.port}{path}"

    def json(
        self, path: str, value: object, status: int = 200, headers: dict[str, str] | None = None
    ) -> str:
        """Answer a path with JSON; return its URL."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        body = json.dumps(value).encode()
        self.routes[path] = lambda _: (status, sent, body)
        return self.url(path)

    def raw(
        self, path: str, body: bytes, status: int = 200, headers: dict[str, str] | None = None
    ) -> str:
        """Answer a path with bytes; return its URL."""
        self.routes[path] = lambda _: (status, headers or {}, body)
        return self.url(path)

    def packed(self, path: str, body: bytes) -> str:
        """Answer a path with gzip."""
        return self.raw(path, gzip.compress(body), headers={"Content-Encoding": "gzip"})

    def hangs(self, path: str) -> str:
        """Answer a path only when the test is over."""

        def wait(_: dict[str, Any]) -> Answer:
            self.hang.wait(20)
            return 200, {}, b""

        self.routes[path] = wait
        return self.url(path)

    def _handler(web) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                seen = {
                    "method": self.command,
                    "path": self.path,
                    "headers": {name.lower(): value for name, value in self.headers.items()},
                    "body": self.rfile.read(length),
                    "client": self.client_address,
                }
                web.seen.append(seen)
                route = web.routes.get(self.path.partition("?")[0])
                status, headers, body = route(seen) if route else (404, {}, b"nothing here")
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    if "Content-Length" not in headers:
                        self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(body)
                        self.wfile.flush()
                    if headers.get("Connection") == "close":
                        self.close_connection = True
                except OSError:
                    web.hung_up.set()

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Be quiet."""

        return Handler


class Resolver:
    """Answer each question with the next of the addresses that a host is given."""

    def __init__(self, **hosts: list[list[str]]) -> None:
        self._hosts = {name.replace("_", "."): list(answers) for name, answers in hosts.items()}
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        """Return addresses; the last answer is given again and again."""
        self.asked.append((host, port))
        answers = self._hosts.get(host)
        if answers is None:
            if host.replace(".", "").isdigit():
                return [host]
            msg = "Name or service not known"
            raise OSError(msg)
        return answers.pop(0) if len(answers) > 1 else answers[0]
