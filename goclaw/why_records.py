"""Explanations as records: plain JSON data, each reason with a line that says it.

Times are RFC 3339 in UTC, durations seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw.run_records import time_text
from goclaw_actors.why import reason as kinds
from goclaw_events.ids import called, is_saga, plain_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from goclaw.expected import Expectations
    from goclaw_actors.why import Holder, Reason

NAMED_MAX: Final = 5
_OF_THE_LANE: Final = frozenset({kinds.GIVEN_UP, kinds.MESSAGE, kinds.NOTHING})


def why_record(
    reason: Reason, expected: Expectations, now_ns: int, *, is_at_work: bool
) -> dict[str, Any]:
    """Return a whole explanation. `engine`: whether one works on it; `stuck`: nothing will wake it.

    `reason` and everything in its `because`: see docs/reference/why.md.
    """
    return {
        "asked_at": time_text(now_ns),
        "engine": is_at_work,
        "stuck": bool(reason.lost),
        "reason": reason_record(reason, expected, now_ns),
    }


def reason_record(reason: Reason, expected: Expectations, now_ns: int) -> dict[str, Any]:
    """Return one reason and what is below it."""
    over_ns = expected.over_ns(reason)
    return {
        "kind": reason.kind,
        "subject": subject_record(reason.subject),
        "says": says(reason),
        "since": time_text(reason.since_ns or None),
        "for_s": _s(reason.since_ns, now_ns) if reason.since_ns else None,
        "until": time_text(reason.until_ns or None),
        "expected_at": time_text(over_ns),
        "expected_in_s": None if over_ns is None else _s(now_ns, over_ns),
        "details": {name: _plain(value) for name, value in reason.details.items()},
        "holders": [holder_record(holder, now_ns) for holder in reason.holders],
        "because": [reason_record(below, expected, now_ns) for below in reason.because],
    }


def subject_record(stream: str) -> dict[str, str]:
    """Return what a stream is of: `{run_id}` or `{saga_id}`, with `task` or not, or `{lane}`."""
    kind, _, rest = stream.partition("/")
    if kind == "task":
        run_id, _, task = rest.partition("/")
        owner = {"saga_id" if is_saga(run_id) else "run_id": plain_id(run_id)}
        return {**owner, "task": task}
    if kind == "saga":
        return {"saga_id": plain_id(rest)}
    return {"lane": rest} if kind == "lane" else {"run_id": rest}


def holder_record(holder: Holder, now_ns: int) -> dict[str, Any]:
    """Return who holds what is waited for."""
    return {
        **subject_record(holder.task),
        "definition": holder.definition,
        "status": holder.status,
        "since": time_text(holder.since_ns or None),
        "for_s": _s(holder.since_ns, now_ns) if holder.since_ns else None,
    }


def says(reason: Reason) -> str:
    """Say a reason on one line, without its times."""
    text = _SAYS[reason.kind](reason.details)
    kind, _, rest = reason.subject.partition("/")
    if kind == "task":
        return f"task {rest.partition('/')[2]} {text}"
    if kind in ("workflow", "saga") or reason.kind in _OF_THE_LANE:
        return f"{called(reason.subject)} {text}"
    return text


def _s(begin_ns: int, end_ns: int) -> float:
    return round(max(0, end_ns - begin_ns) / 1e9, 3)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _names(names: list[str], count: int) -> str:
    shown = ", ".join(names[:NAMED_MAX])
    return shown if count <= NAMED_MAX else f"{shown} and {count - NAMED_MAX} more"


def _ended(told: Mapping[str, Any]) -> str:
    error = told["error"]
    return f"is {told['status']}" + (f": {error[1]} [{error[0]}]" if error else "")


def _run(told: Mapping[str, Any]) -> str:
    return (
        f"({told['name']}) is {told['status']}: {told['ended']} of {told['tasks']} tasks have"
        f" ended, {told['active']} go on"
    )


def _saga(told: Mapping[str, Any]) -> str:
    why = f", {told['cause']}" if told["cause"] else ""
    return (
        f"({told['name']}) is {told['status']}{why}: {told['ended']} tasks have ended,"
        f" {told['active']} go on"
    )


def _person(told: Mapping[str, Any]) -> str:
    steps = _names(told["steps"], len(told["steps"]))
    if "lane" in told:
        return f"{steps} could not be undone: it is tried again when lane {told['lane']} lets it"
    if told["status"] == "compensation_failed":
        return f"waits for a person: {steps} could not be undone (goclaw sagas retry, or resolve)"
    return f"waits for a person: {steps} undone or not? (goclaw sagas compensate, or resolve)"


def _dependency(told: Mapping[str, Any]) -> str:
    through = f", through {told['through']} others" if told.get("through") else ""
    above = " (see above)" if told.get("above") else ""
    return f"needs {_names(told['needs'], told['unmet'])}{through}{above}"


def _running(told: Mapping[str, Any]) -> str:
    progress = told.get("progress")
    how_far = ""
    if progress:
        share = "" if progress[0] is None else f" {progress[0]:.0%}"
        how_far = f",{share} {progress[1]}".rstrip()
    starting = "starts" if told.get("place") == "starting" else "runs"
    pausing = ", to stand still at its next boundary" if "status" in told else ""
    return f"{starting} (attempt {told['attempt']}){how_far}{pausing}"


def _order(told: Mapping[str, Any]) -> str:
    if told["ahead"] is None:
        return f"it is far back in a queue of {told['queued']}"
    ahead = "1 is" if told["ahead"] == 1 else f"{told['ahead']} are"
    return f"{ahead} before it in the queue of {told['queued']}"


def _slots(told: Mapping[str, Any]) -> str:
    held, concurrency = told["held"], told["concurrency"]
    if held != concurrency:
        return f"{held} slots are held, of {concurrency}"
    return "its only slot is held" if held == 1 else f"all {held} slots are held"


def _units(told: Mapping[str, Any]) -> str:
    return (
        f"it asks for {told['asked']} {told['unit']}, and {told['used']} of {told['units']} are "
        "taken"
    )


def _full(told: Mapping[str, Any]) -> str:
    before = f", behind {told['runs_before']} other runs" if told["runs_before"] else ""
    return f"the queue is full ({told['queued']} of {told['capacity']}): its run waits{before}"


def _unique(told: Mapping[str, Any]) -> str:
    other = f" is held by {called(told['holder'])}" if "holder" in told else ""
    return f"its key {told['key']!r}{other} (on_duplicate: {told['on_duplicate']})"


def _collects(told: Mapping[str, Any]) -> str:
    if "members" not in told:
        return f"waits for collector {told['collector']}"
    more = ", and others may come" if told["more"] else ""
    left = told["members"] - told["ended"]
    names = f": {_names(told['missing'], left)} not yet" if left else ""
    return f"collects ({told['rule']}), {told['ended']} of {told['members']} ended{names}{more}"


def _letter(told: Mapping[str, Any]) -> str:
    how = "(goclaw dead redrive, or discard)"
    if "lane" in told:
        how = f"and runs again when lane {told['lane']} lets it"
    said = f"attempt {told['attempt']} failed: {told['message']} [{told['code']}]"
    return f"is a dead letter {how}; {said}"


def _tenant(told: Mapping[str, Any]) -> str:
    fair_by = "workflow" if "workflow" in told else "tenant"
    party = told.get(fair_by) or "(none)"
    return f"{told['holders']} tasks of {fair_by} {party} hold a slot, of {told['per_tenant']}"


def _stopping_run(told: Mapping[str, Any]) -> str:
    return f"will not start: its run is {told['status']}"


def _way(told: Mapping[str, Any]) -> str:
    return f"goes on in a moment: {told['message']} is on its way to {called(told['to'])}"


def _other(told: Mapping[str, Any]) -> str:
    ways = f"from partition {told['from']} to {told['partition']}"
    return f"waits for {told['message']} on its way {ways}"


_SAYS: Final[dict[str, Callable[[Mapping[str, Any]], str]]] = {
    kinds.ENDED: _ended,
    kinds.RUN: _run,
    kinds.RUN_STOPPING: _stopping_run,
    kinds.DEPENDENCY: _dependency,
    kinds.RUNNING: _running,
    kinds.STOPPING: lambda told: f"was told to stop (attempt {told['attempt']})",
    kinds.RESTART: lambda told: (
        f"starts again with the next engine (attempt {told['attempt']} was lost with the last one)"
    ),
    kinds.AGENT_MISSING: lambda told: f"has a slot, and no agent {told['agent']} is registered",
    kinds.EXECUTOR_FULL: lambda _: "has a slot, and waits for a place where it can run",
    kinds.TIMER: lambda _: "waits for a time",
    kinds.BACKOFF: lambda told: (
        f"is tried again after attempt {told['attempt']} failed: {told['message']} [{told['code']}]"
    ),
    kinds.CHILD_RUN: lambda told: f"waits for {told['run_id']}",
    kinds.SAGA: _saga,
    kinds.PERSON: _person,
    kinds.UNWINDS: lambda told: (
        f"is undone after {_names(told['needs'], told['unmet'])}"
        + (" (see above)" if told.get("above") else "")
    ),
    kinds.REST: lambda _: "was given up, and its code may still run: it is undone after that",
    kinds.STATE: lambda told: (
        f"is {told['status']}" + (f": {told['reason']}" if told.get("reason") else "")
    ),
    kinds.DEAD_LETTER: _letter,
    kinds.UNIQUE: _unique,
    kinds.COLLECT: _collects,
    kinds.DEAD_LETTER: lambda told: (
        f"is a dead letter: {told['message']} [{told['code']}] (goclaw dead redrive, or discard)"
    ),
    kinds.SPAWNED: lambda told: (
        f"waits for tasks that it spawned: {_names(told['tasks'], told['waiting'])}"
    ),
    kinds.GIVEN_UP: lambda _: "was given up after a bug, or its facts cannot be read",
    kinds.APPROVAL: lambda told: (
        f"asks {_names(told['who'], len(told['who']))}"
        + (f": {told['message']}" if told["message"] else "")
        + " (goclaw approve, goclaw reject)"
    ),
    kinds.SIGNAL: lambda told: f"waits for signal {told['signal']} (goclaw signal send)",
    kinds.LANE: lambda told: f"waits in lane {told['lane']}",
    kinds.LANE_FULL: _full,
    kinds.LANE_PAUSED: lambda _: "the lane is paused (goclaw lanes resume)",
    kinds.LANE_HELD: lambda _: "the lane is held: a service told a task to come back later",
    kinds.LANE_SLOTS: _slots,
    kinds.LANE_KEY: lambda told: f"key {told['key']} is held",
    kinds.LANE_TENANT: _tenant,
    kinds.LANE_UNITS: _units,
    kinds.LANE_RATE: lambda told: (
        "the rate lets the next one start"
        + (f" ({told['per_second']:g} a second)" if "per_second" in told else "")
    ),
    kinds.LANE_SHARE: lambda told: (
        f"it is the turn of {told['fair_by']} "
        + _names([name or "(none)" for name in told["parties"]], len(told["parties"]))
    ),
    kinds.LANE_ORDER: _order,
    kinds.LANE_BEHIND: lambda told: f"{called(told['task'])} is next, and is not overtaken",
    kinds.MESSAGE: _way,
    kinds.OTHER_PARTITION: _other,
    kinds.LOG_FAILED: lambda told: f"nothing can be recorded: {told['message']} [{told['code']}]",
    kinds.NOTHING: lambda told: f"is stuck: {told['evidence']}",
}
