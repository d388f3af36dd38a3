"""What the engine answers: submissions, results, refusals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from goclaw.errors import GoclawError
from goclaw_actors.decider import Refused

if TYPE_CHECKING:
    from goclaw_actors.decider import Accepted
    from goclaw_actors.message import Reply
    from goclaw_events.envelope import Position


class CommandRefused(GoclawError):
    """The engine said no to a command; `code` is the refusal's own."""

    code = "command_refused"

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.message, hint=refused.hint)
        self.code = refused.code  # type: ignore[misc]


class RunUnsuccessful(GoclawError):
    """A run that was waited for failed or was cancelled."""

    code = "run_failed"


class EngineDied(GoclawError):
    """The engine stopped because of an error; what was acknowledged is in the log."""

    code = "engine_died"


@dataclass(frozen=True, slots=True)
class Submitted:
    """A run that was accepted, and where in the log. `repeated`: it had been before."""

    run_id: str
    position: Position | None
    repeated: bool


@dataclass(frozen=True, slots=True)
class RunFailure:
    """Why a run ended badly; `task` is the first that failed ('': it was none)."""

    code: str
    message: str
    task: str


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended: `completed`, `failed` or `cancelled`, and with what."""

    run_id: str
    status: str
    result: Any
    error: RunFailure | None
    position: Position | None

    @property
    def ok(self) -> bool:
        """Tell whether the run completed."""
        return self.status == "completed"

    def unwrap(self) -> Any:
        """Return the result of a completed run; raises `RunUnsuccessful` for any other."""
        if self.ok:
            return self.result
        error = self.error
        why = f": {error.message} [{error.code}]" if error else ""
        msg = f"run {self.run_id} {self.status}{why}"
        raise RunUnsuccessful(msg, hint=f"goclaw runs show {self.run_id}", run_id=self.run_id)


def accepted_of(reply: Reply) -> Accepted:
    """Return what a command was answered; raises `CommandRefused`."""
    if isinstance(reply.answer, Refused):
        raise CommandRefused(reply.answer)
    return reply.answer
