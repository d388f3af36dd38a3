"""What is said about tasks that wait for an answer: a signal by its name, or a person's word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from goclaw_events.value import BlobRef, Value

SIGNAL: Final = "signal"
"""The verdict of an answer that is a signal."""
APPROVED: Final = "approved"
REJECTED: Final = "rejected"
"""The verdicts of people."""


# To a run.
class SendNamed(NamedTuple):
    """Send a signal by its name to whichever task waits for it, now or later.

    `kept_max`: so many of one name are kept. The rest as in `SignalReceived` and `SendSignal`.
    """

    name: str
    signal: str
    body: Value
    sender: str
    digest: bytes
    kept_max: int = 16
    deadline_ns: int = 0


class WithdrawNamed(NamedTuple):
    """Take a signal back that the run keeps. As in `NamedSignalEnded`."""

    signal: str
    reason: str
    sender: str


class AskSignal(NamedTuple):
    """A task waits for a signal of a name, from this generation on."""

    task: str
    generation: int
    name: str


class ReturnSignal(NamedTuple):
    """The task did not take a signal: it had ended. As in `SignalReturned`."""

    signal: str
    name: str
    body: Value
    sender: str
    deadline_ns: int = 0


# To a task.
class AwaitTask(NamedTuple):
    """The task's needs are met: wait for an answer. As in `TaskAwaiting`."""

    definition: BlobRef
    generation: int
    signal: str
    asked: Value
    due_ns: int = 0


class AnswerTask(NamedTuple):
    """This is what the task waits for; `name` is that of the signal. As in `TaskAnswered`.

    `deadline_ns`: until when the signal may be kept, if the task gives it back.
    """

    answer: str
    verdict: str
    name: str
    body: Value
    sender: str
    deadline_ns: int = 0


class DecideTask(NamedTuple):
    """Approve, or reject, what a task asks: first said to its run, which passes it on.

    `arguments` take the place of those that were asked about, if they are `edited`. `proved` are
    the names that the transport proved for whoever decides, `claimed` the one they gave themselves.
    The rest as in `TaskAnswered` and `SendSignal`.
    """

    task: str
    answer: str
    verdict: str
    arguments: Value
    edited: bool
    sender: str
    proved: list[str]
    claimed: str
    reason: str
    digest: bytes


ANSWER_MESSAGES: Final[tuple[tuple[type, str], ...]] = (
    (SendNamed, "run.send_named"),
    (WithdrawNamed, "run.withdraw_named"),
    (AskSignal, "run.ask_signal"),
    (ReturnSignal, "run.return_signal"),
    (AwaitTask, "task.await"),
    (AnswerTask, "task.answer"),
    (DecideTask, "task.decide"),
)
"""Each with the name under which it may stand in a log."""
