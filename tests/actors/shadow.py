"""A shadow replayer: what is live and what snapshots hold, beside what the facts alone give."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from goclaw_actors.actor import Entity
from goclaw_actors.archived import archived_run
from goclaw_actors.contents import StoredContents
from goclaw_actors.directory import deciders
from goclaw_actors.rebuild import begin, find_snapshots, first_state, fold_durable
from goclaw_actors.recent import RecentFrames
from goclaw_events.codec import FACTS
from goclaw_events.ids import kind_of, partition_of
from goclaw_events.replay import stream_turns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from goclaw_actors.decider import Decider
    from goclaw_actors.message import Message
    from goclaw_actors.node import Node
    from goclaw_events.journal import Journal


class NoTurns:
    """What an actor is made with that is only loaded."""

    def __init__(self) -> None:
        self.ready: deque[Entity] = deque()
        self.later: deque[Entity] = deque()

    def handle(self, entity: Entity, message: Message) -> None:
        """Refuse: nothing is handled here."""
        raise AssertionError((entity.stream, message.body))


def known_streams(journal: Journal, partition: int) -> list[str]:
    """Return the streams that have a decider."""
    names = [name for name in journal.streams(partition) if not name.startswith("$")]
    return [name for name in names if kind_of(name) in ("workflow", "task", "lane", "unique")]


def folded(decider: Decider[Any], journal: Journal, stream: str, seq: int = 1 << 62) -> Any:
    """Return what the facts of a stream up to `seq` give, as plain data.

    Those that were given up are what the baseline says.
    """
    partition = partition_of(stream, journal.partitions)
    first = first_state(journal, partition, Entity(stream, decider, NoTurns()))
    for turn in stream_turns(journal, stream, first.seq + 1):
        for fact in turn.facts:
            if fact.seq <= seq:
                decider.evolve(first.state, FACTS.decode(fact.type, fact.version, fact.data))
    return decider.encode(first.state)


def check_snapshots(journal: Journal, partition: int, streams: Iterable[str] | None = None) -> int:
    """Compare each snapshot with its facts, and with those after it; return how many there are."""
    kinds, count = deciders(StoredContents(journal)), 0
    for stream in known_streams(journal, partition) if streams is None else streams:
        decider = kinds[kind_of(stream)]
        full = first_state(journal, partition, Entity(stream, decider, NoTurns()))
        fold_durable(full, journal, partition, RecentFrames())
        for snapshot in find_snapshots(Entity(stream, decider, NoTurns()), journal, partition):
            count += 1
            entity = Entity(stream, decider, NoTurns())
            begin(entity, [snapshot])
            assert entity.base is not None, f"{stream} cannot be restored"
            then = folded(decider, journal, stream, entity.seq)
            assert decider.encode(entity.state) == then, f"{stream} at {entity.seq}"
            fold_durable(entity, journal, partition, RecentFrames())
            assert (entity.seq, entity.number) == (full.seq, full.number)
            assert decider.bound is None or entity.size == full.size, f"{stream}: its bytes"
            assert decider.encode(entity.state) == decider.encode(full.state), stream
            assert list((entity.replies or {}).items()) == list((full.replies or {}).items())
    return count


def check_node(node: Node, journal: Journal) -> tuple[int, int]:
    """Compare a node's live actors and its snapshots with full replay; return how many of each."""
    live = snapshots = 0
    for dispatcher in node.dispatchers:
        partition = dispatcher.partition
        for entity in dispatcher.turns.directory.live.values():
            if entity.state is None or entity.number > journal.durable(partition):
                continue
            if journal.history(partition) > 1 and archived_run(journal, partition, entity.stream):
                continue  # what it was made from may be gone
            facts = folded(entity.decider, journal, entity.stream)
            assert entity.decider.encode(entity.state) == facts, f"{entity.stream} differs"
            live += 1
        snapshots += check_snapshots(journal, partition)
    return live, snapshots
