"""The Python builder of sagas: the same definition that a file holds, written with handles.

saga = Saga("trip")
flight = saga.step("flight", {"agent": book_flight}, undo={"agent": cancel_flight})
saga.step("hotel", {"agent": book_hotel, "with": {"at": flight.result["arrival"]}})
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw.builder import (
    Expression,
    Head,
    agent_name,
    plain,
    read_by,
    refuse_twice,
)
from goclaw_events.saga import compile_saga, saga_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from goclaw_events.plan import Plan
    from goclaw_events.saga import SagaDefinition
    from goclaw_events.saga.definition import Policy


class StepHandle:
    """A step of a saga: name it in `needs`, or use what its action yields."""

    __slots__ = ("id",)

    def __init__(self, step_id: str) -> None:
        self.id = step_id

    @property
    def result(self) -> Expression:
        """Stand for what the action returns; `[...]` goes into it."""
        return Expression("steps")[self.id]["result"]

    def __repr__(self) -> str:
        return f"StepHandle({self.id!r})"


class Undone:
    """What a compensation reads of the action that it undoes: `saga.action.key`, `.in_doubt`..."""

    @property
    def result(self) -> Expression:
        """Stand for what the action returned; nothing if it is in doubt."""
        return Expression("action")["result"]

    @property
    def key(self) -> Expression:
        """Stand for the idempotency key of the action."""
        return Expression("action")["key"]

    @property
    def in_doubt(self) -> Expression:
        """Stand for whether nobody knows if the action took effect."""
        return Expression("action")["in_doubt"]


class Saga(Head):
    """Build a saga step by step. Faults are reported by `definition()`, all at once."""

    action = Undone()

    def __init__(
        self,
        name: str,
        *,
        version: str | None = None,
        description: str = "",
        labels: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        policy: Policy = "auto",
        timeout: str | float | None = None,
    ) -> None:
        said = {
            "version": version,
            "description": description,
            "policy": policy,
            "timeout": timeout,
        }
        super().__init__(name, labels, metadata, said)
        self._steps: dict[str, dict[str, Any]] = {}

    def step(
        self,
        step_id: str,
        action: Mapping[str, Any],
        *,
        undo: Mapping[str, Any] | None = None,
        needs: Iterable[StepHandle | str] = (),
        timeout: str | float | None = None,
        retry: Mapping[str, Any] | None = None,
        policy: Policy | None = None,
        in_doubt: str | None = None,
        description: str = "",
    ) -> StepHandle:
        """Add a step and return its handle.

        `action` and `undo` (its compensation) have the keys that they have in a file; an agent may
        be a function decorated with `@goclaw.agent`. Steps whose results the action reads are
        needed, named in `needs` or not.
        """
        refuse_twice(step_id, self._steps, "steps")
        work = _work(action)
        named = [need.id if isinstance(need, StepHandle) else need for need in needs]
        read = (ref.task for ref in read_by(work) if ref.task in self._steps)
        step = {
            "action": work,
            "compensation": None if undo is None else _work(undo),
            "needs": named + [other for other in dict.fromkeys(read) if other not in named],
            "timeout": timeout,
            "retry": None if retry is None else plain(retry),
            "policy": policy,
            "in_doubt": in_doubt,
            "description": description,
        }
        self._steps[step_id] = {key: value for key, value in step.items() if value is not None}
        return StepHandle(step_id)

    def definition(self) -> SagaDefinition:
        """Return the definition; raises `InvalidDefinition` with every fault."""
        said = self._head | {"steps": self._steps, "output": plain(self.output)}
        return saga_from(said, self.name)

    def plan(self) -> Plan:
        """Return the compiled plan; raises `InvalidDefinition` with every fault."""
        return compile_saga(self.definition())


def _work(given: Mapping[str, Any]) -> dict[str, Any]:
    work: dict[str, Any] = plain(dict(given))
    if "agent" in given:
        work["agent"] = agent_name(given["agent"])
    return work
