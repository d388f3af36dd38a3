"""How a task begins an attempt, or the run that it stands for."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.decider import Decision, Moment, OpenAttempt, Send, SetTimer
from goclaw_actors.lending import Release
from goclaw_actors.task import child, hearing, terms
from goclaw_actors.task.asking import leave
from goclaw_actors.task.ending import cleared, end, release, time_out
from goclaw_actors.task.limits import QUEUE, after_ns, left_s, overdue
from goclaw_actors.task.state import SCHEDULED, Task, evolve
from goclaw_actors.work import AttemptToken, StartAttempt
from goclaw_events.envelope import maker
from goclaw_events.errors import CodedError
from goclaw_events.facts import AttemptStarted, ChildStarted, TaskFailed, TaskMoved, TaskRequeued
from goclaw_events.ids import lane_stream
from goclaw_events.value import BlobRef

if TYPE_CHECKING:
    from goclaw_actors.messages import SlotLeased
    from goclaw_actors.task.asking import Asking
    from goclaw_actors.task.signals import Signals

_DECISION: Final = maker(Decision, 4)
_TOKEN: Final = maker(AttemptToken, 3)
_STARTED: Final = maker(AttemptStarted, 3)
_OPEN: Final = maker(OpenAttempt, 4)
_START: Final = maker(StartAttempt, 17)
_RUN_AS: Final = {"collect": "agent"}
"""Kinds of work that are another one where they run."""
LEASE_S: Final = 30.0
"""Of an attempt that need not give signs of life."""


class Attempts:
    """What begins, given how tasks ask for slots."""

    def __init__(self, asking: Asking) -> None:
        self.asking = asking

    def start(self, task: Task, message: SlotLeased, moment: Moment) -> Decision:
        """Begin with the slot that the lane gave, or give it back."""
        if task.leaving and task.status == SCHEDULED:  # an earlier generation asked for it
            back = Send(lane_stream(message.lane or task.leaving), Release(task.stream))
            return Decision((), (back, leave(task, task.leaving)))
        if message.lane not in ("", task.lane):
            return Decision((), (Send(lane_stream(message.lane), Release(task.stream)),))
        if task.status != SCHEDULED:
            return Decision((), (release(task),))
        forgotten = cleared((QUEUE, task.queue_due_ns)) if task.queue_due_ns else ()
        if task.child is not None:
            decision = self.start_child(task, moment)
            if isinstance(decision.facts[0], ChildStarted):
                # who waits holds no slot: what runs below may need it
                decision = decision._replace(sends=(release(task), *decision.sends))
            return decision._replace(effects=(*forgotten, *decision.effects))
        if 0 < task.ends_ns <= moment.now_ns:
            return time_out(task, overdue(task, self.asking.planned(task)), slot=True)
        fact, effects = self.begin(task, moment, moment.number, task.signals)
        facts = (fact,) if task.signals is None else (fact, *hearing.overdue(task.signals, moment))
        return _DECISION((facts, (), (*forgotten, *effects), None))

    def again(self, task: Task, moment: Moment) -> Decision:
        """Make another attempt after a backoff, or a sleep."""
        if not task.lane:
            return self.start_child(task, moment)
        moved = (TaskMoved(terms.wanted_lane(task)),) if terms.moves(task) else ()
        if moved:
            evolve(task := copy(task), moved[0])
        planned = self.asking.planned(task)
        asks = self.asking.enqueue(task, task, planned, at_head=True)
        queue_ns = after_ns(moment.now_ns, planned.timeouts.queue_s)
        timers = (SetTimer(QUEUE, queue_ns),) if queue_ns else ()
        fact = TaskRequeued(task.attempt + 1, queue_ns)
        return Decision((*moved, fact), (asks,), timers)

    def start_child(self, task: Task, moment: Moment) -> Decision:
        """Submit the run that the task stands for, or fail if it cannot be."""
        assert task.child is not None, "the run said which"
        plan, depth, children = task.child
        timeout_s = self.asking.planned(task).timeout_s
        order = child.Order(plan, depth, children, task.params, task.ends_ns, timeout_s)
        try:
            fact, send = child.start(task, task.generation, order, self.asking.contents, moment)
        except CodedError as error:
            error_of = [error.code, str(error)]
            return end(task, (TaskFailed(*error_of),), "failed", error=error_of)
        return Decision((fact,), (send,))

    def begin(
        self, task: Task, moment: Moment, number: int, signals: Signals | None
    ) -> tuple[AttemptStarted, tuple[object, ...]]:
        """Start the next attempt; `number` is the position that its fact will take.

        `signals` are what was said to the task as it stands when the attempt starts.
        """
        planned = self.asking.planned(task)
        attempt = task.attempt + 1
        timeout_s, timeout_of = left_s(task, planned.timeout_s, moment.now_ns)
        heartbeat_s = planned.timeouts.heartbeat_s
        token = _TOKEN((moment.partition, moment.era, number))
        start = _START(
            (
                task.stream,
                task.run_id,
                task.task_id,
                task.generation,
                attempt,
                token,
                planned.agent,
                task.params,
                timeout_s,
                _RUN_AS.get(planned.kind, planned.kind),
                timeout_of,
                heartbeat_s,
                task.lane,
                (),
                None,
                () if task.steps is None else task.steps.records(),
                task.hold is not None,
            )
        )
        if signals is not None:
            start = self._with_signals(task, signals, start, moment)
        lease_until_ns = after_ns(moment.now_ns, heartbeat_s or LEASE_S)
        opened = _OPEN((number, attempt, moment.holder, lease_until_ns))
        return _STARTED((attempt, number, moment.holder)), (opened, start)

    def _with_signals(
        self, task: Task, signals: Signals, start: StartAttempt, moment: Moment
    ) -> StartAttempt:
        """Give an attempt what was said to the task: its parameters as they are now, messages."""
        params: Any = task.params
        if signals.patch:
            whole = self.asking.contents.value(params) if isinstance(params, BlobRef) else params
            params = {**(whole or {}), **signals.patch}
        ready = signals.ready(moment.now_ns)
        return start._replace(params=params, signals=ready, state=signals.state)
