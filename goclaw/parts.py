"""The one place where the parts of an engine are put together and taken apart."""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache
from logging import getLogger
from typing import TYPE_CHECKING, Final

from goclaw.auditing import Auditing
from goclaw.catalogue import CatalogueReader
from goclaw.cli.version import goclaw_version
from goclaw.collect_agents import register_collectors
from goclaw.datadir import DataDirectory
from goclaw.errors import RunNotFound, UsageInvalid
from goclaw.explaining import Live, Stored
from goclaw.garbage import collect_seldom
from goclaw.gathering import Gathering
from goclaw.handover import Handover
from goclaw.noted import CLOCK_JUMPED, note
from goclaw.outputs import Outputs
from goclaw.processes import process_executor
from goclaw.programs import exec_limits
from goclaw.retention import Retention, housekeeping_of
from goclaw.secrets import SecretSource
from goclaw.switching import switch_often
from goclaw.world import World
from goclaw_actors.baseline import check_forms
from goclaw_actors.contents import StoredContents
from goclaw_actors.directory import deciders
from goclaw_actors.env import Identity, new_boot
from goclaw_actors.executors.children.children import Children
from goclaw_actors.executors.exec_executor import exec_executor
from goclaw_actors.executors.executor import AgentExecutor
from goclaw_actors.executors.http.executor import HttpExecutor
from goclaw_actors.executors.http.limits import HttpLimits
from goclaw_actors.executors.idle import IdleExecutor
from goclaw_actors.executors.run import ExecutorLimits
from goclaw_actors.executors.secrets import Secrets
from goclaw_actors.lending import DeclareLane
from goclaw_actors.message import Message
from goclaw_actors.node import Node, NodeThread
from goclaw_actors.ports import Limits, Ports
from goclaw_actors.saga.decide import SAGAS
from goclaw_actors.why.sight import HERE
from goclaw_actors.work import Emitted, TellAttempt, Written
from goclaw_events.ids import lane_stream, owner_stream, partition_of
from goclaw_events.output import Chunk, Place, chunk_row
from goclaw_events.replay import stream_turns
from goclaw_events.rocks import RocksJournal
from goclaw_events.value import unpack
from goclaw_projections.errors import ProjectionsError
from goclaw_projections.runner import RunnerSettings
from goclaw_projections.subscription import Tail
from goclaw_projections.views import Views

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from goclaw.config import Settings
    from goclaw.explaining import Explainer
    from goclaw.housekeeping import Housekeeping
    from goclaw_actors.decider import RunBegun, RunEnded, SelectMembers
    from goclaw_actors.executors.agents import AgentRegistry
    from goclaw_actors.executors.kind import KindFactory
    from goclaw_actors.work import AttemptToken, Report
    from goclaw_events.envelope import Position
    from goclaw_events.framing import EncodedFrame
    from goclaw_events.journal import Journal
    from goclaw_events.plan import Plan
    from goclaw_events.value import BlobRef, CollectedRef, Value

log = getLogger(__name__)
MEMORY: Final = ":memory:"
CLOSED: Final = "executor_closed"
STOP_S: Final = 60.0
_LIMITS: Final = {field.name for field in fields(ExecutorLimits)}


class Parts:
    """Everything of one engine, open; what it calls, it calls on threads of its own."""

    _sagas_declared = False

    def __init__(
        self,
        data_dir: Path | None,
        settings: Settings,
        agents: AgentRegistry,
        run_ended: Callable[[RunEnded, Position], None],
        died: Callable[[BaseException], None],
        reopened: Callable[[], None],
        searches: Callable[[RunBegun | SelectMembers], None] = lambda _: None,
        *,
        idle: bool = False,
        world: World | None = None,
    ) -> None:
        world = world or World()
        self.settings = settings
        self.data_dir = data_dir
        self.agents = agents
        register_collectors(agents)
        self.secrets = Secrets(SecretSource(settings.secrets.file))
        self.secrets.learn()
        self.journal = _open_journal(data_dir, settings, world, idle=idle)
        heads = (self.journal.head(partition) for partition in range(self.journal.partitions))
        self.clock = world.clock(max(head.time_ns for head in heads), self._note_jump)
        self.contents = StoredContents(self.journal)
        self.deciders = deciders(self.contents)
        try:
            check_forms(self.journal, self.deciders)
            self.views = Views.open(
                self.journal,
                DataDirectory(data_dir).views if data_dir else None,
                RunnerSettings(**settings.views.model_dump()),
            )
        except BaseException:
            self.journal.close()
            raise
        self.tail, self.outputs = (
            Tail(self.journal),
            Outputs(settings.executors.output_unwritten_bytes_max),
        )
        self._definitions = lru_cache(maxsize=1024)(self._definition_of)
        self.catalogue = CatalogueReader(self.journal)
        self.thread = NodeThread(died)
        # before any task starts again: what an engine that was killed left running is killed
        self.children = Children(DataDirectory(data_dir).processes if data_dir else None)
        self.executor = self._make_executor(world)
        self._idle = idle
        identity = Identity(self.journal.log_id.hex()[:8], new_boot())
        ports = Ports(
            self.journal,
            IdleExecutor() if idle else self.executor,
            self.clock,
            identity,
            self.deciders,
            goclaw_version(),
            self.thread.post,
            run_ended,
            self._committed,
            self.contents,
            reopened,
            searches,
        )
        self.node = Node(ports, Limits(**settings.engine.model_dump()))
        self.handover = Handover(self.thread.post, self.node.accept_outcomes)
        live = self._live()
        self.explainer: Explainer = Stored(self.journal) if idle else live
        self.auditing = Auditing(self.journal, self.node, live, self.send, settings.audit)
        self.retention: Retention | None = None
        if isinstance(self.journal, RocksJournal):
            house = housekeeping_of(self.journal, self.node, self.thread.post, settings)
            self.retention = Retention(house, lambda: self.outputs.emitted_bytes)

    def _make_executor(self, world: World) -> AgentExecutor:
        """Return what runs attempts: agents, and other kinds of work."""
        settings = self.settings
        return AgentExecutor(
            self.agents,
            self._sink,
            load=self.load,
            input_of=lru_cache(maxsize=1024)(self.input_of),
            limits=ExecutorLimits(**settings.executors.model_dump(include=_LIMITS)),
            kinds=world.kinds(executors_by_kind(settings, self.children)),
            processes=process_executor(settings.executors, self.agents, self.children),
            secrets=self.secrets,
            gather=self._gather,
            time=world.time,
            is_crowded=lambda: self.outputs.is_crowded,
        )

    def _live(self) -> Live:
        """Return who says why something waits."""
        return Live(
            self.node,
            self.deciders,
            self.journal,
            self.clock,
            self.thread.post,
            self._place_of,
            lambda: self.thread.works,
        )

    def _place_of(self, token: AttemptToken) -> str:
        """Return where an attempt is, as `AgentExecutor.place_of`, on the dispatchers' thread."""
        return self.executor.place_of(token) or (HERE if self.handover.has(token) else "")

    def start(self) -> None:
        """Go on with whatever is unfinished, and take commands; if idle, only take commands.

        From then on the process collects garbage seldom (`goclaw.garbage`), and its threads take
        turns often (`goclaw.switching`).
        """
        collect_seldom()
        switch_often()
        if self._idle:
            self.node.attend()
        else:
            self.node.open()
            self._declare_lanes()
        self.views.runner.start()
        self.thread.start(self.node, self.clock.now_ns)
        if self._idle:
            return
        if self.retention is not None:
            self.retention.start()
        self.auditing.start()

    def _note_jump(self, jump_s: float) -> None:
        if self.data_dir is not None:
            note(DataDirectory(self.data_dir).logs, CLOCK_JUMPED, jump_s=round(jump_s, 3))

    def _declare_lanes(self) -> None:
        for name, lane in self.settings.lanes.items():
            slots = (lane.concurrency, lane.capacity, lane.overflow)
            when_full = (lane.redirect_to or "", lane.waiters_max)
            declare = DeclareLane(*slots, "configuration", lane.limits(), *when_full)
            self.node.accept(Message(lane_stream("/" + name), declare))
        stream = lane_stream(SAGAS)
        partition = partition_of(stream, self.journal.partitions)
        if self.journal.last_seq(partition, stream):
            self.node.accept(self._declared_sagas())

    def _declared_sagas(self) -> Message:
        self._sagas_declared = True
        sagas = self.settings.sagas
        limits = DeclareLane(sagas.concurrent_max, sagas.waiting_max, "reject", "configuration")
        return Message(lane_stream(SAGAS), limits)

    def declare_sagas(self) -> None:
        """Have the lane of sagas know its limits, before the first one comes."""
        if not self._sagas_declared:
            self.send(self._declared_sagas())

    @property
    def housekeeping(self) -> Housekeeping:
        """Return what keeps house in the log; raises `UsageInvalid` for a log in memory."""
        if self.retention is None:
            raise UsageInvalid("a log in memory is not kept", hint="open it on a directory")
        return self.retention.house

    def send(self, message: Message) -> None:
        """Hand a command to the engine's thread."""
        self.thread.post(self.node.accept, message)

    def load(self, ref: BlobRef) -> Value:
        """Return a fresh copy of the whole value under a reference's hash."""
        return unpack(self.journal.blob(ref))

    def _gather(self, ref: CollectedRef) -> Value:
        """Return what a task is given of a collector; raises `CollectUnmet`."""
        return Gathering(self.journal, deciders(StoredContents(self.journal))).collected(ref)

    def input_of(self, run_id: str) -> Value:
        """Return the input that a run was submitted with."""
        first = next(stream_turns(self.journal, owner_stream(run_id)))
        return first.facts[0].data[2]

    def _definition_of(self, run_id: str) -> BlobRef:
        first = next(stream_turns(self.journal, owner_stream(run_id)), None)
        if first is None:
            msg = f"there is no run {run_id}"
            raise RunNotFound(msg, hint="goclaw runs list", run_id=run_id)
        ref: BlobRef = first.facts[0].data[0]
        return ref

    def definition_of(self, run_id: str) -> BlobRef:
        """Name the plan of a run, as far as the views know it; raises `RunNotFound`."""
        known = self.views.runs.get(run_id)
        return self._definitions(run_id) if known is None else known.definition

    def plan_of(self, run_id: str) -> Plan:
        """Return the plan of a run, as far as the views know it; raises `RunNotFound`."""
        return self.contents.plan(self.definition_of(run_id))

    def _sink(self, items: Sequence[Report]) -> None:
        # What the executor cuts off when it closes is not an outcome: the next start finds the
        # attempt lost with this process, and starts another.
        kept = [item for item in items if getattr(item, "code", "") != CLOSED]
        chunks = [item for item in kept if isinstance(item, Emitted)]
        if chunks:  # first: they are written no later than the outcome
            self._write_output(chunks)
            kept = [item for item in kept if not isinstance(item, Emitted)]
        if kept:
            self.handover.put(kept)

    def _write_output(self, chunks: Sequence[Emitted]) -> None:
        """Have chunks written, and tell their attempts that there is room for more."""
        now_ns, rows = self.clock.now_ns(), []
        for stream, _, generation, attempt, number, value, _ in chunks:
            _, run_id, task = stream.split("/", 2)
            chunk = Chunk(run_id, task, Place(generation, attempt, number), now_ns, value)
            rows.append(chunk_row(partition_of(stream, self.journal.partitions), chunk))
        tells = [TellAttempt(emitted.token, Written(emitted.size)) for emitted in chunks]
        size = sum(emitted.size for emitted in chunks)
        self.outputs.take(size, sum(len(row.key) + len(row.value or b"") for row in rows))

        def written() -> None:
            self.outputs.give(size)
            self.thread.post(self.executor.tell_many, tells)
            self.outputs.notify(emitted.stream for emitted in chunks)

        self.journal.ride(rows, written)

    def _committed(self, partition: int, frame: EncodedFrame) -> None:
        self.views.runner.notify(partition, frame)
        self.tail.notify(partition, frame.last)

    def rest(self) -> None:
        """Stop agents and write what is decided; blocks. What is durable can still be read."""
        self._stop_upkeep()
        self.executor.close(self.settings.executors.stop_grace_s)
        self.children.close()
        if not self.thread.stop(STOP_S):
            log.error("the dispatchers did not come to rest within %s s", STOP_S)

    def _stop_upkeep(self) -> None:
        self.auditing.stop()
        if self.retention is not None:
            self.retention.stop()

    def close(self) -> None:
        """Close what was opened, without waiting for work; also what never started."""
        self._stop_upkeep()
        self.executor.close(0.0)
        self.children.close()
        self.tail.close()
        try:
            self.views.close()
        except ProjectionsError as error:
            log.warning("the views could not be kept, and will be folded again: %s", error)
        finally:
            self.journal.close()


def executors_by_kind(settings: Settings, children: Children) -> dict[str, KindFactory]:
    """Return how each kind of work that is not an agent is run: here executors are plugged in."""
    http = HttpLimits(**settings.executors.http.model_dump(), agent=f"goclaw/{goclaw_version()}")
    return {
        "exec": exec_executor(children, exec_limits(settings.executors.exec)),
        "http": lambda shared: HttpExecutor(shared, http),
    }


def _open_journal(
    data_dir: Path | None, settings: Settings, world: World, *, idle: bool
) -> Journal:
    if data_dir is None:
        return world.memory(settings)
    explicit = "partitions" in settings.model_fields_set
    directory = DataDirectory(data_dir)
    count = settings.partitions if explicit or not directory.exists else None
    return directory.open_journal(create=True, partitions=count, passing=idle)
