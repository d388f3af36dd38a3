"""How the path of a run is changed: checked whole, then made at once, or when tasks have answered.

What a change takes away may be in a lane, or begin just now: only the task knows. So a change that
touches active tasks waits: `PathChangeAsked` is recorded, nothing of the run starts, each such task
is asked to stand aside (or to stop, where it runs again), and when the last has answered, the
change is made, or given up if one of them had begun. Every step is a fact or a message in an inbox
row, so that a crash at any instant leaves the change where it was.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.decider import NOTHING, Accepted, Decision, Refused, Send
from goclaw_actors.lending import LeaveRoom
from goclaw_actors.messages import CancelTask
from goclaw_actors.pathing import (
    CHANGER,
    REPLACED,
    AskMore,
    ChangePath,
    ConcludeChange,
    DropMore,
    DropTask,
    PathAnswer,
    ScheduleActive,
    ScheduleReady,
    StandAside,
    TellResult,
)
from goclaw_actors.signalling import EndSignals, ResumeWork
from goclaw_actors.statuses import ACTIVE, COMPLETED, PENDING, STATUS_NAMES
from goclaw_actors.workflow.path import Changing, Path
from goclaw_actors.workflow.pathfaults import Faults, cone_of
from goclaw_actors.workflow.state import FINAL, RUNNING, Run
from goclaw_actors.workflow.telling import generation_of, told_of
from goclaw_events.facts import PathChangeAsked, PathChanged, PathKept, PathTaskAnswered
from goclaw_events.ids import lane_stream, task_stream, workflow_stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from goclaw_actors.contents import Contents
    from goclaw_actors.decider import Moment
    from goclaw_events.plan import Plan

ASKED_PER_TURN_MAX: Final = 200
CHANGES_MAX: Final = 1_000
"""So many changes of its path a run remembers; a further one is refused."""
_NO_PATH: Final = Path()


class PathChanges:
    """The decisions about the path of a run."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents

    def change(self, run: Run, message: ChangePath, _moment: Moment) -> Decision:
        """Make a change, or begin it, or say all that speaks against it."""
        path = run.path or _NO_PATH
        known = path.changes.get(message.change)
        if known is not None and known[0] == message.digest:
            return Decision(reply=Accepted(message.change, repeated=True))
        refused = _gone(run) or _of_items(run) or _conflict(run, message)
        refused = refused or self._refusal(run, message)
        if refused is not None:
            return Decision(reply=refused)
        asked = self._asked(run, message)
        if not asked:
            return self._made(run, message, Accepted(message.change))
        assert run.plan is not None, "else it is refused"
        names = [run.plan.tasks[index].id for index in asked]
        fact = PathChangeAsked(message.change, list(message), names)
        more = Send(workflow_stream(run.run_id), AskMore(message.change, 0))
        return Decision((fact,), (more,), (), Accepted(message.change))

    def _refusal(self, run: Run, message: ChangePath) -> Refused | None:
        path = run.path or _NO_PATH
        name = f"run {run.run_id}"
        if path.changing is not None:
            text = f"change {path.changing.change} of {name} waits for its tasks"
            return Refused("path_busy", text, "ask again when it is made or given up")
        if len(path.changes) >= CHANGES_MAX:
            return Refused("path_limit", f"the path of {name} was changed {CHANGES_MAX} times")
        wanted = message.if_version
        if message.base not in (None, run.definition) or wanted not in (None, path.version):
            text = f"the plan of {name} is at version {path.version} by now"
            return Refused("plan_changed", text, "look at it again: goclaw plan --run RUN")
        faults = Faults(run, message, self._plan(run, message)).all()
        if faults:
            lines = "".join(f"\n  {fault}" for fault in faults)
            return Refused("path_refused", f"the path of {name} cannot be changed so:{lines}")
        return None

    def _plan(self, run: Run, message: ChangePath) -> Plan:
        assert run.plan is not None, "it was submitted"
        return run.plan if message.definition is None else self._contents.plan(message.definition)

    # who is asked, and what is answered

    def _asked(self, run: Run, message: ChangePath) -> list[int]:
        """Return the tasks that have to answer first: active ones, and those with results."""
        plan = self._plan(run, message)
        index = plan.index
        touched = {index[skip[0]] for skip in message.skips} | {index[t] for t in message.altered}
        again = cone_of(plan, message.reruns)
        asked = {i for i in touched | again if _status(run, i) == ACTIVE}
        for task in message.read:
            at = index[task]
            if at not in again and _status(run, at) == COMPLETED and run.results.get(at) is None:
                asked.add(at)
        return sorted(asked)

    def ask_more(self, run: Run, message: AskMore, _moment: Moment) -> Decision:
        """Ask some of the tasks that a change waits for."""
        changing = _changing(run, message.change)
        plan, definition = run.plan, run.definition
        if changing is None or plan is None or definition is None:
            return NOTHING
        again = cone_of(plan, changing.wanted.reruns)
        end = message.start + ASKED_PER_TURN_MAX
        sends = []
        for index in changing.asked[message.start : end]:
            stream = task_stream(run.run_id, plan.tasks[index].id)
            if run.statuses[index] == ACTIVE:
                generation = run.path.generations.get(index, 0) if run.path is not None else 0
                body: Any = StandAside(message.change, definition, index in again, generation)
            else:
                body = TellResult(message.change)
            sends.append(Send(stream, body))
        if end < len(changing.asked):
            sends.append(Send(workflow_stream(run.run_id), message._replace(start=end)))
        return Decision((), sends)

    def answered(self, run: Run, message: PathAnswer, _moment: Moment) -> Decision:
        """Take the answer of a task; the last one lets the change be concluded."""
        changing = _changing(run, message.change)
        index = None if run.plan is None else run.plan.index.get(message.task)
        if changing is None or index not in changing.waiting:
            return NOTHING
        fact = PathTaskAnswered(message.task, message.answer, message.result)
        return Decision((fact,), concluding(run, {index}))

    # what follows

    def conclude(self, run: Run, message: ConcludeChange, _moment: Moment) -> Decision:
        """Make a change that waited, or give it up."""
        changing = _changing(run, message.change)
        if changing is None or changing.waiting or run.plan is None:
            return NOTHING
        wanted = changing.wanted
        refused = None
        if run.status != RUNNING:
            refused = Refused("run_finished", f"run {run.run_id} is {run.status}")
        elif changing.begun:
            names = ", ".join(run.plan.tasks[index].id for index in changing.begun[:10])
            refused = Refused("path_task_begun", f"meanwhile these have begun: {names}")
        else:
            faults = Faults(run, wanted, self._plan(run, wanted)).all()
            if faults:
                refused = Refused("path_refused", "; ".join(map(str, faults)))
        if refused is not None:
            return _given_up(run, changing, refused)
        return self._made(run, wanted, None)

    def _made(self, run: Run, message: ChangePath, reply: Accepted | None) -> Decision:
        """Make a change: every task that it touches is known not to have begun."""
        path = run.path or _NO_PATH
        plan = self._plan(run, message)
        definition = message.definition or run.definition
        assert definition is not None, "the run was submitted"
        again = {i for i in cone_of(plan, message.reruns) if _status(run, i) != PENDING}
        again |= {plan.index[t] for t in message.altered if _status(run, plan.index[t]) == ACTIVE}
        reopened = sorted(again)
        undone: dict[str, int] = {}
        for index in reopened:
            status = _status(run, index)
            if status != ACTIVE:
                name = STATUS_NAMES[status]
                undone[name] = undone.get(name, 0) + 1
        skipped = [
            plan.index[task]
            for task, how, _ in message.skips
            if how == REPLACED or _status(run, plan.index[task]) == ACTIVE
        ]
        told = [index for index in skipped if _status(run, index) == ACTIVE]
        fact = PathChanged(
            message.change,
            message.digest,
            path.version + 1,
            definition,
            message.skips,
            _names(plan, skipped),
            _names(plan, reopened),
            undone,
            [*message.altered, *message.redefined],
            message.added,
            _names(plan, told),
            message.sender,
            message.reason,
            message.said,
            message.children,
        )
        waited = path.changing is not None
        goes_on: Any = ScheduleActive(0) if waited else ScheduleReady()
        begun = [index for index in reopened if _status(run, index) == ACTIVE] + told
        generations = [generation_of(run, index) for index in begun]
        drops = DropMore(_names(plan, begun), _why(message), generations)
        own = workflow_stream(run.run_id)
        sends = [
            *([Send(own, drops)] if begun else []),
            *_farewells(run, plan, skipped),
            *told_of(run, plan, skipped, "skipped"),
            *_left_rooms(run, {*reopened, *skipped}),
            Send(own, goes_on),
        ]
        return Decision((fact,), sends, (), reply)


def _names(plan: Plan, indexes: Iterable[int]) -> list[str]:
    return [plan.tasks[index].id for index in indexes]


def _why(message: ChangePath) -> str:
    return message.reason or f"the path of the run was changed: {message.change}"


def _status(run: Run, index: int) -> int:
    """Return what a run knows of a task; one that a change adds is pending."""
    return run.statuses[index] if index < len(run.statuses) else PENDING


def _changing(run: Run, change: str) -> Changing | None:
    changing = None if run.path is None else run.path.changing
    return changing if changing is not None and changing.change == change else None


def is_changing(run: Run) -> bool:
    """Tell whether a change waits, so that nothing of the run starts."""
    return run.path is not None and run.path.changing is not None


def concluding(run: Run, heard: Iterable[int]) -> list[Send]:
    """Return what concludes a change, if these tasks are the last that it waits for."""
    changing = None if run.path is None else run.path.changing
    if changing is None or not changing.waiting or not changing.waiting.issubset(heard):
        return []
    return [Send(workflow_stream(run.run_id), ConcludeChange(changing.change))]


def _gone(run: Run) -> Refused | None:
    if run.plan is None:
        return Refused("run_not_found", f"there is no run {run.run_id}")
    if run.status != RUNNING:
        more = "already" if run.status in FINAL else "and will end"
        return Refused("run_finished", f"run {run.run_id} is {run.status} {more}")
    return None


def _of_items(run: Run) -> Refused | None:
    """Return that the items of a list are what they are; None: the run works on none."""
    if run.plan is None or run.plan.mapped is None:
        return None
    text = f"the tasks of run {run.run_id} are the items of a list, and its path cannot be changed"
    return Refused("path_refused", text, f"change that of the run above, with {run.parent}")


def _conflict(run: Run, message: ChangePath) -> Refused | None:
    path = run.path or _NO_PATH
    if message.change not in path.changes:
        return None
    text = f"change {message.change} of run {run.run_id} was another one"
    return Refused("command_conflict", text, "choose another id")


def _given_up(run: Run, changing: Changing, refused: Refused) -> Decision:
    """Leave the path as it was: what stood aside goes on, unless the run will end."""
    assert run.plan is not None, "it was submitted"
    own = workflow_stream(run.run_id)
    sends = []
    for index in changing.held:
        task = run.plan.tasks[index].id
        body: Any = ResumeWork(task, CHANGER + changing.change, definition=run.definition)
        if run.status != RUNNING:
            generation = 0 if run.path is None else run.path.generations.get(index, 0)
            body = CancelTask(f"the run is {run.status}", generation=generation)
        sends.append(Send(task_stream(run.run_id, task), body))
    sends.append(Send(own, ScheduleActive(0)))
    return Decision((PathKept(changing.change, refused.code, refused.message),), sends)


def drop_more(run: Run, message: DropMore, _moment: Moment) -> Decision:
    """Tell some tasks that they will not begin."""
    tasks, reason, generations = message
    meant: Sequence[int | None] = [None] * len(tasks) if generations is None else generations
    sends = [
        Send(task_stream(run.run_id, task), DropTask(reason, generation))
        for task, generation in islice(zip(tasks, meant, strict=True), ASKED_PER_TURN_MAX)
    ]
    if len(tasks) > ASKED_PER_TURN_MAX:
        left = None if generations is None else generations[ASKED_PER_TURN_MAX:]
        later = DropMore(tasks[ASKED_PER_TURN_MAX:], reason, left)
        sends.append(Send(workflow_stream(run.run_id), later))
    return Decision((), sends)


def _farewells(run: Run, plan: Plan, skipped: Sequence[int]) -> list[Send]:
    """Let tasks that do not begin decline what was said to them."""
    return [
        Send(task_stream(run.run_id, plan.tasks[index].id), EndSignals("the task was skipped"))
        for index in skipped
        if run.told is not None and index in run.told and _status(run, index) == PENDING
    ]


def _left_rooms(run: Run, gone: set[int]) -> list[Send]:
    """Tell lanes that the run waits no more, where the last task held back for one is gone."""
    blocked = run.blocked
    if blocked is None:
        return []
    lanes: dict[str, int] = {}
    for index in gone:
        lane = blocked.lane_of(index)
        if lane is not None:
            lanes[lane] = lanes.get(lane, 0) + 1
    stream = workflow_stream(run.run_id)
    full = (lane for lane, count in lanes.items() if count == blocked.counts[lane])
    return [Send(lane_stream(lane), LeaveRoom(stream)) for lane in full]
