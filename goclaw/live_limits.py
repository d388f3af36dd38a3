"""Limits that are set while a lane works: checked as those of a definition are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from goclaw.errors import InvalidRequest
from goclaw.param_faults import faults_of
from goclaw_events.definition import LaneDefinition
from goclaw_events.faults import Suggester
from goclaw_events.plan.compiler import limits_said

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw_events.value import Value

LIVE: Final = (
    "concurrency", "capacity", "rate", "resources", "per_tenant", "per_key", "ageing", "weights",
    "scale",
)  # fmt: skip
"""What can be set live, by the names of a definition."""


def live_limits(said: Mapping[str, Any]) -> dict[str, Value]:
    """Return limits as facts have them; None stays: what is declared holds again.

    Raises `InvalidRequest` with every fault.
    """
    given = {name: value for name, value in said.items() if value is not None}
    known = {name: value for name, value in given.items() if name in LIVE}
    faults = [_unknown(name) for name in said if name not in LIVE]
    lane = LaneDefinition()
    try:
        lane = LaneDefinition.model_validate(known)
    except ValidationError as error:
        faults += faults_of(error)
    if faults:
        lines = "".join(f"\n  {fault['path']}: {fault['message']}" for fault in faults)
        msg = f"these limits cannot be set:{lines}"
        raise InvalidRequest(msg, hint="nothing was changed", faults=faults)
    slots = {"concurrency": lane.concurrency, "capacity": lane.capacity}
    values = {**slots, **limits_said(lane)}
    return {name: None if said[name] is None else values[name] for name in said}


def _unknown(name: str) -> dict[str, str]:
    near = Suggester().hint(name, LIVE)
    return {"path": name, "message": near or f"no limit that can be set live: {', '.join(LIVE)}"}
