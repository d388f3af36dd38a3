"""What is said about dead letters: to the run that waits for one, and to the task that is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from goclaw_events.value import Value


# To a run.
class RedriveTask(NamedTuple):
    """Have a dead letter run again. `generation`: the one in which it died; the rest as recorded.

    None for it: the one that the task is in. `rate_per_s`: when the lane of what runs again, with
    this rate, lets it (None: at once).
    """

    task: str
    generation: int | None
    edits: Value
    reason: str
    by: str
    rate_per_s: float | None = None


class DiscardTask(NamedTuple):
    """Give a dead letter up: its task fails. `generation` as in `RedriveTask`."""

    task: str
    generation: int | None
    reason: str
    by: str


# To a task.
class BuryTask(NamedTuple):
    """End as failed: somebody gave you up."""

    generation: int


LETTER_MESSAGES: Final[tuple[tuple[type, str], ...]] = (
    (RedriveTask, "run.redrive_task"),
    (DiscardTask, "run.discard_task"),
    (BuryTask, "task.bury"),
)
"""Each with the name under which it may stand in a log."""
