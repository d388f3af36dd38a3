"""The cap on attempts that run at once in a process: the others wait, and lanes take turns.

An attempt that waits here has its slot and is held: for the engine it runs. Its own timeout begins
when it does; a limit that counts from earlier (`total_timeout`, a deadline) goes on meanwhile.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from goclaw_actors.executors.run import OF_ATTEMPT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from goclaw_actors.executors.agents import Agent
    from goclaw_actors.executors.run import Cancellable
    from goclaw_actors.work import AttemptToken, StartAttempt


class Entrant(NamedTuple):
    """An attempt on its way to where it runs; `agent` None: of a kind that is no agent."""

    agent: Agent | None
    attempt: StartAttempt


class _Waiting(NamedTuple):
    entrant: Entrant
    since_s: float
    timer: Cancellable | None


class Gate:
    """Let at most `most` attempts in. Any thread.

    `after` calls something later; `overdue` is called with an attempt whose time is over before
    it came in, and which is not here any more.
    """

    def __init__(
        self,
        most: int,
        clock: Callable[[], float],
        after: Callable[..., Cancellable],
        overdue: Callable[[StartAttempt], None],
    ) -> None:
        self._most = most
        self._clock = clock
        self._after = after
        self._overdue = overdue
        self._inside: set[AttemptToken] = set()
        self._lanes: dict[str, dict[AttemptToken, _Waiting]] = {}
        self._turns: deque[str] = deque()
        self._lane_of: dict[AttemptToken, str] = {}
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Return how many wait."""
        return len(self._lane_of)

    def waits(self, token: AttemptToken) -> bool:
        """Tell whether an attempt waits here."""
        return token in self._lane_of

    def enter(self, entrants: Sequence[Entrant]) -> Sequence[Entrant]:
        """Return those that may begin now, in order; the others wait."""
        with self._lock:
            free = self._most - len(self._inside)
            if len(entrants) <= free:  # then nobody waits
                self._inside.update(entrant.attempt.token for entrant in entrants)
                return entrants
            for entrant in entrants:
                self._wait(entrant)
            return self._next()

    def leave(self, tokens: Iterable[AttemptToken]) -> Sequence[Entrant]:
        """Take out attempts that ended; return those that may begin instead."""
        with self._lock:
            self._inside.difference_update(tokens)
            return self._next() if self._turns else ()

    def give_up(self, token: AttemptToken) -> StartAttempt | None:
        """Take out an attempt that waits; None if it does not."""
        with self._lock:
            lane = self._lane_of.pop(token, None)
            if lane is None:
                return None
            found = self._lanes[lane].pop(token)
        if found.timer is not None:
            found.timer.cancel()
        return found.entrant.attempt

    def change(self, token: AttemptToken, change: Callable[[StartAttempt], StartAttempt]) -> bool:
        """Change an attempt that waits; tell whether it does."""
        with self._lock:
            lane = self._lane_of.get(token)
            if lane is None:
                return False
            found = self._lanes[lane][token]
            attempt = found.entrant.attempt
            changed = found.entrant._replace(attempt=change(attempt))
            found = found._replace(entrant=changed)
            if changed.attempt.timeout_s != attempt.timeout_s:
                if found.timer is not None:
                    found.timer.cancel()
                found = _Waiting(changed, self._clock(), self._timer(changed.attempt))
            self._lanes[lane][token] = found
            return True

    def _wait(self, entrant: Entrant) -> None:
        attempt = entrant.attempt
        timer = self._timer(attempt)
        if attempt.lane not in self._lanes:
            self._lanes[attempt.lane] = {}
            self._turns.append(attempt.lane)
        self._lanes[attempt.lane][attempt.token] = _Waiting(entrant, self._clock(), timer)
        self._lane_of[attempt.token] = attempt.lane

    def _timer(self, attempt: StartAttempt) -> Cancellable | None:
        """Set a timer for an attempt whose time counts while it waits."""
        if attempt.timeout_s is None or attempt.timeout_of == OF_ATTEMPT:
            return None
        return self._after(attempt.timeout_s, self._time_out, attempt.token)

    def _next(self) -> list[Entrant]:
        """Let in as many as there is room for: of each lane one, then the next of each."""
        let_in = []
        while self._turns and len(self._inside) < self._most:
            lane = self._turns.popleft()
            waiting = self._lanes[lane]
            if waiting:
                token = next(iter(waiting))
                found = waiting.pop(token)
                del self._lane_of[token]
                self._inside.add(token)
                let_in.append(self._begun(found))
            if waiting:
                self._turns.append(lane)
            else:
                del self._lanes[lane]
        return let_in

    def _begun(self, found: _Waiting) -> Entrant:
        """Return an entrant with what is left of its time."""
        entrant, since_s, timer = found
        if timer is None:
            return entrant
        timer.cancel()
        attempt = entrant.attempt
        left_s = max(0.0, (attempt.timeout_s or 0.0) - (self._clock() - since_s))
        return entrant._replace(attempt=attempt._replace(timeout_s=left_s))

    def _time_out(self, token: Any) -> None:
        attempt = self.give_up(token)
        if attempt is not None:
            self._overdue(attempt)
