"""A decider: one aggregate as four pure functions, after Chassaing's functional event sourcing.

`decide` says what follows from a message; `evolve` applies a fact. State comes first in both,
so `reduce(evolve, facts, initial(stream))` is replay. State is private to its shell: `evolve`
changes it in place and returns it (a copied state costs 28.7 ms a fact at a million entries).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from goclaw_actors.chunked import Chunked
    from goclaw_events.value import Value

S = TypeVar("S")

Body: TypeAlias = Any
"""A message: a NamedTuple of `messages`, a `work.Outcome`, or a `work.Progress`."""

MapChunks: TypeAlias = "Mapping[int, dict[int, dict[int, Any]]]"
"""The maps of a state as they are kept: by map, chunk id and key."""

Raise: TypeAlias = "Callable[[Any, MapChunks], tuple[Any, MapChunks]]"
"""From root and maps of one version to those of the next."""


@dataclass(slots=True)
class Moment:
    """What a decision may know of the world: all that is not in the state comes in here.

    `number` is the position that the turn's first fact will take: attempt tokens come from it.
    `holder` names the process that will hold an attempt started now. `full`: the history of the
    actor that decides is, and this is what is said of it. A dispatcher moves one moment from turn
    to turn, so nothing may keep it.
    """

    now_ns: int
    number: int
    partition: int
    era: int
    holder: str
    full: Refused | None = None


class Send(NamedTuple):
    """A message to another actor, by its stream.

    `fresh` says that the target cannot have a stream yet: none is looked for. `passed_on`: it is
    the message that is being decided, and the target answers whoever sent it.
    """

    target: str
    body: Body
    fresh: bool = False
    passed_on: bool = False


class SetTimer(NamedTuple):
    """Wake this actor with `TimerFired(id)` at `due_ns`, restarts included."""

    id: str
    due_ns: int


class ClearTimer(NamedTuple):
    """Forget a timer that was set with the same id and due time."""

    id: str
    due_ns: int


class OpenAttempt(NamedTuple):
    """Record that an attempt runs; `token` is the number of its `AttemptStarted`.

    The lease as in `AttemptRow`.
    """

    token: int
    attempt: int
    holder: str
    lease_until_ns: int


class CloseAttempt(NamedTuple):
    """Record that an attempt runs no more."""

    token: int


class SetOpen(NamedTuple):
    """Record that this actor is unfinished, and what it waits for.

    `replaces`: that it is unfinished is recorded already, as waiting for something else.
    """

    kind: str
    referent: str
    wake_ns: int = 0
    replaces: bool = False


class ClearOpen(NamedTuple):
    """Record that this actor waits for nothing any more."""


class RunEnded(NamedTuple):
    """Tell whoever waits for the run that it ended; `error` is (code, message, task)."""

    run_id: str
    status: str
    result: Any
    error: tuple[str, str, str] | None


class RunBegun(NamedTuple):
    """Tell whoever looks for runs by their labels that one was submitted."""

    run_id: str
    labels: dict[str, str]


class SelectMembers(NamedTuple):
    """Tell whoever finds members that a collector wants some."""

    collector: str


class Refused(NamedTuple):
    """Say no to a command: a value, never an exception, and not remembered."""

    code: str
    message: str
    hint: str = ""


class Accepted(NamedTuple):
    """Say yes to a command; `repeated` where it had been accepted before."""

    id: str
    repeated: bool = False


class Decision(NamedTuple):
    """What follows from a message. Messages and effects leave only after the facts are durable."""

    facts: Sequence[Any] = ()
    sends: Sequence[Send] = ()
    effects: Sequence[Any] = ()
    reply: Accepted | Refused | None = None


NOTHING = Decision()


@dataclass(frozen=True, slots=True)
class SnapshotForm(Generic[S]):
    """How a state is written away and made again.

    `root` is the small part as plain data, `maps` are the large collections. `restore` takes the
    stream, the root, and for each map that is not empty its chunks by id, each entries by key; it
    may keep them. A state that is restored encodes as the one that was written. Another layout
    needs another `version`, and `raises` from the one before.
    """

    version: int
    root: Callable[[S], Value]
    maps: Callable[[S], Sequence[Chunked[Any]]]
    restore: Callable[[str, Value, MapChunks], S]
    raises: Mapping[int, Raise] = field(default_factory=dict)
    """How root and maps of an earlier version become those of the next one.

    For baselines: there are no facts left from which to make such a state again. Any other
    snapshot of an earlier version is passed over.
    """


@dataclass(frozen=True, slots=True)
class Pool(Generic[S]):
    """Messages that an actor answers together, in one turn with one cause: that of the first.

    Up to `messages_max` that follow each other in its inbox, of the types `kinds`. They are
    taken when nothing else of the batch can be decided, so that many have come by then. One
    message decided by `decide` gives what `Decider.decide` gives.
    """

    kinds: frozenset[type]
    decide: Callable[[S, Sequence[Body], Moment], Decision]
    messages_max: int


@dataclass(frozen=True, slots=True)
class Bound(Generic[S]):
    """That the history of an actor may not grow for ever (ADR 0032).

    `grows` tells whether a message would make it longer and could be left unsaid: it is refused
    where somebody outside said it to an actor whose history is full. `tasks` counts those that the
    actor sees to; each may take some more.
    """

    grows: Callable[[Body], bool]
    tasks: Callable[[S], int] = lambda _: 0


@dataclass(frozen=True, slots=True)
class Decider(Generic[S]):
    """An aggregate as a value. `evolve` is total, and costs at most O(log n) of its state."""

    initial: Callable[[str], S]
    decide: Callable[[S, Body, Moment], Decision]
    evolve: Callable[[S, Any], S]
    is_final: Callable[[S], bool]
    encode: Callable[[S], Any]
    """The state as plain data, for comparing live with replayed, and for people."""
    form: SnapshotForm[S] | None = None
    """None: the actor gets no snapshots."""
    pool: Pool[S] | None = None
    """None: every message has a turn of its own."""
    version: Callable[[S], int | None] | None = None
    """How often it was decided about, for commands that insist on it (ADR 0027); its answer None:
    there is nothing yet. None: no command of it does."""
    bound: Bound[S] | None = None
    """None: it goes on for ever, or what it can record is limited otherwise."""
