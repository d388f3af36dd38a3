"""A turn batch: what its turns recorded, and what may leave once that is durable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.decider import (
    ClearOpen,
    ClearTimer,
    CloseAttempt,
    OpenAttempt,
    RunBegun,
    RunEnded,
    SelectMembers,
    SetOpen,
    SetTimer,
)
from goclaw_actors.work import (
    Consumed,
    Outcome,
    Saved,
    StartAttempt,
    Stepped,
    StopAttempt,
    TellAttempt,
)
from goclaw_events.envelope import NEW_TUPLE, AttemptRow, OpenRow, TimerRow
from goclaw_events.framing import FrameBuilder

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.actor import Entity
    from goclaw_actors.decider import Accepted, Refused
    from goclaw_actors.message import Message, Reply
    from goclaw_events.errors import CodedError
    from goclaw_events.framing import EncodedFrame


_GONE: Final = 0
_NEW: Final = 1
_AGAIN: Final = 2
"""What becomes of a timer row in a batch; the last is written, whether or not it is there."""
_SEARCHES: Final = frozenset({RunBegun, SelectMembers})
_REPORTED: Final = frozenset({Outcome, Consumed, Saved, Stepped})
"""What an attempt says that is not said again: it is kept from a commit that fails."""


class Batch:
    """One batch of one partition, open while its turns are decided.

    Rows put and deleted within the batch cancel out here and are never written.
    """

    __slots__ = (
        "_open", "_pack", "_timers", "after", "attempts", "builder", "ended", "fired", "frame",
        "messages", "now_ns", "outcomes", "replies", "searches", "sent", "starts", "stops", "tells",
        "touched",
    )  # fmt: skip

    def __init__(self, first: int, now_ns: int, pack: Callable[[object], bytes]) -> None:
        self.builder = FrameBuilder(first, pack)
        self.now_ns = now_ns
        self.frame: EncodedFrame | None = None
        self.messages = 0
        self.sent = 0
        self.touched: dict[str, Entity] = {}
        self.replies: list[tuple[Callable[[Reply], None], Accepted | Refused, int]] = []
        self.starts: list[StartAttempt] = []
        self.stops: list[StopAttempt] = []
        self.tells: list[TellAttempt] = []
        self.ended: list[RunEnded] = []
        self.searches: list[RunBegun | SelectMembers] = []
        self.outcomes: list[Message] = []
        self.after: list[Callable[[CodedError | None], None]] = []
        self.attempts: dict[int, AttemptRow] = {}
        self.fired: list[TimerRow] = []
        self._timers: dict[TimerRow, int] = {}
        self._open: dict[str, tuple[bool, bool, OpenRow | None]] = {}

    @property
    def next_number(self) -> int:
        """Return the number that the next fact takes."""
        return self.builder.first + self.builder.count

    def apply(self, stream: str, effect: Any) -> None:
        """Take in an effect of a turn of `stream`."""
        kind = type(effect)
        if kind is StartAttempt:
            self.starts.append(effect)
        elif kind is OpenAttempt:
            token, attempt, holder, lease_until_ns = effect
            row = NEW_TUPLE(AttemptRow, (token, stream, attempt, holder, lease_until_ns))
            self.attempts[token] = row
            self.builder.attempts_added.append(row)
        elif kind is CloseAttempt:
            self.builder.attempts_removed.append(effect.token)
        elif kind is StopAttempt:
            self.stops.append(effect)
        elif kind is TellAttempt:
            self.tells.append(effect)
        elif kind is RunEnded:
            self.ended.append(effect)
        elif kind in _SEARCHES:
            self.searches.append(effect)
        else:
            self._change_row(stream, effect)

    def _change_row(self, stream: str, effect: Any) -> None:
        match effect:
            case SetTimer(name, due_ns):
                self.timer(TimerRow(due_ns, stream, name), added=True)
            case ClearTimer(name, due_ns):
                self.timer(TimerRow(due_ns, stream, name), added=False)
            case SetOpen(kind, referent, wake_ns, replaces):
                row = OpenRow(stream, kind, referent, wake_ns, self.now_ns)
                self._opened(stream, row, replaces=replaces)
            case ClearOpen():
                self._opened(stream, None)
            case _:
                msg = f"unknown effect {effect!r}"
                raise TypeError(msg)

    def take_source(self, message: Message) -> None:
        """Take away what a message came from: its inbox row or its timer; take in its blobs."""
        if message.row is not None:
            self.builder.handled.append(message.row)
            message.row = None
        if message.timer is not None:
            self.timer(message.timer, added=False)
            self.fired.append(message.timer)
        if message.blobs:
            self.builder.blobs.update(message.blobs)
        if type(message.body) in _REPORTED:
            self.outcomes.append(message)

    def reply(self, message: Message, reply: Accepted | Refused, number: int) -> None:
        """Answer a message once the batch is durable, if an answer is waited for."""
        if message.reply_to is not None:
            self.replies.append((message.reply_to, reply, number))

    def timer(self, row: TimerRow, *, added: bool) -> None:
        """Add or remove a timer row; one that is new with the batch, and removed, was never there.

        One that was removed first is written when it is added again: what fires may have been
        cleared before, and be in the table no more.
        """
        known = self._timers.get(row)
        if added:
            self._timers[row] = _NEW if known is None else known or _AGAIN
        elif known == _NEW:
            del self._timers[row]
        else:
            self._timers[row] = _GONE

    def timers_added(self) -> list[TimerRow]:
        """Return the timers that are new with this batch."""
        return [row for row, added in self._timers.items() if added]

    def _opened(self, stream: str, row: OpenRow | None, *, replaces: bool = False) -> None:
        """Note the row of a stream: whether it is new in this batch, or another one than before."""
        begins_set = row is not None and not replaces
        is_other = replaces
        if stream in self._open:
            begins_set, was_other, _ = self._open[stream]
            is_other = replaces or was_other
        self._open[stream] = (begins_set, is_other, row)

    def settle(self) -> None:
        """Move the net row changes to the builder, before the frame is closed."""
        builder = self.builder
        for timer, added in self._timers.items():
            (builder.timers_added if added else builder.timers_removed).append(timer)
        for stream, (begins_set, is_other, row) in self._open.items():
            if row is not None and (begins_set or is_other):
                builder.open_added.append(row)
            elif row is None and not begins_set:
                builder.open_removed.append(stream)
