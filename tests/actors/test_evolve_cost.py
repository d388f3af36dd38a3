"""What applying a fact costs: at most the logarithm of what the state holds.

Counted are executed lines, comparisons of the lane's heap, and memory taken at the peak (which
shows a copy made in C). A submission alone costs as much as its plan has tasks: it makes them.
"""

from __future__ import annotations

import sys
import tracemalloc
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from goclaw_actors.collector import collector_decider
from goclaw_actors.lane import LANE
from goclaw_actors.saga import saga_decider
from goclaw_actors.task import task_decider
from goclaw_actors.workflow import workflow_decider
from goclaw_events import facts as said
from goclaw_events.conditions import compile_condition
from goclaw_events.plan import RetryPolicy
from goclaw_events.plan.model import PlanHead, PlannedTask, assemble
from goclaw_events.templates import Template
from goclaw_events.value import BlobRef
from tests.actors.given import Shelf
from tests.actors.sagas import saga_plan, step

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from goclaw_events.plan import Plan

SMALL, LARGE = 1_000, 100_000
BYTES_MAX = 4_096
"""A copy of the smallest container of 100,000 entries takes 25 times as much."""
REF = BlobRef(bytes(32), 1)


class Cost(NamedTuple):
    """What one call did."""

    lines: int
    compared: int
    bytes: int


class Counted(int):
    """A number that counts how often it is compared."""

    count = 0

    def __neg__(self) -> Counted:
        return Counted(-int(self))

    def __lt__(self, other: int) -> bool:
        Counted.count += 1
        return int(self) < int(other)

    def __eq__(self, other: object) -> bool:
        Counted.count += 1
        return int(self) == other

    __hash__ = int.__hash__


def cost_of(call: Callable[[], Any]) -> Cost:
    """Run a call, and count."""
    lines = 0

    def trace(frame: FrameType, event: str, _arg: Any) -> Any:
        nonlocal lines
        if frame.f_code.co_filename == __file__:
            return None  # the counting itself
        lines += event == "line"
        return trace

    Counted.count = 0
    before = sys.gettrace()
    tracemalloc.start()
    tracemalloc.reset_peak()
    base = tracemalloc.get_traced_memory()[0]
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return Cost(lines, Counted.count, peak - base)


@cache
def plan_of_size(size: int) -> Plan:
    """Return a plan: half of the tasks need nothing, each other one needs one of them."""
    policy = RetryPolicy(1, "fixed", 1.0, 1.0, "none", (), ())
    nothing = Template(0, None)
    condition = compile_condition("true")
    half = size // 2
    tasks = [
        PlannedTask(
            index, f"t{index}", "agent", "x", nothing, None,
            () if index < half else (index - half,), (), "w/io", 0, None, policy, condition,
            True, 1.0,
        )
        for index in range(size)
    ]  # fmt: skip
    return assemble(PlanHead("w", None, {}, None, "continue", (), {}, {}, None), tasks)


def run_of(size: int) -> tuple[Callable[[Any, Any], Any], Any]:
    """Return a run's `evolve` and a run of so many tasks, half of them with results."""
    shelf = Shelf()
    shelf.put_plan(plan_of_size(size), REF)
    decider = workflow_decider(shelf)
    run = decider.initial("workflow/r")
    decider.evolve(run, said.RunSubmitted(REF, "w", {}, {}, b"", None, ""))
    for index in range(size // 4):
        decider.evolve(run, said.TaskEnded(f"t{index}", 0, "completed", index, None))
    return decider.evolve, run


def blocked_of(size: int) -> tuple[Callable[[Any, Any], Any], Any]:
    """Return a run's `evolve` and a run that holds a quarter of its tasks back."""
    evolve, run = run_of(size)
    held = [f"t{index}" for index in range(size // 4, size // 2 + 1)]
    evolve(run, said.TasksBlocked("w/io", held))
    return evolve, run


def room_of(size: int) -> tuple[Callable[[Any, Any], Any], Any]:
    """Return a lane's `evolve` and a lane for whose room so many runs wait, or are kept some."""
    lane = LANE.initial("lane/w/io")
    runs = [f"workflow/r{number}" for number in range(size)]
    kept = [f"workflow/kept{number}" for number in range(size)]
    LANE.evolve(lane, said.LaneRoomChanged([], [], kept, [[run, 2] for run in kept]))
    LANE.evolve(lane, said.LaneRoomChanged([], [], runs, []))
    return LANE.evolve, lane


def lane_of(size: int) -> tuple[Callable[[Any, Any], Any], Any]:
    """Return a lane's `evolve` and a lane in which so many wait, and as many hold slots."""
    lane = LANE.initial("lane/w/io")
    waiting: list[tuple[str, int, bool]] = [
        (f"t{number}", Counted(number % 7), False) for number in range(size)
    ]
    LANE.evolve(lane, said.LaneDeclared(size, size, "reject", "w"))
    for number in range(size):
        LANE.evolve(lane, said.LaneAdvanced([], [], [(f"h{number}", 0, False)], [f"h{number}"]))
    LANE.evolve(lane, said.LaneAdvanced([], [], waiting, []))
    return LANE.evolve, lane


def shares_of(size: int) -> tuple[Callable[[Any, Any], Any], Any]:
    """Return the `evolve` and the state of a lane with limits: a key for every three tasks."""
    lane = LANE.initial("lane/w/io")

    def advance(queued: list[Any], leased: list[str]) -> None:
        LANE.evolve(lane, said.LaneAdvanced([], [], queued, leased, 10**18))

    limits = {"per_tenant": size, "resources": {"gpu": size}}
    LANE.evolve(lane, said.LaneDeclared(size, size, "reject", "w", limits))
    for number in range(size // 2):
        advance([(f"h{number}", 0, False, came_with(number))], [f"h{number}"])
    for number in range(size):
        advance([(f"t{number}", number % 7, False, came_with(number // 3))], [])
    return LANE.evolve, lane


def came_with(number: int) -> list[Any]:
    """Return what an entry asks for: a slot of its tenant and key."""
    return [f"tenant{number % 100}", f"k{number}", {"gpu": 1}, 1.0]


def shared(queued: list[Any], *, withdrawn: str = "", leased: str = "") -> said.LaneAdvanced:
    """Return a turn of a lane with limits."""
    left = [withdrawn] if withdrawn else []
    return said.LaneAdvanced([], left, queued, [leased] if leased else [], 2 * 10**18)


def task_of(_size: int) -> tuple[Callable[[Any, Any], Any], Any]:
    """Return a task's `evolve` and a task that runs: its state has one size."""
    decider = task_decider(Shelf())
    task = decider.initial("task/r/a")
    decider.evolve(task, said.TaskScheduled(REF, 0, {}, "l", 0))
    decider.evolve(task, said.AttemptStarted(1, 1, "h"))
    return decider.evolve, task


def collector_of(size: int) -> tuple[Callable[[Any, Any], Any], Any]:
    """Return a collector's `evolve` and a collector of so many members, half of them ended."""
    decider = collector_decider(Shelf())
    collector = decider.initial("collector/c")
    members = [["r", [f"t{number}" for number in range(size)]]]
    opened = said.CollectorOpened("majority", size, [], None, 0, members, b"", "", 0)
    decider.evolve(collector, opened)
    for place in range(size // 2):
        decider.evolve(collector, said.MembersEnded([[place, 0, "completed", str(place)]]))
    return decider.evolve, collector


def top(lane: Any) -> str:
    """Return the task that is leased next."""
    name: str = lane.queue.first()[2]
    return name


def saga_of(size: int) -> tuple[Callable[[Any, Any], Any], Any]:
    """Return a saga's `evolve` and a saga of so many steps in chains of ten, which runs."""
    shelf = Shelf()
    steps = {f"t{n}": step(*([f"t{n - 1}"] if n % 10 else [])) for n in range(size)}
    ref = shelf.put_plan(saga_plan(steps))
    decider = saga_decider(shelf)
    saga = decider.initial("saga/~s")
    decider.evolve(saga, said.SagaSubmitted(ref, "trip", {}, {}, b"", None, ""))
    decider.evolve(saga, said.SagaStarted(0))
    return decider.evolve, saga


def test_a_fact_of_a_saga_costs_as_much_as_it_names() -> None:
    """From 100 to 1,000 steps the cost stays the same."""
    costs = []
    for size in (100, 1_000):
        evolve, saga = saga_of(size)
        facts = [
            said.StepEnded("t0", "completed", "r", None, False, False),
            said.CompensationBegun("failed", "e", "m", "t0", "", False),
            said.StepsUnwound(["t0"], ["t20"]),
            said.StepEnded("t0.compensation", "completed", None, None, False, False),
        ]
        costs.append([cost_of(lambda f=fact: evolve(saga, f)) for fact in facts])  # type: ignore[misc]  # noqa: B023
    for small, large in zip(*costs, strict=True):
        assert large.lines <= small.lines + 10


CASES: dict[str, tuple[Any, Callable[[int, Any], Any]]] = {
    "run: a task ended": (
        run_of,
        lambda size, _: said.TaskEnded(f"t{size // 3}", 0, "completed", "r", None),
    ),
    "run: a task failed": (
        run_of,
        lambda size, _: said.TaskEnded(f"t{size // 3}", 0, "failed", None, ["e", "m"]),
    ),
    "run: tasks skipped": (
        run_of,
        lambda size, _: said.TasksSkipped([f"t{size // 3}"], "condition"),
    ),
    "run: cancel requested": (run_of, lambda *_: said.RunCancelRequested("", "")),
    "run: completed": (run_of, lambda *_: said.RunCompleted({"n": 1})),
    "run: failed": (run_of, lambda *_: said.RunFailed("e", "m", "t")),
    "run: cancelled": (run_of, lambda *_: said.RunCancelled("")),
    "lane: declared": (lane_of, lambda *_: said.LaneDeclared(1, 1, "reject", "x")),
    "lane: refused": (lane_of, lambda *_: said.LaneRefused(["z"], "lane_full")),
    "lane: redirected": (lane_of, lambda *_: said.LaneRedirected(["z"], "w/b")),
    "lane: a run came, one left and one was given room": (
        room_of,
        lambda *_: said.LaneRoomChanged(
            [["workflow/kept7", 1]], ["workflow/r500"], ["workflow/new"], [["workflow/r1", 1]]
        ),
    ),
    "run: tasks held back": (run_of, lambda *_: said.TasksBlocked("w/io", ["t700"])),
    "run: held back no more": (
        blocked_of,
        lambda size, _: said.TasksUnblocked("w/io", [f"t{size // 2}"]),
    ),
    "lane: one came": (
        lane_of,
        lambda *_: said.LaneAdvanced([], [], [("new", Counted(9), False)], []),
    ),
    "lane: one came back": (
        lane_of,
        lambda *_: said.LaneAdvanced([], [], [("back", Counted(3), True)], []),
    ),
    "lane: one left and one was leased": (
        lane_of,
        lambda _, lane: said.LaneAdvanced(["h3"], [], [], [top(lane)]),
    ),
    "lane: the first withdrew": (
        lane_of,
        lambda _, lane: said.LaneAdvanced([], [top(lane)], [], []),
    ),
    "lane: another withdrew": (lane_of, lambda *_: said.LaneAdvanced([], ["t500"], [], [])),
    "shares: one came": (
        shares_of,
        lambda *_: shared([("new", 0, False, came_with(7))]),
    ),
    "shares: one came with a key of its own": (
        shares_of,
        lambda *_: shared([("other", 0, True, ["new", "new", None, 1.0])]),
    ),
    "shares: one left and another was leased": (
        shares_of,
        lambda *_: said.LaneAdvanced(["h3"], [], [], ["t9"], 2 * 10**18),
    ),
    "shares: one withdrew": (shares_of, lambda *_: shared([], withdrawn="t500")),
    "collector: a member ended": (
        collector_of,
        lambda size, _: said.MembersEnded([[size - 1, 0, "completed", "new"]]),
    ),
    "collector: ended": (collector_of, lambda *_: said.CollectorEnded("met", "", "")),
    "task: progress": (task_of, lambda *_: said.ProgressReported(1, 0.5, "")),
    "task: failed attempt": (
        task_of,
        lambda *_: said.AttemptFailed(1, 1, "e", "m", "", False, 7),
    ),
    "task: completed": (task_of, lambda *_: said.TaskCompleted(1, 1, "r")),
}

_states: dict[tuple[Any, int], tuple[Any, Any]] = {}


def state_of(make: Any, size: int) -> tuple[Any, Any]:
    """Return a state of a size; states that only grow a little are shared between cases."""
    if (make, size) not in _states:
        _states[(make, size)] = make(size)
    return _states[(make, size)]


@pytest.mark.parametrize("case", list(CASES))
def test_a_fact_costs_at_most_the_logarithm(case: str) -> None:
    """From 1,000 to 100,000 entries the cost may grow by their logarithms' ratio, not more."""
    make, fact_of = CASES[case]
    costs = []
    for size in (SMALL, LARGE):
        if make is run_of:
            _states.pop((make, size), None)  # a task ends once
        evolve, state = state_of(make, size)
        fact = fact_of(size, state)
        costs.append(cost_of(lambda e=evolve, s=state, f=fact: e(s, f)))  # type: ignore[misc]
    small, large = costs
    assert large.lines <= 2 * small.lines + 10
    assert large.compared <= 2 * small.compared + 40
    assert large.bytes <= BYTES_MAX + _growth(case)


def _growth(case: str) -> int:
    """Return what a container that grows by one entry may take when it moves to more room."""
    grows = ("came", "leased", "ended", "held")
    return 24 * LARGE if any(word in case for word in grows) else 0


def test_withdrawing_everything_costs_the_logarithm_each() -> None:
    """What was withdrawn within the heap is taken out once: at the top, or swept out of it."""
    costs = []
    for size in (3 * SMALL, 30 * SMALL):
        evolve, lane = lane_of(size)
        order = [f"t{number}" for number in range(size)]

        def withdraw(evolve: Any = evolve, lane: Any = lane, order: list[str] = order) -> None:
            for task in order:
                evolve(lane, said.LaneAdvanced([], [task], [], []))

        costs.append(cost_of(withdraw))
        assert not lane.queue
    small, large = costs
    assert large.lines <= 10 * small.lines * 1.4, "a small one is swept less"
    assert large.compared <= 10 * small.compared * 2
