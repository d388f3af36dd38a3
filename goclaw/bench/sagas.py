"""Measure sagas beside the engine of the same minute: actions and compensations, durable steps.

Everything is real, as in `goclaw.bench.engine`, and of its shapes; every other saga fails at its
last step and undoes all the others. Engine and sagas are measured in turns, so that both see the
same machine, and a ratio is that of one round.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw.bench.engine import TASKS, Load, Many, measure_many, throughput
from goclaw.bench.machine import measure_on_disk
from goclaw.bench.steps import StepLoad, measure_walks
from goclaw.config import SagaSettings, Settings
from goclaw.engine import Engine
from goclaw.saga_builder import Saga
from goclaw_actors.executors.agents import AgentRegistry
from goclaw_actors.executors.errors import Fail

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw_actors.executors.context import TaskContext

SHAPES: Final = ("chain", "fan")
"""The shapes whose better one is the figure of `goclaw bench engine`."""
NOTHING: Final = "bench.nothing"
BROKEN: Final = "bench.broken"
ENDS: Final = ("completed", "compensated")
_PAIR: Final = 2


class SagaLoad(NamedTuple):
    """How much is run: tasks a run, sagas (and workflows) in flight, rounds; and steps."""

    tasks: int = 10_000
    in_flight: int = 500
    rounds: int = 3
    steps_in_flight: int = 64
    steps: int = 200


def measure_sagas(directory: Path, load: SagaLoad, tell: Any = lambda _: None) -> dict[str, Any]:
    """Return the figures; `tell` hears of progress. The data is written below `directory`."""
    return measure_on_disk(directory, load._asdict(), lambda path: _measure(path, load, tell), tell)


async def _measure(root: Path, load: SagaLoad, tell: Any) -> dict[str, Any]:
    rounds = []
    for number in range(load.rounds):
        tell(f"round {number + 1} of {load.rounds}: workflows and sagas in turns")
        rounds.append(await _round(root, number, load))
    steps = await measure_walks(root, StepLoad(load.steps_in_flight, load.steps, load.steps), tell)
    ranked = sorted(rounds, key=lambda found: float(found["ratio_to_engine"]))
    return {**ranked[len(ranked) // 2], "rounds": rounds, "step_ms": steps["step_ms"],
            "step_cpu_ms": steps["step_cpu_ms"]}  # fmt: skip


async def _round(root: Path, number: int, load: SagaLoad) -> dict[str, Any]:
    """Measure each shape as workflows and as sagas, one after the other."""
    of_engine = Load(load.tasks, load.in_flight, runs=1)
    workflows, sagas = [], []
    for shape in SHAPES:
        workflows.append(
            await throughput(_beside(root, shape, number), shape, of_engine, stages=False)
        )
        sagas.append(await _sagas(_beside(root, f"{shape}-sagas", number), shape, load))
    engine, saga = _better(workflows), _better(sagas)
    return {
        "ratio_to_engine": round(saga["tasks_per_s"] / engine["tasks_per_s"], 3),
        "cpu_ratio": round(engine["process_cpu_us"] / saga["process_cpu_us"], 3),
        "saga_tasks_per_s": saga["tasks_per_s"],
        "engine_tasks_per_s": engine["tasks_per_s"],
        "facts_per_saga_task": saga["facts_per_task"],
        "cpu_us_per_saga_task": saga["cpu_us_per_task"],
        "cpu_us_per_engine_task": engine["cpu_us_per_task"],
    }


def _beside(root: Path, what: str, number: int) -> Path:
    return root.with_name(f"{what}-{number}")


def _better(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return max(runs, key=lambda run: float(run["tasks_per_s"]))


def saga_of(shape: str, *, fails: bool) -> Saga:
    """Return a saga whose steps need each other as the tasks of a shape of workflow do."""
    name = f"bench-{shape}-{'fails' if fails else 'goes'}"
    saga, last = Saga(name), TASKS[shape] - 1
    for index in range(last + 1):
        needs: list[str] = []
        if shape == "chain" and index:
            needs = [f"s{index - 1}"]
        elif shape == "fan" and index:
            needs = ["s0"] if index < last else [f"s{i}" for i in range(1, last)]
        action = {"agent": BROKEN if fails and index == last else NOTHING}
        saga.step(f"s{index}", action, undo={"agent": NOTHING}, needs=needs)
    return saga


async def _sagas(path: Path, shape: str, load: SagaLoad) -> dict[str, Any]:
    agents = AgentRegistry()

    async def nothing(_ctx: TaskContext) -> None:
        return

    async def broken(_ctx: TaskContext) -> None:
        raise Fail("this step fails", code="bench")

    agents.register(NOTHING, nothing)
    agents.register(BROKEN, broken)
    steps = TASKS[shape]
    of_pair = steps + (2 * steps - 1)  # the last one fails, and is not undone
    pairs = max(1, load.tasks // of_pair)
    settings = Settings(sagas=SagaSettings(concurrent_max=load.in_flight))
    async with Engine(path, settings=settings, agents=agents) as engine:
        prepared = [engine.prepare(saga_of(shape, fails=fails)) for fails in (False, True)]
        turn = count()

        async def one() -> None:
            fails = next(turn) % _PAIR
            ended = await engine.run_saga(prepared[fails])
            assert ended.status == ENDS[fails], f"saga {ended.run_id} is {ended.status}"

        many = Many(_PAIR * pairs, of_pair * pairs, load.in_flight)
        return await measure_many(engine, one, many, stages=False)
