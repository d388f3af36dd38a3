"""Actors at the place where a log's history begins: what the facts below it came to.

A stream of which some facts were given up begins with a snapshot that stands in the baseline, as
in `snapshots` and `chunks`, but is never replaced. Only streams that go on have one there: lanes,
catalogues, and the actors of runs with facts on both sides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.errors import BaselineFormUnknown
from goclaw_actors.shell import kept_of
from goclaw_events.errors import LogDamaged
from goclaw_events.ids import kind_of
from goclaw_events.snapshots import (
    HASH_BYTES,
    Manifest,
    Snapshot,
    chunk_row,
    decode_manifest,
    manifest_row,
    read_chunks,
    stream_prefix,
)
from goclaw_events.tables import u64
from goclaw_events.value import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from goclaw_actors.actor import Entity
    from goclaw_actors.decider import Decider, Raise, SnapshotForm
    from goclaw_events.journal import Baseline, Journal
    from goclaw_events.tables import Row

SECTION: Final = "snapshots"
_CHUNK: Final = b"c"
_MANIFEST: Final = b"m"
"""Behind the stream in a key; a stream's chunks come first."""


def snapshot_of(journal: Journal, partition: int, entity: Entity) -> Snapshot | None:
    """Return what an actor is where history begins; None if it begins with its first fact.

    One of an earlier form is raised to today's. Raises `LogDamaged`, `BaselineFormUnknown`.
    """
    form, baseline = entity.decider.form, journal.baseline(partition)
    if form is None or baseline is None:
        return None
    prefix = stream_prefix(partition, entity.stream)
    stored = baseline.get(SECTION, prefix + _MANIFEST)
    if stored is None:
        return None
    number, body, digest = unpack(stored)
    manifest = decode_manifest(prefix + u64(number), body + digest)
    return raised(entity.stream, form, read_chunks(_Chunks(baseline, prefix), prefix, manifest))


def raised(stream: str, form: SnapshotForm[Any], snapshot: Snapshot) -> Snapshot:
    """Return a snapshot of an earlier form in today's; raises `BaselineFormUnknown`."""
    manifest, root, maps = snapshot
    for step in _steps(stream, form, manifest.version):
        root, maps = step(root, maps)
    return Snapshot(manifest, root, maps)


def check_forms(journal: Journal, kinds: Mapping[str, Decider[Any]]) -> None:
    """See that every actor in a baseline can be read; raises `BaselineFormUnknown`, `LogDamaged`.

    Before anything goes on: an actor that cannot be read would be taken for damaged.
    """
    for partition in range(journal.partitions):
        for stream, key, stored in _manifests(journal, partition):
            number, body, digest = unpack(stored)
            prefix = key[: -len(_MANIFEST)]
            form = kinds[kind_of(stream)].form
            assert form is not None, "only what has a form is kept"
            _steps(stream, form, decode_manifest(prefix + u64(number), body + digest).version)


def _steps(stream: str, form: SnapshotForm[Any], version: int) -> list[Raise]:
    """Return what raises a snapshot of a version to that of today's form."""
    missing = [at for at in range(version, form.version) if at not in form.raises]
    if version > form.version or missing:
        msg = (
            f"{stream} is kept in form {version} where the history of the log begins, "
            f"and this version of Goclaw reads form {form.version}"
        )
        hint = "use the version of Goclaw that was used last, or a newer one"
        raise BaselineFormUnknown(msg, hint=hint, stream=stream, form=version)
    return [form.raises[at] for at in range(version, form.version)]


def seq_given_up(journal: Journal, partition: int, stream: str) -> int:
    """Return the seq of the last fact of a stream that was given up and kept as a snapshot."""
    baseline = journal.baseline(partition)
    return 0 if baseline is None else baseline.seq(stream_prefix(partition, stream)) or 0


class _Chunks:
    """The table `chunks` of a baseline, for one stream."""

    def __init__(self, baseline: Baseline, prefix: bytes) -> None:
        self._baseline = baseline
        self._prefix = prefix

    def rows(
        self, table: str, prefix: bytes = b"", stop: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Refuse: chunks are looked up by their keys."""
        msg = f"{table} of a baseline is not read row by row"
        raise LogDamaged(msg, prefix=prefix.hex(), stop=stop)

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return one chunk."""
        del table
        return self._baseline.get(SECTION, self._prefix + _CHUNK + key[len(self._prefix) :])


def standing_of(journal: Journal, partition: int, kind: str) -> Iterator[str]:
    """Yield the streams of a kind (`lane`, `catalogue`) that a partition's baseline has."""
    for stream, _, _ in _manifests(journal, partition):
        if kind_of(stream) == kind:
            yield stream


def _manifests(journal: Journal, partition: int) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield stream, key and value of every manifest that a partition's baseline has."""
    baseline = journal.baseline(partition)
    if baseline is None:
        return
    for key, stored in baseline.rows(SECTION):
        end = 4 + int.from_bytes(key[2:4], "big")
        if key[end:] == _MANIFEST:
            yield key[4:end].decode(), key, stored


def snapshot_rows(entity: Entity, partition: int, era: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the rows of an actor as it stands, in order of key."""
    prefix = stream_prefix(partition, entity.stream)
    chunks, manifest = _written(entity, prefix, era)
    for row in sorted(chunks):
        yield prefix + _CHUNK + row.key[len(prefix) :], row.value or b""
    data = manifest.value or b""
    # In parts, each of which can be read without knowing what it is: it may refer to blobs.
    parts = [entity.number, data[:-HASH_BYTES], data[-HASH_BYTES:]]
    yield prefix + _MANIFEST, pack(parts)


def _written(entity: Entity, prefix: bytes, era: int) -> tuple[list[Row], Row]:
    """Return the chunks of an actor, all of them, and its manifest."""
    form = entity.decider.form
    assert form is not None, "only what has a form is kept"
    rows, chunks = [], {}
    for at, chunked in enumerate(form.maps(entity.state)):
        for chunk_id, entries in chunked.chunks():
            row, chunk = chunk_row(prefix, (at, chunk_id), entity.number, entries)
            chunks[at, chunk_id] = chunk
            rows.append(row)
    root = pack(form.root(entity.state))
    kept = kept_of(entity)
    manifest = Manifest(entity.number, entity.seq, form.version, era, kept, root, chunks)
    return rows, manifest_row(prefix, manifest)
