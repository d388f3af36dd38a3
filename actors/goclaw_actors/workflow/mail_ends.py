"""How a signal ends that a run keeps and no task asked for: taken back, or over its deadline.

A deadline counts only while the signal is kept: its timer goes when a task is given the signal, and
is set again if that task gives it back. What was given is nobody's to take back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.decider import NOTHING, Accepted, ClearTimer, Decision, Refused, SetTimer
from goclaw_events.facts import NamedSignalEnded

if TYPE_CHECKING:
    from goclaw_actors.answering import WithdrawNamed
    from goclaw_actors.decider import Moment
    from goclaw_actors.workflow.mail import Kept
    from goclaw_actors.workflow.state import Run

EXPIRE: Final = "expire/"
"""How the timer of a kept signal begins; its id follows."""
WITHDRAWN: Final = "withdrawn"
EXPIRED: Final = "expired"


def withdraw(run: Run, message: WithdrawNamed, moment: Moment) -> Decision:
    """Take a signal back that is kept still."""
    if run.plan is None:
        return Decision(reply=Refused("run_not_found", f"there is no run {run.run_id}"))
    found = None if run.mail is None else run.mail.find(message.signal)
    if found is None:
        text = f"run {run.run_id} keeps no signal {message.signal}"
        return Decision(reply=Refused("signal_not_found", text))
    name, kept = found
    ended = NamedSignalEnded(message.signal, name, WITHDRAWN, message.reason, message.sender)
    return Decision((ended,), (), cleared(kept, moment), Accepted(message.signal))


def expire(run: Run, timer_id: str, moment: Moment) -> Decision:
    """Let a signal go whose deadline is over, unless a task was given it."""
    found = None if run.mail is None else run.mail.find(timer_id.removeprefix(EXPIRE))
    if found is None or not found[1].is_over(moment.now_ns):
        return NOTHING
    return Decision((expired(*found),))


def expired(name: str, kept: Kept) -> NamedSignalEnded:
    """Return the fact that a deadline was over."""
    return NamedSignalEnded(kept.signal, name, EXPIRED, "its deadline was over")


def awaited_end(kept: Kept) -> tuple[SetTimer, ...]:
    """Return the timer of a signal that is kept from now on; none, if it has no deadline."""
    return (SetTimer(EXPIRE + kept.signal, kept.deadline_ns),) if kept.deadline_ns else ()


def cleared(kept: Kept, moment: Moment) -> tuple[ClearTimer, ...]:
    """Return what forgets the timer of a signal; one that is due comes, and finds nothing."""
    if kept.deadline_ns <= moment.now_ns:
        return ()
    return (ClearTimer(EXPIRE + kept.signal, kept.deadline_ns),)


def all_cleared(run: Run, moment: Moment) -> tuple[Any, ...]:
    """Return what forgets the timers of all signals of a run that ends."""
    if run.mail is None:
        return ()
    rows = (kept for signals in run.mail.kept.values() for kept in signals)
    return tuple(timer for kept in rows for timer in cleared(kept, moment))
