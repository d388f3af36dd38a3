"""What the executors refuse, and the two exceptions that agents themselves meet."""

from __future__ import annotations

import math
import re
from typing import Final

from goclaw_actors.errors import ActorsError

AGENT_ERROR: Final = "agent_error"
CANCELLED: Final = "cancelled"
EXECUTOR_CLOSED: Final = "executor_closed"
EXIT_NONZERO: Final = "exit_nonzero"
INTERRUPTED: Final = "interrupted"
KILLED_BY_SIGNAL: Final = "killed_by_signal"
RATE_LIMITED: Final = "rate_limited"
RETRY_LATER: Final = "retry_later"
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


class OutputFull(ActorsError):
    """An attempt emitted more than it may, in all or before any of it was written."""

    code = "output_full"


class StepInvalid(ActorsError):
    """A durable step has a name or key that it may not have, or the task has too many steps."""

    code = "step_invalid"


class StepRepeated(ActorsError):
    """An attempt asked twice for one durable step: each needs a name or key of its own."""

    code = "step_repeated"


class StepChanged(ActorsError):
    """A durable step was recorded with other arguments than it is asked for with now."""

    code = "step_changed"


class StepSecret(ActorsError):
    """What a durable step came to holds a secret, which is never written down."""

    code = "step_secret"


class SpawnFailed(ActorsError):
    """A task that was spawned did not complete: `details` hold its `reason`, a code."""

    code = "spawn_failed"


class StepMissing(ActorsError):
    """The key of the durable step that runs was asked for where none does."""

    code = "step_missing"


class StepsLeft(ActorsError):
    """An agent with `strict_steps` ended without asking for durable steps that were recorded."""

    code = "steps_unused"


class ExecutorMissing(ActorsError):
    """A task is of a kind that this engine has no executor for."""

    code = "executor_missing"


class AddressForbidden(ActorsError):
    """A request leads to an address that requests may not reach."""

    code = "address_forbidden"


class AddressRuleInvalid(ActorsError):
    """What should open an address for requests cannot be read."""

    code = "invalid_address_rule"


class HostUnresolved(ActorsError):
    """The host of a request has no address, or its address could not be asked for."""

    code = "host_unresolved"


class ConnectionFailed(ActorsError):
    """The connection of a request could not be made, or broke before the answer was whole."""

    code = "connection_failed"


class ResponseTooLarge(ActorsError):
    """The answer to a request has more bytes than the limit."""

    code = "response_too_large"


class ResponseInvalid(ActorsError):
    """The answer to a request is not what its headers say, or leads nowhere."""

    code = "response_invalid"


class ExecNotAllowed(ActorsError):
    """A task wants to run a program that the operator has not allowed."""

    code = "exec_not_allowed"


class ProgramNotFound(ActorsError):
    """There is no such program, or it cannot be executed, or its directory is not there."""

    code = "program_not_found"


class WorkerFailed(ActorsError):
    """A worker process could not begin: a module of the operator does not import there."""

    code = "worker_failed"


class WorkerDied(ActorsError):
    """The process of a worker ended while it ran an agent."""

    code = "worker_died"


class LauncherDied(ActorsError):
    """The process that starts child processes ended, and its children with it."""

    code = "launcher_died"


class CollectUnmet(ActorsError):
    """What was to be collected cannot come any more; `details["errors"]` has every failure."""

    code = "collect_unmet"


class Fail(Exception):  # the agent's own verdict, not a fault of the engine: no CodedError
    """Fail the attempt on purpose, with a code of one's own and, by default, without a retry.

    `code` matches `[a-z0-9][a-z0-9_.-]{0,63}`; anything else raises `ValueError`.
    """

    def __init__(self, message: str, *, code: str = AGENT_ERROR, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = checked_code(code)
        self.retryable = retryable


class RetryAfter(Exception):  # as `Fail`: the agent's own verdict
    """Fail the attempt, and ask for the next one in `seconds`, when the retry policy allows one.

    The wait takes the place of the policy's backoff, without jitter; the policy's `max` bounds it
    all the same. Raises `ValueError` for a bad code, or for seconds that are negative or no
    number.
    """

    def __init__(self, seconds: float, message: str = "", *, code: str = RETRY_LATER) -> None:
        super().__init__(message or f"it asks to be tried again in {seconds} s")
        if not (math.isfinite(seconds) and seconds >= 0):
            msg = f"{seconds!r} is no number of seconds"
            raise ValueError(msg)
        self.seconds = float(seconds)
        self.code = checked_code(code)


class RateLimited(Exception):  # as `Fail`: the agent's own verdict
    """Say that a service told the agent to come back after `retry_after` seconds.

    The attempt is not counted: its task goes back to the head of its lane, which starts nothing
    meanwhile (an hour at most). A task may say so 100 times; from then on it is a failed attempt.
    Raises `ValueError` for seconds that are negative or no number.
    """

    def __init__(self, retry_after: float, message: str = "") -> None:
        super().__init__(message or f"a service told it to come back after {retry_after} s")
        if not (math.isfinite(retry_after) and retry_after >= 0):
            msg = f"{retry_after!r} is no number of seconds"
            raise ValueError(msg)
        self.retry_after = float(retry_after)


def checked_code(code: str) -> str:
    """Return a code of a user's, or raise `ValueError`."""
    if _CODE.match(code) is None:
        msg = f"{code[:80]!r} is not a code: 1 to 64 of a-z 0-9 _ . - are"
        raise ValueError(msg)
    return code


class Interrupted(BaseException):
    """Leave an agent that was interrupted: what a boundary raises then; `str()` is the reason.

    Catch it to save state and to tidy up, and let it through: the task stands still then, and can
    be resumed. A `BaseException`, as `Cancelled` is.
    """


class Asleep(BaseException):
    """Leave an agent that sleeps for long: it is called again when it wakes, and gets its steps.

    A `BaseException`, as `Cancelled` is. `due_ns` is when it wakes; earlier, when the spawned tasks
    with the keys `awaited` have all ended.
    """

    def __init__(self, due_ns: int, awaited: tuple[str, ...] = ()) -> None:
        super().__init__(f"it sleeps until {due_ns}")
        self.due_ns = due_ns
        self.awaited = awaited


class Cancelled(BaseException):
    """Leave a sync agent that was asked to stop.

    A `BaseException`, as `asyncio.CancelledError` is: `except Exception` does not swallow it.
    """
