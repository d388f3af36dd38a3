"""An agency to ask over HTTP, which keeps a ledger of its own, and is anything but reliable.

It knows what it is asked by `Idempotency-Key`: the same again is answered as before, and done once.
At random it is busy, sold out, or hangs up, before it has done what it was asked or after.
"""

from __future__ import annotations

import json
import random
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw.demo.service import Answer, Service

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS: Final = ("payment", "flight", "hotel", "car")
PRICE: Final = 900
BUSY: Final = 0.15
HANGS_UP: Final = 0.15
"""So often it hangs up; half of the time it has done what it was asked."""
SOLD_OUT: Final = {"hotel": 0.2, "car": 0.2}


class Entry(NamedTuple):
    """A line of the ledger: taken, or undone, once for each key. `who`: of a line `taken`."""

    what: str
    kind: str
    key: str
    who: str


class Agency(Service):
    """Book and undo, while the block lasts; `seed` decides what goes wrong."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self.ledger: list[Entry] = []
        self.asked = 0
        self.failed = 0
        """Requests that got no good answer."""
        self._rng = random.Random(seed)  # noqa: S311 - nothing secret
        self._taken: dict[str, Entry] = {}
        self._undone: set[str] = set()
        self._sold_out: dict[str, bool] = {}
        self._lock = threading.Lock()

    def answer(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Answer | None:
        """Answer a request; any thread."""
        kind = path.strip("/")
        if method != "POST" or kind not in (*KINDS, "undo"):
            return Answer(HTTPStatus.NOT_FOUND, {"error": f"there is no {path}"})
        said = json.loads(body)
        with self._lock:
            self.asked += 1
            drawn, late = self._rng.random(), self._rng.random() < 0.5  # noqa: PLR2004
            hangs_up = BUSY <= drawn < BUSY + HANGS_UP
            found: Answer | None = None
            if drawn < BUSY:
                found = Answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "busy"})
            elif not hangs_up or late:
                key = headers.get("Idempotency-Key", "")
                found = self._undo(said["key"]) if kind == "undo" else self._take(kind, key, said)
            if hangs_up:
                found = None
            self.failed += found is None or found.status >= HTTPStatus.BAD_REQUEST
            return found

    def _take(self, kind: str, key: str, said: Mapping[str, Any]) -> Answer:
        if key in self._undone:
            return Answer(HTTPStatus.CONFLICT, {"error": "that was undone"})
        if key not in self._sold_out:
            self._sold_out[key] = self._rng.random() < SOLD_OUT.get(kind, 0.0)
        if self._sold_out[key]:
            return Answer(HTTPStatus.CONFLICT, {"error": f"there is no {kind} left"})
        if key not in self._taken:
            self._taken[key] = Entry("taken", kind, key, said["who"])
            self.ledger.append(self._taken[key])
        number = list(self._taken).index(key) + 1
        return Answer(HTTPStatus.CREATED, {"booking": f"{kind}-{number}"})

    def _undo(self, key: str) -> Answer:
        """Undo what stands under a key; what never came will not be done any more, either."""
        if key not in self._undone:
            self._undone.add(key)
            if (taken := self._taken.get(key)) is not None:
                self.ledger.append(taken._replace(what="undone"))
        return Answer(HTTPStatus.OK, {"undone": key in self._taken})

    # -- what the ledger says ------------------------------------------------------------------

    def standing(self, who: str) -> list[str]:
        """Return the kinds that somebody has, and has paid for, in order of booking."""
        with self._lock:
            return [
                entry.kind
                for entry in self._taken.values()
                if entry.who == who and entry.key not in self._undone
            ]

    def counts(self) -> dict[str, dict[str, int]]:
        """Return by kind how often it was taken, undone, and stands."""
        with self._lock:
            found = {kind: {"taken": 0, "undone": 0, "stands": 0} for kind in KINDS}
            for entry in self.ledger:
                found[entry.kind][entry.what] += 1
                found[entry.kind]["stands"] += 1 if entry.what == "taken" else -1
            return found

    def charged_twice(self) -> list[str]:
        """Return who paid more than once, whether or not it was paid back."""
        with self._lock:
            paid = [e.who for e in self.ledger if (e.what, e.kind) == ("taken", "payment")]
        return sorted({who for who in paid if paid.count(who) > 1})
