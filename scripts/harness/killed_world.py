"""One world of engines that are killed, again and again: what every kind of such worlds shares."""

from __future__ import annotations

import random
import shutil
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from scripts.harness.nursery import Harm

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.harness.nursery import Child, Nursery

WAYS: Final = ("opening", "time", "time", "word", "word", "step", "step")
"""When an engine is killed: while it opens, after a while, after an acknowledgement, before a step
of a commit."""
STEPS: Final = ("blobs", "write", "flush", "watermark")
FOREVER: Final = 1 << 60
DEADLINE_S: Final = 120.0
"""What does not come by then does not come."""


@dataclass
class KillCounts:
    """What happened to the engines."""

    kills: int = 0
    worlds: int = 0
    opening: int = 0
    """Kills before the engine was open."""
    at_step: int = 0
    """Kills right before a step of a commit."""
    facts: int = 0
    seconds: float = 0.0


class KilledWorld(ABC):
    """One data directory, its ledger, and what its engines said."""

    role: ClassVar[str]
    """What its engines play."""
    ways: ClassVar[tuple[str, ...]] = WAYS

    def __init__(self, nursery: Nursery, home: Path, seed: str, counts: KillCounts) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - to be repeated
        self.home = home
        self.seed = seed
        self.nursery = nursery
        self.counts = counts
        self.partitions = self.rng.choice([1, 1, 4])
        self.boots: list[Child] = []
        self.opened = self.done = False
        self.way = ""
        """Why the next engine is started: how it is to be killed, '' if it is not."""
        home.mkdir()

    def start(self, *, finish: bool, kill_at: tuple[str, int] | None = None) -> Child:
        """Start the next engine, with options drawn at random; `finish`: to see all to its end."""
        rng = random.Random(f"{self.seed}/start/{len(self.boots)}")  # noqa: S311
        self.opened = self.done = False
        options = engine_options(rng)
        child = self.child(kill_at=kill_at, engine=options, **self.request(finish=finish))
        self.boots.append(child)
        return child

    def child(self, **request: Any) -> Child:
        """Start an engine that is asked for something."""
        return self.nursery.start(
            self.role,
            self.home / "stderr",
            home=str(self.home),
            seed=self.seed,
            boot=len(self.boots),
            partitions=self.partitions,
            **request,
        )

    @abstractmethod
    def request(self, *, finish: bool) -> dict[str, Any]:
        """Return what else an engine is asked for."""

    @abstractmethod
    def said(self, words: list[Any]) -> int:
        """Take in a line of this kind of world; return how many acknowledgements it is."""

    @abstractmethod
    def audit(self) -> None:
        """Compare log and ledger with what was acknowledged; raises `Harm`."""

    def keep(self, lines: list[list[Any]]) -> int:
        """Take in what an engine said; return how many acknowledgements there were."""
        acks = 0
        for words in lines:
            match words:
                case ["open"]:
                    self.opened = True
                case ["done"]:
                    self.done = True
                case ["fault", *rest]:
                    raise Harm("\n".join(rest))
                case _:
                    acks += self.said(words)
        return acks

    def listen(self, child: Child, until_s: float, acks: int) -> int:
        """Listen until a time, so many acknowledgements, or the end; return how many are left."""
        while child.talking and not (self.done or self.is_enough) and acks > 0:
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                break
            acks -= self.keep(child.lines(left_s))
        return acks

    def kill_next(self, place: int, kills: int) -> None:  # noqa: ARG002 - others choose by it
        """Start an engine and kill it, for the `place`-th time of `kills`."""
        self.kill_at_random(place)

    def kill_at_random(self, place: int, way: str = "") -> None:
        """Start an engine, and kill it at some moment, or in a certain way."""
        rng = random.Random(f"{self.seed}/kill/{place}")  # noqa: S311 - whatever went before
        self.way = way = way or rng.choice(self.ways)
        at = self.step_for(way, rng)
        child = self.start(finish=False, kill_at=at)
        limits_s = {"opening": rng.uniform(0, 0.15), "time": rng.uniform(0.1, 0.8)}
        acks = rng.randint(1, 40) if way == "word" else FOREVER
        until_s = time.monotonic() + limits_s.get(way, DEADLINE_S)
        left = self.listen(child, until_s, acks)
        comes = way in limits_s or left <= 0 or self.done or self.is_enough
        if not comes and child.talking:
            raise Harm(f"the engine came to no end within {DEADLINE_S} s")
        self.counts.at_step += way == "step" and not child.talking
        self.before_kill(child, rng)

    def step_for(self, way: str, rng: random.Random) -> tuple[str, int] | None:
        """Return at which step, and how often it is reached before, an engine kills itself."""
        return (rng.choice(STEPS), rng.randint(1, 80)) if way == "step" else None

    @property
    def is_enough(self) -> bool:
        """Tell whether what was waited for before a kill has come."""
        return False

    def before_kill(self, child: Child, rng: random.Random) -> None:  # noqa: ARG002
        """Do what there is to do before an engine is killed, and kill it."""
        self.bury(child)

    def bury(self, child: Child) -> None:
        """Kill an engine, and take in what it said before."""
        self.keep(child.kill())
        if not child.was_killed:
            raise Harm("the engine ended before it was killed")
        self.counts.kills += 1
        self.counts.opening += not self.opened

    def part(self, child: Child) -> None:
        """Let the last engine go."""
        child.kill()

    def play(self, kills: int) -> None:
        """Kill so often while there is work, then see all to its end and audit.

        Raises `Harm`; the directory stays then.
        """
        start = time.monotonic()
        self.counts.worlds += 1
        try:
            for place in range(kills):
                self.kill_next(place, kills)
            self.way = ""
            child = self.start(finish=True)
            self.listen(child, time.monotonic() + DEADLINE_S, FOREVER)
            if not self.done:
                raise Harm(f"not everything ended within {DEADLINE_S} s of the last start")
            self.part(child)
            self.audit()
        finally:
            for child in self.boots:
                if not child.dead_ns:
                    child.kill()
            self.counts.seconds += time.monotonic() - start
        shutil.rmtree(self.home)


def engine_options(rng: random.Random) -> dict[str, Any]:
    """Return settings of an engine, drawn at random."""
    return {
        "batch_messages_max": rng.choice([1, 3, 16, 256, 4096]),
        "batch_bytes_max": rng.choice([1, 2_000, 256 * 1024]),
        "batch_time_s": rng.choice([0.001, 0.02]),
        "commits_in_flight_max": rng.choice([1, 2, 8]),
        "live_actors_max": rng.choice([1, 10, 50_000]),
        "snapshot_every_facts": rng.choice([200, 200, 5_000]),
    }
