"""From a saga to a plan: its actions and compensations are the tasks of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_events.collector import collector_paused
from goclaw_events.definition import RetryDefinition, TaskDefinition, WorkflowDefinition
from goclaw_events.faults import InvalidDefinition
from goclaw_events.inputs import default_findings
from goclaw_events.plan.compiler import plan_of
from goclaw_events.plan.model import PlannedStep
from goclaw_events.saga.checking import check_saga, compensation_id

if TYPE_CHECKING:
    from goclaw_events.plan.model import Plan
    from goclaw_events.saga.definition import ActionDefinition, SagaDefinition, StepDefinition

_RETRY_COMPENSATION = RetryDefinition(attempts=4, initial=0.1, max=5.0)


@collector_paused()
def compile_saga(definition: SagaDefinition) -> Plan:
    """Compile a saga; raises `InvalidDefinition` with every fault. Pure and deterministic."""
    checked = check_saga(definition.model_dump(by_alias=True))
    findings = default_findings(definition.input) + checked.findings
    if findings:
        raise InvalidDefinition([finding.fault() for finding in findings], definition.name)
    plan = plan_of(work_of(definition), checked)
    plan.steps = tuple(
        _planned_step(plan, task.id, definition)
        for task in plan.tasks
        if task.id in definition.steps
    )
    needed = {need for step in plan.steps for need in step.needs}
    for index, step in enumerate(plan.steps):
        if definition.output is None and index not in needed:
            plan.tasks[step.action].result_read = True
    return plan


def _planned_step(plan: Plan, step_id: str, definition: SagaDefinition) -> PlannedStep:
    step = definition.steps[step_id]
    order = [task.id for task in plan.tasks if task.id in definition.steps]
    places = {known: place for place, known in enumerate(order)}
    undo = -1 if step.compensation is None else plan.index[compensation_id(step_id)]
    needs = tuple(places[need] for need in step.needs)
    policy = step.policy or definition.policy
    return PlannedStep(plan.index[step_id], undo, needs, policy, step.in_doubt)


def work_of(definition: SagaDefinition) -> WorkflowDefinition:
    """Return a saga as the workflow whose tasks are its actions and compensations."""
    tasks: dict[str, TaskDefinition] = {}
    for step_id, step in definition.steps.items():
        tasks[step_id] = _action(step)
    for step_id, step in definition.steps.items():
        if step.compensation is not None:
            undo = step.compensation
            said = {"needs": (step_id,), "timeout": undo.timeout}
            retry = undo.retry or _RETRY_COMPENSATION
            tasks[compensation_id(step_id)] = _task(undo, **said, retry=retry)
    return WorkflowDefinition.model_construct(
        **{key: getattr(definition, key) for key in _HEAD}, tasks=tasks, on_failure="fail_fast"
    )


_HEAD = ("name", "version", "description", "labels", "metadata", "input", "lanes", "output",
         "timeout")  # fmt: skip


def _action(step: StepDefinition) -> TaskDefinition:
    return _task(step.action, needs=step.needs, timeout=step.timeout, retry=step.retry)


def _task(work: ActionDefinition, **said: Any) -> TaskDefinition:
    given = {name: getattr(work, name) for name in type(work).model_fields if name not in said}
    return TaskDefinition.model_construct(**given, **said)
