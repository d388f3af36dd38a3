"""What templates and conditions of a run, or of a saga, may read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.statuses import STATUS_NAMES
from goclaw_events.ids import plain_id
from goclaw_events.templates import text_of
from goclaw_events.value import BlobRef, SecretText, follow, references

if TYPE_CHECKING:
    from goclaw_actors.contents import Contents
    from goclaw_actors.orders import Orders
    from goclaw_events.templates import Reference
    from goclaw_events.value import Value


class Scope:
    """Answer references for one task (or for the output of the whole, without a task).

    It sees its owner as the turn being decided makes it. A large value stays a reference, also
    when only a part of it is named.
    """

    __slots__ = ("_draft", "_index")

    def __init__(self, draft: Orders, index: int | None) -> None:
        self._draft = draft
        self._index = index

    def lookup(self, reference: Reference) -> Value:
        """Return what a reference reads; None where there is nothing."""
        root, task, field, path = reference
        plan = self._draft.plan
        if root == "input":
            return place(self._draft.input, path)
        if root == "tasks":
            index = plan.index[task]
            if field == "status":
                return STATUS_NAMES[self._draft.status_of(index)]
            return place(self._draft.result_of(index), path)
        if root == "needs":
            return self._needs(path)
        if root == "secret":
            return SecretText(("", field, ""))
        return self._id(root)

    def _id(self, root: str) -> str:
        if root == "run":
            return plain_id(self._draft.run.run_id)
        return self._draft.plan.tasks[self._index].id if self._index is not None else ""

    def load(self, reference: Reference) -> Value:
        """Return what a reference reads, large values included, for comparing and for text."""
        return self.whole(self.lookup(reference))

    def text(self, value: Value) -> str:
        """Write a value into text; a large one is read for it. Raises `TemplateFailed`."""
        return text_of(self.whole(value))

    def whole(self, value: Value) -> Value:
        """Put large values in place of the references to them."""
        return whole(value, self._draft.contents)

    def _needs(self, path: tuple[str | int, ...]) -> Value:
        draft = self._draft
        needs = draft.plan.tasks[self._index].needs if self._index is not None else ()
        if not path:
            return {draft.plan.tasks[need].id: draft.result_of(need) for need in needs}
        wanted = draft.plan.index.get(str(path[0]))
        return place(draft.result_of(wanted), path[1:]) if wanted in needs else None


def whole(value: Value, contents: Contents) -> Value:
    """Return a value with large ones in place of the references to them."""
    if isinstance(value, BlobRef):
        return contents.value(value)
    if next(references(value), None) is None:
        return value
    if isinstance(value, dict):
        return {key: whole(item, contents) for key, item in value.items()}
    return [whole(item, contents) for item in value]


def place(value: Value, path: tuple[str | int, ...]) -> Any:
    """Return a place inside a value; of a large one, wherever it stands, a reference to it."""
    for at, step in enumerate(path):
        if isinstance(value, BlobRef):
            return BlobRef(value.sha256, value.size, (*value.path, *path[at:]))
        value = follow(value, (step,))
    return value
