"""The pykka shell of a decider: an actor whose inbox hands itself to the dispatcher.

`pykka.ThreadingActor` is one OS thread an actor. `_create_actor_inbox`, `_create_future` and
`_start_actor_loop` are pykka's seams for another runtime; ours is the dispatcher, which takes
ready actors in turn. Everything here runs on the dispatcher's thread.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import pykka
from pykka import ActorRef

from goclaw_actors.snapshotter import NEVER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykka import Future

    from goclaw_actors.decider import Decider
    from goclaw_actors.message import Message
    from goclaw_actors.snapshotter import Held


class Turns(Protocol):
    """Whoever handles messages of actors: the dispatcher."""

    ready: deque[Entity]

    def handle(self, entity: Entity, message: Message) -> None:
        """Take one turn of an actor."""
        ...


class Inbox:
    """An actor's messages, first in first out; the first one makes the actor ready."""

    __slots__ = ("_entity", "_ready", "messages", "scheduled")

    def __init__(self, entity: Entity, ready: deque[Entity]) -> None:
        self._entity = entity
        self._ready = ready
        self.messages: deque[Any] = deque()
        self.scheduled = False

    def put(self, envelope: Any, /) -> None:
        """Take a message in."""
        self.messages.append(envelope)
        if not self.scheduled:
            self.scheduled = True
            self._ready.append(self._entity)

    def get(self) -> Any:
        """Return the next message."""
        return self.messages.popleft()

    def empty(self) -> bool:
        """Tell whether nothing waits."""
        return not self.messages


class _Flag:
    """What pykka asks of a `threading.Event`, for an actor that only one thread touches."""

    __slots__ = ("_set",)

    def __init__(self) -> None:
        self._set = False

    def is_set(self) -> bool:
        """Tell whether the actor stopped."""
        return self._set

    def set(self) -> None:
        """Stop the actor."""
        self._set = True


class Entity(pykka.Actor):
    """One aggregate, live: its stream, its state, and how far its facts are recorded.

    `state` is None until the first message: it is loaded then, so that an error in loading
    reaches the message and not pykka's start. `seq` counts its facts, `number` is the position
    of the last one (an actor whose last fact is not durable is never passivated). `held` are the
    snapshots that the log has of it, `base` is the one that the state began with or was last
    written to; another is due once `seq` reaches `snapshot_due`. An actor of an `archived` run
    records nothing once it is final.
    """

    archived = False
    snapshot_due = NEVER
    base: Held | None = None
    held: Sequence[Held] = ()

    def __init__(self, stream: str, decider: Decider[Any], turns: Turns) -> None:
        # pykka's own __init__ makes a uuid4 and a lock for each actor: 4 of the 12 µs that an
        # actor costs. The urn is the stream's name, and only one thread comes here.
        self.stream = stream
        self.decider = decider
        self.state: Any = None
        self.seq = 0
        self.number = 0
        self.rebuild = False
        self.replies: dict[str, Any] | None = None
        self._turns = turns
        self.actor_urn = stream
        self.inbox = Inbox(self, turns.ready)
        self.actor_inbox = self.inbox
        self.actor_stopped = _Flag()  # type: ignore[assignment]
        self._actor_ref = ActorRef(self)

    def on_receive(self, message: Message) -> None:
        """Handle a message; called through pykka's `_handle_receive`."""
        self._turns.handle(self, message)

    def forget(self) -> None:
        """Drop a state that a failed turn may have half changed; it is rebuilt when next told."""
        self.state = None
        self.rebuild = True

    def take(self) -> None:
        """Handle the next message of the inbox, as pykka's own loop would."""
        self._handle_receive(self.inbox.get().message)

    @staticmethod
    def _create_actor_inbox() -> Any:
        msg = "an Entity makes its own inbox"
        raise TypeError(msg)

    @staticmethod
    def _create_future() -> Future[Any]:
        msg = "actors are told, never asked: a question between actors deadlocks"
        raise TypeError(msg)

    def _start_actor_loop(self) -> None:
        """Do nothing: the dispatcher is the loop."""
