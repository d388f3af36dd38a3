"""What a seed's world is like: its limits, its size, and which kinds of fault it has, how often.

Swarm testing: each seed leaves out about half of the kinds, so that what one kind would hide
(a crash, for one, ends every other trouble) comes up in the seeds without it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

WEIGHTS: Final[Mapping[str, float]] = {
    # The process and the machine.
    "crash": 0.7,
    "failpoint": 2.0,
    "power": 0.7,
    "stop": 0.3,
    # The disk.
    "full": 0.5,
    "flush": 0.4,
    "eio": 0.4,
    "flip": 0.3,
    # The clock.
    "jump": 0.5,
    "suspend": 0.4,
    "drift": 0.3,
    # Whoever sends commands.
    "repeat": 1.0,
    "conflict": 0.5,
    "cancel": 1.2,
    "storm": 0.3,
    "attend": 0.5,
    # Whoever changes lanes.
    "control": 4.0,
    # Whoever talks to tasks, and handlers that listen.
    "signal": 12.0,
    "hold": 1.5,
    # Whoever collects how tasks and runs end.
    "collect": 5.0,
    # Tasks that work on the items of a list.
    "foreach": 1.0,
    # Handlers that spawn tasks, and wait for them.
    "spawn": 8.0,
    "adjust": 3.0,
    # Whoever sends signals by their names, and people who are asked.
    "answer": 5.0,
    # Whoever changes the path of runs.
    "path": 3.0,
    # Whoever decides about dead letters.
    "dead": 3.0,
    # Whoever begins sagas, and looks after them.
    "saga": 5.0,
    # Handlers that do durable steps, and sleep.
    "step": 20.0,
    # Whoever makes schedules.
    "schedule": 6.0,
    # Partitions.
    "redeliver": 1.5,
    # Agents.
    "fail": 1.0,
    "limited": 1.0,
    "late": 1.5,
    "forged": 0.5,
    "duplicate": 1.0,
    "progress": 1.0,
    "large": 1.0,
    # The engine itself: a decider that raises.
    "bug": 1.0,
}
"""The kinds of fault, and how many of them come to a hundred steps where a kind is enabled."""

RARE: Final[Mapping[str, float]] = {
    "bug": 0.2,
    "flip": 0.4,
    "storm": 0.3,
    "large": 0.3,
    "saga": 0.3,
    "foreach": 0.15,
    "spawn": 0.3,
}
"""How likely a kind is enabled, where that is not one half."""

LATER: Final = (
    "control", "limited", "signal", "hold", "adjust", "path", "step", "collect", "dead", "schedule",
    "answer", "saga", "foreach", "spawn",
)  # fmt: skip
"""Kinds that came later: they are drawn by themselves, so that a seed keeps its other kinds."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a world is like. `rates` holds the kinds of fault that are enabled, each its rate."""

    partitions: int = 1
    batch_messages_max: int = 4096
    batch_bytes_max: int = 256 * 1024
    commits_in_flight_max: int = 2
    live_actors_max: int = 50_000
    commands_max: int = 100_000
    lost_max: int = 1_000
    snapshot_every_facts: int = 5_000
    snapshot_chunks_max: int = 1_000
    history_facts_max: int = 50_000
    tick_ns: int = 0
    runs: int = 4
    tasks_max: int = 7
    fan_out: int = 0
    steps: int = 400
    rates: Mapping[str, float] = field(default_factory=dict)

    def rate(self, kind: str) -> float:
        """Return how often a kind of fault comes up; 0.0 where it is not enabled."""
        return self.rates.get(kind, 0.0)

    def without(self, kinds: Iterable[str]) -> Options:
        """Return the same world without some kinds of fault; raises `ValueError` for unknown."""
        unknown = sorted(set(kinds) - set(WEIGHTS))
        if unknown:
            message = f"there are no faults of kind {', '.join(unknown)}"
            raise ValueError(message)
        left = {kind: rate for kind, rate in self.rates.items() if kind not in set(kinds)}
        return replace(self, rates=left)


def options_of(seed: int) -> Options:
    """Return the options that a seed stands for: every mix comes up."""
    rng = random.Random(f"options {seed}")
    rates = {
        kind: weight * rng.choice([0.3, 1.0, 1.0, 3.0])
        for kind, weight in WEIGHTS.items()
        if kind not in LATER and rng.random() < RARE.get(kind, 0.5)
    }
    for kind in LATER:
        own = random.Random(f"{kind} {seed}")
        if own.random() < RARE.get(kind, 0.5):
            rates[kind] = WEIGHTS[kind] * own.choice([0.3, 1.0, 3.0])
    large = rng.random() < 0.08
    history = random.Random(f"history {seed}")  # by itself, as what came later
    return Options(
        partitions=rng.choice([1, 1, 2, 4]),
        batch_messages_max=rng.choice([1, 2, 7, 4096]) if not large else rng.choice([7, 40, 4096]),
        batch_bytes_max=rng.choice([2_000, 256 * 1024]),
        commits_in_flight_max=rng.choice([1, 2, 3]),
        live_actors_max=rng.choice([1, 3, 50_000]),
        commands_max=rng.choice([2, 100_000, 100_000]),
        lost_max=rng.choice([1, 1_000, 1_000]),
        tick_ns=rng.choice([0, 0, 100_000, 10**9]),
        runs=12 if large else rng.randint(1, 6),
        tasks_max=5 if large else rng.choice([3, 7, 7, 15]),
        fan_out=rng.choice([20, 50]) if large else 0,
        steps=600 if large else rng.choice([80, 200, 400]),
        rates=rates,
        snapshot_every_facts=rng.choice([rng.randint(1, 20), rng.randint(1, 20), 5_000]),
        snapshot_chunks_max=rng.choice([1, 1, 1_000]),
        history_facts_max=history.choice([5, 10, 20]) if history.random() < 0.2 else 50_000,
    )
