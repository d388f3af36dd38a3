"""How a task answers what is said to it: a patch of its parameters, a message to its handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.decider import NOTHING, Accepted, ClearTimer, Decision, Refused, SetTimer
from goclaw_actors.signalling import unknown_task
from goclaw_actors.task.bounded import tell_full
from goclaw_actors.task.hold import INTERRUPTING
from goclaw_actors.task.signals import (
    COALESCE,
    DECLINED,
    EXPIRED,
    MODES,
    PARAMS,
    REJECT,
    STEER,
    WITHDRAWN,
    Signals,
    without_attempt,
)
from goclaw_actors.task.state import ATTEMPTED, OVER, RUNNING
from goclaw_actors.work import (
    AttemptToken,
    Interrupt,
    Offer,
    Pause,
    Recorded,
    Retract,
    Signal,
    TellAttempt,
)
from goclaw_events.facts import (
    AttemptFailed,
    AttemptLost,
    SignalAccepted,
    SignalConsumed,
    SignalEnded,
    StateSaved,
    TaskCancelled,
    TaskCompleted,
    TaskDied,
    TaskDropped,
    TaskFailed,
)
from goclaw_events.ids import is_spawned
from goclaw_events.value import BlobRef, pack

if TYPE_CHECKING:
    from goclaw_actors.adjusting import AdjustTask
    from goclaw_actors.contents import Contents
    from goclaw_actors.decider import Moment
    from goclaw_actors.signalling import EndSignals, HoldWork, SendSignal, WithdrawSignal
    from goclaw_actors.task.state import Task
    from goclaw_actors.work import Consumed, Saved, Word
    from goclaw_events.plan import PlannedTask
    from goclaw_events.value import Value

BODY_BYTES_MAX: Final = 60 * 1024
"""A signal, and all patches of a task together, take at most so much: they stay inline."""
HELD_MAX: Final = 1_000
"""A task remembers at most so many messages that were taken and not done with."""
QUIET: Final = "quiet"
EXPIRE: Final = "expire/"
_ENDS: Final[dict[type | None, str]] = {
    TaskCompleted: "completed",
    TaskFailed: "failed",
    TaskCancelled: "was cancelled",
    TaskDropped: "was skipped",
    TaskDied: "is a dead letter",
}


def take(
    task: Task, message: SendSignal, planned: PlannedTask, contents: Contents, moment: Moment
) -> Decision:
    """Accept a signal, or say why not."""
    body = message.body
    whole = contents.value(body) if isinstance(body, BlobRef) else body
    if task.signals is not None and message.signal in task.signals.waiting:
        return Decision(reply=Accepted(message.signal, repeated=True))
    refused = _refusal(task, message, planned, whole, moment)
    if refused is not None:
        return Decision(reply=refused)
    runs = task.status in ATTEMPTED
    ready_ns = moment.now_ns + int(message.quiet_s * 1e9) if message.mode == COALESCE else 0
    mode = STEER if message.mode == REJECT else message.mode
    fact = SignalAccepted(
        message.signal, message.kind, mode, whole, message.sender, message.deadline_ns, ready_ns,
        task.attempt if runs else 0,
    )  # fmt: skip
    effects: list[object] = []
    if message.kind != PARAMS:
        effects += _timers(task.signals or Signals(), fact, moment)
    if runs and not ready_ns:
        given = Signal(fact.signal, fact.kind, mode, whole, fact.sender)
        effects.append(_tell(task, moment, Offer((given,))))
    return Decision((fact,), (), effects, Accepted(message.signal))


def _timers(signals: Signals, fact: SignalAccepted, moment: Moment) -> list[object]:
    timers: list[object] = []
    if fact.deadline_ns:
        timers.append(SetTimer(EXPIRE + fact.signal, fact.deadline_ns))
    if fact.ready_ns:
        if signals.quiet_ns > moment.now_ns:
            timers.append(ClearTimer(QUIET, signals.quiet_ns))
        timers.append(SetTimer(QUIET, max(fact.ready_ns, signals.quiet_ns)))
    return timers


def refused_unbegun(task: Task, message: SendSignal | HoldWork | AdjustTask) -> Refused | None:
    """Return what is said to a task that ended before it began; None: it began, or may."""
    if task.definition is not None or message.definition is not None:
        return None
    if is_spawned(task.task_id):
        return unknown_task(task.run_id, task.task_id)
    text = f"task {task.task_id} of run {task.run_id} ended before it began"
    return Refused("task_finished", text)


def _refusal(
    task: Task, message: SendSignal, planned: PlannedTask, body: Value, moment: Moment
) -> Refused | None:
    """Return why a signal is not accepted; None: it is."""
    name = f"task {task.task_id} of run {task.run_id}"
    if task.status in OVER:
        return Refused("task_finished", f"{name} is {task.status} already")
    if planned.kind not in ("agent", "collect"):
        text = f"{name} is of kind {planned.kind}, which takes no parameters or messages"
        return Refused("signal_unsupported", text, "see docs/reference/executors.md")
    if 0 < message.deadline_ns <= moment.now_ns:
        return Refused("signal_invalid", "its deadline is over already")
    if message.kind == PARAMS:
        return _refused_patch(task, message, planned, body)
    return _refused_message(task, message, body, name)


def _refused_patch(
    task: Task, message: SendSignal, planned: PlannedTask, body: Value
) -> Refused | None:
    if not isinstance(body, dict) or not body:
        return Refused("signal_invalid", "a patch is a mapping of parameters, and not empty")
    given = planned.params.body
    declared = set(given if isinstance(given, dict) else ()) | set(message.names or ())
    unknown = sorted(set(body) - declared)
    if unknown:
        text = f"task {task.task_id} has no parameter {', '.join(map(repr, unknown[:5]))}"
        return Refused("params_undeclared", text, f"it has {', '.join(sorted(declared)) or 'none'}")
    before = task.signals.patch if task.signals is not None else {}
    if len(pack(before | body)) > BODY_BYTES_MAX:
        text = f"the patches of task {task.task_id} take more than {BODY_BYTES_MAX} bytes"
        return Refused("value_too_large", text, "hand over the name of a file, or of a value")
    return None


def _refused_message(task: Task, message: SendSignal, body: Value, name: str) -> Refused | None:
    if message.mode not in MODES:
        return Refused("signal_invalid", f"{message.mode!r} is none of {', '.join(MODES)}")
    if len(pack(body)) > BODY_BYTES_MAX:
        text = f"a message takes at most {BODY_BYTES_MAX} bytes"
        return Refused("value_too_large", text, "hand over the name of a file, or of a value")
    if message.mode == REJECT and task.status in ATTEMPTED:
        return Refused("task_busy", f"{name} is at work", "send it as `followup`, or wait")
    signals = task.signals or Signals()
    if len(signals.untaken) >= message.waiting_max:
        text = f"{message.waiting_max} messages wait for {name} already"
        return Refused("signals_full", text, "wait until it has taken some")
    text = f"{name} took {HELD_MAX} messages without saving its state"
    full = Refused("signals_full", text, "let its agent call ctx.save()")
    return full if len(signals.waiting) >= HELD_MAX else None


def withdraw(task: Task, message: WithdrawSignal, moment: Moment) -> Decision:
    """Take a message back, unless it was taken."""
    name = f"task {task.task_id} of run {task.run_id}"
    found = task.signals.waiting.get(message.signal) if task.signals is not None else None
    if found is None or task.status in OVER:
        text = f"no message {message.signal} waits for {name}"
        return Decision(reply=Refused("signal_not_found", text))
    if found.taken_by:
        text = f"message {message.signal} was taken by attempt {found.taken_by} of {name}"
        return Decision(reply=Refused("signal_consumed", text))
    facts = (SignalEnded(message.signal, WITHDRAWN, message.reason),)
    return Decision(facts, (), _gone(task, message.signal, moment), Accepted(message.signal))


def timer(task: Task, timer_id: str, moment: Moment) -> Decision:
    """Let a message expire, or hand over what came before the window closed."""
    signals, now_ns = task.signals, moment.now_ns
    if signals is None or task.status in OVER:  # what had come was told of as it ended
        return NOTHING
    if timer_id == QUIET:
        ready = tuple(one for one in signals.ready(now_ns) if one.mode == COALESCE)
        if not ready or task.status not in ATTEMPTED:
            return NOTHING
        return Decision((), (), (_tell(task, moment, Offer(ready)),))
    found = signals.waiting.get(timer_id.removeprefix(EXPIRE))
    if found is None or found.taken_by or found.deadline_ns > now_ns:
        return NOTHING
    return Decision((_expired(found.signal),), (), _gone(task, found.signal, moment))


def overdue(signals: Signals | None, moment: Moment) -> tuple[SignalEnded, ...]:
    """Return what expired while no attempt could take it."""
    if signals is None:
        return ()
    now_ns = moment.now_ns
    waiting = signals.untaken
    return tuple(_expired(one.signal) for one in waiting if 0 < one.deadline_ns <= now_ns)


def _expired(signal: str) -> SignalEnded:
    return SignalEnded(signal, EXPIRED, "its deadline was over")


def is_current(task: Task, token: AttemptToken, moment: Moment) -> bool:
    """Tell whether a token is that of the task's last attempt, in the history that is written now.

    Where a log was cut or restored numbers are given again, in another era: what was started in
    the one before is not told apart by its number.
    """
    return token.number == task.token and token.era == moment.era


def consumed(task: Task, report: Consumed, moment: Moment) -> Decision:
    """Record what the handler took, each once for an attempt."""
    signals = task.signals
    is_heard = is_current(task, report.token, moment) and task.status in ATTEMPTED
    if signals is None or not is_heard:
        return NOTHING
    taken = []
    for signal in report.signals:
        found = signals.waiting.get(signal)
        if signal in signals.crossed or (found is not None and not found.taken_by):
            taken.append(SignalConsumed(signal, task.attempt, task.token))
    return Decision(tuple(taken)) if taken else NOTHING


def saved(task: Task, report: Saved, moment: Moment) -> Decision:
    """Record the state of the handler; `number` tells what was handed over again."""
    signals = task.signals or Signals()
    if not is_current(task, report.token, moment) or task.status not in ATTEMPTED:
        return NOTHING
    if signals.saved_by == task.attempt and report.number <= signals.saves:
        return NOTHING
    fact = StateSaved(task.attempt, task.token, report.state, report.number)
    done = (one for one in signals.waiting.values() if one.taken_by)
    return Decision((fact,), (), (*_cleared(done, moment), *tell_full(task, moment)))


def end(task: Task, message: EndSignals, moment: Moment) -> Decision:
    """Decline what waits for a task that will not begin, or begins no more."""
    return NOTHING if task.signals is None else _declined(task.signals, message.reason, moment)


def _declined(signals: Signals, reason: str, moment: Moment) -> Decision:
    facts = tuple(SignalEnded(one.signal, DECLINED, reason) for one in signals.untaken)
    return Decision(facts, (), _cleared(signals.waiting.values(), moment))


def with_farewell(task: Task, decision: Decision, moment: Moment) -> Decision:
    """Decline what still waits where a decision ends the task, before it ends.

    What an attempt took that failed, or is lost, waits too: no other comes to take it again.
    """
    last = type(decision.facts[-1]) if decision.facts else None
    if last not in _ENDS or task.signals is None:
        return decision
    signals = task.signals
    if any(isinstance(fact, AttemptLost | AttemptFailed) for fact in decision.facts):
        signals = without_attempt(signals, task.attempt)
    told = _declined(signals, f"the task {_ENDS[last]}", moment)
    return decision._replace(
        facts=(*told.facts, *decision.facts), effects=(*told.effects, *decision.effects)
    )


def _cleared(waiting: Any, moment: Moment) -> list[object]:
    timers: list[object] = []
    quiet_ns = 0
    for one in waiting:
        if one.deadline_ns > moment.now_ns:
            timers.append(ClearTimer(EXPIRE + one.signal, one.deadline_ns))
        quiet_ns = max(quiet_ns, 0 if one.taken_by else one.ready_ns)
    if quiet_ns > moment.now_ns:
        timers.append(ClearTimer(QUIET, quiet_ns))
    return timers


def _gone(task: Task, signal: str, moment: Moment) -> list[object]:
    """Return what follows when a message is no more: its timer goes, the attempt is told."""
    assert task.signals is not None, "it waited"
    found = task.signals.waiting[signal]
    before_ns = task.signals.quiet_ns
    others = (one for one in task.signals.untaken if one is not found)
    after_ns = max((one.ready_ns for one in others), default=0)
    effects: list[object] = []
    if found.deadline_ns > moment.now_ns:
        effects.append(ClearTimer(EXPIRE + signal, found.deadline_ns))
    if before_ns > moment.now_ns and after_ns != before_ns:
        effects.append(ClearTimer(QUIET, before_ns))
        effects += [SetTimer(QUIET, after_ns)] if after_ns else []
    if task.status in ATTEMPTED:
        effects.append(_tell(task, moment, Retract(signal)))
    return effects


def again(task: Task, moment: Moment) -> tuple[TellAttempt, ...]:
    """Return all that an attempt should know by now: what was said to it may have been lost."""
    tells = []
    if task.signals is not None:
        patch = task.signals.patch
        given = (Signal("", PARAMS, STEER, patch, ""),) if patch else ()
        tells.append(_tell(task, moment, Offer((*given, *task.signals.ready(moment.now_ns)))))
    if task.steps is not None:
        tells.append(_tell(task, moment, Recorded(tuple(task.steps.numbers))))
    if task.status == RUNNING:
        tells.append(_tell(task, moment, Pause(task.hold is not None)))
    if task.status == INTERRUPTING and task.hold is not None:
        tells.append(_tell(task, moment, Interrupt(task.hold.reason, 0.0)))
    return tuple(tells)


def _tell(task: Task, moment: Moment, word: Word) -> TellAttempt:
    return TellAttempt(AttemptToken(moment.partition, moment.era, task.token), word)
