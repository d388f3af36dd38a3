"""Measure overload: what a process takes in memory while ten times too much is asked of it.

`python -m goclaw.bench.overload DIRECTORY COMMANDS TIMES ROUNDS` is the process that is measured:
an engine that lets COMMANDS submissions wait, of which TIMES as many come at once, ROUNDS times.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from goclaw.bench.machine import describe_machine
from goclaw.builder import Workflow
from goclaw.config import EngineSettings, Settings
from goclaw.engine import Engine
from goclaw.results import CommandRefused
from goclaw_actors.executors.agents import AgentRegistry

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw.submission import Prepared
    from goclaw_actors.executors.context import TaskContext

LOOK_EVERY_S: Final = 0.02
PATIENCE_S: Final = 600.0
ACCEPTED: Final = "accepted"
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Overload:
    """How much: commands that may wait, how many times as many come at once, how often."""

    commands: int = 2_000
    times: int = 10
    rounds: int = 5


def measure_overload(
    directory: Path, load: Overload, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Return the figures of a process of its own; the data is written below `directory`."""
    offered = load.commands * load.times
    tell(f"{load.rounds} times {offered} submissions at once, of which {load.commands} may wait")
    with tempfile.TemporaryDirectory(dir=directory, prefix="goclaw-bench-") as name:
        numbers = [str(number) for number in asdict(load).values()]
        done = subprocess.run(  # noqa: S603 - this very module
            [sys.executable, "-m", "goclaw.bench.overload", str(Path(name) / "data"), *numbers],
            stdout=subprocess.PIPE,
            timeout=PATIENCE_S,
            check=True,
        )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"machine": describe_machine(), "settings": asdict(load), **figures}


class Memory:
    """Look at this process's resident memory on a thread, and keep the most that was seen."""

    def __init__(self) -> None:
        self.most = self.now()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="bench-memory", daemon=True)
        self._thread.start()

    @staticmethod
    def now() -> float:
        """Return what is resident, in MiB."""
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / _MIB

    def _look(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            self.most = max(self.most, self.now())

    def take(self) -> float:
        """Return the most that was seen since the last call."""
        most, self.most = max(self.most, self.now()), self.now()
        return round(most, 1)

    def close(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()


async def overload(path: Path, load: Overload) -> dict[str, Any]:
    """Overload an engine in this process and return what came of it."""
    agents = AgentRegistry()

    async def nothing(_ctx: TaskContext) -> None:
        return

    agents.register("bench.nothing", nothing)
    workflow = Workflow("bench-overload")
    workflow.task("only", agent="bench.nothing")
    settings = Settings(engine=EngineSettings(commands_max=load.commands))
    answers: Counter[str] = Counter()
    peaks: list[float] = []
    accepted: list[str] = []
    memory = Memory()
    async with Engine(path, settings=settings, agents=agents) as engine:
        prepared = engine.prepare(workflow)
        await engine.run(prepared)
        idle = memory.take()
        started = time.perf_counter()
        for turn in range(load.rounds):
            names = [f"o{turn}-{at}" for at in range(load.commands * load.times)]
            codes = await asyncio.gather(*(_submit(engine, prepared, name) for name in names))
            answers.update(codes)
            taken = [name for name, code in zip(names, codes, strict=True) if code == ACCEPTED]
            ended = await asyncio.gather(
                *(engine.result(name, timeout_s=PATIENCE_S) for name in taken)
            )
            answers["completed"] += sum(run.ok for run in ended)
            accepted += taken
            peaks.append(memory.take())
        passed = time.perf_counter() - started
        lost = len(accepted) - answers["completed"]
        runs = sum(1 for _ in engine.parts.journal.streams(0, "workflow/o"))
    memory.close()
    return {
        "offered": load.commands * load.times * load.rounds,
        "answers": dict(answers),
        "lost": lost,
        "stored_though_refused": runs - len(accepted),
        "seconds": round(passed, 1),
        "rss_mb": {"idle": idle, "most": max(peaks), "rounds": peaks},
    }


async def _submit(engine: Engine, prepared: Prepared, run_id: str) -> str:
    try:
        await engine.submit(prepared, run_id=run_id)
    except CommandRefused as refused:
        return refused.code
    return ACCEPTED


def main(arguments: list[str]) -> None:
    """Be the process that is measured."""
    directory, *numbers = arguments
    figures = asyncio.run(overload(Path(directory), Overload(*map(int, numbers))))
    os.write(sys.stdout.fileno(), json.dumps(figures).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
