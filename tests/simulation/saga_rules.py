"""What must hold of a simulated saga: the ledger outside, and the order in which it was undone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_events.facts import CompensationBegun, StepsUnwound
from goclaw_events.ids import saga_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.simulation.saga_author import SagaPlan
    from tests.simulation.saga_ledger import Ledger


def check_ledger(
    plan: SagaPlan, status: str, ledger: Ledger, has_begun: Callable[[str], bool]
) -> None:
    """Check what stands at the end, and that nothing was undone that never began."""
    prefix = f"{saga_key(plan.saga_id)}/"
    keys = {step: f"{prefix}{step}/0" for step in plan.steps}
    undone = {known for known in ledger.undone if known.startswith(prefix)}
    if status == "completed":
        assert not undone
        assert ledger.standing(prefix) == set(keys.values())
        return
    stand = {known for step, known in keys.items() if not plan.undone(step)}
    assert ledger.standing(prefix) <= stand, "an effect was left that was to be undone"
    for step, known in keys.items():
        if known in undone:
            assert has_begun(step), f"{step} never began, and was undone"
            assert plan.undone(step), f"{step} was not to be undone"


def check_order(plan: SagaPlan, ledger: Ledger, facts: Iterable[Any]) -> None:
    """Check that what needs a step was undone before it, and the saga turned back once at most."""
    key, times = saga_key(plan.saga_id), ledger.undone
    for step in plan.steps:
        mine = times.get(f"{key}/{step}/0")
        for dependent in plan.dependents(step) if mine else ():
            other = times.get(f"{key}/{dependent}/0")
            if other is not None and mine is not None:
                assert other[1] < mine[1], f"{step} was undone before {dependent}"
    said = list(facts)
    assert sum(isinstance(fact, CompensationBegun) for fact in said) <= 1
    begun = [name for f in said if isinstance(f, StepsUnwound) for name in f.compensating]
    assert len(begun) == len(set(begun)), "a step is compensated twice"
