"""Write actors away between two batches, a little at a time, so that restarting stays short.

A snapshot belongs to the position at which its state was fixed, between two batches; it may take
several batches to write, while the actor goes on. Its rows ride in the writes of those batches.
Until its manifest is written nothing reads it: a crash or a failed commit leaves the one before.
"""

from __future__ import annotations

from logging import getLogger
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_actors.shell import kept_of
from goclaw_events.errors import LogDamaged
from goclaw_events.snapshots import (
    Chunk,
    Manifest,
    begun_row,
    chunk_key,
    chunk_row,
    manifest_row,
    stream_prefix,
)
from goclaw_events.tables import Row, u64
from goclaw_events.value import pack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from goclaw_actors.actor import Entity
    from goclaw_actors.chunked import Chunked
    from goclaw_actors.decider import SnapshotForm
    from goclaw_actors.env import Clock
    from goclaw_actors.ports import Limits
    from goclaw_actors.required import Required
    from goclaw_events.journal import Journal
    from goclaw_events.snapshots import Place

log = getLogger(__name__)
NEVER: Final = 1 << 62


class Held(NamedTuple):
    """A snapshot of a stream that is in the log; `chunks` None: it cannot be read."""

    number: int
    seq: int
    chunks: Mapping[Place, Chunk] | None


class Snapshotter:
    """Take the snapshots of one partition's actors; all methods run on the dispatcher's thread.

    Those that are due by their count of facts come first, then those that are `required`.
    """

    def __init__(
        self, partition: int, journal: Journal, clock: Clock, limits: Limits, required: Required
    ) -> None:
        self.required = required
        self._partition = partition
        self._journal = journal
        self._clock = clock
        self._limits = limits
        self._due: dict[str, Entity] = {}
        self._writing: _Writing | None = None

    @property
    def waiting(self) -> int:
        """Return how many snapshots are due or being written."""
        return len(self._due) + (self._writing is not None)

    def want(self, entity: Entity) -> None:
        """Have a snapshot of an actor taken soon; until then it does not ask again."""
        entity.snapshot_due = NEVER
        if entity.decider.form is not None:
            self._due[entity.stream] = entity

    def forget(self) -> None:
        """Give up what was due and begun: the batches that held it were abandoned."""
        self._due.clear()
        self._writing = None

    def rows(self, era: int) -> list[Row]:
        """Return what rides in the write of the batch just decided, after its last turn.

        Encodes until `snapshot_time_s` is over (the last chunk may end a little later).
        """
        if not self._due and self._writing is None and not self.required:
            return []
        end_ns = self._clock.now_ns() + int(self._limits.snapshot_time_s * 1e9)
        chunks_left = self._limits.snapshot_chunks_max
        rows: list[Row] = []
        while (entity := self._next(rows, end_ns)) is not None:
            mark = len(rows)
            try:
                writing = self._writing = self._writing or self._begin(entity, era)
                while writing.write_chunk(rows):
                    chunks_left -= 1
                    if chunks_left <= 0 or self._clock.now_ns() >= end_ns:
                        writing.begin(rows)
                        return rows
                rows += self._finish(writing)
            except Exception:
                # The actor goes on without: its facts are all that is needed.
                log.exception("no snapshot can be made of %s", entity.stream)
                del rows[mark:]
                self._give_up(rows)
            if self._clock.now_ns() >= end_ns:
                break
        return rows

    def _next(self, rows: list[Row], end_ns: int) -> Entity | None:
        """Return whose snapshot is being written, or the next actor that is due one."""
        if self._writing is not None:
            if self._writing.is_current():
                return self._writing.entity
            self._give_up(rows)
        while self._due:
            entity = self._due.pop(next(iter(self._due)))
            state = entity.state
            if not (_is_gone(entity, state) or entity.decider.is_final(state)):
                return entity
        return self.required.next(lambda: self._clock.now_ns() >= end_ns)

    def _begin(self, entity: Entity, era: int) -> _Writing:
        form = entity.decider.form
        assert form is not None, "an actor without a form is never due"
        return _Writing(entity, stream_prefix(self._partition, entity.stream), form, era)

    def _give_up(self, rows: list[Row]) -> None:
        """Forget the snapshot being written, and take away what earlier writes hold of it."""
        if self._writing is not None:
            rows += self._writing.debris()
            self._writing = None

    def _finish(self, writing: _Writing) -> list[Row]:
        """Return the manifest's row, and take away what it makes superfluous.

        Two snapshots are kept: the new one and the one that it builds upon.
        """
        entity, manifest = writing.entity, writing.manifest()
        held = Held(manifest.number, manifest.seq, manifest.chunks)
        kept = [held] if entity.base is None else [entity.base, held]
        dropped = [old for old in entity.held if old not in kept]
        rows = [manifest_row(writing.prefix, manifest)]
        if dropped:
            rows += self._deleted(writing.prefix, dropped, kept)
        # Nothing fails from here on: what comes next builds upon rows that will be written.
        self._writing = None
        entity.base, entity.held = held, kept
        entity.snapshot_due = manifest.seq + self._limits.snapshot_every_facts
        return rows

    def _deleted(self, prefix: bytes, dropped: Sequence[Held], kept: Sequence[Held]) -> list[Row]:
        named = [held.chunks or {} for held in kept]
        numbers = {held.number for held in kept}
        rows = [
            Row("snapshots", prefix + u64(held.number), None)
            for held in dropped
            if held.number not in numbers
        ]
        for held in dropped:
            rows += _unnamed(prefix, held.chunks or {}, named)
        if any(held.chunks is None for held in dropped):
            keys = {
                chunk_key(prefix, place, chunk.number)
                for chunks in named
                for place, chunk in chunks.items()
            }
            rows += [Row("chunks", key, None) for key in self._stored(prefix) if key not in keys]
        return rows

    def _stored(self, prefix: bytes) -> list[bytes]:
        """Return the keys of a stream's chunks, as far as they can be read."""
        found = []
        try:
            for key, _ in self._journal.rows("chunks", prefix):
                found.append(key)
        except LogDamaged as error:
            log.warning("chunks that nothing needs may stay: %s", error)
        return found


class _Writing:
    """One snapshot being written: the state as it was fixed, and what of it is written."""

    def __init__(self, entity: Entity, prefix: bytes, form: SnapshotForm[Any], era: int) -> None:
        self.entity = entity
        self.prefix = prefix
        self._state = state = entity.state
        self._era = era
        self._number, self._seq, self._version = entity.number, entity.seq, form.version
        self._shell = kept_of(entity)
        self._root = pack(form.root(state))
        self._maps: Sequence[Chunked[Any]] = form.maps(state)
        self._places = [
            (at, chunk) for at, chunked in enumerate(self._maps) for chunk in chunked.freeze()
        ]
        base = entity.base
        self._chunks = dict(base.chunks or {}) if base is not None else {}
        self._at = 0
        self._begun = False

    def is_current(self) -> bool:
        """Tell whether the actor is still the one that is being written."""
        return not _is_gone(self.entity, self._state)

    def write_chunk(self, rows: list[Row]) -> bool:
        """Encode the next chunk into `rows`; False if none is left."""
        while self._at < len(self._maps):
            taken = self._maps[self._at].take()
            if taken is not None:
                place = (self._at, taken[0])
                if taken[1] is None:
                    self._chunks.pop(place, None)
                else:
                    row, chunk = chunk_row(self.prefix, place, self._number, taken[1])
                    self._chunks[place] = chunk
                    rows.append(row)
                return True
            self._at += 1
        return False

    def begin(self, rows: list[Row]) -> None:
        """Say which chunks will be written, if it takes more than one batch: none is left over."""
        if not self._begun:
            self._begun = True
            rows.append(begun_row(self.prefix, self._number, self._places))

    def manifest(self) -> Manifest:
        """Return the manifest, once every chunk is written."""
        return Manifest(
            self._number,
            self._seq,
            self._version,
            self._era,
            self._shell,
            self._root,
            self._chunks,
        )

    def debris(self) -> list[Row]:
        """Return what takes away what earlier batches wrote of a snapshot that is given up."""
        if not self._begun:
            return []
        chunks = dict.fromkeys(self._places, Chunk(self._number, b""))
        rows = [Row("snapshots", self.prefix + u64(self._number), None)]
        return rows + _unnamed(self.prefix, chunks, ())


def _is_gone(entity: Entity, state: Any) -> bool:
    return state is None or entity.state is not state or entity.actor_stopped.is_set()


def _unnamed(
    prefix: bytes, chunks: Mapping[Place, Chunk], named: Sequence[Mapping[Place, Chunk]]
) -> list[Row]:
    """Return what deletes the chunks that no other snapshot names."""
    return [
        Row("chunks", chunk_key(prefix, place, number), None)
        for place, (number, _) in chunks.items()
        if not any(place in others and others[place].number == number for others in named)
    ]
