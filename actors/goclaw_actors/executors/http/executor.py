"""The executor of `http` tasks: a loop of its own, made when the first request comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_actors.executors.agents import Agent, Signature
from goclaw_actors.executors.async_executor import AsyncExecutor
from goclaw_actors.executors.http.addresses import AddressPolicy
from goclaw_actors.work import TellAttempt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from goclaw_actors.executors.context import TaskContext
    from goclaw_actors.executors.http.call import HttpCaller
    from goclaw_actors.executors.http.limits import HttpLimits
    from goclaw_actors.executors.run import Shared
    from goclaw_actors.work import AttemptToken, Limit, StartAttempt

KIND: Final = "http"
CONTEXT_ONLY: Final = Signature(
    context_only=True, required=frozenset(), allowed=None, forbidden=frozenset()
)


class HttpExecutor:
    """Implement `kind.KindExecutor` for requests, by the means of the async executor.

    So timeouts, stops, references in parameters and outcomes are what they are for agents; to
    cancel a request closes its connection. Raises `AddressRuleInvalid` when it is made.
    """

    def __init__(self, shared: Shared, limits: HttpLimits) -> None:
        AddressPolicy(limits.allow_private)  # what is wrong with it is said at the start
        self._shared = shared
        self._limits = limits
        self._caller: HttpCaller | None = None
        self._inner: AsyncExecutor | None = None
        self._agent = Agent(KIND, self._request, is_async=True, signature=CONTEXT_ONLY)

    @property
    def running(self) -> int:
        """Return how many requests are under way."""
        return 0 if self._inner is None else self._inner.running

    def waits(self, token: AttemptToken) -> bool:
        """Tell that no request waits for another one."""
        del token
        return False

    def start(self, attempts: Sequence[StartAttempt]) -> None:
        """Begin requests. Called on the dispatchers' thread; does not block."""
        inner = self._inner
        if inner is None:
            inner = self._inner = AsyncExecutor(self._shared, name="goclaw-http")
        inner.start([(self._agent, self._bounded(attempt)) for attempt in attempts])

    def _bounded(self, attempt: StartAttempt) -> StartAttempt:
        if attempt.timeout_s is not None:
            return attempt
        return attempt._replace(timeout_s=self._limits.timeout_s)

    async def _request(self, ctx: TaskContext) -> dict[str, Any]:
        caller = self._caller
        if caller is None:
            # a quarter of a second, which an engine without requests does not pay
            from goclaw_actors.executors.http.call import HttpCaller

            caller = self._caller = HttpCaller(self._limits)
        return await caller(ctx)

    def stop(
        self, stops: Sequence[tuple[AttemptToken, str]], code: str, grace_s: float | None = None
    ) -> None:
        """Cancel requests; their connections are closed."""
        if self._inner is not None:
            self._inner.stop(stops, code, grace_s)

    def limit(self, limits: Sequence[tuple[AttemptToken, Limit]]) -> None:
        """Let requests have another time, which is never without an end."""
        if self._inner is not None:
            most_s = self._limits.timeout_s
            self._inner.tell(
                [
                    TellAttempt(token, word._replace(timeout_s=word.timeout_s or most_s))
                    for token, word in limits
                ]
            )

    def abandon_all(self, reason: str, code: str) -> None:
        """Report what is left as cancelled."""
        if self._inner is not None:
            self._inner.abandon_all(reason, code)

    def close(self) -> None:
        """Close the connections, end the loop and its thread."""
        if self._inner is None:
            return
        if self._caller is not None:
            self._inner.last(self._caller.close())
        self._inner.close()
