"""What the executors refuse, and the two exceptions that agents themselves meet."""

from __future__ import annotations

import re
from typing import Final

from goclaw_actors.errors import ActorsError

AGENT_ERROR: Final = "agent_error"
CANCELLED: Final = "cancelled"
EXECUTOR_CLOSED: Final = "executor_closed"
TIMEOUT: Final = "timeout"

_CODE: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}\Z")


class AgentUnknown(ActorsError):
    """No agent is registered under this name; `details["close"]` lists similar names."""

    code = "agent_unknown"


class AgentTaken(ActorsError):
    """Another function holds this agent name already, or the name is reserved."""

    code = "agent_taken"


class AgentInvalid(ActorsError):
    """What is to be registered cannot be called as an agent."""

    code = "agent_invalid"


class BadParams(ActorsError):
    """The parameters of a task do not fit the signature of its agent."""

    code = "bad_params"


class ExecutorExhausted(ActorsError):
    """So much abandoned code still runs that nothing new is started."""

    code = "executor_exhausted"


class ExecutorMissing(ActorsError):
    """A task is of a kind that this engine has no executor for."""

    code = "executor_missing"


class Fail(Exception):  # the agent's own verdict, not a fault of the engine: no CodedError
    """Fail the attempt on purpose, with a code of one's own and, by default, without a retry.

    `code` matches `[a-z0-9][a-z0-9_.-]{0,63}`; anything else raises `ValueError`.
    """

    def __init__(self, message: str, *, code: str = AGENT_ERROR, retryable: bool = False) -> None:
        super().__init__(message)
        if _CODE.match(code) is None:
            msg = f"{code[:80]!r} is not a code: 1 to 64 of a-z 0-9 _ . - are"
            raise ValueError(msg)
        self.code = code
        self.retryable = retryable


class Cancelled(BaseException):
    """Leave a sync agent that was asked to stop.

    A `BaseException`, as `asyncio.CancelledError` is: `except Exception` does not swallow it.
    """
