"""A task in a lane: as it waits, and as it holds a slot."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

Entry: TypeAlias = tuple[Any, ...]
"""A task that waits: (rank, order, task, priority, arrival in ns, party, key, units or None,
cost). The lowest rank goes first, and the lowest order of a rank."""

RANK, ORDER, TASK, PRIORITY, ARRIVAL_NS, PARTY, KEY, UNITS, COST = range(9)

ASKS_NOTHING: Final[tuple[str, str, None, float]] = ("", "", None, 1.0)
"""Behind the arrival of a task that asks for a slot and nothing else."""

Lease: TypeAlias = tuple[Entry, int, float]
"""A task that holds a slot: its entry, since when in ns, and what its party paid in advance."""


def plain_entry(rank: int, order: int, task: str, priority: int, arrival_ns: int) -> Entry:
    """Return the entry of a task that asks for a slot and nothing else."""
    return (rank, order, task, priority, arrival_ns, *ASKS_NOTHING)


NO_LEASE: Final[Lease] = (plain_entry(0, 0, "", 0, 0), 0, 0.0)
"""What a task took that got its slot while the lane limited nothing but slots."""
