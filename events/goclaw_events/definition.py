"""Workflow definitions as users write them: one model behind YAML, JSON and the Python builder.

The model checks each field by itself. What concerns several of them (kinds, needs, cycles, lanes,
templates) is checked by `goclaw_events.checks`, so that one report can hold every fault.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import ConfigDict, Discriminator, Field, StringConstraints, Tag, model_validator
from pydantic_core import PydanticCustomError

from goclaw_events.part import Code, Duration, Id, Label, Part, PositiveDuration
from goclaw_events.waits import ApprovalRequest, Wait, WaitForSignal

TASKS_MAX: Final = 100_000
EDGES_MAX: Final = 1_000_000
ATTEMPTS_MAX: Final = 1_000
PRIORITY_MAX: Final = 1_000
LANE_PATTERN: Final = r"^/?[A-Za-z0-9_][A-Za-z0-9_.:-]{0,199}$"

Kind: TypeAlias = Literal[
    "agent", "exec", "http", "workflow", "saga", "wait", "wait_for", "approval", "collect"
]
KINDS: Final[tuple[Kind, ...]] = (
    "agent", "exec", "http", "workflow", "saga", "wait", "wait_for", "approval", "collect",
)  # fmt: skip


class RetryDefinition(Part):
    """When and how often an attempt that failed is made again."""

    attempts: int = Field(default=1, ge=1, le=ATTEMPTS_MAX, description="tries in all")
    backoff: Literal["fixed", "linear", "exponential"] = "exponential"
    initial: Duration = Field(default=1.0, description="before the second try")
    max: Duration = Field(
        default=60.0,
        description="no wait between tries is longer; if not said, at least `initial`",
    )
    jitter: Literal["none", "full"] = "full"
    retry_on: tuple[Code, ...] = Field(
        default=(), strict=False, description="only these error codes are tried again"
    )
    non_retryable: tuple[Code, ...] = Field(
        default=(), strict=False, description="these error codes are not tried again"
    )
    on_exhausted: Literal["fail", "dead_letter"] = Field(
        default="fail",
        description="when no attempt follows: the task fails, or waits for a person with its run",
    )


Units: TypeAlias = Annotated[int, Field(ge=1, le=1_000_000_000)]
Weight: TypeAlias = Annotated[float, Field(gt=0, le=1_000_000)]


class RateDefinition(Part):
    """How many attempts a lane may start in a second, and how many at once after a pause."""

    per_second: float = Field(gt=0, le=1_000_000)
    burst: int = Field(default=1, ge=1, le=1_000_000)
    kind: Literal["token_bucket", "leaky_bucket"] = Field(
        default="token_bucket",
        description="token_bucket: `burst` at once after a pause; leaky_bucket: evenly spaced",
    )


class ScaleDefinition(Part):
    """Between how many attempts at a time a lane follows its load."""

    min: int = Field(ge=1, le=1_000_000)
    max: int = Field(ge=1, le=1_000_000)
    wait: PositiveDuration = Field(
        default=1.0, description="a queue so old asks for more slots; no change comes sooner"
    )
    idle: PositiveDuration = Field(
        default=30.0, description="slots go when half of them were unused for so long"
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise PydanticCustomError("bad_scale", "min is more than max")
        return self


class LaneDefinition(Part):
    """A queue with limits, shared by all runs of the definition."""

    concurrency: int = Field(default=16, ge=1, le=1_000_000, description="attempts at a time")
    capacity: int = Field(default=100_000, ge=1, le=10_000_000, description="tasks that may queue")
    overflow: Literal["reject", "block", "drop_oldest", "drop_newest", "redirect"] = Field(
        default="reject", description="what happens to a task when the queue is full"
    )
    redirect_to: Annotated[str, StringConstraints(pattern=LANE_PATTERN)] | None = Field(
        default=None, description="for redirect: the lane that takes what does not fit"
    )
    waiters_max: int | None = Field(
        default=None, ge=1, le=1_000_000, description="for block: runs that may wait; 10,000"
    )
    rate: RateDefinition | None = None
    scale: ScaleDefinition | None = Field(
        default=None, description="follow the load, in place of `concurrency`"
    )
    resources: dict[Id, Units] = Field(
        default_factory=dict, description="units that its tasks share (gpu, tokens, ...)"
    )
    per_tenant: int | None = Field(
        default=None, ge=1, le=1_000_000, description="attempts at a time of one tenant"
    )
    per_key: int | None = Field(
        default=None, ge=1, le=1_000_000, description="attempts at a time of one key; 1 if not said"
    )
    ageing: Duration | None = Field(
        default=None,
        description="a wait so long is worth a level of priority, 60s if not said; 0: never",
    )
    fair_by: Literal["tenant", "workflow", "none"] | None = Field(
        default=None, description="between whom it is shared; tenant if not said"
    )
    weights: dict[Label, Weight] = Field(
        default_factory=dict, description="shares of tenants (or workflows) that are not 1"
    )
    description: str = ""

    @model_validator(mode="after")
    def _slots_once(self) -> Self:
        if self.scale is not None and "concurrency" in self.model_fields_set:
            raise PydanticCustomError("bad_scale", "a lane has `concurrency`, or `scale`, not both")
        return self


class KeyedLane(Part):
    """A lane of its own for each value of a key (one customer at a time, for example)."""

    name: Annotated[str, StringConstraints(pattern=LANE_PATTERN)]
    key: str = Field(min_length=1, description="a template")


class UniqueTask(Part):
    """At most one task with the same key at a time, over all runs of the definition."""

    key: str = Field(min_length=1, description="a template")
    window: PositiveDuration | None = Field(
        default=None,
        description="a task that completed keeps its key so long from when it got it",
    )
    on_duplicate: Literal["refuse", "join", "replace"] = Field(
        default="refuse",
        description="refuse: it fails; join: it ends as the first does; replace: it comes instead",
    )


InputType: TypeAlias = Literal["string", "integer", "number", "boolean", "object", "array", "any"]


class InputDefinition(Part):
    """A value that a run is given. Without a default it is required, unless said otherwise."""

    type: InputType = "any"
    default: Any = None
    description: str = ""
    required: bool | None = None

    @property
    def has_default(self) -> bool:
        """Tell whether a default was written (null counts)."""
        return "default" in self.model_fields_set

    @property
    def is_required(self) -> bool:
        """Tell whether a run must bring the value."""
        return not self.has_default if self.required is None else self.required


class HttpCall(Part):
    """A request; every text may hold templates."""

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    url: str = Field(min_length=1)
    headers: dict[str, str] = Field(default_factory=dict)
    body: Any = None
    expect: tuple[Annotated[int, Field(ge=100, le=599)], ...] = Field(
        default=(), strict=False, description="statuses that count as success; none given: 2xx"
    )
    pause_on: tuple[Annotated[int, Field(ge=400, le=599)], ...] = Field(
        default=(),
        strict=False,
        description="statuses (429) that hold the lane for as long as Retry-After says, uncounted",
    )


class CollectedRuns(Part):
    """Runs by their labels, or tasks of them."""

    labels: dict[Label, str] = Field(min_length=1, description="all runs that have these")
    tasks: tuple[str, ...] = Field(
        default=(), strict=False, description="these tasks of them, or patterns; else the runs"
    )
    task_labels: dict[Label, str] = Field(
        default_factory=dict, description="tasks of them that have these labels"
    )
    live: bool = Field(
        default=False, description="also those that are submitted later, until it is closed"
    )


class CollectDefinition(Part):
    """What is collected: the task waits for it without a slot, and then makes a result of it."""

    tasks: tuple[str, ...] = Field(
        default=(), strict=False, description="tasks of this run, or patterns such as draft-*"
    )
    labels: dict[Label, str] = Field(
        default_factory=dict, description="tasks of this run that have these labels"
    )
    members: Annotated[tuple[str, ...], Field(strict=False)] | str = Field(
        default=(), description="RUN/TASK or RUN; templates, or one that yields all"
    )
    runs: CollectedRuns | None = None
    collector: str | None = Field(
        default=None, min_length=1, description="a collector that was opened already; a template"
    )
    rule: Literal["all", "any", "first_n", "quorum", "majority"] = "all"
    count: int | None = Field(
        default=None, ge=1, description="how many have to complete, or agree; else more than half"
    )
    by: str = Field(default="", description="where in a result a majority's vote stands: answer.id")
    failures_max: int | None = Field(default=None, ge=0, description="with more it is unmet")
    deadline: PositiveDuration | None = Field(
        default=None, description="it ends after so long with what there is"
    )
    on_deadline: Literal["go_on", "fail"] = Field(
        default="go_on", description="whether the task goes on with what there is by then"
    )
    on_unmet: Literal["go_on", "fail"] = Field(
        default="fail", description="whether it goes on if what was wanted cannot come any more"
    )
    merge: Literal["list", "object", "by_member"] | None = Field(
        default=None, description="the task's result is made of those of the members"
    )
    reduce: Id | None = Field(
        default=None, description="an agent that makes the result; its parameter `collected`"
    )


def _lane_form(value: object) -> str:
    return "keyed" if isinstance(value, dict | KeyedLane) else "name"


LaneChoice: TypeAlias = Annotated[
    Annotated[str, StringConstraints(pattern=LANE_PATTERN), Tag("name")]
    | Annotated[KeyedLane, Tag("keyed")],
    Discriminator(_lane_form),
]


class TaskDefinition(Part):
    """One task: exactly one kind of work, and what it needs first."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [kind]} for kind in KINDS]},
    )

    agent: Id | None = Field(default=None, description="a registered agent")
    exec: tuple[str, ...] | None = Field(
        default=None, strict=False, min_length=1, description="a program and its arguments"
    )
    http: HttpCall | None = None
    workflow: Id | None = Field(default=None, description="a definition to run as a child")
    saga: Id | None = Field(default=None, description="a saga to run as a child")
    wait: Wait | None = Field(
        default=None, description="a timer: for so long, or until then; holds no slot"
    )
    wait_for: WaitForSignal | None = Field(
        default=None, description="a signal that somebody sends to the run"
    )
    approval: ApprovalRequest | None = None
    collect: CollectDefinition | None = Field(
        default=None, description="waits for how tasks and runs end"
    )
    foreach: str | Annotated[tuple[Any, ...], Field(strict=False)] | None = Field(
        default=None,
        description="a list, or a template that yields one: the work is done for each item",
    )
    parallel: int | None = Field(
        default=None, ge=1, le=100_000, description="for foreach: items at work at a time; 16"
    )
    on_item_failure: Literal["fail_fast", "let_finish", "continue"] | None = Field(
        default=None,
        description="for foreach: fail_fast (stop the others, fail), let_finish (begin no more,"
        " fail), continue (go on; null in the place of its result)",
    )
    item_failures_max: int | None = Field(
        default=None, ge=0, description="for on_item_failure: continue; with more the task fails"
    )
    item_results: Literal["values", "outcomes"] | None = Field(
        default=None,
        description="for foreach: outcomes says of each item {status, result, error}",
    )
    needs: tuple[Id, ...] = Field(default=(), strict=False, description="tasks to complete first")
    with_: dict[str, Any] = Field(
        default_factory=dict, alias="with", description="parameters; may hold templates"
    )
    when: str | None = Field(default=None, description="a condition; if false the task is skipped")
    lane: LaneChoice | None = Field(
        default=None, description="a lane of this definition, or /name for one shared by all"
    )
    priority: int = Field(
        default=0, ge=-PRIORITY_MAX, le=PRIORITY_MAX, description="higher goes first in its lane"
    )
    unique: UniqueTask | None = Field(
        default=None, description="what makes it a duplicate of another task"
    )
    units: dict[Id, Units] = Field(
        default_factory=dict, description="what it takes of its lane's resources, with its slot"
    )
    cost: Weight = Field(default=1.0, description="its weight in its lane's rate and in shares")
    timeout: PositiveDuration | None = Field(default=None, description="for each attempt")
    queue_timeout: PositiveDuration | None = Field(
        default=None, description="for each wait for a slot of the lane"
    )
    total_timeout: PositiveDuration | None = Field(
        default=None, description="for all attempts, with the waits before and between them"
    )
    heartbeat_timeout: PositiveDuration | None = Field(
        default=None, description="for agents: between two signs of life of an attempt"
    )
    retry: RetryDefinition | None = None
    expected: Duration | None = Field(default=None, description="weight on the critical path")
    stdin: Any = Field(default=None, description="for exec; a template")
    description: str = ""
    labels: dict[Label, str] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)

    @property
    def kind(self) -> Kind | None:
        """Return the kind of work; None where there is none, or more than one."""
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        return given[0] if len(given) == 1 else None


class WorkflowDefinition(Part):
    """A workflow: its tasks, what they need, and the lanes they go through."""

    name: Id
    version: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    description: str = ""
    labels: dict[Label, str] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)
    input: dict[Id, InputDefinition] = Field(default_factory=dict)
    lanes: dict[Id, LaneDefinition] = Field(default_factory=dict)
    tasks: dict[Id, TaskDefinition] = Field(min_length=1, max_length=TASKS_MAX)
    output: Any = Field(default=None, description="the run's result; may hold templates")
    on_failure: Literal["fail_fast", "let_finish", "continue"] = "fail_fast"
    timeout: PositiveDuration | None = Field(default=None, description="for the whole run")
