"""The attempts of a partition that run, as the log knows them: told, stopped, and found lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_actors.message import Message
from goclaw_actors.messages import CheckAttempt, LoseAttempt
from goclaw_actors.work import AttemptToken, Interrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from goclaw_actors.ports import Limits, Ports
    from goclaw_actors.work import StopAttempt, TellAttempt
    from goclaw_events.envelope import AttemptRow
    from goclaw_events.framing import FrameBuilder


class Attempts:
    """What runs, by number; `command` takes in what follows where nobody holds one any more."""

    def __init__(
        self, partition: int, ports: Ports, limits: Limits, command: Callable[[Message], None]
    ) -> None:
        self._partition = partition
        self._executor = ports.executor
        self._post = ports.post
        self._lost_max = limits.lost_max
        self._command = command
        self._live: dict[int, str] = {}

    def open(self, rows: Iterable[AttemptRow]) -> None:
        """Begin with what the log says to run."""
        self._live = {row.token: row.stream for row in rows}

    def questions(self, era: int, *, closed: bool) -> Iterator[Message]:
        """Yield what each is asked after the log was opened: whether it goes on, or is lost.

        `closed`: the process before this one stopped as it was asked to.
        """
        for number, stream in self._live.items():
            if self._executor.holds(AttemptToken(self._partition, era, number)):
                yield Message(stream, CheckAttempt(number))
            else:
                yield Message(stream, LoseAttempt(number, self._lost_max, closed))

    def settle(self, builder: FrameBuilder) -> None:
        """Take in what a batch changes, and let its frame say which one is the oldest."""
        live = self._live
        for token in builder.attempts_removed:
            live.pop(token, None)
        for attempt in builder.attempts_added:
            live[attempt.token] = attempt.stream
        builder.attempts_oldest = next(iter(live), 0)

    def stop(self, stops: Sequence[StopAttempt]) -> None:
        """Stop attempts; where a bug swallowed the outcome nobody holds it, and it is lost."""
        # an outcome that was handed over just now was posted before, and comes first
        self._executor.stop_many(stops)
        self._lose_unheld(token for token, _ in stops)

    def tell(self, tells: Sequence[TellAttempt]) -> None:
        """Tell attempts something; whom nobody holds cannot be interrupted, and is lost."""
        self._executor.tell_many(tells)
        self._lose_unheld(token for token, word in tells if isinstance(word, Interrupt))

    def _lose_unheld(self, tokens: Iterable[AttemptToken]) -> None:
        for token in tokens:
            if token.number in self._live and not self._executor.holds(token):
                self._post(self._lose, token.number)

    def _lose(self, number: int) -> None:
        stream = self._live.get(number)
        if stream is not None:
            self._command(Message(stream, LoseAttempt(number, self._lost_max)))
