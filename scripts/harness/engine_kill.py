"""Kill an engine that runs random programs, again and again, and see that nothing is lost."""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from goclaw.expiry import STEPS as STEPS_OF_EXPIRY
from goclaw_actors.archiving import STEPS as STEPS_OF_ARCHIVING
from scripts.harness.nursery import Harm

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.harness.nursery import Child, Nursery

KILLS_PER_WORLD: Final = 10
OPEN_RUNS: Final = 8
"""So many runs are unfinished when an engine starts; new programs make up for what has ended."""
DEADLINE_S: Final = 120.0
STEPS: Final = ("blobs", "write", "flush", "watermark")
ARCHIVE_STEPS: Final = (*STEPS_OF_ARCHIVING, *STEPS_OF_EXPIRY)
WAYS: Final = ("opening", "time", "time", "word", "word", "step", "step", "archive", "backup")
"""When an engine is killed: while it opens, after a while, after a word, before a step of a commit
or of archiving, while it is copied."""
EAGER: Final = {"archive_after_s": 0, "archive_facts_min": 1, "check_every_s": 0.005}


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
    at_archive: int = 0
    """Kills right before a step of archiving or of expiry."""
    at_backup: int = 0
    """Kills while the directory was copied."""
    cancels: int = 0
    """Runs that were asked to be cancelled."""
    backups: int = 0
    """Copies that were whole, and restored."""
    segments: int = 0
    """Segments that a world was left with, or had given up."""
    given_up: int = 0
    """Runs of which facts were given up."""
    snapshots: int = 0
    """Snapshots that a world was left with."""
    stops: int = 0
    """Engines that were asked to stop while they worked."""
    rivals: int = 0
    """Second engines that were refused while the first one ran."""
    runs: int = 0
    tasks: int = 0
    facts: int = 0
    begun: int = 0
    effects: int = 0
    steps: int = 0
    """Different durable steps that were done."""
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
        self.done = self.opened = self.backing = False
        self.cancelled: set[int] = set()
        self.backups: list[str] = []
        self._forgets = self.rng.random() < 0.4  # noqa: PLR2004
        home.mkdir()

    def start(self, *, more: bool, kill_at: tuple[str, int] | None = None, way: str = "") -> Child:
        """Start the next engine with options drawn at random; `more` adds programs."""
        rng = random.Random(f"{self.seed}/start/{len(self.boots)}")  # noqa: S311
        options = engine_options(rng)
        executors = {"threads_max": rng.choice([1, 2, 8, 32]), "stop_grace_s": 2.0}
        unfinished = len(self.waiting) + len(self.acknowledged) - len(self.ended)
        for _ in range(max(1, OPEN_RUNS - unfinished) if more else 0):
            self.waiting.add(self._programs)
            self._programs += 1
        # Runs that have ended are asked for again: an end never changes.
        again = {number for number in self.ended if rng.random() < 0.2}  # noqa: PLR2004
        known = [n for n in self.acknowledged if n not in self.ended]
        resubmitted = {number for number in known if rng.random() < 0.2}  # noqa: PLR2004
        cancel = {n for n in self.waiting | set(known) if more and rng.random() < 0.1}  # noqa: PLR2004
        self.cancelled |= cancel
        self.done = self.opened = self.backing = False
        child = self._child(
            cancel=sorted(cancel),
            backup=str(self.home / f"backup-{len(self.boots)}") if way == "backup" else "",
            retention=_retention(rng, forgets=self._forgets, sure=way == "archive"),
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
        child = self._child(
            submit=[], follow=[], kill_at=None, engine={}, executors={},
            cancel=[], backup="", retention={},
        )  # fmt: skip
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
                    self._same_end(number, end)
                    count += 1
                case "gone":
                    self._same_end(rest[0], rest[1:])
                    count += 1
                case "backing":
                    self.backing = True
                case "backed":
                    self.backing = False
                    self.backups.append(rest[0])
                case "done":
                    self.done = True
                case "fault":
                    raise Harm("\n".join(rest))
        return count

    def _same_end(self, number: int, end: list[Any]) -> None:
        """Compare an end with what was said of it before; of one given up only the status is."""
        known = self.ended.setdefault(number, end)
        if any(a != b for a, b in zip(known, end, strict=False)):
            raise Harm(f"run p{number} ended as {known}, then as {end}")
        self.ended[number] = max(known, end, key=len)

    def listen(self, child: Child, until_s: float, words: int) -> int:
        """Listen until a time, some words of acknowledgement, or nothing is left to do."""
        copying = self.backing
        while child.talking and not self.done and words > 0 and time.monotonic() < until_s:
            if self.backing and not copying:
                break
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
        found = self._nursery.audit(
            "audit", self.home / "stderr", DEADLINE_S, home=str(self.home), seed=self.seed,
            boots=boots, runs=runs, cancelled=sorted(self.cancelled), backups=self.backups,
        )  # fmt: skip
        counts.runs += len(runs)
        counts.tasks += found["tasks"]
        counts.facts += found["facts"]
        counts.begun += found.get("begin", 0)
        counts.effects += found.get("effect", 0)
        counts.steps += found["steps"]
        counts.repeated_effects += found["repeated"]
        counts.cancels += len(self.cancelled)
        counts.backups += len(self.backups)
        counts.segments += found["segments"]
        counts.given_up += found["given_up"]
        counts.snapshots += found["snapshots"]


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


def _retention(rng: random.Random, *, forgets: bool, sure: bool) -> dict[str, Any]:
    if not sure and rng.random() < 0.5:  # noqa: PLR2004
        return {}
    facts = rng.choice([50, 500, 1_000_000])
    return {**EAGER, "archive_facts_max": facts, "expire_after_s": 0 if forgets else None}


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
    if way == "archive":
        at = (rng.choice(ARCHIVE_STEPS), rng.randint(1, 3))
    child = world.start(more=True, kill_at=at, way=way)
    limits_s = {"opening": rng.uniform(0, 0.15), "time": rng.uniform(0.1, 0.8)}
    words = rng.randint(1, 6) if way == "word" else 1 << 60
    left = world.listen(child, time.monotonic() + limits_s.get(way, DEADLINE_S), words)
    if way == "backup" and world.backing:
        world.listen(child, time.monotonic() + rng.uniform(0, 0.03), 1 << 60)
    stuck = way == "word" and left > 0 and not world.done
    if stuck or (way in ("step", "archive") and child.talking and not world.done):
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
    counts.at_step += at_step and way == "step"
    counts.at_archive += at_step and way == "archive"
    counts.at_backup += world.backing
    counts.idle += world.done
    counts.opening += not world.opened
