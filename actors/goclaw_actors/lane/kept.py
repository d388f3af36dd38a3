"""How the order of a lane with limits is written away and made again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.lane.entry import NO_LEASE, PARTY
from goclaw_actors.lane.flows import Party

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from goclaw_actors.lane.entry import Entry, Lease
    from goclaw_actors.lane.shares import Shares


def shares_root(shares: Shares, leased: Mapping[str, Lease | None]) -> list[Any]:
    """Return what of the order does not follow from who waits: as large as parties and slots."""
    parties = [
        [name, party.tag, party.turn, party.mean_s]
        for name, party in sorted(shares.parties.items())
    ]
    return [
        shares.virtual,
        shares.turns,
        shares.mean_s,
        shares.rate_ns,
        shares.wake_ns,
        parties,
        [None if lease is None else [*lease[0][PARTY:], *lease[1:]] for lease in leased.values()],
    ]


def restore_shares(
    shares: Shares,
    root: list[Any],
    entries: Iterable[Entry],
    leased: dict[str, Lease | None],
) -> None:
    """Make the order again; `leased` is filled in with what each task took."""
    limits = shares.limits
    (shares.virtual, shares.turns, shares.mean_s, shares.rate_ns, shares.wake_ns, parties,
     leases) = root  # fmt: skip
    for name, tag, turn, mean_s in parties:
        party = shares.parties[name] = Party(name, mean_s, limits.weight(name))
        party.tag, party.turn = tag, turn
    for task, kept in zip(leased, leases, strict=True):
        if kept is not None:
            *asks, since_ns, charge = kept
            leased[task] = ((0, 0, task, 0, 0, *asks), since_ns, charge)
        shares.hold(leased[task] or NO_LEASE)
    shares.line_up(entries)
