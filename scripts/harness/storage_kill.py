"""Kill a process that appends to a log, again and again, with or without power cuts."""

from __future__ import annotations

import json
import random
import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from scripts.harness.killed_world import STEPS
from scripts.harness.nursery import Harm
from scripts.harness.power import HONEST, HOSTILE, cut_power

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.harness.nursery import Child, Nursery

FRAMES_MAX: Final = 600
OPEN_S: Final = 30.0
REFUSALS: Final = ("log_damaged", "log_behind_watermark")


@dataclass
class StorageCounts:
    """What happened to the logs of one harness."""

    kills: int = 0
    worlds: int = 0
    acknowledged: int = 0
    making: int = 0
    """Kills while the log was being made."""
    opening: int = 0
    """Kills while it was being opened."""
    by_step: dict[str, int] = field(default_factory=dict)
    """Kills right before a step of the commit."""
    tails: dict[str, int] = field(default_factory=dict)
    """Power losses with something unflushed, by what the disk left of it."""
    refused: int = 0
    """Logs that a disk out of order left and that were refused with a typed error."""
    seconds: float = 0.0


class Fault(Harm):
    """A child said that something is wrong."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}\n{text}")
        self.code = code
        self.refusal = code in REFUSALS


class _World:
    """One log and what was acknowledged of it."""

    def __init__(self, nursery: Nursery, home: Path, seed: str, power: str) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - to be repeated
        self.home = home
        self.power = power
        self._nursery = nursery
        self.seed = seed
        self._boot = 0
        self._partitions = self.rng.choice([1, 1, 4])
        self.acknowledged = 0
        self.opened = False
        home.mkdir()

    def start(self, frames: int, kill_at: tuple[str, int] | None = None) -> Child:
        """Start the next boot."""
        self._boot += 1
        self.opened = False
        return self._nursery.start(
            "storage",
            self.home / "stderr",
            home=str(self.home),
            seed=f"{self.seed}/{self._boot}",
            partitions=self._partitions,
            frames=frames,
            kill_at=kill_at,
            power=bool(self.power),
        )

    def keep(self, lines: list[list[Any]]) -> int:
        """Write down what the child said; return how many acknowledgements there were."""
        acks = [words[1:] for words in lines if words[0] == "ack"]
        with (self.home / "acks").open("a") as file:
            file.writelines(json.dumps(ack) + "\n" for ack in acks)
        self.acknowledged += len(acks)
        for words in lines:
            self.opened |= words[0] == "ready"
            if words[0] == "fault":
                raise Fault(words[1], words[2])
        return len(acks)

    def listen(self, child: Child, until_s: float, acks: int) -> None:
        """Listen until a time, some acknowledgements, or the child's end."""
        while child.talking and time.monotonic() < until_s and acks > 0:
            acks -= self.keep(child.lines(until_s - time.monotonic()))

    def close(self, *, tolerant: bool) -> bool:
        """Open once more, look, close as asked; tell whether the log was accepted."""
        child = self.start(0)
        try:
            self.listen(child, time.monotonic() + OPEN_S, 1 << 60)
            if not child.talking:
                code = child.wait()
                if code or not self.opened:
                    raise Harm(f"the closing look ended with code {code}")
                return True
            raise Harm(f"the log was not opened within {OPEN_S} s")
        except Fault as fault:
            if tolerant and fault.refusal:
                return False
            raise
        finally:
            if child.talking:
                child.kill()


def storage_world(
    nursery: Nursery, home: Path, seed: str, kills: int, counts: StorageCounts, power: str = ""
) -> None:
    """Play one world: `kills` kills, each looked over by the next boot. Raises `Harm`.

    `power` "" only kills; "honest" and "hostile" cut the power after each kill, with the tails
    that the names stand for. A log that a hostile tail made unreadable ends its world.
    """
    start = time.monotonic()
    world = _World(nursery, home, seed, power)
    counts.worlds += 1
    try:
        if not power and world.rng.random() < 0.5:  # noqa: PLR2004
            _kill_while_made(world, counts)
            kills -= 1
        world.close(tolerant=False)  # a power cut is emulated from the first flush on
        for place in range(kills):
            if not _kill_once(world, counts, place):
                counts.refused += 1
                break
        else:
            hostile = power == "hostile"
            counts.refused += not world.close(tolerant=hostile)
            if not hostile:
                world.close(tolerant=False)
    finally:
        counts.acknowledged += world.acknowledged
        counts.seconds += time.monotonic() - start
    shutil.rmtree(home)


def _kill_while_made(world: _World, counts: StorageCounts) -> None:
    """Kill the process that makes the log, perhaps before there is one."""
    child = world.start(FRAMES_MAX)
    world.listen(child, time.monotonic() + world.rng.uniform(0, 0.08), 1 << 60)
    world.keep(child.kill())
    counts.kills += 1
    counts.making += not world.opened


def _kill_once(world: _World, counts: StorageCounts, place: int) -> bool:
    """Start, kill, cut the power; tell whether the log had been accepted."""
    rng = random.Random(f"{world.seed}/kill/{place}")  # noqa: S311 - whatever went before
    way = rng.choice(["time", "acks", "acks", "step", "step"])
    if world.power:
        way = rng.choice(["acks", "step", "step", "step"])
    # Between write and flush something is unflushed: there a power cut hurts most.
    steps = ("flush", "flush", "flush", *STEPS) if world.power else STEPS
    at = (rng.choice(steps), rng.randint(1, 40)) if way == "step" else None
    child = world.start(FRAMES_MAX, at)
    try:
        limit_s = rng.uniform(0, 0.3) if way == "time" else OPEN_S
        acks = rng.randint(1, 120) if way == "acks" else 1 << 60
        world.listen(child, time.monotonic() + limit_s, acks)
        heard = child.kill()
        world.keep(heard)
    except Fault as fault:
        child.kill()
        if world.power == "hostile" and fault.refusal:
            return False
        raise
    if way != "time" and not world.opened:
        raise Harm(f"the log was not opened within {OPEN_S} s")
    if not child.was_killed:
        return True  # it had written all it was to write
    counts.kills += 1
    counts.opening += not world.opened
    if at is not None:
        counts.by_step[at[0]] = counts.by_step.get(at[0], 0) + 1
    if world.power:
        tail = rng.choice(HONEST if world.power == "honest" else HOSTILE)
        said = cut_power(world.home, rng, tail)
        if said["unflushed"]:
            counts.tails[tail] = counts.tails.get(tail, 0) + 1
    return True
