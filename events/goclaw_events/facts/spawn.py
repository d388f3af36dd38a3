"""What a task does about the tasks that its handler spawned. In its own stream.

A spawned task is known by its key: `StepRecorded` of `$spawn` before it begins, with [definition as
JSON, parameters, whether it may fail], and of `$spawned` once it has ended, with [status, result,
error]. Its own stream is `task/<run id>/<task id>/<key>`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from goclaw_events.value import Value

SPAWN: Final = "$spawn"
SPAWNED: Final = "$spawned"


class EndPutOff(NamedTuple):
    """The task has come to its end, and waits for what it spawned: then it ends so.

    `status`: completed, failed or cancelled. `token` is that of the attempt whose `result` it is,
    `error` is [code, message], `reason` that of who cancelled it. `abandoned` as in
    `AttemptFailed`. Said again where the task is cancelled while it waits.
    """

    status: str
    token: int
    result: Value
    error: list[str] | None
    reason: str
    abandoned: bool = False


SpawnFact: TypeAlias = EndPutOff
