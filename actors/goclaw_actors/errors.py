"""The errors of the floor that decides and does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_events.errors import CodedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goclaw_events.faults import Fault


class ActorsError(CodedError):
    """Root of the errors of the actors' floor."""

    code = "actors_error"


class OutcomeUnknown(ActorsError):
    """The commit of a command failed: it may or may not have been recorded; ask again by its id."""

    code = "outcome_unknown"


class Stopping(ActorsError):
    """The engine is stopping and takes no more work."""

    code = "stopping"


class Busy(ActorsError):
    """More commands wait than the engine takes in."""

    code = "busy"


class TurnTooLarge(ActorsError):
    """The facts that follow from one message do not fit into a frame."""

    code = "turn_too_large"


class ChildUnknown(ActorsError):
    """A task runs a definition that was not known when its run was submitted."""

    code = "definition_unknown"


class ChildTooDeep(ActorsError):
    """A run would be a child of a child of ... too often."""

    code = "child_too_deep"


class LaneKeyInvalid(ActorsError):
    """What a task says for the key of its lane cannot be one."""

    code = "lane_key_invalid"


class ForeachInvalid(ActorsError):
    """What a task is to work on is not a list."""

    code = "foreach_invalid"


class FanOutTooLarge(ActorsError):
    """More tasks would follow from one than may."""

    code = "fan_out_too_large"


class CollectInvalid(ActorsError):
    """What a task says of whom to collect from cannot be used."""

    code = "collect_invalid"


class NotParked(ActorsError):
    """The message is parked no more: somebody had it said once more, or put it away."""

    code = "not_parked"


class HistoryFull(ActorsError):
    """So much was recorded of a task, a run or a saga that nothing more is asked of it."""

    code = "history_full"


class StreamBroken(ActorsError):
    """An actor cannot be rebuilt from its stream."""

    code = "internal_bug"


class BaselineFormUnknown(ActorsError):
    """What an actor was where history begins is written in a form that is not known."""

    code = "baseline_form_unknown"


class PathRefused(ActorsError):
    """The path of a run cannot be changed so: `faults` holds all that speaks against it."""

    code = "path_refused"

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = list(faults)
        lines = "".join(f"\n  {fault}" for fault in faults)
        super().__init__(
            f"the path cannot be changed so:{lines}", faults=[fault._asdict() for fault in faults]
        )


class SignalInvalid(ActorsError):
    """What an item is to wait for is no name of a signal: its template came to something else."""

    code = "signal_invalid"


class ApprovalInvalid(ActorsError):
    """What a person is to be asked cannot be: templates came to something else."""

    code = "approval_invalid"
