"""How a task answers who changes the way in which it is run, before it has ended.

What changes holds from now on; what waits for a slot changes its place: in the lane where it is it
is ranked anew, and another lane it asks when it has left the one that it is in. An attempt that
runs has its slot for good, and hears of its time.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.adjusting import LimitRun, Rerank
from goclaw_actors.decider import NOTHING, Accepted, ClearTimer, Decision, Refused, Send, SetTimer
from goclaw_actors.messages import POISONED
from goclaw_actors.task import hearing, holding, terms
from goclaw_actors.task.asking import leave
from goclaw_actors.task.ending import TOTAL, UNREADY
from goclaw_actors.task.limits import left_s
from goclaw_actors.task.state import (
    ATTEMPTED,
    CHILD,
    ENDING,
    OVER,
    RETRYING,
    SCHEDULED,
    Task,
    evolve,
    is_queued,
)
from goclaw_actors.task.stopping import slot_refused
from goclaw_actors.work import AttemptToken, Limit, TellAttempt
from goclaw_events.facts import TaskAdjusted, TaskMoved
from goclaw_events.ids import owner_stream

if TYPE_CHECKING:
    from collections.abc import Collection

    from goclaw_actors.adjusting import AdjustTask, LeftQueue
    from goclaw_actors.decider import Moment
    from goclaw_actors.messages import SlotRefused
    from goclaw_actors.task.asking import Asking
    from goclaw_events.plan import PlannedTask

_NOWHERE: Final = (RETRYING, *UNREADY)
"""States of a task that is in no lane, and will ask one."""
_OF_TIME: Final = frozenset({terms.TIMEOUT_S, terms.DEADLINE_NS})
_OF_SLOTS: Final = frozenset({terms.LANE, terms.PRIORITY})


class Adjusting:
    """What follows, given what tasks ask of lanes."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def adjust(self, task: Task, message: AdjustTask, moment: Moment) -> Decision:
        """Take a change in, or say why not."""
        unbegun = hearing.refused_unbegun(task, message)
        if unbegun is not None:
            return Decision(reply=unbegun)
        refused = _refusal(task, message, self._asking.planned(task, message.definition), moment)
        if refused is not None:
            return Decision(reply=refused)
        fact = TaskAdjusted(message.signal, message.changes, message.sender)
        evolve(after := copy(task), fact)
        decision = self._follows(task, after, message.changes, moment)
        facts = (fact, *decision.facts)
        return Decision(facts, decision.sends, decision.effects, Accepted(message.signal))

    def _follows(
        self, task: Task, after: Task, changes: Collection[str], moment: Moment
    ) -> Decision:
        """Return what changes lead to; `after` is the task with them."""
        facts, sends = self._queued(task, after)
        effects: list[Any] = []
        if after.total_due_ns != task.total_due_ns:
            effects += [ClearTimer(TOTAL, task.total_due_ns)] if task.total_due_ns else []
            effects += [SetTimer(TOTAL, after.total_due_ns)] if after.total_due_ns else []
        if task.status in ATTEMPTED and not _OF_TIME.isdisjoint(changes):
            effects += tell_limit(after, self._asking.planned(after), moment)
        if (task.status == CHILD or holding.is_held_child(task)) and after.ends_ns:
            sends = [*sends, Send(owner_stream(task.child_run), LimitRun(after.ends_ns))]
        return Decision(facts, sends, effects)

    def _queued(self, task: Task, after: Task) -> tuple[list[TaskMoved], list[Send]]:
        """Return what changes the place of a task that waits for a slot, or is to."""
        if task.status in _NOWHERE:
            return ([TaskMoved(terms.wanted_lane(after))] if terms.moves(after) else []), []
        if not is_queued(task) or task.leaving:
            return [], []  # it asks as it is by then
        if terms.moves(after):
            return [], [leave(task, task.lane)]
        if after.priority == task.priority or terms.moves(task):
            return [], []
        planned = self._asking.planned(after)
        enqueue = self._asking.enqueue(after, after, planned, at_head=task.attempt > 0)
        return [], [enqueue._replace(body=Rerank(*enqueue.body[: len(Rerank._fields)]))]

    def left(self, task: Task, message: LeftQueue, _moment: Moment) -> Decision:
        """Ask the lane that somebody chose, or anew, now that the task is in no other."""
        if message.lane != (task.leaving or task.lane) or not is_queued(task):
            return NOTHING
        return self._ask_there(task)

    def refused(self, task: Task, message: SlotRefused, moment: Moment) -> Decision:
        """Ask the lane that somebody chose where the other one refuses; else fail."""
        if task.leaving and message.reason != POISONED:
            return NOTHING  # an earlier generation is meant
        if task.status == SCHEDULED and terms.moves(task):
            return self._ask_there(task)
        return slot_refused(task, message, moment)

    def _ask_there(self, task: Task) -> Decision:
        fact = TaskMoved(terms.wanted_lane(task))
        evolve(there := copy(task), fact)
        if task.status != SCHEDULED:
            return Decision((fact,))  # it asks when it is resumed
        planned = self._asking.planned(there)
        asks = self._asking.enqueue(there, there, planned, at_head=task.attempt > 0)
        return Decision((fact,), (asks,))


def tell_limit(task: Task, planned: PlannedTask, moment: Moment) -> list[TellAttempt]:
    """Return what tells the attempt that runs how long it may take, as things stand now."""
    left, which = left_s(task, None, moment.now_ns)
    token = AttemptToken(moment.partition, moment.era, task.token)
    return [TellAttempt(token, Limit(planned.timeout_s, left, which))]


def _refusal(
    task: Task, message: AdjustTask, planned: PlannedTask, moment: Moment
) -> Refused | None:
    """Return why a change is not taken in; None: it is."""
    name = f"task {task.task_id} of run {task.run_id}"
    if task.status in OVER or task.status == ENDING:
        over = f"is {task.status} already"
        if task.status == ENDING:
            over = "waits for what it spawned, and is not run any more"
        return Refused("task_finished", f"{name} {over}")
    if planned.kind in ("wait", "wait_for", "approval"):
        text = f"{name} is of kind {planned.kind}, which has nothing to adjust"
        return Refused("signal_unsupported", text)
    if not planned.lane and not _OF_SLOTS.isdisjoint(message.changes):
        text = f"{name} takes no slot of a lane: it has no lane and no priority"
        return Refused("signal_unsupported", text)
    if not message.changes.get(terms.LANE, planned.lane or "none"):
        return Refused("signal_invalid", "a lane has a name")
    deadline_ns = message.changes.get(terms.DEADLINE_NS, 0)
    if 0 < deadline_ns <= moment.now_ns:
        return Refused("signal_invalid", "the deadline is over already")
    return None
