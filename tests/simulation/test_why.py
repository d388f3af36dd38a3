"""Why something waits, asked at random moments: it is what the facts say, worked out anew."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goclaw_actors.lane import LANE, Lane
from goclaw_actors.lending import Enqueue, LendFree, Release, Withdraw
from goclaw_actors.messages import TimerFired
from goclaw_actors.why import reason as kinds
from goclaw_actors.why.lane import held_up, lends_now
from goclaw_events.envelope import Cause, Fact
from goclaw_events.facts import LaneDeclared
from tests.actors.given import NOW_NS, Scenario
from tests.simulation import invariants
from tests.simulation.history import Entry
from tests.simulation.options import Options
from tests.simulation.run import simulate, steps_of
from tests.simulation.stuck import auditor_of, come_to_rest, lose_a_message
from tests.simulation.why_model import LIMITS, NEAR_NS, LaneModel, check_why
from tests.simulation.world import World

SECOND_NS: Final = 1_000_000_000
SEEDS: Final = range(1_010, 1_040)
SEEN: Final = (
    kinds.ENDED, kinds.DEPENDENCY, kinds.RUNNING, kinds.LANE, kinds.MESSAGE, kinds.LANE_SLOTS,
)  # fmt: skip
KINDS_MIN: Final = 12


def test_an_explanation_is_what_the_facts_say() -> None:
    """At any moment each task's reason, its limits, holders, place and time follow from facts.

    Nothing is taken for stuck; and many kinds came up.
    """
    seen: Counter[str] = Counter()
    for seed in SEEDS:
        seen.update(simulate(seed, look=check_why).seen)
    assert not [kind for kind in SEEN if not seen[f"why: {kind}"]]
    assert sum(name.startswith("why: ") for name in seen) >= KINDS_MIN


limits = st.fixed_dictionaries(
    {"resources": st.just({"gpu": 2})},
    optional={
        "per_tenant": st.integers(1, 2),
        "per_key": st.integers(1, 2),
        "ageing": st.sampled_from([0, 60]),
        "rate": st.sampled_from([[0.5, 2, "token_bucket"], [3.0, 1, "leaky_bucket"]]),
    },
)
asks = st.tuples(
    st.just("ask"), st.integers(-1, 1), st.sampled_from("ab"), st.sampled_from(["", "k", "l"]),
    st.sampled_from([None, None, {"gpu": 1}, {"gpu": 2}]), st.sampled_from([0.5, 1.0, 3.0]),
)  # fmt: skip
steps = st.lists(
    st.one_of(
        asks, asks, st.tuples(st.sampled_from(["end", "leave", "pass"]), st.integers(0, 5)),
    ), max_size=25,
)  # fmt: skip


@given(st.integers(1, 3), limits, steps)
@settings(max_examples=120)
def test_what_holds_a_task_up_is_counted_as_the_lane_counts_it(
    concurrency: int, said: dict[str, Any], moves: list[tuple[Any, ...]]
) -> None:
    """Each limit is named exactly when it binds, by a second count; who is next is not held up."""
    scenario = Scenario(LANE, "lane/w/io", large=True)
    scenario.given(LaneDeclared(concurrency, 100, "reject", "w", said))
    now_ns = NOW_NS
    for number, move in enumerate(moves):
        now_ns = _move(scenario, f"task/r/t{number}", move, now_ns)
        entries = [Entry(0, 0, 0, Cause(), Fact("", 0, "", 1, []), fact) for fact in scenario.facts]
        model = LaneModel("lane/w/io", entries)
        assert not lends_now(scenario.state, now_ns)
        for task in scenario.state.queued:
            found = held_up(scenario.state, task, now_ns)
            binding = {
                each.kind
                for each in found
                if each.kind != kinds.LANE_RATE or each.until_ns - now_ns > NEAR_NS
            }
            assert binding & LIMITS == model.kinds(task, now_ns), (task, found)
            assert found, f"nothing holds {task} up, and it is not lent a slot"


def _move(scenario: Scenario[Lane], task: str, move: tuple[Any, ...], now_ns: int) -> int:
    """Do one thing to the lane; return the time after it."""
    lane = scenario.state
    match move:
        case ("ask", priority, tenant, key, units, cost):
            scenario.when(Enqueue(task, priority, False, tenant, "", key, units, cost), now_ns)
        case ("end", at) if lane.leased:
            scenario.when(Release(list(lane.leased)[at % len(lane.leased)]), now_ns)
        case ("leave", at) if lane.queued:
            scenario.when(Withdraw(list(lane.queued)[at % len(lane.queued)]), now_ns)
        case ("pass", at):
            now_ns += at * SECOND_NS
            wakes = lane.shares is not None and 0 < lane.shares.wake_ns <= now_ns
            scenario.when(TimerFired("rate") if wakes else LendFree(), now_ns)
    return now_ns


@pytest.mark.parametrize("seed", range(2_000, 2_025))
def test_whoever_never_ends_is_found_by_the_auditor(seed: int) -> None:
    """After a message was lost, all that can happen happens: who has not ended then is judged.

    Nobody else is, and what is recorded names something that is missing.
    """
    options = Options(partitions=1 + seed % 2, rates={"fail": 1.0}, steps=120, runs=5)
    world = World(seed, options)
    actions = steps_of(world)
    auditor = auditor_of(world)
    for at in range(options.steps):
        world.act(world.rng.choices(list(actions), list(actions.values()))[0])
        if at == seed % 90:
            lose_a_message(world)
        if at % 20 == 0 and world.journal.at_rest:
            auditor.look_at(3)
    come_to_rest(world)
    auditor = auditor_of(world)
    while auditor.look_at(3) == 3:
        pass
    auditor.confirm()
    come_to_rest(world)
    world.history.update(world.journal)
    unfinished = invariants.unfinished(world)
    judged = {
        stream.partition("/")[2]
        for stream, entries in world.history.of_kind("workflow")
        if entries[-1].fact.type == "run.stuck"
    }
    assert judged == unfinished
