"""Run one seed: a chaotic phase, then a healing one in which everything must end."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

from tests.simulation import invariants
from tests.simulation.world import Options, World

if TYPE_CHECKING:
    from collections.abc import Callable

HEAL_STEPS_MAX = 20_000


def options_of(seed: int) -> Options:
    """Return the options that a seed stands for: every mix of limits and partitions comes up."""
    rng = random.Random(f"options {seed}")
    return Options(
        partitions=rng.choice([1, 1, 4]),
        batch_messages_max=rng.choice([1, 2, 7, 4096]),
        commits_in_flight_max=rng.choice([1, 2, 3]),
        live_actors_max=rng.choice([1, 3, 50_000]),
        runs=rng.randint(1, 5),
        steps=rng.choice([100, 300, 600]),
        crashes=rng.random() < 0.8,
        failing_commits=rng.random() < 0.5,
    )


def simulate(seed: int, options: Options | None = None) -> World:
    """Run a seed to its end; raises AssertionError where an invariant breaks."""
    world = World(seed, options or options_of(seed))
    steps = _steps(world)
    actions, weights = list(steps), list(steps.values())
    for at in range(world.options.steps):
        world.rng.choices(actions, weights)[0]()
        if at % 50 == 0:
            invariants.check_live_is_replayed(world)
    invariants.check_log(world)
    invariants.check_executor(world)
    _heal(world)
    invariants.check_log(world)
    invariants.check_executor(world)
    invariants.check_live_is_replayed(world)
    invariants.check_all_ended(world)
    return world


def _steps(world: World) -> dict[Callable[[], None], float]:
    rng = world.rng

    def submit() -> None:
        run_id = f"r{rng.randrange(world.options.runs)}"
        if run_id not in world.submitted or rng.random() < 0.1:
            world.submit(run_id)

    def cancel() -> None:
        world.cancel(f"r{rng.randrange(world.options.runs)}")

    steps: dict[Callable[[], None], float] = {
        submit: 6,
        cancel: 0.3,
        world.step_dispatcher: 30,
        world.commit: 20,
        world.deliver_post: 25,
        world.end_attempt: 12,
        world.stop_attempt: 4,
        world.late_outcome: 1,
        world.pass_time: 5,
    }
    if world.options.crashes:
        steps[world.crash] = 1
    if world.options.failing_commits:
        steps[world.fail_commit] = 0.7
    return steps


def _heal(world: World) -> None:
    """Let everything happen that can, until nothing is left to do."""
    for run_id in world.submitted:
        world.submit(run_id)
    for _ in range(HEAL_STEPS_MAX):
        worked = world.node.run_once()
        while world.journal.waiting:
            world.journal.commit()
        while world.posts:
            world.deliver_post()
        while world.executor.stops:
            world.stop_attempt()
        while world.executor.held:
            world.end_attempt()
            worked = True
        if worked or world.posts or world.journal.waiting:
            continue
        if world.node.idle and world.acknowledged <= set(world.ended) | _durably_ended(world):
            return
        world.clock.ns = max(world.node.wake_ns(), world.clock.ns + 10**6)
    stuck = [
        (entity.stream, entity.decider.encode(entity.state).get("status"))
        for entity in world.entities()
        if not entity.decider.is_final(entity.state)
    ]
    msg = f"the world does not come to rest: {stuck}"
    raise AssertionError(msg)


def _durably_ended(world: World) -> set[str]:
    return {
        fact.stream.partition("/")[2]
        for _, _, fact in invariants.facts_of(world)
        if fact.type in invariants.RUN_ENDS
    }


if __name__ == "__main__":
    for given in sys.argv[1:]:
        print(given, simulate(int(given)).trace.hexdigest())  # noqa: T201 - a script
