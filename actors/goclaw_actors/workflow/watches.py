"""Who wants to hear how which tasks of a run end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

THE_RUN: Final = -1
"""In place of a plan index: the run itself."""


class Watches:
    """The collectors that wait for ends, by task and by collector; `by` is where a vote stands."""

    __slots__ = ("_by", "_of_collector", "_of_task")

    def __init__(self) -> None:
        self._by: dict[str, list[str | int] | None] = {}
        self._of_collector: dict[str, set[int]] = {}
        self._of_task: dict[int, list[str]] = {}

    def __len__(self) -> int:
        return len(self._by)

    def has(self, collector: str, index: int) -> bool:
        """Tell whether a collector waits for the end of a task."""
        return index in self._of_collector.get(collector, ())

    def knows(self, collector: str) -> bool:
        """Tell whether a collector waits for anything here."""
        return collector in self._by

    def of_task(self, index: int) -> list[str]:
        """Return who waits for the end of a task."""
        return self._of_task.get(index, [])

    def by(self, collector: str) -> list[str | int] | None:
        """Return where the vote stands that a collector wants to know."""
        return self._by[collector]

    def tasks(self) -> Iterable[int]:
        """Return the tasks whose ends are waited for."""
        return self._of_task

    def add(self, collector: str, tasks: list[int], by: list[str | int] | None) -> None:
        """Have a collector wait for the ends of tasks."""
        self._by[collector] = by
        waits = self._of_collector.setdefault(collector, set())
        for index in tasks:
            if index not in waits:
                waits.add(index)
                self._of_task.setdefault(index, []).append(collector)

    def end(self, index: int) -> None:
        """Forget a task that ended: whoever waited was told."""
        for collector in self._of_task.pop(index, ()):
            waits = self._of_collector[collector]
            waits.remove(index)
            if not waits:
                del self._of_collector[collector], self._by[collector]

    def leave(self, collector: str) -> None:
        """Forget a collector."""
        self._by.pop(collector, None)
        for index in self._of_collector.pop(collector, ()):
            who = self._of_task[index]
            who.remove(collector)
            if not who:
                del self._of_task[index]

    def as_list(self) -> list[Any]:
        """Return it as plain data: equal ones give equal data."""
        return [[who, sorted(self._of_collector[who]), by] for who, by in self._by.items()]

    @staticmethod
    def of_list(said: list[Any]) -> Watches | None:
        """Make it again from plain data; None of nothing."""
        watches = Watches()
        for collector, tasks, by in said:
            watches.add(collector, tasks, by)
        return watches if said else None
