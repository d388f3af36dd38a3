"""The world of a simulation: one seed decides every order, every fault and every crash.

The node, its dispatchers and deciders are those of production, and so is the clock; only the
machine's clocks, the disk and the executor are replaced, and who calls `step`.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from goclaw_actors.contents import StoredContents
from goclaw_actors.directory import deciders
from goclaw_actors.env import Identity, SystemClock
from goclaw_actors.node import Node
from goclaw_actors.ports import Limits, Ports
from goclaw_actors.work import GRACE, RETURNED, AttemptToken, Outcome, Progress, StartAttempt
from goclaw_events.errors import JournalBroken
from goclaw_events.ids import is_saga
from tests.simulation import travellers
from tests.simulation.bugs import with_bugs
from tests.simulation.clients import Clients
from tests.simulation.clock import MachineClocks
from tests.simulation.disk import SimDisk
from tests.simulation.executor import SimExecutor
from tests.simulation.failpoints import Crash, Failpoints
from tests.simulation.history import History
from tests.simulation.saga_ledger import Ledger
from tests.simulation.workload import random_outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.actor import Entity
    from goclaw_actors.decider import RunEnded
    from goclaw_events.envelope import Position
    from goclaw_events.framing import EncodedFrame
    from tests.simulation.options import Options
    from tests.simulation.saga_author import SagaPlan

STOP_STEPS_MAX = 300
PASSING_NS = (1_000, 10**6, 10**8, 10**9, 10**11)


class World:
    """One simulated engine and everything around it."""

    def __init__(self, seed: int, options: Options) -> None:
        self.seed = seed
        self.options = options
        self.rng = random.Random(f"steps {seed}")
        self.time = MachineClocks(options.tick_ns)
        self.points = Failpoints()
        log_id = hashlib.blake2b(str(seed).encode(), digest_size=16).digest()
        self.journal = SimDisk(options.partitions, log_id, self.points)
        self.history = History(options.partitions)
        self.trace = hashlib.blake2b(digest_size=16)
        self.seen: Counter[str] = Counter()
        self.boots = 0
        self.commits_failed = 0
        self.calm = False
        self.bugs_left = 1
        self.slot_lost = False
        """Whether a bug kept a lane from hearing that a slot is free: until the next start."""
        self.clients = Clients(self)
        self.ended: dict[str, str] = {}
        self.told: dict[tuple[str, str, str], bytes] = {}
        self.collectors: dict[str, Any] = {}
        self.collecting: dict[str, bytes] = {}
        self.schedule_blobs: dict[bytes, bytes] = {}
        self.answers: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.answered: list[str] = []
        self.adjusted: set[tuple[str, str, str]] = set()
        self.path_blobs: dict[bytes, bytes] = {}
        self.ledger: dict[tuple[str, int, str, str], int] = {}
        self.ever_started: dict[AttemptToken, StartAttempt] = {}
        self.sagas: dict[str, SagaPlan] = {}
        self.scheduled_saga: SagaPlan | None = None
        self.sagas_begun: set[str] = set()
        self.saga_ledger = Ledger()
        self.handed_over: dict[tuple[int, int, int], str] = {}
        self.posts: deque[tuple[Callable[[Any], None], Any]] = deque()
        self.late: list[Outcome] = []
        self._begin()

    def note(self, what: str, detail: object = "") -> None:
        """Put a step into the trace and count it."""
        self.seen[what] += 1
        self.trace.update(f"{what} {detail}\n".encode())

    # -- the process ---------------------------------------------------------------------------

    def _begin(self, *, attending: bool = False) -> None:
        """Start a process on the log as it is; `attending`: one that begins nothing."""
        self.boots += 1
        self.node_name = f"b{self.boots}"
        last_ns = max(self.journal.head(p).time_ns for p in range(self.options.partitions))
        self.clock = SystemClock(last_ns, wall=self.time.wall, monotonic=self.time.monotonic)
        self.executor = SimExecutor(self.journal, self.points, self.ever_started)
        self.contents = StoredContents(self.journal)
        self.kinds = deciders(self.contents)
        self.posts.clear()
        options = self.options
        ports = Ports(
            self.journal,
            self.executor,
            self.clock,
            Identity("sim", self.node_name),
            with_bugs(self.kinds, self),
            "sim",
            self._post,
            self._run_ended,
            self._committed,
            self.contents,
        )
        limits = Limits(
            batch_messages_max=options.batch_messages_max,
            batch_bytes_max=options.batch_bytes_max,
            commits_in_flight_max=options.commits_in_flight_max,
            live_actors_max=options.live_actors_max,
            commands_max=options.commands_max,
            lost_max=options.lost_max,
            snapshot_every_facts=options.snapshot_every_facts,
            snapshot_chunks_max=options.snapshot_chunks_max,
            history_facts_max=options.history_facts_max,
        )
        self.node = Node(ports, limits)
        if attending:
            self.executor.may_start = False
            self.node.attend()
        else:
            self.node.open()

    def _post(self, function: Callable[[Any], None], argument: Any) -> None:
        self.points.hit("done")
        self.posts.append((function, argument))

    def _run_ended(self, ended: RunEnded, position: Position) -> None:
        self.points.hit("run ended")
        assert position.number <= self.journal.durable(position.partition)
        if is_saga(ended.run_id):
            return  # said, too, where it waits for a person
        known = self.ended.setdefault(ended.run_id, ended.status)
        assert known == ended.status, f"{ended.run_id} ended {known}, then {ended.status}"

    def _committed(self, partition: int, frame: EncodedFrame) -> None:
        self.points.hit("committed")
        assert frame.last <= self.journal.durable(partition)
        if frame.header.time_ns > self.time.wall_ns:
            self.note("recorded time ahead of the wall clock")
        self.trace.update(frame.hash)

    def act(self, step: Callable[[], None]) -> None:
        """Take a step; the process may die of it, and then starts again."""
        try:
            step()
        except Crash as crash:
            self.note("crash at a failpoint", crash)
            self.note(f"crash: {crash}")
            self.restart(power=bool(self.options.rate("power")) and self.rng.random() < 0.5)
        except JournalBroken as error:
            self.note("the node stops at an input/output error", error)
            self.restart()

    def restart(self, *, power: bool = False) -> None:
        """Kill the process, perhaps with the machine, and start it until it stays up."""
        self._die(power=power)
        while True:
            try:
                self._begin()
            except Crash:
                self.note("crash while reopening")
            except JournalBroken:
                self.note("input/output error while reopening")
            else:
                return
            self._die(power=False)

    def _die(self, *, power: bool) -> None:
        disk, rng = self.journal, self.rng
        running = (*self.executor.held.items(), *self.executor.kept.items())
        may_complete = {token for token, attempt in running if travellers.maybe(self, attempt)}
        if self.executor.held:
            self.note("crash with attempts running", len(self.executor.held))
        if self.executor.kept:
            self.note("crash with attempts abandoned", len(self.executor.kept))
        self.late += [
            Outcome(attempt.stream, token, "completed", {"n": 1})
            for token, attempt in self.executor.held.items()
            if token in may_complete
        ]
        if any(dispatcher.turns.snapshots.waiting for dispatcher in self.node.dispatchers):
            self.note("crash with a snapshot begun or due")
        unflushed, queued = disk.unflushed, disk.waiting - disk.unflushed
        survive = rng.randint(0, unflushed if power else queued)
        self.note("power loss" if power else "crash", f"{survive} of {unflushed}, {queued}")
        if power and survive < unflushed:
            self.note("power loss: what could be read is lost")
            if rng.random() < 0.5:
                self.note("power loss: last record torn")
        elif unflushed + survive:
            self.note("crash: what was not flushed is there")
        if not power and survive < queued:
            self.note("crash losing frames")
        if disk.trouble is not None and rng.random() < 0.5:
            disk.trouble = None  # else the next process meets it
        trouble = disk.trouble
        self.journal = disk.crash(survive, power=power)
        self.journal.trouble = trouble
        self.history.update(self.journal)

    def stop(self) -> None:
        """Stop as asked: finish what is decided, record the end, start again."""
        node, disk = self.node, self.journal
        for _ in range(STOP_STEPS_MAX):
            if node.failure is not None or node.idle:
                break
            node.run_once()
            self._flush_all()
        if not node.idle:
            self.restart()
            return
        self.points.hit("closing")
        node.record_closed()
        self._flush_all()
        if disk.waiting or node.failure is not None:
            self.restart()
            return
        self.note("stopped as asked")
        if self.executor.held:
            self.note("stopped with attempts running")
        self.restart()

    def attend(self, command: Callable[[], None]) -> None:
        """Give a command to a process that begins nothing, in place of the one that runs."""
        self.handed_over.clear()  # lost with its process, though the next one does not say so
        self._die(power=False)
        self._begin(attending=True)
        command()
        for _ in range(STOP_STEPS_MAX):
            if self.node.failure is not None or self.node.idle:
                break
            self.node.run_once()
            self._flush_all()
        self.node.record_closed()
        self.restart()

    def _flush_all(self) -> None:
        self.journal.commit()
        while self.posts:
            self.deliver_post()

    # -- steps of every day --------------------------------------------------------------------

    def step_dispatcher(self) -> None:
        """Let one dispatcher decide a batch."""
        if self.node.failure is not None:
            if self.node.run_once():
                self.note("reopened after a failed commit")
            return
        dispatcher = self.rng.choice(self.node.dispatchers)
        if dispatcher.step():
            self.note("batch", dispatcher.partition)
            if dispatcher.turns.waiting:
                self.note("batch full: messages left in the inbox")
        elif dispatcher.turns.in_flight:
            self.note("a batch waits for the flush of those before it")

    def write(self) -> None:
        """Let the committer write some of what is queued, without a flush."""
        if self.journal.waiting > self.journal.unflushed:
            self.note("write", self.journal.write(self.rng.randint(1, self.journal.waiting)))

    def commit(self) -> None:
        """Let the committer write and flush some of what is queued."""
        if self.journal.waiting:
            self.note("commit", self.journal.commit(self.rng.randint(1, self.journal.waiting)))

    def deliver_posts(self) -> None:
        """Call some of what was posted."""
        for _ in range(self.rng.randint(0, len(self.posts))):
            self.deliver_post()

    def deliver_post(self) -> None:
        """Call what was posted to the node's thread, first in first out."""
        if self.posts:
            function, argument = self.posts.popleft()
            function(argument)

    def end_attempt(self) -> None:
        """End a running attempt one way or another."""
        held, rng, options = self.executor.held, self.rng, self.options
        if not held:
            return
        token = rng.choice(sorted(held))
        attempt = held[token]
        if options.rate("progress") and rng.random() < 0.1:
            progress = Progress(attempt.stream, token, rng.random(), "")
            self.node.accept_outcomes([progress])
            self.note("progress")
            return
        outcome = random_outcome(rng, attempt, options)
        travellers.ended(self, attempt, outcome)
        del held[token]
        if outcome.abandoned:
            self.executor.kept[token] = attempt
        self.note(f"outcome {outcome.status}", outcome.code)
        copies = 1
        if options.rate("duplicate") and rng.random() < 0.1:
            self.note("outcome delivered twice")
            copies = 2
        self.handed_over[token] = self.node_name
        self.node.accept_outcomes([outcome] * copies)
        if rng.random() < 0.2:
            self.late.append(outcome)

    def stop_attempt(self) -> None:
        """Let a stopped attempt end as cancelled."""
        if not self.executor.stops:
            return
        token = self.executor.stops.popleft()
        attempt = self.executor.held.pop(token, None)
        if attempt is None:
            return
        self.note("stopped attempt ended")
        abandoned = self.rng.random() < 0.1
        if abandoned:
            self.note("stopped attempt abandoned")
            self.executor.kept[token] = attempt
        outcome = Outcome(attempt.stream, token, "cancelled", code="cancelled", abandoned=abandoned)
        travellers.ended(self, attempt, outcome)
        self.node.accept_outcomes([outcome])

    def return_attempt(self) -> None:
        """Let the code of an abandoned attempt end, or its grace."""
        kept, rng = self.executor.kept, self.rng
        if not kept:
            return
        token = rng.choice(sorted(kept))
        attempt = kept.pop(token)
        travellers.maybe(self, attempt)
        code = rng.choice(["", GRACE])
        self.note("abandoned attempt returned", code)
        outcome = Outcome(attempt.stream, token, RETURNED, code=code)
        copies = 2 if self.options.rate("duplicate") and rng.random() < 0.1 else 1
        self.node.accept_outcomes([outcome] * copies)

    def pass_time(self) -> None:
        """Let time pass, sometimes much."""
        self.time.advance(self.rng.choice(PASSING_NS))

    def entities(self) -> list[Entity]:
        """Return the live actors that are loaded."""
        return [
            entity
            for dispatcher in self.node.dispatchers
            for entity in dispatcher.turns.directory.live.values()
            if entity.state is not None
        ]
