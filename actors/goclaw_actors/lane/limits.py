"""What a lane limits besides its slots and its queue, as it was declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_actors.lane.rates import Rate

if TYPE_CHECKING:
    from collections.abc import Mapping

STRICT_NS: Final = 2**52
"""A level of priority where nothing ages: 52 days."""
AGEING_S_DEFAULT: Final = 60.0
AGEING_NS_DEFAULT: Final = int(AGEING_S_DEFAULT * 1e9)
PER_KEY_DEFAULT: Final = 1
TENANT: Final = "tenant"
WORKFLOW: Final = "workflow"


class Limits(NamedTuple):
    """Limits beyond slots and capacity; 0: there is none.

    `per_tenant` counts for each party of `fair_by` (a tenant or a workflow), `per_key` for each
    key of a party. `ageing_ns`: what waited so much longer goes before one priority higher.
    """

    per_tenant: int = 0
    per_key: int = PER_KEY_DEFAULT
    ageing_ns: int = AGEING_NS_DEFAULT
    fair_by: str = TENANT
    weights: Mapping[str, float] = {}
    resources: Mapping[str, int] = {}
    rate: Rate | None = None

    def party(self, tenant: str, workflow: str) -> str:
        """Return between whom the lane is shared fairly."""
        if self.fair_by == TENANT:
            return tenant
        return workflow if self.fair_by == WORKFLOW else ""

    def weight(self, party: str) -> float:
        """Return the share of a party, relative to that of others."""
        return self.weights.get(party, 1.0)

    def grants(self, units: Mapping[str, int]) -> bool:
        """Tell whether the lane has so much at all."""
        resources = self.resources
        for name, count in units.items():  # three times as fast as all()
            if count > resources.get(name, 0):
                break
        else:
            return True
        return False


def limits_of(declared: Mapping[str, Any] | None) -> Limits:
    """Return the limits of a declaration; what it does not name has its default."""
    said = declared or {}
    rate = said.get("rate")
    ageing_s = said.get("ageing")
    return Limits(
        per_tenant=said.get("per_tenant") or 0,
        per_key=said.get("per_key") or PER_KEY_DEFAULT,
        ageing_ns=_ageing_ns(AGEING_S_DEFAULT if ageing_s is None else ageing_s),
        fair_by=said.get("fair_by") or TENANT,
        weights=said.get("weights") or {},
        resources=said.get("resources") or {},
        rate=None if rate is None else Rate(*rate),
    )


def _ageing_ns(seconds: float) -> int:
    return min(STRICT_NS, int(seconds * 1e9)) or STRICT_NS
