"""What a plan tells about itself: layers, parallel groups, critical path, slack."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from goclaw_events import dag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw_events.plan.model import Plan


class ParallelGroup(NamedTuple):
    """Tasks of one layer in one lane: they may run side by side, as far as the lane lets them."""

    layer: int
    lane: str
    tasks: tuple[str, ...]


class Analysis(NamedTuple):
    """Ids throughout; times in seconds of the tasks' expected durations.

    `layers`: by longest distance from a root. `critical_path`: a chain that takes longest,
    `length_s` long. `slack_s`: how much longer a task may take without delaying the end.
    `start_s`: when it starts at the earliest. `max_parallel`: the size of the widest layer.
    """

    layers: tuple[tuple[str, ...], ...]
    groups: tuple[ParallelGroup, ...]
    critical_path: tuple[str, ...]
    length_s: float
    slack_s: dict[str, float]
    start_s: dict[str, float]
    max_parallel: int


def analyse(plan: Plan, expected_s: Mapping[str, float] | None = None) -> Analysis:
    """Compute the analysis of a plan: pure, O(V + E).

    `expected_s`: how long tasks take, in seconds, of those of which more is known than the plan
    says.
    """
    known = expected_s or {}
    needs = [task.needs for task in plan.tasks]
    order = range(len(needs))
    layers = dag.layers_of(needs, order)
    timing = dag.schedule(
        needs, order, [known.get(task.id, task.expected_s) for task in plan.tasks]
    )
    ids = [task.id for task in plan.tasks]
    groups: list[ParallelGroup] = []
    for layer, nodes in enumerate(layers):
        by_lane: dict[str, list[str]] = {}
        for node in nodes:
            by_lane.setdefault(plan.tasks[node].lane, []).append(ids[node])
        groups += [ParallelGroup(layer, lane, tuple(tasks)) for lane, tasks in by_lane.items()]
    return Analysis(
        layers=tuple(tuple(ids[node] for node in nodes) for nodes in layers),
        groups=tuple(groups),
        critical_path=tuple(ids[node] for node in timing.critical),
        length_s=timing.length,
        slack_s=dict(zip(ids, timing.slack, strict=True)),
        start_s=dict(zip(ids, timing.start, strict=True)),
        max_parallel=max(map(len, layers)),
    )
