"""Ask why something waits: the dispatchers at one moment, or a log that nobody works on."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, Protocol, TypeVar

from goclaw.errors import TimedOut
from goclaw.histories import long_histories
from goclaw_actors.contents import StoredContents
from goclaw_actors.directory import deciders
from goclaw_actors.errors import Stopping
from goclaw_actors.why import explain
from goclaw_actors.why.live import LiveSight
from goclaw_actors.why.passive import Passive
from goclaw_actors.why.reason import LOG_FAILED, Reason
from goclaw_actors.why.stored import StoredSight
from goclaw_events.ids import owner_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from goclaw_actors.decider import Decider
    from goclaw_actors.env import Clock
    from goclaw_actors.node import Node
    from goclaw_actors.why import Sight
    from goclaw_actors.work import AttemptToken
    from goclaw_events.errors import CodedError
    from goclaw_events.journal import Journal

    Post = Callable[[Callable[[Any], None], Any], None]

T = TypeVar("T")
ANSWER_S: Final = 10.0
WAIT_S: Final = 0.1
"""So often it is looked whether the engine still works."""
TRIES_MAX: Final = 3
"""A moment that a failed commit took back is followed by another one, so often."""


class Explained(NamedTuple):
    """Why something waits (None: there is no such run, or task), and when that was."""

    reason: Reason | None
    now_ns: int


class Explainer(Protocol):
    """Whoever can say why something waits."""

    @property
    def is_at_work(self) -> bool:
        """Tell whether an engine works on it."""
        ...

    def explain(self, run_id: str, task_id: str | None) -> Explained:
        """Return why a run, or a task of it, waits."""
        ...

    def long_histories(self, key: str) -> list[dict[str, Any]]:
        """Return which histories of a run or a saga, and of its tasks, grow long."""
        ...


class Stored:
    """Explain what the durable rows of a journal say."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @property
    def is_at_work(self) -> bool:
        """Tell that nobody works on it."""
        return False

    def explain(self, run_id: str, task_id: str | None) -> Explained:
        """Return why a run, or a task of it, waits."""
        passive = Passive(self._journal, deciders(StoredContents(self._journal)))
        sight = StoredSight(passive, time.time_ns())
        return Explained(explain(sight, run_id, task_id), sight.now_ns)

    def long_histories(self, key: str) -> list[dict[str, Any]]:
        """Return none: an engine that works watches them."""
        del key
        return []


class Live:
    """Explain what the dispatchers of an engine do. Any thread but theirs; blocks."""

    def __init__(
        self,
        node: Node,
        kinds: Mapping[str, Decider[Any]],
        journal: Journal,
        clock: Clock,
        post: Post,
        place_of: Callable[[AttemptToken], str],
        works: Callable[[], bool],
    ) -> None:
        self._node = node
        self._kinds = kinds
        self._journal = journal
        self._clock = clock
        self._post = post
        self._place_of = place_of
        self._works = works

    @property
    def is_at_work(self) -> bool:
        """Tell that an engine works on it."""
        return True

    def explain(self, run_id: str, task_id: str | None) -> Explained:
        """Return why a run, or a task of it, waits at this moment.

        It was so in the log, too: an answer waits until what it says is durable. Raises what
        reading the log raises, `Stopping`, `TimedOut`.
        """
        if (error := self._node.failure) is not None:
            details = {"code": error.code, "message": error.message}
            reason = Reason(LOG_FAILED, owner_stream(run_id), 0, 0, details)
            return Explained(reason, time.time_ns())
        return self.look(
            lambda sight: Explained(explain(sight, run_id, task_id), sight.now_ns),
            Passive(self._journal, self._kinds),
        )

    def long_histories(self, key: str) -> list[dict[str, Any]]:
        """Return which histories of a run or a saga, and of its tasks, grow long."""
        return long_histories(self._node, key)

    def look(self, at: Callable[[Sight], T], passive: Passive, *, brief: bool = False) -> T:
        """Return what `at` finds between two batches, once that moment is durable.

        `passive` gives the actors that are not in memory; `brief` as in `Sight.moving`.
        """
        for _ in range(TRIES_MAX):
            answer: _Answer[T] = _Answer()

            def take(sight: Sight, answer: _Answer[T] = answer) -> None:
                answer.value.append(at(sight))

            self._post(self._take, (take, answer, passive, brief))
            deadline = time.monotonic() + ANSWER_S
            while not answer.ready.wait(WAIT_S):
                if not self._works():
                    raise Stopping("the engine is stopping", hint="ask the next one")
                if time.monotonic() > deadline:
                    text = f"the engine did not say what it does within {ANSWER_S:g} s"
                    raise TimedOut(text, hint="it is busy, or its disk is: goclaw doctor")
            if answer.error is not None:
                raise answer.error
            if answer.lost is None:
                return answer.value[0]
        assert answer.lost is not None, "the last moment was taken back"
        raise answer.lost

    def _take(self, asked: tuple[Callable[[Sight], None], _Answer[Any], Passive, bool]) -> None:
        """Look, on the dispatchers' thread; what goes wrong is the asker's."""
        take, answer, passive, brief = asked
        dispatchers, now_ns = self._node.dispatchers, self._clock.now_ns()
        try:
            take(LiveSight(dispatchers, passive, self._place_of, now_ns, brief=brief))
        except Exception as error:  # noqa: BLE001 - a bug in a question is no reason to stop
            answer.error = error
            answer.ready.set()
        else:
            self._node.when_durable(answer.heard)


class _Answer(Generic[T]):
    """What was found, once it may leave: `lost` says why it may not."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.value: list[T] = []
        self.error: Exception | None = None
        self.lost: CodedError | None = None

    def heard(self, error: CodedError | None) -> None:
        """Hear that the moment is durable, or was taken back."""
        self.lost = error
        self.ready.set()
