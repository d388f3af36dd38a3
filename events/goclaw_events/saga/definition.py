"""Saga definitions as users write them; the parts that workflows have too are theirs.

An action or a compensation is one kind of work, as a task is; what it needs, how long it may take
and how often it is tried is said at the step.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import ConfigDict, Field, StringConstraints

from goclaw_events.definition import (
    PRIORITY_MAX,
    HttpCall,
    InputDefinition,
    LaneChoice,
    LaneDefinition,
    RetryDefinition,
    Units,
    Weight,
)
from goclaw_events.part import Id, Label, Part, PositiveDuration

STEPS_MAX: Final = 1_000
WORK_KINDS: Final = ("agent", "exec", "http", "workflow", "saga")

Policy: TypeAlias = Literal["auto", "manual", "skip"]


class ActionDefinition(Part):
    """What a step does: exactly one kind of work."""

    elsewhere = dict.fromkeys(
        ("collect", "wait", "wait_for", "approval", "foreach", "when", "unique"),
        "put it into a workflow, and begin that in the step with `workflow:`",
    )
    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [kind]} for kind in WORK_KINDS]},
    )

    agent: Id | None = Field(default=None, description="a registered agent")
    exec: tuple[str, ...] | None = Field(
        default=None, strict=False, min_length=1, description="a program and its arguments"
    )
    http: HttpCall | None = None
    workflow: Id | None = Field(default=None, description="a definition to run as a child")
    saga: Id | None = Field(default=None, description="a saga to run as a child")
    with_: dict[str, Any] = Field(
        default_factory=dict, alias="with", description="parameters; may hold templates"
    )
    stdin: Any = Field(default=None, description="for exec; a template")
    lane: LaneChoice | None = Field(
        default=None, description="a lane of this definition, or /name for one shared by all"
    )
    priority: int = Field(
        default=0, ge=-PRIORITY_MAX, le=PRIORITY_MAX, description="higher goes first in its lane"
    )
    units: dict[Id, Units] = Field(
        default_factory=dict, description="what it takes of its lane's resources, with its slot"
    )
    cost: Weight = Field(default=1.0, description="its weight in its lane's rate and in shares")
    queue_timeout: PositiveDuration | None = Field(
        default=None, description="for each wait for a slot of the lane"
    )
    total_timeout: PositiveDuration | None = Field(
        default=None, description="for all attempts, with the waits before and between them"
    )
    heartbeat_timeout: PositiveDuration | None = Field(
        default=None, description="for agents: between two signs of life of an attempt"
    )


class CompensationDefinition(ActionDefinition):
    """What undoes a step. It may come although the action never took effect: see `in_doubt`."""

    timeout: PositiveDuration | None = Field(default=None, description="for each attempt")
    retry: RetryDefinition | None = Field(
        default=None,
        description="4 attempts, 100ms and then twice as long up to 5s, if not said",
    )


class StepDefinition(Part):
    """One step: what it does, what undoes that, and what has to be done before."""

    action: ActionDefinition
    compensation: CompensationDefinition | None = Field(
        default=None, description="what undoes the action; without it there is nothing to undo"
    )
    needs: tuple[Id, ...] = Field(default=(), strict=False, description="steps to complete first")
    timeout: PositiveDuration | None = Field(
        default=None, description="for each attempt of the action"
    )
    retry: RetryDefinition | None = Field(default=None, description="of the action")
    policy: Policy | None = Field(
        default=None,
        description="when it is compensated: auto (at once), manual (when a person says so), skip"
        " (never); that of the saga, if not said",
    )
    in_doubt: Literal["unknown", "failed"] = Field(
        default="unknown",
        description="which actions that did not complete may have taken effect: those of which"
        " nobody knows (timed out, stopped, lost), or all that failed, too",
    )
    description: str = ""


class SagaDefinition(Part):
    """A saga: steps with side effects, undone in reverse order when one of them fails."""

    name: Id
    version: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    description: str = ""
    labels: dict[Label, str] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)
    input: dict[Id, InputDefinition] = Field(default_factory=dict)
    lanes: dict[Id, LaneDefinition] = Field(default_factory=dict)
    steps: dict[Id, StepDefinition] = Field(min_length=1, max_length=STEPS_MAX)
    output: Any = Field(default=None, description="the saga's result; may hold templates")
    policy: Policy = Field(default="auto", description="of steps that say nothing else")
    timeout: PositiveDuration | None = Field(
        default=None,
        description="for all actions, from when the saga begins; compensations have no part in it",
    )
