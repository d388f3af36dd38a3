"""The port to user work: what leaves a task after its commit, and what comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from goclaw_events.value import Value


RETURNED: Final = "returned"
SLEPT: Final = "slept"
GRACE: Final = "grace"


class AttemptToken(NamedTuple):
    """Fence an attempt: only the holder of the current one can record a result.

    `number` is the position that the attempt's `AttemptStarted` took; it grows for ever.
    """

    partition: int
    era: int
    number: int


class Signal(NamedTuple):
    """Something said to a task, as its attempt gets it; see `SignalAccepted`.

    `redelivered`: an attempt before this one took it, or may have. `parts`: the ids of the messages
    that were merged to one, whose `body` is a list of theirs then.
    """

    id: str
    kind: str
    mode: str
    body: Value
    sender: str
    redelivered: bool = False
    parts: tuple[str, ...] = ()


class StepRecord(NamedTuple):
    """A durable step as a task has recorded it; see `StepRecorded`."""

    name: str
    key: str
    digest: bytes
    result: Value


class StartAttempt(NamedTuple):
    """Run one attempt of a task; sent only after its `AttemptStarted` is durable.

    `kind` is that of the task (`agent`, `exec`, `http`) and decides who runs it; `agent` is empty
    for all others. `timeout_s` is what is left of the narrowest limit, `timeout_of` says which
    that is. `heartbeat_s`: how long the attempt may be silent. `lane` is where its slot is from.
    `signals` wait for it. `state` is what an attempt before it saved last. `steps` are those that
    attempts before it recorded. `paused`: it was before it began.
    """

    stream: str
    run_id: str
    task_id: str
    generation: int
    attempt: int
    token: AttemptToken
    agent: str
    params: Value
    timeout_s: float | None
    kind: str = "agent"
    timeout_of: str = "timeout"
    heartbeat_s: float | None = None
    lane: str = ""
    signals: tuple[Signal, ...] = ()
    state: Value = None
    steps: tuple[StepRecord, ...] = ()
    paused: bool = False

    @property
    def idempotency_key(self) -> str:
        """Return the key that all attempts of one generation of the task share."""
        return f"{self.run_id}/{self.task_id}/{self.generation}"


class StopAttempt(NamedTuple):
    """Stop an attempt: cancel what awaits, tell what runs in a thread, abandon it after grace."""

    token: AttemptToken
    reason: str


class Offer(NamedTuple):
    """Here are signals; those that the attempt has already are passed over."""

    signals: tuple[Signal, ...]


class Retract(NamedTuple):
    """A signal is no more, unless the handler has taken it."""

    signal: str


class Interrupt(NamedTuple):
    """Stop with your state saved, within `timeout_s`; then what you await is cancelled.

    None: within the grace of the executors, and at once where the code looks at no boundary.
    """

    reason: str
    timeout_s: float | None


class Pause(NamedTuple):
    """Stand still at your next boundary until you are told to go on (`is_on` False)."""

    is_on: bool


class Written(NamedTuple):
    """So many bytes of the attempt's output were written: there is room for more."""

    size: int


class Limit(NamedTuple):
    """The attempt has another time: `timeout_s` from its start, and `left_s` from now.

    None: there is no such limit. `left_of` says which one the second is; see `StartAttempt`.
    """

    timeout_s: float | None
    left_s: float | None
    left_of: str


class Recorded(NamedTuple):
    """Steps, each (name, key), are durable: their results may be used."""

    steps: tuple[tuple[str, str], ...]


class Unrecorded(NamedTuple):
    """A step is not recorded, because a secret is in its result."""

    name: str
    key: str
    message: str


class Full(NamedTuple):
    """The history of the task is full: save no more state, and do no more steps."""

    message: str
    hint: str


Word: TypeAlias = (
    Offer | Retract | Interrupt | Pause | Written | Limit | Recorded | Unrecorded | Full
)


class TellAttempt(NamedTuple):
    """Tell an attempt something; sent only after what it says is durable."""

    token: AttemptToken
    word: Word


class Outcome(NamedTuple):
    """How an attempt ended. `status`: completed, failed, cancelled, `slept`, or `returned`.

    `blobs` holds the packed bytes of every `BlobRef` in `result`. `abandoned`: its code could
    not be stopped and may still run, so it keeps its slot. For such an attempt `returned` follows:
    its code has ended, or (code `grace`) has held the slot for as long as it may. `retryable` False
    overrules the retry policy; `retry_after_s` takes the place of its backoff. `limited`: a
    service told it to come back after these; it does not count, and its lane is held meanwhile.
    `slept`: it goes on, in another attempt, at the time in nanoseconds that is its `result`.
    `unused`: recorded steps, each (name, key), that one which completed did not ask for.
    """

    stream: str
    token: AttemptToken
    status: str
    result: Value = None
    blobs: dict[bytes, bytes] | None = None
    code: str = ""
    message: str = ""
    trace: str = ""
    abandoned: bool = False
    retryable: bool = True
    retry_after_s: float | None = None
    limited: bool = False
    unused: tuple[tuple[str, str], ...] = ()


class Progress(NamedTuple):
    """How far an attempt is; `fraction` is 0.0 to 1.0 or None."""

    stream: str
    token: AttemptToken
    fraction: float | None
    message: str


class Consumed(NamedTuple):
    """The handler took signals; comes before the outcome of the attempt."""

    stream: str
    token: AttemptToken
    signals: list[str]


class Saved(NamedTuple):
    """The handler saved its state; comes before the outcome. `blobs` as in `Outcome`.

    `number` counts what the attempt saved, from 1.
    """

    stream: str
    token: AttemptToken
    number: int
    state: Value
    blobs: dict[bytes, bytes] | None = None


class Stepped(NamedTuple):
    """A durable step of the handler ended; comes before the outcome. `blobs` as in `Outcome`.

    The rest as in `StepRecorded`.
    """

    stream: str
    token: AttemptToken
    name: str
    key: str
    digest: bytes
    result: Value
    blobs: dict[bytes, bytes] | None = None


class Emitted(NamedTuple):
    """A chunk of the attempt's output, numbered from 1; `size` is that of its bytes.

    It is no fact: it goes into a table of its own, and comes before the outcome.
    """

    stream: str
    token: AttemptToken
    generation: int
    attempt: int
    number: int
    value: Value
    size: int


Report: TypeAlias = Outcome | Progress | Consumed | Saved | Stepped | Emitted
"""What an executor says of an attempt."""


class Executor(Protocol):
    """Run attempts. Called on the dispatcher's thread, so nothing here may block.

    What attempts say goes, in batches, to the sink that the executor was made with; the sink may
    be called from any thread.
    """

    def start_many(self, attempts: Sequence[StartAttempt]) -> None:
        """Begin attempts whose start is durable."""
        ...

    def stop_many(self, stops: Sequence[StopAttempt]) -> None:
        """Stop attempts; an unknown token is ignored (its outcome is on the way)."""
        ...

    def tell_many(self, tells: Sequence[TellAttempt]) -> None:
        """Tell attempts something, in order; an unknown token is ignored."""
        ...

    def holds(self, token: AttemptToken) -> bool:
        """Tell whether an attempt is known here and something of it not yet handed over."""
        ...


if TYPE_CHECKING:
    Sink = Callable[[Sequence[Report]], None]
