"""Keep views up to date: read durable frames, fold them into rows, write rows with checkpoints."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw_events.envelope import Position
from goclaw_events.errors import CodedError, HistoryExpired
from goclaw_projections.baseline import LogBaselines
from goclaw_projections.checkpoint import (
    START,
    Checkpoint,
    Place,
    checkpoint_key,
    reason_to_rebuild,
)
from goclaw_projections.errors import ProjectionFailed, ProjectionUnknown, ViewsBehind
from goclaw_projections.feed import Feed
from goclaw_projections.projection import frame_told, read_frame
from goclaw_projections.rows import CACHE_ROWS_MAX, Rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from goclaw_events.framing import EncodedFrame
    from goclaw_events.journal import Journal
    from goclaw_projections.baseline import Baselines
    from goclaw_projections.projection import Projection, ReadFrame
    from goclaw_projections.store import Change, ViewStore

_log = logging.getLogger(__name__)
BASELINE_ROWS: Final = 1_000
"""So many rows of a baseline are written at once."""


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """Limits of the runner.

    A group of frames is folded and written as one: at most `frames_max` frames or `bytes_max`
    bytes. The thread waits `linger_s` after a notification, so that groups are worth their
    write; who waits for a position is served at once. After an error of the disk it waits
    `retry_s`.
    """

    frames_max: int = 256
    bytes_max: int = 4 * 1024 * 1024
    linger_s: float = 0.05
    retry_s: float = 1.0
    cache_rows_max: int = CACHE_ROWS_MAX


class ProjectionStatus(NamedTuple):
    """How a projection is: `state` is running or failed; `lag` has the facts it is behind by.

    `places` holds, for each partition, the last number folded. A failed one says why.
    """

    name: str
    version: int
    state: str
    places: tuple[int, ...]
    lag: tuple[int, ...]
    code: str = ""
    message: str = ""


@dataclass(slots=True)
class _Member:
    projection: Projection
    rows: Rows
    places: list[Place]
    failure: Exception | None = None

    def checkpoint(self, log_id: bytes, partition: int = 0, last: Place = START) -> Change:
        """Return the row that says how far the projection is once `partition` is at `last`."""
        places = tuple(last if p == partition else place for p, place in enumerate(self.places))
        checkpoint = Checkpoint(self.projection.version, log_id, places)
        return checkpoint_key(self.projection.name), checkpoint.packed()


class ProjectionRunner:
    """Fold the log into the rows of some projections, on a thread of its own or on the caller's.

    A projection that raises is stopped, logged, and reported by `status`; the others go on, and
    it is tried again from its checkpoint after a restart or a `rebuild`. Every method may be
    called from any thread.
    """

    def __init__(
        self,
        journal: Journal,
        store: ViewStore,
        projections: Sequence[Projection],
        settings: RunnerSettings | None = None,
        baselines: Baselines | None = None,
    ) -> None:
        self._journal = journal
        self._baselines = baselines or LogBaselines(journal)
        self._store = store
        self._settings = settings or RunnerSettings()
        self._applying = threading.RLock()
        self._moved = threading.Condition()
        self._awake = threading.Event()
        self._urgent = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._broken: CodedError | None = None
        self._feeds = [Feed() for _ in range(journal.partitions)]
        self._members = [self._open(projection) for projection in projections]

    def _open(self, projection: Projection) -> _Member:
        rows = Rows(self._store, projection.name, self._settings.cache_rows_max)
        member = _Member(projection, rows, [START] * self._journal.partitions)
        data = self._store.get(checkpoint_key(projection.name))
        found = None if data is None else Checkpoint.read(data)
        begins = [self._baselines.begin(p) for p in range(self._journal.partitions)]
        reason = reason_to_rebuild(self._journal, projection.version, found, begins)
        if reason is None and found is not None:
            member.places = list(found.places)
            return member
        if data is not None:
            _log.info("view %s is built again: %s", projection.name, reason)
        self._drop(member)
        return member

    def _drop(self, member: _Member) -> None:
        member.rows.discard()
        member.places = [START] * self._journal.partitions
        prefix = member.projection.name.encode() + b"/"
        self._store.write([member.checkpoint(self._journal.log_id)], [prefix])
        try:
            for partition in range(self._journal.partitions):
                self._begin_with_baseline(member, partition)
        except HistoryExpired as error:
            self._fail(member, error, Position(partition, self._baselines.begin(partition)))

    def _begin_with_baseline(self, member: _Member, partition: int) -> None:
        """Take in what the view was where the partition's history begins.

        Raises `HistoryExpired` where that is of another version, or not there: a view that
        lacked history would say so of no row.
        """
        begin = self._baselines.begin(partition)
        if begin <= 1:
            return
        name, version = member.projection.name, member.projection.version
        found = self._baselines.view(partition, name)
        if found is None or found.version != version:
            has = "none of this view" if found is None else f"rows of version {found.version}"
            msg = (
                f"view {name} cannot be built: the facts below {partition}:{begin} were given up,"
                f" and the baseline has {has}, not of version {version}"
            )
            hint = "use the version of Goclaw that gave them up, or restore a copy of the views"
            raise HistoryExpired(msg, hint=hint, view=name)
        rows = iter(found.rows)
        while chunk := list(islice(rows, BASELINE_ROWS)):
            self._store.write(chunk)
        place = Place(self._journal.head(partition).era, begin - 1)
        self._store.write([member.checkpoint(self._journal.log_id, partition, place)])
        member.places[partition] = place

    # --- the thread

    def start(self) -> None:
        """Start the thread; what is already durable is folded at once."""
        if self._thread is None:
            self._stopping = False
            self._awake.set()
            self._thread = threading.Thread(target=self._run, name="goclaw-views", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread after the group that it is folding; the store stays open. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping = True
            self._awake.set()
            self._urgent.set()
            thread.join()

    def notify(self, partition: int, frame: EncodedFrame | None = None) -> None:
        """Say that more of a partition is durable, and hand over the frame, if it is at hand.

        Cheap; called by one thread, in the order of the log.
        """
        if frame is not None:
            self._feeds[partition].put(frame)
        if not self._awake.is_set():
            self._awake.set()

    def _run(self) -> None:
        while True:
            self._awake.wait()
            if not self._stopping:
                self._urgent.wait(self._settings.linger_s)
            if self._stopping:
                return
            self._awake.clear()
            self._urgent.clear()
            try:
                while self._step() and not self._stopping:
                    time.sleep(0)  # whoever waits for the lock may have it
                self._broken = None
            except Exception as error:  # noqa: BLE001 - the thread must live to try again
                self._pause(error)

    def _pause(self, error: Exception) -> None:
        """Take a failed read or write as passing: try again after a while, as long as needed."""
        coded = error if isinstance(error, CodedError) else ProjectionFailed(repr(error))
        if self._broken is None or self._broken.code != coded.code:
            _log.error("views cannot go on [%s]: %s", coded.code, coded, exc_info=error)
        with self._moved:
            self._broken = coded
            self._moved.notify_all()
        self._urgent.wait(self._settings.retry_s)
        self._awake.set()

    # --- folding

    def catch_up(self) -> None:
        """Fold everything that is durable now, on the caller's thread; raises what stops it."""
        while self._step():
            pass

    def _step(self) -> bool:
        """Fold one group of each partition; tell whether there was any."""
        with self._applying:
            found = False
            for partition in range(self._journal.partitions):
                durable = self._end(partition)
                cohorts: dict[int, list[_Member]] = {}
                for member in self._members:
                    number = member.places[partition].number
                    if member.failure is None and number < durable:
                        cohorts.setdefault(number, []).append(member)
                for number in sorted(cohorts, reverse=True):
                    self._fold(partition, number + 1, cohorts[number])
                    found = True
        return found

    def _fold(self, partition: int, start: int, members: list[_Member]) -> None:
        try:
            last = self._fold_frames(partition, start, members)
            folded = [member for member in members if member.failure is None]
            self._write(partition, last, folded)
        except BaseException:
            for member in members:
                member.rows.discard()
            raise
        with self._moved:
            self._moved.notify_all()

    def _fold_frames(self, partition: int, start: int, members: list[_Member]) -> Place:
        frames, size, last = 0, 0, START
        for frame, frame_bytes in self._frames(partition, start):
            last = Place(frame.era, frame.last)
            for member in members:
                if member.failure is None:
                    self._apply(member, frame)
            frames, size = frames + 1, size + frame_bytes
            if frames >= self._settings.frames_max or size >= self._settings.bytes_max:
                break
            time.sleep(0)  # let go of the GIL: whoever decides and commits goes first
        return last

    def _end(self, partition: int) -> int:
        """Return how far to fold: what the writer is about to hand over is not read from the log.

        Without a thread nobody else will come, so all that is durable is folded.
        """
        durable = self._journal.durable(partition)
        last = self._feeds[partition].last
        return last if last and self._thread is not None else durable

    def _frames(self, partition: int, start: int) -> Iterator[tuple[ReadFrame, int]]:
        """Yield frames and their sizes from a number on: those at hand, else those of the log."""
        feed, number, end = self._feeds[partition], start, self._end(partition)
        while number <= end:
            fed = feed.take(number)
            if fed is not None:
                yield frame_told(fed.header, fed.told), fed.frame_bytes
                number = fed.last + 1
                continue
            at_hand = feed.first
            if at_hand == number:
                continue  # it came just now
            before = end if at_hand is None else min(end, at_hand - 1)
            for data in self._journal.frames(partition, number, before):
                frame = read_frame(data)
                yield frame, len(data)
                number = frame.last + 1
            if number <= before:
                return

    def _apply(self, member: _Member, frame: ReadFrame) -> None:
        try:
            member.projection.apply(frame, member.rows)
        except Exception as error:  # noqa: BLE001 - a projection's bug must not stop the others
            self._fail(member, error, Position(frame.partition, frame.first))

    def _fail(self, member: _Member, error: Exception, where: Position) -> None:
        member.failure = error
        member.rows.discard()
        _log.error(
            "view %s is stopped at %s [%s]: %s",
            member.projection.name, where, _code_of(error), error, exc_info=error,
        )  # fmt: skip

    def _write(self, partition: int, last: Place, members: list[_Member]) -> None:
        changes: list[Change] = []
        written = []
        for member in members:
            try:
                changes.extend(member.rows.changes())
            except Exception as error:  # noqa: BLE001 - it made a row that cannot be packed
                self._fail(member, error, Position(partition, last.number))
            else:
                changes.append(member.checkpoint(self._journal.log_id, partition, last))
                written.append(member)
        self._store.write(changes)
        for member in written:
            member.rows.settle()
            member.places[partition] = last

    # --- questions

    def wait_for(
        self,
        position: Position | Mapping[int, int],
        timeout_s: float,
        names: Iterable[str] | None = None,
    ) -> None:
        """Return once the projections (`names`; None: all) have folded a position.

        A mapping gives a number for each partition. Without a thread it folds on the caller's.
        Raises `ViewsBehind` after `timeout_s`, `ProjectionFailed`, or what stops all of them.
        """
        wanted = (
            {position.partition: position.number} if isinstance(position, Position) else position
        )
        members = self._members if names is None else [self._member(name) for name in names]
        if self._thread is None:
            self.catch_up()
        deadline = time.monotonic() + timeout_s
        with self._moved:
            while not _reached(members, wanted):
                self._raise_failure(members)
                self._urgent.set()
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not self._moved.wait(left_s):
                    msg = f"the views did not reach {dict(wanted)} within {timeout_s} s"
                    raise ViewsBehind(msg, hint="ask again, or without a position to wait for")

    def wait_for_change(self, timeout_s: float) -> bool:
        """Return True once another group was written or failed; False after `timeout_s`."""
        with self._moved:
            return self._moved.wait(timeout_s)

    def _raise_failure(self, members: list[_Member]) -> None:
        for member in members:
            if member.failure is not None:
                msg = f"view {member.projection.name} was stopped: {member.failure}"
                hint = "the log holds why; rebuild the view once the fault is mended"
                raise ProjectionFailed(msg, hint=hint) from member.failure
        if self._broken is not None:
            raise self._broken

    def rebuild(self, name: str) -> None:
        """Drop a projection's rows and fold them again from the start; also restarts a failed one.

        Raises `ProjectionUnknown`. Returns before the rows are there: `wait_for` or `catch_up`.
        """
        with self._applying:
            member = self._member(name)
            member.failure = None
            self._drop(member)
        self._awake.set()

    def _member(self, name: str) -> _Member:
        for member in self._members:
            if member.projection.name == name:
                return member
        known = ", ".join(member.projection.name for member in self._members)
        msg = f"there is no view {name!r}"
        raise ProjectionUnknown(msg, hint=f"there are: {known}")

    def lag(self, partition: int) -> int:
        """Return how many durable facts the slowest running projection has not folded."""
        durable = self._journal.durable(partition)
        behind = [
            durable - member.places[partition].number
            for member in self._members
            if member.failure is None
        ]
        return max(0, *behind) if behind else 0

    def status(self) -> list[ProjectionStatus]:
        """Return how each projection is."""
        found = []
        for member in self._members:
            projection, failure = member.projection, member.failure
            numbers = tuple(place.number for place in member.places)
            lag = tuple(max(0, self._journal.durable(p) - n) for p, n in enumerate(numbers))
            state = "running" if failure is None else "failed"
            told = ("", "") if failure is None else (_code_of(failure), str(failure))
            found.append(
                ProjectionStatus(projection.name, projection.version, state, numbers, lag, *told)
            )
        return found


def _reached(members: Iterable[_Member], wanted: Mapping[int, int]) -> bool:
    return all(
        member.places[partition].number >= number
        for member in members
        for partition, number in wanted.items()
    )


def _code_of(error: Exception) -> str:
    return error.code if isinstance(error, CodedError) else "internal_bug"
