"""Why each task waits, worked out a second time: from the facts alone, in the plainest way.

Facts that are decided and not durable yet count too: an explanation is of the moment.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from goclaw_actors.why import explain
from goclaw_actors.why.live import LiveSight
from goclaw_actors.why.passive import Passive
from goclaw_events.codec import FACTS
from goclaw_events.facts import (
    LaneAdvanced,
    LaneControlled,
    LaneDeclared,
    LaneHeld,
    LaneScaled,
    SlotKept,
)
from goclaw_events.frame import decode_frame
from goclaw_events.ids import keeper_of, kept_slot, plain_id
from tests.simulation.history import Entry, lane_taken
from tests.simulation.lane_model import AGEING_NS, CONCURRENCY
from tests.simulation.limits_model import Asked, _Limited, is_limited
from tests.simulation.pathways import BEGINS, is_changed

if TYPE_CHECKING:
    from goclaw_actors.why import Reason
    from goclaw_events.plan import Plan
    from tests.simulation.world import World

MESSAGES = ("message", "other_partition")
ENDS = ("task.completed", "task.failed", "task.cancelled", "task.dropped")
STARTED, CHILD = "task.attempt_started", "task.child_started"
ASIDE = (
    "task.progress_reported", "task.outcome_refused", "task.attempt_returned",
    "task.signal_accepted", "task.signal_consumed", "task.signal_ended", "task.state_saved",
    "task.adjusted", "task.moved",
    "task.step_recorded", "task.steps_unused",
)  # fmt: skip
HOLDS = frozenset(
    {"task.interrupted", "task.interrupt_requested", "task.paused", "task.resumed",
     "run.interrupted", "run.paused", "run.resumed"}
)  # fmt: skip
QUEUED = (
    "task.scheduled",
    "task.requeued",
    "task.attempt_limited",
    "task.redirected",
    "task.admitted",
)
TOLERANCE = 1e-3
NEAR_NS = 10**7
"""A rate that lets the next one start so soon may be counted either way."""
LIMITS = frozenset(
    {"lane_paused", "lane_held", "lane_slots", "lane_key", "lane_tenant", "lane_units", "lane_rate"}
)


def sight_of(world: World) -> LiveSight:
    """Return the node as it is now."""
    held = world.executor.held
    return LiveSight(
        world.node.dispatchers,
        Passive(world.journal, world.kinds),
        lambda token: "here" if token in held else "",
        max(dispatcher._last_ns for dispatcher in world.node.dispatchers),
    )


def check_why(world: World) -> None:
    """Compare the explanation of every unfinished run, and of each task of it, with the facts."""
    if world.node.failure is not None:
        return  # what it held in memory is gone until it opens the log again
    world.history.update(world.journal)
    model = _Model(world)
    for stream, entries in model.of_kind("workflow"):
        run_id = stream.partition("/")[2]
        if run_id in model.ended or stream in model.poisoned:
            continue
        sight = sight_of(world)
        plan = world.clients.plan_of(entries[0].decoded.definition)
        whole = explain(sight, run_id, tasks_max=1_000)
        assert whole is not None, f"{run_id} is not found"
        if not world.options.rate("bug"):
            assert not whole.lost, f"{run_id} is taken for stuck: {whole.lost}"
        assert whole.since_ns == entries[0].time_ns, run_id
        if is_changed(entries):
            continue  # which of its tasks wait for what by now is not modelled
        for task in plan.tasks:
            reason = explain(sight, run_id, task.id)
            assert reason is not None
            world.seen.update(f"why: {each.kind}" for each in reason.walk())
            model.check(run_id, plan, task.index, reason, sight.now_ns)


def _begun(own: list[Entry]) -> bool:
    """Tell whether a task was told to run; one that was cancelled before that was not."""
    return any(entry.fact.type in BEGINS for entry in own)


AT_LAST: dict[str, tuple[str, ...]] = {
    "task.cancel_requested": ("stopping", "child_run", *MESSAGES),
    "task.died": ("dead_letter", *MESSAGES),
    "task.end_put_off": ("spawned", *MESSAGES),
}


class LaneModel:
    """Who waits and who holds a slot, and what is limited, as the facts of a lane have it."""

    def __init__(self, stream: str, entries: list[Entry]) -> None:
        self.limited = any(is_limited(entry.decoded) for entry in entries)
        self.model = _Limited(stream)
        self.rate_changed = False
        """What a rate let start counts under the next one; the model begins it anew."""
        self.came: dict[str, int] = {}
        self.served: dict[int, int] = {}
        self.model.concurrency = CONCURRENCY
        for entry in entries:
            fact = entry.decoded
            if isinstance(fact, LaneDeclared | LaneControlled | LaneScaled):
                self.model.live.apply(fact)
                before = self.model.limits.get("rate")
                self.model.declare(*self.model.live.in_force())
                self.rate_changed |= before not in (None, self.model.limits.get("rate"))
            elif isinstance(fact, LaneHeld):
                self.model.live.apply(fact)
            elif isinstance(fact, LaneAdvanced):
                self._advance(fact)
            elif isinstance(fact, SlotKept):
                slot = kept_slot(fact.task, fact.token)
                self.model.held[slot] = self.model.held.pop(fact.task)

    def _advance(self, fact: LaneAdvanced) -> None:
        model = self.model
        for task in fact.released:
            del model.held[task]
        for task in fact.withdrawn:
            del model.waiting[task]
        for task, priority, head, *said in fact.queued:
            model.count += 1
            party, key, units, cost = said[0] if said else ("", "", None, 1.0)
            asked = Asked(task, model.count, head, priority, party, key, units or {}, cost)
            model.waiting[task] = asked
            came_ns = min(fact.now_ns, self.served.get(priority, fact.now_ns) if head else 2**63)
            self.came[task] = came_ns
        for task in fact.leased:
            asked = model.held[task] = model.waiting.pop(task)
            self.served[asked.priority] = self.came[task]
            if fact.now_ns:
                model.spend(asked.cost, fact.now_ns, task)

    def kinds(self, task: str, now_ns: int) -> set[str]:
        """Return what holds a task up, counted anew."""
        model, asked = self.model, self.model.waiting[task]
        model.live.now_ns = now_ns
        found = {"lane_paused"} if model.live.mode == "paused" else set()
        if model.live.held_ns > now_ns:
            found.add("lane_held")
        if len(model.held) >= model.concurrency:
            found.add("lane_slots")
        if not self.limited:
            return found
        ours = [other for other in model.held.values() if other.party == asked.party]
        same = [other for other in ours if other.key == asked.key]
        if asked.key and len(same) >= (model.limits.get("per_key") or 1):
            found.add("lane_key")
        if len(ours) >= (model.limits.get("per_tenant") or 10**9):
            found.add("lane_tenant")
        for unit, count in asked.units.items():
            used = sum(other.units.get(unit, 0) for other in model.held.values())
            if used + count > model.limits.get("resources", {}).get(unit, 0):
                found.add("lane_units")
        if self._tokens_short(asked.cost, now_ns):
            found.add("lane_rate")
        return found

    def _tokens_short(self, cost: float, now_ns: int) -> bool:
        model = self.model
        if "rate" not in model.limits:
            return False
        per_second, burst, kind = model.limits["rate"]
        most = 1.0 if kind == "leaky_bucket" else float(burst)
        dropped = (now_ns - model.level_ns) / 1e9 * per_second
        level = min(most, model.level + dropped) if model.level_ns else most
        return level < (most if kind == "leaky_bucket" else min(cost, most)) - TOLERANCE

    def ahead(self, task: str) -> int:
        """Return how many are before a task in a lane that orders by priority and arrival."""
        place = self._place(task)
        return sum(self._place(other) < place for other in self.model.waiting)

    def _place(self, task: str) -> tuple[int, int]:
        asked = self.model.waiting[task]
        rank = self.came[task] - asked.priority * AGEING_NS
        return rank, -asked.order if asked.head else asked.order

    def surely_ahead(self, task: str) -> int:
        """Return how many of its party are before it whatever ageing does."""
        asked = self.model.waiting[task]
        return sum(
            other.party == asked.party
            and other.priority >= asked.priority
            and other.order < asked.order
            for other in self.model.waiting.values()
            if not asked.head
        )


class _Model:
    """Everything said so far, durable or on its way there."""

    def __init__(self, world: World) -> None:
        self.streams: dict[str, list[Entry]] = defaultdict(list)
        for name, entries in world.history.streams.items():
            self.streams[name] += entries
        self.ended = set(world.history.ended)
        self.poisoned = set(world.history.poisoned)
        self._bugs = bool(world.options.rate("bug"))
        for partition, dispatcher in enumerate(world.node.dispatchers):
            for batch in dispatcher.turns.in_flight:
                if batch.frame is not None and batch.frame.last > world.history._last[partition]:
                    self._take(partition, batch.frame.data)
        self._lanes = {name: LaneModel(name, found) for name, found in self.of_kind("lane")}

    def _take(self, partition: int, data: bytes) -> None:
        frame = decode_frame(data)
        for number, cause, fact in frame.facts():
            decoded = FACTS.decode(fact.type, fact.version, fact.data)
            entry = Entry(partition, number, frame.header.time_ns, cause, fact, decoded)
            self.streams[fact.stream].append(entry)
            if fact.type == "partition.stream_poisoned":
                self.poisoned.add(decoded.stream)
            if fact.type in ("run.completed", "run.failed", "run.cancelled"):
                self.ended.add(fact.stream.partition("/")[2])

    def of_kind(self, kind: str) -> list[tuple[str, list[Entry]]]:
        """Return the streams of a kind that have facts."""
        return [(n, e) for n, e in list(self.streams.items()) if n.startswith(f"{kind}/") and e]

    def check(self, run_id: str, plan: Plan, index: int, reason: Reason, now_ns: int) -> None:
        """Compare the reason of one task with what the facts say."""
        task = plan.tasks[index]
        stream, where = f"task/{run_id}/{task.id}", f"{run_id}/{task.id}: {reason}"
        assert reason.subject == stream, where
        own = [e for e in self.streams.get(stream, []) if e.fact.type not in ASIDE]
        above = self.streams[f"workflow/{run_id}"]
        if HOLDS & {entry.fact.type for entry in (*own, *above)}:
            return  # what stands still, or went on after that, is not modelled
        if _begun(own) and reason.kind not in (*MESSAGES, "ended", "dependency", "run_stopping"):
            assert reason.since_ns == own[-1].time_ns, where
        if self._bugs and (reason.kind in ("nothing", "given_up") or reason.lost):
            return  # a bug may lose a message
        over = self._over(run_id)
        unmet = {plan.tasks[need].id for need in task.needs} - set(over)
        if task.id in over:
            expected: tuple[str, ...] = ("ended",)
        elif not _begun(own) and reason.kind in ("dependency", "run_stopping"):
            stopping = self._is_stopping(run_id, plan)
            assert (reason.kind == "run_stopping") == stopping, where
            assert stopping or set(reason.details["needs"]) <= unmet, where
            assert stopping or reason.details["unmet"] == len(unmet) > 0, where
            expected = (reason.kind,)
        elif plan.mapped is not None and not own and reason.kind == "state":
            assert task.index >= len(over) + plan.mapped.foreach.parallel, where
            expected = ("state",)
        elif not own or own[-1].fact.type in ENDS:
            assert own or not unmet, where
            expected = MESSAGES
        else:
            expected = self._of_its_own(own, reason, now_ns)
        assert reason.kind in expected, f"{where}, not {expected}"

    def _over(self, run_id: str) -> dict[str, str]:
        found = {}
        for entry in self.streams[f"workflow/{run_id}"]:
            if entry.fact.type == "run.task_ended":
                found[entry.decoded.task] = entry.decoded.status
            elif entry.fact.type == "run.tasks_skipped":
                found |= dict.fromkeys(entry.decoded.tasks, "skipped")
        return found

    def _is_stopping(self, run_id: str, plan: Plan) -> bool:
        types = {entry.fact.type for entry in self.streams[f"workflow/{run_id}"]}
        failed = list(self._over(run_id).values()).count("failed")
        most = 0 if plan.on_failure != "continue" else len(plan.tasks)
        if plan.mapped is not None and plan.mapped.foreach.failures_max is not None:
            most = plan.mapped.foreach.failures_max
        return bool(types & {"run.cancel_requested", "run.timed_out"}) or failed > most

    def _of_its_own(self, own: list[Entry], reason: Reason, now_ns: int) -> tuple[str, ...]:
        """Return the kinds that the last fact of a task that has not ended leads to."""
        last, kind = own[-1], own[-1].fact.type
        if kind in QUEUED or kind in ("task.attempt_lost", "task.joined"):
            return self._asking(own, reason, now_ns)
        if kind in ("task.waiting", "task.attempt_slept", "task.awaiting"):
            awaits = ("spawned", *MESSAGES) if getattr(last.decoded, "awaited", None) else ()
            is_due = reason.until_ns == last.decoded.due_ns
            assert reason.kind in (*MESSAGES, *awaits) or is_due, reason
            signal = getattr(last.decoded, "signal", None)
            asked = ("signal" if signal else "approval", *MESSAGES)
            return ("timer", *awaits) if signal is None else asked
        if kind == "task.attempt_failed":
            assert reason.until_ns == last.decoded.retry_due_ns, reason
            return ("backoff",)
        if kind == STARTED:
            assert reason.kind in MESSAGES or reason.since_ns == last.time_ns, reason
            return ("running", *MESSAGES)
        if kind == CHILD:
            assert reason.details["run_id"] == plain_id(last.decoded.run_id), reason
            return ("child_run",)
        return AT_LAST[kind]

    def _asking(self, own: list[Entry], reason: Reason, now_ns: int) -> tuple[str, ...]:
        """Return what a task waits for that asked for its key, or for a slot."""
        last, kind = own[-1], own[-1].fact.type
        if kind == "task.scheduled" and last.decoded.collect:
            return ("collect", *MESSAGES)
        if kind == "task.joined" or (kind == "task.scheduled" and last.decoded.unique):
            return ("unique", *MESSAGES)
        return self._queued(own, reason, now_ns)

    def _queued(self, own: list[Entry], reason: Reason, now_ns: int) -> tuple[str, ...]:
        """Compare what holds a task up in its lane."""
        stream = own[0].fact.stream
        lane = self._lanes.get(lane_taken(own))
        if lane is None or stream not in lane.model.waiting:
            inside = [each.kind for each in reason.because]
            blocked = self._is_blocked(stream)
            full = {"lane_full"} if blocked else set()
            assert reason.kind != "lane" or set(inside) <= {*MESSAGES, "given_up", *full}, reason
            return ("lane", *MESSAGES)
        if reason.kind in MESSAGES:
            return MESSAGES  # the lane's refusal is on its way
        if self._bugs and any(each.kind == "given_up" for each in reason.because):
            return ("lane",)  # a bug ended the lane, and nothing of it is said in its own stream
        found = {
            each.kind
            for each in reason.because
            if each.kind != "lane_rate" or each.until_ns - now_ns > NEAR_NS
        }
        unsure = {"lane_rate"} if lane.rate_changed else set()
        assert lane.kinds(stream, now_ns) - unsure == (found & LIMITS) - unsure, reason
        ahead = [e.details["ahead"] for e in reason.because if e.kind == "lane_order"]
        if lane.limited:
            assert sum(ahead) >= lane.surely_ahead(stream), reason
        else:
            assert sum(ahead) == lane.ahead(stream), (reason, lane.ahead(stream))
        for each in reason.because:
            self._holders(lane, each)
        return ("lane",)

    def _is_blocked(self, stream: str) -> bool:
        """Tell whether a task is held back by its run, as a lane is full."""
        _, run_id, task = stream.split("/", 2)
        blocked = False
        for entry in self.streams[f"workflow/{run_id}"]:
            kind = entry.fact.type
            if kind in ("run.tasks_blocked", "run.tasks_unblocked") and task in entry.decoded.tasks:
                blocked = kind == "run.tasks_blocked"
        return blocked

    def _holders(self, lane: LaneModel, reason: Reason) -> None:
        names = {holder.task for holder in reason.holders}
        assert names <= {keeper_of(slot)[0] for slot in lane.model.held}, reason
        if reason.kind == "lane_slots":
            assert reason.details["held"] == len(lane.model.held), reason
