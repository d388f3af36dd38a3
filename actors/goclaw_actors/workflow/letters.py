"""The dead letters of a run: which tasks they are, and what a person decides about them.

A run waits for a dead letter as for a task that runs: it is active, so nothing that needs it
begins, and the run does not end. What stops a run ends its dead letters, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from goclaw_actors.decider import NOTHING, Accepted, Decision, Refused, Send
from goclaw_actors.letters import BuryTask, DiscardTask, RedriveTask
from goclaw_actors.messages import ScheduleMore, ScheduleTask
from goclaw_actors.redriving import ask, ask_at, ask_no_more, give_back
from goclaw_actors.workflow.dead import Letters
from goclaw_actors.workflow.path import Path
from goclaw_actors.workflow.state import FINAL, RUNNING, Run
from goclaw_events.facts import LetterDiscarded, LetterLeft, LetterRedriven, RedrivePlanned
from goclaw_events.ids import task_stream, workflow_stream
from goclaw_events.value import BlobRef, pack

if TYPE_CHECKING:
    from goclaw_actors.contents import Contents
    from goclaw_actors.decider import Moment
    from goclaw_actors.messages import CheckSlot, SlotLeased, SlotRefused
    from goclaw_events.facts import LetterFact
    from goclaw_events.value import Value

EDITS_BYTES_MAX: Final = 60 * 1024
"""All edits of a task together take at most so much: they stay inline."""
_PARAMS: Final = {
    "exec": frozenset(("argv", "stdin")),
    "http": frozenset(("method", "url", "headers", "body", "expect", "pause_on")),
}
"""What kinds of work are told that take nothing else; agents and children say that themselves."""


def redrive(run: Run, message: RedriveTask, _moment: Moment) -> Decision:
    """Begin the next generation of a dead letter, or say why not."""
    index, answered = _letter(run, message)
    if answered is not None:
        return answered
    refused = _refused_edits(run, index, message.edits)
    if refused is not None:
        return refused
    if _stands_aside(run, index):
        text = f"task {message.task} of run {run.run_id} stands aside for a change of its path"
        return Decision(
            reply=Refused("path_busy", text, "it goes on when that is made or given up")
        )
    if message.rate_per_s is not None:
        return _plan(run, index, message, message.rate_per_s)
    again = _redriven(run, index, message.edits, message.reason, message.by)
    return again._replace(reply=Accepted(message.task))


def _stands_aside(run: Run, index: int) -> bool:
    """Tell whether a change of the path waits for a task: what it ends as is known in a moment."""
    changing = None if run.path is None else run.path.changing
    return changing is not None and index in changing.waiting


def _redriven(run: Run, index: int, edits: Value, reason: str, by: str) -> Decision:
    assert run.plan is not None, "a run with letters was submitted"
    generation = _generation(run, index) + 1
    fact = LetterRedriven(run.plan.tasks[index].id, generation, edits, reason, by)
    return Decision((fact,), (Send(workflow_stream(run.run_id), ScheduleMore([index])),))


def _plan(run: Run, index: int, message: RedriveTask, rate_per_s: float) -> Decision:
    """Have a letter wait for the lane; asked twice, the lane is asked again, should it have to be.

    A run waits there once, whatever number of letters it has.
    """
    asks = ask_at(workflow_stream(run.run_id), rate_per_s)
    assert run.letters is not None, "it has a letter"
    if index in run.letters.planned:
        return Decision((), asks, (), Accepted(message.task, repeated=True))
    how = (message.edits, message.reason, message.by)
    fact = RedrivePlanned(message.task, _generation(run, index), *how)
    return Decision((fact,), asks, (), Accepted(message.task))


def take_turn(run: Run, message: SlotLeased, _moment: Moment) -> Decision:
    """Let the next letter run again that is planned to; give the slot back, and ask for another."""
    stream = workflow_stream(run.run_id)
    back = give_back(stream, message.lane)
    planned = {} if run.letters is None or run.status != RUNNING else run.letters.planned
    if not planned:
        return Decision((), (back,))
    index = next((one for one in planned if not _stands_aside(run, one)), None)
    if index is None:
        return Decision((), (back, ask(stream)))
    again = _redriven(run, index, *planned[index])
    more = (ask(stream),) if len(planned) > 1 else ()
    return again._replace(sends=(back, *more, *again.sends))


def check_slot(run: Run, message: CheckSlot, _moment: Moment) -> Decision:
    """Give a slot back of which the lane does not know that: none is kept beyond its turn."""
    return Decision((), (give_back(workflow_stream(run.run_id), message.lane),))


def slot_refused(_run: Run, _message: SlotRefused, _moment: Moment) -> Decision:
    """Leave letters where they are: who has them redriven again asks again."""
    return NOTHING


def ask_for_none(run: Run) -> tuple[Send, ...]:
    """Return what a run that ends says to the lane in which it may wait."""
    asked = run.letters is not None and run.letters.asked
    return (ask_no_more(workflow_stream(run.run_id)),) if asked else ()


def discard(run: Run, message: DiscardTask, _moment: Moment) -> Decision:
    """Have the task that is a dead letter fail, or say why not."""
    index, answered = _letter(run, message)
    if answered is not None:
        return answered
    generation = _generation(run, index)
    fact = LetterDiscarded(message.task, generation, message.reason, message.by)
    bury = Send(task_stream(run.run_id, message.task), BuryTask(generation))
    return Decision((fact,), (bury,), (), Accepted(message.task))


def _letter(run: Run, message: RedriveTask | DiscardTask) -> tuple[int, Decision | None]:
    """Return the task that is meant, and what is answered if it is no dead letter (any more)."""
    name = f"task {message.task} of run {run.run_id}"
    hint = "goclaw dead list"
    if run.plan is None:
        return -1, _refused("run_not_found", f"there is no run {run.run_id}", hint)
    index = run.plan.index.get(message.task, -1)
    if index < 0:
        return -1, _refused("task_not_found", f"run {run.run_id} has no task {message.task}", hint)
    generation = _generation(run, index)
    meant = generation if message.generation is None else message.generation
    dead = run.letters is not None and index in run.letters.dead
    if dead and meant == generation and run.status == RUNNING:
        return index, None
    is_redrive = isinstance(message, RedriveTask)
    done = meant < generation if is_redrive else _is_buried(run, index, message.generation)
    if done:
        return index, Decision(reply=Accepted(message.task, repeated=True))
    if run.status in FINAL:
        text = f"run {run.run_id} is {run.status}: nothing of it runs again"
        return index, _refused("run_finished", text, "submit a new run")
    return index, _refused("not_dead", f"{name} is no dead letter", hint)


def _is_buried(run: Run, index: int, meant: int | None) -> bool:
    """Tell whether a letter was given up before: whoever names its generation may ask twice."""
    letters = run.letters
    return letters is not None and meant is not None and letters.buried.get(index) == meant


def _refused_edits(run: Run, index: int, edits: Value) -> Decision | None:
    """Return what is answered to edits that are not taken; None: they are, or there are none."""
    if edits is None:
        return None
    if isinstance(edits, BlobRef) or len(pack(_laid_over(run, index, edits))) > EDITS_BYTES_MAX:
        text = f"the edits of a task take at most {EDITS_BYTES_MAX} bytes"
        return _refused("value_too_large", text, "hand over the name of a file, or of a value")
    assert run.plan is not None, "it has the task"
    task = run.plan.tasks[index]
    known = _PARAMS.get(task.kind) if task.foreach is None else None
    strange = [] if known is None else sorted(set(cast("dict[str, Value]", edits)) - known)
    if known is None or not strange:
        return None
    text = f"task {task.id} of run {run.run_id} is of kind {task.kind}, which has no {strange[0]!r}"
    return _refused("invalid_request", text, f"its parameters: {', '.join(sorted(known))}")


def _laid_over(run: Run, index: int, edits: Any) -> dict[str, Value]:
    """Return edits with those that were made before and are not made anew."""
    before: Any = {} if run.letters is None else run.letters.edits.get(index, {})
    return {**before, **edits}


def _refused(code: str, text: str, hint: str) -> Decision:
    return Decision(reply=Refused(code, text, hint))


def _generation(run: Run, index: int) -> int:
    return 0 if run.path is None else run.path.generations.get(index, 0)


def evolve(run: Run, fact: LetterFact) -> None:
    """Apply a fact about a dead letter."""
    letters = run.letters = run.letters or Letters()
    assert run.plan is not None, "the first fact of a run is its submission"
    index = run.plan.index[fact.task]
    match fact:
        case LetterLeft():
            letters.dead.add(index)
        case RedrivePlanned():
            letters.planned[index] = fact.edits, fact.reason, fact.by
            letters.asked = True
        case LetterRedriven():
            letters.dead.discard(index)
            letters.planned.pop(index, None)
            run.path = run.path or Path()
            run.path.generations[index] = fact.generation
            if fact.edits is not None:
                letters.edits[index] = _laid_over(run, index, fact.edits)
        case LetterDiscarded():
            letters.dead.discard(index)
            letters.planned.pop(index, None)
            letters.buried[index] = fact.generation


def edited(run: Run, index: int, order: Any, contents: Contents) -> Any:
    """Return the order of a task with what somebody changed of its parameters."""
    edits = None if run.letters is None else run.letters.edits.get(index)
    if edits is None or not isinstance(order, ScheduleTask):
        return order
    params: Any = order.params
    whole = contents.value(params) if isinstance(params, BlobRef) else params
    return order._replace(params={**(whole or {}), **edits})
