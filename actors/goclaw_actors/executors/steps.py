"""The durable steps of one attempt: which are recorded, which run, and who sleeps."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from goclaw_actors.executors.errors import StepChanged, StepInvalid, StepRepeated, StepSecret
from goclaw_actors.executors.outcomes import stored
from goclaw_events.errors import ValueNotStorable
from goclaw_events.facts import SPAWN, SPAWNED
from goclaw_events.value import BlobRef, blob_of, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from goclaw_actors.executors.redaction import Redactor
    from goclaw_actors.work import Stepped, StepRecord
    from goclaw_events.errors import CodedError
    from goclaw_events.value import Value

    StepId: TypeAlias = tuple[str, str]

STEPS_MAX: Final = 10_000
"""A task has at most so many durable steps."""
STEP_INLINE_BYTES_MAX: Final = 1024
"""A larger result of a step is kept apart, under its hash: a task holds its steps in memory."""
NAME_CHARS_MAX: Final = 200
SETTLE_S: Final = 0.05
"""An attempt ends because it sleeps once no step has run for so long, and nobody woke."""
LOOK_S: Final = 0.5
HOW_WITHOUT: Final = "return something else, and read the secret where it is used"
DIGEST_BYTES: Final = 16


def step_id(name: str, key: str) -> StepId:
    """Return what a step of a user's is known by; raises `StepInvalid`."""
    said: tuple[object, object] = (name, key)
    for text, what in zip(said, ("name", "key"), strict=True):
        if not isinstance(text, str) or len(text) > NAME_CHARS_MAX:
            msg = f"the {what} of a step is a text of at most {NAME_CHARS_MAX} characters"
            raise StepInvalid(msg, hint=f"it is {repr(text)[:80]}")
    if not name or name.startswith("$") or key.startswith("#"):
        msg = f"{name!r} with the key {key!r} cannot name a step"
        raise StepInvalid(msg, hint="a name is not empty nor begins with $, no key begins with #")
    return name, key


def digest_of(arguments: tuple[Any, ...], named: Mapping[str, Any]) -> bytes:
    """Return what tells arguments apart; the order of the keys of a dict does not count.

    Raises `ValueNotStorable` for what is no plain data.
    """
    blobs: dict[bytes, bytes] = {}
    try:
        kept = stored([list(arguments), dict(named)], blobs)
    except ValueNotStorable as error:
        hint = "hand over plain data; bind the rest: functools.partial(function, client)"
        msg = f"the arguments of a step are kept as a digest: {error.message}"
        raise ValueNotStorable(msg, hint=hint) from error
    if isinstance(kept, BlobRef):
        return kept.sha256[:DIGEST_BYTES]
    return sha256(pack(_sorted(kept))).digest()[:DIGEST_BYTES]


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def kept_result(result: object, blobs: dict[bytes, bytes]) -> Value:
    """Return the result of a step as it is recorded: large ones as a reference to `blobs`."""
    kept = stored(result, blobs)
    if not blobs and isinstance(kept, (str, bytes, list, dict)):
        data = pack(kept)
        if len(data) > STEP_INLINE_BYTES_MAX:
            ref = blob_of(data)
            blobs[ref.sha256] = data
            return ref
    return kept


class StepApart(NamedTuple):
    """What a step came to, a part of which is kept apart in `blobs` already."""

    result: Value
    blobs: dict[bytes, bytes]


class Ticket:
    """Wait on a loop until a step is recorded."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self._loop.create_future()

    def settle(self, error: CodedError | None) -> None:
        """Let whoever waits go on. Any thread."""
        try:
            on_it = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            on_it = False
        if on_it:  # no wake-up: those of many steps come together
            self._settle(error)
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._settle, error)

    def drop(self) -> None:
        """Cancel whoever waits: nothing will be heard. Any thread."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._future.cancel)

    def _settle(self, error: CodedError | None) -> None:
        if self._future.done():
            return
        if error is None:
            self._future.set_result(None)
        else:
            self._future.set_exception(error)

    async def heard(self) -> None:
        """Wait; raises what the step was refused with."""
        await self._future


class ThreadTicket:
    """Wait in a thread until a step is recorded."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._error: CodedError | None = None

    def settle(self, error: CodedError | None) -> None:
        """Let whoever waits go on. Any thread."""
        self._error = error
        self._event.set()

    def drop(self) -> None:
        """Have whoever waits look."""

    def wait(self, look: Callable[[], None]) -> None:
        """Wait; raises what the step was refused with, or what `look`, called meanwhile, raises."""
        while not self._event.wait(LOOK_S):
            look()
        if self._error is not None:
            raise self._error


class Steps:
    """What an attempt knows of its steps. Any thread; nothing here waits."""

    def __init__(self, records: Iterable[StepRecord], clock: Callable[[], float]) -> None:
        self._records = {(one.name, one.key): one for one in records}
        self._unused = dict.fromkeys(step for step in self._records if step[0] != SPAWNED)
        self._begun: set[StepId] = set()
        self._waiting: dict[StepId, Ticket | ThreadTicket] = {}
        self._made = 0
        self._running = 0
        self._naps = 0
        self._sleepers: dict[object, tuple[int, str]] = {}
        self._clock = clock
        self._quiet_s = clock()
        self._lock = threading.Lock()
        self.asleep_ns = 0
        """When the attempt wakes that was told to leave because it sleeps; 0: it was not."""
        self.asleep_for: tuple[str, ...] = ()
        """For which spawned tasks it waits."""

    @property
    def unused(self) -> tuple[StepId, ...]:
        """Return the recorded steps that nobody asked for."""
        return tuple(self._unused)

    def begin(self, step: StepId, digest: bytes) -> StepRecord | None:
        """Return the record of a step, or None: it is to be done now, and runs until `end`.

        Raises `StepRepeated`, `StepChanged`, and `StepInvalid` for one too many.
        """
        with self._lock:
            if step in self._begun:
                text = f"{named(step)} is asked for twice in one attempt"
                raise StepRepeated(text, hint=_key_hint(step))
            found = self._records.get(step)
            if found is not None:
                if found.digest and digest != found.digest:
                    raise _changed(found, digest)
                self._unused.pop(step, None)
            elif len(self._records) + self._made >= STEPS_MAX:
                text = f"a task has at most {STEPS_MAX} durable steps"
                raise StepInvalid(text, hint="do more in each step, or spread them over tasks")
            else:
                self._made += 1
                self._running += 1
            self._begun.add(step)
            return found

    def end(self, step: StepId, *, said: bool) -> None:
        """Take note that a step runs no more; where its result was not said it may run again."""
        with self._lock:
            self._running -= 1
            self._quiet_s = self._clock()
            self._waiting.pop(step, None)
            if not said:
                self._made -= 1
                self._begun.discard(step)

    def expect(self, step: StepId, ticket: Ticket | ThreadTicket) -> None:
        """Have a ticket hear when a step is recorded; to be called before it is said."""
        with self._lock:
            self._waiting[step] = ticket

    def settle(self, steps: Iterable[StepId], error: CodedError | None = None) -> None:
        """Let go on who waits for steps."""
        with self._lock:
            found = [self._waiting.pop(step, None) for step in steps]
        for ticket in found:
            if ticket is not None:
                ticket.settle(error)

    def end_all(self) -> None:
        """Let nobody wait any more: the attempt is over."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for ticket in waiting.values():
            ticket.drop()

    def knows(self, step: StepId) -> bool:
        """Tell whether a step was recorded before this attempt."""
        return step in self._records

    def recorded(self, step: StepId) -> Value:
        """Return what a step came to that was recorded before this attempt; None: it was not."""
        found = self._records.get(step)
        return None if found is None else found.result

    def count(self, name: str) -> int:
        """Return how many steps of a name there are."""
        with self._lock:
            return len({step for step in (*self._records, *self._begun) if step[0] == name})

    # -- sleep ---------------------------------------------------------------------------------

    def next_nap(self) -> str:
        """Return the key of the next sleep that has none of its own."""
        with self._lock:
            self._naps += 1
            return f"#{self._naps}"

    def lie_down(self, due_ns: int, awaited: str = "") -> object:
        """Count somebody who sleeps, or waits for a spawned task; return who that is."""
        sleeper = object()
        with self._lock:
            self._sleepers[sleeper] = (due_ns, awaited)
        return sleeper

    @property
    def awaited(self) -> tuple[str, ...]:
        """Return the keys of the spawned tasks that are waited for."""
        with self._lock:
            return tuple(dict.fromkeys(key for _, key in self._sleepers.values() if key))

    def get_up(self, sleeper: object) -> None:
        """Take note that somebody is awake."""
        with self._lock:
            del self._sleepers[sleeper]
            self._quiet_s = self._clock()

    @property
    def wakes_ns(self) -> int:
        """Return when the first of those who sleep wakes."""
        with self._lock:
            return min((due_ns for due_ns, _ in self._sleepers.values()), default=0)

    @property
    def settles_in_s(self) -> float | None:
        """Return how long until nothing has run for `SETTLE_S`; None: a step runs."""
        if self._running:
            return None
        return max(0.0, self._quiet_s + SETTLE_S - self._clock())


def check_secret(said: Stepped, redactor: Redactor) -> None:
    """Raise `StepSecret` if what a step came to holds a secret."""
    if redactor.holds_secret(said.result, said.blobs):
        msg = f"what {named((said.name, said.key))} came to holds a secret, which is never kept"
        raise StepSecret(msg, hint=HOW_WITHOUT)


def named(step: StepId) -> str:
    """Return what people call a step."""
    name, key = step
    if name == SPAWN:
        return f"a spawned task with the key {key!r}"
    return f"step {name!r} with the key {key!r}" if key else f"step {name!r}"


def _key_hint(step: StepId) -> str:
    call = "spawn(agent, params" if step[0] == SPAWN else "step(name, function"
    return f"give each a key of its own: ctx.{call}, key=...)"


def _changed(found: StepRecord, digest: bytes) -> StepChanged:
    text = (
        f"{named((found.name, found.key))} was recorded with arguments of digest"
        f" {found.digest.hex()}, and is asked for with {digest.hex()}"
    )
    hint = "what a step is called with may depend on the task and on recorded steps only"
    return StepChanged(
        text, hint=hint, recorded=found.digest.hex(), asked=digest.hex(), step=found.name,
        key=found.key,
    )  # fmt: skip
