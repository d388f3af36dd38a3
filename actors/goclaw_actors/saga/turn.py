"""What a saga would be after the facts of the turn being decided: the saga itself stays as it is.

Back, steps are undone in the reverse order of their needs, side by side where these allow it: a
step is looked at when all that needs it is unwound, and passed over if there is nothing to undo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.compensating import RetryTask
from goclaw_actors.decider import (
    Accepted,
    ClearOpen,
    ClearTimer,
    Decision,
    Refused,
    RunEnded,
    Send,
    SetOpen,
    SetTimer,
)
from goclaw_actors.held_back import left_room
from goclaw_actors.lending import Enqueue, Release, Withdraw
from goclaw_actors.messages import (
    CancelTask,
    ChildEnded,
    ScheduleMore,
    SlotLeased,
    StopMore,
)
from goclaw_actors.orders import TENANT, Orders
from goclaw_actors.saga.scope import SagaScope
from goclaw_actors.saga.state import AWAITING, COMPENSATING, CREATED, RUNNING, Saga
from goclaw_actors.saga.watching import told_watchers
from goclaw_actors.statuses import ACTIVE, COMPLETED, ENDED_AS
from goclaw_actors.task.doubt import COMPENSATION_FAILED
from goclaw_events.errors import CodedError
from goclaw_events.facts import (
    CompensationApproved,
    CompensationAwaited,
    CompensationBegun,
    CompensationRetried,
    SagaAlarmed,
    SagaCompensated,
    SagaCompleted,
    SagaStarted,
    SagaSubmitted,
    StepEnded,
    StepRested,
    StepsUnwound,
)
from goclaw_events.ids import lane_stream, owner_stream, task_stream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from goclaw_actors.contents import Contents
    from goclaw_actors.decider import Moment
    from goclaw_actors.messages import TaskReported
    from goclaw_events.plan import Plan
    from goclaw_events.value import Value

DEADLINE: Final = "deadline"
"""The timer of the deadline that a saga was submitted with."""
TIMEOUT: Final = "timeout"
"""The timer of its own limit; both are for actions only."""
SENDS_MAX: Final = 256
WAS_COMPENSATED: Final = "saga_compensated"
OPEN: Final = "saga"
PERSON: Final = "person"


class Turn(Orders):
    """The facts, messages and effects of one turn."""

    __slots__ = (
        "active", "cause", "children", "contents", "deadline_ns", "definition", "depth", "effects",
        "error", "facts", "failures", "holds", "in_doubt", "input", "left", "limit_ns", "moment",
        "plan", "results", "run", "sends", "status", "statuses", "tenant", "unrest", "unwound",
    )  # fmt: skip
    run: Saga

    def __init__(self, saga: Saga, plan: Plan, contents: Contents, moment: Moment) -> None:
        self.run = saga
        self.plan = plan
        self.contents = contents
        self.moment = moment
        self.definition = saga.definition
        self.input: Value = saga.input
        self.depth = saga.depth
        self.children = saga.children
        self.tenant = saga.labels.get(TENANT, "")
        self.status = saga.status
        # what undoes has all the time it needs
        self.deadline_ns = saga.deadline_ns if saga.status == RUNNING else 0
        self.limit_ns = saga.deadline_ns
        self.holds = saga.holds
        self.cause = saga.cause
        self.error = saga.error
        self.active = saga.active
        self.in_doubt = saga.in_doubt
        self.unrest = saga.unrest
        self.failures = saga.failures
        self.facts: list[Any] = []
        self.sends: list[Send] = []
        self.effects: list[Any] = []
        self.statuses: dict[int, int] = {}
        self.results: dict[int, Value] = {}
        self.left: dict[int, int] = {}
        self.unwound: set[int] = set()

    @property
    def stream(self) -> str:
        """Return the saga's stream."""
        return owner_stream(self.run.run_id)

    def decision(self, reply: Accepted | Refused | None = None) -> Decision:
        """Return what was decided."""
        return Decision(self.facts, self.sends, self.effects, reply)

    def scope(self, index: int | None) -> SagaScope:
        """Return what the templates of a task may read."""
        return SagaScope(self, index)

    def status_of(self, index: int) -> int:
        """Return what the saga will know of a task."""
        known = self.statuses.get(index)
        return self.run.statuses[index] if known is None else known

    def result_of(self, index: int) -> Value:
        """Return the kept result of an action; None where there is none."""
        if index in self.results:
            return self.results[index]
        return self.run.results.get(index)

    # -- forth -----------------------------------------------------------------------------

    def submit(self, submitted: SagaSubmitted) -> None:
        """Take a saga in; it begins when its lane has a slot for it, or at once without one."""
        self.facts.append(submitted)
        self.effects.append(SetOpen(OPEN, submitted.name))
        self.status = CREATED
        if submitted.deadline_ns:
            self.effects.append(SetTimer(DEADLINE, submitted.deadline_ns))
        asks: Any = SlotLeased()
        target = self.stream
        if submitted.lane:
            tenant = submitted.labels.get(TENANT, "")
            asks = Enqueue(self.stream, 0, at_head=False, tenant=tenant, workflow=submitted.name)
            target = lane_stream(submitted.lane)
        self.sends.append(Send(target, asks))

    def start(self) -> None:
        """Begin: what needs nothing runs."""
        given_ns, limit_s = self.run.start_deadline_ns, self.plan.timeout_s
        own_ns = 0 if limit_s is None else self.moment.now_ns + int(limit_s * 1e9)
        if own_ns and (not given_ns or own_ns < given_ns):
            self.effects.append(SetTimer(TIMEOUT, own_ns))
            given_ns = own_ns
        self.deadline_ns = self.limit_ns = given_ns
        self.facts.append(SagaStarted(given_ns))
        self.status = RUNNING
        self.holds = self.run.lane != ""
        first = [step.action for step in self.plan.steps if not step.needs]
        self.statuses = dict.fromkeys(first, ACTIVE)
        self.active = len(first)
        self.schedule(first)

    def schedule(self, tasks: list[int]) -> None:
        """Begin active tasks, so many in a turn; a saga that goes back begins no action."""
        for place, index in enumerate(tasks):
            if len(self.sends) >= SENDS_MAX:
                self.sends.append(Send(self.stream, ScheduleMore(tasks[place:])))
                break
            wanted = self.status == RUNNING or not self.run.is_action(index)
            if wanted and self.status_of(index) == ACTIVE:
                self._begin(index)

    def _begin(self, index: int, *, again: bool = False) -> None:
        """Send a task its order; `again`: it was told before, and did it or never began."""
        task = self.plan.tasks[index]
        try:
            order = self.order(index)
        except CodedError as error:
            said = [error.code, str(error)]
            self.end_task(index, StepEnded(task.id, "failed", None, said, False, False))
        else:
            body = RetryTask(list(order)) if again else order
            self.sends.append(Send(task_stream(self.run.run_id, task.id), body, not again))

    def reported(self, index: int, message: TaskReported) -> None:
        """Take the end of a task."""
        task = self.plan.tasks[index]
        step = self.plan.steps[self.run.shape.step_of[index]]
        doubted = message.in_doubt or (step.in_doubt == "failed" and message.attempts > 0)
        is_doubtful = doubted and message.status != "completed" and index == step.action
        kept = message.result if task.result_read else None
        fact = StepEnded(
            task.id, message.status, kept, message.error, is_doubtful, message.is_running
        )
        self.sends += left_room(self.run, index)
        self.end_task(index, fact)

    def end_task(self, index: int, fact: StepEnded) -> None:
        """Record that a task ended, and what follows: the next ones, or the way back."""
        self.facts.append(fact)
        step = self.run.shape.step_of[index]
        self.statuses[index] = ENDED_AS[fact.status]
        self.active -= 1
        if fact.is_running:
            self.unrest = self.unrest | {index}
        completed = fact.status == "completed"
        if self.plan.steps[step].action != index:
            if completed:
                self.go_back(self._count_off(step))
            else:
                self.failures = {**self.failures, step: fact.error or [fact.status, ""]}
            return
        if completed:
            self.results[index] = fact.result
        if fact.in_doubt:
            self.in_doubt = self.in_doubt | {step}
        if self.status == COMPENSATING:
            self.go_back([step])
        elif completed:
            self._go_on(step)
        else:
            code, message = fact.error or [fact.status, "the action was cancelled"]
            self.turn_back("failed", code, message, fact.task)

    def _go_on(self, step: int) -> None:
        """Begin what needed only this step still."""
        shape, ready = self.run.shape, []
        for dependent in shape.dependents[step]:
            if self.run.unmet[dependent] == 1:
                action = shape.steps[dependent].action
                self.statuses[action] = ACTIVE
                self.active += 1
                ready.append(action)
        self.schedule(ready)

    # -- back ------------------------------------------------------------------------------

    def turn_back(
        self,
        cause: str,
        code: str,
        message: str,
        step: str,
        by: str = "",
        *,
        approved: bool = False,
    ) -> None:
        """Go back from here on: stop what runs, and undo what is done."""
        if self.status == CREATED and self.run.lane:
            self.sends.append(Send(lane_stream(self.run.lane), Withdraw(self.stream)))
        self.facts.append(CompensationBegun(cause, code, message, step, by, approved))
        self.status, self.cause, self.error = COMPENSATING, cause, (code, message, step)
        self.deadline_ns = 0
        self._clear_timers()
        if self.active:
            self.sends.append(Send(self.stream, StopMore(0, message or cause)))
        self.go_back(range(len(self.plan.steps)), approved=approved)

    def _clear_timers(self) -> None:
        given_ns = self.run.start_deadline_ns
        if given_ns:
            self.effects.append(ClearTimer(DEADLINE, given_ns))
        if self.limit_ns not in (0, given_ns):
            self.effects.append(ClearTimer(TIMEOUT, self.limit_ns))

    def stop_from(self, message: StopMore) -> None:
        """Tell active actions to stop, from a plan index on."""
        statuses, index = self.run.statuses, message.start - 1
        while (index := statuses.find(ACTIVE, index + 1)) >= 0:
            if not self.run.is_action(index):
                continue
            if len(self.sends) == SENDS_MAX:
                self.sends.append(Send(self.stream, message._replace(start=index)))
                break
            stream = task_stream(self.run.run_id, self.plan.tasks[index].id)
            self.sends.append(Send(stream, CancelTask(message.reason)))

    def go_back(self, steps: Iterable[int], *, approved: bool = False) -> None:
        """Undo steps, or pass them over, and so on with those that they need.

        Passes over steps whose turn it is not, or that are not to be undone yet.
        """
        compensating: list[int] = []
        passed: list[str] = []
        waiting = [step for step in steps if self._may_unwind(step)]
        while waiting:
            step = waiting.pop()
            if self._is_to_undo(step):
                if self._may_undo(step, approved=approved):
                    compensating.append(step)
            else:
                passed.append(self._name(step))
                waiting += self._count_off(step)
        if not compensating and not passed:
            return
        compensating.sort()
        names = [self._name(step) for step in compensating]
        self.facts.append(StepsUnwound(names, passed))
        self._compensate(compensating)

    def _compensate(self, steps: list[int]) -> None:
        tasks = [self.plan.steps[step].compensation for step in steps]
        self.statuses.update(dict.fromkeys(tasks, ACTIVE))
        self.active += len(tasks)
        self.schedule(tasks)

    def _name(self, step: int) -> str:
        return self.plan.tasks[self.plan.steps[step].action].id

    def _left(self, step: int) -> int:
        known = self.left.get(step)
        return self.run.left[step] if known is None else known

    def _is_unwound(self, step: int) -> bool:
        return step in self.unwound or bool(self.run.unwound[step])

    def _may_unwind(self, step: int) -> bool:
        """Tell whether all that needs a step is unwound, and the step has ended and is not."""
        action = self.plan.steps[step].action
        ended = self.status_of(action) != ACTIVE
        return ended and not self._left(step) and not self._is_unwound(step)

    def _is_to_undo(self, step: int) -> bool:
        planned = self.plan.steps[step]
        if planned.compensation < 0 or planned.policy == "skip":
            return False
        return self.status_of(planned.action) == COMPLETED or step in self.in_doubt

    def _may_undo(self, step: int, *, approved: bool) -> bool:
        """Tell whether a step can be undone now: nothing of it runs, and nobody is asked first."""
        planned = self.plan.steps[step]
        begun = self.status_of(planned.compensation) != 0
        held = planned.policy == "manual" and not (approved or self.run.approved)
        return not (begun or held or planned.action in self.unrest)

    def _count_off(self, step: int) -> list[int]:
        """Take a step as unwound; return the steps whose turn it is then."""
        self.unwound.add(step)
        for need in self.plan.steps[step].needs:
            self.left[need] = self._left(need) - 1
        return [need for need in self.plan.steps[step].needs if self._may_unwind(need)]

    def retry(self, reason: str, by: str) -> None:
        """Try compensations that failed again; of some there is no task yet."""
        steps = sorted(self.failures)
        self.facts.append(CompensationRetried([self._name(step) for step in steps], by, reason))
        self.effects.append(SetOpen(OPEN, self.run.name, replaces=True))
        self.status, self.failures = COMPENSATING, {}
        tasks = [self.plan.steps[step].compensation for step in steps]
        self.statuses.update(dict.fromkeys(tasks, ACTIVE))
        self.active += len(tasks)
        self.unrest = self.unrest - set(tasks)
        for index in tasks:
            self._begin(index, again=True)

    def approve(self, reason: str, by: str) -> None:
        """Undo the steps that a person is asked about."""
        self.facts.append(CompensationApproved(reason, by))
        self.status = COMPENSATING
        self.effects.append(SetOpen(OPEN, self.run.name, replaces=True))
        self.go_back(range(len(self.plan.steps)), approved=True)

    def give_up(self, code: str, message: str) -> None:
        """Take compensations whose end was lost in a bug as failed; have actions stopped again."""
        index = -1
        while (index := self.run.statuses.find(ACTIVE, index + 1)) >= 0:
            if not self.run.is_action(index):
                task = self.plan.tasks[index].id
                self.end_task(index, StepEnded(task, "failed", None, [code, message], False, False))
        self.sends.append(Send(self.stream, StopMore(0, message)))

    def let_go(self, index: int, reason: str) -> None:
        """Have a task that a bug struck end: it may hold a slot that it never heard of."""
        stream = task_stream(self.run.run_id, self.plan.tasks[index].id)
        self.sends.append(Send(stream, CancelTask(reason)))

    def rest(self, task: str) -> None:
        """Go on with a step whose code has ended at last."""
        index = self.plan.index[task]
        self.facts.append(StepRested(task))
        self.unrest = self.unrest - {index}
        if self.status == COMPENSATING:
            self.go_back([self.run.shape.step_of[index]])

    # -- the end ---------------------------------------------------------------------------

    def conclude(self) -> None:
        """Add the fact that ends the saga, or has it wait for a person, once nothing is active."""
        if self.active:
            return
        if self.status == RUNNING:
            self._complete()
        if self.status == COMPENSATING and not self.active:
            self._conclude_back()

    def _complete(self) -> None:
        try:
            result = self._result()
        except CodedError as error:
            self.turn_back("failed", error.code, f"the output could not be made: {error}", "")
            return
        self.facts.append(SagaCompleted(result))
        self._clear_timers()
        self._close("completed", result, None)

    def _result(self) -> Value:
        if self.plan.output is not None:
            return self.render(self.plan.output, None)
        shape = self.run.shape
        sinks = [step.action for at, step in enumerate(shape.steps) if not shape.dependents[at]]
        if len(sinks) == 1:
            return self.result_of(sinks[0])
        return {self.plan.tasks[sink].id: self.result_of(sink) for sink in sinks}

    def _conclude_back(self) -> None:
        left = [step for step in range(len(self.plan.steps)) if not self._is_unwound(step)]
        if not left:
            self.facts.append(SagaCompensated())
            self._close("compensated", None, self.error)
            return
        ready = [step for step in left if not self._left(step)]
        if any(self.plan.steps[step].action in self.unrest for step in ready):
            return
        self._release()
        self.effects.append(SetOpen(PERSON, self.run.name, replaces=True))
        if self.failures:
            failed = [[self._name(step), *error] for step, error in sorted(self.failures.items())]
            names = [self._name(step) for step in left if self._is_to_undo(step)]
            self.facts.append(SagaAlarmed(failed, names))
            self._tell("compensation_failed", None, self.error)
        else:
            self.facts.append(CompensationAwaited([self._name(step) for step in ready]))
            waits = RunEnded(self.run.run_id, AWAITING, None, self.error)
            self.effects.append(waits)  # whoever began it may be the one who has to say so

    def _release(self) -> None:
        if self.holds:
            self.sends.append(Send(lane_stream(self.run.lane), Release(self.stream)))
            self.holds = False

    def _close(self, status: str, result: Value, error: tuple[str, str, str] | None) -> None:
        self._release()
        self.effects.append(ClearOpen())
        self._tell(status, result, error)

    def _tell(self, status: str, result: Value, error: tuple[str, str, str] | None) -> None:
        """Tell whoever waits for the saga."""
        ended = RunEnded(self.run.run_id, status, result, error)
        self.effects.append(ended)
        self.sends += told_parent(self.run.parent, ended, self.cause)
        self.sends += told_watchers(self.run, status)


def told_parent(parent: str, ended: RunEnded, cause: str) -> tuple[Send, ...]:
    """Return what tells the task that a saga is a child of how the saga ended."""
    if not parent:
        return ()
    if ended.status == "completed":
        body = ChildEnded(ended.run_id, ended.status, ended.result, None)
        return (Send(parent, body),)
    code, message, step = ended.error or ("", "", "")
    why = f"{f'step {step}: ' if step else ''}{message or code or cause}"
    if ended.status == "compensated":
        said = [WAS_COMPENSATED, f"{why} [{code}]; it was compensated"]
    elif ended.status == "resolved":
        said = [COMPENSATION_FAILED, f"{why} [{code}]; a person saw to what was left"]
    else:
        said = [COMPENSATION_FAILED, f"{why} [{code}]; compensations failed"]
    return (Send(parent, ChildEnded(ended.run_id, "failed", None, said)),)
