"""What a run tells collectors: how tasks of it end, or have ended, and the run itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_actors.collecting import MembersReported, ReportVote, UnwatchTasks, WatchTasks, end_all
from goclaw_actors.decider import NOTHING, Decision, Send
from goclaw_actors.statuses import ACTIVE, CANCELLED, COMPLETED, PENDING, STATUS_NAMES
from goclaw_actors.votes import vote_of
from goclaw_actors.workflow.state import FINAL, Run
from goclaw_actors.workflow.watches import THE_RUN, Watches
from goclaw_events.facts import TasksUnwatched, TasksWatched
from goclaw_events.ids import task_stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from goclaw_actors.contents import Contents
    from goclaw_actors.decider import Moment
    from goclaw_actors.workflow.draft import Draft
    from goclaw_events.plan import Plan
    from goclaw_events.value import Value

COLLECTORS_MAX: Final = 1_000
"""So many collectors wait for tasks of one run; for a further one they are `unknown`."""
_NOT_ENDED: Final = frozenset({PENDING, ACTIVE})


class Telling:
    """The decisions about who wants to hear of ends."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents

    def watch(self, run: Run, message: WatchTasks, moment: Moment) -> Decision:
        """Tell at once what has ended, and the rest when it ends."""
        collector, by = message.collector, message.by
        watches = run.watches
        is_known = watches is not None and watches.knows(collector)
        is_full = moment.full is not None or (watches and len(watches) >= COLLECTORS_MAX)
        if run.plan is None or (is_full and not is_known):
            told = MembersReported(run.run_id, end_all(message, "unknown"))
            return Decision((), (Send(collector, told),))
        ended: list[list[int | str]] = []
        asks: list[Send] = []
        later: list[int] = []
        for task in message.tasks:
            index = run.plan.index.get(task) if task else THE_RUN
            status = "unknown" if index is None else _ended_as(run, index)
            if index is not None and not status:
                if watches is None or not watches.has(collector, index):
                    later.append(index)
            elif by is not None and status == "completed" and task:
                asks.append(Send(task_stream(run.run_id, task), ReportVote(collector, by)))
            else:
                has_vote = by is not None and status == "completed"
                vote = vote_of(run.result, by, self._contents) if has_vote else ""
                ended.append([task, generation_of(run, index), status, vote])
        if ended:
            asks.append(Send(collector, MembersReported(run.run_id, ended)))
        facts = (TasksWatched(collector, later, by),) if later else ()
        return Decision(facts, asks)

    def unwatch(self, run: Run, message: UnwatchTasks, _moment: Moment) -> Decision:
        """Tell a collector nothing more."""
        if run.watches is None or not run.watches.knows(message.collector):
            return NOTHING
        return Decision((TasksUnwatched(message.collector),))

    def ends(self, run: Run, draft: Draft, results: Mapping[int, Value]) -> list[Send]:
        """Return what tells of the tasks that ended in this turn, and of the run if it did.

        `results` are those of the tasks that completed. What has not begun when the run ends will
        not any more.
        """
        watches, plan = run.watches, run.plan
        if watches is None or plan is None:
            return []
        told: dict[str, list[list[int | str]]] = {}
        for index in _in_order(watches, draft):
            if index == THE_RUN:
                task, status, result = "", draft.ended_as or "", draft.result
            else:
                known = draft.status_of(index)
                if known in _NOT_ENDED and draft.ended_as is None:
                    continue
                known = CANCELLED if known in _NOT_ENDED else known
                task, status, result = plan.tasks[index].id, STATUS_NAMES[known], None
                if known == COMPLETED:
                    result = results.get(index)
            for collector in watches.of_task(index):
                by = watches.by(collector) if status == "completed" else None
                vote = vote_of(result, by, self._contents)
                told.setdefault(collector, []).append([task, draft.generation(index), status, vote])
        return [Send(who, MembersReported(run.run_id, ended)) for who, ended in told.items()]


def _in_order(watches: Watches, draft: Draft) -> list[int]:
    """Return what may have ended in this turn, as it did; the run comes last."""
    if draft.ended_as is None:
        return list(draft.statuses)
    rest = sorted(index for index in watches.tasks() if index not in draft.statuses)
    return [*draft.statuses, *(index for index in rest if index != THE_RUN), THE_RUN]


def all_failed(run: Run) -> list[Send]:
    """Return what tells of everything that is waited for: a bug ended the run."""
    watches, plan = run.watches, run.plan
    if watches is None or plan is None:
        return []
    told: dict[str, list[list[int | str]]] = {}
    for index in sorted(watches.tasks()):
        task = "" if index == THE_RUN else plan.tasks[index].id
        status = "failed" if index == THE_RUN else "cancelled"
        for collector in watches.of_task(index):
            ended: list[int | str] = [task, generation_of(run, index), status, ""]
            told.setdefault(collector, []).append(ended)
    return [Send(who, MembersReported(run.run_id, ended)) for who, ended in told.items()]


def generation_of(run: Run, index: int | None) -> int:
    """Return in which generation a task is; that of the run itself is 0."""
    return 0 if run.path is None or index is None else run.path.generations.get(index, 0)


def _ended_as(run: Run, index: int) -> str:
    """Return how a task, or the run, has ended; '' if it has not."""
    is_over = run.status in FINAL
    if index == THE_RUN:
        return run.status if is_over else ""
    status = run.statuses[index]
    if status in _NOT_ENDED:
        return "cancelled" if is_over else ""
    return STATUS_NAMES[status]


def told_of(run: Run, plan: Plan, tasks: Iterable[int], status: str) -> list[Send]:
    """Return what tells of tasks that ended without an attempt."""
    told: dict[str, list[list[int | str]]] = {}
    for index in tasks:
        for collector in run.watches.of_task(index) if run.watches is not None else ():
            ended: list[int | str] = [plan.tasks[index].id, generation_of(run, index), status, ""]
            told.setdefault(collector, []).append(ended)
    return [Send(who, MembersReported(run.run_id, ended)) for who, ended in told.items()]
