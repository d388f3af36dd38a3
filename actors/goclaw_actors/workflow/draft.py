"""What a run would be after the facts of the turn being decided: the run itself stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.decider import Send
from goclaw_actors.lending import LeaveRoom
from goclaw_actors.messages import CancelTask, ScheduleMore, StopMore
from goclaw_actors.orders import TENANT, Orders
from goclaw_actors.signalling import EndSignals
from goclaw_actors.statuses import (
    ACTIVE,
    BLOCKED,
    CANCELLED,
    COMPLETED,
    ENDED_AS,
    FAILED,
    PENDING,
    SKIPPED,
)
from goclaw_actors.workflow.letters import edited
from goclaw_actors.workflow.mail import left_from
from goclaw_actors.workflow.path import kept_from
from goclaw_actors.workflow.state import (
    CANCELLING,
    FAILING,
    NEEDS_FAILED,
    RUNNING,
    TIMEOUT,
    Run,
    forgives,
    skipped_as,
)
from goclaw_actors.workflow.window import gives_up, kept_error, result_of_items
from goclaw_events.conditions import evaluate
from goclaw_events.envelope import maker
from goclaw_events.errors import CodedError
from goclaw_events.facts import (
    LetterLeft,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunSubmitted,
    RunTimedOut,
    TaskEnded,
    TasksSkipped,
)
from goclaw_events.ids import lane_stream, task_stream, workflow_stream

if TYPE_CHECKING:
    from goclaw_actors.blocked import Blocked
    from goclaw_actors.contents import Contents
    from goclaw_actors.decider import Moment
    from goclaw_events.plan import Plan
    from goclaw_events.value import Value

_SEND: Final = maker(Send, 4)
SENDS_MAX: Final = 256
SKIPS_MAX: Final = 1_000
FACTS_MAX: Final = 256
MORE_TASKS_MAX: Final = 8_192
CONDITION: Final = "condition"
NEEDS_SKIPPED: Final = "needs_skipped"
_BROKEN: Final = frozenset({FAILED, CANCELLED, BLOCKED})
_ONLY_SKIPPED: Final = frozenset({SKIPPED})


class Draft(Orders):
    """The facts and messages of one turn, and the run as those facts will make it."""

    __slots__ = (
        "_next_item", "_ready", "_unblocked", "active", "changing", "children", "contents",
        "deadline_ns", "definition", "depth", "ended_as", "error", "facts", "first_failed", "held",
        "input", "items_failed", "moment", "parent", "plan", "reason", "result", "results", "run",
        "sends", "status", "statuses", "tenant", "unmet",
    )  # fmt: skip

    run: Run

    def __init__(self, run: Run, plan: Plan, contents: Contents, moment: Moment) -> None:
        self.run = run
        self.plan = plan
        self.contents = contents
        self.moment = moment
        self.facts: list[Any] = []
        self.sends: list[Send] = []
        self.status = run.status
        self.statuses: dict[int, int] = {}
        self.unmet: dict[int, int] = {}
        self.results: dict[int, Value] = {}
        self.active = run.active
        self.first_failed = run.first_failed
        self.definition = run.definition
        self.input: Value = run.input
        self.reason = run.reason
        self.parent = run.parent
        self.depth = run.depth
        self.deadline_ns = run.deadline_ns
        self.children = run.children
        self.tenant = run.labels.get(TENANT, "")
        self.held = run.held
        self.changing = run.path is not None and run.path.changing is not None
        self.ended_as: str | None = None
        self.result: Value = None
        self.error: tuple[str, str, str] | None = None
        self.items_failed = 0 if run.window is None else run.window.failed
        self._next_item = 0 if run.window is None else run.window.after
        self._ready: list[int] = []
        self._unblocked: dict[str, int] = {}

    def begin(self, submitted: RunSubmitted) -> None:
        """Take the roots of a run that is submitted in this turn as active."""
        self.facts.append(submitted)
        self.definition = submitted.definition
        self.input = submitted.input
        self.parent = submitted.parent
        self.depth = submitted.depth
        self.deadline_ns = submitted.deadline_ns
        self.children = submitted.children
        self.tenant = submitted.labels.get(TENANT, "")
        self.status = RUNNING
        self.statuses = dict.fromkeys(self.plan.roots, ACTIVE)
        self.active = len(self.plan.roots)

    def take_ready(self) -> list[int]:
        """Return the tasks that became active in this turn and were not looked at yet."""
        ready, self._ready = self._ready, []
        return ready

    def end_task(self, index: int, fact: TaskEnded) -> None:
        """Record that a task ended, and follow the failure policy."""
        self.facts.append(fact)
        status = ENDED_AS[fact.status]
        if status == COMPLETED:
            self.results[index] = fact.result
        elif status == FAILED:
            self._note_failure(index, fact)
        if self.run.blocked is not None:
            self._leave_room(self.run.blocked, index)
        self._settle(index, status)

    def _note_failure(self, index: int, fact: TaskEnded) -> None:
        if self.first_failed is None:
            code, message = fact.error or ["", ""]
            self.first_failed = (fact.task, code, message)
        self.items_failed += 1
        kept = kept_error(self.plan, fact.error)
        if kept is not None:
            self.results[index] = kept
        if self.status == RUNNING and gives_up(self.plan, self.items_failed):
            self.status = FAILING
            let_finish = self.plan.on_failure == "let_finish"
            reason = f"task {fact.task} failed"
            self.stop(reason, queued_only=let_finish, graceful=not let_finish)

    def _leave_room(self, blocked: Blocked, index: int) -> None:
        """Have a lane told that the run waits no more, if the last task held back for it ends."""
        lane = blocked.lane_of(index)
        if lane is None:
            return
        ended = self._unblocked[lane] = self._unblocked.get(lane, 0) + 1
        if ended == blocked.counts[lane]:
            stream = workflow_stream(self.run.run_id)
            self.sends.append(Send(lane_stream(lane), LeaveRoom(stream)))

    def _settle(self, index: int, status: int) -> None:
        self.statuses[index] = status
        self.active -= 1
        if self.plan.mapped is not None:
            self._begin_next_item(self.plan.mapped.items)
            return
        unmet, known = self.unmet, self.run.unmet or self.plan.needs_count
        for dependent in self.plan.tasks[index].dependents:
            left = unmet.get(dependent)
            left = (known[dependent] if left is None else left) - 1
            unmet[dependent] = left
            if left == 0 and self.status == RUNNING:
                self.statuses[dependent] = ACTIVE
                self.active += 1
                self._ready.append(dependent)

    def _begin_next_item(self, count: int) -> None:
        """Make the next item active in the place of one that ended."""
        if self.status != RUNNING:
            return
        index, known, fresh = self._next_item, self.run.statuses, self.statuses
        while index < count and (index in fresh or (known and known[index] != PENDING)):
            index += 1
        self._next_item = index
        if index < count:
            self.statuses[index] = ACTIVE
            self.active += 1
            self._ready.append(index)

    def schedule(self, tasks: list[int]) -> None:
        """Start the tasks that may run, skip those that may not, and what follows from it.

        A run that is being stopped schedules nothing, nor does one that stands still: it does that
        when it is resumed.
        """
        if not tasks or self.held or self.changing:
            return
        skipped: dict[str, list[int]] = {}
        waiting = list(reversed(tasks))
        skips = 0
        while waiting and self.status == RUNNING:
            if len(self.sends) >= SENDS_MAX or len(self.facts) >= FACTS_MAX or skips >= SKIPS_MAX:
                self._postpone(waiting)
                break
            index = waiting.pop()
            known = self.statuses.get(index)
            if (self.run.statuses[index] if known is None else known) != ACTIVE:
                continue
            reason = self._start(index)
            if reason:
                skips += 1
                skipped.setdefault(reason, []).append(index)
                self._settle(index, skipped_as(reason))
                self._take_leave(index, f"the task was skipped: {reason}")
                self._flush(skipped)
            if self._ready:
                waiting.extend(reversed(self.take_ready()))

    def _take_leave(self, index: int, reason: str) -> None:
        """Let a task that does not begin decline what was said to it."""
        if self.run.told is not None and index in self.run.told:
            stream = task_stream(self.run.run_id, self.plan.tasks[index].id)
            self.sends.append(Send(stream, EndSignals(reason)))

    def _flush(self, skipped: dict[str, list[int]]) -> None:
        """Turn what was skipped into a fact at once: later facts build on it."""
        for reason, tasks in skipped.items():
            ids = [self.plan.tasks[index].id for index in tasks]
            last = self.facts[-1] if self.facts else None
            if isinstance(last, TasksSkipped) and last.reason == reason:
                last.tasks.extend(ids)
            else:
                self.facts.append(TasksSkipped(ids, reason))
        skipped.clear()

    def _postpone(self, waiting: list[int]) -> None:
        rest = waiting[::-1]
        stream = workflow_stream(self.run.run_id)
        for at in range(0, len(rest), MORE_TASKS_MAX):
            self.sends.append(Send(stream, ScheduleMore(rest[at : at + MORE_TASKS_MAX])))

    def _start(self, index: int) -> str:
        """Send a ready task its schedule, or return why it is skipped."""
        task = self.plan.tasks[index]
        path = self.run.path
        if path is not None and index in path.skips:
            how, self.results[index] = path.skips[index]
            return str(how)
        if task.needs:
            ended = {self.status_of(need) for need in task.needs}
            if not ended.isdisjoint(_BROKEN):
                return NEEDS_FAILED
            if ended == _ONLY_SKIPPED:
                return NEEDS_SKIPPED
        try:
            if task.when is not None and not evaluate(task.when, self.scope(index).load):
                return CONDITION
            stream = task_stream(self.run.run_id, task.id)
            known = self.run.was_held or self.run.path is not None
            known = known or (self.run.told is not None and index in self.run.told)
            self.sends.append(_SEND((stream, self.order(index), not known, False)))
        except CodedError as error:
            self.end_task(index, self._unbegun(index, error))
            self._take_leave(index, f"the task could not begin: {error.code}")
        return ""

    def _unbegun(self, index: int, error: CodedError) -> TaskEnded:
        said = [error.code, str(error)]
        return TaskEnded(self.plan.tasks[index].id, self.generation(index), "failed", None, said)

    def generation(self, index: int) -> int:
        """Return in which generation a task is; its first is 0."""
        path = self.run.path
        return 0 if path is None else path.generations.get(index, 0)

    def order(self, index: int) -> Any:
        """Return what begins a task, with what somebody changed of it when it was redriven."""
        order = super().order(index)
        return order if self.run.letters is None else edited(self.run, index, order, self.contents)

    def die(self, index: int, generation: int) -> None:
        """Wait for a dead letter; a run that is being stopped does not."""
        task = self.plan.tasks[index].id
        if self.status != RUNNING:
            stream = task_stream(self.run.run_id, task)
            body = CancelTask(f"the run is {self.status}", generation=generation)
            self.sends.append(Send(stream, body))
        elif self.run.letters is None or index not in self.run.letters.dead:
            self.facts.append(LetterLeft(task, generation))

    def status_of(self, index: int) -> int:
        """Return what the run will know of a task."""
        known = self.statuses.get(index)
        return self.run.statuses[index] if known is None else known

    def result_of(self, index: int) -> Value:
        """Return the kept result of a task; None where there is none."""
        if index in self.results:
            return self.results[index]
        return self.run.results.get(index)

    def stop(self, reason: str, *, queued_only: bool = False, graceful: bool = False) -> None:
        """Have active tasks told to stop, in a turn of its own that sees what this one did."""
        self._go_on_stopping(StopMore(0, reason, queued_only, graceful))

    def _go_on_stopping(self, message: StopMore) -> None:
        self.sends.append(Send(workflow_stream(self.run.run_id), message))

    def stop_from(self, message: StopMore) -> None:
        """Tell active tasks to stop, from a plan index on."""
        start, reason, queued_only, graceful = message
        statuses = self.run.statuses
        index = statuses.find(ACTIVE, start)
        while index >= 0:
            if len(self.sends) == SENDS_MAX:
                self._go_on_stopping(message._replace(start=index))
                break
            stream = task_stream(self.run.run_id, self.plan.tasks[index].id)
            body = CancelTask(reason, queued_only, self.generation(index), graceful)
            self.sends.append(Send(stream, body))
            index = statuses.find(ACTIVE, index + 1)

    def conclude(self) -> None:
        """Add the fact that ends the run once nothing of it is active."""
        if self.active or (self.changing and self.status == RUNNING):
            return
        self.facts += (*kept_from(self.run, self.status), *left_from(self.run))
        if self.status == CANCELLING:
            self.ended_as = "cancelled"
            self.facts.append(RunCancelled(self.reason))
        elif self.first_failed is not None and not self._is_forgiven():
            task, code, message = self.first_failed
            self._fail(code, message, task)
        else:
            try:
                self.result = self._result()
            except CodedError as error:
                self._fail(error.code, f"the output could not be made: {error}", "")
                return
            self.ended_as = "completed"
            self.facts.append(RunCompleted(self.result))

    def _is_forgiven(self) -> bool:
        """Tell whether what failed are items of a list of which some may."""
        return forgives(self.plan, self.status)

    def time_out(self, message: str) -> None:
        """Fail the run because its time is over; what is active is stopped."""
        self.facts.append(RunTimedOut(message))
        if self.first_failed is None or self._is_forgiven():
            self.first_failed = ("", TIMEOUT, message)
        self.status = FAILING
        self.stop(message)

    def _fail(self, code: str, message: str, task: str) -> None:
        self.ended_as = "failed"
        self.error = (code, message, task)
        self.facts.append(RunFailed(code, message, task))

    def _result(self) -> Value:
        plan = self.plan
        if plan.mapped is not None:
            return result_of_items(plan, self.status_of, self.result_of)
        if plan.output is not None:
            return self.render(plan.output, None)
        if len(plan.sinks) == 1:
            return self.result_of(plan.sinks[0])
        return {plan.tasks[sink].id: self.result_of(sink) for sink in plan.sinks}
