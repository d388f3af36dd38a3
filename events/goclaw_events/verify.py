"""Verify a log: read everything, compare everything, and say where it is not whole."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from goclaw_events.codec import FACTS
from goclaw_events.errors import CodedError, LogDamaged
from goclaw_events.frame import decode_frame
from goclaw_events.output import OUTPUT, read_chunk
from goclaw_events.reading import begin_chain
from goclaw_events.segments.records import ARCHIVE_ROWS, history_key, read_history, read_info
from goclaw_events.snapshot_check import SnapshotCheck
from goclaw_events.tables import DERIVED, TABLES, derive, is_derived, is_of_archive, u16
from goclaw_events.value import references, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_events.frame import Frame
    from goclaw_events.journal import Baseline, Journal
    from goclaw_events.value import BlobRef

    RowName = tuple[str, bytes]

PROBLEMS_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it was written; `place` is a position, a blob or a table's key."""

    code: str
    place: str
    message: str


@dataclass(slots=True)
class Report:
    """What a verification read and found. At most 100 problems are kept, all are counted."""

    log_id: str = ""
    partitions: int = 0
    frames: int = 0
    facts: int = 0
    streams: int = 0
    segments: int = 0
    blobs: int = 0
    references: int = 0
    bytes: int = 0
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))
    ends: list[int] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    problems_count: int = 0

    @property
    def whole(self) -> bool:
        """Tell whether everything is as it was written."""
        return not self.problems_count

    def add(self, code: str, place: str, message: str) -> None:
        """Record a problem."""
        self.problems_count += 1
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(Problem(code, place, message))

    def add_error(self, error: CodedError, place: str = "") -> None:
        """Record an error that reading raised, with the place that it names itself."""
        details = error.details
        if "partition" in details and "number" in details:
            place = f"{details['partition']}:{details['number']}"
        self.add(error.code, place, error.message)


def derived_rows(journal: Journal) -> dict[tuple[str, bytes], bytes]:
    """Return every row of the derived tables as the durable frames alone give them.

    Holds all of them in memory: for tests and small logs. Raises `LogDamaged`.
    """
    rows: dict[RowName, bytes] = {}
    for partition in range(journal.partitions):
        for data in journal.frames(partition):
            for table, key, value in derive(decode_frame(data, check=False), data):
                if value is None:
                    rows.pop((table, key), None)
                else:
                    rows[(table, key)] = value
    return rows


class Verifiable(Protocol):
    """What a verification reads: a journal, or what is stored of one; see `Journal`."""

    @property
    def log_id(self) -> bytes:
        """Return the 16 bytes that name the log."""
        ...

    @property
    def partitions(self) -> int:
        """Return how many partitions the log has."""
        ...

    def rows(
        self, table: str, prefix: bytes = b"", stop: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) in order of key, for keys that begin with `prefix`, below `stop`."""
        ...

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return one row's value."""
        ...

    def blob(self, ref: BlobRef) -> bytes:
        """Return a blob's packed bytes, its hash compared."""
        ...

    def baseline(self, partition: int) -> Baseline | None:
        """Return what stands for the history that was given up (None: none was)."""
        ...


def verify(journal: Verifiable) -> Report:
    """Read every row of every table of a journal at rest and compare it with what it should be.

    Frames: hash, chain, gapless numbers, shape; facts: known types and versions, gapless seq in
    their stream; derived tables in both directions; blobs: hash; references: their blob is
    stored. Goes on after a problem. Memory grows with what is unfinished and with the number of
    distinct blobs, not with the log. Snapshots: the hash of every manifest and chunk.
    """
    report = Report(log_id=journal.log_id.hex(), partitions=journal.partitions)
    verification = _Verification(journal, report)
    for partition in range(journal.partitions):
        verification.read_frames(partition)
    for table in TABLES:
        if table != "log":
            verification.read_table(table)
    verification.compare_live_rows()
    return report


class _Verification:
    """The state of one verification: what the frames read so far should have left in tables."""

    def __init__(self, journal: Verifiable, report: Report) -> None:
        self.journal = journal
        self.report = report
        self.live: dict[RowName, bytes] = {}
        self.archive: set[RowName] = set()
        self.stream_rows = 0
        self.resolved: set[bytes] = set()
        self.last_stream = (b"", 0)
        self.snapshots = SnapshotCheck(report.add)

    def read_frames(self, partition: int) -> None:
        """Read the frames of a partition."""
        chain = begin_chain(self.journal, partition)
        self.begin_with_baseline(partition)
        for key, data in self.rows("log", u16(partition)):
            number = int.from_bytes(key[2:], "big")
            place = f"{partition}:{number}"
            damaged = False
            try:
                chain.follow(number, data)
            except LogDamaged as error:
                damaged = True
                self.report.add_error(error, place)
            try:
                self.read_frame(decode_frame(data, check=False), data)
            except LogDamaged as error:
                self.report.add_error(error, place)
            except Exception as error:
                if not damaged:
                    raise
                # Damaged bytes may decode to anything, of any type.
                text = f"the frame cannot be read: {type(error).__name__}: {error}"
                self.report.add(LogDamaged.code, place, text)
        self.report.ends.append(chain.last)

    def begin_with_baseline(self, partition: int) -> None:
        """Take over what was derived from the history that was given up."""
        try:
            baseline = self.journal.baseline(partition)
            if baseline is not None:
                baseline.check()
                for table, key, value in baseline.derived():
                    self.live[table, key] = value
        except CodedError as error:
            self.report.add_error(error, f"baseline of partition {partition}")

    def read_frame(self, frame: Frame, data: bytes) -> None:
        """Count a frame, look at its facts and references, and apply its rows."""
        report, partition = self.report, frame.header.partition
        report.frames += 1
        report.bytes += len(data)
        seqs: dict[str, int] = {}
        for number, _, fact in frame.facts():
            report.facts += 1
            place = f"{partition}:{number}"
            try:
                FACTS.decode(fact.type, fact.version, fact.data)
            except CodedError as error:
                report.add(error.code, place, error.message)
            if seqs.setdefault(fact.stream, fact.seq) != fact.seq:
                what = f"stream {fact.stream} goes on with seq {fact.seq} in the same frame"
                report.add(LogDamaged.code, place, what)
            seqs[fact.stream] = fact.seq + 1
            self.resolve(fact.data, place)
        place = f"{partition}:{frame.header.first}"
        for message in _messages(frame):
            self.resolve(message, place)
        self.apply(frame, data, place)

    def apply(self, frame: Frame, data: bytes, place: str) -> None:
        """Compare the stream rows of a frame with the table; remember its other rows."""
        for row in derive(frame, data):
            table, key, value = row
            if table == "log":
                continue
            if is_of_archive(row):
                self.archive.add((key.decode(), value or b""))
                continue
            if table != "streams":
                if value is None:
                    self.live.pop((table, key), None)
                else:
                    self.live[(table, key)] = value
                continue
            self.stream_rows += 1
            if self.get(table, key) != value:
                what = f"the row {key.hex()} of table streams is missing or differs"
                self.report.add(LogDamaged.code, place, what)

    def resolve(self, value: Any, place: str) -> None:
        """Look up the blob of every reference inside a value."""
        for ref in references(value):
            self.report.references += 1
            if ref.sha256 in self.resolved:
                continue
            self.resolved.add(ref.sha256)
            self.check_blob(ref, place)

    def check_blob(self, ref: BlobRef, place: str) -> None:
        """Read a blob that is referred to, and resolve what it refers to itself."""
        try:
            data = self.journal.blob(ref)
        except CodedError as error:
            self.report.add(error.code, f"{place} blob {ref.hex}", error.message)
            return
        try:
            inside = unpack(data)
        except LogDamaged:
            return  # whole, as its hash says, but no msgpack: it refers to nothing
        self.resolve(inside, f"blob {ref.hex}")

    def read_table(self, table: str) -> None:
        """Read every row of a table; look at those that can be judged by themselves."""
        count = 0
        for key, value in self.rows(table):
            count += 1
            if table == "streams":
                self.follow_stream(key, value)
            elif table == "snapshots":
                self.snapshots.manifest(key, value)
            elif table == "chunks":
                self.snapshots.chunk(key, value)
            elif table == "blobs":
                self.report.blobs += 1
                if hashlib.sha256(value).digest() != key:
                    what = "a blob does not match its hash"
                    self.report.add(LogDamaged.code, f"blob {key.hex()}", what)
            elif table == OUTPUT:
                self.judge_chunk(key, value)
            elif table == "meta" and key.startswith(ARCHIVE_ROWS):
                self.compare_archive_row(key, value)
            elif is_derived(table, key):
                self.compare_row(table, key, value)
        if table == "chunks":
            self.snapshots.end()
        if table == "streams" and count != self.stream_rows:
            what = f"the frames give {self.stream_rows} rows, the table has {count}"
            self.report.add(LogDamaged.code, "table streams", what)

    def judge_chunk(self, key: bytes, value: bytes) -> None:
        """Look whether a row is a chunk of output."""
        try:
            read_chunk(key, value)
        except LogDamaged as error:
            self.report.add_error(error, f"{OUTPUT} {key.hex()}")

    def follow_stream(self, key: bytes, value: bytes) -> None:
        """Compare a stream's row with the one before: its seq goes on, or begins at 1."""
        name, seq = key[:-8], int.from_bytes(key[-8:], "big")
        last_name, last_seq = self.last_stream
        if name != last_name:
            self.report.streams += 1
        expected = last_seq + 1 if name == last_name else 1
        if seq != expected and name != last_name:
            expected = self.seq_below(name) + 1
        if seq != expected:
            place = f"{int.from_bytes(key[:2], 'big')}:{int.from_bytes(value[:8], 'big')}"
            stream = name[4:].decode("utf-8", "replace")
            what = f"stream {stream} has seq {seq} where {expected} was due"
            self.report.add(LogDamaged.code, place, what)
        self.last_stream = (name, seq + int.from_bytes(value[8:12], "big") - 1)

    def seq_below(self, name: bytes) -> int:
        """Return the last seq of a stream in the history that was given up."""
        try:
            baseline = self.journal.baseline(int.from_bytes(name[:2], "big"))
            return 0 if baseline is None else baseline.seq(name) or 0
        except CodedError:
            return 0  # it was reported when the frames were read

    def compare_row(self, table: str, key: bytes, value: bytes) -> None:
        """Compare a stored row with the one that the frames give, and tick it off."""
        wanted = self.live.pop((table, key), None)
        if wanted != value:
            what = "differs from" if wanted is not None else "does not follow from"
            text = f"the row {key.hex()} of table {table} {what} the frames"
            self.report.add(LogDamaged.code, f"table {table}", text)

    def compare_archive_row(self, key: bytes, value: bytes) -> None:
        """Compare a stored row that tells of segments; one that is not stored is no fault.

        The fact that told of a segment below the place where history begins is gone with it.
        """
        if (key.decode(), value) in self.archive:
            return
        if key.startswith(b"segment/"):
            partition = int(key.split(b"/")[1])
            history = read_history(self.get("meta", history_key(partition)))
            if history is not None and read_info(value).last < history.below:
                return
        text = f"the row {key.decode()} of table meta does not follow from the frames"
        self.report.add(LogDamaged.code, "table meta", text)

    def compare_live_rows(self) -> None:
        """Report the rows that the frames give and no table holds."""
        for table, key in self.live:
            if table in DERIVED:
                text = f"the row {key.hex()} of table {table} is missing"
                self.report.add(LogDamaged.code, f"table {table}", text)

    def rows(self, table: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield rows, and record what stops the reading."""
        try:
            for row in self.journal.rows(table, prefix):
                self.report.rows[table] += 1
                yield row
        except CodedError as error:
            self.report.add_error(error, f"table {table}")

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return a row's value; one that cannot be read is recorded and missing."""
        try:
            return self.journal.get(table, key)
        except CodedError as error:
            self.report.add_error(error, f"table {table}")
            return None


def _messages(frame: Frame) -> Iterator[Any]:
    for left in frame.body.left:
        yield left.message.data
    for out in frame.body.out:
        for message in out.messages:
            yield message.data
