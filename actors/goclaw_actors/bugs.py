"""What becomes of a message whose handling raised, and of a stream that is given up.

A bug stops a message, not the partition: what the message produced is discarded, the actor is
rebuilt before its next message, and `MessageFailed` is recorded on `$partition`.
"""

from __future__ import annotations

from logging import getLogger
from typing import TYPE_CHECKING, Final

from goclaw_actors.adjusting import LeaveQueue
from goclaw_actors.collecting import (
    CollectorDone,
    MembersReported,
    OpenCollector,
    WatchCollector,
    WatchTasks,
    end_all,
)
from goclaw_actors.decider import ClearOpen, Refused, RunEnded, Send
from goclaw_actors.failures import failure_of, storable
from goclaw_actors.given_up import SHARED, Refusals, gives_up
from goclaw_actors.lending import (
    ClaimKey,
    Defer,
    Enqueue,
    RefuseWaiting,
    ReturnRoom,
    WaitForRoom,
)
from goclaw_actors.message import Message
from goclaw_actors.messages import (
    POISONED,
    AskAgain,
    CancelRun,
    CancelTask,
    ChildEnded,
    FailRun,
    KeyRefused,
    RoomFor,
    RoomRefused,
    SlotRefused,
    SubmitRun,
)
from goclaw_events.codec import FACTS
from goclaw_events.envelope import Cause
from goclaw_events.errors import CodedError, JournalUnavailable
from goclaw_events.facts import RunSubmitted, SagaSubmitted, StreamPoisoned
from goclaw_events.ids import OWNERS, kind_of, lane_stream, owner_stream, routing_key
from goclaw_events.replay import stream_turns
from goclaw_events.value import pack

if TYPE_CHECKING:
    from goclaw_actors.actor import Entity
    from goclaw_actors.batch import Batch
    from goclaw_actors.turns import Turns

log = getLogger(__name__)
TEXT_CHARS_MAX: Final = 500


class Bugs:
    """Record what failed, tell those whom it concerns, and answer for streams given up.

    `poisoned`: the streams of the partition that were given up.
    """

    def __init__(self, turns: Turns) -> None:
        self.poisoned: set[str] = set()
        self.refusals = Refusals()
        self._turns = turns

    def failed(self, batch: Batch, entity: Entity, message: Message, error: Exception) -> None:
        """Discard what the message produced, park it, and fail the run that it belongs to."""
        text = storable(f"{type(error).__name__}: {error}")[:TEXT_CHARS_MAX]
        failed = failure_of(entity.stream, entity.seq, message.body, error, batch.builder.blobs)
        log.error("a message failed on %s: %s", entity.stream, failed.trace)
        code = failed.code
        entity.forget()
        number = batch.next_number
        self._turns.record_of_partition(message.cause(), [failed])
        batch.builder.park(number, pack(list(failed)))
        self._tell_parent(batch, message, code, text)
        self._give_back(batch, message)
        hint = f"the message is parked at {self._turns.partition}:{number}"
        batch.reply(message, Refused("internal_bug", text, hint), number)
        if gives_up(entity.stream, failed.message_type):
            self._poison(batch, entity.stream, code, text)
            self._refuse_slot(batch, message)  # nobody else tells the task
            if kind_of(entity.stream) in SHARED:
                again = Send(entity.stream, RefuseWaiting())
                self._turns.send(batch, entity.stream, message, again)
            return
        if kind_of(entity.stream) in ("catalogue", "collector", "schedule"):
            self._tell_collecting(batch, message)
            return  # no run belongs to it; whoever wanted something was answered
        if isinstance(message.body, CancelTask) and message.body.last:
            return
        is_task = kind_of(entity.stream) == "task"
        task = entity.stream.split("/", 2)[2] if is_task else ""
        fail = FailRun("internal_bug", text, task)
        target = owner_stream(routing_key(entity.stream))
        self._turns.send(batch, entity.stream, message, Send(target, fail))

    def _poison(self, batch: Batch, stream: str, code: str, text: str) -> None:
        """Give a stream up without asking its decider."""
        self.poisoned.add(stream)
        self._turns.record_of_partition(Cause(), [StreamPoisoned(stream, code, text)])
        if kind_of(stream) in OWNERS:
            batch.apply(stream, ClearOpen())
            error = ("internal_bug", text, "")
            batch.ended.append(RunEnded(routing_key(stream), "failed", None, error))
            parent = self._parent_of(stream)
            if parent:
                ended = ChildEnded(routing_key(stream), "failed", None, [code, text])
                self._turns.send(batch, stream, Message(stream, None), Send(parent, ended))

    def _parent_of(self, stream: str) -> str:
        """Return whose child a run is, as its first fact says.

        '' if that is not durable yet, or cannot be read: the damage may be why it is given up.
        """
        try:
            first = next(stream_turns(self._turns.journal, stream), None)
        except JournalUnavailable:
            raise
        except CodedError as error:
            log.error("whose child %s is cannot be read: %s", stream, error)  # noqa: TRY400
            return ""
        if first is None:
            return ""
        said = first.facts[0]
        submitted = FACTS.decode(said.type, said.version, said.data)
        return submitted.parent if isinstance(submitted, RunSubmitted | SagaSubmitted) else ""

    def _tell_parent(self, batch: Batch, message: Message, code: str, text: str) -> None:
        """Tell the task that waits for a run, if this is its word to it, that it waits in vain."""
        match message.body:
            case SubmitRun(parent=parent) | CancelRun(requested_by=parent):
                if kind_of(parent) == "task":
                    ended = ChildEnded(routing_key(message.target), "failed", None, [code, text])
                    self._turns.send(batch, message.target, message, Send(parent, ended))

    def refuse(self, batch: Batch, entity: Entity, message: Message) -> None:
        """Answer a message to a stream that was given up."""
        batch.take_source(message)
        self._refuse_slot(batch, message)
        self._give_back(batch, message)
        if isinstance(message.body, RefuseWaiting):
            for send in self.refusals.next(entity, lambda: self._turns.load(entity, batch)):
                self._turns.send(batch, entity.stream, message, send)
        text = f"stream {message.target} cannot go on after a bug"
        if isinstance(message.body, WatchTasks):
            told = MembersReported(routing_key(message.target), end_all(message.body, "failed"))
            self._turns.send(batch, entity.stream, message, Send(message.body.collector, told))
        self._tell_collecting(batch, message)
        self._tell_parent(batch, message, POISONED, text)
        batch.reply(message, Refused(POISONED, text, "see goclaw log show"), 0)

    def _tell_collecting(self, batch: Batch, message: Message) -> None:
        """Tell a task that its collector was not opened, or does not know that it waits."""
        match message.body:
            case OpenCollector(task=task) | WatchCollector(task=task) if task:
                done = CollectorDone(message.target.partition("/")[2], "unknown")
                self._turns.send(batch, message.target, message, Send(task, done))

    def _refuse_slot(self, batch: Batch, message: Message) -> None:
        match message.body:
            case Enqueue(task=task) | Defer(task=task) | LeaveQueue(task=task):
                refusal = Send(task, SlotRefused(POISONED))
            case ClaimKey(task=task):
                refusal = Send(task, KeyRefused(POISONED, f"{message.target} was given up"))
            case WaitForRoom(run=run):
                refusal = Send(run, RoomRefused(message.target.partition("/")[2], POISONED))
            case _:
                return
        self._turns.send(batch, message.target, message, refusal)

    def _give_back(self, batch: Batch, message: Message) -> None:
        """Give places back that a lane kept for tasks that do not come."""
        match message.body:
            case RoomFor(lane=lane, places=places):
                pass
            case AskAgain(lane=lane):
                places = 1
            case _:
                return
        run = owner_stream(routing_key(message.target))
        back = Send(lane_stream(lane), ReturnRoom(run, places))
        self._turns.send(batch, message.target, message, back)
