"""A flipped bit in a durable record: noticed at the next open or read, and never served.

An excursion: it happens to a copy of the disk, with a node of its own, and the world goes on
without it. Half of the flips are such as the checksums of the storage see (any record); the
others are not, so the log's own hashes must see them (frames, blobs, snapshots).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_actors.actor import Entity
from goclaw_actors.contents import StoredContents
from goclaw_actors.directory import deciders
from goclaw_actors.env import Identity, SystemClock
from goclaw_actors.message import Message
from goclaw_actors.messages import CancelRun
from goclaw_actors.node import Node
from goclaw_actors.ports import Limits, Ports
from goclaw_actors.rebuild import fold, load
from goclaw_events.errors import CodedError, LogDamaged
from goclaw_events.ids import PARTITION_STREAM, kind_of, partition_of, workflow_stream
from goclaw_events.memory_journal import MemoryRows
from goclaw_events.replay import stream_turns
from goclaw_events.snapshots import BEGUN, chunk_key, decode_manifest
from goclaw_events.tables import Row
from goclaw_events.verify import verify
from tests.actors.shadow import NoTurns
from tests.simulation.disk import SimDisk
from tests.simulation.executor import SimExecutor
from tests.simulation.failpoints import Failpoints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from tests.simulation.world import World

TABLES = (
    "log", "log", "streams", "blobs", "snapshots", "chunks", "timers", "attempts", "inbox",
    "outbox", "open", "meta",
)  # fmt: skip
HASHED = ("log", "log", "blobs", "snapshots", "chunks")
EXCURSION_STEPS = 30


class DamagedRows(MemoryRows):
    """Rows of which one is damaged; with `seen` the storage's own checksum tells, when read."""

    def __init__(self, rows: MemoryRows, table: str, key: bytes, seen: bool) -> None:
        copied = rows.copy()
        self._tables, self._keys, self._lock = copied._tables, copied._keys, copied._lock
        self._bad = (table, key) if seen else ("", b"")

    def _check(self, table: str, key: bytes) -> None:
        if (table, key) == self._bad:
            raise LogDamaged(f"a block of table {table} does not match its checksum")

    def scan(self, table: str, start: bytes, stop: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Yield rows up to the damaged one."""
        for key, value in super().scan(table, start, stop):
            self._check(table, key)
            yield key, value

    def floor(self, table: str, key: bytes) -> tuple[bytes, bytes] | None:
        """Return the last row up to a key."""
        found = super().floor(table, key)
        if found is not None:
            self._check(table, found[0])
        return found

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return a row's value."""
        self._check(table, key)
        return super().get(table, key)


def flip_a_bit(world: World) -> None:
    """Damage one record of a copy of the disk, then use the copy."""
    if not world.journal.at_rest:
        return
    rng = world.rng
    seen = rng.random() < 0.5
    table = rng.choice(TABLES if seen else HASHED)
    keys = world.journal._rows._keys[table]
    keys = [key for key in keys if world.journal._rows._tables[table][key]]
    if table == "chunks" and not seen:
        named = _chunks_named(world.journal)  # of the others nothing tells what they should be
        keys = [key for key in keys if key in named]
    if not keys:
        return
    key = rng.choice(keys)
    rows = DamagedRows(world.journal._rows, table, key, seen)
    value = bytearray(rows._tables[table][key])
    value[rng.randrange(len(value))] ^= 1 << rng.randrange(8)
    rows.write([Row(table, key, bytes(value))])
    world.note(f"flipped bit in {table}", "seen by the storage" if seen else "")
    try:
        disk = SimDisk(world.options.partitions, world.journal.log_id, None, rows)
    except LogDamaged:
        world.note("flipped bit: refused at open")
        return
    world.history.update(world.journal)
    report = verify(disk)
    assert not report.whole, f"verify does not see the flipped bit in {table}"
    refused = _fold_everything(world, disk, snapshots=False)
    if table == "log":
        assert refused, f"a flipped bit in the frame at {key.hex()} is in no stream that is read"
    refused = _fold_everything(world, disk, snapshots=True)
    if table in ("snapshots", "chunks") and not refused:
        world.note("damaged snapshot passed over")
    if refused:
        world.note("flipped bit: refused when read", len(refused))
    _go_on(world, disk, refused)


def _chunks_named(disk: SimDisk) -> set[bytes]:
    """Return the keys of the chunks that snapshots name with their hash: those that are whole."""
    named = set()
    for key, data in disk._rows._tables["snapshots"].items():
        manifest = decode_manifest(key, data)
        if manifest.seq != BEGUN:
            for place, chunk in manifest.chunks.items():
                named.add(chunk_key(key[:-8], place, chunk.number))
    return named


def _fold_everything(world: World, disk: SimDisk, *, snapshots: bool) -> set[str]:
    """Fold every stream of the damaged log: it is as it was, or refused. Return the refused.

    From the facts alone, or as an actor is activated, with `snapshots`.
    """
    kinds = deciders(StoredContents(disk))
    refused = set()
    for stream, entries in world.history.streams.items():
        name, _, partition = stream.partition("/")
        try:
            if name == PARTITION_STREAM:
                turns = stream_turns(disk, name, partition=int(partition))
                facts = [fact for turn in turns for fact in turn.facts]
                assert facts == [entry.fact for entry in entries], f"{stream} was read wrong"
                continue
            decider = kinds[kind_of(stream)]
            if snapshots:
                entity = Entity(stream, decider, NoTurns())
                load(entity, disk, partition_of(stream, disk.partitions), (), None, 0)
                state = entity.state
            else:
                state = fold(decider, stream, stream_turns(disk, stream))
            found = decider.encode(state)
        except CodedError:
            refused.add(stream)
            continue
        whole = decider.initial(stream)
        for entry in entries:
            whole = decider.evolve(whole, entry.decoded)
        assert found == decider.encode(whole), f"{stream} was read wrong and not refused"
    return refused


def _go_on(world: World, disk: SimDisk, refused: set[str]) -> None:
    """Run a node on the damaged log: what it cannot read it does not go on with."""
    points = Failpoints()
    contents = StoredContents(disk)
    posts: list[tuple[Callable[[Any], None], Any]] = []
    before = set(disk._rows._keys["streams"])
    ports = Ports(
        disk,
        SimExecutor(disk, points, {}),
        SystemClock(wall=world.time.wall, monotonic=world.time.monotonic),
        Identity("sim", "excursion"),
        deciders(contents),
        "sim",
        lambda function, argument: posts.append((function, argument)),
        lambda _ended, _position: None,
        lambda _partition, _frame: None,
        contents,
    )
    node = Node(ports, Limits())
    try:
        node.open()
        for run_id in world.clients.submitted:
            node.accept(Message(workflow_stream(run_id), CancelRun("sim", "sim")))
        for _ in range(EXCURSION_STEPS):
            node.run_once()
            disk.commit()
            while posts:
                function, argument = posts.pop(0)
                function(argument)
    except CodedError as error:
        world.note("flipped bit: the node stops", error.code)
    new = set(disk._rows._keys["streams"]) - before
    went_on = refused & {key[4:-8].decode() for key in new}
    assert not went_on, f"{went_on} cannot be read, and went on"
