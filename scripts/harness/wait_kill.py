"""Kill an engine whose runs mostly wait, again and again: nothing is answered twice, or lost."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scripts.harness.errand_parts import errand
from scripts.harness.killed_world import DEADLINE_S, KillCounts
from scripts.harness.numbered_world import NumberedWorld
from scripts.harness.nursery import Harm
from scripts.harness.timetables import NAMES

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.harness.nursery import Nursery


@dataclass
class WaitCounts(KillCounts):
    """What happened to the engines, and to what waited."""

    errands: int = 0
    answers: int = 0
    """Tasks that an answer came to."""
    deadlines: int = 0
    """Tasks that none came to in time."""
    repeats: int = 0
    """Words that were said again, and answered as before."""
    refused: int = 0
    """Words that were refused, as they had to be."""
    letters: int = 0
    """Dead letters that were decided about."""
    fired: int = 0
    """Runs that schedules began."""
    skipped: int = 0
    """Times of schedules that led to no run, each with the fact that says why."""
    parked: int = 0
    """Messages that a bug struck; each was redriven, or put away."""
    operations: int = 0
    """What was done to schedules, and acknowledged."""
    effects: int = 0
    repeated_effects: int = 0
    """Effects of attempts whose outcome was lost: the same key again, with the same effect."""


class WaitWorld(NumberedWorld):
    """A world of errands and schedules, and what was acknowledged."""

    role = "waits"
    counts: WaitCounts

    def __init__(self, nursery: Nursery, home: Path, seed: str, counts: WaitCounts) -> None:
        super().__init__(nursery, home, seed, counts)
        self.born_s = time.time()
        self._next = dict.fromkeys(NAMES, 0)
        self.taken: set[str] = set()
        self.decided: set[tuple[str, str, int]] = set()
        self.done_to: dict[tuple[str, int], list[str]] = {}
        self._struck = 0
        self.settled: dict[str, str] = {}

    def request(self, *, finish: bool) -> dict[str, Any]:
        """Return which errands to see to, and where the schedules' operations go on."""
        more = {"next": self._next, "struck": self._struck, "born_s": self.born_s}
        return {**super().request(finish=finish), **more, "finish": finish}

    def said(self, words: list[Any]) -> int:
        """Take in what was acknowledged: a word, a decision, an operation, or an errand."""
        match words:
            case ["taken", name, repeated]:
                if name in self.taken and not repeated:
                    raise Harm(f"{name} was acknowledged, and is new to the next engine")
                self.counts.repeats += repeated
                self.taken.add(name)
            case ["refused", name, code]:
                if name in self.taken:
                    raise Harm(f"{name} was taken, and is refused now: {code}")
                self.counts.refused += 1
            case ["decided", run_id, task, generation]:
                self.decided.add((run_id, task, generation))
            case ["done_to", name, number, *answer]:
                known = self.done_to.setdefault((name, number), answer)
                if known != answer:
                    raise Harm(f"{name}: {number} was answered {known}, then {answer}")
                self._next[name] = max(self._next[name], number + 1)
            case ["struck", number]:
                self._struck = max(self._struck, number + 1)
            case ["settled", letter, how]:
                if letter in self.settled:
                    raise Harm(f"{letter} was settled ({self.settled[letter]}), and is now: {how}")
                self.settled[letter] = how
            case _:
                return super().said(words)
        return 1

    def check_end(self, number: int, end: list[Any]) -> None:
        """See that an errand ended as was drawn, or was recalled."""
        made = errand(self.seed, number)
        if end != [made.program.status] and not (made.is_recalled and end == ["cancelled"]):
            raise Harm(f"{made.key} ended {end}, not {made.program.status}")

    def audit(self) -> None:
        """Compare log and ledger with what was drawn and acknowledged."""
        acknowledged = {
            "settled": sorted(self.settled.items()),
            "taken": sorted(self.taken),
            "decided": sorted(self.decided),
            "done_to": [[name, *answer] for (name, _), answer in sorted(self.done_to.items())],
        }
        (self.home / "acknowledged").write_text(json.dumps(acknowledged))
        found = self.nursery.audit(
            "wait_audit", self.home / "stderr", DEADLINE_S, home=str(self.home), seed=self.seed,
            boots=[[child.born_ns, child.dead_ns] for child in self.boots],
            errands=sorted(self.acknowledged),
        )  # fmt: skip
        counts = self.counts
        counts.errands += len(self.acknowledged)
        counts.operations += len(self.done_to)
        counts.answers += found.get("answers", 0)
        counts.deadlines += found.get("deadlines", 0)
        counts.letters += found.get("letters", 0)
        counts.fired += found["fired"]
        counts.skipped += found["skipped"]
        counts.parked += found["parked"]
        counts.effects += found["effects"]
        counts.repeated_effects += found["repeated"]
        counts.facts += found["facts"]
