"""What a task that collects is told to: from what its definition says, rendered, to whom and how.

Tasks of the same run, and members that are named in full, are known here. Patterns in other runs,
and runs by their labels, are looked up outside: the collector asks for them (`SelectMembers`).
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from goclaw_actors.collector.tally import ALL, ANY, HALF, MAJORITY
from goclaw_actors.errors import CollectInvalid
from goclaw_events.collect_checks import COLLECTED, MEMBERS_MAX, is_pattern
from goclaw_events.errors import CodedError
from goclaw_events.ids import check_id
from goclaw_events.value import CollectedRef

if TYPE_CHECKING:
    from collections.abc import Mapping


class Collects(NamedTuple):
    """The parameters of a task that collects, and what it waits for, as in `ScheduleTask`."""

    params: dict[str, Any]
    collect: list[Any]
    wish: list[Any] | None


def own_collector(run_id: str, task_id: str, generation: int) -> str:
    """Return the id of the collector that a task opens."""
    text = f"{run_id}\0{task_id}\0{generation}"
    return "col_t" + blake2b(text.encode(), digest_size=16).hexdigest()


def collects(rendered: Mapping[str, Any], run_id: str, own: str) -> Collects:
    """Return what a task collects; `own` is the collector it would open.

    Raises `CollectInvalid` for members, labels or a collector that are not what they have to be.
    """
    said = rendered["collect"]
    *how, go_on_unmet, go_on_partial = said["how"]
    given = said.get("collector")
    name = own if given is None else _id_of(given, "the collector")
    ref = CollectedRef(name, go_on_unmet, go_on_partial)
    params = {**rendered["with"], COLLECTED: ref}
    if given is not None:
        return Collects(params, [name, False], None)
    rule, count, by, failures_max, deadline_s = how
    members, patterns = _members(said, run_id)
    select = _select(patterns, said.get("runs"))
    live = select is not None and bool(said["runs"]["live"]) if said.get("runs") else False
    wanted = {ALL: 0, ANY: 1}.get(rule, HALF if count is None else count)
    place = by if rule == MAJORITY else None
    wish = [rule, wanted, place, failures_max, deadline_s, members, select, live]
    return Collects(params, [name, True], wish)


def _members(said: Mapping[str, Any], run_id: str) -> tuple[list[list[Any]], list[str]]:
    """Return [run, [task, ...]] of who is named, and the names that stand for several."""
    found: dict[str, dict[str, None]] = {}
    if said["tasks"]:
        found[run_id] = dict.fromkeys(said["tasks"])
    patterns: list[str] = []
    named = said.get("members") or ()
    if not isinstance(named, list | tuple):
        msg = f"members is {type(named).__name__}, not a list of RUN/TASK"
        raise CollectInvalid(msg, hint="let the template yield a list of texts")
    for name in named:
        if isinstance(name, str) and is_pattern(name):
            patterns.append(name)
            continue
        run, slash, task = str(name).partition("/")
        if run == run_id:
            msg = f"member {name!r} is of the run itself, which would wait for itself"
            raise CollectInvalid(msg, hint="name tasks of the same run under `tasks`")
        tasks = found.setdefault(_id_of(run, f"member {name!r}"), {})
        tasks[_id_of(task, f"member {name!r}") if slash else ""] = None
    count = sum(map(len, found.values()))
    if count > MEMBERS_MAX:
        msg = f"{count} members are more than the {MEMBERS_MAX} that one collector takes"
        raise CollectInvalid(msg, hint="collect them in parts")
    return [[run, list(tasks)] for run, tasks in found.items()], patterns


def _select(patterns: list[str], runs: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what is looked up outside; None: nothing is."""
    if not patterns and not runs:
        return None
    labels = {} if not runs else runs["labels"]
    if not all(isinstance(value, str) for value in labels.values()):
        raise CollectInvalid("a label is not a text", hint="let its template yield a text")
    chosen = runs or {"tasks": [], "task_labels": {}}
    return {
        "members": patterns, "labels": dict(labels), "tasks": list(chosen["tasks"]),
        "task_labels": dict(chosen["task_labels"]),
    }  # fmt: skip


def _id_of(value: object, what: str) -> str:
    try:
        return check_id(value if isinstance(value, str) else "", "id")
    except CodedError as error:
        msg = f"{what} is not an id: {value!r:.80}"
        raise CollectInvalid(msg, hint="write RUN/TASK, or RUN") from error
