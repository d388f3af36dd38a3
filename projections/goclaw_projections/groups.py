"""Fold what is durable into rows, a group of frames at a time, here or in a process of its own."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw_events.envelope import Position
from goclaw_events.frame import read_header
from goclaw_projections.away import FoldingProcess
from goclaw_projections.checkpoint import Place
from goclaw_projections.feed import AtHand, Feed
from goclaw_projections.member import Member, code_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from goclaw_events.framing import EncodedFrame
    from goclaw_events.journal import Journal
    from goclaw_projections.projection import ReadFrame
    from goclaw_projections.runner import RunnerSettings
    from goclaw_projections.store import Change, ViewStore

    Made = list[tuple[Member, list[Change]]]

_log = logging.getLogger(__name__)
REBUILD_SHARE: Final = 4
"""A rebuild folds groups this many times smaller, so that what is served does not wait for it."""
ENOUGH_BYTES: Final = 512 * 1024
"""A group of so many bytes (some 3,500 facts) gains little by waiting for more."""
ROUNDS_MAX: Final = 20
"""So often at most the other process is given the next group before anybody else is let in."""


class Group(NamedTuple):
    """Frames of one partition, and whose rows they are folded into. `last`: where they end."""

    partition: int
    frames: list[AtHand]
    members: list[Member]
    last: Place

    @property
    def facts_count(self) -> int:
        """Return how many facts the frames hold."""
        return self.last.number + 1 - self.frames[0].header.first


class Groups:
    """Fold the log into the rows of members. Used by one thread at a time (the runner's lock).

    Another process, where there is one, folds a group while what it made of the one before is
    stored here: it is idle only while nothing is worth folding. `stored` is called whenever rows
    and checkpoints have been written.
    """

    def __init__(
        self,
        journal: Journal,
        store: ViewStore,
        settings: RunnerSettings,
        stored: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._store = store
        self._settings = settings
        self._stored = stored
        self._feeds = [Feed() for _ in range(journal.partitions)]
        self._threaded = False
        self._flying: Group | None = None
        self._answer: Made | None = None
        self.away = FoldingProcess(store, settings.process_facts)
        self.was_cut = False

    def put(self, partition: int, frame: EncodedFrame) -> bool:
        """Take in a frame that became durable; tell whether there is enough for a group.

        Called by one thread, in the order of the log.
        """
        feed = self._feeds[partition]
        feed.put(frame)
        return feed.bytes_count >= ENOUGH_BYTES

    def fold(
        self, members: list[Member], rebuilds: list[Member], stopping: Callable[[], bool] | None
    ) -> bool:
        """Fold one group of each partition; tell whether there was any.

        While the other process takes longer for a group than groups wait to grow, it is given the
        next one at once, up to `ROUNDS_MAX` times. `stopping` says when to leave that; None: there
        is no thread, to which frames would be handed, and nothing is folded elsewhere.
        """
        self._threaded = stopping is not None
        self.was_cut = found = False
        try:
            for _ in range(ROUNDS_MAX):
                began_s = time.monotonic()
                if not self._round(members, rebuilds):
                    break
                found = True
                self._receive()
                lasted_s = time.monotonic() - began_s
                if self._answer is None or lasted_s < self._settings.linger_s:
                    break
                if stopping is None or stopping():
                    break
            self._land()
        except BaseException:
            self._forget(members + rebuilds)
            raise
        return found

    def _forget(self, members: list[Member]) -> None:
        """Forget whatever is not stored."""
        self._flying = self._answer = None
        self.away.forget()
        for member in members:
            member.rows.discard()

    def _round(self, members: list[Member], rebuilds: list[Member]) -> bool:
        found = False
        for partition in range(self._journal.partitions):
            end = self._end(partition)
            cohorts: dict[int, list[Member]] = {}
            for member in members + rebuilds:
                number = self._number(member, partition)
                if number < end and member.failure is None:
                    cohorts.setdefault(number, []).append(member)
            for number in sorted(cohorts, reverse=True):
                cohort = cohorts[number]
                small = all(member in rebuilds for member in cohort)
                self._fold(partition, number + 1, cohort, small=small)
                found = True
        return found

    def _number(self, member: Member, partition: int) -> int:
        """Return how far a member's rows are folded, whether they are stored or not."""
        flying = self._flying
        if flying is not None and flying.partition == partition and member in flying.members:
            return flying.last.number
        return member.places[partition].number

    # --- one group

    def _fold(self, partition: int, start: int, cohort: list[Member], *, small: bool) -> None:
        """Fold a group, here or as soon as the other process does; store the one before."""
        self._receive()
        members = [member for member in cohort if member.failure is None]
        group = self._gather(partition, start, members, small=small)
        sent = (
            self._threaded
            and self.away.is_for(group.facts_count)
            and self.away.send([frame.data for frame in group.frames], members)
        )
        self._land()
        if sent:
            self._flying = group
        else:
            self._fold_here(group)

    def _receive(self) -> None:
        """Wait for what the other process makes of the group that it has, if it has one."""
        group = self._flying
        if group is not None and self._answer is None:
            self._answer = self.away.receive(group.members)
            if self._answer is None:
                self._flying = None
                self._fold_here(group)

    def _land(self) -> None:
        """Store what the other process made of a group, if it made any."""
        group, answer = self._flying, self._answer
        self._flying = self._answer = None
        if group is not None and answer is not None:
            self._write(group, answer)

    def _fold_here(self, group: Group) -> None:
        for at_hand in group.frames:
            frame = at_hand.read()
            for member in group.members:
                if member.failure is None:
                    self._apply(member, frame)
            time.sleep(0)  # let go of the GIL: whoever decides and commits goes first
        self._write(group, self._changes_of(group))

    def _apply(self, member: Member, frame: ReadFrame) -> None:
        try:
            member.projection.apply(frame, member.rows)
        except Exception as error:  # noqa: BLE001 - a projection's bug must not stop the others
            self._fail(member, error, Position(frame.partition, frame.first))

    def _changes_of(self, group: Group) -> Made:
        """Return what was made of a group, of each member that could make something of it."""
        found = []
        for member in group.members:
            if member.failure is None:
                try:
                    found.append((member, member.rows.changes()))
                except Exception as error:  # noqa: BLE001 - it made a row that cannot be packed
                    self._fail(member, error, Position(group.partition, group.last.number))
        return found

    def _fail(self, member: Member, error: Exception, where: Position) -> None:
        member.failure = error
        member.rows.discard()
        _log.error(
            "view %s is stopped at %s [%s]: %s",
            member.projection.name, where, code_of(error), error, exc_info=error,
        )  # fmt: skip

    def _write(self, group: Group, made: Made) -> None:
        changes: list[Change] = []
        for member, of_member in made:
            changes += of_member
            changes.append(member.checkpoint(self._journal.log_id, group.partition, group.last))
        self._store.write(changes)
        for member, _ in made:
            member.rows.settle()
            member.places[group.partition] = group.last
        self._stored()

    # --- its frames

    def _gather(self, partition: int, start: int, members: list[Member], *, small: bool) -> Group:
        frames_max = self._settings.frames_max
        if small:
            frames_max = -(-frames_max // REBUILD_SHARE)
        found, size = [], 0
        for frame in self._frames(partition, start):
            found.append(frame)
            size += len(frame.data)
            if len(found) >= frames_max or size >= self._settings.bytes_max:
                self.was_cut = True
                break
        last = Place(found[-1].header.era, found[-1].last)
        return Group(partition, found, members, last)

    def _end(self, partition: int) -> int:
        """Return how far to fold: what the writer is about to hand over is not read from the log.

        Without a thread nobody else will come, so all that is durable is folded.
        """
        last = self._feeds[partition].last
        return last if last and self._threaded else self._journal.durable(partition)

    def _frames(self, partition: int, start: int) -> Iterator[AtHand]:
        """Yield frames from a number on: those at hand, else those of the log."""
        feed, number, end = self._feeds[partition], start, self._end(partition)
        while number <= end:
            fed = feed.take(number)
            if fed is not None:
                yield fed
                number = fed.last + 1
                continue
            at_hand = feed.first
            if at_hand == number:
                continue  # it came just now
            before = end if at_hand is None else min(end, at_hand - 1)
            for data in self._journal.frames(partition, number, before):
                frame = AtHand(read_header(data), data, None)
                yield frame
                number = frame.last + 1
            if number <= before:
                return
