"""What a table of states is drawn of: how each state is reached, and what is said in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_actors.decider import Moment
from goclaw_events.definition import WorkflowDefinition
from goclaw_events.plan import compile_plan
from goclaw_events.value import BlobRef

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from goclaw_actors.decider import Decider
    from goclaw_events.plan import Plan
    from goclaw_events.value import Value

REF: Final = BlobRef(bytes(32), 1)
OTHER: Final = BlobRef(bytes(31) + b"1", 1)
NOW_NS: Final = 1_000_000_000_000_000_000
MOMENT: Final = Moment(NOW_NS, 50, 0, 1, "node:boot")
TOKEN: Final = 7
PLAN: Final = compile_plan(
    WorkflowDefinition.model_validate(
        {
            "name": "w",
            "tasks": {
                "a": {
                    "agent": "x",
                    "retry": {"attempts": 2, "initial": "1s", "jitter": "none"},
                    "queue_timeout": "5s",
                    "total_timeout": "1m",
                },
                "b": {"agent": "x"},
                "c": {"agent": "x", "needs": ["a"]},
            },
        }
    )
)


class OnePlan:
    """Contents that hold nothing but the plan of the tables."""

    def __init__(self, plan: Plan = PLAN) -> None:
        self._plan = plan

    def plan(self, _: BlobRef) -> Plan:
        """Return the plan."""
        return self._plan

    def value(self, ref: BlobRef) -> Value:
        """Return nothing: no large value is read here."""
        raise KeyError(ref)


class Aggregate(NamedTuple):
    """What is drawn: how each state is reached, and what is said to it."""

    title: str
    about: str
    decider: Decider[Any]
    stream: str
    states: dict[str, Sequence[Any]]
    messages: dict[str, Any]
    name_of: Callable[[Any], str]
