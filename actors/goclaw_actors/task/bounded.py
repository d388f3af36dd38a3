"""What a task does whose history is full (`Moment.full`): it can end, and nothing else.

What its attempt said before it heard of that is recorded still, so that nothing is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.adjusting import AdjustTask
from goclaw_actors.signalling import HoldWork, SendSignal
from goclaw_actors.work import AttemptToken, Full, TellAttempt

if TYPE_CHECKING:
    from goclaw_actors.decider import Moment, Refused
    from goclaw_actors.task.state import Task


def grows(message: Any) -> bool:
    """Tell whether a message makes the history longer, and need not be."""
    return isinstance(message, (SendSignal, AdjustTask, HoldWork))


def tell_full(task: Task, moment: Moment) -> tuple[TellAttempt, ...]:
    """Return what has an attempt record no more state and no more steps; () if there is room."""
    if moment.full is None:
        return ()
    token = AttemptToken(moment.partition, moment.era, task.token)
    return (TellAttempt(token, Full(moment.full.message, moment.full.hint)),)


def no_further(full: Refused, code: str, message: str) -> list[str]:
    """Return why there is no further attempt after one that failed: [code, message]."""
    return [full.code, f"{full.message}; its last attempt failed with {code}: {message}"]
