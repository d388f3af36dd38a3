"""How each state is written away and made again: nothing of it is lost, and the layout is fixed."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goclaw_actors.catalogue import CATALOGUE, Catalogue
from goclaw_actors.collector import Collector, collector_decider
from goclaw_actors.lane import LANE, Lane
from goclaw_actors.lane.state import FORM as LANE_FORM
from goclaw_actors.lending import DeclareLane, Enqueue, Release, Withdraw
from goclaw_actors.saga import Saga, saga_decider
from goclaw_actors.schedule import Schedule, schedule_decider
from goclaw_actors.task import Task, task_decider
from goclaw_actors.unique import UNIQUE, Unique
from goclaw_actors.workflow import Run, workflow_decider
from goclaw_events import facts as said
from goclaw_events.snapshots import (
    Chunk,
    Manifest,
    chunk_row,
    decode_manifest,
    manifest_row,
    read_chunks,
)
from goclaw_events.value import BlobRef, pack
from tests.actors.given import NOW_NS, Shelf, moment, plan_of
from tests.actors.sagas import saga_plan, step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_actors.decider import Decider
    from goclaw_events.value import Value

PREFIX = b"\0\0\0\x01x"
LAYOUT = {
    (1, "catalogue"): "name versions",
    (1, "lane"): (
        "capacity concurrency declared_by entries head leased next overflow queue queued stream"
    ),
    (1, "task"): (
        "attempt definition due_ns error failures generation holder lane lost params priority "
        "progress result run_id status stream task_id token"
    ),
    (1, "workflow"): (
        "active definition digest ended error first_failed idempotency_key input labels name plan "
        "reason result results run_id status statuses unmet"
    ),
    (5, "workflow"): (
        "active blocked children deadline_ns definition depth digest ended error first_failed "
        "idempotency_key input labels name parent plan reason result results run_id status "
        "statuses stuck told unmet"
    ),
    (2, "lane"): (
        "capacity concurrency declared_by entries head leased limits next oldest overflow queue "
        "queued shares stream"
    ),
    (3, "lane"): (
        "capacity concurrency control declared_by entries head leased limits next oldest overflow "
        "queue queued served shares stream"
    ),
    (2, "task"): (
        "attempt child child_run deadline_ns definition due_ns error failures generation holder "
        "lane lost params priority progress queue_due_ns result run_id status stream task_id token "
        "total_due_ns"
    ),
    (3, "task"): (
        "attempt child child_run deadline_ns definition due_ns error failures generation holder "
        "key lane lost params priority progress queue_due_ns result run_id status stream task_id "
        "tenant token total_due_ns"
    ),
    (4, "task"): (
        "attempt child child_run deadline_ns definition due_ns error failures generation holder "
        "kept key lane lost params priority progress queue_due_ns result run_id status stream "
        "task_id tenant token total_due_ns"
    ),
    (5, "task"): (
        "attempt child child_run deadline_ns definition due_ns error failures generation holder "
        "kept key lane lost params priority progress queue_due_ns result run_id signals status "
        "stream task_id tenant token total_due_ns"
    ),
    (6, "task"): (
        "attempt child child_run deadline_ns definition due_ns error failures generation holder "
        "kept key lane limited lost params priority progress queue_due_ns result run_id signals "
        "status stream task_id tenant token total_due_ns"
    ),
    (4, "lane"): (
        "capacity concurrency control declared_by entries head leased limits next oldest overflow "
        "queue queued served shares stream"
    ),
    (5, "lane"): (
        "capacity concurrency control declared_by entries head leased limits next oldest overflow "
        "queue queued redirect_to room served shares stream waiters_max"
    ),
    (7, "task"): (
        "attempt child child_run deadline_ns definition due_ns error failures generation holder "
        "hops kept key lane limited lost params priority progress queue_due_ns result run_id "
        "signals status stream task_id tenant token total_due_ns"
    ),
    (8, "task"): (
        "attempt child child_run deadline_ns definition due_ns error failures generation holder "
        "hops kept key lane limited lost params priority progress queue_due_ns result run_id "
        "signals status stream task_id tenant token total_due_ns unique"
    ),
    (10, "task"): (
        "adjusted attempt child child_run deadline_ns definition due_ns error failures generation "
        "hold holder hops kept kept_in key lane limited lost params priority progress queue_due_ns "
        "result run_id signals status stream task_id tenant token total_due_ns unique"
    ),
    (11, "task"): (
        "adjusted attempt child child_run deadline_ns definition due_ns error failures generation "
        "hold holder hops in_doubt kept kept_in key lane limited lost params priority progress "
        "queue_due_ns result run_id signals status steps stream task_id tenant token total_due_ns "
        "unique"
    ),
    (7, "lane"): (
        "capacity concurrency control declared_by entries head leased limits next oldest overflow "
        "queue queued redirect_to room served shares stream waiters_max"
    ),
    (1, "saga"): (
        "active approved blocked cause children deadline_ns definition depth digest ended error "
        "failures holds idempotency_key in_doubt input labels lane left name parent plan resolved "
        "result results run_id shape start_deadline_ns status statuses unmet unrest unwound"
    ),
    (2, "saga"): (
        "active approved blocked cause children deadline_ns definition depth digest ended error "
        "failures holds idempotency_key in_doubt input labels lane left name parent plan resolved "
        "result results run_id shape start_deadline_ns status statuses unmet unrest unwound "
        "version"
    ),
    (3, "saga"): (
        "active approved blocked cause children deadline_ns definition depth digest ended error "
        "failures holds idempotency_key in_doubt input labels lane left name parent plan resolved "
        "result results run_id shape start_deadline_ns status statuses stuck unmet unrest "
        "unwound version"
    ),
    (12, "task"): (
        "adjusted attempt child child_run collect deadline_ns definition due_ns error failures "
        "generation hold holder hops in_doubt kept kept_in key lane limited lost params priority "
        "progress queue_due_ns result run_id signals status steps stream task_id tenant token "
        "total_due_ns unique"
    ),
    (16, "task"): (
        "adjusted answer attempt awaited awaits child child_run collect deadline_ns definition "
        "due_ns ending error failures generation hold holder hops in_doubt kept kept_in key "
        "kills lane leaving limited lost params priority progress queue_due_ns result run_id "
        "signals status steps stream task_id tenant token total_due_ns unique"
    ),
    (15, "task"): (
        "adjusted answer attempt awaits child child_run collect deadline_ns definition due_ns "
        "error failures generation hold holder hops in_doubt kept kept_in key kills lane leaving "
        "limited lost params priority progress queue_due_ns result run_id signals status steps "
        "stream task_id tenant token total_due_ns unique"
    ),
    (2, "collector"): (
        "added ask_ns asked by deadline_ns digest failures_max given has_ended live members more "
        "opened_by outcomes places reason rule run runs select status stream tally vote wanted "
        "watchers"
    ),
    (1, "schedule"): "due_ns name planned_ns running said status triggers waiting",
    (2, "schedule"): "due_ns name planned_ns running said status triggers version waiting",
    (1, "unique"): "claims count following rows stream windows",
    (4, "workflow"): (
        "active blocked children deadline_ns definition depth digest ended error first_failed "
        "idempotency_key input labels name parent plan reason result results run_id status "
        "statuses told unmet"
    ),
    (6, "workflow"): (
        "active blocked children deadline_ns definition depth digest ended error first_failed "
        "held idempotency_key input labels name parent plan reason result results run_id status "
        "statuses stuck told unmet was_held"
    ),
    (6, "lane"): (
        "capacity concurrency control declared_by entries head leased limits next oldest overflow "
        "queue queued redirect_to room served shares stream waiters_max"
    ),
    (2, "workflow"): (
        "active children deadline_ns definition depth digest ended error first_failed "
        "idempotency_key input labels name parent plan reason result results run_id status "
        "statuses unmet"
    ),
    (3, "workflow"): (
        "active children deadline_ns definition depth digest ended error first_failed "
        "idempotency_key input labels name parent plan reason result results run_id status "
        "statuses told unmet"
    ),
    (7, "workflow"): (
        "active blocked children deadline_ns definition depth digest ended error first_failed "
        "held idempotency_key input labels name parent plan reason result results run_id status "
        "statuses stuck told unmet was_held watches"
    ),
    (8, "workflow"): (
        "active blocked children deadline_ns definition depth digest ended error first_failed "
        "held idempotency_key input labels name parent path plan reason result results run_id "
        "status statuses stuck told unmet was_held watches"
    ),
    (9, "workflow"): (
        "active blocked children deadline_ns definition depth digest ended error first_failed "
        "held idempotency_key input labels name parent path plan reason result results run_id "
        "status statuses stuck told unmet version was_held watches"
    ),
    (10, "workflow"): (
        "active blocked children deadline_ns definition depth digest ended error first_failed "
        "held idempotency_key input labels letters name parent path plan reason result results "
        "run_id status statuses stuck told unmet version was_held watches"
    ),
    (11, "workflow"): (
        "active blocked children deadline_ns definition depth digest ended error first_failed "
        "held idempotency_key input labels letters mail name parent path plan reason result "
        "results run_id status statuses stuck told unmet version was_held watches"
    ),
    (12, "workflow"): (
        "active blocked children deadline_ns definition depth digest ended error first_failed "
        "held idempotency_key input labels letters mail name parent path plan reason result "
        "results run_id status statuses stuck told unmet version was_held watches"
    ),
    (13, "task"): (
        "adjusted attempt child child_run collect deadline_ns definition due_ns error failures "
        "generation hold holder hops in_doubt kept kept_in key kills lane limited lost params "
        "priority progress queue_due_ns result run_id signals status steps stream task_id tenant "
        "token total_due_ns unique"
    ),
    (14, "task"): (
        "adjusted attempt child child_run collect deadline_ns definition due_ns error failures "
        "generation hold holder hops in_doubt kept kept_in key kills lane leaving limited lost "
        "params priority progress queue_due_ns result run_id signals status steps stream task_id "
        "tenant token total_due_ns unique"
    ),
    (13, "workflow"): (
        "active blocked children deadline_ns definition depth digest ended error first_failed "
        "held idempotency_key input labels letters mail name parent path plan reason result "
        "results run_id status statuses stuck told unmet version was_held watches window"
    ),
    (14, "workflow"): (
        "active blocked children deadline_ns definition depth digest ended error first_failed "
        "held idempotency_key input labels letters mail name parent path plan reason result "
        "results run_id status statuses stuck told unmet version was_held watches window"
    ),
    (4, "saga"): (
        "active approved blocked cause children deadline_ns definition depth digest ended "
        "error failures holds idempotency_key in_doubt input labels lane left name parent "
        "plan resolved result results run_id shape start_deadline_ns status statuses stuck "
        "unmet unrest unwound version watchers"
    ),
    (3, "schedule"): "due_ns name planned_ns running said status triggers version waiting",
    (5, "saga"): (
        "active approved blocked cause children deadline_ns definition depth digest ended "
        "error failures holds idempotency_key in_doubt input labels lane left name parent "
        "plan planned resolved result results run_id shape start_deadline_ns status statuses "
        "stuck unmet unrest unwound version watchers"
    ),
    (15, "workflow"): (
        "active blocked children deadline_ns definition depth digest ended error first_failed "
        "held idempotency_key input labels letters mail name parent path plan reason result "
        "results run_id status statuses stuck told unmet version was_held watches window"
    ),
    (1, "collector"): (
        "ask_ns asked by deadline_ns digest failures_max given has_ended members opened_by "
        "outcomes places reason rule runs status stream tally vote wanted"
    ),
}


class Stored:
    """Rows as a log would keep them."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, bytes], bytes] = {}

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return a row's value."""
        return self.kept.get((table, key))

    def rows(
        self, table: str, prefix: bytes = b"", stop: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield rows in order."""
        for (name, key), value in sorted(self.kept.items()):
            if name == table and key.startswith(prefix) and (stop is None or key < stop):
                yield key, value


class Keeper:
    """Write states of one stream away again and again, as the snapshotter does."""

    def __init__(self, decider: Decider[Any], stream: str) -> None:
        assert decider.form is not None
        self.form = decider.form
        self.stream = stream
        self.rows = Stored()
        self.chunks: dict[tuple[int, int], Chunk] = {}
        self.number = 0

    def through(self, state: Any) -> Any:
        """Return the state after a stay in rows."""
        self.number += 1
        root = pack(self.form.root(state))
        for at, chunked in enumerate(self.form.maps(state)):
            chunked.freeze()
            while (taken := chunked.take()) is not None:
                place = (at, taken[0])
                if taken[1] is None:
                    self.chunks.pop(place, None)
                    continue
                row, self.chunks[place] = chunk_row(PREFIX, place, self.number, taken[1])
                self.rows.kept["chunks", row.key] = row.value or b""
        manifest = Manifest(self.number, 1, self.form.version, 1, [], root, self.chunks)
        row = manifest_row(PREFIX, manifest)
        read = decode_manifest(row.key, row.value or b"")
        assert read == manifest
        snapshot = read_chunks(self.rows, PREFIX, read)
        return self.form.restore(self.stream, snapshot.root, snapshot.maps)


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("catalogue", Catalogue),
        ("collector", Collector),
        ("lane", Lane),
        ("saga", Saga),
        ("schedule", Schedule),
        ("task", Task),
        ("unique", Unique),
        ("workflow", Run),
    ],
)
def test_the_layout_belongs_to_its_version(kind: str, state: Any) -> None:
    """Who changes what a state holds raises the version of its form, and adds a line here."""
    forms = {
        "catalogue": CATALOGUE.form,
        "unique": UNIQUE.form,
        "collector": collector_decider(Shelf()).form,
        "lane": LANE.form,
        "saga": saga_decider(Shelf()).form,
        "schedule": schedule_decider(Shelf()).form,
        "task": task_decider(Shelf()).form,
        "workflow": workflow_decider(Shelf()).form,
    }
    form = forms[kind]
    assert form is not None
    assert LAYOUT[form.version, kind] == " ".join(sorted(state.__slots__))


lane_steps = st.lists(
    st.tuples(
        st.sampled_from(["enqueue", "head", "release", "withdraw", "declare", "keep"]),
        st.integers(0, 30),
        st.integers(-2, 2),
    ),
    max_size=60,
)


LIMITS: dict[str, Value] = {
    "per_tenant": 2,
    "resources": {"gpu": 3},
    "rate": [1.0, 3, "token_bucket"],
    "ageing": 5,
}


@settings(max_examples=80, deadline=None)
@given(lane_steps, st.sampled_from([None, LIMITS]))
def test_a_lane_goes_on_as_if_it_had_never_been_away(
    steps: list[tuple[str, int, int]], limits: dict[str, Value] | None
) -> None:
    """A lane restored now and then decides what one that stayed decides, and ends up equal."""
    stays, goes = Lane("lane/w/io"), Lane("lane/w/io")
    keeper = Keeper(LANE, "lane/w/io")
    for at, (what, number, priority) in enumerate(steps):
        task = f"task/r/t{number}"
        if what == "keep":
            goes = keeper.through(goes)
            continue
        tenant, key = "xyz"[number % 3], "klm"[number % 2 : number % 3]
        asks = (tenant, "w", key, {"gpu": 1 + number % 2}) if limits else ()
        message: Any = {
            "enqueue": Enqueue(task, priority, False, *asks),
            "head": Enqueue(task, priority, True, *asks),
            "release": Release(task),
            "withdraw": Withdraw(task),
            "declare": DeclareLane(1 + number % 4, 5 + number, "reject", "w", limits),
        }[what]
        now = moment(now_ns=NOW_NS + at * 300_000_000)
        first = LANE.decide(stays, message, now)
        assert LANE.decide(goes, message, now) == first
        for fact in first.facts:
            LANE.evolve(stays, fact)
            LANE.evolve(goes, fact)
    assert LANE.encode(keeper.through(goes)) == LANE.encode(stays)


def test_a_lane_of_many_chunks() -> None:
    """Orders go below zero for those that came back; chunks keep their place."""
    lane, keeper = Lane("lane/w/io"), Keeper(LANE, "lane/w/io")
    for number in range(2_500):
        entry = (f"t{number}", number % 3, number % 2 == 0)
        LANE.evolve(lane, said.LaneAdvanced([], [], [entry], []))
    assert LANE.encode(keeper.through(lane)) == LANE.encode(lane)
    assert {place[1] for place in keeper.chunks} == {-2, -1, 0, 1}
    assert LANE_FORM.version == 7


run_steps = st.lists(
    st.tuples(st.sampled_from(["completed", "failed", "keep", "keep"]), st.integers(0, 9)),
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(run_steps, st.sampled_from(["continue", "fail_fast"]))
def test_a_run_goes_on_as_if_it_had_never_been_away(
    steps: list[tuple[str, int]], policy: str
) -> None:
    """Statuses, unmet needs and results are those of a run that stayed."""
    shelf = Shelf()
    tasks: dict[str, Any] = {
        f"t{n}": {"agent": "x", "needs": [f"t{n - 1}"] if n % 3 else []} for n in range(150)
    }
    ref = shelf.put_plan(plan_of(tasks, on_failure=policy))
    decider = workflow_decider(shelf)
    keeper = Keeper(decider, "workflow/r")
    stays, goes = decider.initial("workflow/r"), decider.initial("workflow/r")
    first = said.RunSubmitted(ref, "w", {"a": [1, {"b": None}]}, {"l": "v"}, b"d", "key", "")
    waiting = deque(f"t{n}" for n in range(0, 150, 3))
    facts: list[Any] = [first]
    for what, value in steps:
        if what == "keep":
            facts.append(None)
        else:
            error = ["boom", "why"] if what == "failed" else None
            result = {"n": value, "ref": BlobRef(bytes(32), value)} if value else None
            facts.append(said.TaskEnded(waiting.popleft(), 0, what, result, error))
    for fact in facts:
        if fact is None:
            goes = keeper.through(goes)
            continue
        decider.evolve(stays, fact)
        decider.evolve(goes, fact)
    restored = keeper.through(goes)
    assert pack(decider.encode(restored)) == pack(decider.encode(stays))


@pytest.mark.parametrize("count", range(10))
def test_a_task_goes_on_as_if_it_had_never_been_away(count: int) -> None:
    """Every field survives, at every point of a task's life."""
    decider = task_decider(Shelf())
    facts: list[Any] = [
        said.TaskScheduled(BlobRef(bytes(32), 1), 0, {"p": [1]}, "l", 3),
        said.AttemptStarted(1, 7, "h"),
        said.ProgressReported(1, 0.5, "half"),
        said.TaskAdjusted("j", {"lane": "w/o", "retry": {"attempts_max": 5}}, "me"),
        said.AttemptFailed(1, 7, "boom", "why", "", True, 99),
        said.TaskMoved("w/o"),
        said.TaskRequeued(2),
        said.AttemptStarted(2, 12, "h"),
        said.TaskCompleted(2, 12, {"r": [None, True]}),
    ]
    task = decider.initial("task/r/a")
    for fact in facts[:count]:
        decider.evolve(task, fact)
    restored = Keeper(decider, "task/r/a").through(task)
    assert decider.encode(restored) == decider.encode(task)
    for fact in facts[count:]:
        decider.evolve(task, fact)
        decider.evolve(restored, fact)
    assert decider.encode(restored) == decider.encode(task)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(["completed", "failed", "skipped", "keep"]), max_size=30))
def test_a_collector_goes_on_as_if_it_had_never_been_away(steps: list[str]) -> None:
    """Its counts, votes and members are made again from what is kept."""
    decider = collector_decider(shelf := Shelf())
    members = shelf.put_value([["r", [f"t{number}" for number in range(600)]]])
    keeper = Keeper(decider, "collector/c")
    stays, goes = decider.initial("collector/c"), decider.initial("collector/c")
    opened = said.CollectorOpened("majority", 301, ["v"], None, 9, members, b"d", "", 7)
    for place, what in enumerate(["", *steps]):
        if what == "keep":
            goes = keeper.through(goes)
            continue
        ended = said.MembersEnded([[599 - place, 0, what, '"a"']])
        for state in (stays, goes):
            decider.evolve(state, ended if what else opened)
    restored = keeper.through(goes)
    assert pack(decider.encode(restored)) == pack(decider.encode(stays))
    assert restored.tally.votes == stays.tally.votes
    assert (restored.has_ended, restored.places) == (stays.has_ended, stays.places)


@pytest.mark.parametrize("count", range(10))
def test_a_saga_goes_on_as_if_it_had_never_been_away(count: int) -> None:
    """Every field survives, on the way forth and on the way back."""
    shelf = Shelf()
    steps = {"a": step(), "b": step("a"), "c": step("b", action={"with": {"r": "${needs}"}})}
    ref = shelf.put_plan(saga_plan(steps))
    decider = saga_decider(shelf)
    ended = said.StepEnded("a", "completed", {"r": [None]}, None, False, False)
    facts: list[Any] = [
        said.SagaSubmitted(ref, "trip", {"n": 1}, {"l": "v"}, b"d", "key", "", lane="/sagas"),
        said.SagaStarted(77),
        said.TasksBlocked("/default", ["a"]),
        said.TasksUnblocked("/default", ["a"]),
        ended,
        ended._replace(task="b", status="failed", error=["e", "m"], in_doubt=True, is_running=True),
        said.CompensationBegun("failed", "e", "m", "b", "", True),
        said.StepRested("b"),
        said.StepsUnwound(["b"], ["c"]),
        ended._replace(task="b.compensation", status="failed", error=["e", "m"]),
        said.SagaAlarmed([["b", "e", "m"]], ["a", "b"]),
    ]
    saga = decider.initial("saga/~s")
    for fact in facts[:count]:
        decider.evolve(saga, fact)
    restored = Keeper(decider, "saga/~s").through(saga)
    assert pack(decider.encode(restored)) == pack(decider.encode(saga))
    for fact in facts[count:]:
        decider.evolve(saga, fact)
        decider.evolve(restored, fact)
    assert pack(decider.encode(restored)) == pack(decider.encode(saga))
