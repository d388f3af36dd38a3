"""Simulate random sagas on the production dispatchers: anything fails, late, twice, or in a crash.

`scripts/simulate_sagas.py 0:5000` runs these seeds. What holds at the end of each: every
saga ended completed, compensated or (once a person had to look, and did) one of both; what the
ledger holds is what the definition and the end say; everything was undone once, and in reverse
order.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.compensating import CompensateSaga, RetrySaga
from goclaw_actors.lending import DeclareLane
from goclaw_actors.message import Message
from goclaw_actors.saga.decide import SAGAS
from goclaw_actors.why import explain
from goclaw_actors.work import RETURNED, Outcome
from goclaw_events.facts import SagaAlarmed
from goclaw_events.ids import lane_stream, owner_stream, saga_key, saga_stream
from tests.actors.sagas import SagaStage, submission
from tests.actors.test_why import live
from tests.simulation.saga_author import UNDO, SagaPlan, write_saga
from tests.simulation.saga_ledger import Ledger
from tests.simulation.saga_rules import check_ledger, check_order

if TYPE_CHECKING:
    from goclaw_actors.work import AttemptToken, StartAttempt

STEPS_MAX: Final = 4_000
SECOND_NS: Final = 1_000_000_000
ENDS: Final = frozenset({"completed", "compensated"})


class SagaWorld:
    """Some sagas, the service that they use, and a person who looks after them."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.seen: Counter[str] = Counter()
        self.ledger = Ledger()
        self.stage = SagaStage(partitions=self.rng.choice((1, 1, 4)))
        self.plans = [write_saga(self.rng, f"s{n}") for n in range(self.rng.randint(1, 3))]
        self.faults = self.rng.choice((0.0, 0.05, 0.2, 0.5))
        self.crashes = self.rng.choice((0.0, 0.02, 0.1))
        self.ghosts: dict[AttemptToken, StartAttempt] = {}
        self.handled_stops = 0
        limits = DeclareLane(self.rng.choice((1, 2, 100)), 1_000, "reject", "test")
        self.stage.node.accept(Message(lane_stream(SAGAS), limits))
        for plan in self.plans:
            self.stage.node.accept(submission(plan.steps, plan.saga_id, **plan.head))

    # -- what happens ------------------------------------------------------------------------

    def run(self) -> None:
        """Let things happen until every saga has ended."""
        self.stage.rest()
        for count in range(STEPS_MAX):
            calm = count > STEPS_MAX // 2
            self._step(calm=calm)
            if not self.stage.executor.held and not self.ghosts and self._over():
                return
        statuses = {plan.saga_id: self._status(plan) for plan in self.plans}
        raise AssertionError(f"sagas do not end: {statuses}")

    def _over(self) -> bool:
        self.stage.rest()
        return all(self._status(plan) in ENDS for plan in self.plans)

    def _step(self, *, calm: bool) -> None:
        rng = self.rng
        if rng.random() < self.crashes and not calm:
            self._crash()
        self._hear_stops()
        held = sorted(self.stage.executor.held.values(), key=lambda attempt: attempt.token)
        if held and rng.random() < 0.8:
            self._end(rng.choice(held), calm=calm)
        elif self.ghosts and rng.random() < 0.5:
            self._lay_to_rest(rng.choice(sorted(self.ghosts)))
        else:
            self.stage.clock.ns += rng.choice((1, 2, 5)) * SECOND_NS
        if rng.random() < 0.3:
            self._look_after()
        if rng.random() < 0.1:
            self._audit()
        if rng.random() < 0.01 and not calm:
            plan = rng.choice(self.plans)
            self._tell(plan, CompensateSaga("changed my mind", "me"))
        if rng.random() < 0.7:
            self.stage.rest()
        else:
            self.stage.decide()
            self.stage.commit(rng.randint(0, 3))

    def _crash(self) -> None:
        """End the process: code that ran may have taken effect just before, or not."""
        self.seen["crash"] += 1
        self.stage.decide()
        for attempt in [*self.stage.executor.held.values(), *self.ghosts.values()]:
            if self.rng.random() < 0.3:
                self._take_effect(attempt)
        self.ghosts.clear()
        ns = self.stage.clock.ns
        self.stage = self.stage.crash(self.rng.randint(0, 3))
        self.stage.clock.ns = max(ns, self.stage.clock.ns)
        self.handled_stops = 0
        self.stage.rest()

    def _hear_stops(self) -> None:
        stops = self.stage.executor.stops
        for stop in stops[self.handled_stops :]:
            attempt = self.stage.executor.held.get(stop.token)
            if attempt is None:
                continue
            if self.rng.random() < 0.3:
                self._take_effect(attempt)
            chance = self.rng.random()
            if chance < 0.2:
                self._abandon(attempt, "cancelled")
            elif chance < 0.3:
                self._take_effect(attempt)
                self.stage.end(attempt)
            else:
                self.stage.end(attempt, "cancelled", code="cancelled")
        self.handled_stops = len(stops)

    def _end(self, attempt: StartAttempt, *, calm: bool) -> None:
        if self.rng.random() >= self.faults or calm:
            self._take_effect(attempt)
            self.stage.end(attempt, value={"id": attempt.task_id})
            return
        kind = self.rng.choice(("failed", "timeout", "abandoned"))
        self.seen[kind] += 1
        if kind == "failed":
            if self._is_doubted(attempt) and self.rng.random() < 0.5:
                self._take_effect(attempt)
            self.stage.end(attempt, "failed", code="boom")
            return
        if self.rng.random() < 0.5:
            self._take_effect(attempt)
        if kind == "abandoned":
            self._abandon(attempt, "failed")
        else:
            self.stage.end(attempt, "failed", code="timeout")

    def _is_doubted(self, attempt: StartAttempt) -> bool:
        """Tell whether a failure by its own word may have taken effect all the same."""
        plan = next(p for p in self.plans if saga_key(p.saga_id) == attempt.run_id)
        step = attempt.task_id.removesuffix(UNDO)
        return step != attempt.task_id or plan.steps[step].get("in_doubt") == "failed"

    def _abandon(self, attempt: StartAttempt, status: str) -> None:
        """Give an attempt up whose code runs on."""
        self.seen["abandoned"] += 1
        self.ghosts[attempt.token] = attempt
        self.stage.executor.kept.add(attempt.token)
        self.stage.end(attempt, status, code="timeout", abandoned=True)

    def _lay_to_rest(self, token: AttemptToken) -> None:
        """Let code that was given up end; it may have taken effect up to now."""
        attempt = self.ghosts.pop(token)
        self.stage.executor.kept.remove(token)
        if self.rng.random() < 0.5:
            self._take_effect(attempt)
        self.stage.node.accept_outcomes([Outcome(attempt.stream, token, RETURNED)])

    def _take_effect(self, attempt: StartAttempt) -> None:
        own = attempt.idempotency_key
        if not attempt.task_id.endswith(UNDO):
            self.ledger.take(own)
            return
        key = attempt.params["key"]
        step = attempt.task_id.removesuffix(UNDO)
        assert key == f"{attempt.run_id}/{step}/0", "it undoes its own step"
        if attempt.params["in_doubt"]:
            self.seen["undone in doubt"] += 1
        else:
            assert key in self.ledger.effects, f"{key} completed without an effect"
        self.ledger.undo(key, own)

    def _audit(self) -> None:
        """Check that something will wake every saga, and each of its steps."""
        sight = live(self.stage)
        for plan in self.plans:
            key = saga_key(plan.saga_id)
            for task in (None, *plan.steps, *(step + UNDO for step in plan.steps)):
                reason = explain(sight, key, task)
                if reason is None:
                    continue  # not in the log yet, or a step has nothing that undoes it
                self.seen["explained " + reason.kind] += 1
                assert not reason.lost, f"{task} of {plan.saga_id} is stuck: {reason.lost}"

    # -- a person ----------------------------------------------------------------------------

    def _look_after(self) -> None:
        for plan in self.plans:
            status = self._status(plan)
            if status == "awaiting_compensation":
                self.seen[status] += 1
                self._tell(plan, CompensateSaga("yes", "me"))
            elif status == "compensation_failed":
                self.seen[status] += 1
                self._tell(plan, RetrySaga("me"))

    def _tell(self, plan: SagaPlan, body: Any) -> None:
        message = Message(saga_stream(plan.saga_id), body)
        message.reply_to = self.stage.replies.append
        self.stage.node.accept(message)

    def _status(self, plan: SagaPlan) -> str:
        stream = saga_stream(plan.saga_id)
        for dispatcher in self.stage.node.dispatchers:
            entity = dispatcher.turns.directory.live.get(stream)
            if entity is not None and entity.state is not None:
                return str(entity.state.status)
        return self.stage.saga(plan.saga_id).status

    # -- what holds at the end ---------------------------------------------------------------

    def check(self) -> None:
        """Hold the ledger and the log against what was defined."""
        for plan in self.plans:
            self._check(plan)
        self.stage.rest()
        assert self.stage.rows("open") == 0, "something is left open"
        assert self.stage.rows("attempts") == 0, "an attempt is left"
        self.stage.check_live()

    def _check(self, plan: SagaPlan) -> None:
        status = self._status(plan)
        self.seen[status] += 1

        def has_begun(step: str) -> bool:
            return "AttemptStarted" in self.stage.task_facts(step, plan.saga_id)

        facts = self.stage.facts(owner_stream(saga_key(plan.saga_id)))
        self.seen["alarm"] += sum(isinstance(fact, SagaAlarmed) for fact in facts)
        check_ledger(plan, status, self.ledger, has_begun)
        check_order(plan, self.ledger, facts)


def simulate_sagas(seed: int) -> Counter[str]:
    """Simulate one seed; return what came up."""
    world = SagaWorld(seed)
    world.run()
    world.check()
    return world.seen
