"""Deciders that sometimes raise, or die: the engine must contain the one and survive the other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from goclaw_actors.messages import LoseAttempt
from goclaw_actors.work import RETURNED
from goclaw_events.facts import AttemptReturned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from goclaw_actors.decider import Decider, Decision, Moment
    from tests.simulation.world import World

BUG_CHANCE = 0.03


class InjectedBug(RuntimeError):
    """A bug of the engine, made by the simulation."""


def with_bugs(kinds: Mapping[str, Decider[Any]], world: World) -> Mapping[str, Decider[Any]]:
    """Return the deciders with bugs and failpoints in them, where the world has such faults."""
    if not world.options.rate("bug") and not world.options.rate("failpoint"):
        return kinds
    return {kind: _with_bugs(decider, world) for kind, decider in kinds.items()}


def _with_bugs(decider: Decider[Any], world: World) -> Decider[Any]:
    chance = BUG_CHANCE * world.options.rate("bug")
    deciding = False

    def strikes() -> bool:
        if not chance or world.bugs_left == 0 or world.calm or world.rng.random() >= chance:
            return False
        world.bugs_left -= 1
        return True

    def decide(state: Any, message: Any, moment: Moment) -> Decision:
        nonlocal deciding
        world.points.hit("decide")
        if strikes():
            world.note("bug in decide", type(message).__name__)
            told = getattr(message, "status", "") == RETURNED
            told = told or (isinstance(message, LoseAttempt) and decider.is_final(state))
            world.slot_lost = world.slot_lost or told
            raise InjectedBug(type(message).__name__)
        decision = decider.decide(state, message, moment)
        deciding = bool(decision.facts)
        return decision

    def decide_together(state: Any, messages: Sequence[Any], moment: Moment) -> Decision:
        nonlocal deciding
        assert decider.pool is not None, "only what pools is decided together"
        world.points.hit("decide")
        if strikes():
            world.note("bug in deciding several messages together")
            raise InjectedBug(f"{len(messages)} messages")
        decision = decider.pool.decide(state, messages, moment)
        deciding = bool(decision.facts)
        return decision

    def evolve(state: Any, fact: Any) -> Any:
        nonlocal deciding
        if not deciding:
            return decider.evolve(state, fact)
        deciding = False
        world.points.hit("evolve")
        state = decider.evolve(state, fact)
        if strikes():
            world.note("bug in evolve: state half changed", type(fact).__name__)
            world.slot_lost = world.slot_lost or type(fact) is AttemptReturned
            raise InjectedBug(type(fact).__name__)
        return state

    pool = None if decider.pool is None else replace(decider.pool, decide=decide_together)
    return replace(decider, decide=decide, evolve=evolve, pool=pool)
