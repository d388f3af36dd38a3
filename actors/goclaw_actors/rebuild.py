"""Rebuild an actor: a snapshot, what is durable after it, then what is on its way to the disk."""

from __future__ import annotations

from collections import deque
from itertools import islice
from logging import getLogger
from typing import TYPE_CHECKING, Any

from goclaw_actors.actor import Entity
from goclaw_actors.baseline import seq_given_up, snapshot_of
from goclaw_actors.errors import StreamBroken
from goclaw_actors.recent import RecentFrames
from goclaw_actors.replies import fold_reply
from goclaw_actors.shell import keep
from goclaw_actors.snapshotter import Held
from goclaw_events.codec import FACTS
from goclaw_events.envelope import Cause, Fact
from goclaw_events.frame import read_turns
from goclaw_events.ids import kind_of
from goclaw_events.replay import StreamTurn, stream_turns
from goclaw_events.snapshots import read_manifests, usable
from goclaw_events.value import unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from goclaw_actors.decider import Decider
    from goclaw_actors.message import Message
    from goclaw_events.errors import CodedError
    from goclaw_events.framing import FrameBuilder
    from goclaw_events.journal import Journal
    from goclaw_events.snapshots import Snapshot

log = getLogger(__name__)


def load(
    entity: Entity,
    journal: Journal,
    partition: int,
    in_flight: Sequence[bytes],
    builder: FrameBuilder | None,
    time_ns: int,
    recent: RecentFrames | None = None,
) -> None:
    """Bring state, seq, position and remembered replies of a shell to where its stream stands.

    Begins with the newest snapshot that can be read, or with the stream's first fact.
    `in_flight` are the frames not yet durable, `builder` the batch being decided: those that hold
    facts of the stream. A frame that became durable meanwhile is met twice; its turns count
    once, by their sequence numbers.
    """
    begin(entity, find_snapshots(entity, journal, partition))
    recent = RecentFrames() if recent is None else recent
    fold_durable(entity, journal, partition, recent)
    for data in in_flight:
        for turn in recent.turns(data, entity.stream, 0):
            fold_turn(entity, turn)
    if builder is not None:
        for turn in _open_turns(builder, entity.stream, time_ns):
            fold_turn(entity, turn)


def find_snapshots(entity: Entity, journal: Journal, partition: int) -> Iterator[Snapshot]:
    """Note what snapshots the log has of an actor; yield those it may begin with, newest first.

    One that is damaged is passed over, with a warning.
    """
    form = entity.decider.form
    if form is None:
        return
    manifests = read_manifests(journal, partition, entity.stream, _warn)
    entity.held = [
        Held(number, manifest.seq if manifest else 0, manifest.chunks if manifest else None)
        for number, manifest in manifests
    ]
    gone = seq_given_up(journal, partition, entity.stream)
    for snapshot in usable(journal, partition, entity.stream, manifests, form.version, _warn):
        if snapshot.manifest.seq >= gone:  # otherwise facts behind it are gone too
            yield snapshot
    first = snapshot_of(journal, partition, entity)
    if first is not None:
        yield first


def _warn(error: CodedError) -> None:
    log.warning("%s", error.message, extra={"code": error.code})


def begin(entity: Entity, snapshots: Iterable[Snapshot]) -> None:
    """Put an actor where the first snapshot that can be restored left it, or at its beginning."""
    entity.seq = entity.number = entity.size = 0
    entity.replies = entity.base = entity.grown = None
    entity.held = ()
    form = entity.decider.form
    for snapshot in snapshots:
        manifest = snapshot.manifest
        assert form is not None, "without a form no snapshot is looked for"
        try:
            state = form.restore(entity.stream, snapshot.root, snapshot.maps)
            keep(entity, manifest.shell)
        except Exception as error:  # noqa: BLE001 - the facts are there, whatever the snapshot is
            number = manifest.number
            log.warning("the snapshot of %s at %d is of no use: %r", entity.stream, number, error)
            continue
        entity.state, entity.seq, entity.number = state, manifest.seq, manifest.number
        entity.base = Held(manifest.number, manifest.seq, manifest.chunks)
        return
    entity.state = entity.decider.initial(entity.stream)


def fold_durable(entity: Entity, journal: Journal, partition: int, recent: RecentFrames) -> None:
    """Fold what is durable of the stream behind the point where the actor stands."""
    stream = entity.stream
    frames = journal.stream_frames(partition, stream, entity.seq + 1)
    for at, (_, data) in enumerate(frames):
        for turn in recent.turns(data, stream, at):
            fold_turn(entity, turn)


def fold_turn(entity: Entity, turn: StreamTurn) -> None:
    """Apply a turn of the stream, unless the actor has it; raises `StreamBroken` at a gap."""
    facts = turn.facts
    if facts[-1].seq <= entity.seq:
        return
    if facts[0].seq != entity.seq + 1:
        msg = f"stream {entity.stream} jumps from fact {entity.seq} to {facts[0].seq}"
        raise StreamBroken(msg, stream=entity.stream, seq=entity.seq)
    for fact in facts:
        entity.decider.evolve(entity.state, FACTS.decode(fact.type, fact.version, fact.data))
    entity.seq = facts[-1].seq
    entity.number = turn.number + len(facts) - 1
    entity.size += turn.size
    fold_reply(entity, turn.cause, turn.time_ns)


def _open_turns(builder: FrameBuilder, stream: str, time_ns: int) -> Iterator[StreamTurn]:
    number = builder.first
    for data in builder.turns:
        cause, *facts = unpack(data)
        decoded = [Fact(*fact) for fact in facts]
        if decoded[0].stream == stream:
            yield StreamTurn(number, time_ns, Cause(*cause), decoded, len(data))
        number += len(decoded)


def actor_at(
    journal: Journal,
    kinds: Mapping[str, Decider[Any]],
    partition: int,
    stream: str,
    below: int | None = None,
) -> Entity:
    """Return an actor as the facts numbered below `below` (None: all durable ones) leave it.

    No snapshot of the log is used but the one that history begins with.
    """
    entity = Entity(stream, kinds[kind_of(stream)], Unheard())
    first_state(journal, partition, entity)
    for turn in stream_turns(journal, stream, entity.seq + 1, partition):
        if below is not None and turn.number >= below:
            break
        fold_turn(entity, turn)
    return entity


def first_state(journal: Journal, partition: int, entity: Entity) -> Entity:
    """Put an actor where its history begins: at the baseline's snapshot, or before its first fact.

    Returns it. Raises `LogDamaged`.
    """
    found = snapshot_of(journal, partition, entity)
    begin(entity, () if found is None else (found,))
    return entity


class Unheard:
    """What an actor is made with that is only loaded, never told anything."""

    def __init__(self) -> None:
        self.ready: deque[Entity] = deque()
        self.later: deque[Entity] = deque()

    def handle(self, entity: Entity, message: Message) -> None:
        """Refuse: nothing is handled here."""
        raise AssertionError((entity.stream, message.body))


def fold(decider: Decider[Any], stream: str, turns: Iterable[StreamTurn]) -> Any:
    """Return the state that the turns of a stream fold to: replay, without a shell."""
    state = decider.initial(stream)
    for turn in turns:
        for fact in turn.facts:
            state = decider.evolve(state, FACTS.decode(fact.type, fact.version, fact.data))
    return state


class Folded:
    """A stream being replayed: its state, and the sequence number of the fact folded last."""

    __slots__ = ("evolve", "seq", "state")

    def __init__(self, state: Any, evolve: Callable[[Any, Any], Any]) -> None:
        self.state = state
        self.evolve = evolve
        self.seq = 0


def fold_frames(
    frames: Iterable[bytes],
    kinds: Mapping[str, Decider[Any]],
    first_state: Callable[[str, Decider[Any]], Any],
    wanted: Callable[[str], bool] = lambda _: True,
) -> dict[str, Folded]:
    """Return what every stream that is wanted, and has a decider, folds to: full replay.

    `frames` in order, their hashes compared by who reads them. `first_state` gives what a stream
    is before its first fact here.
    """
    folded: dict[str, Folded | None] = {}
    decode, skipped = FACTS.decode, object()
    for data in frames:
        for turn in read_turns(data):
            for stream, seq, name, version, fields in islice(turn, 1, None):
                held: Any = folded.get(stream, skipped)
                if held is skipped:
                    kind = kinds.get(kind_of(stream)) if wanted(stream) else None
                    held = folded[stream] = (
                        None if kind is None else Folded(first_state(stream, kind), kind.evolve)
                    )
                if held is not None:
                    held.state = held.evolve(held.state, decode(name, version, fields))
                    held.seq = seq
    return {stream: held for stream, held in folded.items() if held is not None}
