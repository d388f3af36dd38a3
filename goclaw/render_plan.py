"""A plan as people and tools want to see it: JSON, Mermaid, Graphviz, rows of a table.

Ids hold only letters, digits and `_ . : -`, so neither notation needs escapes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_events.durations import format_duration
from goclaw_events.plan.collects import collected_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw.weights import Weight
    from goclaw_events.plan import Analysis, LaneLimits, Plan, PlannedTask

TABLE_HEADERS: Final = ("layer", "task", "work", "needs", "lane", "expected", "slack", "critical")
LEARNED_HEADERS: Final = (*TABLE_HEADERS, "expected from")
_NEEDS_SHOWN_MAX: Final = 4


def plan_as_json(plan: Plan, analysis: Analysis, weights: Mapping[str, Weight]) -> dict[str, Any]:
    """Return the plan and its analysis as one JSON object."""
    layer_of = _layers(analysis)
    critical = set(analysis.critical_path)
    return {
        "name": plan.name,
        "version": plan.version,
        "labels": plan.labels,
        "on_failure": plan.on_failure,
        "tasks": [
            {
                "id": task.id,
                "kind": task.kind,
                "agent": task.agent or None,
                "needs": [plan.tasks[i].id for i in task.needs],
                "collects": collected_in(task),
                "labels": task.labels,
                "dependents": [plan.tasks[i].id for i in task.dependents],
                "lane": task.lane or None,
                "priority": task.priority,
                "timeout_s": task.timeout_s,
                "retry": task.retry._asdict(),
                "conditional": task.when is not None,
                "layer": layer_of[task.id],
                "expected_s": weights[task.id].expected_s,
                "expected_from": weights[task.id].source,
                "expected_p90_s": weights[task.id].p90_s,
                "expected_samples": weights[task.id].samples,
                "start_s": analysis.start_s[task.id],
                "slack_s": analysis.slack_s[task.id],
                "critical": task.id in critical,
            }
            for task in plan.tasks
        ],
        "edges": sum(plan.needs_count),
        "layers": [list(layer) for layer in analysis.layers],
        "groups": [
            {"layer": group.layer, "lane": group.lane or None, "tasks": list(group.tasks)}
            for group in analysis.groups
        ],
        "lanes": {lane_id: _limits(limits) for lane_id, limits in plan.lanes.items()},
        "critical_path": list(analysis.critical_path),
        "critical_path_s": analysis.length_s,
        "max_parallel": analysis.max_parallel,
    }


def _limits(limits: LaneLimits) -> dict[str, Any]:
    said = limits._asdict()
    return said | (said.pop("more") or {})


def plan_as_mermaid(plan: Plan, analysis: Analysis) -> str:
    """Return a Mermaid flowchart; the critical path stands out."""
    critical = set(analysis.critical_path)
    steps = set(zip(analysis.critical_path, analysis.critical_path[1:], strict=False))
    lines = ["flowchart TD"]
    for task in plan.tasks:
        opening, closing = ("([", "])") if task.kind == "wait" else ("[", "]")
        mark = ":::critical" if task.id in critical else ""
        lines.append(f'    t{task.index}{opening}"{task.id}<br/>{_work(task)}"{closing}{mark}')
    undoing = _undoing(plan)
    for task in plan.tasks:
        for need in task.needs:
            arrow = "==>" if (plan.tasks[need].id, task.id) in steps else "-->"
            arrow = "-. undone by .->" if task.index in undoing else arrow
            lines.append(f"    t{need} {arrow} t{task.index}")
        lines += (f"    t{plan.index[one]} -.-> t{task.index}" for one in collected_in(task))
    lines.append("    classDef critical stroke-width:3px")
    return "\n".join(lines) + "\n"


def plan_as_dot(plan: Plan, analysis: Analysis) -> str:
    """Return a Graphviz digraph; the critical path stands out."""
    critical = set(analysis.critical_path)
    steps = set(zip(analysis.critical_path, analysis.critical_path[1:], strict=False))
    lines = [f'digraph "{plan.name}" {{', "  rankdir=TB;", "  node [shape=box];"]
    for task in plan.tasks:
        bold = ", penwidth=3" if task.id in critical else ""
        lines.append(f'  "{task.id}" [label="{task.id}\\n{_work(task)}"{bold}];')
    undoing = _undoing(plan)
    for task in plan.tasks:
        for need in task.needs:
            pair = (plan.tasks[need].id, task.id)
            bold = " [penwidth=3]" if pair in steps else ""
            bold = ' [style=dotted, label="undone by"]' if task.index in undoing else bold
            lines.append(f'  "{pair[0]}" -> "{pair[1]}"{bold};')
        lines += (f'  "{one}" -> "{task.id}" [style=dashed];' for one in collected_in(task))
    lines.append("}")
    return "\n".join(lines) + "\n"


def plan_table(
    plan: Plan, analysis: Analysis, weights: Mapping[str, Weight], *, sources: bool
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headings and a row for each task, layer by layer.

    The last column but for `sources` is `*` for what is critical; with it, who says what to expect.
    """
    layer_of = _layers(analysis)
    critical = set(analysis.critical_path)
    rows = [
        (
            str(layer_of[task.id]),
            task.id,
            _work(task),
            _needs(plan, task),
            task.lane or "-",
            format_duration(round(weights[task.id].expected_s, 6)),
            format_duration(round(analysis.slack_s[task.id], 6)),
            "*" if task.id in critical else "",
            *((_source(weights[task.id]),) if sources else ()),
        )
        for task in sorted(plan.tasks, key=lambda task: (layer_of[task.id], task.index))
    ]
    return (LEARNED_HEADERS if sources else TABLE_HEADERS), rows


def plan_summary(plan: Plan, analysis: Analysis) -> str:
    """Return the figures below a table."""
    path = analysis.critical_path
    length = format_duration(round(analysis.length_s, 6))
    shown = " -> ".join(path if len(path) <= 12 else (*path[:6], "...", *path[-5:]))  # noqa: PLR2004 - what fits on a line
    return (
        f"{len(plan.tasks)} tasks, {sum(plan.needs_count)} needs, {len(analysis.layers)} layers, "
        f"at most {analysis.max_parallel} side by side\n"
        f"critical path ({len(path)} tasks, {length}): {shown}"
    )


def _undoing(plan: Plan) -> set[int]:
    """Return the tasks of a saga that undo others: they are no part of the way forth."""
    return {step.compensation for step in plan.steps}


def _layers(analysis: Analysis) -> dict[str, int]:
    return {task: layer for layer, tasks in enumerate(analysis.layers) for task in tasks}


def _source(weight: Weight) -> str:
    if weight.p90_s is None:
        return weight.source
    p90 = format_duration(round(weight.p90_s, 6))
    return f"{weight.source}: {weight.samples}, p90 {p90}"


def _work(task: PlannedTask) -> str:
    if task.kind == "collect":
        names = collected_in(task)
        more = f" and {len(names) - _NEEDS_SHOWN_MAX} more" if names[_NEEDS_SHOWN_MAX:] else ""
        shown = " " + ", ".join(names[:_NEEDS_SHOWN_MAX]) + more if names else ""
        return f"collect{shown}, {task.agent}"
    if task.foreach is not None:
        return f"foreach, {task.foreach.parallel} at a time: {_work(task.foreach.item)}"
    return f"{task.kind} {task.agent}" if task.agent else task.kind


def _needs(plan: Plan, task: PlannedTask) -> str:
    names = [plan.tasks[i].id for i in task.needs[:_NEEDS_SHOWN_MAX]]
    more = len(task.needs) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")
