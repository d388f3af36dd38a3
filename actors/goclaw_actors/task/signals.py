"""What was said to a task: what waits for its handler, who took what, and the state it saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, assert_never

from goclaw_actors.work import Signal
from goclaw_events.facts import SignalAccepted, SignalConsumed, SignalEnded, StateSaved

if TYPE_CHECKING:
    from goclaw_events.facts import SignalFact
    from goclaw_events.value import Value

PARAMS: Final = "params"
MESSAGE: Final = "message"
STEER: Final = "steer"
FOLLOWUP: Final = "followup"
COALESCE: Final = "coalesce"
REJECT: Final = "reject"
MODES: Final = (STEER, FOLLOWUP, COALESCE, REJECT)
DECLINED: Final = "declined"
EXPIRED: Final = "expired"
WITHDRAWN: Final = "withdrawn"
CROSSED_MAX: Final = 64
"""So many signals that ended while an attempt ran are remembered: it may have taken them."""


class Waiting:
    """A message that is not done with.

    `taken_by` is the attempt that took it, `offered_to` the last one that had it; 0: none.
    `redelivered`: an attempt that is no more took it, or may have.
    """

    __slots__ = (
        "body", "deadline_ns", "mode", "offered_to", "ready_ns", "redelivered", "sender",
        "signal", "taken_by",
    )  # fmt: skip

    def __init__(self, *fields: Any) -> None:
        (self.signal, self.mode, self.body, self.sender, self.deadline_ns, self.ready_ns,
         self.offered_to, self.taken_by, self.redelivered) = fields  # fmt: skip

    def as_list(self) -> list[Any]:
        """Return it as plain data, as it is made again."""
        return [
            self.signal, self.mode, self.body, self.sender, self.deadline_ns, self.ready_ns,
            self.offered_to, self.taken_by, self.redelivered,
        ]  # fmt: skip

    def handed_over(self) -> Signal:
        """Return it as an attempt gets it."""
        return Signal(self.signal, MESSAGE, self.mode, self.body, self.sender, self.redelivered)


class Signals:
    """All of it, for a task that anything was said to.

    `waiting` in order of arrival; `patch`: the parameters that were changed; `state`, `saves`:
    what was saved last, and how often by attempt `saved_by`. `crossed`: what ended while an
    attempt had it.
    """

    __slots__ = ("crossed", "patch", "saved_by", "saves", "state", "waiting")

    def __init__(self) -> None:
        self.waiting: dict[str, Waiting] = {}
        self.patch: dict[str, Any] = {}
        self.state: Value = None
        self.saved_by = 0
        self.saves = 0
        self.crossed: dict[str, None] = {}

    @property
    def untaken(self) -> list[Waiting]:
        """Return what no attempt has taken, in order."""
        return [one for one in self.waiting.values() if not one.taken_by]

    @property
    def quiet_ns(self) -> int:
        """Return when the window of what is to be merged is over; 0: nothing is."""
        return max((one.ready_ns for one in self.untaken), default=0)

    def ready(self, now_ns: int) -> tuple[Signal, ...]:
        """Return what an attempt may have now."""
        is_quiet = self.quiet_ns <= now_ns
        return tuple(
            one.handed_over()
            for one in self.untaken
            if not 0 < one.deadline_ns <= now_ns and (is_quiet or one.mode != COALESCE)
        )

    def as_list(self) -> list[Any]:
        """Return it as plain data: equal ones give equal data."""
        waiting = [one.as_list() for one in self.waiting.values()]
        return [waiting, self.patch, self.state, self.saved_by, self.saves, list(self.crossed)]

    @staticmethod
    def of_list(said: list[Any]) -> Signals:
        """Make it again from plain data."""
        signals = Signals()
        waiting, signals.patch, signals.state, signals.saved_by, signals.saves, crossed = said
        signals.waiting = {fields[0]: Waiting(*fields) for fields in waiting}
        signals.crossed = dict.fromkeys(crossed)
        return signals


def evolve(signals: Signals, fact: SignalFact) -> None:
    """Apply a fact in place."""
    match fact:
        case SignalAccepted():
            _accepted(signals, fact)
        case SignalConsumed(signal, attempt):
            if signal in signals.waiting:
                signals.waiting[signal].taken_by = attempt
            signals.crossed.pop(signal, None)
        case SignalEnded(signal):
            signals.waiting.pop(signal, None)
            signals.crossed[signal] = None
            if len(signals.crossed) > CROSSED_MAX:
                del signals.crossed[next(iter(signals.crossed))]
        case StateSaved(attempt, _, state, saves):
            signals.state, signals.saved_by, signals.saves = state, attempt, saves
            for one in [one for one in signals.waiting.values() if one.taken_by]:
                del signals.waiting[one.signal]
        case _:
            assert_never(fact)


def _accepted(signals: Signals, fact: SignalAccepted) -> None:
    if fact.kind == PARAMS:
        signals.patch.update(fact.body)
        return
    times = (fact.deadline_ns, fact.ready_ns)
    signals.waiting[fact.signal] = Waiting(
        fact.signal, fact.mode, fact.body, fact.sender, *times, fact.attempt, 0, False
    )


def attempt_started(signals: Signals, attempt: int) -> None:
    """Take note of an attempt that has all that waits."""
    signals.crossed.clear()
    for one in signals.waiting.values():
        one.offered_to = attempt


def without_attempt(signals: Signals, attempt: int) -> Signals:
    """Return a copy as it is once an attempt is lost."""
    copy = Signals.of_list(signals.as_list())
    attempt_over(copy, attempt, lost=True)
    return copy


def attempt_over(signals: Signals, attempt: int, *, lost: bool) -> None:
    """Have what an attempt took wait again: it is no more, and saved nothing after it.

    A lost one may have taken more than it could say.
    """
    signals.crossed.clear()
    for one in signals.waiting.values():
        if one.taken_by or (lost and one.offered_to == attempt):
            one.redelivered = True
        one.taken_by = 0
