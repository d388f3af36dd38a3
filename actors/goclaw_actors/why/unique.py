"""Why a task that is unique has not got its key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.lending import ClaimKey
from goclaw_actors.messages import KeyEnded, KeyGranted, KeyRefused, KeyShared
from goclaw_actors.why.reason import GIVEN_UP, UNIQUE, Reason
from goclaw_actors.why.room import on_its_way
from goclaw_actors.why.sight import state_of

if TYPE_CHECKING:
    from goclaw_actors.task.state import Task
    from goclaw_actors.unique import Unique
    from goclaw_actors.why.sight import Sight

_ANSWERS = (KeyGranted, KeyShared, KeyRefused, KeyEnded)


def without_key(sight: Sight, task: Task, since: int) -> Reason | None:
    """Return what a task waits for that asked for its key; None: nobody will tell it."""
    assert task.unique is not None, "only a unique task asks for a key"
    keys, key, _, on_duplicate = task.unique
    details: dict[str, Any] = {"key": key, "on_duplicate": on_duplicate}
    below = _in_the_way(sight, task, keys)
    if below is not None:
        return Reason(UNIQUE, task.stream, since, 0, details, (), (below,))
    unique: Unique | None = state_of(sight, keys)
    holder = None if unique is None else unique.holder(key)
    if holder is None or holder.task == task.stream or holder.done:
        return None
    return Reason(UNIQUE, task.stream, since, 0, {**details, "holder": holder.task})


def _in_the_way(sight: Sight, task: Task, keys: str) -> Reason | None:
    """Return what keeps the answer from coming, or is on its way."""
    if sight.is_given_up(keys):
        return Reason(GIVEN_UP, keys)
    for body in sight.coming(task.stream):
        if isinstance(body, _ANSWERS):
            return on_its_way(sight, keys, task.stream, body)
    for body in sight.coming(keys):
        if isinstance(body, ClaimKey) and body.task == task.stream:
            return on_its_way(sight, task.stream, keys, body)
    return None
