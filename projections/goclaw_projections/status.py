"""How a view is: how far it has come, how far behind that is, and what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from goclaw_events.frame import read_header

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goclaw_events.journal import Journal


class RebuildStatus(NamedTuple):
    """How far the rows are that will take the place of the served ones.

    `state` is running or failed; `lag` has the facts it is behind by, a number a partition.
    """

    state: str
    places: tuple[int, ...]
    lag: tuple[int, ...]
    code: str = ""
    message: str = ""


class ProjectionStatus(NamedTuple):
    """How a projection is: `state` is running or failed; `lag` has the facts it is behind by.

    `places` holds, for each partition, the last number folded; `lag_s` how much older the last
    fact folded is than the last durable one, in seconds, of the partition where that is most.
    A failed one says why. `rebuild`: the rows that are being made anew, None if none are.
    `lacks` has, for each partition, the number below which facts were given up before this version
    of the view saw them (0: it lacks nothing).
    """

    name: str
    version: int
    state: str
    places: tuple[int, ...]
    lag: tuple[int, ...]
    code: str = ""
    message: str = ""
    lag_s: float = 0.0
    rebuild: RebuildStatus | None = None
    lacks: tuple[int, ...] = ()


def lag_of(journal: Journal, places: Sequence[int]) -> tuple[int, ...]:
    """Return how many durable facts lie behind each place."""
    return tuple(max(0, journal.durable(p) - number) for p, number in enumerate(places))


def lag_s_of(journal: Journal, places: Sequence[int], begins: Sequence[int]) -> float:
    """Return how much older than the last durable fact the last folded one is, in seconds.

    `begins` has, for each partition, the first number that can still be read.
    """
    worst_ns = 0
    for partition, number in enumerate(places):
        durable = journal.durable(partition)
        if number < durable:
            last_ns = _time_ns(journal, partition, durable)
            worst_ns = max(
                worst_ns,
                last_ns - _time_ns(journal, partition, max(number, begins[partition])),
            )
    return worst_ns / 1e9


def _time_ns(journal: Journal, partition: int, number: int) -> int:
    for data in journal.frames(partition, number, number):
        return read_header(data).time_ns
    return 0
