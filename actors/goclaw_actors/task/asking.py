"""How a task asks a lane for its slot, and goes where a full one sends it."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Final

from goclaw_actors.adjusting import LeaveQueue
from goclaw_actors.decider import NOTHING, Decision, Moment, Send
from goclaw_actors.lending import Enqueue, ReturnRoom
from goclaw_actors.task.state import SCHEDULED, Task, evolve
from goclaw_actors.task.terms import adjusted, moves
from goclaw_events.envelope import maker
from goclaw_events.facts import TaskRedirected
from goclaw_events.ids import lane_stream, owner_stream

if TYPE_CHECKING:
    from goclaw_actors.contents import Contents
    from goclaw_actors.messages import AskAgain, ScheduleTask, SlotRedirected
    from goclaw_events.plan import PlannedTask
    from goclaw_events.value import BlobRef

_SEND: Final = maker(Send, 4)
_ENQUEUE: Final = maker(Enqueue, 10)


class Asking:
    """What a task asks its lane, given the plans that tasks refer to."""

    def __init__(self, contents: Contents) -> None:
        self.contents = contents

    def planned(self, task: Task, definition: BlobRef | None = None) -> PlannedTask:
        """Return the task as its plan has it, and as it was adjusted.

        `definition`: of one that was not scheduled yet.
        """
        ref = definition or task.definition
        assert ref is not None, "a task that runs was scheduled"
        plan = self.contents.plan(ref)
        planned = plan.tasks[plan.index[task.task_id]]
        return adjusted(planned, task.adjusted) if task.adjusted else planned

    def redirect(self, task: Task, message: SlotRedirected, _moment: Moment) -> Decision:
        """Ask the lane that a full one named."""
        if task.status != SCHEDULED or moves(task) or task.leaving:
            return NOTHING  # it goes where somebody wants it to, or an earlier generation is meant
        fact = TaskRedirected(message.lane)
        evolve(asks := copy(task), fact)
        return Decision((fact,), (self.enqueue(asks, asks, self.planned(task), at_head=False),))

    def ask_again(self, task: Task, message: AskAgain, _moment: Moment) -> Decision:
        """Take the place that the lane keeps for the task, or give it back."""
        stays = not (moves(task) or task.leaving)
        if task.status == SCHEDULED and task.lane == message.lane and stays:
            enqueue = self.enqueue(task, task, self.planned(task), at_head=False)
            let_in = enqueue.body._replace(let_in=True)
            return Decision((), (enqueue._replace(body=let_in),))
        back = ReturnRoom(owner_stream(task.run_id), 1)
        return Decision((), (Send(lane_stream(message.lane), back),))

    def enqueue(
        self, task: Task, said: Task | ScheduleTask, planned: PlannedTask, *, at_head: bool
    ) -> Send:
        """Return what asks the lane for a slot; `said` is what knows the lane and for whom.

        First the lane has to let go that an earlier generation asked: what that one was lent could
        be taken for the answer (docs/adr/0018).
        """
        if task.leaving:
            return leave(task, task.leaving)
        slot, ref = planned.slot, said.definition
        shared = said.lane.startswith("/")
        workflow = self.contents.plan(ref).name if shared and ref is not None else ""
        whose = (task.stream, said.priority, at_head, said.tenant, workflow, said.key)
        what = (slot.units, slot.cost, task.hops, False)
        asks = _ENQUEUE(whose + what)
        return _SEND((lane_stream(said.lane), asks, False, False))


def leave(task: Task, lane: str) -> Send:
    """Return what lets the task out of the queue of a lane."""
    return Send(lane_stream(lane), LeaveQueue(task.stream))
