"""Kill an engine that works on sagas, again and again: what stands outside is what must."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from scripts.harness.engine_kill import DEADLINE_S
from scripts.harness.journeys import journey
from scripts.harness.killed_world import KillCounts, KilledWorld
from scripts.harness.nursery import Harm

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.harness.nursery import Nursery

OPEN_SAGAS: Final = 8
"""So many sagas are unfinished when an engine starts; new ones make up for what has ended."""


@dataclass
class SagaCounts(KillCounts):
    """What happened to the engines, and to the sagas."""

    sagas: int = 0
    effects: int = 0
    """Different actions that took effect."""
    repeated: int = 0
    """Effects of attempts whose outcome was lost: the same key again."""
    undone: int = 0
    """Compensations that had their effect, as often as they had."""
    in_doubt: int = 0
    """Those of them that did not know whether there was something to undo."""
    alarms: int = 0
    """Sagas whose compensation failed until a person had it tried again."""


class _World(KilledWorld):
    """A world of sagas, and how far they are known to have come."""

    role = "sagas"
    counts: SagaCounts

    def __init__(self, nursery: Nursery, home: Path, seed: str, counts: SagaCounts) -> None:
        super().__init__(nursery, home, seed, counts)
        self._made = 0
        self.waiting: set[int] = set()
        self.acknowledged: set[int] = set()
        self.ended: set[int] = set()

    def request(self, *, finish: bool) -> dict[str, Any]:
        """Return which sagas to begin, some of them again, and which to wait for."""
        unfinished = len(self.waiting) + len(self.acknowledged) - len(self.ended)
        for _ in range(0 if finish else max(1, OPEN_SAGAS - unfinished)):
            self.waiting.add(self._made)
            self._made += 1
        known = self.acknowledged - self.ended
        again = {number for number in sorted(known) if self.rng.random() < 0.2}  # noqa: PLR2004
        return {"submit": sorted(self.waiting | again), "follow": sorted(known - again)}

    def said(self, words: list[Any]) -> int:
        """Take in that a saga was accepted, or has ended."""
        match words:
            case ["ack", number, repeated]:
                if number in self.acknowledged and not repeated:
                    raise Harm(f"saga j{number} was acknowledged, and is new to the next engine")
                self.acknowledged.add(number)
                self.waiting.discard(number)
            case ["end", number, status]:
                expected = journey(self.seed, number)
                if status != expected.status:
                    raise Harm(f"{expected.saga_id} ({expected.fate}) ended {status}")
                self.ended.add(number)
        return 1

    def audit(self) -> None:
        """Compare log and ledger with what the sagas expect."""
        found = self.nursery.audit(
            "saga_audit", self.home / "stderr", DEADLINE_S, home=str(self.home), seed=self.seed,
            boots=[[child.born_ns, child.dead_ns] for child in self.boots],
            sagas=sorted(self.acknowledged),
        )  # fmt: skip
        counts = self.counts
        counts.sagas += len(self.acknowledged)
        counts.effects += found["effects"]
        counts.repeated += found["repeated"]
        counts.undone += found.get("undo", 0)
        counts.in_doubt += found.get("undone in doubt", 0)
        counts.alarms += found.get("alarms", 0)
        counts.facts += found["facts"]


def saga_world(nursery: Nursery, home: Path, seed: str, kills: int, counts: SagaCounts) -> None:
    """Play one world: `kills` kills while sagas go forth and back, then all of them end.

    Raises `Harm`; the directory stays then.
    """
    _World(nursery, home, seed, counts).play(kills)
