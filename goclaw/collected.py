"""What was collected: how each member ended, and what came of it all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from goclaw.errors import GoclawError
from goclaw_actors.executors.errors import CollectUnmet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class CollectorNotFound(GoclawError):
    """No collector has this id."""

    code = "collector_not_found"


@dataclass(frozen=True, slots=True)
class Gathered:
    """How one member ended: a task of a run, or (task '') the run itself.

    `status`: completed, failed, cancelled, skipped, or unknown (there is no such member, or
    nothing of it is kept). `error` is (code, message). `vote`: what it says at the place that a
    `majority` looks at, as JSON. `cursor` goes on behind it.
    """

    run_id: str
    task: str
    status: str
    result: Any
    error: tuple[str, str] | None
    generation: int
    vote: str
    cursor: int

    @property
    def ok(self) -> bool:
        """Tell whether the member completed."""
        return self.status == "completed"

    @property
    def member(self) -> str:
        """Return who it is: `RUN/TASK`, or `RUN`."""
        return f"{self.run_id}/{self.task}" if self.task else self.run_id


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collector came to.

    `status`: `met`, `unmet` (it could not come any more), `partial` (the deadline came first),
    `cancelled`, or `open`: nobody runs the engine that would go on. `reason` says why. `vote` is
    that of a majority. `gathered` are the members that ended, in that order; `missing` are the
    others, `RUN/TASK` or `RUN`. `result` is what `merge` or `reduce` made of it, `failure` is
    (code, message) where that failed.
    """

    collector_id: str
    status: str
    reason: str
    vote: str
    gathered: tuple[Gathered, ...]
    missing: tuple[str, ...]
    result: Any = None
    failure: tuple[str, str] | None = None

    @property
    def ok(self) -> bool:
        """Tell whether what was wanted is there, and what was to be made of it too."""
        return self.status == "met" and self.failure is None

    @property
    def results(self) -> list[Any]:
        """Return the results of the members that completed, in the order of their ends."""
        return [one.result for one in self.gathered if one.ok]

    @property
    def errors(self) -> dict[str, tuple[str, str]]:
        """Return why members failed, by `RUN/TASK` or `RUN`: (code, message)."""
        return errors_of(self.gathered)

    def unwrap(self) -> list[Any]:
        """Return the results if what was wanted is there; raises `CollectUnmet` otherwise."""
        if self.ok:
            return self.results
        reason = self.reason if self.failure is None else f"{self.failure[1]} [{self.failure[0]}]"
        raise unmet(self.collector_id, self.status, reason, self.gathered, self.missing)


def errors_of(gathered: Sequence[Gathered]) -> dict[str, tuple[str, str]]:
    """Return why members failed, by who they are."""
    return {one.member: one.error for one in gathered if one.error is not None}


def unmet(
    collector_id: str,
    status: str,
    reason: str,
    gathered: Sequence[Gathered],
    missing: Sequence[str],
) -> CollectUnmet:
    """Return the error of a collector that did not get what was wanted."""
    errors = {who: list(error) for who, error in errors_of(gathered).items()}
    why = "; ".join(f"{who}: {text} [{code}]" for who, (code, text) in list(errors.items())[:3])
    msg = f"collector {collector_id} is {status} ({reason or 'no reason'})"
    msg += f": {why}" if why else ""
    hint = f"goclaw collect --id {collector_id} --json shows all of it"
    return CollectUnmet(msg, hint=hint, status=status, errors=errors, missing=list(missing))


def gathered_from(record: Mapping[str, Any]) -> Gathered:
    """Return how a member ended, from plain data."""
    error = record["error"]
    return Gathered(**{**record, "error": None if error is None else (error[0], error[1])})


OPEN: Final[Mapping[str, Any]] = {"status": "open", "reason": "", "vote": "", "missing": []}
"""How a collector ended that nobody said the end of."""


def collected_from(
    collector_id: str,
    gathered: Sequence[Gathered],
    ended: Mapping[str, Any],
    made: Mapping[str, Any] | None = None,
) -> Collected:
    """Return what a collector came to, from plain data; `made`: the run that made a result."""
    result, failure = None, None
    if made is not None and made["status"] == "completed":
        result = made["result"]
    elif made is not None:
        gone = ["cancelled", f"what was to be made of {collector_id} was cancelled", ""]
        code, message, _ = made["error"] or gone
        failure = (code, message)
    return Collected(
        collector_id, ended["status"], ended["reason"], ended["vote"], tuple(gathered),
        tuple(ended["missing"]), result, failure,
    )  # fmt: skip
