"""What one field of a saga cannot tell: its actions and compensations are checked as tasks are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_events.checks import Checked, check
from goclaw_events.faults import Finding
from goclaw_events.plan.model import DEAD_LETTER
from goclaw_events.saga.definition import WORK_KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw_events.faults import Where

SUFFIX: Final = ".compensation"
"""Behind the id of a step it makes the id of the task that compensates it."""
_OF_STEP: Final = frozenset({"needs", "timeout", "retry"})


def compensation_id(step: str) -> str:
    """Return the id of the task that compensates a step."""
    return step + SUFFIX


def check_saga(raw: Mapping[str, Any]) -> Checked:
    """Check a saga as plain mappings; what is wrong is in `findings`, placed as it is written."""
    draft, findings = _draft(raw)
    checked = check(draft)
    undoes: Mapping[str, str] = draft["undoes"]
    checked.findings = findings + [_placed(found, undoes) for found in checked.findings]
    return checked


def _draft(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[Finding]]:
    """Return a saga as a workflow whose tasks are actions and compensations."""
    tasks: dict[str, Any] = {}
    undoes: dict[str, str] = {}
    findings: list[Finding] = []
    steps = raw.get("steps")
    for key, step in steps.items() if isinstance(steps, dict) else ():
        said = step if isinstance(step, dict) else {}
        action, step_id = said.get("action"), str(key)
        work = dict(action) if isinstance(action, dict) else {}
        tasks[step_id] = work | {name: said.get(name) for name in _OF_STEP}
        findings += _letters(said, ("steps", step_id))
    for step_id, step in steps.items() if isinstance(steps, dict) else ():
        undo = step.get("compensation") if isinstance(step, dict) else None
        if not isinstance(undo, dict):
            continue
        name = compensation_id(str(step_id))
        if name in tasks:
            message = f"{name!r} is the name of what compensates {step_id!r}"
            findings.append(
                Finding("duplicate_key", message, ("steps", name), "rename it", at_key=True)
            )
            continue
        findings += _letters(undo, ("steps", str(step_id), "compensation"))
        tasks[name] = undo | {"needs": [str(step_id)]}
        undoes[name] = str(step_id)
    head = {key: raw.get(key) for key in ("input", "lanes", "output")}
    said = {"undoes": undoes, "noun": "step", "kinds": WORK_KINDS}
    return {**head, "tasks": tasks, **said}, findings


def _letters(said: Mapping[str, Any], where: Where) -> list[Finding]:
    """Return what is wrong with a policy that would have a saga wait for a person."""
    retry = said.get("retry")
    if not isinstance(retry, dict) or retry.get("on_exhausted") != DEAD_LETTER:
        return []
    message = "a saga goes back where an action fails; what it cannot undo is a dead letter anyway"
    place = (*where, "retry", "on_exhausted")
    return [Finding("not_for_sagas", message, place, "leave it out")]


def _placed(finding: Finding, undoes: Mapping[str, str]) -> Finding:
    """Return a finding about a task as one about the part of the saga that it came from."""
    where = finding.where
    if not where or where[0] != "tasks":
        return finding
    if len(where) == 1:
        return finding._replace(where=("steps",))
    task, *rest = where[1:]
    step = undoes.get(str(task))
    placed: Where
    if step is not None:
        placed = ("steps", step, "compensation", *rest)
    elif rest and rest[0] in _OF_STEP:
        placed = ("steps", task, *rest)
    else:
        placed = ("steps", task, "action", *rest)
    return finding._replace(where=placed)
