"""Programs and requests in a test: those of a task with a script do as that says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw.testing.script import Call, Step
from goclaw_actors.executors.agents import Agent, Signature
from goclaw_actors.executors.async_executor import AsyncExecutor
from goclaw_actors.work import TellAttempt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goclaw.testing.script import Acting
    from goclaw_actors.executors.context import TaskContext
    from goclaw_actors.executors.kind import KindExecutor
    from goclaw_actors.executors.run import Shared
    from goclaw_actors.work import AttemptToken, Limit, StartAttempt

CONTEXT_ONLY: Final = Signature(
    context_only=True, required=frozenset(), allowed=None, forbidden=frozenset()
)


class ScriptedKind:
    """Implement `KindExecutor`: what has no script, or is passed on by it, is done by `real`."""

    def __init__(self, kind: str, real: KindExecutor, shared: Shared, acting: Acting) -> None:
        self._kind = kind
        self._real = real
        self._shared = shared
        self._acting = acting
        self._agent = Agent(kind, self._act, is_async=True, signature=CONTEXT_ONLY)
        self._inner: AsyncExecutor | None = None
        self._steps: dict[tuple[str, str, int], Step] = {}

    @property
    def called(self) -> int:
        """Return how many attempts do as their script says, on a loop in virtual time."""
        return 0 if self._inner is None else self._inner.called

    @property
    def running(self) -> int:
        """Return how many attempts are here and not over."""
        return self._real.running + (0 if self._inner is None else self._inner.running)

    def waits(self, token: AttemptToken) -> bool:
        """Tell whether an attempt has no place where it can run yet."""
        return self._real.waits(token)

    def start(self, attempts: Sequence[StartAttempt]) -> None:
        """Begin attempts: each by its script, or for real."""
        acted = [attempt for attempt in attempts if self._is_acted(attempt)]
        if acted:
            inner = self._inner
            if inner is None:
                inner = self._inner = AsyncExecutor(self._shared, name=f"goclaw-{self._kind}-acted")
            inner.start([(self._agent, attempt) for attempt in acted])
        others = [attempt for attempt in attempts if attempt not in acted]
        if others:
            self._real.start(others)

    def _is_acted(self, attempt: StartAttempt) -> bool:
        script = self._acting.tasks.get(attempt.task_id)
        if script is None:
            return False
        place = (attempt.run_id, attempt.task_id, attempt.attempt)
        params = attempt.params if isinstance(attempt.params, dict) else {}
        step = script.next_step(Call(script.name, *place, params))
        if step.is_instead:
            self._steps[place] = step
        return step.is_instead

    async def _act(self, ctx: TaskContext) -> Any:
        step = self._steps.pop((ctx.run_id, ctx.task_id, ctx.attempt))
        return await self._acting.act(step)

    def stop(
        self, stops: Sequence[tuple[AttemptToken, str]], code: str, grace_s: float | None = None
    ) -> None:
        """End attempts."""
        self._real.stop(stops, code, grace_s)
        if self._inner is not None:
            self._inner.stop(stops, code, grace_s)

    def limit(self, limits: Sequence[tuple[AttemptToken, Limit]]) -> None:
        """Let attempts have another time."""
        self._real.limit(limits)
        if self._inner is not None:
            self._inner.tell([TellAttempt(token, word) for token, word in limits])

    def abandon_all(self, reason: str, code: str) -> None:
        """Report what is left as cancelled."""
        self._real.abandon_all(reason, code)
        if self._inner is not None:
            self._inner.abandon_all(reason, code)

    def close(self) -> None:
        """Give back threads and loops."""
        self._real.close()
        if self._inner is not None:
            self._inner.close()
