"""How the path of a run was changed: what the run knows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.pathing import ChangePath
from goclaw_events.facts import PathKept

if TYPE_CHECKING:
    from goclaw_actors.workflow.state import Run

WAITS: Final = "pending"
APPLIED: Final = "applied"


class Changing:
    """A change that waits: `waiting` for which tasks (by plan index), `held` and `begun` ones."""

    __slots__ = ("asked", "begun", "change", "held", "order", "waiting")

    def __init__(self, change: str, order: list[Any], asked: list[int]) -> None:
        self.change = change
        self.order = order
        self.asked = asked
        self.waiting = set(asked)
        self.held: list[int] = []
        self.begun: list[int] = []

    @property
    def wanted(self) -> ChangePath:
        """Return the change as it was asked for."""
        return ChangePath(*self.order)

    def as_list(self) -> list[Any]:
        """Return it as plain data."""
        return [self.change, self.order, self.asked, sorted(self.waiting), self.held, self.begun]

    @staticmethod
    def of_list(said: list[Any]) -> Changing:
        """Make it again from plain data."""
        changing = Changing(*said[:3])
        changing.waiting, changing.held, changing.begun = set(said[3]), *said[4:]
        return changing


class Path:
    """What was changed. `changes`: by id, [digest, version, what became of it, message].

    `generations` are those of tasks (by plan index) that are not in their first. `ready`: what the
    last change made active; `skips`: [how, result] of those that will be skipped when they would
    begin; `changing`: the change that waits.
    """

    __slots__ = ("changes", "changing", "generations", "ready", "skips", "version")

    def __init__(self) -> None:
        self.version = 1
        self.changes: dict[str, list[Any]] = {}
        self.generations: dict[int, int] = {}
        self.ready: list[int] = []
        self.skips: dict[int, list[Any]] = {}
        self.changing: Changing | None = None

    def as_list(self) -> list[Any]:
        """Return it as plain data: equal ones give equal data."""
        changing = None if self.changing is None else self.changing.as_list()
        generations = [list(item) for item in sorted(self.generations.items())]
        skips = [[index, *skip] for index, skip in sorted(self.skips.items())]
        return [self.version, self.changes, generations, self.ready, skips, changing]

    @staticmethod
    def of_list(said: list[Any]) -> Path:
        """Make it again from plain data."""
        path = Path()
        path.version, path.changes, generations, path.ready, skips, changing = said
        path.skips = {index: skip for index, *skip in skips}
        path.generations = dict(generations)
        path.changing = None if changing is None else Changing.of_list(changing)
        return path


def kept_from(run: Run, status: str) -> list[PathKept]:
    """Return the fact that gives up the change that waits in a run which ends; none, if none."""
    if run.path is None or run.path.changing is None:
        return []
    return [PathKept(run.path.changing.change, "run_finished", f"run {run.run_id} is {status}")]
