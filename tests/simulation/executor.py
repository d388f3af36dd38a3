"""The simulated executor: it holds attempts until the simulation ends them, and knows the rules."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goclaw_actors.work import (
        AttemptToken,
        StartAttempt,
        StopAttempt,
        TellAttempt,
        Word,
    )
    from tests.simulation.disk import SimDisk
    from tests.simulation.failpoints import Failpoints


class SimExecutor:
    """The attempts of one process. `ever` holds those of all processes before it, too."""

    def __init__(
        self, disk: SimDisk, points: Failpoints, ever: dict[AttemptToken, StartAttempt]
    ) -> None:
        self.held: dict[AttemptToken, StartAttempt] = {}
        self.kept: dict[AttemptToken, StartAttempt] = {}
        self.may_start = True
        self.stops: deque[AttemptToken] = deque()
        self.mail: dict[AttemptToken, list[Word]] = {}
        self.taken: dict[AttemptToken, set[str]] = {}
        self.saves: dict[AttemptToken, int] = {}
        self.asked: dict[AttemptToken, set[tuple[str, str]]] = {}
        self._disk = disk
        self._points = points
        self._ever = ever

    def start_many(self, attempts: Sequence[StartAttempt]) -> None:
        """Take attempts in: each is durable by now, and was never started before."""
        assert self.may_start, "an attempt is begun where nothing may begin"
        self._points.hit("start")
        for at, attempt in enumerate(attempts):
            if at:
                self._points.hit("between starts")
            token = attempt.token
            durable = self._disk.durable(token.partition)
            assert token.number <= durable, f"{token} starts while {durable} is durable"
            assert token not in self._ever, f"{token} is started a second time"
            running = [one.token for one in self.held.values() if one.stream == attempt.stream]
            assert not running, f"{attempt.stream} starts {token} while {running} run"
            self._ever[token] = attempt
            self.held[token] = attempt

    def stop_many(self, stops: Sequence[StopAttempt]) -> None:
        """Note what is to be stopped."""
        self._points.hit("stop")
        self.stops.extend(stop.token for stop in stops if stop.token in self.held)

    def tell_many(self, tells: Sequence[TellAttempt]) -> None:
        """Hand over what is said to attempts that are here; each is durable by now."""
        self._points.hit("tell")
        for tell in tells:
            if tell.token in self.held:
                self.mail.setdefault(tell.token, []).append(tell.word)

    def holds(self, token: AttemptToken) -> bool:
        """Tell whether an attempt runs, or was abandoned and keeps its slot."""
        return token in self.held or token in self.kept
