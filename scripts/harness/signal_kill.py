"""Kill an engine whose tasks are talked to, again and again: nothing that was said is lost."""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from scripts.harness.killed_world import DEADLINE_S, KillCounts, KilledWorld
from scripts.harness.nursery import Harm
from scripts.harness.talk import APART, RUNS, tasks_of, word

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scripts.harness.nursery import Child, Nursery

APART_AT: Final = 1
"""In each world an engine is killed once after the agent in a process was heard,"""
END_KILLS: Final = 2
"""and at last twice while tasks end, after a collector told of a member."""
HEARD_S: Final = 5.0
"""The agent in a process may be paused, or interrupted, and is not heard then."""


@dataclass
class SignalCounts(KillCounts):
    """What happened to the engines, and to what was said."""

    acknowledged: int = 0
    """Words that were acknowledged."""
    refused: int = 0
    repeats: int = 0
    """Words that were said again, and answered as before."""
    interrupts: int = 0
    """Attempts that were asked to stop."""
    adjustments: int = 0
    consumed: int = 0
    handed: int = 0
    """Messages that handlers were given."""
    handed_again: int = 0
    """Those of them that an attempt before had."""
    chunks: int = 0
    """Chunks that tasks emitted, and somebody read."""
    chunks_apart: int = 0
    """Those of them that came out of a process before the last boot."""
    members: int = 0
    """Ends that collectors told of before the last boot."""


class SignalWorld(KilledWorld):
    """A world whose tasks are talked to, and what was acknowledged."""

    role = "signals"
    counts: SignalCounts

    def __init__(self, nursery: Nursery, home: Path, seed: str, counts: SignalCounts) -> None:
        super().__init__(nursery, home, seed, counts)
        self._next = {f"{run}/{task}": 0 for run in range(RUNS) for task in tasks_of(run)}
        self.acked: set[tuple[int, str, int]] = set()
        self.read: dict[str, list[Any]] = {}
        """What readers were given, by whose it is: [cursor, value]."""
        self.collected: dict[str, Any] = {}

    def request(self, *, finish: bool) -> dict[str, Any]:
        """Return where each task's words go on, and readers."""
        read = {name: told[-1][0] for name, told in self.read.items()}
        return {"next": self._next, "read": read, "finish": finish}

    def said(self, words: list[Any]) -> int:
        """Take in a word that was acknowledged or refused, or what was read or collected."""
        match words:
            case ["ack" | "no" as how, run, task, number, *more]:
                place = f"{run}/{task}"
                self._next[place] = max(self._next[place], number + 1)
                if how == "ack":
                    self._acknowledged((run, task, number), is_new=more == [False])
                    return 1
                self.counts.refused += 1
            case ["chunk" | "member", name, cursor, value]:
                self.read.setdefault(name, []).append([cursor, value])
            case ["collected", name, *what]:
                self.collected[name] = what
        return 0

    def _acknowledged(self, place: tuple[int, str, int], *, is_new: bool) -> None:
        if place in self.acked and is_new:
            said = word(self.seed, *place)
            raise Harm(f"{said.id} was acknowledged, and is new to the next engine")
        self.counts.repeats += place in self.acked
        self.counts.acknowledged += place not in self.acked
        self.acked.add(place)

    @property
    def apart(self) -> int:
        """Return how many chunks came of the agent in a process."""
        return len(self.read.get("/".join(map(str, APART)), ()))

    @property
    def members(self) -> int:
        """Return of how many members collectors have told."""
        return sum(len(told) for name, told in self.read.items() if "/" not in name)

    def listen_for(self, child: Child, heard: Callable[[], int], more: int) -> None:
        """Listen for a while, or until so much more was heard of something."""
        until_s, wanted = time.monotonic() + HEARD_S, heard() + more
        while child.talking and heard() < wanted and time.monotonic() < until_s:
            self.keep(child.lines(until_s - time.monotonic()))

    def kill_next(self, place: int, kills: int) -> None:
        """Start an engine and kill it: at last while tasks end, once when a process was heard."""
        if place >= kills - END_KILLS:
            rng = random.Random(f"{self.seed}/kill/{place}")  # noqa: S311 - whatever went before
            child = self.start(finish=True)
            self.listen_for(child, lambda: self.members, rng.randint(1, 6))
            self.bury(child)
        elif place == APART_AT:
            child = self.start(finish=False)
            self.listen_for(child, lambda: self.apart, 1)
            self.bury(child)
        else:
            self.kill_at_random(place)
        if place == kills - 1:
            self.counts.chunks_apart += self.apart
            self.counts.members += self.members

    def audit(self) -> None:
        """Compare log and ledger with what was acknowledged."""
        told = {"read": self.read, "collected": self.collected}
        (self.home / "told").write_text(json.dumps(told))
        found = self.nursery.audit(
            "signal_audit", self.home / "stderr", DEADLINE_S, home=str(self.home), seed=self.seed,
            acked=sorted(self.acked),
        )  # fmt: skip
        counts = self.counts
        counts.interrupts += found.get("TaskInterruptRequested", 0)
        counts.adjustments += found.get("TaskAdjusted", 0)
        counts.consumed += found.get("SignalConsumed", 0)
        counts.handed += found.get("handed", 0)
        counts.handed_again += found.get("handed_again", 0)
        counts.chunks += found.get("chunks", 0)
        counts.facts += found["facts"]
