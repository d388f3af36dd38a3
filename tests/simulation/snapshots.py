"""What snapshots hold: the state at their position, and with the facts after it the state now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.actor import Entity
from goclaw_actors.rebuild import begin, find_snapshots, fold_durable
from goclaw_actors.recent import RecentFrames
from goclaw_events.ids import kind_of, partition_of
from tests.actors.shadow import NoTurns

if TYPE_CHECKING:
    from tests.simulation.world import World


def check_snapshots(world: World) -> None:
    """Compare every snapshot of the log with the facts up to it, and what it leads to with all."""
    world.history.update(world.journal)
    streams = {key[4:-8].decode() for key, _ in world.journal.rows("snapshots")}
    for stream in sorted(streams):
        partition = partition_of(stream, world.options.partitions)
        decider = world.kinds[kind_of(stream)]
        full = Entity(stream, decider, NoTurns())
        begin(full, ())
        fold_durable(full, world.journal, partition, RecentFrames())
        reader = Entity(stream, decider, NoTurns())
        for snapshot in find_snapshots(reader, world.journal, partition):
            entity = Entity(stream, decider, NoTurns())
            begin(entity, [snapshot])
            assert entity.base is not None, f"a snapshot of {stream} cannot be restored"
            state = decider.initial(stream)
            for entry in world.history.streams[stream][: entity.seq]:
                state = decider.evolve(state, entry.decoded)
            assert decider.encode(entity.state) == decider.encode(state), f"{stream} then"
            fold_durable(entity, world.journal, partition, RecentFrames())
            assert _shell(entity) == _shell(full), f"{stream} from its snapshot"
            world.note("snapshot compared")
        if any(held.seq == 0 for held in reader.held):
            world.note("snapshot begun and not finished")


def _shell(entity: Entity) -> Any:
    replies = list((entity.replies or {}).items())
    return entity.seq, entity.number, entity.decider.encode(entity.state), replies
