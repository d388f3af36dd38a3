"""From a text to a saga, or to every fault of it with line and column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from goclaw_events.collector import collector_paused
from goclaw_events.definition import (
    HttpCall,
    InputDefinition,
    KeyedLane,
    LaneDefinition,
    RateDefinition,
    RetryDefinition,
    WorkflowDefinition,
)
from goclaw_events.faults import InvalidDefinition
from goclaw_events.inputs import default_findings
from goclaw_events.loading import WORKFLOW, Form, load, read_definition_file, validate
from goclaw_events.saga.checking import check_saga
from goclaw_events.saga.definition import (
    ActionDefinition,
    CompensationDefinition,
    SagaDefinition,
    StepDefinition,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from goclaw_events.loading import Format

Definition: TypeAlias = WorkflowDefinition | SagaDefinition

_WORK: Final = ("steps", "*")
SAGA: Final = Form(
    SagaDefinition,
    (
        ((), SagaDefinition),
        (("input", "*"), InputDefinition),
        (("lanes", "*"), LaneDefinition),
        (("lanes", "*", "rate"), RateDefinition),
        (_WORK, StepDefinition),
        ((*_WORK, "retry"), RetryDefinition),
        ((*_WORK, "action"), ActionDefinition),
        ((*_WORK, "compensation"), CompensationDefinition),
        ((*_WORK, "compensation", "retry"), RetryDefinition),
        ((*_WORK, "action", "http"), HttpCall),
        ((*_WORK, "compensation", "http"), HttpCall),
        ((*_WORK, "action", "lane"), KeyedLane),
        ((*_WORK, "compensation", "lane"), KeyedLane),
    ),
    lambda raw: check_saga(raw).findings,
    lambda definition: default_findings(definition.input),
    "a saga is a mapping with `name` and `steps`",
)


@collector_paused()
def load_saga(
    text: str | bytes, text_format: Format = "yaml", source: str = "saga"
) -> SagaDefinition:
    """Return the saga that a text holds.

    Raises `InvalidDefinition` with every fault, each with its line and column.
    """
    return load(text, text_format, source, lambda _: SAGA)


@collector_paused()
def load_any(text: str | bytes, text_format: Format, source: str) -> Definition:
    """Return the workflow or the saga that a text holds: a saga has `steps`, and no `tasks`.

    Raises `InvalidDefinition` with every fault, each with its line and column.
    """
    found: Definition = load(text, text_format, source, _form_of)
    return found


def load_file(path: str | Path) -> Definition:
    """Return the workflow or the saga in a file, as `load_definition_file` reads it."""
    data, text_format = read_definition_file(path)
    return load_any(data, text_format, str(path))


def saga_from(raw: Mapping[str, Any], source: str = "saga") -> SagaDefinition:
    """Return the saga that plain mappings hold; raises `InvalidDefinition` with every fault."""
    definition, findings = validate(raw, SAGA)
    if definition is None or findings:
        raise InvalidDefinition([finding.fault() for finding in findings], source)
    return definition


def _form_of(raw: object) -> Form[Any]:
    is_saga = isinstance(raw, dict) and "steps" in raw and "tasks" not in raw
    return SAGA if is_saga else WORKFLOW
