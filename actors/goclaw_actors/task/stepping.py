"""How a task records the durable steps of its handler, and sleeps without a slot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_actors.decider import NOTHING, Decision, SetTimer
from goclaw_actors.task import holding, spawning
from goclaw_actors.task.bounded import tell_full
from goclaw_actors.task.ending import TIMER, release
from goclaw_actors.task.hearing import is_current
from goclaw_actors.task.state import ATTEMPTED
from goclaw_actors.work import Recorded, TellAttempt
from goclaw_events.facts import SPAWN, AttemptSlept, StepRecorded, StepsUnused

if TYPE_CHECKING:
    from goclaw_actors.contents import Contents
    from goclaw_actors.decider import Moment
    from goclaw_actors.task.state import Task
    from goclaw_actors.work import Outcome, Stepped

UNUSED_MAX: Final = 100
"""So many steps that an attempt did not use are named; all are counted."""


def stepped(task: Task, report: Stepped, contents: Contents, moment: Moment) -> Decision:
    """Record a step, unless it is, and tell the attempt once that is durable.

    A step that spawns a task begins it in the same turn.
    """
    if not is_current(task, report.token, moment) or task.status not in ATTEMPTED:
        return NOTHING
    step = (report.name, report.key)
    told = (TellAttempt(report.token, Recorded((step,))), *tell_full(task, moment))
    if task.steps is not None and step in task.steps:
        return Decision((), (), told)  # delivered again
    fact = StepRecorded(task.attempt, task.token, *step, report.digest, report.result)
    if report.name == SPAWN:
        ended, sends = spawning.begun(task, report, contents)
        return Decision((fact, *ended), sends, told)
    return Decision((fact,), (), told)


def unused(task: Task, outcome: Outcome) -> tuple[StepsUnused, ...]:
    """Return the fact that an attempt did not ask for what was recorded before it; () if it did."""
    if not outcome.unused:
        return ()
    named = [list(step) for step in outcome.unused[:UNUSED_MAX]]
    return (StepsUnused(task.attempt, outcome.token.number, len(outcome.unused), named),)


def slept(task: Task, outcome: Outcome, closed: tuple[object, ...], moment: Moment) -> Decision:
    """Take the end of an attempt that sleeps: the slot is given back, a timer wakes the task."""
    due_ns, awaited = spawning.slept_for(outcome.result)
    if awaited and not spawning.waits(task, awaited):
        due_ns = moment.now_ns  # what it waits for ended meanwhile
    fact = AttemptSlept(task.attempt, outcome.token.number, due_ns, awaited)
    sends = (release(task),) if task.lane else ()
    if task.hold is not None:
        return Decision((fact, holding.held(task)), sends, closed)
    return Decision((fact,), sends, (*closed, SetTimer(TIMER, due_ns)))
