"""Kill an engine whose tasks are talked to, again and again: nothing that was said is lost."""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from scripts.harness.engine_kill import DEADLINE_S, STEPS, engine_options
from scripts.harness.nursery import Harm
from scripts.harness.talk import RUNS, TASKS, word

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.harness.nursery import Child, Nursery

WAYS: Final = ("opening", "time", "time", "word", "word", "step", "step")
"""When an engine is killed: while it opens, after a while, after an acknowledgement, before a step
of a commit."""


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
        self._next = {f"{run}/{task}": 0 for run in range(RUNS) for task in TASKS}
        self.acked: set[tuple[int, str, int]] = set()
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

    def listen(self, child: Child, until_s: float, acks: int, counts: SignalCounts) -> None:
        """Listen until a time, so many acknowledgements, or the end."""
        while child.talking and not self.done and acks > 0 and time.monotonic() < until_s:
            acks -= self.keep(child.lines(until_s - time.monotonic()), counts)

    def audit(self, counts: SignalCounts) -> None:
        """Compare log and ledger with what was acknowledged."""
        found = self._nursery.audit(
            "signal_audit", self.home / "stderr", DEADLINE_S, home=str(self.home), seed=self.seed,
            acked=sorted(self.acked),
        )  # fmt: skip
        counts.interrupts += found.get("TaskInterruptRequested", 0)
        counts.adjustments += found.get("TaskAdjusted", 0)
        counts.consumed += found.get("SignalConsumed", 0)
        counts.handed += found.get("handed", 0)
        counts.handed_again += found.get("handed_again", 0)
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
            _kill_once(world, counts, place)
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
    way = rng.choice(WAYS)
    at = (rng.choice(STEPS), rng.randint(1, 80)) if way == "step" else None
    child = world.start(finish=False, kill_at=at)
    limits_s = {"opening": rng.uniform(0, 0.15), "time": rng.uniform(0.1, 0.8)}
    acks = rng.randint(1, 40) if way == "word" else 1 << 60
    world.listen(child, time.monotonic() + limits_s.get(way, DEADLINE_S), acks, counts)
    if way == "step" and child.talking:
        raise Harm(f"the engine came to no end within {DEADLINE_S} s")
    counts.at_step += way == "step"
    world.keep(child.kill(), counts)
    if not child.was_killed:
        raise Harm("the engine ended before it was killed")
    counts.kills += 1
    counts.opening += not world.opened
