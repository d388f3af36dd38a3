"""The port of the log: append frames, read what is durable. Adapters: memory, RocksDB."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from goclaw_events.errors import CodedError
    from goclaw_events.framing import EncodedFrame
    from goclaw_events.segments.records import Ended
    from goclaw_events.tables import Row
    from goclaw_events.value import BlobRef

    Done = Callable[[CodedError | None], None]


class Head(NamedTuple):
    """The end of a partition: what the next frame continues.

    `number` and `hash` are those of the last stored frame (0 and zeros: none), `time_ns` its time.
    """

    era: int
    epoch: int
    number: int
    hash: bytes
    time_ns: int


class Baseline(Protocol):
    """What history came to at the place below which it was given up."""

    @property
    def name(self) -> str:
        """Return the name of the file."""
        ...

    @property
    def sections(self) -> list[str]:
        """Return the names of the sections, also of empty ones."""
        ...

    def rows(self, section: str) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows of a section in order of key."""
        ...

    def get(self, section: str, key: bytes) -> bytes | None:
        """Return one row's value."""
        ...

    def seq(self, stream: bytes) -> int | None:
        """Return the seq of a stream's last fact below; `stream`: partition and name as in keys."""
        ...

    def derived(self) -> Iterator[tuple[str, bytes, bytes]]:
        """Yield (table, key, value) of the derived rows."""
        ...

    def check(self) -> None:
        """Read everything and compare it with its hashes; raises `LogDamaged`."""
        ...


class Journal(Protocol):
    """Keep frames of one log, in partitions, and the tables that derive from them.

    One writer a partition. `append` may be called from any thread, frames of a partition in
    order; everything else may be called from any thread. Readers see only what is durable.
    Errors are `CodedError`s of `goclaw_events.errors`.
    """

    @property
    def log_id(self) -> bytes:
        """Return the 16 bytes that name the log."""
        ...

    @property
    def partitions(self) -> int:
        """Return how many partitions the log has; fixed at creation."""
        ...

    def head(self, partition: int) -> Head:
        """Return the end of the partition as stored when the journal was opened or recovered."""
        ...

    def append(self, frame: EncodedFrame, done: Done) -> None:
        """Queue a frame for the next group commit.

        `done(None)` is called, on the committer's thread, after frame, rows and blobs are
        durable, in order of appends. After a failure `done(error)` is called for the frame and
        for every frame queued behind it; whether it was stored is unknown until `recover`.
        """
        ...

    def ride(self, rows: Sequence[Row], written: Callable[[], None]) -> None:
        """Write rows that no frame stands for, with the next frame or, soon, without one.

        `written` is called once they are in the tables: a process that is killed then leaves
        them, a power cut may take those of the last moment. Rows are written in order; those
        that came before a frame was appended are written no later than it. After a failed commit
        they wait until the log was recovered. Any thread; never blocks.
        """
        ...

    def durable(self, partition: int) -> int:
        """Return the number of the last durable fact of a partition (0: none)."""
        ...

    def history(self, partition: int) -> int:
        """Return the number of the first fact that can be read (1: nothing was given up)."""
        ...

    def floor(self, partition: int) -> int:
        """Return the number of the first fact that is in no segment (1: nothing was sealed)."""
        ...

    def ended(self, partition: int, run_id: str) -> Ended | None:
        """Return what is kept of a run whose every fact is archived (None: it is no such run)."""
        ...

    def baseline(self, partition: int) -> Baseline | None:
        """Return what stands for the history that was given up (None: none was)."""
        ...

    def frames(self, partition: int, start: int = 1, stop: int | None = None) -> Iterator[bytes]:
        """Yield the durable frames that hold facts numbered `start` to `stop`, both included.

        The first frame may begin before `start`. Raises `LogDamaged` at a gap or broken chain,
        `HistoryExpired` where `start` lies below `history`.
        """
        ...

    def stream_frames(
        self, partition: int, stream: str, from_seq: int = 1
    ) -> Iterator[tuple[int, bytes]]:
        """Yield (number of its first fact, bytes) of each durable frame that has facts of a stream.

        Begins with the frame that holds `from_seq`; sequence numbers start at 1. Raises
        `HistoryExpired` where facts from `from_seq` on were given up.
        """
        ...

    def last_seq(self, partition: int, stream: str) -> int:
        """Return the sequence number of a stream's last durable fact (0: it has none)."""
        ...

    def streams(self, partition: int, prefix: str = "") -> Iterator[str]:
        """Yield the names of the streams that have durable facts, each once."""
        ...

    def rows(
        self,
        table: str,
        prefix: bytes = b"",
        stop: bytes | None = None,
        *,
        after: bytes | None = None,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) in order of key, for keys that begin with `prefix`, below `stop`.

        Those above `after`: to go on where somebody stopped reading.
        """
        ...

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return one row's value."""
        ...

    def blob(self, ref: BlobRef) -> bytes:
        """Return a blob's packed bytes, its hash compared; raises `BlobMissing`, `LogDamaged`."""
        ...

    def has_blob(self, sha256: bytes) -> bool:
        """Tell whether a blob is stored."""
        ...

    def recover(self) -> None:
        """Open the log again after a failed commit; heads are then what is really stored."""
        ...

    def close(self) -> None:
        """Flush what is queued, write the watermark, let go of the directory. Idempotent."""
        ...
