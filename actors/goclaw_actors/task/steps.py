"""The durable steps that a task has recorded: each once, whichever attempt did it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.chunked import Chunked
from goclaw_actors.work import StepRecord
from goclaw_events.facts import SPAWN, SPAWNED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw_events.facts import StepRecorded

CHUNK_BITS: Final = 6


class Steps:
    """Records by number, in order, and the number of each by (name, key).

    `open` are the keys of spawned tasks that have not ended, with whether they may fail; `failed`:
    [key, how] of the first that failed and may not.
    """

    __slots__ = ("failed", "has_spawned", "numbers", "open", "rows")

    def __init__(self) -> None:
        self.open: dict[str, bool] = {}
        self.has_spawned = False
        self.failed: list[str] | None = None
        self.rows: Chunked[list[Any]] = Chunked(CHUNK_BITS)
        self.numbers: dict[tuple[str, str], int] = {}

    def __contains__(self, step: tuple[str, str]) -> bool:
        return step in self.numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def has_own(self) -> bool:
        """Tell whether a step of the agent's own was done: more than a look at the clock."""
        return any(not name.startswith("$") for name, _ in self.numbers)

    def add(self, fact: StepRecorded) -> None:
        """Keep a record; one that is there stays as it is."""
        number = len(self.numbers)
        if self.numbers.setdefault((fact.name, fact.key), number) == number:
            self.rows.put(number, [fact.name, fact.key, fact.digest, fact.result])
            self._note(fact.name, fact.key, fact.result)

    def _note(self, name: str, key: str, result: Any) -> None:
        """Note a task that was spawned, or has ended."""
        if name == SPAWN:
            self.has_spawned = True
            self.open[key] = bool(result[2])
        elif name == SPAWNED:
            self.failed = self.failed or self.failure(key, result)
            self.open.pop(key, None)

    def failure(self, key: str, ended: Any) -> list[str] | None:
        """Return [key, how] of a spawned task that failed and may not; None: it may, or did not."""
        if not isinstance(ended, list) or ended[0] == "completed" or self.open.get(key, True):
            return None
        status, _, error = ended
        return [key, f"failed: {error[1]}" if error else f"was {status}"]

    def records(self) -> tuple[StepRecord, ...]:
        """Return them as an attempt gets them."""
        return tuple(StepRecord(*row) for _, row in self.rows.items())

    def as_list(self) -> list[Any]:
        """Return them as plain data: equal ones give equal data."""
        return [row for _, row in sorted(self.rows.items())]

    @staticmethod
    def of_chunks(count: int, chunks: Mapping[int, dict[int, Any]]) -> Steps:
        """Make `count` of them again from what was written away; what stands beyond is older."""
        steps = Steps()
        kept = {
            at: {number: row for number, row in chunk.items() if number < count}
            for at, chunk in chunks.items()
        }
        steps.rows = Chunked(CHUNK_BITS, {at: chunk for at, chunk in kept.items() if chunk})
        for number, row in sorted(steps.rows.items()):
            steps.numbers[row[0], row[1]] = number
            steps._note(row[0], row[1], row[3])
        return steps


def rows_of(steps: Steps | None) -> tuple[Chunked[list[Any]], ...]:
    """Return what a snapshot keeps piece by piece."""
    return () if steps is None else (steps.rows,)
