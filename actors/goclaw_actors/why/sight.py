"""The port to what is to be explained: the actors and all that is under way, at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goclaw_actors.actor import Entity
    from goclaw_actors.task.state import Task
    from goclaw_events.envelope import TimerRow

HERE: Final = "here"
AT_BOUNDARY: Final = "boundary"
STARTING: Final = "starting"
LOST: Final = "lost"
"""Where an attempt is, besides `agent_missing` and `executor_full`; '': nobody knows of it."""


class Sight(Protocol):
    """A log and whoever works on it, seen at one moment; looking changes nothing.

    Reading an actor that is not live raises what reading its stream raises.
    """

    now_ns: int
    moving: dict[str, bool] | None
    """Only whether something will wake what waits is asked, not what, who, or since when: then
    what was found of lanes is kept here. None: everything is asked."""

    @property
    def partitions(self) -> int:
        """Return how many partitions there are."""
        ...

    def actor(self, stream: str) -> Entity | None:
        """Return an actor to look at (None: its stream has no facts)."""
        ...

    def time_ns(self, stream: str, number: int) -> int:
        """Return when the fact with this number, of the stream's partition, was recorded."""
        ...

    def entered_ns(self, stream: str) -> int:
        """Return since when a task is in the state that it is in; 0: not known."""
        ...

    def begun_ns(self, stream: str) -> int:
        """Return when the first fact of a stream that has some was recorded; 0: not known."""
        ...

    def coming(self, stream: str) -> Sequence[Any]:
        """Return what was said to an actor and not handled yet."""
        ...

    def has_timer(self, row: TimerRow) -> bool:
        """Tell whether a timer is set, and will fire."""
        ...

    def attempt(self, task: Task) -> str:
        """Return where the current attempt of a task is."""
        ...

    def is_given_up(self, stream: str) -> bool:
        """Tell whether an actor was given up: nothing it is told has an effect."""
        ...


def state_of(sight: Sight, stream: str) -> Any:
    """Return an actor's state, not to be changed (None: it has none)."""
    actor = sight.actor(stream)
    return None if actor is None else actor.state
