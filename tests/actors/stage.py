"""A node on a stage: the production dispatchers over a log in memory, moved step by step."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from goclaw_actors.contents import StoredContents
from goclaw_actors.directory import deciders
from goclaw_actors.env import Identity
from goclaw_actors.message import Message, Reply
from goclaw_actors.messages import CancelRun, SubmitRun
from goclaw_actors.node import Node
from goclaw_actors.ports import Limits, Ports
from goclaw_actors.rebuild import fold
from goclaw_actors.work import Outcome
from goclaw_events.codec import FACTS
from goclaw_events.frame import decode_frame
from goclaw_events.ids import kind_of, workflow_stream
from goclaw_events.memory_journal import MemoryJournal
from goclaw_events.plan import pack_plan
from goclaw_events.replay import stream_turns
from goclaw_events.value import blob_of, pack, store
from tests.actors.given import NOW_NS, plan_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from goclaw_actors.decider import Decider
    from goclaw_actors.work import AttemptToken, StartAttempt, StopAttempt, TellAttempt
    from goclaw_events.plan import Plan

STEPS_MAX = 20_000
ONE: dict[str, Any] = {"a": {"agent": "x"}}
CHAIN: dict[str, Any] = {"a": {"agent": "x"}, "b": {"agent": "x", "needs": ["a"]}}
MANY: dict[str, Any] = {
    **{f"t{number}": {"agent": "x", "lane": "io"} for number in range(12)},
    "wait": {"wait": "1s"},
    "last": {"agent": "x", "needs": [f"t{number}" for number in range(12)]},
}
LANES: dict[str, Any] = {"lanes": {"io": {"concurrency": 3}}}


class StageClock:
    """A clock that moves a microsecond a look, and when told."""

    def __init__(self) -> None:
        self.ns = NOW_NS

    def now_ns(self) -> int:
        """Return the time."""
        self.ns += 1_000
        return self.ns


class StageExecutor:
    """Take attempts in and hold them until the test says how they end."""

    def __init__(self) -> None:
        self.started: list[StartAttempt] = []
        self.kept: set[AttemptToken] = set()
        self.held: dict[AttemptToken, StartAttempt] = {}
        self.stops: list[StopAttempt] = []
        self.tells: list[TellAttempt] = []

    def start_many(self, attempts: Sequence[StartAttempt]) -> None:
        """Take attempts in."""
        self.started += attempts
        self.held.update((attempt.token, attempt) for attempt in attempts)

    def stop_many(self, stops: Sequence[StopAttempt]) -> None:
        """Note what is to be stopped."""
        self.stops += stops

    def tell_many(self, tells: Sequence[TellAttempt]) -> None:
        """Note what attempts are told."""
        self.tells += tells

    def holds(self, token: AttemptToken) -> bool:
        """Tell whether an attempt is known here, also one that was given up and runs on."""
        return token in self.held or token in self.kept


class Said(NamedTuple):
    """A fact of the log, decoded."""

    partition: int
    number: int
    stream: str
    seq: int
    fact: Any


class Stage:
    """One process on a log; `crash` gives the next one."""

    def __init__(
        self,
        journal: MemoryJournal | None = None,
        *,
        partitions: int = 1,
        limits: Limits | None = None,
        change: Callable[[dict[str, Decider[Any]]], None] | None = None,
        boot: int = 1,
        standing_by: bool = False,
        attending: bool = False,
    ) -> None:
        self.journal = journal or MemoryJournal(partitions=partitions, autocommit=False)
        self.limits = limits or Limits()
        self.boot = boot
        self.clock = StageClock()
        self.executor = StageExecutor()
        self.contents = StoredContents(self.journal)
        self.kinds = deciders(self.contents)
        if change is not None:
            change(self.kinds)
        self.posts: deque[tuple[Callable[[Any], None], Any]] = deque()
        self.ended: dict[str, tuple[str, Any]] = {}
        self.replies: list[Reply] = []
        self.node = Node(self._ports(), self.limits)
        if standing_by:
            self.node.stand_by()
        elif attending:
            self.node.attend()
        else:
            self.node.open()

    def _ports(self) -> Ports:
        return Ports(
            self.journal,
            self.executor,
            self.clock,
            Identity("node", f"boot{self.boot}"),
            self.kinds,
            "test",
            lambda function, argument: self.posts.append((function, argument)),
            lambda ended, _: self.ended.__setitem__(ended.run_id, (ended.status, ended.result)),
            lambda _, __: None,
            self.contents,
        )

    def crash(self, survive: int = 0, **changes: Any) -> Self:
        """Return the next process; `survive` of the queued frames reached the disk."""
        given: dict[str, Any] = {"limits": self.limits, "boot": self.boot + 1, **changes}
        return type(self)(self.journal.crash(survive), **given)

    # -- what comes in -----------------------------------------------------------------------

    def submission(
        self, tasks: dict[str, Any], run_id: str = "r", digest: bytes = b"d", **head: Any
    ) -> Message:
        """Return a submission, as the engine makes it."""
        given = head.pop("given", {})
        plan: Plan = plan_of(tasks, **head)
        data = pack_plan(plan)
        ref = blob_of(data)
        blobs = {ref.sha256: data}
        body = SubmitRun(ref, plan.name, store(given, blobs), {}, digest, None, "")
        message = Message(workflow_stream(run_id), body)
        message.blobs = blobs
        message.reply_to = self.replies.append
        return message

    def submit(self, tasks: dict[str, Any], run_id: str = "r", **more: Any) -> None:
        """Submit a run."""
        self.node.accept(self.submission(tasks, run_id, **more))

    def cancel(self, run_id: str, command_id: str | None = None, reason: str = "") -> None:
        """Cancel a run, as an outside command."""
        body = CancelRun(reason, "")
        message = Message(workflow_stream(run_id), body)
        message.command_id = command_id
        message.digest = pack(list(body))
        message.reply_to = self.replies.append
        self.node.accept(message)

    def end(
        self, attempt: StartAttempt, status: str = "completed", value: Any = None, **said: Any
    ) -> None:
        """Let an attempt end; `said` are further fields of its outcome."""
        self.executor.held.pop(attempt.token, None)
        blobs: dict[bytes, bytes] = {}
        result = store(value, blobs)
        code = "" if status == "completed" else "boom"
        outcome = Outcome(attempt.stream, attempt.token, status, result, blobs or None, code)
        self.node.accept_outcomes([outcome._replace(**said)])

    def end_all(self, value: Any = None) -> None:
        """Let every attempt end well."""
        for attempt in list(self.executor.held.values()):
            self.end(attempt, value=value)

    # -- steps -------------------------------------------------------------------------------

    def decide(self) -> None:
        """Decide until nothing is runnable without a commit."""
        for _ in range(STEPS_MAX):
            if not self.node.run_once():
                return
        msg = "the node does not come to rest"
        raise AssertionError(msg)

    def commit(self, count: int | None = None) -> None:
        """Make batches durable, and hear of it."""
        self.journal.commit(count)
        self.hear()

    def hear(self) -> None:
        """Do what was posted to the node's thread."""
        while self.posts:
            function, argument = self.posts.popleft()
            function(argument)

    def rest(self) -> None:
        """Decide and commit until nothing waits."""
        for _ in range(STEPS_MAX):
            worked = self.node.run_once()
            self.commit()
            if not worked and self.node.idle:
                return
        msg = "the node does not come to rest"
        raise AssertionError(msg)

    def finish(self, value: Any = None) -> None:
        """Let every attempt end well until nothing runs."""
        for _ in range(STEPS_MAX):
            self.rest()
            if not self.executor.held:
                return
            self.end_all(value)
        msg = "the runs do not end"
        raise AssertionError(msg)

    # -- what can be seen --------------------------------------------------------------------

    def log(self) -> list[Said]:
        """Return every durable fact."""
        return [
            Said(partition, number, fact.stream, fact.seq, _decoded(fact))
            for partition in range(self.journal.partitions)
            for data in self.journal.frames(partition)
            for number, _, fact in decode_frame(data).facts()
        ]

    def facts(self, stream: str) -> list[Any]:
        """Return the durable facts of a stream."""
        return [said.fact for said in self.log() if said.stream == stream]

    def names(self, stream: str) -> list[str]:
        """Return the types of the durable facts of a stream."""
        return [type(fact).__name__ for fact in self.facts(stream)]

    def rows(self, table: str) -> int:
        """Count the rows of a table."""
        return sum(1 for _ in self.journal.rows(table))

    def live(self) -> int:
        """Count the live actors."""
        return sum(len(found.turns.directory.live) for found in self.node.dispatchers)

    def replayed(self, stream: str) -> bytes:
        """Return the state that the durable log folds to, as bytes."""
        decider = deciders(StoredContents(self.journal))[kind_of(stream)]
        return pack(decider.encode(fold(decider, stream, stream_turns(self.journal, stream))))

    def check_live(self) -> int:
        """Check that every live actor is what its stream folds to; return how many there are."""
        count = 0
        for dispatcher in self.node.dispatchers:
            for stream, entity in dispatcher.turns.directory.live.items():
                if entity.state is not None:
                    assert pack(entity.decider.encode(entity.state)) == self.replayed(stream)
                    count += 1
        return count


def _decoded(fact: Any) -> Any:
    return FACTS.decode(fact.type, fact.version, fact.data)
