"""Given facts, when a message comes, then these facts, messages and effects follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from goclaw_actors.decider import Decision, Moment, Send
from goclaw_events.codec import FACTS
from goclaw_events.definition import WorkflowDefinition
from goclaw_events.plan import compile_plan, pack_plan, plan_at, unpack_plan
from goclaw_events.value import BlobRef, blob_of, follow, pack, unpack

if TYPE_CHECKING:
    from goclaw_actors.decider import Decider
    from goclaw_events.plan import Plan
    from goclaw_events.value import Value

S = TypeVar("S")

NOW_NS = 1_700_000_000_000_000_000
HOLDER = "node:boot"


def moment(number: int = 100, now_ns: int = NOW_NS) -> Moment:
    """Return what a decision may know of the world."""
    return Moment(now_ns, number, 0, 1, HOLDER)


def plan_of(tasks: dict[str, Any], **head: Any) -> Plan:
    """Compile a plan as the log would give it back."""
    definition = WorkflowDefinition.model_validate({"name": "w", "tasks": tasks, **head})
    return unpack_plan(pack_plan(compile_plan(definition)))


class Shelf:
    """Contents: plans and values by their hash."""

    def __init__(self) -> None:
        self._plans: dict[bytes, Plan] = {}
        self._values: dict[bytes, Value] = {}

    def put_plan(self, plan: Plan, ref: BlobRef | None = None) -> BlobRef:
        """Keep a plan, under its hash or another one."""
        ref = ref or blob_of(pack_plan(plan))
        self._plans[ref.sha256] = plan
        return ref

    def put_value(self, value: Value) -> BlobRef:
        """Keep a value."""
        ref = blob_of(pack(value))
        self._values[ref.sha256] = value
        return ref

    def plan(self, ref: BlobRef) -> Plan:
        """Return a plan."""
        return plan_at(self._plans[ref.sha256], ref)

    def value(self, ref: BlobRef) -> Value:
        """Return the value at the reference's place."""
        return follow(self._values[ref.sha256], ref.path)


class Scenario(Generic[S]):
    """One aggregate: `given` its facts, `when` a message comes, what follows is returned.

    Every `when` also checks that `decide` leaves the state alone, unless `large`.
    """

    def __init__(self, decider: Decider[S], stream: str, *, large: bool = False) -> None:
        self.large = large
        self.decider = decider
        self.stream = stream
        self.state = decider.initial(stream)
        self.facts: list[Any] = []
        self.number = 100

    def given(self, *facts: Any) -> Scenario[S]:
        """Apply facts."""
        for fact in facts:
            self.decider.evolve(self.state, fact)
        self.facts.extend(facts)
        return self

    def when(self, message: Any, now_ns: int = NOW_NS) -> Decision:
        """Decide, check that it was pure, and apply the facts."""
        before = None if self.large else self.encoded()
        decision = self.decider.decide(self.state, message, moment(self.number, now_ns))
        assert self.large or self.encoded() == before, f"deciding {message} changed the state"
        self.given(*decision.facts)
        self.number += max(1, len(decision.facts))
        return decision

    def encoded(self) -> bytes:
        """Return the state as bytes."""
        return pack(self.decider.encode(self.state))

    def replayed(self) -> bytes:
        """Return the state that the facts fold to after a stay in the log, as bytes."""
        state = self.decider.initial(self.stream)
        for fact in self.facts:
            name, version = FACTS.names[type(fact)]
            stored = unpack(pack(list(fact)))
            state = self.decider.evolve(state, FACTS.decode(name, version, stored))
        return pack(self.decider.encode(state))


def kinds(items: Any) -> list[str]:
    """Return the names of the types of facts, effects or messages."""
    return [type(item.body if isinstance(item, Send) else item).__name__ for item in items]
