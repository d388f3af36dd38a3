"""Measure what a full lane costs when many tasks ask it at once: sent on, or held back.

The tasks and their run are names that answer at once. *Redirect*: every task finds the first lane
full and asks the second. *Block*: the run holds all of them back and lets them in as there is room.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from goclaw.bench.recovery import lane_ports, turn
from goclaw.datadir import DataDirectory
from goclaw_actors.decider import NOTHING, Decision, Moment, Send
from goclaw_actors.lending import DeclareLane, Enqueue, Release, WaitForRoom
from goclaw_actors.message import Message
from goclaw_actors.messages import (
    LaneFull,
    RoomFor,
    SlotLeased,
    SlotRedirected,
    TimerFired,
)
from goclaw_actors.node import Node
from goclaw_actors.ports import Limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FULL: Final = "lane/bench/full"
SPILL: Final = "lane/bench/spill"
RUN: Final = "workflow/b"
PLACES: Final = 256


class _Storm:
    """Tasks that ask a full lane, and the run that holds them back."""

    def __init__(self) -> None:
        self.held_back: deque[str] = deque()
        self.through = 0

    def task(self, task: Any, message: Any, _moment: Moment) -> Decision:
        """Answer for a task."""
        match message:
            case TimerFired():
                return Decision((), [Send(FULL, Enqueue(task.stream, 0, False))])
            case SlotRedirected():
                self.through += 1
                return Decision((), [Send(SPILL, Enqueue(task.stream, 0, False, hops=1))])
            case SlotLeased():
                self.through += 1
                return Decision((), [Send(FULL, Release(task.stream))])
        return NOTHING

    def run(self, _run: Any, message: Any, _moment: Moment) -> Decision:
        """Answer for the run: what it would record is not the lane's cost."""
        match message:
            case LaneFull(_, tasks):
                self.held_back.extend(tasks)
            case RoomFor(_, places):
                count = min(places, len(self.held_back))
                asks = [Enqueue(self.held_back.popleft(), 0, False, let_in=True)
                        for _ in range(count)]  # fmt: skip
                sends = [Send(FULL, ask) for ask in asks]
                if self.held_back:
                    sends.append(Send(FULL, WaitForRoom(RUN)))
                return Decision((), sends)
        return NOTHING


def storm_us(path: Path, tasks: int, overflow: str) -> float:
    """Return what a task costs (us of the processor) of so many that ask a full lane at once.

    Where it blocks, until all have been through; where it redirects, until the other has them.
    """
    posts: deque[tuple[Callable[[Any], None], Any]] = deque()
    storm = _Storm()
    with closing(DataDirectory(path).open_journal(create=True)) as journal:
        ports = lane_ports(journal, posts, storm.task)
        run = replace(ports.kinds["workflow"], decide=storm.run, pool=None)
        ports = replace(ports, kinds={**ports.kinds, "workflow": run})
        node = Node(ports, Limits(live_actors_max=tasks + 100))
        node.open()
        blocks = overflow == "block"
        target = "" if blocks else SPILL.partition("/")[2]
        full = DeclareLane(PLACES if blocks else 1, PLACES, overflow, "bench", None, target)
        node.accept(Message(FULL, full))
        node.accept(Message(SPILL, DeclareLane(1, tasks + 1, "reject", "bench")))
        began = time.process_time()
        for number in range(tasks):
            node.accept(Message(f"task/b/t{number:07}", TimerFired("ask")))
            if number % 4_096 == 0:
                turn(node, posts)
        while not node.idle:
            turn(node, posts)
        return (time.process_time() - began) * 1e6 / max(1, storm.through)
