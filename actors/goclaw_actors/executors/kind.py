"""The port of one kind of work that is not an agent: programs, requests, whatever is plugged in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from goclaw_actors.executors.run import Shared
    from goclaw_actors.work import AttemptToken, Limit, StartAttempt


class KindExecutor(Protocol):
    """Run the attempts of one kind.

    Every attempt that was started gives exactly one outcome, put into the shared outbox from a
    thread of the executor's own: never from the one that calls `start` or `stop`, which may not
    block. What an outcome says is bounded; what it holds can be stored.
    """

    @property
    def running(self) -> int:
        """Return how many attempts are here and not over."""
        ...

    def waits(self, token: AttemptToken) -> bool:
        """Tell whether an attempt is here and has no place where it can run yet. Any thread."""
        ...

    def start(self, attempts: Sequence[StartAttempt]) -> None:
        """Begin attempts. Parameters may hold references; `timeout_s` counts from the begin."""
        ...

    def stop(
        self, stops: Sequence[tuple[AttemptToken, str]], code: str, grace_s: float | None = None
    ) -> None:
        """End attempts (token, reason) as cancelled with `code`; an unknown token is ignored.

        `grace_s`: how long one may take to end by itself; None: the limit of the executors.
        """
        ...

    def limit(self, limits: Sequence[tuple[AttemptToken, Limit]]) -> None:
        """Let attempts have another time; an unknown token is ignored. Does not block."""
        ...

    def abandon_all(self, reason: str, code: str) -> None:
        """Report what is left as cancelled, without waiting for it."""
        ...

    def close(self) -> None:
        """Give back threads, loops and children; nothing is running any more."""
        ...


KindFactory: TypeAlias = "Callable[[Shared], KindExecutor]"
"""Make the executor of a kind from what all executors share."""
