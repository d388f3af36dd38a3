"""What a task that collects says: whom of its own run, by what rule, and what becomes of it.

Pure, over drafts (plain mappings, perhaps with faults of their own, as `goclaw_events.checks`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from goclaw_events.faults import Finding, Suggester

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from goclaw_events.faults import Where

MEMBERS_MAX: Final = 10_000
"""So many tasks and runs are collected by one collector."""
COLLECTED: Final = "collected"
"""The parameter by which an agent is given what was collected."""
MERGE: Final = "goclaw.merge"
OUTCOME: Final = "goclaw.collected"
TEMPLATES: Final = ("members", "runs", "collector")
"""What of it may hold templates."""
_WILD: Final = frozenset("*?[")
_OF_A_COLLECTOR: Final = (
    "tasks", "labels", "members", "runs", "count", "by", "failures_max", "deadline",
)  # fmt: skip


@dataclass(slots=True)
class CollectedTasks:
    """What was made of `collect:`. `own` are ids of the same run; `params` are for `agent`.

    `how` is [rule, count, by, failures_max, deadline in s, go on unmet, go on at the deadline].
    """

    agent: str
    params: dict[str, Any]
    own: list[str]
    how: list[Any]
    findings: list[Finding] = field(default_factory=list)


def is_pattern(text: str) -> bool:
    """Tell whether a name stands for all that match it."""
    return not _WILD.isdisjoint(text)


def place_of(by: str) -> list[str | int]:
    """Read where a vote stands: names and numbers, with a dot between."""
    return [int(step) if step.isdecimal() else step for step in by.split(".") if step]


def has_labels(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Tell whether all labels that are wanted are there."""
    return all(labels.get(name) == value for name, value in wanted.items())


def collected(
    ids: Sequence[str],
    tasks: Sequence[Mapping[str, Any]],
    node: int,
    said: Mapping[str, Any],
    params: Mapping[str, Any],
) -> CollectedTasks:
    """Check what task `node` of a draft collects; `params` are its `with`."""
    where: Where = ("tasks", ids[node], "collect")
    own, findings = _own(ids, tasks, node, said)
    findings += _faults(said, where, own)
    if COLLECTED in params:
        message = f"`{COLLECTED}` is given to the agent by what is collected"
        findings.append(Finding("bad_key", message, ("tasks", ids[node], "with", COLLECTED)))
    if params and not said.get("reduce"):
        message = "'with' has no meaning without `reduce`"
        place = ("tasks", ids[node], "with")
        findings.append(Finding("not_applicable", message, place, "remove it", at_key=True))
    merge, reduce = said.get("merge"), said.get("reduce")
    agent = str(reduce) if reduce else MERGE if merge else OUTCOME
    how = [
        said.get("rule", "all"), said.get("count"), place_of(str(said.get("by") or "")),
        said.get("failures_max"), said.get("deadline"), said.get("on_unmet") == "go_on",
        said.get("on_deadline") != "fail",
    ]  # fmt: skip
    given = {"how": merge} if merge and not reduce else dict(params)
    return CollectedTasks(agent, given, own, how, findings)


def _own(
    ids: Sequence[str], tasks: Sequence[Mapping[str, Any]], node: int, said: Mapping[str, Any]
) -> tuple[list[str], list[Finding]]:
    """Return the tasks of the same run that are collected, each once, in order."""
    found: dict[str, None] = {}
    findings: list[Finding] = []
    base: Where = ("tasks", ids[node], "collect")
    names, labels = said.get("tasks") or (), said.get("labels") or {}
    for at, name in enumerate(names if isinstance(names, list | tuple) else ()):
        matching = list(_matching(ids, node, str(name)))
        if not matching:
            hint = "" if is_pattern(str(name)) else Suggester().hint(str(name), ids)
            what = "which no other task matches" if is_pattern(str(name)) else "which is no task"
            what = "itself" if name == ids[node] else f"{name!r}, {what}"
            message = f"{ids[node]} collects {what}"
            findings.append(Finding("unknown_task", message, (*base, "tasks", at), hint))
        found.update(dict.fromkeys(matching))
    if isinstance(labels, dict) and labels:
        marked = [
            task_id
            for place, (task_id, task) in enumerate(zip(ids, tasks, strict=True))
            if place != node and has_labels(_labels(task), labels)
        ]
        if not marked:
            said_labels = ", ".join(f"{name}={value}" for name, value in labels.items())
            message = f"{ids[node]} collects tasks with {said_labels}, and no task has that"
            hint = "give the tasks `labels`"
            findings.append(Finding("unknown_task", message, (*base, "labels"), hint, at_key=True))
        found.update(dict.fromkeys(marked))
    return list(found), findings


def _matching(ids: Sequence[str], node: int, name: str) -> Iterator[str]:
    is_wild = is_pattern(name)
    for place, task_id in enumerate(ids):
        if place != node and (fnmatchcase(task_id, name) if is_wild else task_id == name):
            yield task_id


def _labels(task: Mapping[str, Any]) -> Mapping[str, str]:
    labels = task.get("labels")
    return labels if isinstance(labels, dict) else {}


def _faults(said: Mapping[str, Any], where: Where, own: Sequence[str]) -> Iterator[Finding]:
    """Yield what of it does not go together."""
    if said.get("collector"):
        for key in _OF_A_COLLECTOR:
            if said.get(key):
                message = f"{key!r} has no meaning for a collector that was opened already"
                yield Finding("not_applicable", message, (*where, key), "remove it", at_key=True)
        return
    others = bool(said.get("members") or said.get("runs"))
    if not (own or others or said.get("tasks") or said.get("labels")):
        hint = "give tasks, labels, members, runs, or a collector"
        yield Finding("missing_key", "it says not whom to collect", where, hint, at_key=True)
    rule, count = said.get("rule", "all"), said.get("count")
    if rule in ("all", "any") and count is not None:
        message = f"'count' has no meaning for rule {rule!r}"
        yield Finding("not_applicable", message, (*where, "count"), "remove it", at_key=True)
    if rule == "first_n" and count is None:
        message = "first_n does not say how many"
        yield Finding("missing_key", message, (*where, "rule"), "give count")
    if said.get("by") and rule != "majority":
        message = "'by' has no meaning but for rule: majority"
        yield Finding("not_applicable", message, (*where, "by"), "remove it", at_key=True)
    if isinstance(count, int) and own and not others and count > len(own):
        message = f"{count} of {len(own)} tasks cannot complete"
        yield Finding("bad_value", message, (*where, "count"), "want fewer")
    if len(own) > MEMBERS_MAX:
        message = f"{len(own)} tasks are more than the {MEMBERS_MAX} that one collector takes"
        yield Finding("too_large", message, where, "collect them in parts", at_key=True)
    if said.get("merge") and said.get("reduce"):
        message = "'merge' has no meaning beside 'reduce'"
        yield Finding("not_applicable", message, (*where, "merge"), "remove it", at_key=True)
    runs = said.get("runs")
    if isinstance(runs, dict) and runs.get("tasks") and runs.get("task_labels"):
        message = "tasks of runs are named by patterns, or by labels, not by both"
        place = (*where, "runs", "task_labels")
        yield Finding("not_applicable", message, place, "remove one", at_key=True)
