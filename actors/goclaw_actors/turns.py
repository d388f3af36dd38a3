"""The turns of a partition: a message is delivered, decided, recorded, and its facts applied.

What a bug costs is in `bugs`: a message, not the partition.
"""

from __future__ import annotations

from collections import deque
from itertools import chain
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.adjusting import LeftQueue
from goclaw_actors.archived import answer, archived_run, without_facts
from goclaw_actors.bugs import Bugs
from goclaw_actors.decider import NOTHING, Moment, Refused, Send
from goclaw_actors.directory import Directory
from goclaw_actors.errors import TurnTooLarge
from goclaw_actors.history import Histories, refused
from goclaw_actors.message import Message, from_record
from goclaw_actors.messages import LoseAttempt, SlotLeased
from goclaw_actors.parked import Parked
from goclaw_actors.rebuild import load
from goclaw_actors.recent import RecentFrames
from goclaw_actors.replies import cause_of, fold_reply, known_reply
from goclaw_actors.required import Required
from goclaw_actors.snapshotter import Snapshotter
from goclaw_actors.spill import spill
from goclaw_actors.versions import outdated
from goclaw_events.codec import FACTS
from goclaw_events.envelope import Cause, maker
from goclaw_events.errors import HistoryExpired, JournalUnavailable
from goclaw_events.facts import MessageSettled
from goclaw_events.ids import PARTITION_STREAM, partition_of
from goclaw_events.value import INLINE_BYTES_MAX, packer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from goclaw_actors.actor import Entity
    from goclaw_actors.batch import Batch
    from goclaw_actors.decider import Accepted, Decision
    from goclaw_actors.exchange import Exchange
    from goclaw_actors.message import Reply
    from goclaw_actors.ports import Limits, Ports
    from goclaw_events.envelope import MessageRecord
    from goclaw_events.journal import Done

log = getLogger(__name__)
_CAUSE: Final = maker(Cause, 6)
_NEW: Final = object.__new__
TURN_BYTES_MAX: Final = 3 * 1024 * 1024
"""With a full batch before it and the messages left after it, a turn must fit into a frame."""


class Turns:
    """Take turns in the open batch.

    `ready` holds the actors whose inbox is not empty, in order; `later` those that are taken once
    nothing is ready: they pool what is said to them, or go on with a large piece of work.
    """

    def __init__(self, partition: int, ports: Ports, limits: Limits, exchange: Exchange) -> None:
        self.partition = partition
        self.era = 0
        self.partition_seq = 0
        self.ready: deque[Entity] = deque()
        self.later: deque[Entity] = deque()
        self.bugs = Bugs(self)
        self.parked = Parked(ports.journal, partition)
        self.directory = Directory(ports.kinds, self, limits.live_actors_max)
        self._live = self.directory.live
        required = Required(self.activate, self.directory.release)
        self.histories = Histories(limits)
        self._facts_mark = self.histories.facts_mark
        self._bytes_mark = self.histories.bytes_mark
        self.snapshots = Snapshotter(partition, ports.journal, ports.clock, limits, required)
        self._snapshot_every = limits.snapshot_every_facts
        self._recent = RecentFrames()
        self.in_flight: deque[Batch] = deque()
        self.batch: Batch | None = None
        self.held_back: list[Message] | None = None
        """Where nothing may begin: what would have work begin, which the next process delivers."""
        self.pack = packer()
        self.journal = ports.journal
        self._partitions = ports.journal.partitions
        self._now = Moment(0, 0, partition, 0, ports.identity.holder)
        self._exchange = exchange

    # -- delivery --------------------------------------------------------------------------

    def deliver(self, message: Message) -> None:
        """Put a message into its actor's inbox; where nothing begins, some are kept for later."""
        if self.held_back is not None and (_begins(message) or self._comes_behind(message)):
            self.held_back.append(message)
            return
        target = message.target
        (self._live.get(target) or self.directory.entity(target)).tell(message)

    def _comes_behind(self, message: Message) -> bool:
        """Tell whether a lane says that a task left it, to whom its slot was not delivered yet."""
        if type(message.body) is not LeftQueue:
            return False
        return any(held.target == message.target for held in self.held_back or ())

    def deliver_record(self, record: MessageRecord, row: tuple[int, int] | None) -> None:
        """Deliver a message that was stored, in an inbox row or another partition's frame."""
        message = from_record(record)
        if row is not None:
            message.row = row
        self.deliver(message)

    def take_next(self) -> None:
        """Let the first ready actor handle its next message.

        What an actor tells itself, to go on with a large piece of work, comes after what it told
        others: what waits in inboxes when a batch ends stays small.
        """
        entity = self.ready[0]
        waiting = entity.waiting
        assert waiting, "who is in line has a message"
        self.handle(entity, waiting.pop(0))
        if not waiting:
            entity.waiting = None
            self.ready.popleft()
        elif _comes_later(waiting[0], entity.kinds):
            self.later.append(self.ready.popleft())

    def take_later(self) -> int:
        """Let the first of those that come later have a turn; return how many messages it had."""
        entity = self.later.popleft()
        waiting, pool = entity.waiting, entity.decider.pool
        assert waiting, "who is in line has a message"
        count, most = 1, 1 if pool is None else min(len(waiting), pool.messages_max)
        if pool is not None and most > 1 and _may_pool(waiting[0], pool.kinds):
            while count < most and _may_pool(waiting[count], pool.kinds):
                count += 1
        taken = waiting[:count]
        del waiting[:count]
        if count == 1:
            self.handle(entity, taken[0])
        else:
            self._handle_together(entity, taken)
        if not waiting:
            entity.waiting = None
        elif _comes_later(waiting[0], entity.kinds):
            self.later.append(entity)
        else:
            self.ready.append(entity)
        return count

    @property
    def waiting(self) -> bool:
        """Tell whether an actor has messages in its inbox."""
        return bool(self.ready or self.later)

    def undelivered(self) -> Iterator[Message]:
        """Yield what waits in inboxes, in order of delivery."""
        yield from self.held_back or ()
        for entity in chain(self.ready, self.later):
            yield from entity.waiting or ()

    def answer_passed_on(self, reply: Reply) -> None:
        """Answer commands that an actor passed on, and that were not handled: nobody else does."""
        for message in self.undelivered():
            if message.id is not None and message.reply_to is not None:
                message.reply_to(reply)

    # -- a turn ----------------------------------------------------------------------------

    def handle(self, entity: Entity, message: Message) -> None:
        """Take one turn of an actor."""
        batch = self.batch
        assert batch is not None, "turns are taken within a batch"
        if entity.stream in self.bugs.poisoned:
            self.bugs.refuse(batch, entity, message)
            return
        if message.id is None or message.row is not None:
            batch.take_source(message)
        try:
            if entity.state is None:
                if message.fresh and not entity.rebuild:
                    entity.state = entity.decider.initial(entity.stream)
                    entity.snapshot_due = self._snapshot_every
                elif self._answer_archived(batch, entity, message) or not self._begin(
                    entity, message, batch
                ):
                    return
            is_command = message.command_id is not None or message.if_version is not None
            if is_command and (reply := _reply_before(entity, message, batch.now_ns)) is not None:
                batch.reply(message, reply, entity.number)
                return
            moment, builder = self._now, batch.builder
            moment.number = builder.first + builder.count
            moment.full = None
            if entity.grown is not None:
                moment.full = entity.grown.refusal
                if (no := refused(entity, message)) is not None:
                    batch.reply(message, no, entity.number)
                    return
            decision = entity.decider.decide(entity.state, message.body, moment)
            if decision.facts and entity.archived and entity.decider.is_final(entity.state):
                decision = without_facts(decision)
            self._record(batch, entity, message, decision)
        except JournalUnavailable:
            raise  # the disk failed, not the message: the node stops, and starts again from the log
        except Exception as error:  # noqa: BLE001 - a bug ends here, recorded with its trace
            self.bugs.failed(batch, entity, message, error)

    def _handle_together(self, entity: Entity, messages: list[Message]) -> None:
        """Take one turn for several messages.

        Where that fails, or the actor's run is archived, each has one of its own.
        """
        batch, pool = self.batch, entity.decider.pool
        assert batch is not None, "turns are taken within a batch"
        assert pool is not None, "only what an actor pools is handled together"
        if entity.stream not in self.bugs.poisoned and not self._is_archived(entity, messages[0]):
            for message in messages:
                if message.id is None or message.row is not None:
                    batch.take_source(message)
            try:
                if entity.state is None:
                    self.load(entity, batch)
                bodies = [message.body for message in messages]
                self._now.number = batch.next_number
                self._now.full = None if entity.grown is None else entity.grown.refusal
                decision = pool.decide(entity.state, bodies, self._now)
                # To read the facts again costs by the message, not by the fact.
                entity.snapshot_due -= len(messages) - 1
                self._record(batch, entity, messages[0], decision)
            except JournalUnavailable:
                raise
            except Exception:
                # The message that it comes from is found, and recorded, below.
                log.exception("%d messages failed together on %s", len(messages), entity.stream)
                entity.forget()
            else:
                return
        for message in messages:
            self.handle(entity, message)

    def _is_archived(self, entity: Entity, message: Message) -> bool:
        if entity.state is None and not message.fresh:
            found = archived_run(self.journal, self.partition, entity.stream)
            entity.archived = found is not None
        return entity.archived

    def begin(self, batch: Batch) -> None:
        """Take the turns that follow in a batch, at its moment."""
        self.batch = batch
        self._now.now_ns, self._now.era = batch.now_ns, self.era

    def activate(self, stream: str) -> tuple[Entity, bool] | None:
        """Return the live actor of a stream, loaded, and whether it was live; None: it has none.

        Called while a batch is closed. Raises what reading its stream raises.
        """
        batch = self.batch
        assert batch is not None, "a batch is being closed"
        if stream in self.bugs.poisoned or not self.directory.knows(stream):
            return None
        entity = self.directory.live.get(stream)
        was_live = entity is not None
        if entity is None:
            entity = self.directory.entity(stream)
        if entity.state is None:
            try:
                self.load(entity, batch)
            except Exception:
                entity.forget()
                raise
        return entity, was_live

    def _answer_archived(self, batch: Batch, entity: Entity, message: Message) -> bool:
        """Answer a message to an archived run, if that needs no actor; note that it is archived."""
        if message.fresh:
            return False
        ended = archived_run(self.journal, self.partition, entity.stream)
        entity.archived = ended is not None
        if ended is None or message.command_id is not None or message.reply_to is None:
            return False  # whoever is no command from outside may have to be told more
        decision = answer(entity.stream, ended, message.body)
        if decision is not None:
            self._say(batch, entity, message, decision)
        return decision is not None

    def _say(self, batch: Batch, entity: Entity, message: Message, decision: Decision) -> None:
        if decision.reply is not None:
            batch.reply(message, decision.reply, 0)
        for send in decision.sends:
            self.send(batch, entity.stream, message, send)
        self.directory.release(entity)

    def _begin(self, entity: Entity, message: Message, batch: Batch) -> bool:
        """Bring an actor to where its stream stands; False if nothing is left to decide with."""
        try:
            self.load(entity, batch)
        except HistoryExpired:
            ended = archived_run(self.journal, self.partition, entity.stream)
            if ended is None:
                raise
            entity.forget()
            decision = answer(entity.stream, ended, message.body) or NOTHING
            self._say(batch, entity, message, decision)
            return False
        return True

    def load(self, entity: Entity, batch: Batch) -> None:
        """Bring an actor's state to where its stream stands, the batch included."""
        stream = entity.stream
        frames = [
            flying.frame.data
            for flying in self.in_flight
            if flying.frame is not None and stream in flying.builder.streams
        ]
        builder = batch.builder if stream in batch.builder.streams else None
        load(entity, self.journal, self.partition, frames, builder, batch.now_ns, self._recent)
        entity.snapshot_due = self._snapshot_every + (entity.base.seq if entity.base else 0)
        if entity.seq >= self._facts_mark or entity.size >= self._bytes_mark:
            self.histories.look(entity, is_rebuilt=True)

    def _record(self, batch: Batch, entity: Entity, message: Message, decision: Decision) -> None:
        facts, sends, effects, reply = decision
        if facts:
            if message.command_id is None:
                cause = _CAUSE(
                    (message.id, None, message.correlation, message.traceparent, None, None)
                )
            else:
                cause = cause_of(message, reply)
            builder, stream, seq = batch.builder, entity.stream, entity.seq + 1
            data = self.pack(turn := _turn_of(cause, stream, seq, facts))
            if len(data) > INLINE_BYTES_MAX:
                facts, data = self._spilled(batch, turn)
                if len(data) > TURN_BYTES_MAX:
                    self._refuse(batch, entity, message)
                    return
            evolve, state = entity.decider.evolve, entity.state
            for fact in facts:
                evolve(state, fact)
            if cause.command_id is not None:
                fold_reply(entity, cause, batch.now_ns)
            count = len(facts)
            builder.add(stream, seq, count, data, facts)
            entity.seq += count
            entity.number = builder.first + builder.count - 1
            entity.size += len(data)
            if entity.seq >= entity.snapshot_due:
                self.snapshots.want(entity)
            if entity.seq >= self._facts_mark or entity.size >= self._bytes_mark:
                self.histories.look(entity)
            batch.touched[stream] = entity
        for effect in effects:
            batch.apply(entity.stream, effect)
        for send in sends:
            self.send(batch, entity.stream, message, send)
        if reply is not None:
            batch.reply(message, reply, entity.number)

    def _refuse(self, batch: Batch, entity: Entity, message: Message) -> None:
        """Answer a command whose facts are too large for a turn; raise where nobody waits."""
        text = f"the facts of one message take more than {TURN_BYTES_MAX} bytes"
        if message.reply_to is None:
            raise TurnTooLarge(text, stream=entity.stream)
        batch.reply(message, Refused(TurnTooLarge.code, text), entity.number)

    def _spilled(self, batch: Batch, turn: list[Any]) -> tuple[list[Any], bytes]:
        """Pack a turn again: a fact with a large value is replaced by one that refers to it."""
        smaller = []
        for at, told in enumerate(turn[1:], 1):
            fact = told[-1]
            if len(self.pack(told)) > INLINE_BYTES_MAX:
                fact = spill(fact, batch.builder.blobs)
                turn[at] = (*told[:-1], fact)
            smaller.append(fact)
        return smaller, self.pack(turn)

    def send(self, batch: Batch, sender: str, cause: Message, send: Send) -> None:
        """Deliver what an actor says to another, here or in the other's partition."""
        target, body, fresh, passed_on = send
        number = (batch.builder.first, batch.sent)
        message = _NEW(Message)  # without its constructor: one is made for each thing said
        message.target, message.body, message.id, message.fresh = target, body, number, fresh
        message.correlation, message.traceparent = cause.correlation, cause.traceparent
        if target == sender:
            message.continues = True
        batch.sent += 1
        if passed_on:
            message.answer_for(cause)
        if self._partitions > 1:
            destination = partition_of(target, self._partitions)
            if destination != self.partition:
                assert not passed_on, "who answers a command is in the partition of who was asked"
                message.id = (self.partition, batch.builder.first, batch.sent - 1)
                self._exchange.send(destination, message.record(batch.builder.blobs))
                return
        self.deliver(message)

    # -- the partition's own stream ----------------------------------------------------------

    def record_asked(self, facts: Sequence[Any], done: Done, sends: Sequence[Send]) -> None:
        """Record facts that somebody asked for, unless they settle what is settled; tell `done`."""
        batch = self.batch
        assert batch is not None, "facts are recorded within a batch"
        refused = self.parked.settle(facts)
        if refused is not None:
            done(refused)
            return
        batch.after.append(done)
        self.record_of_partition(Cause(), facts, sends)

    def record_of_partition(
        self, cause: Cause, facts: Sequence[Any], sends: Sequence[Send] = ()
    ) -> None:
        """Record facts on `$partition`, which no actor has, and say something with them."""
        batch = self.batch
        assert batch is not None, "facts are recorded within a batch"
        seq, count = self.partition_seq + 1, len(facts)
        data = self.pack(_turn_of(cause, PARTITION_STREAM, seq, facts))
        batch.builder.add(PARTITION_STREAM, seq, count, data, facts)
        self.partition_seq += count
        for fact in facts:
            if isinstance(fact, MessageSettled):
                batch.builder.park(fact.number, None)
        for send in sends:
            self.send(batch, PARTITION_STREAM, Message(PARTITION_STREAM, None), send)


def _reply_before(entity: Entity, message: Message, now_ns: int) -> Accepted | Refused | None:
    """Return what answers a command undecided: it came before, or expects another version."""
    reply = None
    if message.command_id is not None:
        reply = known_reply(entity, message, now_ns)
    if reply is None and message.if_version is not None:
        return outdated(entity, message.if_version)
    return reply


def _turn_of(cause: Cause, stream: str, seq: int, facts: Sequence[Any]) -> list[Any]:
    """Return a turn as a frame holds it."""
    names = FACTS.names
    turn: list[Any] = [cause]
    for fact in facts:
        name, version = names[type(fact)]
        turn.append((stream, seq, name, version, fact))
        seq += 1
    return turn


def _comes_later(message: Message, kinds: frozenset[type]) -> bool:
    """Tell whether a message waits until nothing else can be decided."""
    return message.continues or type(message.body) in kinds


def _may_pool(message: Message, kinds: frozenset[type]) -> bool:
    """Tell whether nobody waits for an answer to this very message."""
    return type(message.body) in kinds and message.reply_to is None and message.command_id is None


def _begins(message: Message) -> bool:
    """Tell whether an attempt may begin at once by a message: a slot, or a loss that is said again.

    One that is told for the first time is that of an attempt which a command stopped.
    """
    kind = type(message.body)
    return kind is SlotLeased or (kind is LoseAttempt and message.id is not None)
