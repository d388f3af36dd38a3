"""When a run has to have ended: what it is a child of may bring that forward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_actors.decider import NOTHING, ClearTimer, Decision, SetTimer
from goclaw_actors.workflow.state import FINAL, Run
from goclaw_events.facts import RunDeadlineSet

if TYPE_CHECKING:
    from goclaw_actors.adjusting import LimitRun
    from goclaw_actors.decider import Moment

DEADLINE: Final = "deadline"
"""The timer of the end of a run."""


def limit(run: Run, message: LimitRun, _moment: Moment) -> Decision:
    """End earlier than before; a later end is none of what the run was submitted with."""
    due_ns, known_ns = message.deadline_ns, run.deadline_ns
    if run.plan is None or run.status in FINAL or not due_ns or 0 < known_ns <= due_ns:
        return NOTHING
    cleared = (ClearTimer(DEADLINE, known_ns),) if known_ns else ()
    return Decision((RunDeadlineSet(due_ns),), (), (*cleared, SetTimer(DEADLINE, due_ns)))
