"""The live actors of a partition: a cache of the log, bounded, least recently used first out."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, Any

from goclaw_actors.actor import Entity, Turns
from goclaw_actors.catalogue import CATALOGUE
from goclaw_actors.collector import collector_decider
from goclaw_actors.lane import LANE
from goclaw_actors.saga import saga_decider
from goclaw_actors.schedule import schedule_decider
from goclaw_actors.task import task_decider
from goclaw_actors.unique import UNIQUE
from goclaw_actors.workflow import workflow_decider
from goclaw_events.ids import kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw_actors.contents import Contents
    from goclaw_actors.decider import Decider


def deciders(contents: Contents) -> dict[str, Decider[Any]]:
    """Return the decider of each kind of stream."""
    return {
        "workflow": workflow_decider(contents),
        "task": task_decider(contents),
        "lane": LANE,
        "unique": UNIQUE,
        "catalogue": CATALOGUE,
        "saga": saga_decider(contents),
        "collector": collector_decider(contents),
        "schedule": schedule_decider(contents),
    }


class Directory:
    """Activate on the first message, passivate when final or over `live_max`.

    Actors never enter pykka's global registry: leaving it costs up to 432 µs an actor.
    """

    def __init__(self, kinds: Mapping[str, Decider[Any]], turns: Turns, live_max: int) -> None:
        self.kinds = kinds
        self._turns = turns
        self._live_max = live_max
        self.live: OrderedDict[str, Entity] = OrderedDict()

    def entity(self, stream: str) -> Entity:
        """Return the live actor of a stream; an actor that was not live loads when told."""
        entity = self.live.get(stream)
        if entity is None:
            entity = Entity(stream, self.kinds[kind_of(stream)], self._turns)
            self.live[stream] = entity
        return entity

    def knows(self, stream: str) -> bool:
        """Tell whether a stream is of a kind that has a decider."""
        return kind_of(stream) in self.kinds

    def drop(self, entity: Entity) -> None:
        """Stop an actor; its stream can activate another one."""
        entity.stopped = True
        del self.live[entity.stream]

    def release(self, entity: Entity) -> None:
        """Drop an actor that was activated for a look, unless it has got something to do."""
        if self.live.get(entity.stream) is entity and not entity.waiting:
            self.drop(entity)

    def clear(self) -> None:
        """Drop every actor, with what waits in their inboxes."""
        for entity in list(self.live.values()):
            self.drop(entity)

    def passivate(self, touched: list[Entity], durable: int) -> None:
        """Drop what is final, and the longest idle ones over the limit, if durable and idle.

        Those `touched`, by a batch that is durable, are the last that were used.
        """
        live = self.live
        for entity in touched:
            if live.get(entity.stream) is not entity:
                continue
            if (
                entity.number <= durable
                and not entity.waiting
                and entity.state is not None  # a later turn of the batch may have failed
                and entity.decider.is_final(entity.state)
            ):
                self.drop(entity)
            else:
                live.move_to_end(entity.stream)
        excess = len(live) - self._live_max
        if excess > 0:
            idle = (
                entity
                for entity in list(islice(live.values(), 2 * excess))
                if entity.number <= durable and not entity.waiting
            )
            for entity in islice(idle, excess):
                self.drop(entity)
