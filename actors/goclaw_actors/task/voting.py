"""What a task that completed tells a collector that came late: its vote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.collecting import MembersReported, ReportVote
from goclaw_actors.decider import NOTHING, Decision, Send
from goclaw_actors.task.state import COMPLETED
from goclaw_actors.votes import vote_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.contents import Contents
    from goclaw_actors.decider import Moment
    from goclaw_actors.task.state import Task


def decisions(contents: Contents) -> dict[type, Callable[[Task, Any, Moment], Decision]]:
    """Return what answers a collector, given what large results refer to."""

    def report(task: Task, message: ReportVote, _moment: Moment) -> Decision:
        if task.status != COMPLETED:
            return NOTHING
        vote = vote_of(task.result, message.by, contents)
        ended: list[list[int | str]] = [[task.task_id, task.generation, task.status, vote]]
        return Decision((), (Send(message.collector, MembersReported(task.run_id, ended)),))

    return {ReportVote: report}
