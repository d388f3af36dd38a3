"""Random sagas, up to 6 deep and 20 wide, and what their definitions promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import random

DEPTH_MAX: Final = 6
WIDTH_MAX: Final = 20
STEPS_MAX: Final = 26
UNDO: Final = ".compensation"


class SagaPlan(NamedTuple):
    """A saga to simulate: its definition, and what the checks need to know of it."""

    saga_id: str
    steps: dict[str, Any]
    head: dict[str, Any]

    def undone(self, step: str) -> bool:
        """Tell whether a step that took effect is to be undone."""
        said = self.steps[step]
        policy = said.get("policy") or self.head.get("policy", "auto")
        return "compensation" in said and policy != "skip"

    def dependents(self, step: str) -> list[str]:
        """Return the steps that need a step."""
        return [name for name, said in self.steps.items() if step in said["needs"]]


def write_saga(
    rng: random.Random, saga_id: str, depth_max: int = DEPTH_MAX, width_max: int = WIDTH_MAX
) -> SagaPlan:
    """Write a saga: layers of steps, each needing some of the layer before."""
    steps: dict[str, Any] = {}
    before: list[str] = []
    for depth in range(rng.randint(1, depth_max)):
        width = min(width_max, rng.choice((1, 1, 2, 3, rng.randint(1, WIDTH_MAX))))
        layer = [f"s{depth}-{place}" for place in range(min(width, STEPS_MAX - len(steps)))]
        for name in layer:
            needs = rng.sample(before, rng.randint(1, min(3, len(before)))) if before else []
            steps[name] = _step(rng, needs)
        before = layer or before
    head: dict[str, Any] = {"lanes": {"io": _lane(rng)}}
    if rng.random() < 0.3:
        head["timeout"] = rng.choice((20, 60, 200))
    if rng.random() < 0.15:
        head["policy"] = rng.choice(("manual", "skip"))
    return SagaPlan(saga_id, steps, head)


def _lane(rng: random.Random) -> dict[str, Any]:
    full = rng.choice(("reject", "block", "block"))
    capacity = 1_000 if full == "reject" else rng.choice((1, 3, 100))
    return {"concurrency": rng.choice((1, 3, 20)), "capacity": capacity, "overflow": full}


def _step(rng: random.Random, needs: list[str]) -> dict[str, Any]:
    action = {"agent": "do", "lane": rng.choice(("io", "/default"))}
    step: dict[str, Any] = {"action": action, "needs": needs}
    if rng.random() < 0.5:
        step["retry"] = {"attempts": rng.randint(1, 3), "initial": 1, "jitter": "none"}
    if rng.random() < 0.3:
        step["in_doubt"] = "failed"
    if rng.random() < 0.15:
        step["policy"] = rng.choice(("manual", "skip", "auto"))
    if rng.random() < 0.9:
        retry = {"attempts": rng.randint(1, 3), "initial": 1, "jitter": "none"}
        said = {"key": "${action.key}", "in_doubt": "${action.in_doubt}"}
        step["compensation"] = {
            "agent": "undo", "with": said, "lane": rng.choice(("io", "/default")), "retry": retry,
        }  # fmt: skip
    return step
