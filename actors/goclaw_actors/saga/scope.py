"""What templates of a saga may read: of a compensation, what it undoes, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_actors.scope import Scope
from goclaw_actors.statuses import STATUS_NAMES
from goclaw_events.ids import plain_id

if TYPE_CHECKING:
    from goclaw_actors.saga.turn import Turn
    from goclaw_events.templates import Reference
    from goclaw_events.value import Value

GENERATION: Final = 0
"""Tasks of a saga have one: a compensation that is tried again keeps its key."""


class SagaScope(Scope):
    """Answer references for one task of a saga (or for its output, without a task)."""

    __slots__ = ("_turn",)

    def __init__(self, turn: Turn, index: int | None) -> None:
        super().__init__(turn, index)
        self._turn = turn

    def lookup(self, reference: Reference) -> Value:
        """Return what a reference reads; None where there is nothing."""
        match reference.root:
            case "saga":
                return self._of_saga(reference.field)
            case "action":
                return self._of_action(reference)
            case "steps":
                return super().lookup(reference._replace(root="tasks"))
            case _:
                return super().lookup(reference)

    def _of_saga(self, field: str) -> Value:
        if field == "id":
            return plain_id(self._turn.run.run_id)
        code, message, step = self._turn.error or ("", "", "")
        said = {"cause": self._turn.cause, "reason": message or code, "failed_step": step}
        return said[field]

    def _of_action(self, reference: Reference) -> Value:
        turn = self._turn
        assert self._index is not None, "only a compensation reads its action"
        step = turn.run.shape.step_of[self._index]
        action = turn.plan.tasks[turn.run.shape.steps[step].action]
        match reference.field:
            case "key":
                return f"{turn.run.run_id}/{action.id}/{GENERATION}"
            case "in_doubt":
                return step in turn.in_doubt
            case "status":
                return STATUS_NAMES[turn.status_of(action.index)]
            case _:
                return super().lookup(reference._replace(root="tasks", task=action.id))
