"""An executor that runs nothing: for an engine that is opened to take a command, and closed again.

What it is given stays unfinished, and is lost with this process, at no cost to the task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_actors.work import AttemptToken, Outcome, StartAttempt, StopAttempt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goclaw_actors.work import Sink


class IdleExecutor:
    """Hold attempts, and give one up when it is asked to stop."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._held: dict[AttemptToken, str] = {}

    def start_many(self, attempts: Sequence[StartAttempt]) -> None:
        """Keep attempts, and do nothing."""
        self._held.update((attempt.token, attempt.stream) for attempt in attempts)

    def stop_many(self, stops: Sequence[StopAttempt]) -> None:
        """Report attempts as cancelled: nothing of them ever ran here."""
        ended = [
            Outcome(stream, stop.token, "cancelled", code="cancelled", message=stop.reason)
            for stop in stops
            if (stream := self._held.pop(stop.token, None)) is not None
        ]
        if ended:
            self._sink(ended)

    def holds(self, token: AttemptToken) -> bool:
        """Tell whether an attempt is kept."""
        return token in self._held

    def close(self, _grace_s: float) -> None:
        """Do nothing: what is held is lost with this process."""
