"""The names of dead letters: `RUN/TASK`, `~SAGA`, and `PARTITION:NUMBER` of a parked message."""

from __future__ import annotations

import re
from typing import Final

from goclaw.errors import InvalidRequest
from goclaw_events.ids import check_id, is_saga

TASK: Final = "task"
SAGA: Final = "saga"
MESSAGE: Final = "message"
_PARKED: Final = re.compile(r"\d{1,5}:\d{1,20}\Z")


def kind_of(letter: str) -> str:
    """Return what a name names; raises `InvalidRequest`, and `InvalidId` for no id in it."""
    if _PARKED.match(letter):
        return MESSAGE
    if is_saga(letter):
        check_id(letter[1:], "saga id")
        return SAGA
    run_id, slash, task = letter.partition("/")
    if not slash:
        msg = f"{letter!r} names no dead letter"
        raise InvalidRequest(msg, hint="RUN/TASK, ~SAGA or PARTITION:NUMBER: goclaw dead list")
    check_id(run_id, "run id")
    check_id(task, "task id")
    return TASK


def place_of(letter: str) -> tuple[int, int]:
    """Return partition and number of a parked message."""
    partition, _, number = letter.partition(":")
    return int(partition), int(number)
