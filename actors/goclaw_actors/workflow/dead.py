"""The dead letters of a run, as it keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from goclaw_actors.decider import MapChunks
    from goclaw_events.value import Value

_LETTERS: Final = 7
"""The place of the letters in a root."""


class Letters:
    """By plan index: the tasks that are dead letters, and what was decided about others.

    `edits` is what was changed of redriven ones, `buried` the generations that were given up.
    `planned` are those that are to run again when their lane lets them, in the order in which they
    do: (edits, reason, by). `asked`: the run may be in the queue of that lane.
    """

    __slots__ = ("asked", "buried", "dead", "edits", "planned")

    def __init__(self) -> None:
        self.dead: set[int] = set()
        self.edits: dict[int, dict[str, Value]] = {}
        self.buried: dict[int, int] = {}
        self.planned: dict[int, tuple[Value, str, str]] = {}
        self.asked = False

    def as_list(self) -> list[Any]:
        """Return it as plain data: equal ones give equal data."""
        decided = (self.edits, self.buried)
        rows = ([list(one) for one in sorted(of.items())] for of in decided)
        planned = [[index, *said] for index, said in self.planned.items()]
        return [sorted(self.dead), *rows, planned, self.asked]

    @staticmethod
    def of_list(said: list[Any]) -> Letters:
        """Make it again from plain data."""
        letters = Letters()
        letters.dead = set(said[0])
        letters.edits, letters.buried = dict(said[1]), dict(said[2])
        letters.planned = {index: (*how,) for index, *how in said[3]}
        letters.asked = said[4]
        return letters


def with_plans(root: Any, maps: MapChunks) -> tuple[Any, MapChunks]:
    """Raise form 14: in it no letter was planned to run again."""
    if root[_LETTERS] is not None:
        root = [*root[:_LETTERS], [*root[_LETTERS], [], False], *root[_LETTERS + 1 :]]
    return root, maps
