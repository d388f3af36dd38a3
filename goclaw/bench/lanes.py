"""Measure a lane: tasks that ask, get a slot and give it back, over the node and a real log.

The tasks are names that answer at once, so the lane is all that is measured: one that limits only
slots, one with tenants, keys, units and a rate besides, and what each costs by the tasks in it.
"""

from __future__ import annotations

import tempfile
import time
from collections import deque
from contextlib import closing
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw.bench.machine import describe_machine
from goclaw.bench.recovery import LANE, lane_ports, turn
from goclaw.bench.storms import storm_us
from goclaw.datadir import DataDirectory
from goclaw.garbage import collecting_seldom
from goclaw_actors.decider import NOTHING, Decision, Moment, Send
from goclaw_actors.lane import LANE as DECIDER
from goclaw_actors.lane import Lane
from goclaw_actors.lending import DeclareLane, Enqueue, LendFree, Release
from goclaw_actors.message import Message
from goclaw_actors.messages import SlotLeased, TimerFired
from goclaw_actors.node import Node
from goclaw_actors.ports import Limits
from goclaw_events.facts import LaneDeclared

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.decider import Decider

SLOTS: Final = 100
TENANTS: Final = 10
LIMITED: Final[dict[str, Any]] = {
    "per_tenant": SLOTS,
    "per_key": SLOTS,
    "resources": {"unit": SLOTS},
    "rate": [1_000_000.0, 1_000_000, "token_bucket"],
    "weights": {"n0": 2.0},
}
TASKS_PER_KEY: Final = 10
UNITS: Final = {"unit": 1}
LASTS_S: Final = {"short": 0.1, "long": 10.0}
SHARED_S: Final = 4_000.0
SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Load:
    """How many tasks go through each lane, how many are in it at once, and how often (best)."""

    tasks: int = 50_000
    in_flight: int = 1_000
    rounds: int = 3


class Cost(NamedTuple):
    """What one task costs: on the clock, and of the processor on all threads.

    `lane_us` is what of the latter the lane itself takes, to decide and to apply its facts.
    """

    wall_us: float
    cpu_us: float
    lane_us: float

    def least(self, other: Cost) -> Cost:
        """Return the least of two measurements."""
        return Cost(*map(min, self, other))


class _Timed:
    """What a lane takes of the processor, in turns of many messages."""

    def __init__(self) -> None:
        self.spent_s = 0.0

    def lane(self) -> Decider[Lane]:
        """Return a lane's decider that is timed."""
        assert DECIDER.pool is not None, "a lane pools what comes"
        pool = replace(DECIDER.pool, decide=self._timed(DECIDER.pool.decide))
        return replace(DECIDER, evolve=self._timed(DECIDER.evolve), pool=pool)

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            began_s = time.thread_time()
            result = function(*arguments)
            self.spent_s += time.thread_time() - began_s
            return result

        return call


def measure_lanes(
    directory: Path, load: Load, sizes: tuple[int, ...], tell: Callable[[str], None]
) -> dict[str, Any]:
    """Return what a lane does a second, what limits cost, and how exact shares are."""
    place = tempfile.TemporaryDirectory(dir=directory, prefix="goclaw-bench-")
    with place as root, collecting_seldom():
        best: dict[bool, Cost] = {}
        for at in range(load.rounds):
            for limited in (False, True):
                tell(f"round {at + 1}: {'with limits' if limited else 'plain'}")
                found = _through(Path(root) / f"{at}-{limited}", load, limited=limited)
                best[limited] = found.least(best.get(limited, found))
        by_size: dict[str, dict[str, Cost]] = {"plain": {}, "limited": {}}
        for size in sizes:
            grown = replace(load, in_flight=size)
            for kind, costs in by_size.items():
                tell(f"{size} tasks in the lane, {kind}")
                root_of = Path(root) / f"{kind}{size}"
                costs[str(size)] = _through(root_of, grown, limited=kind == "limited")
        storms: dict[str, dict[str, float]] = {"redirect": {}, "block": {}}
        for overflow, found_us in storms.items():
            for size in sizes or (load.tasks,):
                tell(f"{size} tasks ask a full lane ({overflow})")
                cost_us = storm_us(Path(root) / f"{overflow}{size}", size, overflow)
                found_us[str(size)] = round(cost_us, 1)
    plain, full = best[False], best[True]
    return {
        "durable_per_s": round(1e6 / plain.wall_us),
        "limited_per_s": round(1e6 / full.wall_us),
        "limits_cost_ratio": round(full.wall_us / plain.wall_us, 3),
        "cpu_us": {"plain": round(plain.cpu_us, 1), "limited": round(full.cpu_us, 1)},
        "cpu_ratio": round(full.cpu_us / plain.cpu_us, 3),
        "lane_cpu_us": {"plain": round(plain.lane_us, 1), "limited": round(full.lane_us, 1)},
        "share_error": round(share_error(), 4),
        "per_s_by_size": _each(by_size, lambda cost: round(1e6 / cost.wall_us)),
        "cpu_us_by_size": _each(by_size, lambda cost: round(cost.cpu_us, 1)),
        "lane_cpu_us_by_size": _each(by_size, lambda cost: round(cost.lane_us, 1)),
        "storm_cpu_us_by_size": storms,
        "machine": describe_machine(),
    }


def _each(
    by_size: dict[str, dict[str, Cost]], figure: Callable[[Cost], float]
) -> dict[str, dict[str, float]]:
    return {
        kind: {size: figure(cost) for size, cost in costs.items()}
        for kind, costs in by_size.items()
    }


class _Tasks:
    """Tasks that give a slot back and ask again, until enough were there: then they keep it."""

    def __init__(self, load: Load, *, limited: bool) -> None:
        self._asks: dict[str, Enqueue] = {}
        self.holding = True
        self.leased = 0
        self.limited = limited
        self.keys = max(TENANTS, load.in_flight // TASKS_PER_KEY)
        self._names = [f"n{number}" for number in range(self.keys)]
        self.wanted = load.tasks

    def decide(self, task: Any, message: Any, _moment: Moment) -> Decision:
        """Answer the lane."""
        if type(message) is TimerFired:
            return Decision((), [Send(LANE, self.ask(task.stream))])
        if type(message) is not SlotLeased or self.holding or self.leased == self.wanted:
            return NOTHING
        self.leased += 1
        return Decision((), [Send(LANE, Release(task.stream)), Send(LANE, self.ask(task.stream))])

    def ask(self, stream: str) -> Enqueue:
        """Return what a task asks for; it was made once, as what it costs is not the lane's."""
        message = self._asks.get(stream)
        if message is None:
            number = int(stream[-7:])
            names = self._names
            asks = (names[number % TENANTS], "", names[number % self.keys], UNITS, 1.0)
            message = Enqueue(stream, 0, False, *(asks if self.limited else ()))
            self._asks[stream] = message
        return message


def _through(path: Path, load: Load, *, limited: bool) -> Cost:
    """Return what a task costs that goes through a lane; all are durable at the end.

    While it is filled the first task keeps the only slot, and all actors of tasks come to life:
    what that takes is not the lane's.
    """
    posts: deque[tuple[Callable[[Any], None], Any]] = deque()
    tasks, timed = _Tasks(load, limited=limited), _Timed()
    with closing(DataDirectory(path).open_journal(create=True)) as journal:
        ports = lane_ports(journal, posts, tasks.decide)
        ports = replace(ports, kinds={**ports.kinds, "lane": timed.lane()})
        node = Node(ports, Limits(live_actors_max=2 * load.in_flight + 100))
        node.open()
        limits = LIMITED if limited else None
        capacity = 2 * load.in_flight + load.tasks
        node.accept(Message(LANE, DeclareLane(1, capacity, "reject", "bench", limits)))
        for number in range(load.in_flight):
            node.accept(Message(f"task/b/t{number:07}", TimerFired("ask")))
            if number % 4_096 == 0:
                turn(node, posts)
        _rest(node, posts)
        tasks.holding = False
        node.accept(Message(LANE, DeclareLane(SLOTS, capacity, "reject", "bench", limits)))
        node.accept(Message(LANE, LendFree()))
        timed.spent_s = 0.0
        began_s = time.perf_counter(), time.process_time()
        _rest(node, posts)
        took_s = time.perf_counter() - began_s[0], time.process_time() - began_s[1], timed.spent_s
        return Cost(*(seconds * 1e6 / tasks.leased for seconds in took_s))


def _rest(node: Node, posts: deque[tuple[Callable[[Any], None], Any]]) -> None:
    while not node.idle:
        turn(node, posts)


def share_error() -> float:
    """Return how far two tenants, one with tasks 100 times longer, are from equal shares."""
    lane, started = Lane("lane/bench/shares"), 0
    DECIDER.evolve(lane, LaneDeclared(8, 1_000, "reject", "bench", {"fair_by": "tenant"}))
    held_s = dict.fromkeys(LASTS_S, 0.0)
    running: list[tuple[float, int, str]] = []
    now_s = 0.0

    def said(message: Any) -> None:
        nonlocal started
        moment = Moment(SECOND_NS + int(now_s * SECOND_NS), 1, 0, 1, "")
        decision = DECIDER.decide(lane, message, moment)
        for fact in decision.facts:
            DECIDER.evolve(lane, fact)
        for send in decision.sends:
            started += 1
            heappush(running, (now_s + LASTS_S[send.target.split("-")[0]], started, send.target))

    for number in range(10):
        for tenant in LASTS_S:
            said(Enqueue(f"{tenant}-{number}", 0, False, tenant))
    number = 10
    while now_s * lane.concurrency < SHARED_S:
        now_s, _, task = heappop(running)
        tenant = task.split("-")[0]
        held_s[tenant] += LASTS_S[tenant]
        said(Enqueue(f"{tenant}-{number}", 0, False, tenant))
        said(Release(task))
        number += 1
    return abs(held_s["short"] / sum(held_s.values()) - 0.5) / 0.5
