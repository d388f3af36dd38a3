"""What a client says and hears, between the library's types and the plain data of operations."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from goclaw.builder import Workflow
from goclaw.errors import UsageInvalid
from goclaw.results import RunFailure, RunResult, Submitted
from goclaw.saga_builder import Saga
from goclaw_actors.env import new_id
from goclaw_events.codec import FACTS
from goclaw_events.definition import WorkflowDefinition
from goclaw_events.envelope import Cause, Position
from goclaw_events.faults import Fault, InvalidDefinition
from goclaw_events.loading import read_definition_file
from goclaw_projections.subscription import Recorded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from goclaw_events.saga import SagaDefinition

Sendable: TypeAlias = Workflow | WorkflowDefinition | Path | str
"""What can be sent: a builder, a definition, the path of a file, a registered `NAME[@VERSION]`."""


SUFFIXES: Final = (".yaml", ".yml", ".json")
"""Where a file or a name may stand, what ends so is a file, be it there or not."""


def document_of(
    workflow: Workflow | WorkflowDefinition | Saga | SagaDefinition | Path,
) -> dict[str, str]:
    """Return a workflow or a saga as a document.

    Raises `InvalidDefinition` where it cannot be read.
    """
    if isinstance(workflow, Path):
        data, text_format = read_definition_file(workflow)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            fault = Fault("unreadable", "the file is not UTF-8", hint="save it as UTF-8")
            raise InvalidDefinition([fault], str(workflow)) from error
        return {"text": text, "format": text_format, "source": str(workflow)}
    if isinstance(workflow, Workflow | Saga):
        return document_of(workflow.definition())
    definition = require_work(workflow)
    text = definition.model_dump_json(by_alias=True, exclude_unset=True)
    return {"text": text, "format": "json", "source": definition.name}


def require_work(said: Any) -> WorkflowDefinition | SagaDefinition:
    """Return a definition; raises `UsageInvalid` for what is nothing that can be run."""
    from goclaw_events.saga import SagaDefinition

    if isinstance(said, (WorkflowDefinition, SagaDefinition)):
        return said
    msg = f"{repr(said)[:80]} is no workflow and no saga"
    hint = "give a builder, a definition, the Path of a file, or NAME[@VERSION] of a registered one"
    raise UsageInvalid(msg, hint=hint)


def submission(
    workflow: Sendable,
    given: Mapping[str, Any] | None,
    run_id: str | None,
    idempotency_key: str | None,
    labels: Mapping[str, str] | None,
) -> dict[str, Any]:
    """Return the parameters of `submit`."""
    what = (
        {"name": workflow} if isinstance(workflow, str) else {"definition": document_of(workflow)}
    )
    return {
        **what,
        "input": dict(given or {}),
        "run_id": run_id,
        "idempotency_key": idempotency_key,
        "labels": dict(labels or {}),
    }


def cancelling(
    run_id: str, reason: str, command_id: str | None, if_version: int | None
) -> dict[str, Any]:
    """Return the parameters of `cancel`; it has an id, so that it can be asked for twice."""
    return {
        "run_id": run_id,
        "reason": reason,
        "command_id": command_id or new_id("cmd", time.time_ns()),
        "if_version": if_version,
    }


def submitted_from(answer: Mapping[str, Any]) -> Submitted:
    """Return what `submit` answered."""
    return Submitted(answer["run_id"], _position(answer["position"]), answer["repeated"])


def result_from(answer: Mapping[str, Any]) -> RunResult:
    """Return what `result` answered."""
    error = None if answer["error"] is None else RunFailure(*answer["error"])
    return RunResult(
        answer["run_id"], answer["status"], answer["result"], error, _position(answer["position"])
    )


def recorded_from(fact: Sequence[Any]) -> Recorded:
    """Return a fact of a subscription; raises `UnknownType` for one of a newer version."""
    place, time_ns, stream, seq, name, version, fields, cause = fact
    said = FACTS.decode(name, version, fields)
    return Recorded(Position(*place), time_ns, stream, seq, name, said, _cause(cause))


def _cause(fields: Sequence[Any]) -> Cause:
    message, *rest = fields
    return Cause(None if message is None else tuple(message), *rest)


def _position(text: str | None) -> Position | None:
    return None if text is None else Position.parse(text)
