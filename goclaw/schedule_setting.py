"""From what somebody asks of a schedule to the command that makes it."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw.children import children_of
from goclaw.schedule_rules import Faults, rules_of
from goclaw.submission import request_of
from goclaw_actors.schedule.naming import planned_text
from goclaw_actors.scheduling import SetSchedule
from goclaw_events.plan import check_input
from goclaw_events.schedule import ScheduleInvalid
from goclaw_events.value import pack

if TYPE_CHECKING:
    from goclaw.engine import Engine
    from goclaw.submission import Prepared, Submittable

_STRING: Final = "string"


class Asked(NamedTuple):
    """What is asked of a schedule besides what it runs: see `operations.schedules`."""

    schedule: str
    input: dict[str, Any]
    labels: dict[str, str]
    cron: str
    every: str | float | None
    zone: str
    jitter: str | float
    overlap: str
    missed: str
    late: str | float
    waiting_max: int
    planned_input: str
    paused: bool
    replace: bool


def setting_of(
    engine: Engine, what: Submittable, asked: Asked, set_by: str
) -> tuple[SetSchedule, dict[bytes, bytes]]:
    """Return the command, and the blobs that it refers to; the definition is kept as it is now.

    Whether the agents are known is asked of an engine that works only. Raises `ScheduleInvalid`
    with every fault of the rules and the input, and what submitting a run raises.
    """
    faults = Faults()
    rules = rules_of(asked, engine.parts.clock.now_ns(), faults)
    find = engine.compiled if engine.idle else engine.child
    prepared = engine.compiled(what) if engine.idle else engine.prepare(what)
    children = children_of(prepared, find)
    given = dict(asked.input)
    if asked.planned_input:
        with faults.gathered():
            _check_planned(prepared, asked.planned_input)
            given[asked.planned_input] = planned_text(0)
    with faults.gathered():
        check_input(prepared.plan, given)
    faults.check()
    assert rules is not None, "there is no fault"
    request = request_of(prepared, given, asked.labels)
    for one in children.values():
        request.blobs[one.ref.sha256] = one.data
    for one in (prepared, *children.values()):
        engine.parts.contents.hold(one.ref, one.plan)
    if any(one.plan.steps for one in (prepared, *children.values())):
        engine.parts.declare_sagas()
    refs = {name: child.ref for name, child in children.items()} or None
    table = rules.table
    terms = (
        table.cron, table.zone, table.every_ns, rules.jitter_ns, asked.overlap, asked.missed,
        rules.late_ns, asked.waiting_max, asked.planned_input,
    )  # fmt: skip
    said = [request.digest, sorted((name, ref.sha256) for name, ref in (refs or {}).items())]
    digest = sha256(pack([*said, terms])).digest()
    name = prepared.plan.name
    setting = SetSchedule(
        prepared.ref, name, request.input, request.labels, refs, digest, *terms,
        paused=asked.paused, replace=asked.replace, set_by=set_by,
        is_saga=bool(prepared.plan.steps),
    )  # fmt: skip
    return setting, request.blobs


def _check_planned(prepared: Prepared, name: str) -> None:
    known = {item.name for item in prepared.plan.inputs if item.type == _STRING}
    if name not in known:
        msg = f"{prepared.plan.name} declares no input {name!r} of type string"
        raise ScheduleInvalid(msg, hint="the planned time is a text", inputs=sorted(known))
