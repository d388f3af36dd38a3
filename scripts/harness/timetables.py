"""The schedules of a world that waits, and what is done to them: drawn from a seed."""

from __future__ import annotations

import random
from typing import Any, Final, NamedTuple

from goclaw.builder import Workflow
from scripts.harness.programs import COUNTERS, Effect

NAMES: Final = ("tick", "tock")
_OPERATIONS: Final = {"trigger": 6, "pause": 2, "resume": 4, "change": 2, "delete": 1, "contend": 2}


class Operation(NamedTuple):
    """One thing that is done to a schedule, the `number`-th; `kind` contend: two at once."""

    id: str
    kind: str
    number: int


def workflow_of(seed: str, name: str) -> Workflow:
    """Return what a schedule runs: one task that has an effect, for less or more than a second."""
    rng = random.Random(f"{seed}/{name}")  # noqa: S311 - to be repeated
    made = Workflow(name)
    planned = made.input("planned", type="string", default="")
    made.task(
        "do",
        agent=rng.choice(["harness.soft", "harness.hard"]),
        with_={
            "amount": rng.randrange(1, 1000),
            "counter": f"c{rng.randrange(COUNTERS)}",
            "pause_ms": rng.choice([0, 200, 1500]),
            "lane": "/default",
            "upstream": [],
            "planned": planned,
        },
    )
    return made


def effect_of(seed: str, name: str, run_id: str) -> Effect:
    """Return what a run of a schedule does."""
    said = workflow_of(seed, name).definition().tasks["do"].with_
    return Effect(said["counter"], said["amount"], f"{run_id}/do")


def rules(seed: str, name: str, number: int) -> dict[str, Any]:
    """Return the rules of a schedule after it was changed for the `number`-th time."""
    rng = random.Random(f"{seed}/{name}/rules/{number}")  # noqa: S311
    overlap = rng.choice(["skip", "queue", "cancel"])
    missed = rng.choice(["skip", "one", "all"] if overlap == "queue" else ["skip", "one"])
    return {
        "every": rng.choice([1, 1, 2]),
        "overlap": overlap,
        "missed": missed,
        "late": rng.choice([0.2, 0.5, 60]),
        "jitter": rng.choice([0, 0.3]),
        "waiting_max": rng.choice([1, 3, 100]),
        "planned_input": "planned",
    }


def operation(seed: str, name: str, number: int) -> Operation:
    """Return what is done to a schedule as the `number`-th."""
    rng = random.Random(f"{seed}/{name}/{number}")  # noqa: S311
    kind = rng.choices(list(_OPERATIONS), list(_OPERATIONS.values()))[0]
    return Operation(f"{name}-{number}", kind, number)
