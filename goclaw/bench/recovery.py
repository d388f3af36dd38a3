"""Measure recovery: how soon a killed engine goes on, and what snapshots cost while it runs.

A process fills a log and is killed; another one opens it. Times count from the start of that
process, imports included. The lane is measured apart: its snapshot is taken while it goes on.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import closing
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from goclaw.bench.machine import describe_machine, percentiles
from goclaw.datadir import DataDirectory
from goclaw_actors.contents import StoredContents
from goclaw_actors.decider import NOTHING
from goclaw_actors.directory import deciders
from goclaw_actors.env import Identity, SystemClock
from goclaw_actors.lending import DeclareLane, Enqueue
from goclaw_actors.message import Message
from goclaw_actors.node import Node
from goclaw_actors.ports import Limits, Ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from goclaw_actors.decider import Decision, Moment
    from goclaw_actors.work import AttemptToken, StartAttempt, StopAttempt, TellAttempt
    from goclaw_events.journal import Journal

FACTS_PER_TASK: Final = 4
TASKS_MAX: Final = 20_000
FILL_S: Final = 1_800
RESTART_S: Final = 120
LANE: Final = "lane/bench/queue"
COLLECT_EVERY: Final = 50_000
ENCODING_MS_MIN: Final = 0.1
"""A shorter hold only looked whether a snapshot is due."""
_COMMANDS_MAX: Final = 4_096


@dataclass(frozen=True, slots=True)
class Size:
    """How much: facts in the log, entries in the lane, restarts (the median counts)."""

    facts: int = 1_000_000
    entries: int = 1_000_000
    restarts: int = 3


def measure_recovery(
    directory: Path, size: Size, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Return the figures; the data is written below `directory`, and removed."""
    with tempfile.TemporaryDirectory(dir=directory, prefix="goclaw-bench-") as name:
        root = Path(name)
        figures = _restarts(root / "engine", size, tell)
        tell(f"a lane with {size.entries} entries")
        lane = measure_lane(root / "lane", size.entries)
    return {
        "machine": describe_machine(),
        "settings": {
            "facts": size.facts,
            "entries": size.entries,
            "restarts": size.restarts,
            "flush": "on",
        },
        **figures,
        "lane": lane,
    }


def _restarts(path: Path, size: Size, tell: Callable[[str], None]) -> dict[str, Any]:
    tasks = max(1, min(size.facts // FACTS_PER_TASK // 2, TASKS_MAX))
    runs = max(1, ceil(size.facts / FACTS_PER_TASK / tasks) - 1)
    tell(f"filling a log with about {size.facts} facts")
    with _Child("fill", path, tasks, runs) as child:
        facts = child.wait_for({"filled"}, FILL_S)["filled"]["facts"]
    found = []
    for at in range(size.restarts):
        tell(f"restart {at + 1} of {size.restarts}")
        with _Child("restart", path) as child:
            events = child.wait_for({"committed", "attempt"}, RESTART_S)
            found.append({name: event["at"] - child.started for name, event in events.items()})
    found.sort(key=lambda times: max(times["committed"], times["attempt"]))
    middle = found[len(found) // 2]
    return {
        "facts": facts,
        "restart_s": {name: round(seconds, 3) for name, seconds in middle.items()},
        "snapshots": _count(path),
    }


def _count(path: Path) -> dict[str, int]:
    with closing(DataDirectory(path).open_journal()) as journal:
        return {table: sum(1 for _ in journal.rows(table)) for table in ("snapshots", "chunks")}


class _Child:
    """A process of `recovery_child`, killed at the end."""

    def __init__(self, mode: str, path: Path, tasks: int = 0, runs: int = 0) -> None:
        self.started = time.monotonic()
        arguments = [mode, str(path), str(tasks), str(runs)]
        self._process = subprocess.Popen(  # noqa: S603 - this module's own child
            [sys.executable, "-m", "goclaw.bench.recovery_child", *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def wait_for(self, names: set[str], timeout_s: float) -> dict[str, dict[str, Any]]:
        """Return what the child said up to the last of `names`; raises `RuntimeError`."""
        found: dict[str, dict[str, Any]] = {}
        stream = self._process.stdout
        assert stream is not None, "its output is a pipe"
        while not names <= found.keys():
            line = stream.readline()
            if not line or time.monotonic() - self.started > timeout_s:
                raise RuntimeError(f"the engine did not get to {sorted(names - found.keys())}")
            event = json.loads(line)
            found.setdefault(event["event"], event)
        return found


# -- a large lane -----------------------------------------------------------------------------


class NoExecutor:
    """Start nothing: what the lane holds are names."""

    def start_many(self, attempts: Sequence[StartAttempt]) -> None:
        """Pass over attempts."""

    def stop_many(self, stops: Sequence[StopAttempt]) -> None:
        """Pass over stops."""

    def tell_many(self, tells: Sequence[TellAttempt]) -> None:
        """Pass over what is said."""

    def holds(self, _token: AttemptToken) -> bool:
        """Tell that nothing runs."""
        return False


def measure_lane(path: Path, entries: int) -> dict[str, Any]:
    """Fill a lane message by message; return how long snapshots held the batches meanwhile.

    `hold_ms` is what passed, with what other threads and processes took of it; `hold_cpu_ms` is
    what the snapshots themselves took.
    """
    posts: deque[tuple[Callable[[Any], None], Any]] = deque()
    with closing(DataDirectory(path).open_journal(create=True)) as journal:
        node = Node(lane_ports(journal, posts, lambda *_: NOTHING), Limits())
        node.open()
        node.accept(Message(LANE, DeclareLane(1, entries + 1, "reject", "bench")))
        dispatcher = node.dispatchers[0]
        snapshots = dispatcher.turns.snapshots
        encode = snapshots.rows
        holds: list[float] = []
        works: list[float] = []

        def timed(era: int) -> Any:
            began, worked = time.perf_counter(), time.thread_time()
            rows = encode(era)
            works.append((time.thread_time() - worked) * 1000)
            holds.append((time.perf_counter() - began) * 1000)
            return rows

        snapshots.rows = timed  # type: ignore[method-assign]
        before = gc.get_threshold()
        gc.set_threshold(COLLECT_EVERY, *before[1:])
        began = time.perf_counter()
        try:
            for message in _enqueued(entries):
                node.accept(message)
                if len(dispatcher.commands) >= _COMMANDS_MAX:
                    turn(node, posts)
            while not node.idle or snapshots.waiting:
                if node.idle:
                    node.accept(Message(LANE, Enqueue(f"task/last/t{len(holds)}", 0, False)))
                turn(node, posts)
        finally:
            gc.set_threshold(*before)
        passed = time.perf_counter() - began
        chunks = sum(1 for _ in journal.rows("chunks"))
    return {
        "batches": len(holds),
        "batches_with_snapshot": sum(hold > ENCODING_MS_MIN for hold in holds),
        "chunks": chunks,
        "seconds": round(passed, 2),
        "hold_ms": {**percentiles(holds), "max": round(max(holds), 3)},
        "hold_cpu_ms": {**percentiles(works), "max": round(max(works), 3)},
    }


def _enqueued(entries: int) -> Iterator[Message]:
    for number in range(entries):
        yield Message(LANE, Enqueue(f"task/bench-{number % 97}/t{number}", number % 5, False))


def turn(node: Node, posts: deque[tuple[Callable[[Any], None], Any]]) -> None:
    """Take one batch, or wait for one to be durable."""
    if not node.run_once() and not posts:
        time.sleep(0.0002)  # every commit in flight must first come back
    while posts:
        function, argument = posts.popleft()
        function(argument)


def lane_ports(
    journal: Journal,
    posts: deque[tuple[Callable[[Any], None], Any]],
    answer: Callable[[Any, Any, Moment], Decision],
) -> Ports:
    """Return what a node works with where tasks are names, for which `answer` decides."""
    contents = StoredContents(journal)
    kinds = deciders(contents)
    kinds["task"] = replace(kinds["task"], decide=answer)
    return Ports(
        journal,
        NoExecutor(),
        SystemClock(),
        Identity("bench", "boot"),
        kinds,
        "bench",
        lambda function, argument: posts.append((function, argument)),
        lambda _ended, _position: None,
        lambda _partition, _frame: None,
        contents,
    )
