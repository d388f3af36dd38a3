"""Run one seed: a phase of faults, then one of healing in which everything must end."""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import TYPE_CHECKING

from tests.simulation import invariants
from tests.simulation.answerers import answer_all
from tests.simulation.cases import count_cases
from tests.simulation.failpoints import Failpoints
from tests.simulation.faults import FAULTS
from tests.simulation.gatherers import close_all, collecting
from tests.simulation.letters import settle_all
from tests.simulation.menders import see_to_all
from tests.simulation.operators import resume
from tests.simulation.options import Options, options_of
from tests.simulation.schedule_model import check_all_begun
from tests.simulation.schedulers import delete_all, scheduling
from tests.simulation.snapshots import check_snapshots
from tests.simulation.talkers import check_none_lost, resume_all
from tests.simulation.travellers import begin, check_sagas, going, look_after
from tests.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

CHECK_EVERY_STEPS = 50
LOOK_EVERY_STEPS = 20
HEAL_ROUNDS_MAX = 5_000
SCHEDULES_GO_ON_ROUNDS = 60
HEAL_QUIET_ROUNDS_MAX = 200
"""So often may time pass, 15 s or more each, without anything being recorded."""


def simulate(
    seed: int, options: Options | None = None, look: Callable[[World], None] | None = None
) -> World:
    """Run a seed to its end; raises AssertionError where an invariant breaks.

    `look` is called every `LOOK_EVERY_STEPS`, and the disk does not fail meanwhile.
    """
    logging.getLogger("goclaw_actors").setLevel(logging.CRITICAL)
    world = World(seed, options or options_of(seed))
    steps = steps_of(world)
    actions, weights = list(steps), list(steps.values())
    for at in range(world.options.steps):
        world.act(world.rng.choices(actions, weights)[0])
        if at % CHECK_EVERY_STEPS == 0:
            invariants.check_live_is_replayed(world)
            invariants.check_executor(world)
        if look is not None and at % LOOK_EVERY_STEPS == 0:
            _undisturbed(world, look)
    _check(world)
    heal(world)
    _check(world)
    invariants.check_replay_reads_the_same(world)
    invariants.check_all_ended(world)
    check_all_begun(world)
    check_sagas(world)
    if not world.history.poisoned and not world.options.rate("bug"):
        check_none_lost(world)
    count_cases(world)
    return world


def _check(world: World) -> None:
    _undisturbed(world, _check_all)


def _check_all(world: World) -> None:
    invariants.check_log(world)
    invariants.check_executor(world)
    invariants.check_live_is_replayed(world)
    check_snapshots(world)


def _undisturbed(world: World, look: Callable[[World], None]) -> None:
    """Look at a world whose disk does not fail meanwhile."""
    points, world.journal.points = world.journal.points, Failpoints()
    trouble, world.journal.trouble = world.journal.trouble, None
    look(world)
    world.journal.points, world.journal.trouble = points, trouble


def steps_of(world: World) -> dict[Callable[[], None], float]:
    """Return what may happen next, and how likely each of it is."""
    rng, options = world.rng, world.options

    def submit() -> None:
        run_id = f"r{rng.randrange(options.runs)}"
        if run_id not in world.clients.submitted:
            world.clients.submit(run_id)

    steps: dict[Callable[[], None], float] = {
        submit: 6,
        world.step_dispatcher: 25,
        world.write: 9,
        world.commit: 18,
        world.deliver_posts: 20,
        world.end_attempt: 10,
        world.stop_attempt: 4,
        world.return_attempt: 2,
        world.pass_time: 5,
    }
    for kind, step in FAULTS.items():
        rate = options.rate(kind)
        if rate:
            steps[partial(step, world)] = rate
    return steps


def heal(world: World) -> None:
    """Let everything happen that can, and nothing fail, until nothing is left to do."""
    world.calm = True
    world.points.disarm()
    world.journal.trouble = None
    world.journal.full_reopens = 0
    if world.slot_lost:
        world.restart()
    while world.posts:
        world.act(world.deliver_post)
    quiet = 0
    for at in range(HEAL_ROUNDS_MAX):
        if at >= SCHEDULES_GO_ON_ROUNDS and not _commands_wait(world):
            delete_all(world)  # else it may never be quiet
        if heal_round(world):
            quiet = 0
            continue
        if not _commands_wait(world):
            _let_go(world)
            if world.node.idle and _nothing_is_missing(world):
                _close(world)
                return
            quiet += 1
            if quiet > HEAL_QUIET_ROUNDS_MAX:
                break
        wake_ns = world.node.wake_ns()
        world.time.advance(max(wake_ns - world.clock.now_ns(), 10**6))
    stuck = [
        (entity.stream, entity.decider.encode(entity.state).get("status"))
        for entity in world.entities()
        if not entity.decider.is_final(entity.state)
    ]
    message = f"the world does not come to rest: {stuck}"
    raise AssertionError(message)


def _let_go(world: World) -> None:
    """Do what only people do, and everything waits for that."""
    if world.options.rate("control"):
        resume(world)
    if world.options.rate("hold"):
        world.history.update(world.journal)
        resume_all(world)
    if world.options.rate("collect"):
        close_all(world)
    if world.options.rate("answer"):
        answer_all(world)
    settle_all(world)
    if world.options.rate("bug"):
        see_to_all(world)
    look_after(world)


def heal_round(world: World) -> bool:
    """Do all that can be done now; return whether anything was recorded."""
    if not _commands_wait(world):
        for run_id in sorted(set(world.clients.submitted) - world.clients.answered):
            world.clients.submit(run_id)
        for saga_id in sorted(set(world.sagas) - world.sagas_begun):
            begin(world, saga_id)
    before = [dispatcher._number for dispatcher in world.node.dispatchers]
    world.node.run_once()
    world.journal.commit()
    while world.posts:
        world.deliver_post()
    while world.executor.stops:
        world.stop_attempt()
    while world.executor.held:
        world.end_attempt()
    while world.executor.kept:
        world.return_attempt()
    return before != [dispatcher._number for dispatcher in world.node.dispatchers]


def _commands_wait(world: World) -> bool:
    return any(dispatcher.commands for dispatcher in world.node.dispatchers)


def _nothing_is_missing(world: World) -> bool:
    if set(world.clients.submitted) - world.clients.answered:
        return False
    world.history.update(world.journal)
    going_on = collecting(world) or scheduling(world) or going(world)
    return not (invariants.unfinished(world) or going_on)


def _close(world: World) -> None:
    world.node.record_closed()
    world.journal.commit()
    while world.posts:
        world.deliver_post()
    assert not world.journal.waiting


if __name__ == "__main__":
    for given in sys.argv[1:]:
        print(given, simulate(int(given)).trace.hexdigest())  # noqa: T201 - a script
