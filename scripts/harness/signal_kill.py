"""Kill an engine whose tasks are talked to, again and again: nothing that was said is lost."""

from __future__ import annotations

import json
import random
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from scripts.harness.engine_kill import DEADLINE_S, STEPS, engine_options
from scripts.harness.nursery import Harm
from scripts.harness.talk import APART, RUNS, tasks_of, word

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scripts.harness.nursery import Child, Nursery

WAYS: Final = ("opening", "time", "time", "word", "word", "step", "step")
"""When an engine is killed: while it opens, after a while, after an acknowledgement, before a step
of a commit; in each world once after the agent in a process was heard (`apart`), and at last twice
while tasks end (`end`), after a collector told of a member."""
APART_AT: Final = 1
END_KILLS: Final = 2
HEARD_S: Final = 5.0
"""The agent in a process may be paused, or interrupted, and is not heard then."""


@dataclass
class SignalCounts:
    """What happened to the engines, and to what was said."""

    kills: int = 0
    worlds: int = 0
    opening: int = 0
    """Kills before the engine was open."""
    at_step: int = 0
    """Kills right before a step of a commit."""
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
    facts: int = 0
    seconds: float = 0.0


class _World:
    """One data directory, its ledger, and what was acknowledged."""

    def __init__(self, nursery: Nursery, home: Path, seed: str) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - to be repeated
        self.home = home
        self.seed = seed
        self._nursery = nursery
        self._partitions = self.rng.choice([1, 1, 4])
        self._next = {f"{run}/{task}": 0 for run in range(RUNS) for task in tasks_of(run)}
        self.acked: set[tuple[int, str, int]] = set()
        self.read: dict[str, list[Any]] = {}
        """What readers were given, by whose it is: [cursor, value]."""
        self.collected: dict[str, Any] = {}
        self.boots: list[Child] = []
        self.opened = self.done = False
        home.mkdir()

    def start(self, *, finish: bool, kill_at: tuple[str, int] | None = None) -> Child:
        """Start the next engine, with options drawn at random."""
        rng = random.Random(f"{self.seed}/start/{len(self.boots)}")  # noqa: S311
        self.opened = self.done = False
        child = self._nursery.start(
            "signals",
            self.home / "stderr",
            home=str(self.home),
            seed=self.seed,
            boot=len(self.boots),
            partitions=self._partitions,
            next=self._next,
            read={name: told[-1][0] for name, told in self.read.items()},
            finish=finish,
            kill_at=kill_at,
            engine=engine_options(rng),
        )
        self.boots.append(child)
        return child

    def keep(self, lines: list[list[Any]], counts: SignalCounts) -> int:
        """Take in what an engine said; return how many acknowledgements there were."""
        acks = 0
        for words in lines:
            match words:
                case ["open"]:
                    self.opened = True
                case ["done"]:
                    self.done = True
                case ["ack" | "no" as how, run, task, number, *more]:
                    place = f"{run}/{task}"
                    self._next[place] = max(self._next[place], number + 1)
                    if how == "no":
                        counts.refused += 1
                        continue
                    self._acknowledged((run, task, number), counts, is_new=more == [False])
                    acks += 1
                case ["chunk" | "member", name, cursor, value]:
                    self.read.setdefault(name, []).append([cursor, value])
                case ["collected", name, *what]:
                    self.collected[name] = what
                case ["fault", *rest]:
                    raise Harm("\n".join(rest))
        return acks

    def _acknowledged(
        self, place: tuple[int, str, int], counts: SignalCounts, *, is_new: bool
    ) -> None:
        if place in self.acked and is_new:
            said = word(self.seed, *place)
            raise Harm(f"{said.id} was acknowledged, and is new to the next engine")
        counts.repeats += place in self.acked
        counts.acknowledged += place not in self.acked
        self.acked.add(place)

    @property
    def apart(self) -> int:
        """Return how many chunks came of the agent in a process."""
        return len(self.read.get("/".join(map(str, APART)), ()))

    @property
    def members(self) -> int:
        """Return of how many members collectors have told."""
        return sum(len(told) for name, told in self.read.items() if "/" not in name)

    def listen_for(
        self, child: Child, heard: Callable[[], int], more: int, counts: SignalCounts
    ) -> None:
        """Listen for a while, or until so much more was heard of something."""
        until_s, wanted = time.monotonic() + HEARD_S, heard() + more
        while child.talking and heard() < wanted and time.monotonic() < until_s:
            self.keep(child.lines(until_s - time.monotonic()), counts)

    def listen(self, child: Child, until_s: float, acks: int, counts: SignalCounts) -> None:
        """Listen until a time, so many acknowledgements, or the end."""
        while child.talking and not self.done and acks > 0 and time.monotonic() < until_s:
            acks -= self.keep(child.lines(until_s - time.monotonic()), counts)

    def audit(self, counts: SignalCounts) -> None:
        """Compare log and ledger with what was acknowledged."""
        told = {"read": self.read, "collected": self.collected}
        (self.home / "told").write_text(json.dumps(told))
        found = self._nursery.audit(
            "signal_audit", self.home / "stderr", DEADLINE_S, home=str(self.home), seed=self.seed,
            acked=sorted(self.acked),
        )  # fmt: skip
        counts.interrupts += found.get("TaskInterruptRequested", 0)
        counts.adjustments += found.get("TaskAdjusted", 0)
        counts.consumed += found.get("SignalConsumed", 0)
        counts.handed += found.get("handed", 0)
        counts.handed_again += found.get("handed_again", 0)
        counts.chunks += found.get("chunks", 0)
        counts.facts += found["facts"]


def signal_world(nursery: Nursery, home: Path, seed: str, kills: int, counts: SignalCounts) -> None:
    """Play one world: `kills` kills while its tasks are talked to, then all of them end.

    Raises `Harm`; the directory stays then.
    """
    start = time.monotonic()
    world = _World(nursery, home, seed)
    counts.worlds += 1
    try:
        for place in range(kills):
            if place >= kills - END_KILLS:
                _kill_at_the_end(world, counts, place)
            else:
                _kill_once(world, counts, place)
        counts.chunks_apart += world.apart
        counts.members += world.members
        child = world.start(finish=True)
        world.listen(child, time.monotonic() + DEADLINE_S, 1 << 60, counts)
        if not world.done:
            raise Harm(f"not all runs ended within {DEADLINE_S} s of the last start")
        child.kill()
        world.audit(counts)
    finally:
        for child in world.boots:
            if not child.dead_ns:
                child.kill()
        counts.seconds += time.monotonic() - start
    shutil.rmtree(home)


def _kill_once(world: _World, counts: SignalCounts, place: int) -> None:
    """Start an engine, and kill it at some moment."""
    rng = random.Random(f"{world.seed}/kill/{place}")  # noqa: S311 - whatever went before
    way = "apart" if place == APART_AT else rng.choice(WAYS)
    at = (rng.choice(STEPS), rng.randint(1, 80)) if way == "step" else None
    child = world.start(finish=False, kill_at=at)
    limits_s = {"opening": rng.uniform(0, 0.15), "time": rng.uniform(0.1, 0.8)}
    acks = rng.randint(1, 40) if way == "word" else 1 << 60
    if way == "apart":
        world.listen_for(child, lambda: world.apart, 1, counts)
    else:
        world.listen(child, time.monotonic() + limits_s.get(way, DEADLINE_S), acks, counts)
    if way == "step" and child.talking:
        raise Harm(f"the engine came to no end within {DEADLINE_S} s")
    counts.at_step += way == "step"
    _kill(world, child, counts)


def _kill_at_the_end(world: _World, counts: SignalCounts, place: int) -> None:
    """Start an engine whose tasks are to end, and kill it when some of them have."""
    rng = random.Random(f"{world.seed}/kill/{place}")  # noqa: S311 - whatever went before
    child = world.start(finish=True)
    world.listen_for(child, lambda: world.members, rng.randint(1, 6), counts)
    _kill(world, child, counts)


def _kill(world: _World, child: Child, counts: SignalCounts) -> None:
    world.keep(child.kill(), counts)
    if not child.was_killed:
        raise Harm("the engine ended before it was killed")
    counts.kills += 1
    counts.opening += not world.opened
