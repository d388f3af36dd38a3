"""Keep views up to date: read durable frames, fold them into rows, write rows with checkpoints."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from goclaw_events.envelope import InvalidPosition, Position
from goclaw_events.errors import CodedError
from goclaw_projections.away import IDLE_S
from goclaw_projections.baseline import LogBaselines
from goclaw_projections.errors import ProjectionFailed, ProjectionUnknown, ViewsBehind
from goclaw_projections.groups import Groups
from goclaw_projections.member import Member, new_member, open_members
from goclaw_projections.rows import CACHE_ROWS_MAX
from goclaw_projections.served import SLOTS, serving_key
from goclaw_projections.status import ProjectionStatus, RebuildStatus, lag_of, lag_s_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from goclaw_events.framing import EncodedFrame
    from goclaw_events.journal import Journal
    from goclaw_projections.baseline import Baselines
    from goclaw_projections.projection import Projection
    from goclaw_projections.store import ViewStore

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """Limits of the runner.

    A group of frames is folded and written as one: at most `frames_max` frames or `bytes_max`
    bytes. The thread waits `linger_s` after a notification, so that groups are worth their
    write, unless there is enough already; who waits for a position is served at once. After an
    error of the disk it waits `retry_s`. While groups have `process_facts` facts, a process of its
    own folds them (0: never).
    """

    frames_max: int = 256
    bytes_max: int = 4 * 1024 * 1024
    linger_s: float = 0.05
    retry_s: float = 1.0
    process_facts: int = 500
    cache_rows_max: int = CACHE_ROWS_MAX


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
        self._released = False
        self._groups = Groups(journal, store, self._settings, self._tell)
        self._thread: threading.Thread | None = None
        self._broken: CodedError | None = None
        self._members: list[Member] = []
        self._rebuilds: list[Member] = []
        for projection in projections:
            served, rebuilt = open_members(
                journal, store, self._baselines, projection, self._settings.cache_rows_max
            )
            self._members.append(served)
            if rebuilt is not None:
                self._rebuilds.append(rebuilt)

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
            self._groups.away.close()

    @property
    def follows(self) -> bool:
        """Tell whether a thread keeps the rows up to date; otherwise whoever asks does."""
        return self._thread is not None

    @property
    def folding_pid(self) -> int | None:
        """Return the id of the process that folds under load; None while there is none."""
        return self._groups.away.pid

    def notify(self, partition: int, frame: EncodedFrame | None = None) -> None:
        """Say that more of a partition is durable, and hand over the frame, if it is at hand.

        Cheap; called by one thread, in the order of the log.
        """
        if frame is not None and self._groups.put(partition, frame):
            self._urgent.set()
        if not self._awake.is_set():
            self._awake.set()

    def _run(self) -> None:
        while True:
            if not self._awake.wait(IDLE_S):
                self._groups.away.close()
                continue
            if not self._stopping:
                self._urgent.wait(self._settings.linger_s)
            if self._stopping:
                return
            self._awake.clear()
            self._urgent.clear()
            try:
                while self._step() and self._is_hurried():
                    time.sleep(0)  # whoever waits for the lock may have it
                self._broken = None
            except Exception as error:  # noqa: BLE001 - the thread must live to try again
                self._pause(error)

    def _is_hurried(self) -> bool:
        """Tell whether to go on at once; else what came meanwhile is worth waiting for more."""
        return not self._stopping and (
            self._groups.was_cut or bool(self._rebuilds) or self._urgent.is_set()
        )

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
        """Fold everything that is durable now, on the caller's thread; raises what stops it.

        Finishes the rebuilds that were begun.
        """
        while self._step():
            pass

    def _step(self) -> bool:
        """Fold one group of each partition, or several; tell whether there was any."""
        stopping = None if self._thread is None else lambda: self._stopping
        with self._applying:
            found = self._groups.fold(self._members, self._rebuilds, stopping)
            for rebuilt in list(self._rebuilds):
                self._serve_if_ready(rebuilt)
        return found

    def _tell(self) -> None:
        """Wake whoever waits for a change."""
        with self._moved:
            self._moved.notify_all()

    def _serve_if_ready(self, rebuilt: Member) -> None:
        """Let new rows take the place of the served ones once they know as much."""
        served = self._member(rebuilt.projection.name)
        if rebuilt.failure is not None:
            return
        durable = [self._journal.durable(p) for p in range(self._journal.partitions)]
        wanted = durable if served.failure is not None else served.numbers
        if any(number < least for number, least in zip(rebuilt.numbers, wanted, strict=True)):
            return
        name = rebuilt.projection.name
        said = [(serving_key(name), str(rebuilt.slot).encode()), (served.checkpoint_key, None)]
        self._store.write(said, [served.prefix])
        with self._moved:
            self._members[self._members.index(served)] = rebuilt
            self._rebuilds.remove(rebuilt)
            self._moved.notify_all()
        _log.info("view %s was built again", name)

    # --- questions

    def wait_for(
        self,
        position: Position | Mapping[int, int],
        timeout_s: float,
        names: Iterable[str] | None = None,
    ) -> None:
        """Return once the projections (`names`; None: all) have folded a position.

        A mapping gives a number for each partition. Without a thread it folds on the caller's.
        Raises `ViewsBehind` after `timeout_s`, `ProjectionFailed`, or what stops all of them, and
        `InvalidPosition` for one of a partition that the log does not have.
        """
        wanted = (
            {position.partition: position.number} if isinstance(position, Position) else position
        )
        if max(wanted, default=0) >= self._journal.partitions:
            msg = f"the log has no partition {max(wanted)}"
            raise InvalidPosition(msg, hint=f"it has {self._journal.partitions}, numbered from 0")
        chosen = None if names is None else list(names)
        if self._thread is None:
            self.catch_up()
        deadline = time.monotonic() + timeout_s
        with self._moved:
            while not _reached(members := self._chosen(chosen), wanted):
                self._raise_failure(members)
                self._urgent.set()
                if not self._wait(deadline):
                    msg = f"the views did not reach {dict(wanted)} within {timeout_s} s"
                    raise ViewsBehind(msg, hint="ask again, or without a position to wait for")

    def _chosen(self, names: list[str] | None) -> list[Member]:
        return list(self._members) if names is None else [self._member(name) for name in names]

    def release(self) -> None:
        """Let nobody wait any more, for good: the log is about to be closed."""
        with self._moved:
            self._released = True
            self._moved.notify_all()

    def _wait(self, deadline_s: float) -> bool:
        """Wait for a change, which `_moved` guards; False when there is no more time to wait."""
        left_s = deadline_s - time.monotonic()
        return left_s > 0 and not self._released and self._moved.wait(left_s)

    def wait_for_change(self, timeout_s: float) -> bool:
        """Return True once another group was written or failed; False after `timeout_s`."""
        with self._moved:
            return self._moved.wait(timeout_s)

    def _raise_failure(self, members: list[Member]) -> None:
        for member in members:
            if member.failure is not None:
                msg = f"view {member.projection.name} was stopped: {member.failure}"
                hint = "the log holds why; rebuild the view once the fault is mended"
                raise ProjectionFailed(msg, hint=hint) from member.failure
        if self._broken is not None:
            raise self._broken

    def rebuild(self, name: str) -> None:
        """Make a projection's rows anew from the start of the log; also brings a failed one back.

        The rows that are there go on being served, and kept up to date, until the new ones have
        caught up. A rebuild that was begun before is begun again; one that a crash interrupts
        goes on at the next start. Returns before the rows are there: see `wait_for_rebuild`.
        Raises `ProjectionUnknown`.
        """
        with self._applying:
            served = self._member(name)
            self._rebuilds = [m for m in self._rebuilds if m.projection.name != name]
            rebuilt = new_member(
                self._journal, self._store, served.projection, SLOTS - 1 - served.slot,
                self._settings.cache_rows_max,
            )  # fmt: skip
            rebuilt.drop(self._journal, self._store, self._baselines)
            self._rebuilds.append(rebuilt)
        self._awake.set()
        self._urgent.set()

    def wait_for_rebuild(self, name: str, timeout_s: float) -> None:
        """Return once no rebuild of a projection is under way.

        Without a thread it folds on the caller's. Raises `ViewsBehind` after `timeout_s`,
        `ProjectionFailed`, `ProjectionUnknown`.
        """
        self._member(name)
        if self._thread is None:
            self.catch_up()
        deadline = time.monotonic() + timeout_s
        with self._moved:
            while under_way := [m for m in self._rebuilds if m.projection.name == name]:
                self._raise_failure(under_way)
                if not self._wait(deadline):
                    msg = f"view {name} was not built again within {timeout_s} s"
                    raise ViewsBehind(msg, hint="it goes on; see goclaw views status")

    def _member(self, name: str) -> Member:
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
        return [self._status(member) for member in list(self._members)]

    def _status(self, member: Member) -> ProjectionStatus:
        projection, numbers = member.projection, member.numbers
        begins = [self._baselines.begin(p) for p in range(self._journal.partitions)]
        rebuild = next((m for m in self._rebuilds if m.projection is projection), None)
        return ProjectionStatus(
            projection.name,
            projection.version,
            member.state,
            numbers,
            lag_of(self._journal, numbers),
            *member.why,
            lag_s_of(self._journal, numbers, begins),
            None
            if rebuild is None
            else RebuildStatus(
                rebuild.state,
                rebuild.numbers,
                lag_of(self._journal, rebuild.numbers),
                *rebuild.why,
            ),
            tuple(member.lacks),
        )


def _reached(members: Iterable[Member], wanted: Mapping[int, int]) -> bool:
    return all(
        member.places[partition].number >= number
        for member in members
        for partition, number in wanted.items()
    )
