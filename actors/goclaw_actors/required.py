"""Snapshots that somebody waits for: before the facts below a position are archived.

Actors that are not live are activated for it, and let go of afterwards; a batch takes in only as
many as its time for snapshots allows.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from goclaw_actors.errors import ActorsError
from goclaw_events.errors import CodedError, JournalUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from goclaw_actors.actor import Entity
    from goclaw_events.journal import Done

TRIES_MAX: Final = 3
"""A snapshot that was begun and given up is begun again; the second one begins behind `below`."""


class SnapshotMissing(ActorsError):
    """An actor could not be written away, so what it stands on cannot be archived."""

    code = "snapshot_missing"


@dataclass(slots=True)
class _Request:
    streams: deque[str]
    below: int
    done: Done
    tries: int = 0


@dataclass(slots=True)
class _Activated:
    entity: Entity
    number: int


class Required:
    """The snapshots that are waited for, in order; all methods run on the dispatcher's thread.

    `activate` returns the live actor of a stream, loaded (None: it needs none), and whether it
    was live before; `release` lets the directory drop one that was not.
    """

    def __init__(
        self,
        activate: Callable[[str], tuple[Entity, bool] | None],
        release: Callable[[Entity], None],
    ) -> None:
        self._activate = activate
        self._release = release
        self._waiting: deque[_Request] = deque()
        self._activated: dict[str, _Activated] = {}
        self._met: list[Callable[[CodedError | None], None]] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, streams: Iterable[str], below: int, done: Done) -> None:
        """Have each stream covered by a snapshot: none of its facts below `below` is then needed.

        `done` is called when all that is durable, or with an error.
        """
        self._waiting.append(_Request(deque(streams), below, done))

    def next(self, is_over: Callable[[], bool]) -> Entity | None:
        """Return the next actor to write away; None if there is none, or the time is over.

        Looks at one at least, however little time there is.
        """
        while self._waiting:
            entity = self._look(self._waiting[0])
            if entity is not None or is_over():
                return entity
        return None

    def _look(self, request: _Request) -> Entity | None:
        """Look at the next stream of a request; return its actor if that must be written away."""
        if not request.streams:
            self._met.append(self._waiting.popleft().done)
            return None
        stream = request.streams[0]
        try:
            entity = self._entity(stream)
        except JournalUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - it cannot be rebuilt; its request fails
            self._fail(stream, f"it cannot be rebuilt: {error}")
            return None
        if entity is None or not _is_needed(entity, request.below):
            self._pass(request, stream)
        elif request.tries >= TRIES_MAX:
            self._fail(stream, "it was begun and given up again and again")
        else:
            request.tries += 1
            return entity
        return None

    def _entity(self, stream: str) -> Entity | None:
        found = self._activate(stream)
        if found is None:
            return None
        entity, was_live = found
        if not was_live:
            self._activated[stream] = _Activated(entity, entity.number)
        return entity

    def _pass(self, request: _Request, stream: str) -> None:
        request.streams.popleft()
        request.tries = 0
        activated = self._activated.pop(stream, None)
        if activated is not None:
            self._met.append(lambda _: self._let_go(activated))

    def _let_go(self, activated: _Activated) -> None:
        """Let go of an actor, now that its snapshot is durable, unless it has work since."""
        if activated.entity.number == activated.number:
            self._release(activated.entity)

    def _fail(self, stream: str, why: str) -> None:
        error = SnapshotMissing(
            f"{stream} has no snapshot: {why}",
            hint="see `goclaw replay --verify`; what it stands on is not archived until then",
            stream=stream,
        )
        request = self._waiting.popleft()
        self._activated.pop(stream, None)
        request.done(error)

    def take_met(self) -> list[Callable[[CodedError | None], None]]:
        """Return what to call once the batch that is being closed is durable."""
        met, self._met = self._met, []
        return met

    def forget(self, error: CodedError) -> None:
        """Give up what is waited for: the batches that held it were abandoned."""
        waiting = [request.done for request in self._waiting]
        met = self.take_met()
        self._waiting.clear()
        self._activated.clear()
        for done in (*met, *waiting):
            done(error)


def _is_needed(entity: Entity, below: int) -> bool:
    if entity.seq == 0 or entity.decider.is_final(entity.state):
        return False
    base = entity.base
    return base is None or (base.seq != entity.seq and base.number < below - 1)
