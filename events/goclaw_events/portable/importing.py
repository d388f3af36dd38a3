"""Write what a checked portable file holds into an empty log."""

from __future__ import annotations

import threading
from itertools import groupby
from typing import IO, TYPE_CHECKING, Any, Final

from goclaw_events.errors import LogUnfinished
from goclaw_events.frame import decode_frame, read_header
from goclaw_events.framing import EncodedFrame
from goclaw_events.ids import partition_of, task_stream
from goclaw_events.output import OUTPUT, read_chunk
from goclaw_events.portable.checking import turn_of
from goclaw_events.portable.file import read_portable
from goclaw_events.portable.reroute import Place, Rerouting
from goclaw_events.tables import Row, derive, is_of_archive, u16

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from goclaw_events.envelope import TimerRow, Turn
    from goclaw_events.errors import CodedError
    from goclaw_events.journal import Journal
    from goclaw_events.portable.checking import Manifest


OUTPUT_ROWS_MAX: Final = 1_000


def import_portable(
    file: IO[bytes], manifest: Manifest, journal: Journal, keep: Callable[[list[Row]], None]
) -> None:
    """Append everything in `file`, which `check_portable` read, to an empty journal.

    Rows of output go to `keep`, some at a time.

    A whole log goes into as many partitions as it had frame by frame, byte by byte: `journal`
    must have its id. No segments go with it: what was archived stands in its tables again.
    Otherwise every turn goes to the partition that owns its stream, in new
    frames, and so do the timers of what is idle; that is refused with `LogUnfinished` while
    anything of it is under way, for a message or an attempt names a place of the old log. Returns
    when all is durable. Raises what the journal does.
    """
    if not keeps_frames(manifest, journal.partitions) and manifest.waiting:
        if manifest.run is not None:
            msg = f"{manifest.waiting}: it can only go on in the log that it is part of"
            raise LogUnfinished(msg, hint="export the whole log, or the run when it has ended")
        msg = f"it cannot be spread over {journal.partitions} partitions: {manifest.waiting}"
        hint = (
            "let every run end (goclaw schedules pause keeps new ones from beginning) and export it"
            f" again, or take --partitions {manifest.partitions}"
        )
        raise LogUnfinished(msg, hint=hint)
    appender = _Appender(journal)
    contents, output = _contents(file), _Output(journal.partitions, keep)
    told = (record for record in contents if not output.takes(record))
    if keeps_frames(manifest, journal.partitions):
        _append_frames(told, appender)
    else:
        _append_turns(told, appender, Rerouting(journal), manifest.timers)
    output.write()
    appender.wait()


def keeps_frames(manifest: Manifest, partitions: int) -> bool:
    """Tell whether an import into so many partitions copies the log frame by frame."""
    return manifest.run is None and manifest.partitions == partitions


class _Output:
    """Put chunks where the streams of their tasks are."""

    def __init__(self, partitions: int, keep: Callable[[list[Row]], None]) -> None:
        self._partitions = partitions
        self._keep = keep
        self._rows: list[Row] = []

    def takes(self, record: list[Any]) -> bool:
        """Take a value in, if it is a chunk."""
        if record[0] != OUTPUT:
            return False
        _, key, value = record
        chunk = read_chunk(u16(0) + key, value)
        where = partition_of(task_stream(chunk.run_id, chunk.task), self._partitions)
        self._rows.append(Row(OUTPUT, u16(where) + key, value))
        if len(self._rows) == OUTPUT_ROWS_MAX:
            self.write()
        return True

    def write(self) -> None:
        """Have what was taken in written."""
        rows, self._rows = self._rows, []
        if rows:
            self._keep(rows)


def _append_frames(records: Iterable[list[Any]], appender: _Appender) -> None:
    blobs: dict[bytes, bytes] = {}
    for kind, *values in records:
        if kind == "blob":
            blobs[values[0]] = values[1]
        else:
            frame = decode_frame(values[0], check=False)
            rows = [row for row in derive(frame, values[0]) if not is_of_archive(row)]
            appender.append(EncodedFrame(frame.header, values[0], rows, blobs))
            blobs = {}


def _append_turns(
    contents: Iterable[list[Any]],
    appender: _Appender,
    rerouting: Rerouting,
    timers: Sequence[TimerRow],
) -> None:
    for place, records in groupby(contents, _place):
        if place is None:
            rerouting.blobs.update((sha256, data) for _, sha256, data in records)
            continue
        turns = [turn for record in records for turn in _turns_of(record)]
        for frame in rerouting.frames(place, turns):
            appender.append(frame)
    for frame in rerouting.timer_frames(timers):
        appender.append(frame)


def _turns_of(record: list[Any]) -> list[Turn]:
    if record[0] == "turn":
        return [turn_of(record[-1])]
    return decode_frame(record[1], check=False).body.turns


def _place(record: list[Any]) -> Place | None:
    """Return what the records of one old frame have in common; None: a blob."""
    match record:
        case ["frame", bytes(data)]:
            header = read_header(data)
            return Place(header.partition, header.first, header.time_ns)
        case ["turn", partition, _, time_ns, _]:
            return Place(partition, 0, time_ns)
    return None


def _contents(file: IO[bytes]) -> Iterator[list[Any]]:
    records = read_portable(file)
    next(records)
    for record in records:
        if record[0] != "end":
            yield record


class _Appender:
    """Append frames and know when they are durable, or why they are not."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._changed = threading.Condition()
        self._pending = 0
        self._error: CodedError | None = None

    def append(self, frame: EncodedFrame) -> None:
        """Queue a frame; raises the error of one before it."""
        with self._changed:
            if self._error is not None:
                raise self._error
            self._pending += 1
        self._journal.append(frame, self._done)

    def _done(self, error: CodedError | None) -> None:
        with self._changed:
            self._pending -= 1
            self._error = self._error or error
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until all is durable; raises what kept it from being so."""
        with self._changed:
            self._changed.wait_for(lambda: not self._pending)
            if self._error is not None:
                raise self._error
