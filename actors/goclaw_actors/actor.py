"""The pykka shell of a decider: an actor whose inbox hands itself to the dispatcher.

`pykka.ThreadingActor` is one OS thread an actor. `_create_actor_inbox`, `_create_future` and
`_start_actor_loop` are pykka's seams for another runtime; ours is the dispatcher, which takes
ready actors in turn. Everything here runs on the dispatcher's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import pykka
from pykka import ActorRef

from goclaw_actors.snapshotter import NEVER

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Sequence

    from pykka import Future

    from goclaw_actors.decider import Decider
    from goclaw_actors.history import Grown
    from goclaw_actors.message import Message
    from goclaw_actors.snapshotter import Held


_NONE: Final[frozenset[type]] = frozenset()


class Turns(Protocol):
    """Whoever handles messages of actors: the dispatcher."""

    ready: deque[Entity]
    later: deque[Entity]

    def handle(self, entity: Entity, message: Message) -> None:
        """Take one turn of an actor."""
        ...


class Inbox:
    """An actor's inbox as pykka knows it; made when it is asked for.

    An actor that held one would be held by it: dropped ones would wait for the garbage collector.
    """

    __slots__ = ("_entity",)

    def __init__(self, entity: Entity) -> None:
        self._entity = entity

    def put(self, envelope: Any, /) -> None:
        """Take in what pykka's `tell` brings."""
        self._entity.tell(envelope.message)

    def get(self) -> Message:
        """Return the next message."""
        waiting = self._entity.waiting
        assert waiting, "pykka looks whether one waits"
        return waiting.pop(0)

    def empty(self) -> bool:
        """Tell whether nothing waits."""
        return not self._entity.waiting


class _Stopped:
    """What pykka asks of a `threading.Event`, for an actor that only one thread touches."""

    __slots__ = ("_entity",)

    def __init__(self, entity: Entity) -> None:
        self._entity = entity

    def is_set(self) -> bool:
        """Tell whether the actor stopped."""
        return self._entity.stopped

    def set(self) -> None:
        """Stop the actor."""
        self._entity.stopped = True


class Entity(pykka.Actor):
    """One aggregate, live: its stream, its state, and how far its facts are recorded.

    `state` is None until the first message: it is loaded then, so that an error in loading
    reaches the message and not pykka's start. `seq` counts its facts, `number` is the position
    of the last one (an actor whose last fact is not durable is never passivated). `waiting` are
    its messages, first in first out; None while it is not in line for a turn. It pools messages
    of the types `kinds`. `held` are the
    snapshots that the log has of it, `base` is the one that the state began with or was last
    written to; another is due once `seq` reaches `snapshot_due`. An actor of an `archived` run
    records nothing once it is final. `size` counts the bytes of its turns as frames hold them,
    `grown` says how long its history is once that is worth a word.
    """

    rebuild = False
    stopped = False
    replies: dict[str, Any] | None = None
    base: Held | None = None
    held: Sequence[Held] = ()
    grown: Grown | None = None

    def __init__(self, stream: str, decider: Decider[Any], turns: Turns) -> None:
        # pykka's own __init__ makes a uuid4, a lock and a reference for each actor: most of the
        # 12 µs that an actor costs. The urn is the stream's name, only one thread comes here, and
        # a reference is made when one is asked for. What few actors have is the class's.
        self.stream = stream
        self.decider = decider
        self.kinds = _NONE if decider.pool is None else decider.pool.kinds
        self.state: Any = None
        self.seq = 0
        self.size = 0
        self.number = 0
        self.snapshot_due = NEVER
        self.archived = False
        self.waiting: list[Message] | None = None
        self._turns = turns

    def tell(self, message: Message) -> None:
        """Take a message in; the first one puts the actor in line for a turn.

        Messages that the actor pools wait for others of their kind, `later`; others are `ready`.
        """
        if self.waiting is not None:
            self.waiting.append(message)
            return
        self.waiting = [message]  # hardly ever more than a few: a deque takes three times as long
        turns = self._turns
        line = turns.later if type(message.body) in self.kinds else turns.ready
        line.append(self)

    @property
    def actor_urn(self) -> Any:  # type: ignore[override]  # pykka writes it in its __init__ alone
        """Return the stream's name, as pykka asks for it."""
        return self.stream

    @property
    def actor_ref(self) -> ActorRef[Entity]:
        """Return pykka's reference to this actor; the dispatcher tells it without one."""
        return ActorRef(self)

    @property
    def actor_inbox(self) -> Any:  # type: ignore[override]  # as above
        """Return the inbox, as pykka asks for it."""
        return Inbox(self)

    @property
    def actor_stopped(self) -> Any:  # type: ignore[override]  # as above
        """Return whether the actor stopped, as pykka asks for it."""
        return _Stopped(self)

    def on_receive(self, message: Message) -> None:
        """Handle a message, as the dispatcher has it done."""
        self._turns.handle(self, message)

    def forget(self) -> None:
        """Drop a state that a failed turn may have half changed; it is rebuilt when next told."""
        self.state = None
        self.rebuild = True

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
