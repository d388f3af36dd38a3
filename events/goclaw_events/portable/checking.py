"""Read a portable file from end to end before anything of it is believed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final

from goclaw_events.chain import Chain
from goclaw_events.codec import FACTS
from goclaw_events.envelope import Cause, Fact, Turn
from goclaw_events.errors import LogDamaged
from goclaw_events.facts import StreamPoisoned
from goclaw_events.frame import HASH_BYTES, decode_frame, hash_of, read_header
from goclaw_events.output import read_chunk
from goclaw_events.portable.digest import LogDigest
from goclaw_events.portable.export import values_of
from goclaw_events.portable.file import read_portable
from goclaw_events.tables import counter_key, derive, open_key, timer_of
from goclaw_events.tips import PARTITIONS_MAX
from goclaw_events.value import references, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable

    from goclaw_events.envelope import TimerRow

_WAITING: Final = ("attempts", "inbox", "outbox", "open")
"""Tables whose rows say that something is to be gone on with, and where."""
_TIMERS: Final = "timers"
_POISONED: Final = FACTS.names[StreamPoisoned].name
_PARTITION_BYTES: Final = 2
_HINT: Final = "export the log again, or take another copy of the file"


@dataclass(slots=True)
class Manifest:
    """What a portable file was found to hold, all of it compared.

    `ends` are (era, last number, hash) by partition, of a whole log; `eras` the first number of
    each (partition, era) that a frame began. `chunks` counts those of output. `waiting` names what
    is to be gone on with ('': nothing); `timers` are those that are set: where nothing waits, of
    what is idle until then, as a schedule is.
    """

    log_id: bytes
    partitions: int
    run: str | None
    version: str
    facts: int = 0
    blobs: int = 0
    chunks: int = 0
    digest: bytes = b""
    ends: list[tuple[int, int, bytes]] = field(default_factory=list)
    eras: dict[tuple[int, int], int] = field(default_factory=dict)
    waiting: str = ""
    timers: list[TimerRow] = field(default_factory=list)


def check_portable(file: IO[bytes]) -> Manifest:
    """Read and compare everything: hashes, chains, numbers, references, digest.

    Raises `ExportInvalid`, `LogDamaged`. Memory grows by 100 bytes a blob, and with what is
    unfinished.
    """
    records = read_portable(file)
    (head,) = next(records)
    try:
        manifest = Manifest(head["log_id"], head["partitions"], head["run"], head["version"])
        check = _Check(manifest)
        for record in records:
            check.take(*record)
        check.finish()
    except (KeyError, TypeError, ValueError, IndexError) as error:
        msg = f"the export has a value of another shape: {type(error).__name__} {error}"
        raise LogDamaged(msg, hint=_HINT) from error
    if manifest.run is not None and not head["finished"]:
        manifest.waiting = f"run {manifest.run} has not ended"
    return manifest


def turn_of(data: bytes) -> Turn:
    """Read the turn of a run's export."""
    cause, *facts = unpack(data)
    message, *rest = cause
    named = Cause(None if message is None else tuple(message), *rest)
    return Turn(named, [Fact(*fact) for fact in facts])


class _Check:
    """One reading of a portable file."""

    def __init__(self, manifest: Manifest) -> None:
        if not 1 <= manifest.partitions <= PARTITIONS_MAX or len(manifest.log_id) != HASH_BYTES:
            msg = f"a log of {manifest.partitions} partitions"
            raise ValueError(msg)
        self._manifest = manifest
        self._chains = [Chain(partition, 1) for partition in range(manifest.partitions)]
        self._hashes = [bytes(16)] * manifest.partitions
        self._eras = [0] * manifest.partitions
        self._digest = LogDigest()
        self._blobs: set[bytes] = set()
        self._live: dict[tuple[str, bytes], bytes] = {}
        self._seqs: dict[str, int] = {}
        self._given_up: set[bytes] = set()
        self._end: dict[str, Any] | None = None

    def take(self, kind: str, *values: Any) -> None:
        """Take one value in."""
        if self._end is not None:
            msg = "the export goes on behind its end"
            raise LogDamaged(msg, hint=_HINT)
        match kind, values:
            case "frame", (bytes(data),):
                self._frame(data)
            case "turn", (int(), int(), int(), bytes(data)):
                self._turn(turn_of(data))
            case "blob", (bytes(sha256), bytes(data)):
                if hashlib.sha256(data).digest() != sha256:
                    msg = f"blob {sha256.hex()} does not match its hash"
                    raise LogDamaged(msg, hint=_HINT)
                self._blobs.add(sha256)
            case "output", (bytes(key), bytes(value)):
                self._chunk(key, value)
            case "end", (dict(end),):
                self._end = end
            case _:
                msg = f"the export holds a {kind!r}, which this version does not know"
                raise LogDamaged(msg, hint=_HINT)

    def _chunk(self, key: bytes, value: bytes) -> None:
        chunk = read_chunk(bytes(_PARTITION_BYTES) + key, value)
        if self._manifest.run not in (None, chunk.run_id):
            msg = f"the export of run {self._manifest.run} holds output of {chunk.run_id}"
            raise LogDamaged(msg, hint=_HINT)
        self._manifest.chunks += 1

    def _frame(self, data: bytes) -> None:
        header = read_header(data)
        partition = header.partition
        if partition >= len(self._chains) or header.log_id != self._manifest.log_id:
            msg = f"the frame at {partition}:{header.first} is of another log"
            raise LogDamaged(msg, hint=_HINT, partition=partition, number=header.first)
        self._chains[partition].follow(header.first, data)
        self._hashes[partition] = hash_of(data)
        if header.era > max(1, self._eras[partition]):
            self._manifest.eras[partition, header.era] = header.first
        self._eras[partition] = header.era
        frame = decode_frame(data, check=False)
        self._resolve(values_of(frame))
        for turn in frame.body.turns:
            self._digest.add(turn.facts)
            for fact in turn.facts:
                if fact.type == _POISONED:
                    poisoned = FACTS.decode(fact.type, fact.version, fact.data)
                    self._given_up.add(open_key(partition, poisoned.stream))
        for table, key, value in derive(frame, data):
            if table in _WAITING or table in ("meta", _TIMERS):
                if value is None:
                    self._live.pop((table, key), None)
                else:
                    self._live[table, key] = value

    def _turn(self, turn: Turn) -> None:
        self._resolve(fact.data for fact in turn.facts)
        self._digest.add(turn.facts)
        for fact in turn.facts:
            if fact.seq != self._seqs.get(fact.stream, 0) + 1:
                msg = f"stream {fact.stream} has a gap before fact {fact.seq}"
                raise LogDamaged(msg, hint=_HINT)
            self._seqs[fact.stream] = fact.seq

    def _resolve(self, values: Iterable[Any]) -> None:
        for value in values:
            for ref in references(value):
                if ref.sha256 not in self._blobs:
                    msg = f"blob {ref.hex} is referred to before it comes"
                    raise LogDamaged(msg, hint=_HINT)

    def finish(self) -> None:
        """Compare the end with what was read."""
        end, manifest = self._end, self._manifest
        if end is None:
            msg = "the export does not say how it ends"
            raise LogDamaged(msg, hint=_HINT)
        manifest.facts, manifest.blobs = self._digest.facts_count, len(self._blobs)
        manifest.digest = self._digest.value()
        found = (manifest.facts, manifest.blobs, manifest.digest)
        told = (end["facts"], end["blobs"], end["digest"])
        if found != told or manifest.chunks != end.get("chunks", 0):
            msg = "the export does not hold what its end says"
            raise LogDamaged(msg, hint=_HINT)
        if manifest.run is None:
            manifest.ends = [(era, number, last) for era, number, last in end["heads"]]
            read = [(c.last, h) for c, h in zip(self._chains, self._hashes, strict=True)]
            if [place[1:] for place in manifest.ends] != read:
                msg = "a partition of the export does not end where its end says"
                raise LogDamaged(msg, hint=_HINT)
            manifest.waiting = self._waiting()
            manifest.timers = [timer_of(key) for table, key in self._live if table == _TIMERS]

    def _waiting(self) -> str:
        """Name what is left to do."""
        tables = [table for table, key in self._live if not self._is_done(table, key)]
        return ", ".join(f"{tables.count(table)} rows of {table}" for table in sorted({*tables}))

    def _is_done(self, table: str, key: bytes) -> bool:
        """Tell whether nothing is to be gone on with for a row, now.

        A message that its partition took in is done, though the answer has not come; so is a
        stream that was given up. A timer is of its stream, wherever that is.
        """
        match table:
            case "meta" | "timers":
                return True
            case "open":
                return key in self._given_up
            case "outbox":
                source = int.from_bytes(key[:2], "big")
                destination = int.from_bytes(key[2:4], "big")
                taken = self._live.get(("meta", counter_key("in", destination, source)), b"")
                return int.from_bytes(key[4:12], "big") <= int.from_bytes(taken, "big")
        return False
