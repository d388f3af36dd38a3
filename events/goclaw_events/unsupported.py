"""What a definition may say and this version cannot run yet: refused at submission by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_events.errors import EventsError
from goclaw_events.faults import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_events.definition import TaskDefinition, WorkflowDefinition
    from goclaw_events.faults import Fault

_KINDS: Final = {
    "approval": "approvals cannot be asked for yet",
}


class Unsupported(EventsError):
    """A definition asks for what this version cannot run: `faults` names each key."""

    code = "unsupported"

    def __init__(self, faults: list[Fault], name: str) -> None:
        self.faults = faults
        lines = "".join(f"\n  {fault.path}: {fault.message}" for fault in faults)
        super().__init__(
            f"{name} cannot be run by this version of Goclaw:{lines}",
            hint="`goclaw validate` names all of it",
            definition=name,
            faults=[fault._asdict() for fault in faults],
        )


def unsupported(definition: WorkflowDefinition) -> list[Fault]:
    """Return a fault of code `unsupported` for each key that this version cannot run."""
    return [finding.fault() for finding in unsupported_findings(definition)]


def require_supported(definition: WorkflowDefinition) -> None:
    """Raise `Unsupported`, naming every key that this version cannot run."""
    faults = unsupported(definition)
    if faults:
        raise Unsupported(faults, definition.name)


def unsupported_findings(definition: WorkflowDefinition) -> list[Finding]:
    """Return the same as `unsupported`, with places that can be looked up in the text."""
    findings: list[Finding] = []
    for task_id, task in definition.tasks.items():
        findings += _of_task(task_id, task)
    return findings


def _of_task(task_id: str, task: TaskDefinition) -> Iterator[Finding]:
    message = _KINDS.get(task.kind or "")
    if message is not None:
        hint = "use an agent"
        yield Finding("unsupported", message, ("tasks", task_id, str(task.kind)), hint, at_key=True)
