"""What executors have in common whose work runs in child processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from goclaw_actors.executors.outcomes import cancelled, timed_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from goclaw_actors.executors.children.children import Children
    from goclaw_actors.executors.run import Shared
    from goclaw_actors.work import AttemptToken, Outcome, StartAttempt


class _Held(Protocol):
    @property
    def attempt(self) -> StartAttempt: ...

    def finish(self, outcome: Outcome) -> Outcome: ...


R = TypeVar("R", bound=_Held)


class ChildExecutor(ABC, Generic[R]):
    """Hold the attempts of one place, those that wait among them.

    `stop` and `abandon_all` may be called from any thread; what the subclasses fill in runs on the
    thread of the loop of `children`, and `kill_grace_s` is how long work may take to end.
    """

    def __init__(self, shared: Shared, children: Children, kill_grace_s: float) -> None:
        self._shared = shared
        self._children = children
        self._kill_grace_s = kill_grace_s
        self._runs: dict[AttemptToken, R] = {}
        self._waiting: deque[R] = deque()

    @property
    def running(self) -> int:
        """Return how many attempts are here and not over, with those that wait."""
        return len(self._runs)

    def stop(
        self, stops: Sequence[tuple[AttemptToken, str]], code: str, grace_s: float | None = None
    ) -> None:
        """Ask work to end; what has not ended after the grace is killed."""
        grace = self._kill_grace_s if grace_s is None else grace_s
        self._children.call(self._stop, stops, code, grace)

    def abandon_all(self, reason: str, code: str) -> None:
        """Report what is left as cancelled; the launcher kills it when the children are closed."""
        for token, run in list(self._runs.items()):
            if self._runs.pop(token, None) is not None:
                self._shared.outbox.put([run.finish(cancelled(run.attempt, reason, code))])

    def close(self) -> None:
        """Do nothing: the children are closed by whoever made them."""

    def _take_in(self, runs: Iterable[R]) -> None:
        made = list(runs)
        for run in made:
            self._runs[run.attempt.token] = run
        self._children.call(self._arrive, made)

    # What follows runs on the thread of the loop.

    def _arrive(self, runs: list[R]) -> None:
        self._waiting.extend(runs)
        self._next()

    def _time_out(self, run: R) -> None:
        self._end(run, timed_out(run.attempt), self._kill_grace_s)

    def _stop(self, stops: Sequence[tuple[AttemptToken, str]], code: str, grace_s: float) -> None:
        for token, reason in stops:
            run = self._runs.get(token)
            if run is not None:
                self._end(run, cancelled(run.attempt, reason, code), grace_s)

    @abstractmethod
    def _next(self) -> None:
        """Begin what waits, as far as there is room."""

    @abstractmethod
    def _end(self, run: R, ending: Outcome, grace_s: float) -> None:
        """Ask an attempt to end, for the first time, and kill it after a grace."""
