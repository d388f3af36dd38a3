"""A library to ask over HTTP: a few documents, a key, and a server that is busy at first."""

from __future__ import annotations

import hmac
import json
import threading
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from goclaw.demo.service import Answer, Service

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCUMENTS: Final = Path(__file__).with_name("documents")
TITLES: Final = {
    "gettysburg": "The Gettysburg Address",
    "two-cities": "A Tale of Two Cities",
    "moby-dick": "Moby-Dick",
}
BUSY_AT_FIRST: Final = "/documents/moby-dick"
BUSY_S: Final = 1


class Library(Service):
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
        super().__init__(port)

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer a request; any thread."""
        said = headers.get("Authorization", "")
        if not hmac.compare_digest(said.encode(), self._expected.encode()):
            return Answer(HTTPStatus.UNAUTHORIZED, {"error": "the key is wrong"})
        match method, path.strip("/").split("/"):
            case "GET", ["documents"]:
                found = [{"title": t, "path": f"/documents/{name}"} for name, t in TITLES.items()]
                return Answer(HTTPStatus.OK, {"asked_with": said, "documents": found})
            case "GET", ["documents", name] if name in TITLES:
                if path == BUSY_AT_FIRST and self._is_busy():
                    wait = {"Retry-After": str(BUSY_S)}
                    return Answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "busy"}, wait)
                text = (DOCUMENTS / "texts" / f"{name}.txt").read_text(encoding="utf-8")
                return Answer(HTTPStatus.OK, text)
            case "POST", ["reports"]:
                with self._lock:
                    self.reports.setdefault(headers.get("Idempotency-Key", ""), json.loads(body))
                    return Answer(HTTPStatus.CREATED, {"report": len(self.reports)})
        return Answer(HTTPStatus.NOT_FOUND, {"error": f"there is no {path}"})

    def _is_busy(self) -> bool:
        with self._lock:
            been, self._been_busy = self._been_busy, True
            return not been
