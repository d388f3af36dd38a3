"""What of a task can be changed while it is not over: checked as a definition is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field, StringConstraints, ValidationError

from goclaw.errors import InvalidRequest
from goclaw.param_faults import faults_of
from goclaw_actors.task import terms
from goclaw_events.definition import LANE_PATTERN, PRIORITY_MAX, RetryDefinition
from goclaw_events.faults import Suggester
from goclaw_events.part import Part, PositiveDuration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw.config import Settings
    from goclaw_events.plan import Plan, PlannedTask
    from goclaw_events.value import Value

TAKEN_BACK: Final = ("timeout", "deadline")
"""What null takes back."""
_RETRY: Final = {"attempts": "attempts_max", "initial": "initial_s", "max": "max_s"}


class Adjustments(Part):
    """What can be changed, by the names of a definition."""

    priority: Annotated[int, Field(ge=-PRIORITY_MAX, le=PRIORITY_MAX)] = 0
    lane: Annotated[str, StringConstraints(pattern=LANE_PATTERN)] = ""
    timeout: PositiveDuration | None = None
    retry: RetryDefinition = RetryDefinition()
    deadline: PositiveDuration | None = None


NAMES: Final = tuple(Adjustments.model_fields)


def adjustments(
    said: Mapping[str, Any],
    planned: PlannedTask | None,
    plan: Plan,
    settings: Settings,
    now_ns: int,
) -> dict[str, Value]:
    """Return changes as facts have them; raises `InvalidRequest` with every fault.

    `plan` is that of the definition. A task that there is not is left to its run to refuse.
    """
    faults = [_unknown(name) for name in said if name not in NAMES]
    given = {name: value for name, value in said.items() if name in NAMES}
    kept = {
        name: value for name, value in given.items() if value is not None or name not in TAKEN_BACK
    }
    checked = Adjustments()
    try:
        checked = Adjustments.model_validate(kept)
    except ValidationError as error:
        faults += faults_of(error)
    if not said:
        faults.append({"path": "changes", "message": f"nothing is changed: {', '.join(NAMES)}"})
    lane = given.get("lane")
    if isinstance(lane, str):
        faults += _lane_faults(_lane_id(lane, plan), planned, plan, settings)
    if faults:
        lines = "".join(f"\n  {fault['path']}: {fault['message']}" for fault in faults)
        msg = f"the task cannot be adjusted so:{lines}"
        raise InvalidRequest(msg, hint="nothing was changed", faults=faults)
    return {_FACT_NAMES[name]: _value(name, checked, plan, now_ns) for name in given}


_FACT_NAMES: Final = {
    "priority": terms.PRIORITY,
    "lane": terms.LANE,
    "timeout": terms.TIMEOUT_S,
    "retry": terms.RETRY,
    "deadline": terms.DEADLINE_NS,
}


def _value(name: str, checked: Adjustments, plan: Plan, now_ns: int) -> Value:
    if name == "lane":
        return _lane_id(checked.lane, plan)
    if name == "deadline":
        return 0 if checked.deadline is None else now_ns + int(checked.deadline * 1e9)
    if name == "retry":
        policy = checked.retry.model_dump(exclude_unset=True)
        return {
            _RETRY.get(field, field): list(value) if isinstance(value, tuple) else value
            for field, value in policy.items()
        }
    value: Value = getattr(checked, name)
    return value


def _lane_id(name: str, plan: Plan) -> str:
    return name if name.startswith("/") else f"{plan.name}/{name}"


def _lane_faults(
    lane: str, planned: PlannedTask | None, plan: Plan, settings: Settings
) -> list[dict[str, str]]:
    """Return what is wrong with a lane that a task is to go to."""
    shared = {"/" + name for name in settings.lanes}
    if lane not in plan.lanes and lane not in shared:
        known = [name.removeprefix(plan.name + "/") for name in plan.lanes]
        known = [*known, *sorted(shared)]
        near = Suggester().hint(lane.removeprefix(plan.name + "/"), known)
        return [{"path": "lane", "message": f"there is no lane {lane!r}; {near or known}"}]
    units = (planned.slot.units if planned is not None else None) or {}
    lacking = [unit for unit in units if unit not in _units_of(lane, plan, settings)]
    text = f"lane {lane} has no {', '.join(lacking)}, which the task takes of its lane"
    return [{"path": "lane", "message": text}] if lacking else []


def _units_of(lane: str, plan: Plan, settings: Settings) -> Mapping[str, Any]:
    """Return the resources that a lane declares."""
    if lane.startswith("/"):
        return settings.lanes[lane[1:]].resources
    found: Mapping[str, Any] = (plan.lanes[lane].more or {}).get("resources") or {}
    return found


def _unknown(name: str) -> dict[str, str]:
    near = Suggester().hint(name, NAMES)
    return {"path": name, "message": near or f"nothing that can be changed: {', '.join(NAMES)}"}
