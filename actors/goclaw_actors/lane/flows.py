"""Those who wait in a lane, by party and key: the parts that `Shares` puts in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Entry: TypeAlias = tuple[Any, ...]
"""A task that waits: (rank, order, task), and where more than slots is limited (priority,
arrival in ns, party, key, units or None, cost) behind it. The lowest rank goes first."""

RANK, ORDER, TASK, PRIORITY, ARRIVAL_NS, PARTY, KEY, UNITS, COST = range(9)
_PLAIN: Final[tuple[str, str, None, float]] = ("", "", None, 1.0)


class Asked(NamedTuple):
    """What an entry asks for."""

    party: str
    key: str
    units: Mapping[str, int] | None
    cost: float


def asked(entry: Entry) -> Asked:
    """Return what an entry asks for; one that came before the lane had limits: a slot."""
    return Asked(*(entry[PARTY:] or _PLAIN))


class Lease(NamedTuple):
    """What a task that holds a slot took. `charge` is what its party paid in advance."""

    party: str
    key: str
    units: Mapping[str, int] | None
    cost: float
    since_ns: int
    charge: float


PLAIN_LEASE: Final = Lease(*_PLAIN, 0, 0.0)
"""Of a task that got its slot before the lane had limits."""


class Flow:
    """The tasks of one key of one party.

    `heap` holds who waits; `listed` is the order of the head for which the flow stands in its
    party's heap, None: it cannot be next. `alive` wait, `running` hold a slot.
    """

    __slots__ = ("alive", "heap", "listed", "running")

    def __init__(self) -> None:
        self.alive = 0
        self.heap: list[Entry] = []
        self.listed: int | None = None
        self.running = 0


class Party:
    """A tenant, or a workflow.

    `tag` is the virtual time at which its next lease starts, `turn` counts the lane's leases up
    to its last one, `mean_s` is how long its tasks hold a slot.
    `ready` is a heap of (rank, order, key) of its flows that may be next; `listed` is (tag, turn)
    with which it stands in the lane's heap itself.
    """

    __slots__ = ("alive", "flows", "listed", "mean_s", "name", "ready", "running", "tag", "turn")

    def __init__(self, name: str, mean_s: float) -> None:
        self.name = name
        self.mean_s: float = mean_s
        self.alive = 0
        self.flows: dict[str, Flow] = {}
        self.listed: tuple[float, int] | None = None
        self.ready: list[tuple[int, int, str]] = []
        self.running = 0
        self.tag: float = 0.0
        self.turn = 0
