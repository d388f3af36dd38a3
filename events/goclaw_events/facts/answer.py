"""What a task waits for that others say, a signal by its name or a person's word, and what came.

`TaskAwaiting` and `TaskAnswered` stand in the stream of the task, the others in that of its run,
which keeps signals until a task waits for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from goclaw_events.value import BlobRef, Value


class TaskAwaiting(NamedTuple):
    """The task waits for an answer and holds no slot.

    `signal`: the name of the signal that it waits for; '': a person is asked. `asked`: on what
    terms, as its definition says them: of a person who, message and arguments besides. `due_ns`:
    its deadline, 0: there is none.
    """

    definition: BlobRef
    generation: int
    signal: str
    asked: Value
    due_ns: int = 0


class TaskAnswered(NamedTuple):
    """What the task waited for came, once: `answer` is the id of what came.

    `verdict` is `signal`, with its payload as `body`; or a person's word, `approved` or `rejected`,
    with `{arguments}` as `body` where they edited those that they were asked about. `sender`: who
    said it, as the transport proved it, and the name that they claimed behind a slash; '': nobody
    did before the deadline, and the definition decides.
    """

    answer: str
    verdict: str
    body: Value
    sender: str
    reason: str = ""


class SignalReceived(NamedTuple):
    """Somebody sent the run a signal by its name; it is kept until a task waits for it.

    `deadline_ns`: it is kept no longer than that, 0: there is none.
    """

    signal: str
    name: str
    body: Value
    sender: str
    deadline_ns: int = 0


class SignalAwaited(NamedTuple):
    """A task waits for a signal of a name, and there is none yet."""

    name: str
    task: str
    generation: int


class SignalGiven(NamedTuple):
    """The oldest signal of a name goes to the task that has waited for it longest."""

    signal: str
    name: str
    task: str


class SignalReturned(NamedTuple):
    """The task had ended when the signal came to it: it is the oldest of its name again."""

    signal: str
    name: str
    body: Value
    sender: str
    deadline_ns: int = 0


class NamedSignalEnded(NamedTuple):
    """No task gets a signal that the run kept: somebody took it back, or its deadline was over.

    `state`: withdrawn or expired. `sender`: who took it back; '': nobody did.
    """

    signal: str
    name: str
    state: str
    reason: str
    sender: str = ""


class SignalsLeft(NamedTuple):
    """No task waited for these signals (by their ids): the run ends without them."""

    signals: list[str]
    reason: str


TaskAnswerFact: TypeAlias = TaskAwaiting | TaskAnswered
RunMailFact: TypeAlias = (
    SignalReceived | SignalAwaited | SignalGiven | SignalReturned | NamedSignalEnded | SignalsLeft
)
