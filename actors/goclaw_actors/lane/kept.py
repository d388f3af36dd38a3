"""How the order of a lane with limits is written away and made again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.lane.flows import Entry, Flow, Lease, Party, asked
from goclaw_actors.lane.shares import Shares

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from goclaw_actors.lane.limits import Limits


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
        sorted(shares.served.items()),
        parties,
        [None if lease is None else list(lease) for lease in leased.values()],
    ]


def restored_shares(
    root: list[Any],
    limits: Limits,
    entries: Iterable[Entry],
    queued: Mapping[str, int],
    leased: dict[str, Lease | None],
) -> Shares:
    """Make the order again; `leased` is filled in with what each task took."""
    shares = Shares(limits, queued)
    (shares.virtual, shares.turns, shares.mean_s, shares.rate_ns, shares.wake_ns, served, parties,
     leases) = root  # fmt: skip
    shares.served = dict(served)
    for name, tag, turn, mean_s in parties:
        party = shares.parties[name] = Party(name, mean_s)
        party.tag, party.turn = tag, turn
    for task, kept in zip(leased, leases, strict=True):
        lease = leased[task] = None if kept is None else Lease(*kept)
        _hold(shares, lease or Lease("", "", None, 1.0, 0, 0.0))
    for entry in entries:
        name, key, _, _ = asked(entry)
        party, flow = _flow(shares, name, key)
        party.alive += 1
        flow.alive += 1
        flow.heap.append(entry)
    shares.rebuild()
    return shares


def _hold(shares: Shares, lease: Lease) -> None:
    party, flow = _flow(shares, lease.party, lease.key)
    party.running += 1
    flow.running += 1
    for unit, count in (lease.units or {}).items():
        shares.used[unit] = shares.used.get(unit, 0) + count


def _flow(shares: Shares, name: str, key: str) -> tuple[Party, Flow]:
    party = shares.parties[name]
    flow = party.flows.get(key)
    if flow is None:
        flow = party.flows[key] = Flow()
    return party, flow
