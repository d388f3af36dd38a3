"""Random workflows for the simulation: small, and rich in what can go wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_events.loading import definition_from
from goclaw_events.plan import Plan, compile_plan

if TYPE_CHECKING:
    import random

TASKS_MAX = 7


def random_plan(rng: random.Random, name: str) -> Plan:
    """Return a plan with random needs, lanes, conditions, waits, retries and failure policy."""
    lanes = {
        f"l{index}": {"concurrency": rng.randint(1, 3), "capacity": rng.choice([1, 2, 100, 100])}
        for index in range(rng.randint(0, 2))
    }
    tasks: dict[str, Any] = {}
    for index in range(rng.randint(1, TASKS_MAX)):
        before = list(tasks)
        needs = rng.sample(before, min(len(before), rng.choice([0, 1, 1, 2, 3])))
        tasks[f"t{index}"] = _task(rng, needs, list(lanes))
    policy = rng.choice(["fail_fast", "let_finish", "continue"])
    definition = {"name": name, "on_failure": policy, "lanes": lanes, "tasks": tasks}
    return compile_plan(definition_from(definition, name))


def _task(rng: random.Random, needs: list[str], lanes: list[str]) -> dict[str, Any]:
    if rng.random() < 0.1:
        return {"wait": rng.choice(["1ms", "1s", "90s"]), "needs": needs}
    task: dict[str, Any] = {"agent": "sim.agent", "needs": needs, "priority": rng.randint(-2, 2)}
    if lanes and rng.random() < 0.7:
        task["lane"] = rng.choice(lanes)
    if needs and rng.random() < 0.5:
        task["with"] = {"read": f"${{tasks.{needs[0]}.result}}", "all": "${needs}"}
    if needs and rng.random() < 0.2:
        task["when"] = f"${{tasks.{needs[0]}.result.n}} > {rng.randint(0, 9)}"
    if rng.random() < 0.5:
        task["retry"] = {
            "attempts": rng.randint(2, 4),
            "backoff": rng.choice(["fixed", "linear", "exponential"]),
            "initial": "100ms",
            "max": "2s",
        }
    return task
