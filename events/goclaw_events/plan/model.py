"""What a plan holds. Everything is immutable by convention: a plan is shared by all its runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_events.facts import WAITERS_MAX_DEFAULT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from goclaw_events.conditions import Condition
    from goclaw_events.inputs import PlannedInput
    from goclaw_events.templates import Template

EXPECTED_S_DEFAULT: Final = 1.0
RUN_BY_AGENTS: Final = frozenset({"agent", "collect"})
"""Kinds of work whose `agent` is a registered one."""


FAIL: Final = "fail"
DEAD_LETTER: Final = "dead_letter"


class RetryPolicy(NamedTuple):
    """When an attempt that failed is made again. `attempts_max` counts the first one.

    `on_exhausted`: what a task becomes when no attempt follows, `FAIL` or `DEAD_LETTER`.
    """

    attempts_max: int
    backoff: str
    initial_s: float
    max_s: float
    jitter: str
    retry_on: tuple[str, ...]
    non_retryable: tuple[str, ...]
    on_exhausted: str = FAIL


class Timeouts(NamedTuple):
    """How long a task may take, beside the timeout of an attempt; seconds, None: no limit.

    `queue_s`: each wait for a slot. `total_s`: from the first wait to the end. `heartbeat_s`:
    between two signs of life of an attempt.
    """

    queue_s: float | None = None
    total_s: float | None = None
    heartbeat_s: float | None = None


NO_TIMEOUTS: Final = Timeouts()


class LaneLimits(NamedTuple):
    """The limits that a definition declares for a lane of its own."""

    concurrency: int
    capacity: int
    overflow: str
    more: dict[str, Any] | None = None
    """What else it limits, as `LaneDeclared` has it; None: nothing."""
    redirect_to: str = ""
    waiters_max: int = WAITERS_MAX_DEFAULT


class SlotNeeds(NamedTuple):
    """What a task asks its lane for besides a slot. `key` renders to the key of a keyed lane."""

    key: Template | None = None
    units: dict[str, int] | None = None
    cost: float = 1.0


NO_NEEDS: Final = SlotNeeds()


class UniqueKey(NamedTuple):
    """What makes a task a duplicate of another. `window_s` None: only until that has ended."""

    key: Template
    window_s: float | None
    on_duplicate: str


class Foreach(NamedTuple):
    """What a task stands for that works on the items of a list: a run of its own, of `item` tasks.

    `item` is one of those, of any item. `parallel`: so many are at work at a time. `on_failure`,
    `failures_max` (None: any number): what the failure of one means, as in definitions.
    `outcomes`: the result says of each item how it ended.
    """

    item: PlannedTask
    parallel: int
    on_failure: str
    failures_max: int | None = None
    outcomes: bool = False


class Mapped(NamedTuple):
    """Of the plan of a run that works on a list: for which task, and how many items that has."""

    task: str
    items: int
    foreach: Foreach


@dataclass(slots=True)
class PlannedTask:
    """One task, resolved to indexes of the plan.

    `params` renders to the parameters of an agent or a child workflow, to `{argv, stdin}` of
    exec, to the request of http, to `{with, collect}` of collect, to the terms of what waits for an
    answer (wait_for: signal; approval: who, message, arguments; of both: schema, deadline, ...), to
    `{items, ...}` of foreach (see `plan.mapped`). `wait` renders to a duration, or to `{until}`: of
    a wait; of what waits for an answer its deadline, if that is a time or a template (any other is
    one of its terms). `agent` names the agent, also the one that makes a result of what is
    collected, or the definition of a child workflow. `lane` is empty for what holds no slot (wait,
    approval, a child without a lane; a `foreach`, whose items have one). `result_read`: some
    template, condition or the output reads the result, or it is part of the run's result.
    """

    index: int
    id: str
    kind: str
    agent: str
    params: Template
    wait: Template | None
    needs: tuple[int, ...]
    dependents: tuple[int, ...]
    lane: str
    priority: int
    timeout_s: float | None
    retry: RetryPolicy
    when: Condition | None
    result_read: bool
    expected_s: float
    timeouts: Timeouts = NO_TIMEOUTS
    slot: SlotNeeds = NO_NEEDS
    unique: UniqueKey | None = None
    labels: dict[str, str] = field(default_factory=dict)
    foreach: Foreach | None = None


class PlannedStep(NamedTuple):
    """One step of a saga. `action`, `compensation` (-1: there is none) are indexes of tasks.

    `needs` are indexes of steps. `policy`: when it is compensated; `in_doubt`: which actions that
    did not complete may have taken effect.
    """

    action: int
    compensation: int
    needs: tuple[int, ...]
    policy: str
    in_doubt: str


@dataclass(slots=True)
class Plan:
    """A compiled definition; `tasks` stand in topological order.

    `roots` need nothing, `sinks` are needed by nothing; without `output` the sinks' results are
    the run's result. `lanes` holds the declared ones by lane id (`digest/io`).
    What a change of the path of a run made keeps the index of every task: then the order need not
    be topological, and `removed` are those that are no part of it any more. `steps` are those of a
    saga, in topological order; (): it is a workflow. `mapped`: its tasks are those of the items of
    a list, and made when they are asked for; no needs are counted, and `roots` begin at once.
    """

    name: str
    version: str | None
    tasks: Sequence[PlannedTask]
    index: Mapping[str, int]
    needs_count: Sequence[int]
    roots: Sequence[int]
    sinks: Sequence[int]
    lanes: dict[str, LaneLimits]
    output: Template | None
    on_failure: str
    inputs: tuple[PlannedInput, ...]
    labels: dict[str, str]
    metadata: dict[str, Any]
    timeout_s: float | None = None
    removed: frozenset[int] = frozenset()
    steps: tuple[PlannedStep, ...] = ()
    heard: dict[str, Sequence[int]] | None = field(default=None, compare=False, repr=False)
    """See `goclaw_events.plan.awaits`, which fills it in."""
    mapped: Mapped | None = None


class PlanHead(NamedTuple):
    """What of a plan is not a task and not derived from tasks."""

    name: str
    version: str | None
    lanes: dict[str, LaneLimits]
    output: Template | None
    on_failure: str
    inputs: tuple[PlannedInput, ...]
    labels: dict[str, str]
    metadata: dict[str, Any]
    timeout_s: float | None


def head_of(plan: Plan) -> PlanHead:
    """Return what of a plan is not a task and not derived from tasks."""
    return PlanHead(*(getattr(plan, name) for name in PlanHead._fields))


def assemble(
    head: PlanHead, tasks: Sequence[PlannedTask], removed: frozenset[int] = frozenset()
) -> Plan:
    """Derive the rest of a plan from its tasks, which know their needs; fill in dependents."""
    dependents: list[list[int]] = [[] for _ in tasks]
    for task in tasks:
        for need in task.needs:
            dependents[need].append(task.index)
    for task, after in zip(tasks, dependents, strict=True):
        task.dependents = tuple(after)
    return Plan(
        name=head.name,
        version=head.version,
        tasks=tuple(tasks),
        index={task.id: task.index for task in tasks},
        needs_count=[len(task.needs) for task in tasks],
        roots=tuple(task.index for task in tasks if not task.needs),
        sinks=tuple(
            task.index for task in tasks if not task.dependents and task.index not in removed
        ),
        lanes=head.lanes,
        output=head.output,
        on_failure=head.on_failure,
        inputs=head.inputs,
        labels=head.labels,
        metadata=head.metadata,
        timeout_s=head.timeout_s,
        removed=removed,
    )
