"""What becomes of a signal, as its task's facts tell it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from goclaw.errors import SignalNotFound
from goclaw_events import facts
from goclaw_events.ids import task_stream, workflow_stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ACCEPTED: Final = "accepted"
OFFERED: Final = "offered"
CONSUMED: Final = "consumed"
LEVELS: Final = (ACCEPTED, OFFERED, CONSUMED)
"""How far a signal comes, in order."""
DECLINED: Final = "declined"
WITHDRAWN: Final = "withdrawn"
ENDED: Final = frozenset({"declined", "expired", "withdrawn"})
Level: TypeAlias = Literal["accepted", "offered", "consumed", "declined", "expired", "withdrawn"]
"""What a sender can wait for."""


@dataclass(frozen=True, slots=True)
class Signalled:
    """A signal that was accepted, and what became of it by now.

    `state`: accepted, offered, consumed, declined, expired or withdrawn; `attempt`: which one
    has or had it (0: none); `reason`: why it ended otherwise. A patch of parameters is consumed by
    the task itself: nothing more is to come of it. `repeated`: it had been accepted before.
    """

    signal: str
    run_id: str
    task: str
    state: str
    attempt: int = 0
    reason: str = ""
    repeated: bool = False

    def has_reached(self, level: str) -> bool:
        """Tell whether it came as far as `level`, or will not: nothing follows on an end."""
        if level in ENDED:
            return self.state in ENDED or self.state == CONSUMED
        return self.state in ENDED or LEVELS.index(self.state) >= LEVELS.index(level)


class Telling(Protocol):
    """What facts tell of one signal: read it from its streams, then from the tail of the log."""

    sent: Signalled
    """The signal as it was asked for."""
    state: str
    """Where it stands; '': no fact tells of it."""

    def streams(self) -> Iterator[str]:
        """Give the streams to read from their beginnings, each after the one before was told."""

    def hears(self, stream: str) -> bool:
        """Tell whether facts of a stream of the run, from the tail of the log, are of use."""

    def tell(self, told: Iterable[Any]) -> None:
        """Take in facts, in order; what was told before does no harm."""

    def now(self) -> Signalled:
        """Return the signal as it stands."""

    def not_found(self) -> SignalNotFound:
        """Return the error for a signal of which no fact tells."""


class Story:
    """Fold the facts of a task into what became of one signal; a `Telling`."""

    def __init__(self, sent: Signalled) -> None:
        self.sent = sent
        self._signal, self._stream = sent.signal, task_stream(sent.run_id, sent.task)
        self.state = ""
        self.attempt = 0
        self.reason = ""
        self._is_done = False

    def streams(self) -> Iterator[str]:
        """Give the stream of the task."""
        yield self._stream

    def hears(self, stream: str) -> bool:
        """Only the task's own: other tasks begin attempts, too."""
        return stream == self._stream

    def now(self) -> Signalled:
        """Return the signal as it stands."""
        return replace(self.sent, state=self.state, attempt=self.attempt, reason=self.reason)

    def not_found(self) -> SignalNotFound:
        """Return the error for a signal that the task was not sent."""
        sent = self.sent
        msg = f"no signal {sent.signal} was sent to task {sent.task} of run {sent.run_id}"
        return SignalNotFound(msg, hint="see goclaw runs show --timeline", signal=sent.signal)

    def tell(self, told: Iterable[Any]) -> None:
        """Take in facts of the task, in order."""
        for fact in told:
            self._apply(fact)

    def _apply(self, fact: Any) -> None:
        match fact:
            case facts.SignalAccepted(signal=self._signal):
                self.attempt = fact.attempt
                self.state = OFFERED if fact.attempt else ACCEPTED
                if fact.kind == "params":
                    self.state, self._is_done = CONSUMED, True
            case facts.SignalConsumed(signal=self._signal):
                self.state, self.attempt = CONSUMED, fact.attempt
            case facts.SignalEnded(signal=self._signal):
                self.state, self.reason = fact.state, fact.reason
            case facts.AttemptStarted() if self.state == ACCEPTED:
                self.state, self.attempt = OFFERED, fact.attempt
            case facts.StateSaved() if self.state == CONSUMED:
                self._is_done = True
            case facts.AttemptFailed() | facts.AttemptLost() | facts.AttemptSlept():
                self._goes_back()

    def _goes_back(self) -> None:
        if self.state in LEVELS and not self._is_done:
            self.state, self.attempt = ACCEPTED, 0


class NamedStory:
    """Fold the facts of a run, and of the task that got it, into what became of a named signal.

    `task`: to which it was given last; '' while it is kept. A `Telling`.
    """

    def __init__(self, sent: Signalled) -> None:
        self.sent = sent
        self._signal = sent.signal
        self.state = ""
        self.task = ""
        self.reason = ""

    def streams(self) -> Iterator[str]:
        """Give the stream of the run, which tells of the task, and then that of the task."""
        yield workflow_stream(self.sent.run_id)
        if self.task:
            yield task_stream(self.sent.run_id, self.task)

    def hears(self, stream: str) -> bool:  # noqa: ARG002 - whichever of its tasks
        """All of the run."""
        return True

    def now(self) -> Signalled:
        """Return the signal as it stands."""
        return replace(self.sent, task=self.task, state=self.state, reason=self.reason)

    def not_found(self) -> SignalNotFound:
        """Return the error for a signal that the run was not sent."""
        sent = self.sent
        msg = f"no signal {sent.signal} was sent to run {sent.run_id}"
        return SignalNotFound(msg, hint="name the task if it was sent to one", signal=sent.signal)

    def tell(self, told: Iterable[Any]) -> None:
        """Take in facts, those of the run before those of the task, or all in their order."""
        for fact in told:
            self._apply(fact)

    def _apply(self, fact: Any) -> None:
        match fact:
            case facts.SignalReceived(signal=self._signal):
                self.state = ACCEPTED
            case facts.SignalGiven(signal=self._signal):
                self.state, self.task = OFFERED, fact.task
            case facts.SignalReturned(signal=self._signal):
                self.state, self.task = ACCEPTED, ""
            case facts.TaskAnswered(answer=self._signal):
                self.state, self.reason = CONSUMED, ""
            case facts.NamedSignalEnded(signal=self._signal):
                self.state, self.reason = fact.state, fact.reason
            case facts.SignalsLeft() if self._signal in fact.signals:
                self.state, self.reason = DECLINED, fact.reason
            case facts.RunCompleted() | facts.RunFailed() | facts.RunCancelled():
                if self.state == OFFERED:  # the task had ended as it came
                    self.state, self.reason = DECLINED, "the run ended"
