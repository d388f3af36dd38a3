"""An executor that runs nothing: for a node that is there to take a command, or to keep house."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goclaw_actors.work import AttemptToken, StartAttempt, StopAttempt, TellAttempt


class IdleExecutor:
    """Implement `work.Executor` where no attempt is ever started."""

    def start_many(self, attempts: Sequence[StartAttempt]) -> None:
        """Refuse: nothing begins here."""
        raise AssertionError(attempts)

    def stop_many(self, stops: Sequence[StopAttempt]) -> None:
        """Do nothing: what ran ended with the process that ran it."""

    def tell_many(self, tells: Sequence[TellAttempt]) -> None:
        """Do nothing: nobody here would listen, and the next attempt is told all of it."""

    def holds(self, token: AttemptToken) -> bool:  # noqa: ARG002 - whichever it is
        """Tell that it does not."""
        return False
