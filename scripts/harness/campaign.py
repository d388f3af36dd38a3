"""Many worlds of one kind: play them, count, and say how to play again those that failed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from scripts.harness.engine_kill import EngineCounts, EngineWorld
from scripts.harness.nursery import Harm
from scripts.harness.saga_kill import SagaCounts, SagaWorld
from scripts.harness.signal_kill import SignalCounts, SignalWorld
from scripts.harness.storage_kill import StorageCounts, storage_world
from scripts.harness.wait_kill import WaitCounts, WaitWorld

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scripts.harness.killed_world import KillCounts, KilledWorld
    from scripts.harness.nursery import Nursery

WORLD_KILLS: Final = 10
_POWER: Final = {"storage": "", "power": "honest", "disorder": "hostile"}
_ENGINES: Final[dict[str, tuple[type[KillCounts], type[KilledWorld]]]] = {
    "engine": (EngineCounts, EngineWorld),
    "signals": (SignalCounts, SignalWorld),
    "sagas": (SagaCounts, SagaWorld),
    "waits": (WaitCounts, WaitWorld),
}
KINDS: Final = (*_POWER, *_ENGINES)


@dataclass
class Campaign:
    """What came of the worlds of one kind."""

    kind: str
    seed: int
    counts: KillCounts | StorageCounts
    failures: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Return the counts and how many worlds failed."""
        figures = asdict(self.counts)
        return {**figures, "seconds": round(figures["seconds"], 1), "failed": len(self.failures)}


def play(
    nursery: Nursery,
    kind: str,
    kills: int,
    seed: int,
    home: Path,
    first: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> Campaign:
    """Kill `kills` times, in worlds of ten, from world `first` on; failures are collected.

    The directory of a world that failed stays below `home`.
    """
    counts = _ENGINES[kind][0]() if kind in _ENGINES else StorageCounts()
    campaign = Campaign(kind, seed, counts)
    for number in range(first, first + kills):
        here = min(WORLD_KILLS, kills - counts.kills)
        if here <= 0:
            break
        world, name = home / f"{kind}-{number}", f"{kind}/{seed}/{number}"
        try:
            if isinstance(counts, StorageCounts):
                storage_world(nursery, world, name, here, counts, _POWER[kind])
            else:
                _ENGINES[kind][1](nursery, world, name, counts).play(here)
        except Harm as harm:
            again = f"python scripts/kill9.py --{kind} {here} --seed {seed} --first {number}"
            text = f"{name}: {harm}\nagain: {again}\nkept: {world}"
            campaign.failures.append(text)
            tell(text)
        tell(f"{kind}: {counts.kills} of {kills} kills, {len(campaign.failures)} worlds failed")
    return campaign
