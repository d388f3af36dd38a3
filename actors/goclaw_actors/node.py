"""A node: the dispatchers of its partitions over one journal, and the one thread they share.

The thread and the simulation differ only in who calls `run_once` and what `post` does.
"""

from __future__ import annotations

import threading
from logging import getLogger
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.decider import Refused
from goclaw_actors.dispatcher import Dispatcher
from goclaw_actors.message import Reply
from goclaw_events.errors import CodedError, JournalBroken, LogDamaged
from goclaw_events.ids import partition_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from goclaw_actors.message import Message
    from goclaw_actors.ports import Limits, Ports
    from goclaw_actors.work import Report
    from goclaw_events.journal import Done

log = getLogger(__name__)
RETRY_NS: Final = 1_000_000_000
DRAIN_MAX: Final = 10_000
PAUSE_S_MIN: Final = 0.001


class Node:
    """Own every partition of a log; all methods run on one thread."""

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._ports = ports
        self.dispatchers = [
            Dispatcher(partition, ports, limits, self._commit_failed)
            for partition in range(ports.journal.partitions)
        ]
        exchanges = [dispatcher.exchange for dispatcher in self.dispatchers]
        for exchange in exchanges:
            exchange.peers = exchanges
        self.failure: CodedError | None = None
        self._ailing: CodedError | None = None
        self._retry_ns = 0
        self._take_up: Callable[[], None] = self.open

    def stand_by(self) -> None:
        """Take the log over to keep house only: nothing that is unfinished goes on."""
        self._take_up = self.stand_by
        for dispatcher in self.dispatchers:
            dispatcher.stand_by()

    def attend(self) -> None:
        """Take the log over to take commands only: nothing begins, here or by itself."""
        self._take_up = self.attend
        for dispatcher in self.dispatchers:
            dispatcher.attend()
        self._resend()

    def open(self) -> None:
        """Go on where the log ends."""
        for dispatcher in self.dispatchers:
            dispatcher.open()
        self._resend()

    def _resend(self) -> None:
        for dispatcher in self.dispatchers:
            dispatcher.exchange.resend()

    def accept(self, message: Message) -> None:
        """Take in a command; refused while the log cannot be written, until a commit succeeds."""
        if message.reply_to is not None and (error := self._trouble()) is not None:
            message.reply_to(Reply(Refused(error.code, error.message, error.hint), None))
            return
        partition = partition_of(message.target, len(self.dispatchers))
        self.dispatchers[partition].accept(message)

    def accept_outcomes(self, outcomes: Sequence[Report]) -> None:
        """Take in what executors say; held while the journal is being opened again."""
        for outcome in outcomes:
            self.dispatchers[outcome.token.partition].accept_outcome(outcome)

    def run_once(self) -> bool:
        """Decide one batch of each partition that has work; False if nothing was done."""
        if self.failure is not None and not self._reopen():
            return False
        worked = False
        for dispatcher in self.dispatchers:
            worked = dispatcher.step() or worked
        return worked

    @property
    def idle(self) -> bool:
        """Tell whether nothing waits anywhere and everything decided is durable."""
        return self.failure is None and all(dispatcher.idle for dispatcher in self.dispatchers)

    def when_durable(self, done: Done) -> None:
        """Have `done` hear when all that is decided now is durable, or that it was abandoned.

        What an answer about this moment says may leave then.
        """
        left = [each.turns.in_flight[-1] for each in self.dispatchers if each.turns.in_flight]
        if not left:
            done(None)
            return
        errors: list[CodedError | None] = []

        def heard(error: CodedError | None) -> None:
            errors.append(error)
            if len(errors) == len(left):
                done(next((each for each in errors if each is not None), None))

        for batch in left:
            batch.after.append(heard)

    def record_closed(self) -> None:
        """Record in every partition that the process stops as asked; nothing may come after."""
        for dispatcher in self.dispatchers:
            dispatcher.record_closed()

    def wake_ns(self) -> int:
        """Return when `run_once` has something to do without being told: a timer, a retry."""
        if self.failure is not None:
            return self._retry_ns
        return min(dispatcher.wake_ns() for dispatcher in self.dispatchers)

    def _trouble(self) -> CodedError | None:
        """Return why nothing can be recorded (None: since the last failure, something was)."""
        if self._ailing is None or self.failure is not None:
            return self._ailing
        if all(dispatcher.confirmed for dispatcher in self.dispatchers):
            self._ailing = None
            log.info("the log is written again", extra={"action": "commit_resumed"})
        return self._ailing

    def _commit_failed(self, error: CodedError) -> None:
        """Abandon every batch that is not durable, in every partition: they share the write.

        The log is opened again at once after a first failure, then once in `RETRY_NS`.
        """
        if self._ailing is None or self._ailing.code != error.code:
            log.error("a commit failed: %s", error, extra={"action": "commit_failed"})
        for dispatcher in self.dispatchers:
            dispatcher.abandon(error)
        self.failure = self._ailing = error
        self._retry_ns = max(self._retry_ns, self._ports.clock.now_ns())

    def _reopen(self) -> bool:
        """Open the journal again; after an input/output error, or damage, the node stops."""
        if isinstance(self.failure, JournalBroken):
            raise self.failure
        now_ns = self._ports.clock.now_ns()
        if now_ns < self._retry_ns:
            return False
        self._retry_ns = now_ns + RETRY_NS
        try:
            self._ports.journal.recover()
        except (JournalBroken, LogDamaged):
            raise
        except CodedError as error:
            log.warning("the log cannot be opened again yet: %s", error)
            return False
        self.failure = None
        self._take_up()
        self._ports.reopened()
        return True


class NodeThread:
    """Run a node on a thread of its own. `post` and `stop` may be called from any thread."""

    def __init__(self, on_death: Callable[[BaseException], None]) -> None:
        self._queue: SimpleQueue[tuple[Callable[[Any], None], Any]] = SimpleQueue()
        self._on_death = on_death
        self._node: Node | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._main, name="goclaw-dispatch", daemon=True)

    def post(self, function: Callable[[Any], None], argument: Any) -> None:
        """Have `function(argument)` called on the node's thread."""
        self._queue.put((function, argument))

    def start(self, node: Node, clock_ns: Callable[[], int]) -> None:
        """Begin to run."""
        self._node = node
        self._clock_ns = clock_ns
        self._thread.start()

    @property
    def works(self) -> bool:
        """Tell whether what is posted is still called."""
        return self._thread.is_alive() and not self._stopping

    def stop(self, timeout_s: float) -> bool:
        """Finish what is decided and being written, then end; False if it took too long."""
        self.post(self._stop, None)
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _stop(self, _: None) -> None:
        self._stopping = True

    def _main(self) -> None:
        try:
            assert self._node is not None, "start gives the node"
            self._run(self._node)
        except BaseException as error:
            log.critical("the dispatchers stopped: %s", error, exc_info=error)
            self._on_death(error)

    def _run(self, node: Node) -> None:
        while not self._stopping or not (node.idle or node.failure is not None):
            worked = node.run_once()
            self._drain(0.0 if worked else self._pause_s(node))
        if node.failure is None:
            node.record_closed()
        while node.failure is None and not node.idle:
            self._drain(PAUSE_S_MIN)

    def _pause_s(self, node: Node) -> float:
        # Never zero: a timer may be due while every commit in flight must first come back.
        return max(PAUSE_S_MIN, (node.wake_ns() - self._clock_ns()) / 1e9)

    def _drain(self, timeout_s: float) -> None:
        """Do what was posted; wait up to `timeout_s` for the first."""
        queue = self._queue
        try:
            function, argument = queue.get(timeout=timeout_s) if timeout_s else queue.get_nowait()
            function(argument)
            for _ in range(DRAIN_MAX):
                function, argument = queue.get_nowait()
                function(argument)
        except Empty:
            return
