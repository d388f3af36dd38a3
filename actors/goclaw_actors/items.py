"""The items of a list that a task works on: the run that does it, and what its templates read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_actors.errors import FanOutTooLarge, ForeachInvalid
from goclaw_actors.scope import Scope, place, whole
from goclaw_events.items import ITEM_ROOTS, ITEMS_MAX, place_above
from goclaw_events.plain_words import kind_of
from goclaw_events.plan import mapped_ref

if TYPE_CHECKING:
    from goclaw_actors.contents import Contents
    from goclaw_events.templates import Reference
    from goclaw_events.value import BlobRef, Value


def plan_of_items(definition: BlobRef, task_id: str, given: Value, contents: Contents) -> BlobRef:
    """Name the plan of the run that works on the items of a task.

    `given` is what its templates came to. Raises `ForeachInvalid` where that holds no list, and
    `FanOutTooLarge`.
    """
    items = whole(given["items"], contents)
    if not isinstance(items, list | tuple):
        msg = f"`foreach` of {task_id} is {kind_of(items)}, not a list"
        raise ForeachInvalid(msg, hint="let its template yield a list", task=task_id)
    if len(items) > ITEMS_MAX:
        msg = f"`foreach` of {task_id} has {len(items)} items, more than {ITEMS_MAX}"
        hint = "give each item a part of the list: items may run a workflow with its own foreach"
        raise FanOutTooLarge(msg, hint=hint, task=task_id, items=len(items))
    return mapped_ref(definition, task_id, len(items))


class ItemScope(Scope):
    """Answer references for the task of an item: the rest it reads of the run above."""

    __slots__ = ()

    def lookup(self, reference: Reference) -> Value:
        """Return what a reference reads; None where there is nothing."""
        root, index = reference.root, self._index
        if root == "index":
            return index
        if root in ("secret", "task"):
            return super().lookup(reference)
        given = self._draft.input
        if root not in ITEM_ROOTS:
            return place(given, place_above(reference))
        # what an item is, stands where it is used: whoever runs it need not read the whole list
        return self.whole(place(given, ("items", index or 0, *reference.path)))
