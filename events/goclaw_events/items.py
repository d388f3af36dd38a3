"""The items of a list that a task works on, and what their templates read besides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_events.templates import DICT, WHOLE, Reference, Template, references

if TYPE_CHECKING:
    from collections.abc import Iterable

FOREACH: Final = "foreach"
ITEM_ROOTS: Final = frozenset(("item", "index"))
"""What only templates of items read."""
ITEMS_MAX: Final = 100_000
"""A task works on so many items at most; who has more gives each item a part of the list."""
PARALLEL_DEFAULT: Final = 16
PARALLEL_ANSWERED: Final = 1_000
"""Of what waits for people, or signals, and takes no slot."""


def fields_of(items: Template, of_item: Iterable[Template]) -> Template:
    """Return what becomes the input of the run of the items.

    `items`, and what `of_item`, the templates of an item, read of the run above: `input`, `needs`,
    `results` and `statuses` by task, and `run`, its id.
    """
    fields: dict[str, Template] = {"items": items}
    read: dict[str, dict[str, Template]] = {}
    for template in of_item:
        for root, task, name, _ in references(template):
            if root in ("input", "needs"):
                fields[root] = Template(WHOLE, Reference(root, "", "", ()))
            elif root == "run":
                fields[root] = Template(WHOLE, Reference(root, "", "id", ()))
            elif root == "tasks":
                kept = "results" if name == "result" else "statuses"
                place = Template(WHOLE, Reference(root, task, name, ()))
                read.setdefault(kept, {})[task] = place
    return Template(DICT, {**fields, **{name: Template(DICT, each) for name, each in read.items()}})


def place_above(reference: Reference) -> tuple[str | int, ...]:
    """Return where in the input of the run of items stands what an item reads of the run above."""
    root, task, name, path = reference
    if root == "tasks":
        return ("results" if name == "result" else "statuses", task, *path)
    return (root, *path)
