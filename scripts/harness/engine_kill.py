"""Kill an engine that runs random programs, again and again, and see that nothing is lost."""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from scripts.harness.nursery import Harm

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.harness.nursery import Child, Nursery

KILLS_PER_WORLD: Final = 10
OPEN_RUNS: Final = 8
"""So many runs are unfinished when an engine starts; new programs make up for what has ended."""
DEADLINE_S: Final = 120.0
STEPS: Final = ("blobs", "write", "flush", "watermark")
WAYS: Final = ("opening", "time", "time", "word", "word", "step", "step")
"""When an engine is killed: while it opens, after a while, after a word, before a step."""


@dataclass
class EngineCounts:
    """What happened to the engines."""

    kills: int = 0
    worlds: int = 0
    idle: int = 0
    """Kills when every run had ended."""
    opening: int = 0
    """Kills before the engine was open."""
    at_acknowledgement: int = 0
    """Kills right after the word of an acknowledgement or of an end came."""
    at_step: int = 0
    """Kills right before a step of a commit."""
    stops: int = 0
    """Engines that were asked to stop while they worked."""
    rivals: int = 0
    """Second engines that were refused while the first one ran."""
    runs: int = 0
    tasks: int = 0
    facts: int = 0
    begun: int = 0
    effects: int = 0
    repeated_effects: int = 0
    """Effects of attempts whose outcome was lost: the same key again, with the same effect."""
    seconds: float = 0.0


class _World:
    """One data directory, its ledger, and what its engines said."""

    def __init__(self, nursery: Nursery, home: Path, seed: str) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - to be repeated
        self.home = home
        self._nursery = nursery
        self.seed = seed
        self._partitions = self.rng.choice([1, 1, 4])
        self._programs = 0
        self.boots: list[Child] = []
        self.acknowledged: set[int] = set()
        self.waiting: set[int] = set()
        self.ended: dict[int, list[Any]] = {}
        self.done = self.opened = False
        home.mkdir()

    def start(self, *, more: bool, kill_at: tuple[str, int] | None = None) -> Child:
        """Start the next engine with options drawn at random; `more` adds programs."""
        rng = random.Random(f"{self.seed}/start/{len(self.boots)}")  # noqa: S311
        options = _engine_options(rng)
        executors = {"threads_max": rng.choice([1, 2, 8, 32]), "stop_grace_s": 2.0}
        unfinished = len(self.waiting) + len(self.acknowledged) - len(self.ended)
        for _ in range(max(1, OPEN_RUNS - unfinished) if more else 0):
            self.waiting.add(self._programs)
            self._programs += 1
        # Runs that have ended are asked for again: an end never changes.
        again = {number for number in self.ended if rng.random() < 0.2}  # noqa: PLR2004
        known = [n for n in self.acknowledged if n not in self.ended]
        resubmitted = {number for number in known if rng.random() < 0.2}  # noqa: PLR2004
        self.done = self.opened = False
        child = self._child(
            submit=sorted(self.waiting | resubmitted),
            follow=sorted(again | set(known) - resubmitted),
            kill_at=kill_at,
            engine=options,
            executors=executors,
        )
        self.boots.append(child)
        return child

    def _child(self, **options: Any) -> Child:
        return self._nursery.start(
            "engine",
            self.home / "stderr",
            home=str(self.home),
            seed=self.seed,
            boot=len(self.boots),
            partitions=self._partitions,
            **options,
        )

    def rival(self) -> None:
        """Start a second engine beside the one that runs; it must be refused."""
        child = self._child(submit=[], follow=[], kill_at=None, engine={}, executors={})
        said: list[list[Any]] = []
        while child.talking and not any(words[0] == "open" for words in said):
            said += child.lines(DEADLINE_S)
        child.kill()
        if not said or said[0][:2] != ["fault", "engine_running"]:
            raise Harm(f"a second engine on the same directory was not refused: {said}")

    def keep(self, lines: list[list[Any]]) -> int:
        """Take in what an engine said; return how many acknowledgements and ends there were."""
        count = 0
        for word, *rest in lines:
            match word:
                case "open":
                    self.opened = True
                case "ack":
                    number, _, repeated = rest
                    if number in self.acknowledged and not repeated:
                        raise Harm(f"run p{number} was acknowledged, and is new to the next engine")
                    self.acknowledged.add(number)
                    self.waiting.discard(number)
                    count += 1
                case "end":
                    number, *end = rest
                    if self.ended.setdefault(number, end) != end:
                        raise Harm(f"run p{number} ended as {self.ended[number]}, then as {end}")
                    count += 1
                case "done":
                    self.done = True
                case "fault":
                    raise Harm("\n".join(rest))
        return count

    def listen(self, child: Child, until_s: float, words: int) -> int:
        """Listen until a time, some words of acknowledgement, or nothing is left to do."""
        while child.talking and not self.done and words > 0 and time.monotonic() < until_s:
            words -= self.keep(child.lines(until_s - time.monotonic()))
        return words

    def stop(self, child: Child) -> None:
        """Ask an engine to stop, and wait for it."""
        child.tell(b"stop")
        end_s = time.monotonic() + DEADLINE_S
        while child.talking and time.monotonic() < end_s:
            self.keep(child.lines(end_s - time.monotonic()))
        if child.talking:
            raise Harm(f"the engine did not stop within {DEADLINE_S} s")
        if child.wait():
            raise Harm("the engine did not stop as it was asked to")

    def audit(self, counts: EngineCounts) -> None:
        """Compare log, views and ledger with what the programs expect."""
        boots = [[child.born_ns, child.dead_ns] for child in self.boots]
        runs = sorted(self.acknowledged)
        child = self._nursery.start(
            "audit",
            self.home / "stderr",
            home=str(self.home),
            seed=self.seed,
            boots=boots,
            runs=runs,
        )
        lines: list[list[Any]] = []
        end_s = time.monotonic() + DEADLINE_S
        while child.talking and time.monotonic() < end_s:
            lines += child.lines(end_s - time.monotonic())
        child.kill()
        wrong = ["\n".join(words[1:]) for words in lines if words[0] in ("wrong", "fault")]
        if wrong or not lines:
            more = f"\n... and {len(wrong) - 20} more" if len(wrong) > 20 else ""  # noqa: PLR2004
            raise Harm("\n".join(wrong[:20]) + more if wrong else "the audit did not end")
        found = lines[-1][1]
        counts.runs += len(runs)
        counts.tasks += found["tasks"]
        counts.facts += found["facts"]
        counts.begun += found.get("begin", 0)
        counts.effects += found.get("effect", 0)
        counts.repeated_effects += found["repeated"]


def _engine_options(rng: random.Random) -> dict[str, Any]:
    return {
        "batch_messages_max": rng.choice([1, 3, 16, 256, 4096]),
        "batch_bytes_max": rng.choice([1, 2_000, 256 * 1024]),
        "batch_time_s": rng.choice([0.001, 0.02]),
        "commits_in_flight_max": rng.choice([1, 2, 8]),
        "live_actors_max": rng.choice([1, 10, 50_000]),
    }


def engine_world(nursery: Nursery, home: Path, seed: str, kills: int, counts: EngineCounts) -> None:
    """Play one world: `kills` kills under load, then an engine that sees everything to its end.

    Raises `Harm`; the directory stays then.
    """
    start = time.monotonic()
    world = _World(nursery, home, seed)
    counts.worlds += 1
    try:
        rival_at = world.rng.randrange(kills)
        for place in range(kills):
            _kill_once(world, counts, place, rival=place == rival_at)
        child = world.start(more=False)
        world.listen(child, time.monotonic() + DEADLINE_S, 1 << 60)
        if not world.done:
            unfinished = sorted(world.acknowledged - world.ended.keys())
            raise Harm(f"not all runs ended within {DEADLINE_S} s: {unfinished}")
        world.stop(child)
        world.audit(counts)
    finally:
        for child in world.boots:
            if not child.dead_ns:
                child.kill()
        counts.seconds += time.monotonic() - start
    shutil.rmtree(home)


def _kill_once(world: _World, counts: EngineCounts, place: int, *, rival: bool) -> None:
    """Start an engine, and kill it at some moment (or, seldom, ask it to stop first)."""
    rng = random.Random(f"{world.seed}/kill/{place}")  # noqa: S311 - whatever went before
    way = "word" if rival else rng.choice(WAYS)
    at = (rng.choice(STEPS), rng.randint(1, 80)) if way == "step" else None
    child = world.start(more=True, kill_at=at)
    limits_s = {"opening": rng.uniform(0, 0.15), "time": rng.uniform(0.1, 0.8)}
    words = rng.randint(1, 6) if way == "word" else 1 << 60
    left = world.listen(child, time.monotonic() + limits_s.get(way, DEADLINE_S), words)
    stuck = way == "word" and left > 0 and not world.done
    if stuck or (way == "step" and child.talking and not world.done):
        raise Harm(f"the engine came to no end within {DEADLINE_S} s")
    at_step = not child.talking and at is not None
    if rival:
        world.rival()
        counts.rivals += 1
    if world.opened and child.talking and rng.random() < 0.1:  # noqa: PLR2004 - a clean stop now and then
        world.stop(child)
        counts.stops += 1
        child = world.start(more=False)
        world.listen(child, time.monotonic() + rng.uniform(0.1, 0.4), 1 << 60)
    world.keep(child.kill())
    if not child.was_killed:
        raise Harm("the engine ended before it was killed")
    counts.kills += 1
    counts.at_acknowledgement += way == "word" and not world.done
    counts.at_step += at_step
    counts.idle += world.done
    counts.opening += not world.opened
