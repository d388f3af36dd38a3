"""Signals by their names, as a run keeps them: for whichever task waits, each once and in order.

A signal is received, then given to the task that has waited longest; or a task asks, and is given
the oldest one. So there is never one that is kept beside a task that waits for it. A task that
ended in the same moment gives it back, and it is the oldest again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, assert_never

from goclaw_actors.answering import SIGNAL, AnswerTask, AskSignal, ReturnSignal, SendNamed
from goclaw_actors.decider import NOTHING, Accepted, Decision, Refused, Send
from goclaw_actors.statuses import ACTIVE, PENDING
from goclaw_events.facts import (
    SignalAwaited,
    SignalGiven,
    SignalReceived,
    SignalReturned,
    SignalsLeft,
)
from goclaw_events.ids import task_stream
from goclaw_events.plan import awaiting
from goclaw_events.shape import misfit
from goclaw_events.value import BlobRef, pack

if TYPE_CHECKING:
    from goclaw_actors.contents import Contents
    from goclaw_actors.workflow.state import Run
    from goclaw_events.facts import RunMailFact
    from goclaw_events.value import Value

BODY_BYTES_MAX: Final = 60 * 1024
"""A signal takes at most so much: it stays inline."""
KEPT_BYTES_MAX: Final = 512 * 1024
"""So much of all signals together a run keeps."""
NAMED_MAX: Final = 10
_NOT_ENDED: Final = frozenset({PENDING, ACTIVE})
_CLOSED: Final = frozenset({"cancelling", "completed", "failed", "cancelled"})


class Mail:
    """What a run keeps, in order of arrival, and which tasks wait, in order of asking.

    `kept`: by name, [id, body, sender, bytes]; `waiting`: by name, the plan indexes of tasks, each
    with its generation. Never both of one name.
    """

    __slots__ = ("asks", "kept", "kept_bytes", "waiting")

    def __init__(self) -> None:
        self.kept: dict[str, list[list[Any]]] = {}
        self.waiting: dict[str, dict[int, int]] = {}
        self.asks: dict[int, str] = {}
        self.kept_bytes = 0

    def put(self, name: str, signal: list[Any], *, first: bool = False) -> None:
        """Keep a signal: [id, body, sender]."""
        size = len(pack(signal[1]))
        self.kept_bytes += size
        row = [*signal, size]
        kept = self.kept.setdefault(name, [])
        kept.insert(0 if first else len(kept), row)

    def take(self, name: str, signal: str) -> None:
        """Keep a signal no more."""
        kept = self.kept[name]
        found = next(row for row in kept if row[0] == signal)
        kept.remove(found)
        self.kept_bytes -= found[3]
        if not kept:
            del self.kept[name]

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
        kept = [[name, [row[:3] for row in rows]] for name, rows in sorted(self.kept.items())]
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
                mail.put(name, list(row))
        for name, found in waiting:
            for index, generation in found:
                mail.ask(name, index, generation)
        return mail


def evolve(run: Run, fact: RunMailFact) -> None:
    """Apply a fact in place."""
    assert run.plan is not None, "the first fact of a run is its submission"
    mail = run.mail = run.mail or Mail()
    match fact:
        case SignalReceived(signal, name, body, sender):
            mail.put(name, [signal, body, sender])
        case SignalReturned(signal, name, body, sender):
            mail.put(name, [signal, body, sender], first=True)
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

    def send(self, run: Run, message: SendNamed, _moment: object) -> Decision:
        """Give a signal to the task that waits for it, or keep it; or say why not."""
        body = message.body
        whole = self._contents.value(body) if isinstance(body, BlobRef) else body
        refused = _refusal(run, message, whole)
        if refused is not None:
            return Decision(reply=refused)
        received = SignalReceived(message.signal, message.name, whole, message.sender)
        given, sends = _to_first(run, received)
        return Decision((received, *given), sends, (), Accepted(message.signal))

    def ask(self, run: Run, message: AskSignal, _moment: object) -> Decision:
        """Give a task the oldest signal of a name, or have it wait."""
        index = None if run.plan is None else run.plan.index.get(message.task)
        if index is None or run.has_ended or run.statuses[index] != ACTIVE:
            return NOTHING
        kept = None if run.mail is None else run.mail.kept.get(message.name)
        if not kept:
            return Decision((SignalAwaited(message.name, message.task, message.generation),))
        signal, body, sender, _ = kept[0]
        return Decision(*_give(run, message.task, message.name, [signal, body, sender]))

    def returned(self, run: Run, message: ReturnSignal, _moment: object) -> Decision:
        """Take a signal back that a task did not take, and give it to the next."""
        if run.plan is None or run.has_ended:
            return NOTHING
        body = message.body
        whole = self._contents.value(body) if isinstance(body, BlobRef) else body
        back = SignalReturned(message.signal, message.name, whole, message.sender)
        given, sends = _to_first(run, back)
        return Decision((back, *given), sends)


def _to_first(
    run: Run, came: SignalReceived | SignalReturned
) -> tuple[tuple[SignalGiven, ...], tuple[Send, ...]]:
    """Give what came to the task that has waited for it longest, if one does."""
    index = None if run.mail is None else run.mail.first(came.name)
    if index is None or run.plan is None:
        return (), ()
    return _give(run, run.plan.tasks[index].id, came.name, [came.signal, came.body, came.sender])


def _give(
    run: Run, task: str, name: str, signal: list[Value]
) -> tuple[tuple[SignalGiven, ...], tuple[Send, ...]]:
    id_, body, sender = signal
    answer = AnswerTask(id_, SIGNAL, name, body, sender)
    return (SignalGiven(id_, name, task),), (Send(task_stream(run.run_id, task), answer),)


def _refusal(run: Run, message: SendNamed, body: Value) -> Refused | None:
    """Return why a signal is not taken in; None: it is."""
    name = message.name
    if run.plan is None:
        return Refused("run_not_found", f"there is no run {run.run_id}")
    if run.status in _CLOSED:
        return Refused("run_finished", f"run {run.run_id} is {run.status} already")
    heard = awaiting(run.plan)
    tasks = heard.get(name)
    if tasks is None:
        known = ", ".join(list(heard)[:NAMED_MAX])
        text = f"no task of run {run.run_id} waits for a signal {name!r}"
        return Refused("signal_unknown", text, f"they wait for {known or 'none'}")
    if not any(run.statuses[index] in _NOT_ENDED for index in tasks):
        text = f"every task of run {run.run_id} that waits for a signal {name!r} has ended"
        return Refused("task_finished", text)
    return _misfit(run, tasks, name, body) or _no_room(run, message, body)


def _misfit(run: Run, tasks: list[int], name: str, body: Value) -> Refused | None:
    """Refuse a payload that a task which may get it does not take."""
    assert run.plan is not None, "it was submitted"
    for index in tasks:
        schema = run.plan.tasks[index].params.body["schema"]
        wrong = None if schema is None else misfit(body, schema)
        if wrong is not None and run.statuses[index] in _NOT_ENDED:
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
    if run.mail.kept_bytes + size > KEPT_BYTES_MAX:
        text = f"the signals that wait in run {run.run_id} take {run.mail.kept_bytes} bytes already"
        return Refused("signals_full", text, "wait until a task has taken some")
    return None


def left_from(run: Run) -> list[SignalsLeft]:
    """Return the fact that no task took what is kept of a run that ends; none, if nothing is."""
    if run.mail is None or not run.mail.kept:
        return []
    ids = [row[0] for rows in run.mail.kept.values() for row in rows]
    return [SignalsLeft(ids, "the run ended")]
