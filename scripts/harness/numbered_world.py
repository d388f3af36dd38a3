"""Worlds of numbered works: each is submitted until it is acknowledged, and seen to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from scripts.harness.killed_world import KilledWorld
from scripts.harness.nursery import Harm

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.harness.killed_world import KillCounts
    from scripts.harness.nursery import Nursery

OPEN: Final = 8
"""So many works are unfinished when an engine starts; new ones make up for what has ended."""
AGAIN: Final = 0.2
"""Of those that are known so many are submitted again, and of those that ended asked for again."""


class NumberedWorld(KilledWorld):
    """A world of works, and how far they are known to have come."""

    def __init__(self, nursery: Nursery, home: Path, seed: str, counts: KillCounts) -> None:
        super().__init__(nursery, home, seed, counts)
        self._made = 0
        self.waiting: set[int] = set()
        self.acknowledged: set[int] = set()
        self.ended: dict[int, list[Any]] = {}
        """How each ended, with all that was ever said of it."""

    def request(self, *, finish: bool) -> dict[str, Any]:
        """Return which works to begin, some of them again, and which to wait for."""
        unfinished = len(self.waiting) + len(self.acknowledged) - len(self.ended)
        for _ in range(0 if finish else max(1, OPEN - unfinished)):
            self.waiting.add(self._made)
            self._made += 1
        known = self.acknowledged - self.ended.keys()
        again = {number for number in sorted(known) if self.rng.random() < AGAIN}
        over = {number for number in sorted(self.ended) if self.rng.random() < AGAIN}
        return {"submit": sorted(self.waiting | again), "follow": sorted(known - again | over)}

    def said(self, words: list[Any]) -> int:
        """Take in that a work was accepted, or has ended; an end never changes."""
        match words:
            case ["ack", number, repeated]:
                if number in self.acknowledged and not repeated:
                    raise Harm(f"{number} was acknowledged, and is new to the next engine")
                self.acknowledged.add(number)
                self.waiting.discard(number)
            case ["end", number, *end]:
                known = self.ended.get(number, end)
                if any(a != b for a, b in zip(known, end, strict=False)):
                    raise Harm(f"{number} ended as {known}, then as {end}")
                self.ended[number] = max(known, end, key=len)
                self.check_end(number, end)
            case _:
                return 0
        return 1

    def check_end(self, number: int, end: list[Any]) -> None:
        """Compare an end with the one that is expected, if that is known; raises `Harm`."""
