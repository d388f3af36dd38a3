"""What facts about its path make of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.pathing import BEGUN, HELD_STILL, RESULT, ChangePath
from goclaw_actors.statuses import ACTIVE, COMPLETED, FAILED, PENDING
from goclaw_actors.workflow.path import APPLIED, WAITS, Changing, Path
from goclaw_actors.workflow.state import RUNNING, Run, let_go, skip
from goclaw_events.facts import PathChangeAsked, PathChanged, PathKept, PathTaskAnswered

if TYPE_CHECKING:
    from goclaw_actors.contents import Contents
    from goclaw_events.facts import PathFact
    from goclaw_events.plan import Plan

_NOT_ENDED = frozenset({PENDING, ACTIVE})


def evolve(run: Run, fact: PathFact, contents: Contents) -> None:
    """Apply a fact about the path of a run."""
    path = run.path = run.path or Path()
    plan = run.plan
    assert plan is not None, "the first fact of a run is its submission"
    match fact:
        case PathChangeAsked(change, order, asked):
            path.changing = Changing(change, order, [plan.index[task] for task in asked])
            path.changes[change] = [ChangePath(*order).digest, 0, WAITS, ""]
            run.was_held = True  # streams of tasks may begin before they do
        case PathTaskAnswered(task, answer, result):
            _answered(run, plan.index[task], answer, result)
        case PathChanged():
            _change(run, path, fact, contents.plan(fact.definition))
        case PathKept(change, code, message):
            path.changes[change][1:] = [path.version, code, message]
            path.changing = None


def _answered(run: Run, index: int, answer: str, result: Any) -> None:
    changing = None if run.path is None else run.path.changing
    assert changing is not None, "who answers was asked"
    changing.waiting.discard(index)
    if answer == HELD_STILL:
        changing.held.append(index)
    elif answer == BEGUN:
        changing.begun.append(index)
    elif answer == RESULT and result is not None:
        run.results.put(index, result)


def _change(run: Run, path: Path, fact: PathChanged, plan: Plan) -> None:
    """Make the plan, and what the run knows of its tasks, those of the next version."""
    run.plan, run.definition = plan, fact.definition
    if fact.children:
        run.children = {**(run.children or {}), **fact.children}
    grown = len(plan.tasks) - len(run.statuses)
    run.statuses.extend(bytes(grown))
    run.unmet.extend([0] * grown)
    path.version, path.changing = fact.version, None
    path.ready = [index for index in path.ready if run.statuses[index] == ACTIVE]
    path.changes[fact.change] = [fact.digest, fact.version, APPLIED, ""]
    counted = {plan.index[task] for task in (*fact.altered, *fact.added)}
    for task in fact.reopened:
        index = plan.index[task]
        _reopen(run, path, plan, index)
        counted.add(index)
        counted.update(plan.tasks[index].dependents)
    for index in counted:
        if run.statuses[index] == PENDING:
            needs = plan.tasks[index].needs
            run.unmet[index] = sum(run.statuses[need] in _NOT_ENDED for need in needs)
    at_once = set(fact.skipped)
    for task, how, result in fact.skips:
        path.skips[plan.index[task]] = [how, result]
        if task in at_once:
            _pass_over(run, path, plan, plan.index[task])
    for index in sorted(counted):
        _activate(run, path, index)


def _reopen(run: Run, path: Path, plan: Plan, index: int) -> None:
    """Let a task begin again, in its next generation."""
    status = run.statuses[index]
    if status == ACTIVE:
        run.active -= 1
        let_go(run, plan, index)
    else:
        run.ended -= 1
    if status == COMPLETED and run.results.get(index) is not None:
        run.results.remove(index)
    run.statuses[index] = PENDING
    path.generations[index] = path.generations.get(index, 0) + 1
    first = run.first_failed
    if status == FAILED and first is not None and first[0] == plan.tasks[index].id:
        run.first_failed = _next_failed(run, plan)


def _next_failed(run: Run, plan: Plan) -> tuple[str, str, str] | None:
    """Return what else of the run has failed; of which nothing is known but that it did."""
    index = run.statuses.find(FAILED)
    if index < 0:
        return None
    task = plan.tasks[index].id
    return task, "task_failed", f"task {task} failed"


def _pass_over(run: Run, path: Path, plan: Plan, index: int) -> None:
    """Count a task that has not begun as skipped."""
    if run.statuses[index] == ACTIVE:
        let_go(run, plan, index)
    else:
        run.active += 1
    skip(run, plan, index, path.skips[index][0])
    for dependent in plan.tasks[index].dependents:
        if run.statuses[dependent] == ACTIVE and run.unmet[dependent] == 0:
            path.ready.append(dependent)


def _activate(run: Run, path: Path, index: int) -> None:
    """Make a task active whose needs, as they are now, have all ended."""
    waits = run.statuses[index] == PENDING and run.unmet[index] == 0
    if waits and run.status == RUNNING:
        run.statuses[index] = ACTIVE
        run.active += 1
        path.ready.append(index)
