"""The world of a simulation: one seed decides every order, every fault and every crash.

The node, its dispatchers and deciders are those of production; only clock, disk and executor
are replaced, and who calls `step`.
"""

from __future__ import annotations

import hashlib
import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from goclaw_actors.contents import StoredContents
from goclaw_actors.decider import Accepted
from goclaw_actors.directory import deciders
from goclaw_actors.env import Identity
from goclaw_actors.message import Message, Reply
from goclaw_actors.messages import CancelRun, SubmitRun
from goclaw_actors.node import Node
from goclaw_actors.ports import Limits, Ports
from goclaw_actors.work import AttemptToken, Outcome, Progress, StartAttempt, StopAttempt
from goclaw_events.errors import JournalFull
from goclaw_events.ids import workflow_stream
from goclaw_events.memory_journal import MemoryJournal
from goclaw_events.plan import Plan, pack_plan
from goclaw_events.value import blob_of
from tests.simulation.workload import random_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from goclaw_actors.actor import Entity

START_NS = 1_800_000_000 * 10**9


@dataclass(frozen=True, slots=True)
class Options:
    """What a seed's world is like."""

    partitions: int = 1
    batch_messages_max: int = 4096
    commits_in_flight_max: int = 2
    live_actors_max: int = 50_000
    runs: int = 4
    steps: int = 400
    crashes: bool = True
    failing_commits: bool = True


class SimClock:
    """A clock that only the simulation moves."""

    def __init__(self) -> None:
        self.ns = START_NS

    def now_ns(self) -> int:
        """Return the time."""
        return self.ns


@dataclass
class SimExecutor:
    """Hold attempts until the simulation ends them; know what was ever started."""

    held: dict[AttemptToken, StartAttempt] = field(default_factory=dict)
    started: list[AttemptToken] = field(default_factory=list)
    stops: deque[AttemptToken] = field(default_factory=deque)

    def start_many(self, attempts: Sequence[StartAttempt]) -> None:
        """Take attempts in."""
        for attempt in attempts:
            self.held[attempt.token] = attempt
            self.started.append(attempt.token)

    def stop_many(self, stops: Sequence[StopAttempt]) -> None:
        """Note what is to be stopped."""
        self.stops.extend(stop.token for stop in stops if stop.token in self.held)

    def holds(self, token: AttemptToken) -> bool:
        """Tell whether an attempt runs."""
        return token in self.held


class World:
    """One simulated engine and everything around it."""

    def __init__(self, seed: int, options: Options) -> None:
        self.rng = random.Random(seed)
        self.options = options
        self.clock = SimClock()
        self.journal = MemoryJournal(
            partitions=options.partitions,
            log_id=hashlib.blake2b(str(seed).encode(), digest_size=16).digest(),
            autocommit=False,
        )
        self.trace = hashlib.blake2b(digest_size=16)
        self.boots = 0
        self.seen: dict[str, int] = {}
        self.submitted: dict[str, tuple[Plan, SubmitRun]] = {}
        self.acknowledged: set[str] = set()
        self.ended: dict[str, str] = {}
        self.posts: deque[tuple[Callable[[Any], None], Any]] = deque()
        self.late: list[Outcome] = []
        self._begin()

    def note(self, what: str, detail: object = "") -> None:
        """Put a step into the trace and count it."""
        self.seen[what] = self.seen.get(what, 0) + 1
        self.trace.update(f"{what} {detail}\n".encode())

    def _begin(self) -> None:
        """Start a process on the log as it is."""
        self.boots += 1
        self.executor = SimExecutor()
        self.contents = StoredContents(self.journal)
        self.kinds = deciders(self.contents)
        self.posts.clear()
        options = self.options
        ports = Ports(
            self.journal,
            self.executor,
            self.clock,
            Identity("sim", f"b{self.boots}"),
            self.kinds,
            "sim",
            lambda function, argument: self.posts.append((function, argument)),
            lambda ended, _: self.ended.__setitem__(ended.run_id, ended.status),
            lambda _partition, frame: self.trace.update(frame.hash),
            self.contents,
        )
        limits = Limits(
            batch_messages_max=options.batch_messages_max,
            commits_in_flight_max=options.commits_in_flight_max,
            live_actors_max=options.live_actors_max,
            lost_max=1_000,
        )
        self.node = Node(ports, limits)
        self.node.open()

    # -- steps -------------------------------------------------------------------------------

    def submit(self, run_id: str) -> None:
        """Submit a run, or the same one again."""
        if run_id not in self.submitted:
            plan = random_plan(self.rng, f"w{len(self.submitted) % 3}")
            ref = blob_of(pack_plan(plan))
            body = SubmitRun(ref, plan.name, {}, {}, run_id.encode(), None, "sim")
            self.submitted[run_id] = (plan, body)
        plan, body = self.submitted[run_id]
        message = Message(workflow_stream(run_id), body)
        message.blobs = {body.definition.sha256: pack_plan(plan)}
        self.contents.hold(body.definition, plan)

        def replied(reply: Reply) -> None:
            if isinstance(reply.answer, Accepted):
                self.acknowledged.add(run_id)
                self.note("acknowledged", run_id)
                if reply.answer.repeated:
                    self.note("repeated submission answered", run_id)

        message.reply_to = replied
        self.node.accept(message)

    def cancel(self, run_id: str) -> None:
        """Ask for a run to be cancelled, under a command id."""
        body = CancelRun("sim", "sim")
        message = Message(workflow_stream(run_id), body)
        message.command_id = f"cancel-{run_id}"
        message.digest = b"cancel"
        message.reply_to = lambda reply: self.note("cancel answered", reply.answer)
        self.node.accept(message)

    def step_dispatcher(self) -> None:
        """Let one dispatcher decide a batch."""
        dispatcher = self.rng.choice(self.node.dispatchers)
        if self.node.failure is not None:
            if self.node.run_once():
                self.note("reopened after a failed commit")
        elif dispatcher.step():
            self.note("batch", dispatcher.partition)
            if dispatcher.turns.ready:
                self.note("batch full: messages left in the inbox")

    def commit(self) -> None:
        """Make some of the waiting frames durable."""
        if self.journal.waiting:
            self.note("commit", self.journal.commit(self.rng.randint(1, self.journal.waiting)))

    def deliver_post(self) -> None:
        """Call what was posted to the node's thread, first in first out."""
        if self.posts:
            function, argument = self.posts.popleft()
            function(argument)

    def end_attempt(self) -> None:
        """End a running attempt one way or another."""
        if not self.executor.held:
            return
        rng = self.rng
        token = rng.choice(sorted(self.executor.held))
        attempt = self.executor.held[token]
        if rng.random() < 0.1:
            progress = Progress(attempt.stream, token, rng.random(), "")
            self.node.accept_outcomes([progress])
            return
        outcome = self._outcome(attempt)
        del self.executor.held[token]
        self.note("outcome", outcome.status)
        copies = 2 if rng.random() < 0.1 else 1
        self.node.accept_outcomes([outcome] * copies)
        if rng.random() < 0.2:
            self.late.append(outcome)

    def _outcome(self, attempt: StartAttempt) -> Outcome:
        rng = self.rng
        kind = rng.random()
        if kind < 0.75:
            blobs: dict[bytes, bytes] = {}
            return Outcome(
                attempt.stream, attempt.token, "completed", {"n": rng.randint(0, 9)}, blobs
            )
        code = rng.choice(["agent_error", "timeout", "bad_params"])
        return Outcome(attempt.stream, attempt.token, "failed", code=code, message=code)

    def stop_attempt(self) -> None:
        """Let a stopped attempt end as cancelled."""
        if self.executor.stops:
            token = self.executor.stops.popleft()
            attempt = self.executor.held.pop(token, None)
            if attempt is not None:
                self.note("stopped attempt ended")
                outcome = Outcome(attempt.stream, token, "cancelled", code="cancelled")
                self.node.accept_outcomes([outcome])

    def late_outcome(self) -> None:
        """Deliver an outcome once more, long after it was handled or lost."""
        if self.late:
            outcome = self.late.pop(self.rng.randrange(len(self.late)))
            self.note("late outcome delivered again")
            self.node.accept_outcomes([outcome])

    def pass_time(self) -> None:
        """Move the clock, sometimes far."""
        self.clock.ns += self.rng.choice([1_000, 10**6, 10**8, 10**9, 10**11])

    def fail_commit(self) -> None:
        """Let the next commit fail, written or not."""
        if self.node.failure is None and self.journal.waiting:
            stored = self.rng.random() < 0.5
            self.journal.fail_next(JournalFull("no space left"), stored=stored)
            self.note("failed commit, written" if stored else "failed commit, not written")
            self.journal.commit()

    def crash(self) -> None:
        """Kill the process; some frames on their way may have reached the disk."""
        running = len(self.executor.held)
        survive = self.rng.randint(0, self.journal.waiting)
        self.note("crash", f"{survive} of {self.journal.waiting}")
        if running:
            self.note("crash with attempts running")
        if survive < self.journal.waiting:
            self.note("crash losing frames")
        self.late += [
            Outcome(attempt.stream, token, "completed", {"n": 1})
            for token, attempt in self.executor.held.items()
        ]
        self.journal = self.journal.crash(survive)
        self._begin()

    def entities(self) -> list[Entity]:
        """Return the live actors that are loaded."""
        return [
            entity
            for dispatcher in self.node.dispatchers
            for entity in dispatcher.turns.directory.live.values()
            if entity.state is not None
        ]
