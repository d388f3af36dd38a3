"""The single writer of a partition: takes messages in turn, commits batches, lets things leave.

Nothing leaves before it is durable. Commits are pipelined: a batch is decided while the one before
it is flushed. All methods run on one thread, the node's; the simulation drives them step by step.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.attempts import Attempts
from goclaw_actors.batch import Batch
from goclaw_actors.decider import Refused
from goclaw_actors.errors import OutcomeUnknown
from goclaw_actors.exchange import Exchange
from goclaw_actors.given_up import given_up
from goclaw_actors.lending import RecheckSlots, RefuseWaiting
from goclaw_actors.message import Message, Reply
from goclaw_actors.messages import CheckAttempt, LoseAttempt, TimerFired
from goclaw_actors.snapshotter import NEVER
from goclaw_actors.timers import Timers
from goclaw_actors.turns import Turns
from goclaw_actors.work import Outcome, Saved, Stepped
from goclaw_events.codec import FACTS
from goclaw_events.envelope import Cause, Position
from goclaw_events.errors import JournalBroken, JournalUnavailable
from goclaw_events.facts import Marked, PartitionClosed, PartitionOpened
from goclaw_events.frame import FrameHeader
from goclaw_events.ids import PARTITION_STREAM, kind_of
from goclaw_events.replay import stream_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from goclaw_actors.decider import Send
    from goclaw_actors.ports import Limits, Ports
    from goclaw_actors.work import Report
    from goclaw_events.errors import CodedError
    from goclaw_events.framing import EncodedFrame
    from goclaw_events.journal import Done, Head

_LOOK_EVERY: Final = 8
"""After so many messages of a batch it is looked at the clock, and at what became durable."""
OVERTIME: Final = 3
"""What follows from what a batch took in may take so many times as long as the batch should: to
write it down and come back to it takes longer."""
WAVE_MAX: Final = 64
"""So many commands are taken in before all that follows from them is done: with more it would not
find room (ten tasks from one that ends), with fewer less would share a turn."""
_FOUND_AGAIN = (CheckAttempt, LoseAttempt, TimerFired, RecheckSlots, RefuseWaiting)
"""What `open` says: it is not kept from a log that is opened again."""


class Dispatcher:
    """One partition at work. `on_failure` is told of a failed commit."""

    def __init__(
        self,
        partition: int,
        ports: Ports,
        limits: Limits,
        on_failure: Callable[[CodedError], None],
    ) -> None:
        self.partition = partition
        self.commands: deque[Message] = deque()
        self.exchange = Exchange(partition, ports.journal)
        self.turns = Turns(partition, ports, limits, self.exchange)
        self.timers = Timers(ports.journal, partition)
        self._ports = ports
        self._limits = limits
        self._on_failure = on_failure
        self._attempts = Attempts(partition, ports, limits, self._command)
        self._epoch = 0
        self._number = 0
        self._hash = b""
        self._last_ns = 0
        self._opening = False
        self._opened_count = 0
        self._to_record: deque[tuple[Sequence[Any], Done, Sequence[Send]]] = deque()
        self._heard: deque[tuple[int, CodedError | None]] = deque()
        self._standing_by = False
        self._closed_before = False
        self._theirs = False
        self.confirmed = True
        """Whether a commit succeeded since the last one that failed."""

    # -- opening ---------------------------------------------------------------------------

    def open(self) -> None:
        """Read where the partition stands, take it over, and go on with what is unfinished.

        Activates nothing that has nothing to do. Undelivered messages come before anything new;
        the first batch records `PartitionOpened`.
        """
        head = self._take_over()
        self._opening = True
        self._find_unfinished()
        self.timers = Timers(self._ports.journal, self.partition)
        self.commands.extend(self._attempts.questions(head.era, closed=self._closed_before))

    def attend(self) -> None:
        """Take the partition over to take commands only: they are decided, and nothing begins.

        No attempt is begun, or lost; no timer fires; the slots that lanes give wait as undelivered
        messages for the process that opens the partition. Else as `stand_by`.
        """
        self.stand_by()
        self.turns.held_back = []
        self._find_unfinished()

    def _find_unfinished(self) -> None:
        self._open_given_up()
        for row, record in self.exchange.open():
            self.turns.deliver_record(record, row)
        self._attempts.open(self.exchange.attempts())

    def stand_by(self) -> None:
        """Read where the partition stands, to keep house in it: nothing that is unfinished goes on.

        Only `record` and `require_snapshots` are served. A partition that was closed as it was
        asked to stays so: every frame says it again.
        """
        self._take_over()
        self._standing_by = True

    def _take_over(self) -> Head:
        journal = self._ports.journal
        head = journal.head(self.partition)
        self._epoch = head.epoch + 1
        self._number, self._hash = head.number, head.hash
        self._last_ns = max(self._last_ns, head.time_ns)
        self._opened_count += 1
        self.turns.era = head.era
        self.turns.partition_seq = journal.last_seq(self.partition, PARTITION_STREAM)
        self._closed_before = self._was_closed()
        return head

    def _open_given_up(self) -> None:
        """Go on refusing what waits for lanes given up; try again what may have been mended."""
        found = given_up(self._ports.journal, self.partition)
        self.turns.bugs.poisoned = found.poisoned
        self.turns.bugs.refusals.clear()
        self.turns.parked.clear()
        lanes = [stream for stream in sorted(found.poisoned) if kind_of(stream) == "lane"]
        self.commands.extend(Message(lane, RefuseWaiting()) for lane in lanes)
        mendable = sorted(found.mendable)
        self.commands.extend(Message(lane, RecheckSlots(None)) for lane in mendable)
        if not self._standing_by:
            for settled, send in found.woke:  # where this fails, the next opening finds it
                self.record([settled], lambda _: None, [send])

    def _was_closed(self) -> bool:
        """Tell whether the process before this one stopped as it was asked to."""
        last = self.turns.partition_seq
        turns = stream_turns(self._ports.journal, PARTITION_STREAM, last, self.partition)
        found = [fact.type for turn in turns for fact in turn.facts]
        return bool(last) and found[-1] == FACTS.names[PartitionClosed].name

    def record_closed(self) -> None:
        """Record, as the last batch, that this process stops because it was asked to."""
        if self._standing_by:
            return
        batch = self._begin(self._last_ns)
        self.turns.record_of_partition(Cause(), [self._closed()])
        self._close(batch)
        self.turns.batch = None

    def _closed(self) -> PartitionClosed:
        return PartitionClosed(self._ports.identity.node, self._ports.identity.boot)

    # -- keeping house -----------------------------------------------------------------------

    def record(self, facts: Sequence[Any], done: Done, sends: Sequence[Send] = ()) -> None:
        """Record facts on `$partition`, and say something with them.

        `done` hears when that is durable, or why not: `NotParked` of a message that is settled
        already. After any other error it is not known whether they were recorded.
        """
        self._to_record.append((facts, done, sends))

    def require_snapshots(self, streams: Iterable[str], below: int, done: Done) -> None:
        """Have the unfinished actors of some streams need no fact below `below` any more.

        `done` hears when their snapshots are durable, or why not.
        """
        self.turns.snapshots.required.add(streams, below, done)

    def _record_asked(self) -> None:
        while self._to_record:
            self.turns.record_asked(*self._to_record.popleft())

    # -- what comes in -----------------------------------------------------------------------

    def accept(self, message: Message) -> None:
        """Take in a command from outside, or answer `busy`."""
        if message.reply_to is not None and len(self.commands) >= self._limits.commands_max:
            text = f"{len(self.commands)} commands wait already"
            message.reply_to(Reply(Refused("busy", text, "try again in a moment"), None))
            return
        self.commands.append(message)

    def accept_outcome(self, outcome: Report) -> None:
        """Take in what an executor says of an attempt."""
        message = Message(outcome.stream, outcome)
        if isinstance(outcome, (Outcome, Saved, Stepped)) and outcome.blobs:
            message.blobs = outcome.blobs
        self.commands.append(message)

    def _command(self, message: Message) -> None:
        self.commands.append(message)

    # -- a batch -----------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Tell whether nothing waits and everything decided is durable."""
        return not (self._has_work() or self.turns.in_flight)

    def wake_ns(self) -> int:
        """Return when the next timer wants a batch."""
        return NEVER if self._standing_by else self.timers.next_ns()

    def _has_work(self) -> bool:
        turns = self.turns
        return bool(
            turns.waiting
            or self.commands
            or self._opening
            or self.exchange.waiting
            or self._to_record
            or turns.snapshots.required
        )

    def step(self) -> bool:
        """Decide one batch and hand it to the journal; False if there is nothing to do now."""
        now_ns = self._last_ns = max(self._ports.clock.now_ns(), self._last_ns)
        if len(self.turns.in_flight) >= self._limits.commits_in_flight_max:
            return False
        if not self._has_work() and self.wake_ns() > now_ns:
            return False
        batch = self._begin(now_ns)
        if self._opening:
            self._opening = False
            identity = self._ports.identity
            opened = PartitionOpened(identity.node, identity.boot, self._ports.version)
            self.turns.record_of_partition(Cause(), [opened])
        self._record_asked()
        if not self._standing_by:
            self._fire_timers(now_ns)
        self._run(batch, now_ns)
        self._close(batch)
        self.turns.batch = None
        return True

    def _begin(self, now_ns: int) -> Batch:
        batch = Batch(self._number + 1, now_ns, self.turns.pack)
        self.turns.begin(batch)
        self._ports.contents.lend(batch.builder.blobs)
        return batch

    def _fire_timers(self, now_ns: int) -> None:
        for row in self.timers.due(now_ns):
            message = Message(row.stream, TimerFired(row.id))
            message.timer = row
            self.commands.append(message)

    def _run(self, batch: Batch, now_ns: int) -> None:
        """Take turns until nothing is runnable or the batch is full: by count, bytes or time.

        Nothing new is taken in once it is half full: what follows from the rest has room then,
        and need not be written down as undelivered. Who comes later comes when nothing else can, or
        when `WAVE_MAX` were taken in, or first where the batch before left some: commands that
        never end must not hold them up for ever. Of time there is `OVERTIME` for what follows:
        threads that share the interpreter may take half of it.
        """
        turns, limits, clock = self.turns, self._limits, self._ports.clock
        ready, builder = turns.ready, batch.builder
        most, most_bytes = limits.batch_messages_max, limits.batch_bytes_max
        look_at = min(_LOOK_EVERY, most)
        passed_s, taken_in, wave, left = 0.0, 0, 0, bool(turns.later)
        while True:
            if ready:
                turns.take_next()
                batch.messages += 1
            elif (
                not left
                and wave < WAVE_MAX
                and (batch.messages + taken_in) * 2 <= most
                and builder.body_bytes * 2 <= most_bytes
                and passed_s * 2 <= limits.batch_time_s
                and self._take_in(batch)
            ):
                wave, taken_in = wave + 1, taken_in + 1
                continue
            elif turns.later:
                batch.messages += turns.take_later()
                left = False
            elif wave == 0:
                return
            else:
                wave = 0
                continue
            if builder.body_bytes >= most_bytes:
                return
            if batch.messages >= look_at:
                look_at = min(batch.messages + _LOOK_EVERY, most)
                passed_s = (clock.now_ns() - now_ns) / 1e9
                if batch.messages >= most or passed_s > limits.batch_time_s * OVERTIME:
                    return
                if self._heard:
                    self._let_durable_out()

    def _take_in(self, batch: Batch) -> bool:
        """Deliver a command, or what came from another partition: by turns where both wait."""
        self._theirs = not self._theirs
        if (self._theirs or not self.commands) and self._receive(batch):
            return True
        if self.commands:
            self.turns.deliver(self.commands.popleft())
            return True
        return False

    def _receive(self, batch: Batch) -> bool:
        """Take in messages of another partition, if any wait."""
        delivery = self.exchange.take()
        if delivery is None:
            return False
        batch.builder.received[delivery.source] = delivery.last
        for record in delivery.records:
            self.turns.deliver_record(record, None)
        return True

    # -- commit ------------------------------------------------------------------------------

    def _close(self, batch: Batch) -> None:
        """Make the batch a frame and queue its commit."""
        builder = batch.builder
        self._keep_undelivered(batch)
        batch.settle()
        self.exchange.settle(builder)
        snapshots = self.turns.snapshots
        if builder.is_empty() and not snapshots.required:
            self._ride_along(batch)
            return
        if self._standing_by and self._closed_before:
            self.turns.record_of_partition(Cause(), [self._closed()])
        elif builder.count == 0:
            self.turns.record_of_partition(Cause(), [Marked()])
        self._attempts.settle(builder)
        frame = batch.frame = self.encode(batch)
        self._number, self._hash = frame.last, frame.hash
        self.turns.in_flight.append(batch)
        frame.rows.extend(snapshots.rows(self.turns.era))
        batch.after += snapshots.required.take_met()
        opened = self._opened_count
        try:
            self._ports.journal.append(frame, lambda error: self._hear(opened, error))
        except JournalUnavailable as error:
            # The write before this one failed and its word is still on the way.
            if isinstance(error.__cause__, JournalBroken):
                raise error.__cause__ from None
            self._on_failure(error)

    def encode(self, batch: Batch) -> EncodedFrame:
        """Make the frame of a batch, chained to the frame before."""
        return batch.builder.close(
            FrameHeader(
                self._ports.journal.log_id,
                self.partition,
                self.turns.era,
                self._epoch,
                batch.builder.first,
                batch.builder.count,
                batch.now_ns,
                self._hash,
            )
        )

    def _keep_undelivered(self, batch: Batch) -> None:
        """Write what a full batch leaves in inboxes as rows of its frame.

        Commands of this node (timers, lost attempts) need no row: their own rows bring them back.
        """
        builder = batch.builder
        for message in self.turns.undelivered():
            if message.row is None and message.id is not None:
                builder.left.append((batch.sent, message.record(builder.blobs)))
                message.row = (builder.first, batch.sent)
                batch.sent += 1

    def _ride_along(self, batch: Batch) -> None:
        """Nothing to write: what the batch lets out waits only for what is being written."""
        self._ports.contents.take_back(batch.builder.blobs)
        if self.turns.in_flight:
            last = self.turns.in_flight[-1]
            last.replies.extend(batch.replies)
            last.tells.extend(batch.tells)
            last.stops.extend(batch.stops)
        else:
            self._let_out(batch)

    def _hear(self, opened: int, error: CodedError | None) -> None:
        """Note how a commit ended. Called on the journal's thread."""
        self._heard.append((opened, error))
        self._ports.post(self._take_heard, None)

    def _take_heard(self, _: None) -> None:
        while self._heard:
            self._done(*self._heard.popleft())

    def _let_durable_out(self) -> None:
        """Let what became durable leave while a batch is open; a failure waits for its end."""
        while self._heard and self._heard[0][1] is None:
            self._done(*self._heard.popleft())

    def _done(self, opened: int, error: CodedError | None) -> None:
        if isinstance(error, JournalBroken):
            raise error
        if opened != self._opened_count:
            return  # of a commit that was given up already
        if error is not None:
            self._on_failure(error)
            return
        self.confirmed = True
        batch = self.turns.in_flight.popleft()
        self._ports.contents.take_back(batch.builder.blobs)
        self._let_out(batch)

    def _let_out(self, batch: Batch) -> None:
        """Let the effects of a durable batch leave."""
        for reply_to, answer, number in batch.replies:
            reply_to(Reply(answer, Position(self.partition, number) if number else None))
        if batch.starts:
            self._ports.executor.start_many(batch.starts)
        if batch.tells:
            self._attempts.tell(batch.tells)
        if batch.stops:
            self._attempts.stop(batch.stops)
        for row in batch.fired:
            self.timers.handled(row)
        if batch.frame is None:
            self.turns.directory.passivate([], self._number)
            return
        for row in batch.builder.timers_removed:
            self.timers.disarm(row)
        for row in batch.builder.timers_added:
            self.timers.arm(row)
        self.exchange.committed(batch.builder)
        self._ports.committed(self.partition, batch.frame)
        position = Position(self.partition, batch.frame.last)
        for ended in batch.ended:
            self._ports.run_ended(ended, position)
        for search in batch.searches:
            self._ports.searches(search)
        self.turns.directory.passivate(list(batch.touched.values()), batch.frame.last)
        for done in batch.after:
            done(None)

    def abandon(self, error: CodedError) -> None:
        """Give up what is not durable, after a commit failed; `open` again before the next step.

        Every command in flight is answered `outcome_unknown`: its sender asks again by its id;
        one that still waits, with the error itself: it was not recorded. Outcomes of attempts are
        kept and handled again: a result is not lost with a batch.
        """
        outcomes = [message for batch in self.turns.in_flight for message in batch.outcomes]
        refused = Refused(
            OutcomeUnknown.code, f"the commit failed: {error.message}", "ask again with the same id"
        )
        for batch in self.turns.in_flight:
            self._ports.contents.take_back(batch.builder.blobs)
            for reply_to, _, _ in batch.replies:
                reply_to(Reply(refused, None))
            for done in batch.after:
                done(error)
        while self._to_record:
            self._to_record.popleft()[1](error)
        kept = []
        self.turns.answer_passed_on(Reply(refused, None))
        delivered = [message for message in self.turns.undelivered() if message.id is None]
        for message in (*delivered, *self.commands):
            if message.reply_to is not None:
                message.reply_to(Reply(Refused(error.code, error.message, error.hint), None))
            elif not isinstance(message.body, _FOUND_AGAIN):
                kept.append(message)
        self.commands = deque([*outcomes, *kept])
        self.confirmed = False
        self.turns.in_flight.clear()
        self.turns.ready.clear()
        self.turns.later.clear()
        self.turns.directory.clear()
        self.turns.snapshots.forget()
        self.turns.snapshots.required.forget(error)
        self._opened_count += 1
