"""State as it was at a place of the log: folded from frames, with no engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from goclaw.errors import NotFound, RunNotFound, UsageInvalid
from goclaw.log_records import plain
from goclaw.run_archive import LAST
from goclaw_actors.actor import Entity
from goclaw_actors.contents import StoredContents
from goclaw_actors.directory import deciders
from goclaw_actors.rebuild import Unheard, first_state, fold_turn
from goclaw_events.codec import FACTS
from goclaw_events.envelope import Position
from goclaw_events.facts import RunSubmitted
from goclaw_events.frame import read_header
from goclaw_events.ids import kind_of, lane_stream, partition_of, task_stream, workflow_stream
from goclaw_events.replay import stream_turns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_actors.workflow.state import Run
    from goclaw_events.journal import Journal
    from goclaw_events.replay import StreamTurn


class Replay:
    """The log up to a cut: for each partition a last number. Begins where history begins.

    `to` cuts its own partition at exactly that fact. Nothing orders the facts of two partitions
    except causation, so the others are cut by the time of the frame that holds it. Without `to`,
    it is everything durable. Raises `NotFound` for a position that the log does not have, and
    `HistoryExpired` for one, or a run, that was given up.
    """

    def __init__(self, journal: Journal, to: Position | None = None) -> None:
        self._journal = journal
        self._deciders = deciders(StoredContents(journal))
        self.to = to
        self.last = _cut(journal, to)

    def turns(self, stream: str) -> Iterator[StreamTurn]:
        """Yield the turns of a stream that can be read, up to the cut; the last may be cut too."""
        last = self.last[partition_of(stream, self._journal.partitions)]
        first = self._first(stream).seq + 1
        for turn in stream_turns(self._journal, stream, first):
            if turn.number > last:
                return
            yield turn._replace(facts=turn.facts[: last - turn.number + 1])

    def _first(self, stream: str) -> Entity:
        """Return an actor where its history begins."""
        partition = partition_of(stream, self._journal.partitions)
        entity = Entity(stream, self._deciders[kind_of(stream)], Unheard())
        return first_state(self._journal, partition, entity)

    def _actor(self, stream: str) -> tuple[Entity, int]:
        """Return an actor at the cut, and the time of its last fact (0: that was given up)."""
        entity, time_ns = self._first(stream), 0
        for turn in self.turns(stream):
            fold_turn(entity, turn)
            time_ns = turn.time_ns
        return entity, time_ns

    def run_ids(self) -> Iterator[str]:
        """Yield the runs that there were, partition by partition, in order of id."""
        for partition in range(self._journal.partitions):
            for stream in self._journal.streams(partition, "workflow/"):
                if self._first(stream).seq or next(self.turns(stream), None) is not None:
                    yield stream.partition("/")[2]

    def find(self, text: str) -> str:
        """Return the id of the only run whose id begins so; `@last`: the one submitted last.

        A run that a run began is not the last one. What names no run is returned as it is, for
        whoever looks it up to refuse.
        """
        stream = workflow_stream(text)
        if self._journal.last_seq(partition_of(stream, self._journal.partitions), stream):
            return text
        found = [run_id for run_id in self.run_ids() if text == LAST or run_id.startswith(text)]
        if text == LAST and found:
            return max(found, key=self._asked_for)
        return found[0] if len(found) == 1 else text

    def _asked_for(self, run_id: str) -> tuple[bool, int]:
        """Return whether a run was submitted (not begun by a run), and when."""
        first = next(self.turns(workflow_stream(run_id)), None)
        if first is None:
            return False, 0
        said = [FACTS.decode(fact.type, fact.version, fact.data) for fact in first.facts]
        begun = any(isinstance(fact, RunSubmitted) and fact.parent for fact in said)
        return not begun, first.time_ns

    def overview(self, run_id: str) -> RunThen:
        """Return a run as it was, without its tasks; raises `RunNotFound`."""
        stream = workflow_stream(run_id)
        actor, time_ns = self._actor(stream)
        if not actor.seq:
            self._refuse(run_id)
        place = Position(partition_of(stream, self._journal.partitions), actor.number)
        return RunThen(run_id, actor.state, place, time_ns)

    def _refuse(self, run_id: str) -> None:
        stream = workflow_stream(run_id)
        owner = partition_of(stream, self._journal.partitions)
        if not self._journal.last_seq(owner, stream):
            hint = "see `goclaw runs list`; what a saga did: goclaw sagas show SAGA --timeline"
            raise RunNotFound(f"the log has no run {run_id!r}", hint=hint)
        if self.to is not None and self.to.partition != owner:
            msg = f"run {run_id} is in partition {owner}, {self.to} is of another one"
            raise UsageInvalid(msg, hint=f"write --to {owner}:NUMBER; `goclaw log show` has them")
        msg = f"at {self.to} there was no run {run_id} yet"
        raise RunNotFound(msg, hint="give a later position; `goclaw log show --run` has them")

    def state(self, run_id: str) -> dict[str, Any]:
        """Return a run, its tasks and its lanes as they were, as JSON data."""
        then = self.overview(run_id)
        plan = then.run.plan
        tasks, lanes = [], []
        if plan is not None:
            tasks = [task.id for task in plan.tasks]
            lanes = list(dict.fromkeys(task.lane for task in plan.tasks if task.lane))
        return {
            "run_id": run_id,
            "status": then.run.status,
            "position": str(then.position),
            "workflow": self._encoded("workflow", workflow_stream(run_id)),
            "tasks": {task: self._encoded("task", task_stream(run_id, task)) for task in tasks},
            "lanes": {lane: self._encoded("lane", lane_stream(lane)) for lane in lanes},
        }

    def _encoded(self, kind: str, stream: str) -> Any:
        decider = self._deciders[kind]
        return plain(decider.encode(self._actor(stream)[0].state))


class RunThen(NamedTuple):
    """A run at the cut, the position of its last fact before it, and that fact's time."""

    run_id: str
    run: Run
    position: Position
    time_ns: int


def _cut(journal: Journal, to: Position | None) -> list[int]:
    ends = [journal.durable(partition) for partition in range(journal.partitions)]
    if to is None:
        return ends
    if to.partition >= len(ends):
        msg = f"the log has no partition {to.partition}"
        raise NotFound(msg, hint=f"it has partitions 0 to {len(ends) - 1}")
    if to.number > ends[to.partition]:
        msg = f"there is no position {to}: the partition ends at {ends[to.partition]}"
        raise NotFound(msg, hint="`goclaw log tail` shows the last ones")
    if to.number < journal.history(to.partition) - 1:
        _time_of(journal, to)  # raises: it was given up
    if len(ends) > 1:
        time_ns = _time_of(journal, to)
        ends = [_last_until(journal, partition, time_ns) for partition in range(len(ends))]
    ends[to.partition] = to.number
    return ends


def _time_of(journal: Journal, position: Position) -> int:
    for data in journal.frames(position.partition, position.number, position.number):
        return read_header(data).time_ns
    return 0


def _last_until(journal: Journal, partition: int, time_ns: int) -> int:
    """Return the last number of a partition's last frame that is not later than `time_ns`.

    Times never go back within a partition, so half of what is left is ruled out at each look.
    """
    low, high = journal.history(partition) - 1, journal.durable(partition)
    while low < high:
        middle = (low + high + 1) // 2
        header = read_header(next(iter(journal.frames(partition, middle, middle))))
        if header.time_ns <= time_ns:
            low = header.first + header.facts_count - 1
        else:
            high = header.first - 1
    return low
