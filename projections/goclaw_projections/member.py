"""A set of rows that a runner keeps up to date: the served one of a view, or one in the making."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from goclaw_events.errors import CodedError
from goclaw_projections.checkpoint import (
    START,
    Checkpoint,
    Place,
    checkpoint_key,
    reason_to_rebuild,
)
from goclaw_projections.rows import Rows
from goclaw_projections.served import SLOTS, serving_slot, slot_name

if TYPE_CHECKING:
    from goclaw_events.journal import Journal
    from goclaw_projections.baseline import Baselines
    from goclaw_projections.projection import Projection
    from goclaw_projections.store import Change, ViewStore

_log = logging.getLogger(__name__)
BASELINE_ROWS: Final = 1_000
"""So many rows of a baseline are written at once."""


@dataclass(slots=True, eq=False)
class Member:
    """The rows of one slot of a view, how far they are, and why they were given up, if they were.

    `lacks`: for each partition the number below which facts were given up before they were folded
    (0: none were). Used by one thread at a time (the runner's lock); `numbers`, `failure` and
    `lacks` may be read by any.
    """

    projection: Projection
    slot: int
    rows: Rows
    places: list[Place]
    failure: Exception | None = None
    lacks: list[int] = field(default_factory=list)

    @property
    def slot_name(self) -> str:
        """Return the first part of the keys of the rows."""
        return slot_name(self.projection.name, self.slot)

    @property
    def prefix(self) -> bytes:
        """Return what the keys of the rows begin with."""
        return f"{self.slot_name}/".encode()

    @property
    def checkpoint_key(self) -> bytes:
        """Return the key of the row that says how far the rows are."""
        return checkpoint_key(self.slot_name)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Return the last number folded of each partition."""
        return tuple(place.number for place in self.places)

    @property
    def state(self) -> str:
        """Return `running` or `failed`."""
        return "running" if self.failure is None else "failed"

    @property
    def why(self) -> tuple[str, str]:
        """Return code and message of the failure; empty where there is none."""
        return ("", "") if self.failure is None else (code_of(self.failure), str(self.failure))

    def checkpoint(self, log_id: bytes, partition: int = 0, last: Place = START) -> Change:
        """Return the row that says how far the rows are once `partition` is at `last`."""
        places = tuple(last if p == partition else place for p, place in enumerate(self.places))
        checkpoint = Checkpoint(self.projection.version, log_id, places, tuple(self.lacks))
        return self.checkpoint_key, checkpoint.packed()

    def resume(self, journal: Journal, store: ViewStore, baselines: Baselines) -> bool:
        """Go on from the checkpoint and return True, or drop the rows and return False."""
        data = store.get(self.checkpoint_key)
        found = None if data is None else Checkpoint.read(data)
        begins = [baselines.begin(partition) for partition in range(journal.partitions)]
        reason = reason_to_rebuild(journal, self.projection.version, found, begins)
        if reason is None and found is not None:
            self.places = list(found.places)
            self.lacks = list(found.lacks) or [0] * journal.partitions
            return True
        if data is not None:
            _log.info("view %s is built again: %s", self.projection.name, reason)
        self.drop(journal, store, baselines)
        return False

    def drop(self, journal: Journal, store: ViewStore, baselines: Baselines) -> None:
        """Delete the rows, and begin where the history of the log does."""
        self.rows.discard()
        self.places = [START] * journal.partitions
        self.lacks = [0] * journal.partitions
        store.write([self.checkpoint(journal.log_id)], [self.prefix])
        for partition in range(journal.partitions):
            self._begin_with_baseline(journal, store, baselines, partition)

    def _begin_with_baseline(
        self, journal: Journal, store: ViewStore, baselines: Baselines, partition: int
    ) -> None:
        """Take in what the view was where the partition's history begins.

        Where that is not there, or of another version, the view knows nothing of what was given up,
        and says so (`lacks`): nobody can tell it any more, and what came after is worth having.
        """
        begin = baselines.begin(partition)
        if begin <= 1:
            return
        name, version = self.projection.name, self.projection.version
        found = baselines.view(partition, name)
        if found is not None and found.version == version:
            self.lacks[partition] = found.lacks
            own = len(name) + 1  # a baseline has the keys of slot 0
            rows = ((self.prefix + key[own:], value) for key, value in found.rows)
            while chunk := list(islice(rows, BASELINE_ROWS)):
                store.write(chunk)
        else:
            self.lacks[partition] = begin
            has = "no rows of it" if found is None else f"rows of version {found.version}"
            _log.warning(
                "view %s (version %d) lacks what was given up below %d:%d: what was kept has %s",
                name, version, partition, begin, has,
            )  # fmt: skip
        place = Place(journal.head(partition).era, begin - 1)
        store.write([self.checkpoint(journal.log_id, partition, place)])
        self.places[partition] = place


def new_member(
    journal: Journal, store: ViewStore, projection: Projection, slot: int, cache_rows_max: int
) -> Member:
    """Return a slot of a view before anything is known of it."""
    rows = Rows(store, slot_name(projection.name, slot), cache_rows_max)
    nothing = [0] * journal.partitions
    return Member(projection, slot, rows, [START] * journal.partitions, lacks=nothing)


def open_members(
    journal: Journal,
    store: ViewStore,
    baselines: Baselines,
    projection: Projection,
    cache_rows_max: int,
) -> tuple[Member, Member | None]:
    """Return the served rows of a view, and those in the making if a rebuild was begun."""
    slot = serving_slot(store, projection.name)
    served = new_member(journal, store, projection, slot, cache_rows_max)
    other = new_member(journal, store, projection, SLOTS - 1 - slot, cache_rows_max)
    begun = store.get(other.checkpoint_key) is not None
    if served.resume(journal, store, baselines):
        if begun:
            other.resume(journal, store, baselines)
            return served, other
    elif begun:  # what is served is made anew anyhow
        store.write([(other.checkpoint_key, None)], [other.prefix])
    return served, None


def code_of(error: Exception) -> str:
    """Return the code under which an error is reported."""
    return error.code if isinstance(error, CodedError) else "internal_bug"
