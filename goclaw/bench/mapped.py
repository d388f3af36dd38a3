"""Measure what an item of a list costs, by how many items there are: it should be the same.

Everything is real, as in `goclaw.bench.engine`. The agent hands its item back, so that results are
kept, put in order and handed on, too.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from goclaw.bench.engine import facts_of
from goclaw.bench.machine import describe_machine
from goclaw.builder import ITEM, Workflow
from goclaw.engine import Engine
from goclaw_actors.executors.agents import AgentRegistry

if TYPE_CHECKING:
    from goclaw_actors.executors.context import TaskContext

SHARES: Final = (100, 10, 1)
"""Measured are a hundredth of the items, a tenth, and all."""
ITEMS_MIN: Final = 10
PARALLEL: Final = 256
WARM_UP: Final = 1_000


async def listed(_ctx: TaskContext, items: int) -> list[int]:
    """Be a list."""
    return list(range(items))


async def echo(_ctx: TaskContext, item: int) -> int:
    """Be the work on an item."""
    return item


async def measure_mapped(directory: Path, items: int, tell: Any = lambda _: None) -> dict[str, Any]:
    """Return the figures, by the number of items; the data is written below `directory`."""
    sizes = sorted({max(ITEMS_MIN, items // share) for share in SHARES})
    with tempfile.TemporaryDirectory(dir=directory, prefix="goclaw-bench-") as name:
        found = {}
        for size in sizes:
            tell(f"a list of {size}")
            found[str(size)] = await _measure(Path(name) / str(size), size)
    least, most = (found[str(size)]["cpu_us_per_item"] for size in (sizes[0], sizes[-1]))
    return {
        "items": items,
        "parallel": PARALLEL,
        "ratio_to_least": round(most / least, 3),
        "mapped": found,
        "machine": describe_machine(),
    }


async def _measure(data_dir: Path, items: int) -> dict[str, Any]:
    agents = AgentRegistry()
    agents.register("bench.listed", listed)
    agents.register("bench.echo", echo)
    workflow = Workflow("bench-mapped")
    count = workflow.input("items", type="integer")
    source = workflow.task("list", agent="bench.listed", with_={"items": count})
    workflow.task(
        "work", agent="bench.echo", foreach=source.result, parallel=PARALLEL, with_={"item": ITEM}
    )
    async with Engine(data_dir, agents=agents) as engine:
        prepared = engine.prepare(workflow)
        (await engine.run(prepared, input={"items": WARM_UP})).unwrap()
        before = facts_of(engine)
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        result = (await engine.run(prepared, input={"items": items})).unwrap()
        wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
        if result != list(range(items)):
            msg = "the results are not those of the items, in their order"
            raise AssertionError(msg)
        facts = facts_of(engine) - before
    return {
        "items_per_s": round(items / wall_s),
        "us_per_item": round(wall_s * 1e6 / items, 1),
        "cpu_us_per_item": round(cpu_s * 1e6 / items, 1),
        "facts_per_item": round(facts / items, 2),
    }
