"""Runs that work on the items of a list: who may be at work, what failures mean, what comes of it.

Written down apart from the decider, from the facts alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

BEGUN = ("task.scheduled", "task.waiting", "task.awaiting")

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_events.plan import Plan
    from tests.simulation.history import Entry
    from tests.simulation.world import World


def check_items(
    world: World,
    run_id: str,
    plan: Plan,
    entries: list[Entry],
    resolved: Callable[[World, Any], Any],
) -> None:
    """Check a run over a list, as far as it has come."""
    assert plan.mapped is not None
    given = resolved(world, entries[0].decoded.input)
    items = given["items"]
    assert len(items) == len(plan.tasks) == plan.mapped.items, f"{run_id} has other items"
    _window(world, run_id, plan, entries)
    for index, item in enumerate(items):
        for entry in world.history.streams.get(f"task/{run_id}/{plan.tasks[index].id}", []):
            if entry.fact.type != "task.scheduled" or plan.tasks[index].kind != "agent":
                continue
            params = resolved(world, entry.decoded.params)
            assert (params["item"], params["place"]) == (item, index), f"{run_id}/{index}"
            assert params["run"] == entries[0].decoded.parent.split("/")[1]
    _failures(run_id, plan, entries)
    if entries[-1].fact.type == "run.completed":
        _results(world, run_id, plan, entries, resolved)


def _window(world: World, run_id: str, plan: Plan, entries: list[Entry]) -> None:
    """Check that items begin in order, and no more at a time than may."""
    assert plan.mapped is not None
    ends = [entry for entry in entries if entry.fact.type == "run.task_ended"]
    for index, task in enumerate(plan.tasks):
        own = world.history.streams.get(f"task/{run_id}/{task.id}", [])
        begun = [e for e in own if e.fact.type in BEGUN]
        if not begun:
            continue
        before = sum(1 for end in ends if end.number < begun[0].number)
        most = before + plan.mapped.foreach.parallel
        assert index < most, f"{run_id}: item {index} begins when {before} have ended"


def _failures(run_id: str, plan: Plan, entries: list[Entry]) -> None:
    """Check that a run fails exactly when its rule says so."""
    assert plan.mapped is not None
    foreach, types = plan.mapped.foreach, [entry.fact.type for entry in entries]
    failed = sum(
        1 for e in entries if e.fact.type == "run.task_ended" and e.decoded.status == "failed"
    )
    allowed = 0
    if foreach.on_failure == "continue":
        allowed = len(plan.tasks) if foreach.failures_max is None else foreach.failures_max
    if types[-1] == "run.completed":
        assert failed <= allowed, f"{run_id} completed with {failed} failures"
    elif types[-1] == "run.failed" and entries[-1].decoded.code not in ("timeout", "internal_bug"):
        assert failed > allowed, f"{run_id} failed with {failed} failures of {allowed}"


def _results(
    world: World,
    run_id: str,
    plan: Plan,
    entries: list[Entry],
    resolved: Callable[[World, Any], Any],
) -> None:
    """Check that the result holds those of all items, in the order of the list."""
    assert plan.mapped is not None
    wanted: list[Any] = []
    ended = {e.decoded.task: e.decoded for e in entries if e.fact.type == "run.task_ended"}
    for task in plan.tasks:
        fact = ended[task.id]
        result = resolved(world, fact.result) if fact.status == "completed" else None
        error = None
        if fact.status == "failed":
            error = dict(zip(("code", "message"), fact.error, strict=True))
        outcome = {"status": fact.status, "result": result, "error": error}
        wanted.append(outcome if plan.mapped.foreach.outcomes else result)
    assert resolved(world, entries[-1].decoded.result) == wanted, f"{run_id} results in another"
