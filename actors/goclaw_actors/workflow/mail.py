"""Signals by their names, as a run keeps them: for whichever task waits, each once and in order.

A signal is received, then given to the task that has waited longest; or a task asks, and is given
the oldest one. So there is never one that is kept beside a task that waits for it. A task that
ended in the same moment gives it back, and it is the oldest again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, assert_never

from goclaw_actors.answering import SIGNAL, AnswerTask, AskSignal, ReturnSignal, SendNamed
from goclaw_actors.decider import NOTHING, Accepted, Decision, Refused, Send
from goclaw_actors.statuses import ACTIVE, PENDING
from goclaw_actors.workflow.mail_ends import awaited_end, cleared, expired
from goclaw_events.facts import (
    NamedSignalEnded,
    SignalAwaited,
    SignalGiven,
    SignalReceived,
    SignalReturned,
    SignalsLeft,
)
from goclaw_events.ids import task_stream
from goclaw_events.plan import awaited_by, awaiting, has_own_names, schema_of
from goclaw_events.shape import misfit
from goclaw_events.value import BlobRef, pack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goclaw_actors.contents import Contents
    from goclaw_actors.decider import MapChunks, Moment
    from goclaw_actors.workflow.state import Run
    from goclaw_events.facts import RunMailFact
    from goclaw_events.value import Value

BODY_BYTES_MAX: Final = 60 * 1024
"""A signal takes at most so much: it stays inline."""
KEPT_BYTES_MAX: Final = 512 * 1024
"""So much of all signals together a run keeps."""
KEPT_FOR_ITEMS_MAX: Final = 1_000
"""So many are kept for items that have names of their own: nobody knows of one if it will come."""
NAMED_MAX: Final = 10
_NOT_ENDED: Final = frozenset({PENDING, ACTIVE})
_CLOSED: Final = frozenset({"cancelling", "completed", "failed", "cancelled"})


class Kept(NamedTuple):
    """A signal that the run keeps; `size`: so many bytes its body takes."""

    signal: str
    body: Value
    sender: str
    deadline_ns: int
    size: int

    def is_over(self, now_ns: int) -> bool:
        """Tell whether its deadline is over."""
        return 0 < self.deadline_ns <= now_ns


class Mail:
    """What a run keeps, in order of arrival, and which tasks wait, in order of asking.

    `waiting`: by name, the plan indexes of tasks, each with its generation. Never is anything kept
    beside a task that waits for it.
    """

    __slots__ = ("asks", "kept", "kept_bytes", "waiting")

    def __init__(self) -> None:
        self.kept: dict[str, list[Kept]] = {}
        self.waiting: dict[str, dict[int, int]] = {}
        self.asks: dict[int, str] = {}
        self.kept_bytes = 0

    def put(self, name: str, signal: Kept, *, first: bool = False) -> None:
        """Keep a signal."""
        self.kept_bytes += signal.size
        kept = self.kept.setdefault(name, [])
        kept.insert(0 if first else len(kept), signal)

    def take(self, name: str, signal: str) -> None:
        """Keep a signal no more."""
        kept = self.kept[name]
        found = next(one for one in kept if one.signal == signal)
        kept.remove(found)
        self.kept_bytes -= found.size
        if not kept:
            del self.kept[name]

    def find(self, signal: str) -> tuple[str, Kept] | None:
        """Return a signal that is kept, by its id, with its name; there are few."""
        rows = ((name, one) for name, kept in self.kept.items() for one in kept)
        return next((found for found in rows if found[1].signal == signal), None)

    def ask(self, name: str, index: int, generation: int) -> None:
        """Have a task wait."""
        self.leave(index)
        self.waiting.setdefault(name, {})[index] = generation
        self.asks[index] = name

    def leave(self, index: int) -> None:
        """Have a task wait no more."""
        name = self.asks.pop(index, None)
        if name is not None:
            del self.waiting[name][index]
            if not self.waiting[name]:
                del self.waiting[name]

    def first(self, name: str) -> int | None:
        """Return the task that has waited longest; None: none waits."""
        return next(iter(self.waiting.get(name, ())), None)

    def as_list(self) -> list[Any]:
        """Return it as plain data: equal ones give equal data."""
        kept = [[name, [list(one[:-1]) for one in rows]]
                for name, rows in sorted(self.kept.items())]  # fmt: skip
        waiting = [[name, [list(one) for one in found.items()]]
                   for name, found in sorted(self.waiting.items())]  # fmt: skip
        return [kept, waiting]

    @staticmethod
    def of_list(said: list[Any]) -> Mail:
        """Make it again from plain data."""
        mail = Mail()
        kept, waiting = said
        for name, rows in kept:
            for row in rows:
                mail.put(name, _kept(*row))
        for name, found in waiting:
            for index, generation in found:
                mail.ask(name, index, generation)
        return mail


def _kept(signal: str, body: Value, sender: str, deadline_ns: int) -> Kept:
    return Kept(signal, body, sender, deadline_ns, len(pack(body)))


def with_deadlines(root: Any, maps: MapChunks) -> tuple[Any, MapChunks]:
    """Raise a run from form 13: what it keeps has no deadlines."""
    *rest, mailed = root
    if mailed is not None:
        kept, waiting = mailed
        mailed = [[[name, [[*row, 0] for row in rows]] for name, rows in kept], waiting]
    return [*rest, mailed], maps


def evolve(run: Run, fact: RunMailFact) -> None:
    """Apply a fact in place."""
    assert run.plan is not None, "the first fact of a run is its submission"
    mail = run.mail = run.mail or Mail()
    match fact:
        case SignalReceived(signal, name, body, sender, deadline_ns):
            mail.put(name, _kept(signal, body, sender, deadline_ns))
        case SignalReturned(signal, name, body, sender, deadline_ns):
            mail.put(name, _kept(signal, body, sender, deadline_ns), first=True)
        case NamedSignalEnded(signal, name):
            mail.take(name, signal)
        case SignalAwaited(name, task, generation):
            mail.ask(name, run.plan.index[task], generation)
        case SignalGiven(signal, name, task):
            mail.take(name, signal)
            mail.leave(run.plan.index[task])
        case SignalsLeft():
            mail.kept.clear()
            mail.kept_bytes = 0
        case _:
            assert_never(fact)


class Mailing:
    """The decisions about signals by their names."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents

    def send(self, run: Run, message: SendNamed, moment: Moment) -> Decision:
        """Give a signal to the task that waits for it, or keep it; or say why not."""
        body = message.body
        whole = self._contents.value(body) if isinstance(body, BlobRef) else body
        refused = _refusal(run, message, whole, moment)
        if refused is None and (run.mail is None or run.mail.first(message.name) is None):
            refused = moment.full  # what a task waits for, it gets
        if refused is not None:
            return Decision(reply=refused)
        signal, name, sender = message.signal, message.name, message.sender
        received = SignalReceived(signal, name, whole, sender, message.deadline_ns)
        return _came(run, received)._replace(reply=Accepted(signal))

    def ask(self, run: Run, message: AskSignal, moment: Moment) -> Decision:
        """Give a task the oldest signal of a name, or have it wait."""
        index = None if run.plan is None else run.plan.index.get(message.task)
        if index is None or run.has_ended or run.statuses[index] != ACTIVE:
            return NOTHING
        name = message.name
        kept = () if run.mail is None else run.mail.kept.get(name, ())
        over = tuple(expired(name, one) for one in kept if one.is_over(moment.now_ns))
        oldest = next((one for one in kept if not one.is_over(moment.now_ns)), None)
        if oldest is None:
            return Decision((*over, SignalAwaited(name, message.task, message.generation)))
        given, sends = _give(run, message.task, name, oldest)
        return Decision((*over, *given), sends, cleared(oldest, moment))

    def returned(self, run: Run, message: ReturnSignal, moment: Moment) -> Decision:
        """Take a signal back that a task did not take, and give it to the next."""
        if run.plan is None or run.has_ended:
            return NOTHING
        body = message.body
        whole = self._contents.value(body) if isinstance(body, BlobRef) else body
        back = SignalReturned(*message)._replace(body=whole)
        kept = _kept_of(back)
        if kept.is_over(moment.now_ns):
            return Decision((back, expired(message.name, kept)))
        return _came(run, back)


def _kept_of(came: SignalReceived | SignalReturned) -> Kept:
    return _kept(came.signal, came.body, came.sender, came.deadline_ns)


def _came(run: Run, came: SignalReceived | SignalReturned) -> Decision:
    """Give what came to the task that has waited for it longest, if one does; or keep it."""
    index = None if run.mail is None else run.mail.first(came.name)
    if index is None or run.plan is None:
        return Decision((came,), (), awaited_end(_kept_of(came)))
    given, sends = _give(run, run.plan.tasks[index].id, came.name, _kept_of(came))
    return Decision((came, *given), sends)


def _give(
    run: Run, task: str, name: str, kept: Kept
) -> tuple[tuple[SignalGiven, ...], tuple[Send, ...]]:
    signal, body, sender, deadline_ns, _ = kept
    answer = AnswerTask(signal, SIGNAL, name, body, sender, deadline_ns)
    return (SignalGiven(signal, name, task),), (Send(task_stream(run.run_id, task), answer),)


def _refusal(run: Run, message: SendNamed, body: Value, moment: Moment) -> Refused | None:
    """Return why a signal is not taken in; None: it is."""
    name = message.name
    if run.plan is None:
        return Refused("run_not_found", f"there is no run {run.run_id}")
    if run.status in _CLOSED:
        return Refused("run_finished", f"run {run.run_id} is {run.status} already")
    tasks = awaited_by(run.plan, name)
    if not tasks:
        known = ", ".join(list(awaiting(run.plan))[:NAMED_MAX])
        text = f"no task of run {run.run_id} waits for a signal {name!r}"
        return Refused("signal_unknown", text, f"they wait for {known or 'none'}")
    if run.plan.mapped is not None:  # they are all as one, and may be many
        tasks = tasks[:1] if any(status in run.statuses for status in _NOT_ENDED) else ()
    else:
        tasks = [index for index in tasks if run.statuses[index] in _NOT_ENDED]
    if not tasks:
        text = f"every task of run {run.run_id} that waits for a signal {name!r} has ended"
        return Refused("task_finished", text)
    if 0 < message.deadline_ns <= moment.now_ns:
        return Refused("signal_invalid", "its deadline is over already")
    return _misfit(run, tasks, name, body) or _no_room(run, message, body)


def _misfit(run: Run, tasks: Sequence[int], name: str, body: Value) -> Refused | None:
    """Refuse a payload that a task which may get it does not take."""
    assert run.plan is not None, "it was submitted"
    for index in tasks:
        schema = schema_of(run.plan.tasks[index])
        wrong = None if schema is None else misfit(body, schema)
        if wrong is not None:
            task = run.plan.tasks[index].id
            return Refused("signal_invalid", f"task {task} does not take this {name}: {wrong}")
    return None


def _no_room(run: Run, message: SendNamed, body: Value) -> Refused | None:
    size = len(pack(body))
    if size > BODY_BYTES_MAX:
        text = f"a signal takes at most {BODY_BYTES_MAX} bytes"
        return Refused("value_too_large", text, "hand over the name of a file, or of a value")
    if run.mail is None or run.mail.first(message.name) is not None:
        return None
    kept = len(run.mail.kept.get(message.name, ()))
    if kept >= message.kept_max:
        text = f"{kept} signals {message.name!r} wait in run {run.run_id} already"
        return Refused("signals_full", text, "wait until a task has taken some")
    if run.plan is not None and has_own_names(run.plan):
        kept = sum(map(len, run.mail.kept.values()))
        if kept >= KEPT_FOR_ITEMS_MAX:
            text = f"{kept} signals wait in run {run.run_id} for items that have not asked for them"
            return Refused("signals_full", text, "wait until items have taken some")
    if run.mail.kept_bytes + size > KEPT_BYTES_MAX:
        text = f"the signals that wait in run {run.run_id} take {run.mail.kept_bytes} bytes already"
        return Refused("signals_full", text, "wait until a task has taken some")
    return None


def left_from(run: Run) -> list[SignalsLeft]:
    """Return the fact that no task took what is kept of a run that ends; none, if nothing is."""
    if run.mail is None or not run.mail.kept:
        return []
    ids = [one.signal for kept in run.mail.kept.values() for one in kept]
    return [SignalsLeft(ids, "the run ended")]
