"""What a task that works on the items of a list says of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_events.faults import Finding
from goclaw_events.items import FOREACH, ITEMS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from goclaw_events.faults import Where

OPTIONS: Final = ("parallel", "on_item_failure", "item_failures_max", "item_results")
KEYS: Final = (FOREACH, *OPTIONS)
_OF_THE_RUN: Final = ("tasks", "labels")
ID_LENGTH_MAX: Final = 190
"""The tasks of items have the number of the item behind the id."""


def foreach_findings(task_id: str, task: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong with `foreach` and what belongs to it, but for its templates."""
    base: Where = ("tasks", task_id)
    said = task.get(FOREACH)
    if said is None:
        for key in OPTIONS:
            if task.get(key) is not None:
                message = f"{key!r} has no meaning without `foreach`"
                yield Finding("not_applicable", message, (*base, key), "remove it", at_key=True)
        return
    collect = task.get("collect")
    for key in _OF_THE_RUN if isinstance(collect, dict) else ():
        if collect and collect.get(key):
            message = f"an item collects no {key!r}: tasks of the run are the same for each"
            hint = "collect them once, without `foreach`; of other runs name `members`, or `runs`"
            yield Finding("not_applicable", message, (*base, "collect", key), hint, at_key=True)
    most = task.get("item_failures_max")
    if most is not None and task.get("on_item_failure") != "continue":
        message = "'item_failures_max' has no meaning without `on_item_failure: continue`"
        place = (*base, "item_failures_max")
        yield Finding("not_applicable", message, place, "remove it", at_key=True)
    if isinstance(said, str) and "${" not in said:
        message = f"{said!r} is a text, not a list"
        hint = "write a list, or ${tasks.ID.result}"
        yield Finding("bad_value", message, (*base, FOREACH), hint)
    if isinstance(said, list | tuple) and len(said) > ITEMS_MAX:
        message = f"{len(said)} items are more than {ITEMS_MAX}"
        yield Finding("too_large", message, (*base, FOREACH), "give each item a part of the list")
    if len(task_id) > ID_LENGTH_MAX:
        message = f"the id of a task with `foreach` has at most {ID_LENGTH_MAX} characters"
        yield Finding("bad_value", message, base, "name it shorter", at_key=True)
