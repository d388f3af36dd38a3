"""Why a task that has begun goes on, or does not: from its own state and what is under way to it.

What it claims is looked up: a timer in its table, an attempt where it runs, a message in the
inboxes. Where nothing is found, nothing will wake the task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_actors.adjusting import LeaveQueue, LeftQueue
from goclaw_actors.lane.control import HOLD, PAUSED
from goclaw_actors.lane.scaling import SCALE
from goclaw_actors.lending import Defer, Enqueue, KeepSlot, Release, Withdraw
from goclaw_actors.messages import (
    AskAgain,
    ChildEnded,
    LoseAttempt,
    SlotLeased,
    SlotRedirected,
    SlotRefused,
    TimerFired,
)
from goclaw_actors.redriving import REDRIVE
from goclaw_actors.statuses import DEAD
from goclaw_actors.task.ending import TIMER
from goclaw_actors.task.hold import HELD, INTERRUPTING
from goclaw_actors.task.state import (
    CANCELLING,
    CHILD,
    CLAIMING,
    COLLECTING,
    ENDING,
    FINAL,
    JOINED,
    OVER,
    PENDING,
    RETRYING,
    RUNNING,
    SCHEDULED,
    WAITING,
)
from goclaw_actors.why.answer import without_answer
from goclaw_actors.why.circle import circle_of
from goclaw_actors.why.collect import without_collection
from goclaw_actors.why.lane import held_up, lends_now, wake_ns_of
from goclaw_actors.why.reason import (
    AGENT_MISSING,
    BACKOFF,
    DEAD_LETTER,
    EXECUTOR_FULL,
    GIVEN_UP,
    LANE,
    LANE_BEHIND,
    LANE_PAUSED,
    NOTHING,
    RESTART,
    STATE,
    STOPPING,
    Holder,
    Reason,
)
from goclaw_actors.why.reason import RUNNING as RUNS
from goclaw_actors.why.reason import TIMER as UNTIL
from goclaw_actors.why.room import held_back, on_its_way
from goclaw_actors.why.sight import AT_BOUNDARY, LOST, state_of
from goclaw_actors.why.spawned import for_spawned
from goclaw_actors.why.unique import without_key
from goclaw_actors.work import Outcome
from goclaw_events.envelope import TimerRow
from goclaw_events.ids import keeper_of, kind_of, lane_stream, owner_stream, routing_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.lane.state import Lane
    from goclaw_actors.saga.state import Saga
    from goclaw_actors.task.state import Task
    from goclaw_actors.why.lane import HeldUp
    from goclaw_actors.why.sight import Sight
    from goclaw_actors.workflow import Run

HOLDERS_MAX: Final = 8
"""So many of those who hold what is waited for are named; all are counted."""
_RATE: Final = "rate"
ABANDONED: Final = "abandoned"
PAUSES: Final = "pausing"
"""It is to stand still, and has not come to a boundary yet."""
STANDS: Final = "paused at a boundary"
_WITHOUT_A_SLOT: Final = OVER | HELD | {PENDING, WAITING, RETRYING, ENDING}
_BY_AGENTS: Final = frozenset({RUNS, STOPPING, RESTART, AGENT_MISSING, EXECUTOR_FULL})
_FROM_THE_EXECUTOR: Final = (Outcome, LoseAttempt)
_FROM_A_LANE: Final = (SlotLeased, SlotRefused, SlotRedirected, AskAgain, LeftQueue)
_TO_A_LANE: Final = (Enqueue, Defer, Release, Withdraw, LeaveQueue)


def explain_task(sight: Sight, task: Task, agent: str) -> Reason:
    """Return why a task that has begun and not ended goes on, of `agent` ('': it has none)."""
    if sight.is_given_up(task.stream):
        return Reason(GIVEN_UP, task.stream)
    found = _BY_STATUS.get(task.status)
    if found is None:
        details = {"status": task.status}
        if task.hold is not None:
            details |= {"reason": task.hold.reason, "sender": task.hold.sender}
        return Reason(STATE, task.stream, since_ns(sight, task), 0, details)
    reason = found(sight, task)
    if agent and reason.kind in _BY_AGENTS:
        return reason._replace(details={**reason.details, "agent": agent})
    return reason


def since_ns(sight: Sight, task: Task) -> int:
    """Return since when a task is in the state that it is in; 0: not known."""
    if task.status == RUNNING:
        return sight.time_ns(task.stream, task.token)
    return sight.entered_ns(task.stream)


def nothing(subject: str, evidence: str, since: int = 0) -> Reason:
    """Return the reason of what nobody will wake."""
    return Reason(NOTHING, subject, since, 0, {"evidence": evidence})


# -- attempts ------------------------------------------------------------------------------------


def _at_work(sight: Sight, task: Task) -> Reason:
    kind = RUNS if task.status == RUNNING else STOPPING
    since = since_ns(sight, task)
    details = {"attempt": task.attempt, "holder": task.holder}
    if task.progress is not None:
        details["progress"] = task.progress
    where = sight.attempt(task)
    if where == LOST:
        return Reason(RESTART, task.stream, since, 0, details)
    if where in (AGENT_MISSING, EXECUTOR_FULL):
        return Reason(where, task.stream, since, 0, details)
    if task.hold is not None and task.status == RUNNING:
        details |= {"status": PAUSES if where != AT_BOUNDARY else STANDS,
                    "reason": task.hold.reason, "sender": task.hold.sender}  # fmt: skip
    if where == AT_BOUNDARY:
        return Reason(STATE, task.stream, since, task.ends_ns, details)
    if where:
        return Reason(kind, task.stream, since, task.ends_ns, {**details, "place": where})
    for body in sight.coming(task.stream):
        if isinstance(body, _FROM_THE_EXECUTOR):
            return on_its_way(sight, task.stream, task.stream, body)
    text = f"attempt {task.attempt} (token {task.token}) is nowhere, and its outcome is not coming"
    return nothing(task.stream, text, since)


def _ends(sight: Sight, task: Task) -> Reason:
    keys = task.steps.open if task.steps is not None else ()
    return for_spawned(sight, task, keys, since_ns(sight, task), explain_task)


def _waits(sight: Sight, task: Task) -> Reason:
    if task.awaits is not None and not task.attempt:
        return _awaits(sight, task)
    keys = [key for key in task.awaited or () if task.steps is not None and key in task.steps.open]
    if keys:
        return for_spawned(sight, task, keys, since_ns(sight, task), explain_task)
    return _timed(sight, task, UNTIL, {})


def _backs_off(sight: Sight, task: Task) -> Reason:
    code, message = task.error or ["", ""]
    details = {"attempt": task.attempt, "code": code, "message": message}
    return _timed(sight, task, BACKOFF, details)


def _dead(sight: Sight, task: Task) -> Reason:
    code, message = task.error or ["", ""]
    details = {"attempt": task.attempt, "code": code, "message": message}
    run: Run | None = state_of(sight, owner_stream(task.run_id))
    letters = None if run is None else run.letters
    if run is not None and letters is not None and run.plan is not None:
        index = run.plan.index.get(task.task_id, -1)
        details |= {"lane": REDRIVE} if index in letters.planned else {}
    return Reason(DEAD_LETTER, task.stream, since_ns(sight, task), 0, details)


def _timed(sight: Sight, task: Task, kind: str, details: dict[str, Any]) -> Reason:
    since, row = since_ns(sight, task), TimerRow(task.due_ns, task.stream, TIMER)
    fired = [body for body in sight.coming(task.stream) if isinstance(body, TimerFired)]
    if not fired and not sight.has_timer(row):
        return nothing(task.stream, "its timer is not set", since)
    return Reason(kind, task.stream, since, task.due_ns, details)


# -- lanes ---------------------------------------------------------------------------------------


def _in_lane(sight: Sight, task: Task) -> Reason:
    stream, since = lane_stream(task.lane), since_ns(sight, task)
    if sight.is_given_up(stream):
        below = Reason(GIVEN_UP, stream)
        return Reason(LANE, task.stream, since, 0, {"lane": task.lane}, (), (below,))
    for body in sight.coming(task.stream):
        if isinstance(body, _FROM_A_LANE):
            return on_its_way(sight, task.stream, task.stream, body)
    lane: Lane | None = state_of(sight, stream)
    if lane is not None and task.stream in lane.queued:
        return queued(sight, Waiter(task.stream, task.lane, task.priority), lane, since)
    for body in sight.coming(stream):
        if isinstance(body, _TO_A_LANE) and body.task == task.stream:
            way = on_its_way(sight, task.stream, stream, body)
            return Reason(LANE, task.stream, since, 0, {"lane": task.lane}, (), (way,))
    found = held_back(sight, task, lane, since)
    if found is not None:
        return found
    if lane is not None and task.stream in lane.leased:
        text = f"lane {task.lane} lent it a slot that it never heard of"
    else:
        text = f"lane {task.lane} does not know that it waits"
    return nothing(task.stream, text, since)


class Waiter(NamedTuple):
    """Who waits in a lane: a task, or a saga."""

    stream: str
    lane: str
    priority: int


def queued(sight: Sight, task: Waiter, lane: Lane, since: int) -> Reason:
    """Return why a lane that has somebody in its queue lends no slot."""
    if sight.moving is not None:
        below = () if _moves(sight, sight.moving, lane) else tuple(_next_turn(sight, lane))
        return Reason(LANE, task.stream, since, 0, {"lane": task.lane}, (), below)
    found, stream = held_up(lane, task.stream, sight.now_ns), lane.stream
    because = [_limit(sight, lane, each, since) for each in found]
    is_paused = any(each.kind == LANE_PAUSED for each in found)
    if not (is_paused or _will_move(sight, lane)):
        because += _next_turn(sight, lane)
    elif not because:
        because += [on_its_way(sight, stream, stream, body) for body in sight.coming(stream)[:1]]
    details = {"lane": task.lane, "queued": len(lane.queued), "priority": task.priority}
    return Reason(LANE, task.stream, since, 0, details, (), tuple(because))


def _limit(sight: Sight, lane: Lane, found: HeldUp, since: int) -> Reason:
    if found.kind == LANE_BEHIND:
        first = found.by[0]
        below = tuple(
            _limit(sight, lane, each, since) for each in held_up(lane, first, sight.now_ns)
        )
        return Reason(LANE_BEHIND, lane.stream, since, 0, {"task": first}, (), below)
    holders = tuple(holder(sight, task) for task in found.by[:HOLDERS_MAX])
    details = {**found.details, "holders": len(found.by)} if found.by else found.details
    return Reason(found.kind, lane.stream, since, found.until_ns, details, holders)


def holder(sight: Sight, slot: str) -> Holder:
    """Return what is known of a task that holds something, perhaps by an abandoned attempt."""
    stream, kept = keeper_of(slot)
    if kind_of(stream) == "saga":
        return _saga_that_holds(sight, stream)
    task, run = state_of(sight, stream), state_of(sight, owner_stream(routing_key(stream)))
    name = "" if run is None else run.name
    if task is None:
        return Holder(stream, name, "", 0)
    if kept:
        return Holder(stream, name, ABANDONED, sight.time_ns(stream, kept))
    return Holder(stream, name, task.status, since_ns(sight, task))


def _saga_that_holds(sight: Sight, stream: str) -> Holder:
    saga: Saga | None = state_of(sight, stream)
    if saga is None:
        return Holder(stream, "", "", 0)
    return Holder(stream, saga.name, saga.status, sight.begun_ns(stream))


def _moves(sight: Sight, known: dict[str, bool], lane: Lane) -> bool:
    """Tell whether a lane will move, or is paused: for all that wait in it at once."""
    if lane.stream not in known:
        known[lane.stream] = lane.control.mode == PAUSED or _will_move(sight, lane)
    return known[lane.stream]


def _will_move(sight: Sight, lane: Lane) -> bool:
    """Tell whether something will give the lane a turn: who holds a slot, a timer, a message."""
    if lends_now(lane, sight.now_ns):
        return False  # it could move now, and has not
    held = any(_gives_back(sight, lane, task) for task in lane.leased)
    wakes = any(_is_woken(sight, lane, timer, due_ns) for timer, due_ns in _timers(lane))
    return held or wakes or bool(sight.coming(lane.stream))


def _timers(lane: Lane) -> tuple[tuple[str, int], ...]:
    """Return what wakes a lane: the timers of its rate, of what holds it, and of its slots."""
    control = lane.control
    return (_RATE, wake_ns_of(lane)), (HOLD, control.held_ns), (SCALE, control.scaling.wake_ns)


def _is_woken(sight: Sight, lane: Lane, timer: str, due_ns: int) -> bool:
    return bool(due_ns) and sight.has_timer(TimerRow(due_ns, lane.stream, timer))


def _gives_back(sight: Sight, lane: Lane, slot: str) -> bool:
    """Tell whether a slot will be given back: its holder lives and is not stuck, or said so."""
    stream, kept = keeper_of(slot)
    if sight.is_given_up(stream):
        return False
    if kind_of(stream) == "saga":
        saga: Saga | None = state_of(sight, stream)
        said = (*sight.coming(stream), *sight.coming(lane.stream))
        return saga is None or saga.holds or bool(said)
    task: Task | None = state_of(sight, stream)
    if task is None or (kept in task.kept if kept else _uses_its_slot(sight, task)):
        return True
    ended = (Release, Defer, Withdraw, KeepSlot)
    coming = sight.coming(lane.stream)
    return any(isinstance(body, ended) and body.task in (stream, slot) for body in coming)


def _uses_its_slot(sight: Sight, task: Task) -> bool:
    if task.status == SCHEDULED:
        return any(isinstance(body, SlotLeased) for body in sight.coming(task.stream))
    if task.status in (RUNNING, CANCELLING) and not waits_for_child(task):
        return _at_work(sight, task).kind != NOTHING
    return task.status not in _WITHOUT_A_SLOT


def _next_turn(sight: Sight, lane: Lane) -> list[Reason]:
    """Return what gives the lane its next turn, where no limit does."""
    coming = sight.coming(lane.stream)
    if coming:
        return [on_its_way(sight, lane.stream, lane.stream, coming[0])]
    for timer, due_ns in _timers(lane):
        if _is_woken(sight, lane, timer, due_ns):
            return [on_its_way(sight, lane.stream, lane.stream, TimerFired(timer))]
    if lends_now(lane, sight.now_ns):
        return [nothing(lane.stream, "a slot is free, and nobody lends it")]
    return [nothing(lane.stream, "nobody who holds a slot of it will give it back")]


def waits_for_child(task: Task) -> bool:
    """Tell whether a task goes on when a run ends that it stands for."""
    return task.status == CHILD or (task.status == CANCELLING and bool(task.child_run))


def is_told_of_child(sight: Sight, task: Task) -> Any:
    """Return the message that tells a task of the end of its child (None: none is coming)."""
    for body in sight.coming(task.stream):
        if isinstance(body, ChildEnded) and body.run_id == task.child_run:
            return body
    return None


def has_ended(task: Task) -> bool:
    """Tell whether a task is over."""
    return task.status in FINAL


def _asks_for_key(sight: Sight, task: Task) -> Reason:
    since = since_ns(sight, task)
    found = without_key(sight, task, since)
    return found or nothing(task.stream, "its key is free, and nobody gives it", since)


def _awaits(sight: Sight, task: Task) -> Reason:
    since = since_ns(sight, task)
    if task.due_ns and (timer := _timed(sight, task, UNTIL, {})).kind == NOTHING:
        return timer
    found = without_answer(sight, task, since)
    return found or nothing(task.stream, "its run does not know that it waits", since)


def _collects(sight: Sight, task: Task) -> Reason:
    since = since_ns(sight, task)
    found = without_collection(sight, task, since)
    if found is None:
        return nothing(task.stream, "its collector does not know that it waits", since)
    runs = () if found.because else circle_of(sight, task)
    if runs:
        text = f"runs {', '.join(runs)} wait for each other's ends: none of them can end"
        lost = nothing(task.stream, text, since)
        return found._replace(because=(lost._replace(details={**lost.details, "circle": runs}),))
    return found


_BY_STATUS: Final[dict[str, Callable[[Sight, Task], Reason]]] = {
    SCHEDULED: _in_lane,
    CLAIMING: _asks_for_key,
    JOINED: _asks_for_key,
    COLLECTING: _collects,
    RUNNING: _at_work,
    CANCELLING: _at_work,
    INTERRUPTING: _at_work,
    ENDING: _ends,
    WAITING: _waits,
    RETRYING: _backs_off,
    DEAD: _dead,
}
