"""What becomes of a signal, as its task's facts tell it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from goclaw_events import facts

if TYPE_CHECKING:
    from collections.abc import Iterable

ACCEPTED: Final = "accepted"
OFFERED: Final = "offered"
CONSUMED: Final = "consumed"
LEVELS: Final = (ACCEPTED, OFFERED, CONSUMED)
"""How far a signal comes, in order."""
DECLINED: Final = "declined"
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


class Story:
    """Fold the facts of a task into what became of one signal."""

    def __init__(self, signal: str) -> None:
        self._signal = signal
        self.state = ""
        self.attempt = 0
        self.reason = ""
        self._is_done = False

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

    `task`: to which it was given last; '' while it is kept.
    """

    def __init__(self, signal: str) -> None:
        self._signal = signal
        self.state = ""
        self.task = ""
        self.reason = ""

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
            case facts.SignalsLeft() if self._signal in fact.signals:
                self.state, self.reason = DECLINED, fact.reason
            case facts.RunCompleted() | facts.RunFailed() | facts.RunCancelled():
                if self.state == OFFERED:  # the task had ended as it came
                    self.state, self.reason = DECLINED, "the run ended"
