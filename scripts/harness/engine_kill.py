"""Kill an engine that runs random programs, again and again, and see that nothing is lost."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from goclaw.expiry import STEPS as STEPS_OF_EXPIRY
from goclaw_actors.archiving import STEPS as STEPS_OF_ARCHIVING
from scripts.harness.killed_world import DEADLINE_S, FOREVER, WAYS, KillCounts
from scripts.harness.numbered_world import NumberedWorld
from scripts.harness.nursery import Harm

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.harness.nursery import Child, Nursery

ARCHIVE_STEPS: Final = (*STEPS_OF_ARCHIVING, *STEPS_OF_EXPIRY)
COPY_S: Final = 5.0
"""By then a copy is whole; half of the engines that are copied live so long."""
EAGER: Final = {"archive_after_s": 0, "archive_facts_min": 1, "check_every_s": 0.005}


@dataclass
class EngineCounts(KillCounts):
    """What happened to the engines, and to their runs."""

    idle: int = 0
    """Kills when every run had ended."""
    at_acknowledgement: int = 0
    """Kills right after the word of an acknowledgement or of an end came."""
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
    begun: int = 0
    effects: int = 0
    steps: int = 0
    """Different durable steps that were done."""
    repeated_effects: int = 0
    """Effects of attempts whose outcome was lost: the same key again, with the same effect."""


class EngineWorld(NumberedWorld):
    """A world of programs; its engines are copied, archived and stopped besides."""

    role = "engine"
    ways = (*WAYS, "archive", "backup")
    counts: EngineCounts

    def __init__(self, nursery: Nursery, home: Path, seed: str, counts: EngineCounts) -> None:
        super().__init__(nursery, home, seed, counts)
        self.cancelled: set[int] = set()
        self.backups: list[str] = []
        self.backing = False
        self._forgets = self.rng.random() < 0.4  # noqa: PLR2004
        self._rival = False

    def request(self, *, finish: bool) -> dict[str, Any]:
        """Return which programs to run and to cancel, and what else is done to the directory."""
        rng, asked = self.rng, super().request(finish=finish)
        self.backing = False
        going_on = sorted(self.waiting | self.acknowledged - self.ended.keys())
        cancel = [n for n in going_on if not finish and rng.random() < 0.1]  # noqa: PLR2004
        self.cancelled.update(cancel)
        backup = self.home / f"backup-{len(self.boots)}" if self.way == "backup" else ""
        return {
            **asked,
            "cancel": cancel,
            "backup": str(backup),
            "retention": _retention(rng, forgets=self._forgets, sure=self.way == "archive"),
            "executors": {"threads_max": rng.choice([1, 2, 8, 32]), "stop_grace_s": 2.0},
        }

    def said(self, words: list[Any]) -> int:
        """Take in how far the runs came, and how far a copy did."""
        match words:
            case ["gone", *end]:
                return super().said(["end", *end])
            case ["backing"]:
                self.backing = True
            case ["backed", path]:
                self.backing = False
                self.backups.append(path)
            case _:
                return super().said(words)
        return 0

    def kill_next(self, place: int, kills: int) -> None:
        """Kill an engine; once in a world a second one is started beside it, and refused."""
        self._rival = place == self.rival_at(kills)
        self.kill_at_random(place, "word" if self._rival else "")

    def rival_at(self, kills: int) -> int:
        """Return at which kill that is."""
        return random.Random(f"{self.seed}/rival").randrange(kills)  # noqa: S311

    def step_for(self, way: str, rng: random.Random) -> tuple[str, int] | None:
        """Return a step of a commit, or of archiving."""
        if way == "archive":
            return rng.choice(ARCHIVE_STEPS), rng.randint(1, 3)
        return super().step_for(way, rng)

    @property
    def is_enough(self) -> bool:
        """Tell whether the copy has begun that was waited for."""
        return self.way == "backup" and self.backing

    def before_kill(self, child: Child, rng: random.Random) -> None:
        """Have a rival refused; ask an engine to stop now and then, and kill the one after it."""
        counts, is_word = self.counts, self.way == "word"
        if self.is_enough:
            until_s = time.monotonic() + rng.choice([rng.uniform(0, 0.03), COPY_S])
            while child.talking and self.backing and (left_s := until_s - time.monotonic()) > 0:
                self.keep(child.lines(left_s))
        counts.at_archive += self.way == "archive" and not child.talking
        if self._rival:
            self._have_refused()
        if self.opened and child.talking and rng.random() < 0.1:  # noqa: PLR2004
            self.part(child)
            counts.stops += 1
            self.way = ""
            child = self.start(finish=True)
            self.listen(child, time.monotonic() + rng.uniform(0.1, 0.4), FOREVER)
        self.bury(child)
        counts.at_acknowledgement += is_word and not self.done
        counts.at_backup += self.backing
        counts.idle += self.done

    def _have_refused(self) -> None:
        """Start a second engine beside the one that runs; it must be refused."""
        nothing = {"submit": [], "follow": [], "cancel": [], "backup": "", "retention": {}}
        child = self.child(kill_at=None, engine={}, executors={}, **nothing)
        said: list[list[Any]] = []
        while child.talking and not any(words[0] == "open" for words in said):
            said += child.lines(DEADLINE_S)
        child.kill()
        if not said or said[0][:2] != ["fault", "engine_running"]:
            raise Harm(f"a second engine on the same directory was not refused: {said}")
        self.counts.rivals += 1

    def part(self, child: Child) -> None:
        """Ask an engine to stop, and wait for it."""
        child.tell(b"stop")
        end_s = time.monotonic() + DEADLINE_S
        while child.talking and time.monotonic() < end_s:
            self.keep(child.lines(end_s - time.monotonic()))
        if child.talking:
            raise Harm(f"the engine did not stop within {DEADLINE_S} s")
        if child.wait():
            raise Harm("the engine did not stop as it was asked to")

    def audit(self) -> None:
        """Compare log, views and ledger with what the programs expect."""
        boots = [[child.born_ns, child.dead_ns] for child in self.boots]
        runs, counts = sorted(self.acknowledged), self.counts
        found = self.nursery.audit(
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
        counts.given_up += found.get("given_up", 0)
        counts.snapshots += found["snapshots"]


def _retention(rng: random.Random, *, forgets: bool, sure: bool) -> dict[str, Any]:
    if not sure and rng.random() < 0.5:  # noqa: PLR2004
        return {}
    facts = rng.choice([50, 500, 1_000_000])
    return {**EAGER, "archive_facts_max": facts, "expire_after_s": 0 if forgets else None}
